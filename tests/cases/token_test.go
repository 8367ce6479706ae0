package cases_test

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

func TestCase012_NonceIsAlwaysSentAndNew(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t)
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	seen := map[string]bool{}
	for i := range 40 {
		q := b.AuthorizeQuery([]string{"/", "/auth/login", "/auth/login?prompt=login", "/a?b=c"}[i%4])
		nonce, state := q.Get("nonce"), q.Get("state")
		if len(nonce) != 22 || seen[nonce] || nonce == state || strings.Contains(state, nonce) {
			c.Errorf("nonce %q for state %q: want 22 characters that were never there", nonce, state)
		}
		seen[nonce] = true
	}
	if len(b.AuthorizeQuery("/")["nonce"]) != 1 {
		c.Error("the nonce is there twice")
	}
	s.MS.ResetCalls()
	b.Get("/done")
	c.calls(s, msauthtest.Authorize, 1)
	if got := s.MS.Calls(msauthtest.Authorize)[0].Query["nonce"]; len(got) != 1 || got[0] == "" {
		c.Errorf("nonce %q reached the provider", got)
	}
}

// refusesToken runs a sign-in whose ID token is not as it should be.
func (c *testCase) refusesToken(name, reason string, tamper func(*msauthtest.Behavior), changes ...func(*msauth.Config)) {
	c.Helper()
	c.run(name, func(c *testCase) {
		s := testsite.NewInProcess(c.T, changes...)
		s.MS.Set(tamper)
		s.As(msauthtest.Ada)
		b := s.Browser(c.T)
		c.refused(b, b.Get("/a"), 400, "start-again", reason)
		c.calls(s, msauthtest.TokenCode, 1)
		b.WantGreeting(testsite.HelloNobody)
		c.signedOut(b)
	})
}

func claimIs(name string, value any) func(*msauthtest.Behavior) {
	return func(b *msauthtest.Behavior) {
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { claims[name] = value }
	}
}

// claimAt is a time, seen from when the token is made.
func claimAt(name string, from time.Duration) func(*msauthtest.Behavior) {
	return func(b *msauthtest.Behavior) {
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { claims[name] = time.Now().Add(from).Unix() }
	}
}

func without(name string) func(*msauthtest.Behavior) {
	return func(b *msauthtest.Behavior) {
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { delete(claims, name) }
	}
}

func signed(how msauthtest.Signing) func(*msauthtest.Behavior) {
	return func(b *msauthtest.Behavior) { b.Signing = how }
}

func TestCase013_WrongNonceIsRefused(t *testing.T) {
	c := newCase(t)
	const reason = "nonce is missing or of another attempt"
	c.refusesToken("another text", reason, claimIs("nonce", "AAAAAAAAAAAAAAAAAAAAAA"))
	c.refusesToken("one character more", reason, func(b *msauthtest.Behavior) {
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { claims["nonce"] = claims["nonce"].(string) + "A" }
	})
	c.refusesToken("one character less", reason, func(b *msauthtest.Behavior) {
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { claims["nonce"] = claims["nonce"].(string)[:21] }
	})
	c.refusesToken("in other case", reason, func(b *msauthtest.Behavior) {
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) {
			claims["nonce"] = strings.Map(func(r rune) rune { return r ^ 0x20 }, claims["nonce"].(string))
		}
	})
}

// The nonce of another attempt of the same browser is another one, too.
func TestCase013_NonceOfTheOtherTab(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t)
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	other := b.AuthorizeQuery("/other").Get("nonce")
	s.MS.Set(claimIs("nonce", other))
	c.refused(b, b.Get("/a"), 400, "start-again", "nonce is missing or of another attempt")
	c.calls(s, msauthtest.TokenCode, 1)
}

