package cases_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

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
				s := testsite.NewInProcess(c.T)
				s.Lifetime(time.Hour)
				b, cookie := testsite.AdaSession(c.T, s)
				time.Sleep(time.Hour)
				s.Failing(msauthtest.Failure{Error: test.error, Suberror: test.suberror, Codes: test.codes, Claims: test.claims, Description: "AADSTS50076: AADSTS700082: try again later"})
				if res := b.Get("/", testsite.Script...); res.StatusCode != 401 {
					c.Errorf("a script gets status %d, page %q", res.StatusCode, res.Text)
				}
				q := b.AuthorizeQuery("/a")
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
					if got := ask(c.T, s, testsite.HeaderOf(cookie), testsite.Script...).Text; (got == testsite.HelloNobody) != test.ends {
						c.Errorf("page %q", got)
					}
				}
				c.calls(s, msauthtest.TokenRefresh, 1)
				// The person comes back.
				s.Failing(msauthtest.Failure{})
				s.As(msauthtest.Ada)
				if got := b.Get("/a").Text; got != testsite.HelloAda {
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
				s := testsite.NewInProcess(c.T)
				s.Lifetime(time.Hour)
				b, _ := testsite.AdaSession(c.T, s)
				valid := accessToken(b)
				s.Failing(failure)
				time.Sleep(59 * time.Minute)
				for range 3 {
					began := time.Now()
					if got := accessToken(b); got != valid {
						c.Errorf("the handler gets %.80q, want the valid token", got)
					}
					if took := time.Since(began); took > time.Second {
						c.Errorf("after %v", took)
					}
				}
				b.WantGreeting(testsite.HelloAda)
				c.calls(s, msauthtest.TokenRefresh, 1)
				time.Sleep(30 * time.Second)
				s.Failing(msauthtest.Failure{})
				if got := accessToken(b); got == valid || strings.Contains(got, "msauth") {
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
				s := testsite.NewInProcess(c.T)
				s.Lifetime(time.Hour)
				b, _ := testsite.AdaSession(c.T, s)
				s.Failing(failure)
				time.Sleep(time.Hour)
				for range 5 { // ten minutes
					if got := b.Get("/").Text; got != testsite.HelloAda {
						c.Errorf("page %q:\n%s", got, s.Log)
					}
					if got := accessToken(b); !strings.Contains(got, "msauth: retry") {
						c.Errorf("the handler gets %.80q", got)
					}
					time.Sleep(2 * time.Minute)
				}
				s.Failing(msauthtest.Failure{})
				if got := accessToken(b); strings.Contains(got, "msauth") {
					c.Errorf("afterwards: %q", got)
				}
				if n := s.MS.Count(msauthtest.TokenRefresh); n < 2 || n > 12 {
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
					s := testsite.NewInProcess(c.T)
					s.Lifetime(2 * time.Hour)
					b, _ := testsite.AdaSession(c.T, s)
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
					s.Failing(msauthtest.Failure{Status: status, Error: "temporarily_unavailable", Header: header})
					b.Get("/", testsite.Script...)
					c.calls(s, msauthtest.TokenRefresh, 1)
					time.Sleep(wait[0] - time.Second)
					b.Get("/", testsite.Script...)
					accessToken(b)
					c.calls(s, msauthtest.TokenRefresh, 1)
					time.Sleep(wait[1] - wait[0] + time.Second)
					b.Get("/", testsite.Script...)
					c.calls(s, msauthtest.TokenRefresh, 2)
				})
			})
		}
	}
}

func TestCase114_RefreshIn(t *testing.T) {
	c := newCase(t)
	c.bubble(func(c *testCase) {
		s := testsite.NewInProcess(c.T)
		s.MS.Set(func(b *msauthtest.Behavior) { b.RefreshIn = 30 * time.Minute })
		s.Lifetime(time.Hour)
		b, _ := testsite.AdaSession(c.T, s)
		first := accessToken(b)
		time.Sleep(29 * time.Minute)
		if accessToken(b) != first {
			c.Error("renewed too early")
		}
		time.Sleep(time.Minute)
		s.Failing(msauthtest.Failure{Status: 500})
		if got := accessToken(b); got != first {
			c.Errorf("a failure is noticed: %q", got)
		}
		c.calls(s, msauthtest.TokenRefresh, 1)
		s.Failing(msauthtest.Failure{})
		time.Sleep(time.Minute)
		if got := accessToken(b); got == first || strings.Contains(got, "msauth") {
			c.Errorf("not renewed: %.80q", got)
		}
		c.calls(s, msauthtest.TokenRefresh, 2)
	})
}

func TestCase116_ClientCancels(t *testing.T) {
	c := newCase(t)
	c.bubble(func(c *testCase) {
		s := testsite.NewInProcess(c.T)
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.Rotation, b.Delay = msauthtest.RotateStrict, map[msauthtest.Kind]time.Duration{msauthtest.TokenRefresh: 3 * time.Second}
		})
		s.Lifetime(time.Hour)
		b, _ := testsite.AdaSession(c.T, s)
		time.Sleep(time.Hour)
		ctx, cancel := context.WithTimeout(c.Context(), 100*time.Millisecond)
		defer cancel()
		req, _ := http.NewRequestWithContext(ctx, "GET", s.URL+"/", nil)
		req.Header.Set("Cookie", b.CookieLine())
		rec := httptest.NewRecorder()
		s.ServeHTTP(rec, req)
		// What it sets, if anything, is a whole session.
		for _, cookie := range rec.Result().Cookies() {
			if got := ask(c.T, s, cookie.Name+"="+cookie.Value); testsite.SessionCookie.MatchString(cookie.Name) && got.Text != testsite.HelloAda {
				c.Errorf("the cancelled request sets a cookie that shows %q", got.Text)
			}
		}
		time.Sleep(4 * time.Second)
		if got := accessToken(b); strings.Contains(got, "msauth") {
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
				s := testsite.NewInProcess(c.T)
				s.Lifetime(time.Hour)
				b, _ := testsite.AdaSession(c.T, s)
				time.Sleep(time.Hour)
				s.Failing(msauthtest.Failure{Error: "interaction_required", Claims: challenge})
				for _, target := range []string{"/a", "/auth/login"} {
					got := b.AuthorizeQuery(target)
					if values := got["claims"]; len(values) > 1 || got.Get("claims") != want || got.Get("prompt") != "" {
						c.Errorf("%s: claims %q, prompt %q, want %q", target, values, got.Get("prompt"), want)
					}
				}
				if got := b.Get("/public/?token", testsite.Script...); want != "" && !strings.Contains(got.Text, "step up") {
					c.Errorf("the old token is still given out: %.60q", got.Text)
				}
				s.Failing(msauthtest.Failure{})
				s.As(msauthtest.Ada)
				if got := b.Get("/a").Text; got != testsite.HelloAda {
					c.Errorf("page %q", got)
				}
				if got := b.AuthorizeQuery("/auth/login"); got.Has("claims") {
					c.Error("the challenge goes on after it was answered")
				}
				c.calls(s, msauthtest.TokenRefresh, 1)
			})
		})
	}
}
