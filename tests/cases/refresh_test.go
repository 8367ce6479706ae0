package cases_test

import (
	"maps"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// accessToken is the access token that a handler gets, or the error's text.
func accessToken(b *testsite.Browser) string {
	b.T.Helper()
	return b.Get("/?token", testsite.Script...).Text
}

func TestCase100_RenewalHappens(t *testing.T) {
	c := newCase(t)
	c.bubble(func(c *testCase) {
		s := testsite.NewInProcess(c.T)
		s.Lifetime(5 * time.Second)
		b, old := testsite.AdaSession(c.T, s)
		before := accessToken(b)
		time.Sleep(5 * time.Second)
		res := b.Get("/?token", testsite.Script...)
		if res.StatusCode != 200 || res.Text == before {
			c.Errorf("status %d, and the token is the same: %v", res.StatusCode, res.Text == before)
		}
		if b.Session()[0].Value == old.Value {
			c.Error("the cookie was not rewritten")
		}
		c.calls(s, msauthtest.TokenRefresh, 1)
		if got := s.MS.Calls(msauthtest.TokenRefresh)[0].Form; got.Get("scope") != "openid profile email offline_access User.Read" || got.Get("grant_type") != "refresh_token" {
			c.Errorf("the renewal asks with %v for %q", slices.Sorted(maps.Keys(got)), got.Get("scope"))
		}
	})
}

func TestCase101_StrictRotationIsKept(t *testing.T) {
	c := newCase(t)
	c.bubble(func(c *testCase) {
		s := testsite.NewInProcess(c.T)
		s.MS.Set(func(b *msauthtest.Behavior) { b.Rotation = msauthtest.RotateStrict })
		s.Lifetime(time.Minute)
		b, _ := testsite.AdaSession(c.T, s)
		for n := range 5 {
			time.Sleep(61 * time.Second)
			if got := b.Get("/").Text; got != testsite.HelloAda {
				c.Errorf("renewal %d: page %q:\n%s", n+1, got, s.Log)
			}
			c.calls(s, msauthtest.TokenRefresh, n+1)
		}
		used := map[string]bool{}
		for _, call := range s.MS.Calls(msauthtest.TokenRefresh) {
			token := call.Form.Get("refresh_token")
			if used[token] {
				c.Error("a refresh token was used twice")
			}
			used[token] = true
		}
	})
}

func TestCase103_RenewedIDToken(t *testing.T) {
	c := newCase(t)
	renewed := func(name string, behave func(*msauthtest.Behavior), want, reason string) {
		c.run(name, func(c *testCase) {
			c.bubble(func(c *testCase) {
				s := testsite.NewInProcess(c.T)
				s.Lifetime(time.Hour)
				b, _ := testsite.AdaSession(c.T, s)
				s.MS.Set(behave)
				time.Sleep(time.Hour)
				b.WantGreeting(want)
				c.calls(s, msauthtest.TokenRefresh, 1)
				if reason != "" {
					c.logged(s, reason, 1)
				}
			})
		})
	}
	renamed := func(b *msauthtest.Behavior) {
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { claims["name"] = "Ada Renamed" }
	}
	renewed("absent", func(b *msauthtest.Behavior) { renamed(b); b.OmitIDTokenOnRefresh = true }, testsite.HelloAda, "")
	renewed("present", renamed, "hello Ada Renamed", "")
	renewed("with the first nonce", func(b *msauthtest.Behavior) {
		renamed(b)
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { claims["name"] = "Ada Renamed" }
	}, "hello Ada Renamed", "")
	// What cannot be verified brings no claims.
	for how, reason := range map[msauthtest.Signing]string{
		msauthtest.SignNone: "unexpected signature algorithm", msauthtest.SignHS256Public: "unexpected signature algorithm", msauthtest.SignUnknownKey: "failed to verify signature", msauthtest.SignFlippedBit: "failed to verify signature",
	} {
		renewed("signed "+string(how), func(b *msauthtest.Behavior) { renamed(b); b.Signing = how }, testsite.HelloAda, reason)
	}
	renewed("another nonce", func(b *msauthtest.Behavior) {
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) {
			claims["nonce"], claims["name"] = "other", "Ada Renamed"
		}
	}, testsite.HelloNobody, `event=session_ended`)
	renewed("old", func(b *msauthtest.Behavior) {
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) {
			claims["exp"], claims["name"] = time.Now().Add(-time.Hour).Unix(), "Ada Renamed"
		}
	}, testsite.HelloAda, "expired 1h")
}

