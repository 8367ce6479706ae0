//go:build unix

package otelmsauth_test

import (
	"errors"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/redisshared"
	"example.com/msauth/redisshared/redistest"
	"example.com/msauth/tests/testsite"
)

func init() { logging.Disable() } // of connections that the test breaks

// What an app asks of a real Redis is measured, and so is its outage.
func TestRedis(t *testing.T) {
	if testing.Short() {
		t.Skip("the quick tests start no servers")
	}
	t.Parallel()
	server := redistest.Start(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr})
	t.Cleanup(func() { client.Close() })
	shared, err := redisshared.New(client, "msauth")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shared.Close() })
	o := newTelemetry(t)
	s := testsite.New(t, func(c *msauth.Config) { c.Shared = shared }, o.use(t))
	o.observe(t, s.Auth)
	s.Browser(t).SignIn(msauthtest.Ada)
	const name = "msauth_shared_operation_duration_seconds"
	redistest.Eventually(t, "a sign-in is listed, and the log is read", func() bool {
		return o.value(t, name, "msauth_shared_operation", "swap", "error_type", "") > 0 && o.value(t, name, "msauth_shared_operation", "get", "error_type", "") > 0
	})
	o.want(t, 0, "msauth_shared_queue")
	o.want(t, -1, "msauth_degraded")

	server.Kill()
	redistest.Eventually(t, "the outage is known", func() bool {
		return o.value(t, "msauth_degraded", "msauth_degraded_what", "shared state fails") == 1
	})
	if n := o.value(t, name, "msauth_shared_operation", "read", "error_type", "_OTHER"); n < 1 {
		t.Errorf("%v reads failed", n)
	}
	if err := s.Auth.SignOutUser(t.Context(), "9188040d-6c67-4c5b-b112-36a304b66dad.00000000-0000-0000-0000-000000000001"); !errors.Is(err, msauth.ErrSharedUnavailable) {
		t.Errorf("error %v", err)
	}
	redistest.Eventually(t, "something waits", func() bool { return o.value(t, "msauth_shared_queue") > 0 })
	s.WantNoSecrets(t, "what is exported", o.everything(t))
}
