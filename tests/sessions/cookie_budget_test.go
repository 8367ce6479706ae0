package sessions_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/sessions"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

func TestCookieBudget(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		person string
		budget int
		claims int    // bytes of a claim that the app keeps
		want   string // what is left out; "too large" for a page
		pieces int
	}{
		{"work account", msauthtest.Ada, 0, 0, "", 1},
		{"personal account", msauthtest.Mia, 0, 0, "", 1},
		{"200 groups", msauthtest.Grace, 0, 0, "access token, groups", 1},
		{"200 groups, larger budget", msauthtest.Grace, 6500, 0, "access token", 2},
		{"200 groups, room for all", msauthtest.Grace, 7168, 0, "", 2},
		{"smallest budget", msauthtest.Mia, 1024, 0, "access token", 1},
		{"smallest budget, work account", msauthtest.Ada, 1024, 0, "too large", 0},
		{"large claim", msauthtest.Ada, 0, 3000, "access token, claims", 1},
		{"large claim, larger budget", msauthtest.Ada, 7168, 3000, "", 2},
		{"huge claim", msauthtest.Grace, 7168, 100_000, "access token, groups, claims", 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := testsite.NewInProcess(t, func(c *msauth.Config) { c.CookieBudget, c.Claims = test.budget, []string{"big"} })
				s.RouteTokens()
				s.MS.Set(func(b *msauthtest.Behavior) { b.GroupClaims = true })
				if test.claims > 0 {
					s.MS.Set(testsite.Claim("big", strings.Repeat("c", test.claims/2)+fmt.Sprintf("%0*d", test.claims/2, 7)))
				}
				s.As(test.person)
				b := s.Browser(t)
				res := b.Still().Get(b.Attempt("/page"))
				if test.want == "too large" {
					b.WantRefused(res, 403, "too-large", "session too large")
					if line := s.Log.With("page=too-large")[0]; !strings.Contains(line, "Config.CookieBudget is 1024") || !strings.Contains(line, "Config.Store") {
						t.Errorf("log line %s", line)
					}
					return
				}
				size, budget := 0, test.budget
				if budget == 0 {
					budget = 3300
				}
				for name, line := range lines(res.Header) {
					if testsite.SessionCookie.MatchString(name) {
						if size += len("Set-Cookie: ") + len(line) + len("\r\n"); len(line) > 4093 {
							t.Errorf("a line of %d bytes", len(line))
						}
					}
				}
				if size > budget || size < 500 || len(b.Session()) != test.pieces {
					t.Errorf("%d bytes in %d cookies, want at most %d in %d", size, len(b.Session()), budget, test.pieces)
				}
				logged := s.Log.With("left_out")
				if len(logged) != min(len(test.want), 1) || len(logged) > 0 && !strings.Contains(logged[0], fmt.Sprintf("left_out=%q", test.want)) && !strings.Contains(logged[0], "left_out="+test.want+"\n") {
					t.Errorf("log lines %q, want one with %q", logged, test.want)
				}
				u := b.User()
				if got, want := len(u.Groups) == 0 && u.GroupsOverage, strings.Contains(test.want, "groups"); got != want {
					t.Errorf("%d groups, overage %v", len(u.Groups), u.GroupsOverage)
				}
				if got, want := len(u.Claims) == 0, strings.Contains(test.want, "claims") || test.claims == 0; got != want {
					t.Errorf("claims left out: %v", got)
				}

				// A token that was left out is at hand all the same, and is never
				// a reason to ask for another.
				s.MS.ResetCalls()
				first := b.Token()
				for range 3 {
					b.Get("/page")
				}
				if len(first) < 1000 || b.Token() != first {
					t.Errorf("Token: %.40q", first)
				}
				s.WantNoCalls(t)
				s.Restart(t)
				s.RouteTokens()
				for range 3 {
					if res := b.Get("/page"); !strings.HasPrefix(res.Text, "hello ") {
						t.Errorf("page %q", res.Text)
					}
				}
				s.WantNoCalls(t)
				again := b.Token()
				if shed := strings.Contains(test.want, "access token"); shed != (again != first) || len(again) < 1000 || b.Token() != again {
					t.Errorf("Token after a restart: %.40q", again)
				} else if want := map[bool]int{true: 1}[shed]; s.MS.Count(msauthtest.TokenRefresh) != want {
					t.Errorf("%d renewals, want %d", s.MS.Count(msauthtest.TokenRefresh), want)
				}
				// Renewed when it is due, like any other.
				time.Sleep(90 * time.Minute)
				s.MS.ResetCalls()
				b.Get("/page")
				if got := b.Token(); got == again || len(got) < 1000 {
					t.Errorf("Token after a renewal: %.40q", got)
				}
				s.WantCalls(t, msauthtest.TokenRefresh, 1)
				if n := len(s.Log.With("left_out")); n != min(len(test.want), 1) {
					t.Errorf("%d log lines about it, want one per sign-in", n)
				}
			})
		})
	}
}

func TestCookieKeysCanBeRotated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		old, fresh := testsite.NewKey(), testsite.NewKey()
		keys := func(keys ...[]byte) func(*msauth.Config) { return func(c *msauth.Config) { c.Keys = keys } }
		s := testsite.NewInProcess(t, keys(old))
		s.As(msauthtest.Ada)
		b, lazy := s.Browser(t), s.Browser(t)
		b.SignIn(msauthtest.Ada)
		lazy.SignIn(msauthtest.Ada)
		attempt := b.Attempt("/auth/login?return_to=/there")

		s.Restart(t, keys(old, fresh)) // everywhere first
		b.WantGreeting(testsite.HelloAda)
		s.Restart(t, keys(fresh, old))
		b.WantGreeting(testsite.HelloAda)
		if got := b.Get(attempt).Request.URL.Path; got != "/there" {
			t.Errorf("a sign-in begun before ends at %s", got)
		}
		time.Sleep(2 * time.Hour) // written anew
		b.WantGreeting(testsite.HelloAda)
		s.Restart(t, keys(fresh))
		b.WantGreeting(testsite.HelloAda)
		// Who was not seen in between signs in again, without an error page.
		if res := lazy.Still().Get("/"); res.StatusCode != http.StatusSeeOther || len(s.Log.With("level=ERROR"))+len(s.Log.With("level=WARN")) > 0 {
			t.Errorf("status %d; log:\n%s", res.StatusCode, s.Log)
		}
	})
}

func TestCookieNeverRepeats(t *testing.T) {
	t.Parallel()
	store, _ := msauth.NewCookieStore(testsite.NewKey())
	seen := map[string]bool{}
	for range 100 {
		w := httptest.NewRecorder()
		session := sessions.NewSession(store, "x")
		session.Values["a"] = "the same"
		if err := store.Save(httptest.NewRequest("GET", "/", nil), w, session); err != nil {
			t.Fatal(err)
		}
		seen[w.Header().Get("Set-Cookie")] = true
	}
	if len(seen) != 100 {
		t.Errorf("%d different cookies of 100 with the same content", len(seen))
	}
}

// jarOf sends to next what an answer sets.
func jarOf(jar map[string]string, h http.Header) *http.Request {
	for _, line := range h["Set-Cookie"] {
		c, _ := http.ParseSetCookie(line)
		if c.MaxAge < 0 {
			delete(jar, c.Name)
		} else {
			jar[c.Name] = c.Value
		}
	}
	r := httptest.NewRequest("GET", "https://app.test/", nil)
	for name, value := range jar {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	return r
}
