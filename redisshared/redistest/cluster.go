//go:build unix

package redistest

import (
	"net"
	"strings"
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
			info, err := client.ClusterInfo(t.Context()).Result()
			return err == nil && strings.Contains(info, "cluster_state:ok\r\n") && strings.Contains(info, "cluster_known_nodes:3\r\n")
		})
	}
	return servers
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
