package msauth_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/msauth/msauthtest"
)

// lifetime makes access tokens good for that long.
func (s *site) lifetime(d time.Duration) {
	s.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = d })
}

// failing makes the provider answer all renewals like this, if f is set.
func (s *site) failing(f msauthtest.Failure) {
	s.ms.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.TokenRefresh] = f })
}

// accessToken is the access token that a handler gets, or the error's text.
func (b *browser) accessToken() string {
	b.t.Helper()
	return b.get("/?token", script...).body
}

func TestCase100_RenewalHappens(t *testing.T) {
	c := newCase(t)
	c.bubble(func(c *testCase) {
		s := newSiteInProcess(c.T)
		s.lifetime(5 * time.Second)
		b, old := adaSession(c.T, s)
		before := b.accessToken()
		time.Sleep(5 * time.Second)
		res := b.get("/?token", script...)
		if res.StatusCode != 200 || res.body == before {
			c.Errorf("status %d, and the token is the same: %v", res.StatusCode, res.body == before)
		}
		if b.session()[0].Value == old.Value {
			c.Error("the cookie was not rewritten")
		}
		c.calls(s, msauthtest.TokenRefresh, 1)
		if got := s.ms.Calls(msauthtest.TokenRefresh)[0].Form; got.Get("scope") != "openid profile email offline_access User.Read" || got.Get("grant_type") != "refresh_token" {
			c.Errorf("the renewal asks with %v for %q", slices.Sorted(maps.Keys(got)), got.Get("scope"))
		}
	})
}

func TestCase101_StrictRotationIsKept(t *testing.T) {
	c := newCase(t)
	c.bubble(func(c *testCase) {
		s := newSiteInProcess(c.T)
		s.ms.Set(func(b *msauthtest.Behavior) { b.Rotation = msauthtest.RotateStrict })
		s.lifetime(time.Minute)
		b, _ := adaSession(c.T, s)
		for n := range 5 {
			time.Sleep(61 * time.Second)
			if got := b.get("/").body; got != helloAda {
				c.Errorf("renewal %d: page %q:\n%s", n+1, got, s.log)
			}
			c.calls(s, msauthtest.TokenRefresh, n+1)
		}
		used := map[string]bool{}
		for _, call := range s.ms.Calls(msauthtest.TokenRefresh) {
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
				s := newSiteInProcess(c.T)
				s.lifetime(time.Hour)
				b, _ := adaSession(c.T, s)
				s.ms.Set(behave)
				time.Sleep(time.Hour)
				b.wantGreeting(want)
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
	renewed("absent", func(b *msauthtest.Behavior) { renamed(b); b.OmitIDTokenOnRefresh = true }, helloAda, "")
	renewed("present", renamed, "hello Ada Renamed", "")
	renewed("with the first nonce", func(b *msauthtest.Behavior) {
		renamed(b)
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { claims["name"] = "Ada Renamed" }
	}, "hello Ada Renamed", "")
	// What cannot be verified brings no claims.
	for how, reason := range map[msauthtest.Signing]string{
		msauthtest.SignNone: "unexpected signature algorithm", msauthtest.SignHS256Public: "unexpected signature algorithm", msauthtest.SignUnknownKey: "failed to verify signature", msauthtest.SignFlippedBit: "failed to verify signature",
	} {
		renewed("signed "+string(how), func(b *msauthtest.Behavior) { renamed(b); b.Signing = how }, helloAda, reason)
	}
	renewed("another nonce", func(b *msauthtest.Behavior) {
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) {
			claims["nonce"], claims["name"] = "other", "Ada Renamed"
		}
	}, helloNobody, `event=session_ended`)
	renewed("old", func(b *msauthtest.Behavior) {
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) {
			claims["exp"], claims["name"] = time.Now().Add(-time.Hour).Unix(), "Ada Renamed"
		}
	}, helloAda, "expired 1h")
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
				s := newSiteInProcess(c.T)
				s.lifetime(time.Hour)
				b, _ := adaSession(c.T, s)
				s.ms.Set(behave)
				time.Sleep(time.Hour)
				res := b.still().get("/public/")
				if res.body != helloNobody {
					c.Errorf("page %q, want the session ended:\n%s", res.body, s.log)
				}
				c.logged(s, "event=session_ended", 1)
				c.calls(s, msauthtest.TokenRefresh, 1)
				c.signedOut(b)
			})
		})
	}
}

