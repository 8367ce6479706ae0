package device_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// Browsers that cannot bind get the same answers as without it, but for one header of the
// sign-in's answer.
func TestAnswersToOtherBrowsers(t *testing.T) {
	t.Parallel()
	flow := func(t *testing.T, change func(*msauth.Config)) (answers []string) {
		inBubble(t, func(t *testing.T, s *testsite.Site) {
			b := s.Browser(t)
			s.As(msauthtest.Ada)
			note := func(res testsite.Seen) testsite.Seen {
				var lines []string
				for name, values := range res.Header {
					for _, value := range values {
						if name == "Set-Cookie" || name == "Location" { // they have random texts
							value = fmt.Sprint(len(values))
						}
						lines = append(lines, name+": "+value)
					}
				}
				slices.Sort(lines)
				answers = append(answers, fmt.Sprint(res.StatusCode, lines))
				return res
			}
			still := b.Still()
			res := note(still.Get("/"))
			res = still.Get(res.Header.Get("Location"))
			res = still.Get(res.Header.Get("Location"))
			res.Header.Del("Secure-Session-Registration")
			note(res)
			note(still.Get("/"))
			note(still.Get("/", testsite.Script...))
			time.Sleep(2 * time.Hour)
			note(still.Get("/"))
			note(still.Get("/public/"))
			note(still.Get("/auth/login"))
			note(still.Get("/auth/logout", testsite.SameOrigin...))
			note(still.Get("/"))
		}, change)
		return answers
	}
	off, on := flow(t, func(*msauth.Config) {}), flow(t, offered)
	for i := range off {
		if off[i] != on[i] {
			t.Errorf("answer %d: %s, without binding %s", i, on[i], off[i])
		}
	}
}

// A renewal that is under way during the registration loses neither session nor tokens.
func TestRenewalAtTheRegistration(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*msauth.Config){
		"cookies": func(*msauth.Config) {},
		"store":   func(c *msauth.Config) { c.Store = testsite.FileStore(t) },
		"tokens":  func(c *msauth.Config) { c.Tokens = testsite.NewTokens() },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *testsite.Site) {
				testsite.Strict(s)
				s.Lifetime(20 * time.Second)
				m := newMachine(t, s)
				path, challenge := m.signIn("/")
				time.Sleep(25 * time.Second)
				under := m.thief(func(string) bool { return true })
				s.MS.Set(func(b *msauthtest.Behavior) { b.Delay[msauthtest.TokenRefresh] = 2 * time.Second })
				done := make(chan testsite.Seen)
				go func() { done <- under.Get("/") }()
				time.Sleep(time.Second)
				m.register(path, challenge)
				if res := <-done; res.Text != testsite.HelloAda || len(res.Header["Set-Cookie"]) > 0 {
					t.Errorf("status %d, %.100q, %q", res.StatusCode, res.Text, res.Header["Set-Cookie"])
				}
				m.hello("afterwards")
				s.WantCalls(t, msauthtest.TokenRefresh, 1)
				time.Sleep(30 * time.Second)
				m.hello("later")
				s.WantNoReuse(t)
			}, offered, change)
		})
	}
}
