//go:build unix

package redistest

import (
	"net"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// StartCluster starts a Cluster of three servers without replicas.
func StartCluster(t testing.TB) []*Server {
	t.Helper()
	const slots = 16384
	servers := make([]*Server, 3)
	clients := make([]*redis.Client, len(servers))
	for i := range servers {
		servers[i] = Start(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "5000")
		clients[i] = servers[i].Client()
		if err := clients[i].ClusterAddSlotsRange(t.Context(), i*slots/len(servers), (i+1)*slots/len(servers)-1).Err(); err != nil {
			t.Fatalf("redistest: %v", err)
		}
		host, port, _ := net.SplitHostPort(servers[i].Addr)
		if err := clients[0].ClusterMeet(t.Context(), host, port).Err(); err != nil {
			t.Fatalf("redistest: %v", err)
		}
	}
	for _, client := range clients {
		Eventually(t, "the servers are a Cluster", func() bool {
			nodes, err := client.ClusterSlots(t.Context()).Result()
			if err != nil || len(nodes) != len(servers) {
				return false
			}
			info, err := client.Do(t.Context(), "cluster", "info").Text()
			return err == nil && clusterIsOK(info)
		})
	}
	return servers
}

func clusterIsOK(info string) bool {
	const ok = "cluster_state:ok"
	return len(info) >= len(ok) && info[:len(ok)] == ok
}

// Eventually waits until something is true, and fails the test if it does not become
// so within 20 seconds.
func Eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for range 400 {
		if is() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("redistest: it does not come to be that %s", what)
}