// atOnce sends n requests like one browser, with the cookies it has now.
func (b *browser) atOnce(n int, target string) map[string]int {
	cookie := b.cookieLine()
	var mu sync.Mutex
	got := map[string]int{}
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			req, _ := http.NewRequest("GET", b.site.URL+target, nil)
			req.Header.Set("Cookie", cookie)
			req.Header.Set("Accept", "*/*")
			res := b.site.browser(b.t).send(req)
			mu.Lock()
			defer mu.Unlock()
			got[res.body]++
		})
	}
	all.Wait()
	return got
}

func TestCase106_ThunderingHerd(t *testing.T) {
	c := newCase(t)
	c.bubble(func(c *testCase) {
		s := newSiteInProcess(c.T)
		s.ms.Set(func(b *msauthtest.Behavior) {
			b.Rotation, b.Delay = msauthtest.RotateStrict, map[msauthtest.Kind]time.Duration{msauthtest.TokenRefresh: time.Second}
		})
		s.lifetime(time.Minute)
		b, _ := adaSession(c.T, s)
		for round := range 3 {
			time.Sleep(61 * time.Second)
			if got := b.atOnce(50, "/"); got[helloAda] != 50 {
				c.Errorf("answers %v, want 50 greetings", got)
			}
			b.get("/")
			c.calls(s, msauthtest.TokenRefresh, round+1)
		}
	})
}

func TestCase107_HerdWithOldCookies(t *testing.T) {
	c := newCase(t)
	c.bubble(func(c *testCase) {
		s := newSiteInProcess(c.T)
		s.ms.Set(func(b *msauthtest.Behavior) { b.Rotation = msauthtest.RotateStrict })
		s.lifetime(10 * time.Minute)
		b, old := adaSession(c.T, s)
		time.Sleep(10 * time.Minute)
		b.get("/")
		newest := b.accessToken()
		for range 11 {
			time.Sleep(10 * time.Second)
			res := ask(c.T, s, headerOf(old))
			if res.body != helloAda {
				c.Errorf("page %q", res.body)
			}
			late := s.browser(c.T)
			late.keep(old.Name, old.Value)
			if late.accessToken() != newest {
				c.Error("a late request has another token")
			}
		}
		c.calls(s, msauthtest.TokenRefresh, 1)
		b.wantGreeting(helloAda)
	})
}

func TestCase108_TwoReplicas(t *testing.T) {
	c := newCase(t)
	for _, rotation := range []msauthtest.Rotation{msauthtest.RotateKeepOld, msauthtest.RotateStrict} {
		c.run("rotation "+string(rotation), func(c *testCase) {
			c.bubble(func(c *testCase) {
				s := newSiteInProcess(c.T)
				s.ms.Set(func(b *msauthtest.Behavior) { b.Rotation = rotation })
				s.lifetime(time.Hour)
				b, old := adaSession(c.T, s)
				first := s.current.Load()
				s.restart(c.T) // the second process
				time.Sleep(time.Hour)
				b.get("/") // renewed there
				newer := b.session()[0]
				s.current.Store(first)
				switch got := ask(c.T, s, headerOf(old)).body; {
				case rotation == msauthtest.RotateKeepOld && got != helloAda:
					c.Errorf("the old cookie at the other process: page %q", got)
				case rotation == msauthtest.RotateStrict && got != helloNobody:
					c.Errorf("the old cookie at the other process: page %q, though its token was refused", got)
				}
				c.calls(s, msauthtest.TokenRefresh, 2)
				if got := ask(c.T, s, headerOf(newer)).body; got != helloAda {
					c.Errorf("the newer cookie: page %q", got)
				}
			})
		})
	}
}

