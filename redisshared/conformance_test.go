//go:build unix

package redisshared_test

import (
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"example.com/msauth"
	"example.com/msauth/redisshared"
	"example.com/msauth/redisshared/redistest"
	"example.com/msauth/sharedtest"
)

func TestMain(m *testing.M) {
	logging.Disable() // of connections that tests break
	os.Exit(m.Run())
}

var prefixes atomic.Int64

// newPrefix is one that no other test has.
func newPrefix() string { return fmt.Sprintf("test:%d", prefixes.Add(1)) }

func TestSingle(t *testing.T) {
	notQuick(t)
	t.Parallel()
	server := redistest.Start(t)
	sharedtest.Run(t, func(t testing.TB) (one, other msauth.Shared) {
		prefix := newPrefix()
		return open(t, client(t, server), prefix), open(t, client(t, server), prefix)
	})
}

func TestCluster(t *testing.T) {
	notQuick(t)
	t.Parallel()
	servers := redistest.StartCluster(t)
	sharedtest.Run(t, func(t testing.TB) (one, other msauth.Shared) {
		prefix := newPrefix()
		return open(t, clusterClient(t, servers), prefix), open(t, clusterClient(t, servers), prefix)
	})
}

// notQuick skips a test where only quick ones are asked for (go test -short):
// those that need no server.
func notQuick(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts redis-server")
	}
}

func open(t testing.TB, client redis.UniversalClient, prefix string) *redisshared.Shared {
	t.Helper()
	s, err := redisshared.New(client, prefix)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func client(t testing.TB, server *redistest.Server) *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: server.Addr})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func clusterClient(t testing.TB, servers []*redistest.Server) *redis.ClusterClient {
	var addrs []string
	for _, s := range servers {
		addrs = append(addrs, s.Addr)
	}
	c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs})
	t.Cleanup(func() { _ = c.Close() })
	return c
}