func TestCase014_MissingNonceIsRefused(t *testing.T) {
	c := newCase(t)
	const reason = "nonce is missing or of another attempt"
	c.refusesToken("absent", reason, without("nonce"))
	for _, value := range []any{"", nil, map[string]any{}, []any{}, true} {
		c.refusesToken(fmt.Sprintf("%T %v", value, value), "ID token: ", claimIs("nonce", value))
	}
	c.refusesToken("number", "ID token: ", claimIs("nonce", 12345))
	c.refusesToken("list with the right one", "ID token: ", func(b *msauthtest.Behavior) {
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { claims["nonce"] = []any{claims["nonce"]} }
	})
	c.refusesToken("under another name", reason, func(b *msauthtest.Behavior) {
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) {
			claims["Nonce"] = claims["nonce"]
			delete(claims, "nonce")
		}
	})
}

func TestCase016_ChallengeIsAlwaysS256(t *testing.T) {
	c := newCase(t)
	for name, change := range map[string]func(map[string]any){
		"as Microsoft, without a list": func(map[string]any) {},
		"a list without S256":          func(doc map[string]any) { doc["code_challenge_methods_supported"] = []string{"plain"} },
		"an empty list":                func(doc map[string]any) { doc["code_challenge_methods_supported"] = []string{} },
		"no list but nonsense":         func(doc map[string]any) { doc["code_challenge_methods_supported"] = 7 },
	} {
		c.run(name, func(c *testCase) {
			s := testsite.NewInProcess(c.T)
			s.MS.Set(func(b *msauthtest.Behavior) { b.Discovery = change })
			b := s.Browser(c.T)
			seen := map[string]bool{}
			for range 5 {
				q := b.AuthorizeQuery("/")
				challenge := q.Get("code_challenge")
				if q.Get("code_challenge_method") != "S256" || !regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`).MatchString(challenge) || seen[challenge] {
					c.Errorf("challenge %q of method %q", challenge, q.Get("code_challenge_method"))
				}
				seen[challenge] = true
			}
			c.calls(s, msauthtest.Discovery, 1)
		})
	}
}

func TestCase017_VerifierFitsAndIsSeenNowhere(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t)
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	still := b.Still()
	start := still.Get("/a")
	cookies := fmt.Sprint(b.Cookies(), start.Header)
	to, _ := start.Location()
	back := still.Get(to.String())
	end := still.Get(back.Header.Get("Location"))
	c.calls(s, msauthtest.TokenCode, 1)
	form := s.MS.Calls(msauthtest.TokenCode)[0].Form
	verifier := form.Get("code_verifier")
	if !regexp.MustCompile(`^[A-Za-z0-9._~-]{43,128}$`).MatchString(verifier) || len(form["code_verifier"]) != 1 {
		c.Errorf("a verifier of %d characters, want 43 to 128 of the allowed ones", len(verifier))
	}
	sum := sha256.Sum256([]byte(verifier))
	if got := base64.RawURLEncoding.EncodeToString(sum[:]); got != to.Query().Get("code_challenge") {
		c.Errorf("the verifier hashes to %q, and the challenge was %q", got, to.Query().Get("code_challenge"))
	}
	// Neither it nor its bytes can be read from what travels through the browser.
	raw, _ := base64.RawURLEncoding.DecodeString(verifier)
	state, _ := base64.RawURLEncoding.DecodeString(to.Query().Get("state"))
	for _, text := range []string{cookies, to.String(), back.Header.Get("Location"), fmt.Sprint(end.Header), string(state), s.Log.String()} {
		if strings.Contains(text, verifier) || strings.Contains(text, string(raw)) {
			c.Error("the verifier can be read in a URL, a cookie or the log")
		}
	}
}

func TestCase018_CodeInjectionIsRefused(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t)
	s.As(msauthtest.Ada)
	victim := s.Browser(t)
	var stolen string
	testsite.Reworded(t, victim.Attempt("/a"), func(q url.Values) { stolen = q.Get("code") })

	s.As(msauthtest.Bruno)
	for _, signedIn := range []bool{false, true} {
		attacker := s.Browser(t)
		was := testsite.HelloNobody
		if signedIn {
			attacker.SignIn(msauthtest.Bruno)
			was = testsite.HelloBruno
		}
		before := fmt.Sprint(attacker.Session())
		mine := attacker.Attempt("/auth/login?return_to=/mine")
		s.MS.ResetCalls()
		c.refused(attacker, attacker.Get(testsite.Reworded(t, mine, func(q url.Values) { q.Set("code", stolen) })), 400, "start-again", "invalid_grant")
		c.calls(s, msauthtest.TokenCode, 1)
		if fmt.Sprint(attacker.Session()) != before {
			c.Error("the attacker's session has changed")
		}
		attacker.WantGreeting(was)
	}
}

func TestCase019_CodeRedeemedTwice(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t)
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	callback := b.Attempt("/a")
	cookies := b.Cookies()
	// The same address from a copy of the browser, before the answer came.
	copied := s.Browser(t)
	for _, cookie := range cookies {
		copied.Keep(cookie.Name, cookie.Value)
	}
	if got := b.Get(callback).Text; got != testsite.HelloAda {
		c.Fatalf("page %q", got)
	}
	s.MS.ResetCalls()
	// Where the attempt was finished it is over; another process does not know.
	c.refused(copied, copied.Get(callback), 400, "start-again", "finished before")
	c.calls(s, msauthtest.TokenCode, 0)
	for _, cookie := range cookies {
		copied.Keep(cookie.Name, cookie.Value)
	}
	s.Restart(c.T)
	res := copied.Get(callback)
	c.refused(copied, res, 400, "start-again", "AADSTS54005")
	if !strings.Contains(res.Text, "start again") {
		c.Errorf("the page does not say so: %s", res.Text)
	}
	c.calls(s, msauthtest.TokenCode, 1)
	if copied.Get(callback); s.MS.Count(msauthtest.TokenCode) != 1 {
		c.Error("the refused code was sent once more")
	}
	b.WantGreeting(testsite.HelloAda)
}

func TestCase020_RedirectURIIsTheConfiguredOne(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t)
	s.As(msauthtest.Ada)
	want := s.Cfg.BaseURL + "/callback"
	for _, header := range [][]string{
		{"Host", "evil.example"}, {"Host", "evil.example:443"}, {"X-Forwarded-Host", "evil.example"},
		{"X-Forwarded-Proto", "http"}, {"Forwarded", "host=evil.example;proto=http"}, {"X-Original-Host", "evil.example"},
		{"X-Forwarded-Prefix", "/evil"}, {"X-Original-URL", "/evil"}, {"X-Rewrite-URL", "/evil"}, {"X-HTTP-Host-Override", "evil.example"},
		{"X-Forwarded-Host", "evil.example", "X-Forwarded-Port", "1", "X-Forwarded-Server", "evil.example"},
	} {
		for _, target := range []string{"/a", "/auth/login?return_to=/a"} {
			b := s.Browser(t)
			s.MS.ResetCalls()
			q := b.AuthorizeQuery(target, header...)
			if got := q["redirect_uri"]; len(got) != 1 || got[0] != want {
				c.Errorf("%q: redirect_uri %q, want %q", header, got, want)
			}
		}
		// And in the exchange.
		b := s.Browser(t)
		callback := b.Attempt("/a")
		if header[0] == "Host" { // the jar would keep the cookies at home
			header = append(header, "Cookie", b.CookieLine())
		}
		res := b.Still().Get(callback, header...)
		if res.StatusCode != 303 || res.Header.Get("Location") != "/a" {
			c.Errorf("%q: the callback answers %d to %q", header, res.StatusCode, res.Header.Get("Location"))
		}
		c.calls(s, msauthtest.TokenCode, 1)
		if got := s.MS.Calls(msauthtest.TokenCode)[0].Form["redirect_uri"]; len(got) != 1 || got[0] != want {
			c.Errorf("%q: redirect_uri %q in the exchange, want %q", header, got, want)
		}
	}
}

func TestCase021_NoParametersOfTheCaller(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t)
	b := s.Browser(t)
	plain := b.AuthorizeQuery("/auth/login")
	for _, add := range []string{
		"scope=Mail.ReadWrite", "client_id=evil", "redirect_uri=https://evil.example/", "claims=%7B%7D", "max_age=0",
		"response_type=token", "response_mode=fragment", "state=x", "nonce=x", "code_challenge=x", "code_challenge_method=plain",
		"request=x", "request_uri=https://evil.example/", "acr_values=x", "id_token_hint=x", "resource=x", "login_hint=a&scope=x",
		"ui_locales=fr&response_mode=form_post", "prompt=login&prompt%5B%5D=none", "LOGIN_HINT=x", "domain_hint=x%26scope%3Dy",
	} {
		got := b.AuthorizeQuery("/auth/login?" + add)
		for name, values := range got {
			if len(values) != 1 {
				c.Errorf("%s: %s is there %d times", add, name, len(values))
			}
			switch name {
			case "state", "nonce", "code_challenge", "login_hint", "ui_locales", "mkt", "prompt", "domain_hint":
			default:
				if values[0] != plain.Get(name) {
					c.Errorf("%s: %s is %q, want %q", add, name, values[0], plain.Get(name))
				}
			}
		}
		for _, name := range []string{"state", "nonce", "code_challenge"} {
			if got.Get(name) == "x" || len(got.Get(name)) != len(plain.Get(name)) {
				c.Errorf("%s: %s is %q", add, name, got.Get(name))
			}
		}
	}
	for add, reason := range map[string]string{
		"prompt=none": "prompt is neither", "prompt=consent": "prompt is neither", "prompt=login%20none": "prompt is neither",
		"prompt=login&prompt=login": "prompt is repeated", "login_hint=a&login_hint=b": "login_hint is repeated",
		"return_to=/a&return_to=/b": "return_to is repeated", "login_hint=a%0d%0ab": "login_hint cannot be used",
		"ui_locales=" + strings.Repeat("x", 101): "ui_locales cannot be used", "sealed=x": "sealed is damaged", "sealed=x&sealed=y": "sealed is repeated",
		"login_hint=%zz": "malformed query", "a;b": "malformed query", "domain_hint=" + strings.Repeat("x", 5000): "domain_hint cannot be used",
	} {
		res := b.Still().Get("/auth/login?" + add)
		c.page(s, res, 400, "bad-request", reason)
		if len(res.Cookies()) != 0 {
			c.Errorf("%s: a cookie is set", add)
		}
	}
	c.calls(s, msauthtest.Authorize, 0)
}

func TestCase022_OtherAnswerModesAreRefused(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t)
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	if got := b.AuthorizeQuery("/").Get("response_mode"); got != "query" {
		c.Errorf("response_mode %q, want query", got)
	}
	callback := b.Attempt("/a")
	address, query, _ := strings.Cut(callback, "?")
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "PROPFIND"} {
		for _, target := range []string{address, callback} {
			req, err := http.NewRequest(method, target, strings.NewReader(query))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			res := b.Still().Send(req)
			if res.StatusCode != http.StatusMethodNotAllowed || res.Header.Get("Allow") != "GET" || len(res.Cookies()) != 0 {
				c.Errorf("%s %s: status %d, Allow %q, %d cookies", method, target, res.StatusCode, res.Header.Get("Allow"), len(res.Cookies()))
			}
		}
	}
	c.refused(b, b.Get(address+"#"+query), 400, "start-again", "state is missing")
	req, err := http.NewRequest(http.MethodGet, address, strings.NewReader(query)) // a GET with a form
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	c.refused(b, b.Send(req), 400, "start-again", "state is missing")
	c.refused(b, b.Get(address+"?"+strings.Replace(query, "code=", "id_token=", 1)), 400, "start-again", "neither code nor error")
	c.refused(b, b.Get(address+"?"+strings.Replace(query, "code=", "access_token=", 1)), 400, "start-again", "neither code nor error")
	c.calls(s, msauthtest.TokenCode, 0)
	if got := b.Get(callback).Text; got != testsite.HelloAda {
		c.Errorf("the right answer afterwards: %q", got)
	}
}