func TestCase110_FatalRefusals(t *testing.T) {
	c := newCase(t)
	for _, test := range []struct {
		error, suberror, claims string
		codes                   []int
		ends                    bool
	}{
		{"invalid_grant", "", "", []int{70000}, true}, {"invalid_grant", "bad_token", "", []int{50173}, true}, {"invalid_grant", "token_expired", "", []int{700082}, true},
		{"invalid_grant", "never heard of", "", nil, true}, {"invalid_grant", "BAD_TOKEN", "", nil, true},
		{"invalid_grant", "consent_required", "", []int{65001}, false}, {"invalid_grant", "basic_action", "", []int{50076}, false}, {"invalid_grant", "user_password_expired", "", nil, false},
		{"invalid_grant", "additional_action", "", nil, false}, {"invalid_grant", "message_only", "", nil, false}, {"invalid_grant", "protection_policy_required", "", nil, false}, {"invalid_grant", "device_authentication_failed", "", nil, false},
		{"interaction_required", "", "", []int{50076}, false}, {"interaction_required", "basic_action", `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`, nil, false},
		{"consent_required", "", "", nil, false}, {"login_required", "", "", nil, false}, {"invalid_grant", "", `{"access_token":{"x":null}}`, nil, false},
		// Numbers and texts decide nothing.
		{"invalid_grant", "", "", []int{50076}, true}, {"interaction_required", "", "", []int{50173}, false},
	} {
		c.run(fmt.Sprint(test), func(c *testCase) {
			c.bubble(func(c *testCase) {
				s := newSiteInProcess(c.T)
				s.lifetime(time.Hour)
				b, cookie := adaSession(c.T, s)
				time.Sleep(time.Hour)
				s.failing(msauthtest.Failure{Error: test.error, Suberror: test.suberror, Codes: test.codes, Claims: test.claims, Description: "AADSTS50076: AADSTS700082: try again later"})
				if res := b.get("/", script...); res.StatusCode != 401 {
					c.Errorf("a script gets status %d, page %q", res.StatusCode, res.body)
				}
				q := b.authorizeQuery("/a")
				if test.ends == q.Has("login_hint") || q.Get("claims") != test.claims {
					c.Errorf("the sign-in has login_hint %q, claims %q", q.Get("login_hint"), q.Get("claims"))
				}
				class := `outcome="step up"`
				if test.ends {
					class = `outcome="sign in again"`
				}
				c.logged(s, class, 1)
				for range 5 { // old copies of the cookie do not ask again
					time.Sleep(time.Minute)
					if got := ask(c.T, s, headerOf(cookie), script...).body; (got == helloNobody) != test.ends {
						c.Errorf("page %q", got)
					}
				}
				c.calls(s, msauthtest.TokenRefresh, 1)
				// The person comes back.
				s.failing(msauthtest.Failure{})
				s.as(msauthtest.Ada)
				if got := b.get("/a").body; got != helloAda {
					c.Errorf("after signing in again: page %q", got)
				}
			})
		})
	}
}

var transient = map[string]msauthtest.Failure{
	"500": {Status: 500}, "502 in HTML": {Status: 502, Body: "<html>", Header: http.Header{"Content-Type": {"text/html"}}}, "503": {Status: 503}, "429": {Status: 429}, "408": {Status: 408},
	"temporarily_unavailable": {Error: "temporarily_unavailable"}, "server_error": {Error: "server_error"}, "no JSON": {Status: 200, Body: "hello"}, "half a reply": {Status: 200, Body: `{"access_token":"x`},
	"an empty reply": {Status: 200, Body: "{}"}, "a list": {Status: 200, Body: "[]"}, "a redirect": {Status: 307, Header: http.Header{"Location": {"https://evil.example/token"}}}, "cut": {Close: true}, "silence": {Hang: true},
	"a captive portal": {Status: 200, Body: "<html>pay here", Header: http.Header{"Content-Type": {"text/html"}}}, "another type of token": {Status: 200, Body: `{"access_token":"x","token_type":"mac"}`},
}

