package apis_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

func TestClientReplacesATokenThatIsRefused(t *testing.T) {
	t.Parallel()
	use(t, func(s *testsite.Site, b *testsite.Browser, client *http.Client) {
		refused := msauthtest.Failure{Status: http.StatusUnauthorized}
		fail := func(answers ...msauthtest.Failure) {
			s.MS.ResetCalls()
			s.MS.Set(func(b *msauthtest.Behavior) { b.Fail[msauthtest.Graph] = answers })
		}
		want := func(what string, status, graph, refreshes int) func(int, error) {
			return func(got int, err error) {
				t.Helper()
				if err != nil || got != status {
					t.Errorf("%s: status %d, %v, want %d", what, got, err, status)
				}
				s.WantCalls(t, msauthtest.Graph, graph)
				s.WantCalls(t, msauthtest.TokenRefresh, refreshes)
			}
		}
		fail(refused)
		want("a token as good as new", 401, 1, 0)(testsite.Call(client, "GET", testsite.GraphMe, nil))

		time.Sleep(2 * time.Minute)
		fail(refused)
		want("an older token", 200, 2, 1)(testsite.Call(client, "GET", testsite.GraphMe, nil))

		// The browser is given the new one at once: this memory may end.
		old := b.Session()[0].Value
		if b.Get("/"); b.Session()[0].Value == old {
			t.Error("the cookie has the token that was refused")
		}
		s.WantCalls(t, msauthtest.TokenRefresh, 1)

		time.Sleep(2 * time.Minute)
		fail(refused, refused)
		want("refused again", 401, 2, 1)(testsite.Call(client, "GET", testsite.GraphMe, nil))
		fail(refused, refused)
		want("and again", 401, 1, 0)(testsite.Call(client, "GET", testsite.GraphMe, nil))

		time.Sleep(2 * time.Minute)
		fail(refused)
		want("with a body", 405, 2, 1)(testsite.Call(client, "POST", "http://localhost:9/v1.0/nothing", strings.NewReader("content")))

		time.Sleep(2 * time.Minute)
		fail(refused)
		body := struct{ io.Reader }{strings.NewReader("content")}
		want("with a body that can be read once", 401, 1, 1)(testsite.Call(client, "POST", "http://localhost:9/v1.0/nothing", body))
		want("the next call", 200, 2, 1)(testsite.Call(client, "GET", testsite.GraphMe, nil))

		time.Sleep(2 * time.Minute)
		fail(refused)
		s.MS.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Status: 503} })
		want("while Microsoft is down", 401, 1, 1)(testsite.Call(client, "GET", testsite.GraphMe, nil))
		b.WantGreeting(testsite.HelloAda)
	})
}

// An administrator has revoked the grant, and Graph knows before the session's
// token is due.
func TestARefusedTokenOfARevokedGrantEndsTheSession(t *testing.T) {
	t.Parallel()
	use(t, func(s *testsite.Site, b *testsite.Browser, client *http.Client) {
		time.Sleep(2 * time.Minute)
		s.MS.Revoke(msauthtest.Ada)
		s.MS.Challenge(msauthtest.Challenge{})
		if _, err := testsite.Call(client, "GET", testsite.GraphMe, nil); !errors.Is(err, msauth.ErrSignInRequired) {
			t.Fatalf("the error is %v, want ErrSignInRequired", err)
		}
		still := b.Still()
		if p := b.WantProblem(b.Fetch("/api"), http.StatusUnauthorized); p.LoginURL == "" {
			t.Error("no login_url")
		}
		if res := still.Get("/page"); res.StatusCode != http.StatusSeeOther || !strings.HasPrefix(res.Header.Get("Location"), s.MS.URL) {
			t.Errorf("the next page: status %d to %s", res.StatusCode, res.Header.Get("Location"))
		}
		if len(b.Session()) != 0 {
			t.Error("the session is still there")
		}
		s.WantCalls(t, msauthtest.TokenRefresh, 1)
	})
}

func TestABodyIsSentAgainWithTheNewToken(t *testing.T) {
	t.Parallel()
	var s *testsite.Site
	s = testsite.Orders(t, func(w http.ResponseWriter, r *http.Request, session *msauth.Session, api string) {
		res, err := session.Client(r.Context()).Post(api, "text/plain", strings.NewReader("two teapots"))
		pass(s, w, r, res, err)
	})
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	b.Get("/do")
	s.MS.Challenge(msauthtest.Challenge{Audience: "api://orders"})
	s.MS.ResetCalls()
	if res := b.Get("/do"); res.Text != "orders of Ada Lindqvist two teapots" {
		t.Errorf("the API answers %q; log:\n%s", res.Text, s.Log)
	}
	s.WantCalls(t, msauthtest.OwnAPI, 2)
	s.WantCalls(t, msauthtest.TokenRefresh, 1)
}

func TestClientWaitsAsLongAsAnAPIAsks(t *testing.T) {
	t.Parallel()
	busy := func(status int, after string) msauthtest.Failure {
		return msauthtest.Failure{Status: status, Header: http.Header{"Retry-After": {after}}}
	}
	type script []msauthtest.Failure
	tests := []struct {
		name     string
		method   string
		body     io.Reader
		script   script
		deadline time.Duration
		want     int
		calls    int
		took     time.Duration
	}{
		{"once", "GET", nil, script{busy(429, "3")}, 0, 200, 2, 3 * time.Second},
		{"503", "GET", nil, script{busy(503, "2")}, 0, 200, 2, 2 * time.Second},
		{"twice", "GET", nil, script{busy(429, "3"), busy(429, "4")}, 0, 200, 3, 7 * time.Second},
		{"three times", "GET", nil, script{busy(429, "1"), busy(429, "1"), busy(429, "1")}, 0, 429, 3, 2 * time.Second},
		{"too long", "GET", nil, script{busy(429, "11")}, 0, 429, 1, 0},
		{"too long together", "GET", nil, script{busy(429, "6"), busy(429, "6")}, 0, 429, 2, 6 * time.Second},
		{"longer than the caller waits", "GET", nil, script{busy(429, "5")}, 4 * time.Second, 429, 1, 0},
		{"no time named", "GET", nil, script{{Status: 503}}, 0, 503, 1, 0},
		{"another failure", "GET", nil, script{busy(500, "1")}, 0, 500, 1, 0},
		{"a request that must not be repeated", "POST", strings.NewReader("{}"), script{busy(429, "1")}, 0, 429, 1, 0},
		{"a body that can be read again", "PUT", bytes.NewReader([]byte("x")), script{busy(429, "1")}, 0, 405, 2, time.Second},
		{"a body that cannot", "PUT", struct{ io.Reader }{strings.NewReader("x")}, script{busy(429, "1")}, 0, 429, 1, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			use(t, func(s *testsite.Site, _ *testsite.Browser, client *http.Client) {
				s.MS.Set(func(b *msauthtest.Behavior) { b.Fail[msauthtest.Graph] = test.script })
				ctx := context.Background()
				if test.deadline > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, test.deadline)
					defer cancel()
				}
				req, _ := http.NewRequestWithContext(ctx, test.method, testsite.GraphMe, test.body)
				start := time.Now()
				res, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				res.Body.Close()
				if res.StatusCode != test.want || time.Since(start) != test.took {
					t.Errorf("status %d after %v, want %d after %v", res.StatusCode, time.Since(start), test.want, test.took)
				}
				s.WantCalls(t, msauthtest.Graph, test.calls)
			})
		})
	}
}