func TestCase104_RenewedIDTokenOfAnother(t *testing.T) {
	c := newCase(t)
	for name, behave := range map[string]func(*msauthtest.Behavior){
		"another person":             func(b *msauthtest.Behavior) { b.RefreshAs = msauthtest.Grace },
		"a person of another tenant": func(b *msauthtest.Behavior) { b.RefreshAs = msauthtest.Bruno },
		"a personal account":         func(b *msauthtest.Behavior) { b.RefreshAs = msauthtest.Mia },
		"sub":                        claimIs("sub", "another"),
		"oid":                        claimIs("oid", "00000000-0000-0000-0000-000000000001"),
		"iss":                        claimIs("iss", "http://localhost:9/"+msauthtest.TenantFabrikam+"/v2.0"),
		"iss of a stranger":          claimIs("iss", "https://evil.example"),
		"tid":                        claimIs("tid", msauthtest.TenantFabrikam),
		"iss and tid":                of(msauthtest.TenantFabrikam),
		"aud":                        claimIs("aud", "another"),
	} {
		c.run(name, func(c *testCase) {
			c.bubble(func(c *testCase) {
				s := testsite.NewInProcess(c.T)
				s.Lifetime(time.Hour)
				b, _ := testsite.AdaSession(c.T, s)
				s.MS.Set(behave)
				time.Sleep(time.Hour)
				res := b.Still().Get("/public/")
				if res.Text != testsite.HelloNobody {
					c.Errorf("page %q, want the session ended:\n%s", res.Text, s.Log)
				}
				c.logged(s, "event=session_ended", 1)
				c.calls(s, msauthtest.TokenRefresh, 1)
				c.signedOut(b)
			})
		})
	}
}

// atOnce sends n requests like one browser, with the cookies it has now.
func atOnce(b *testsite.Browser, n int, target string) map[string]int {
	cookie := b.CookieLine()
	var mu sync.Mutex
	got := map[string]int{}
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			req, _ := http.NewRequest("GET", b.Site.URL+target, nil)
			req.Header.Set("Cookie", cookie)
			req.Header.Set("Accept", "*/*")
			res := b.Site.Browser(b.T).Send(req)
			mu.Lock()
			defer mu.Unlock()
			got[res.Text]++
		})
	}
	all.Wait()
	return got
}

func TestCase106_ThunderingHerd(t *testing.T) {
	c := newCase(t)
	c.bubble(func(c *testCase) {
		s := testsite.NewInProcess(c.T)
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.Rotation, b.Delay = msauthtest.RotateStrict, map[msauthtest.Kind]time.Duration{msauthtest.TokenRefresh: time.Second}
		})
		s.Lifetime(time.Minute)
		b, _ := testsite.AdaSession(c.T, s)
		for round := range 3 {
			time.Sleep(61 * time.Second)
			if got := atOnce(b, 50, "/"); got[testsite.HelloAda] != 50 {
				c.Errorf("answers %v, want 50 greetings", got)
			}
			b.Get("/")
			c.calls(s, msauthtest.TokenRefresh, round+1)
		}
	})
}

func TestCase107_HerdWithOldCookies(t *testing.T) {
	c := newCase(t)
	c.bubble(func(c *testCase) {
		s := testsite.NewInProcess(c.T)
		s.MS.Set(func(b *msauthtest.Behavior) { b.Rotation = msauthtest.RotateStrict })
		s.Lifetime(10 * time.Minute)
		b, old := testsite.AdaSession(c.T, s)
		time.Sleep(10 * time.Minute)
		b.Get("/")
		newest := accessToken(b)
		for range 11 {
			time.Sleep(10 * time.Second)
			res := ask(c.T, s, testsite.HeaderOf(old))
			if res.Text != testsite.HelloAda {
				c.Errorf("page %q", res.Text)
			}
			late := s.Browser(c.T)
			late.Keep(old.Name, old.Value)
			if accessToken(late) != newest {
				c.Error("a late request has another token")
			}
		}
		c.calls(s, msauthtest.TokenRefresh, 1)
		b.WantGreeting(testsite.HelloAda)
	})
}

func TestCase108_TwoReplicas(t *testing.T) {
	c := newCase(t)
	for _, rotation := range []msauthtest.Rotation{msauthtest.RotateKeepOld, msauthtest.RotateStrict} {
		c.run("rotation "+string(rotation), func(c *testCase) {
			c.bubble(func(c *testCase) {
				s := testsite.NewInProcess(c.T)
				s.MS.Set(func(b *msauthtest.Behavior) { b.Rotation = rotation })
				s.Lifetime(time.Hour)
				b, old := testsite.AdaSession(c.T, s)
				first := s.Current.Load()
				s.Restart(c.T) // the second process
				time.Sleep(time.Hour)
				b.Get("/") // renewed there
				newer := b.Session()[0]
				s.Current.Store(first)
				switch got := ask(c.T, s, testsite.HeaderOf(old)).Text; {
				case rotation == msauthtest.RotateKeepOld && got != testsite.HelloAda:
					c.Errorf("the old cookie at the other process: page %q", got)
				case rotation == msauthtest.RotateStrict && got != testsite.HelloNobody:
					c.Errorf("the old cookie at the other process: page %q, though its token was refused", got)
				}
				c.calls(s, msauthtest.TokenRefresh, 2)
				if got := ask(c.T, s, testsite.HeaderOf(newer)).Text; got != testsite.HelloAda {
					c.Errorf("the newer cookie: page %q", got)
				}
			})
		})
	}
}