func TestCase111_TransientBeforeExpiry(t *testing.T) {
	c := newCase(t)
	for name, failure := range transient {
		c.run(name, func(c *testCase) {
			c.bubble(func(c *testCase) {
				s := newSiteInProcess(c.T)
				s.lifetime(time.Hour)
				b, _ := adaSession(c.T, s)
				valid := b.accessToken()
				s.failing(failure)
				time.Sleep(59 * time.Minute)
				for range 3 {
					began := time.Now()
					if got := b.accessToken(); got != valid {
						c.Errorf("the handler gets %.80q, want the valid token", got)
					}
					if took := time.Since(began); took > time.Second {
						c.Errorf("after %v", took)
					}
				}
				b.wantGreeting(helloAda)
				c.calls(s, msauthtest.TokenRefresh, 1)
				time.Sleep(30 * time.Second)
				s.failing(msauthtest.Failure{})
				if got := b.accessToken(); got == valid || strings.Contains(got, "msauth") {
					c.Errorf("afterwards: %.80q", got)
				}
				c.calls(s, msauthtest.TokenRefresh, 2)
			})
		})
	}
}

func TestCase112_TransientAfterExpiry(t *testing.T) {
	c := newCase(t)
	for name, failure := range transient {
		c.run(name, func(c *testCase) {
			c.bubble(func(c *testCase) {
				s := newSiteInProcess(c.T)
				s.lifetime(time.Hour)
				b, _ := adaSession(c.T, s)
				s.failing(failure)
				time.Sleep(time.Hour)
				for range 5 { // ten minutes
					if got := b.get("/").body; got != helloAda {
						c.Errorf("page %q:\n%s", got, s.log)
					}
					if got := b.accessToken(); !strings.Contains(got, "msauth: retry") {
						c.Errorf("the handler gets %.80q", got)
					}
					time.Sleep(2 * time.Minute)
				}
				s.failing(msauthtest.Failure{})
				if got := b.accessToken(); strings.Contains(got, "msauth") {
					c.Errorf("afterwards: %q", got)
				}
				if n := s.ms.Count(msauthtest.TokenRefresh); n < 2 || n > 12 {
					c.Errorf("%d renewals tried in ten minutes", n)
				}
				c.calls(s, msauthtest.TokenCode, 1)
			})
		})
	}
}

