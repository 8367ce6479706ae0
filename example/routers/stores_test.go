package routers_test

import (
	"crypto/rand"
	"net/http"
	"os"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/gorilla/sessions"

	"example.com/msauth"
	"example.com/msauth/example/routers"
)

// A session of a work account lives in each of the stores, and ends there.
func TestStores(t *testing.T) {
	t.Parallel()
	key := make([]byte, 32)
	rand.Read(key)
	dir, redis := t.TempDir(), miniredis.RunT(t)
	inRedis, err := routers.RedisStore(redis.Addr(), "", "", key)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { inRedis.Close() })
	for name, test := range map[string]struct {
		store sessions.Store
		kept  func() int
	}{
		"files": {routers.FileStore(dir, key), func() int {
			entries, _ := os.ReadDir(dir)
			return len(entries)
		}},
		"redis": {inRedis, func() int { return len(redis.Keys()) }},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, routers.Std, func(c *msauth.Config) { c.Store = test.store })
			s.want(t, "/private", "navigate", http.StatusOK, "only")
			s.want(t, "/private", "cors", http.StatusOK, "only")
			if test.kept() != 1 {
				t.Errorf("%d records, want 1", test.kept())
			}
			if res, _ := s.get(t, "/auth/logout", "navigate"); res.StatusCode != http.StatusOK || test.kept() != 0 {
				t.Errorf("after signing out: status %d, %d records", res.StatusCode, test.kept())
			}
		})
	}
}
