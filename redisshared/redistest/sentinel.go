//go:build unix

package redistest

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Watched are a master and its replica, and the Sentinel that watches them.
type Watched struct {
	Name                      string // of the master, as Sentinel knows it
	Master, Replica, Sentinel *Server
}

// StartWatched starts a master, a replica and a Sentinel, which takes a master for
// down that has not answered for a second.
func StartWatched(t testing.TB) Watched {
	t.Helper()
	w := Watched{Name: "master", Master: Start(t)}
	host, port, _ := net.SplitHostPort(w.Master.Addr)
	w.Replica = Start(t, "--replicaof", host+" "+port)
	ctx := t.Context()
	replica := w.Replica.Client()
	Eventually(t, "the replica has what the master has", func() bool {
		info, err := replica.InfoMap(ctx, "replication").Result()
		return err == nil && info["Replication"]["master_link_status"] == "up"
	})
	// Sentinel writes to its configuration, and wants it to be a file.
	config := filepath.Join(t.TempDir(), "sentinel.conf")
	if err := os.WriteFile(config, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.Sentinel = startSentinel(t, config)
	sentinel := redis.NewSentinelClient(&redis.Options{Addr: w.Sentinel.Addr})
	defer sentinel.Close()
	for _, err := range []error{
		sentinel.Monitor(ctx, w.Name, host, port, "1").Err(),
		sentinel.Set(ctx, w.Name, "down-after-milliseconds", "1000").Err(),
		sentinel.Set(ctx, w.Name, "failover-timeout", "3000").Err(),
	} {
		if err != nil {
			t.Fatalf("redistest: %v", err)
		}
	}
	Eventually(t, "Sentinel knows the replica", func() bool {
		replicas, err := sentinel.Replicas(ctx, w.Name).Result()
		return err == nil && len(replicas) == 1
	})
	time.Sleep(time.Second) // until it has asked the replica for its state
	return w
}