func TestCase113_RetryAfter(t *testing.T) {
	c := newCase(t)
	for value, wait := range map[string][2]time.Duration{
		"120":        {120 * time.Second, 121 * time.Second},
		"at a date":  {120 * time.Second, 121 * time.Second},
		"":           {time.Second, 2 * time.Second},
		"-5":         {time.Second, 2 * time.Second},
		"0":          {time.Second, 2 * time.Second},
		"nonsense":   {time.Second, 2 * time.Second},
		"NaN":        {time.Second, 2 * time.Second},
		"1e300":      {time.Hour, time.Hour + time.Second},
		"315360000":  {time.Hour, time.Hour + time.Second},
		"a far date": {time.Hour, time.Hour + time.Second},
		"a past one": {time.Second, 2 * time.Second},
	} {
		for _, status := range []int{429, 503} {
			c.run(fmt.Sprint(value, status), func(c *testCase) {
				c.bubble(func(c *testCase) {
					s := newSiteInProcess(c.T)
					s.lifetime(2 * time.Hour)
					b, _ := adaSession(c.T, s)
					time.Sleep(2 * time.Hour)
					header := http.Header{}
					switch value {
					case "":
					case "at a date":
						header.Set("Retry-After", time.Now().Add(120*time.Second).UTC().Format(http.TimeFormat))
					case "a far date":
						header.Set("Retry-After", time.Now().Add(87600*time.Hour).UTC().Format(http.TimeFormat))
					case "a past one":
						header.Set("Retry-After", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
					default:
						header.Set("Retry-After", value)
					}
					s.failing(msauthtest.Failure{Status: status, Error: "temporarily_unavailable", Header: header})
					b.get("/", script...)
					c.calls(s, msauthtest.TokenRefresh, 1)
					time.Sleep(wait[0] - time.Second)
					b.get("/", script...)
					b.accessToken()
					c.calls(s, msauthtest.TokenRefresh, 1)
					time.Sleep(wait[1] - wait[0] + time.Second)
					b.get("/", script...)
					c.calls(s, msauthtest.TokenRefresh, 2)
				})
			})
		}
	}
}

func TestCase114_RefreshIn(t *testing.T) {
	c := newCase(t)
	c.bubble(func(c *testCase) {
		s := newSiteInProcess(c.T)
		s.ms.Set(func(b *msauthtest.Behavior) { b.RefreshIn = 30 * time.Minute })
		s.lifetime(time.Hour)
		b, _ := adaSession(c.T, s)
		first := b.accessToken()
		time.Sleep(29 * time.Minute)
		if b.accessToken() != first {
			c.Error("renewed too early")
		}
		time.Sleep(time.Minute)
		s.failing(msauthtest.Failure{Status: 500})
		if got := b.accessToken(); got != first {
			c.Errorf("a failure is noticed: %q", got)
		}
		c.calls(s, msauthtest.TokenRefresh, 1)
		s.failing(msauthtest.Failure{})
		time.Sleep(time.Minute)
		if got := b.accessToken(); got == first || strings.Contains(got, "msauth") {
			c.Errorf("not renewed: %.80q", got)
		}
		c.calls(s, msauthtest.TokenRefresh, 2)
	})
}

func TestCase116_ClientCancels(t *testing.T) {
	c := newCase(t)
	c.bubble(func(c *testCase) {
		s := newSiteInProcess(c.T)
		s.ms.Set(func(b *msauthtest.Behavior) {
			b.Rotation, b.Delay = msauthtest.RotateStrict, map[msauthtest.Kind]time.Duration{msauthtest.TokenRefresh: 3 * time.Second}
		})
		s.lifetime(time.Hour)
		b, _ := adaSession(c.T, s)
		time.Sleep(time.Hour)
		ctx, cancel := context.WithTimeout(c.Context(), 100*time.Millisecond)
		defer cancel()
		req, _ := http.NewRequestWithContext(ctx, "GET", s.URL+"/", nil)
		req.Header.Set("Cookie", b.cookieLine())
		rec := newRecorder()
		s.ServeHTTP(rec, req)
		// What it sets, if anything, is a whole session.
		for _, cookie := range rec.Result().Cookies() {
			if got := ask(c.T, s, cookie.Name+"="+cookie.Value); sessionCookie.MatchString(cookie.Name) && got.body != helloAda {
				c.Errorf("the cancelled request sets a cookie that shows %q", got.body)
			}
		}
		time.Sleep(4 * time.Second)
		if got := b.accessToken(); strings.Contains(got, "msauth") {
			c.Errorf("the next request gets %q", got)
		}
		c.calls(s, msauthtest.TokenRefresh, 1)
	})
}

func TestCase117_ClaimsChallenge(t *testing.T) {
	c := newCase(t)
	for challenge, want := range map[string]string{
		`{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`: `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`,
		"not JSON": "", `{"x":"` + strings.Repeat("y", 600) + `"}`: "", "": "",
		`{"a":"&prompt=none#"}`: `{"a":"&prompt=none#"}`,
	} {
		c.run(fmt.Sprintf("%.30s", challenge), func(c *testCase) {
			c.bubble(func(c *testCase) {
				s := newSiteInProcess(c.T)
				s.lifetime(time.Hour)
				b, _ := adaSession(c.T, s)
				time.Sleep(time.Hour)
				s.failing(msauthtest.Failure{Error: "interaction_required", Claims: challenge})
				for _, target := range []string{"/a", "/auth/login"} {
					got := b.authorizeQuery(target)
					if values := got["claims"]; len(values) > 1 || got.Get("claims") != want || got.Get("prompt") != "" {
						c.Errorf("%s: claims %q, prompt %q, want %q", target, values, got.Get("prompt"), want)
					}
				}
				if got := b.get("/public/?token", script...); want != "" && !strings.Contains(got.body, "step up") {
					c.Errorf("the old token is still given out: %.60q", got.body)
				}
				s.failing(msauthtest.Failure{})
				s.as(msauthtest.Ada)
				if got := b.get("/a").body; got != helloAda {
					c.Errorf("page %q", got)
				}
				if got := b.authorizeQuery("/auth/login"); got.Has("claims") {
					c.Error("the challenge goes on after it was answered")
				}
				c.calls(s, msauthtest.TokenRefresh, 1)
			})
		})
	}
}
