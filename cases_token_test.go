package msauth_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

func TestCase012_NonceIsAlwaysSentAndNew(t *testing.T) {
	c := newCase(t)
	s := newSiteInProcess(t)
	s.as(msauthtest.Ada)
	b := s.browser(t)
	seen := map[string]bool{}
	for i := range 40 {
		q := b.authorizeQuery([]string{"/", "/auth/login", "/auth/login?prompt=login", "/a?b=c"}[i%4])
		nonce, state := q.Get("nonce"), q.Get("state")
		if len(nonce) != 22 || seen[nonce] || nonce == state || strings.Contains(state, nonce) {
			c.Errorf("nonce %q for state %q: want 22 characters that were never there", nonce, state)
		}
		seen[nonce] = true
	}
	if len(b.authorizeQuery("/")["nonce"]) != 1 {
		c.Error("the nonce is there twice")
	}
	s.ms.ResetCalls()
	b.get("/done")
	c.calls(s, msauthtest.Authorize, 1)
	if got := s.ms.Calls(msauthtest.Authorize)[0].Query["nonce"]; len(got) != 1 || got[0] == "" {
		c.Errorf("nonce %q reached the provider", got)
	}
}

// refusesToken runs a sign-in whose ID token is not as it should be.
func (c *testCase) refusesToken(name, reason string, tamper func(*msauthtest.Behavior), changes ...func(*msauth.Config)) {
	c.Helper()
	c.run(name, func(c *testCase) {
		s := newSiteInProcess(c.T, changes...)
		s.ms.Set(tamper)
		s.as(msauthtest.Ada)
		b := s.browser(c.T)
		c.refused(b, b.get("/a"), 400, "start-again", reason)
		c.calls(s, msauthtest.TokenCode, 1)
		b.wantGreeting(helloNobody)
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

// generic makes the plain OpenID provider of the test server that of the app.
func generic(s *site) func(*msauth.Config) {
	return func(c *msauth.Config) { c.Authority, c.Issuer = "", s.ms.URL+"/generic" }
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
	s := newSiteInProcess(t)
	s.as(msauthtest.Ada)
	b := s.browser(t)
	other := b.authorizeQuery("/other").Get("nonce")
	s.ms.Set(claimIs("nonce", other))
	c.refused(b, b.get("/a"), 400, "start-again", "nonce is missing or of another attempt")
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
			s := newSiteInProcess(c.T)
			s.ms.Set(func(b *msauthtest.Behavior) { b.Discovery = change })
			b := s.browser(c.T)
			seen := map[string]bool{}
			for range 5 {
				q := b.authorizeQuery("/")
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
	s := newSiteInProcess(t)
	s.as(msauthtest.Ada)
	b := s.browser(t)
	still := b.still()
	start := still.get("/a")
	cookies := fmt.Sprint(b.cookies(), start.Header)
	to, _ := start.Location()
	back := still.get(to.String())
	end := still.get(back.Header.Get("Location"))
	c.calls(s, msauthtest.TokenCode, 1)
	form := s.ms.Calls(msauthtest.TokenCode)[0].Form
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
	for _, text := range []string{cookies, to.String(), back.Header.Get("Location"), fmt.Sprint(end.Header), string(state), s.log.String()} {
		if strings.Contains(text, verifier) || strings.Contains(text, string(raw)) {
			c.Error("the verifier can be read in a URL, a cookie or the log")
		}
	}
}

func TestCase018_CodeInjectionIsRefused(t *testing.T) {
	c := newCase(t)
	s := newSiteInProcess(t)
	s.as(msauthtest.Ada)
	victim := s.browser(t)
	var stolen string
	reworded(t, victim.attempt("/a"), func(q url.Values) { stolen = q.Get("code") })

	s.as(msauthtest.Bruno)
	for _, signedIn := range []bool{false, true} {
		attacker := s.browser(t)
		was := helloNobody
		if signedIn {
			attacker.signIn(msauthtest.Bruno)
			was = helloBruno
		}
		before := fmt.Sprint(attacker.session())
		mine := attacker.attempt("/auth/login?return_to=/mine")
		s.ms.ResetCalls()
		c.refused(attacker, attacker.get(reworded(t, mine, func(q url.Values) { q.Set("code", stolen) })), 400, "start-again", "invalid_grant")
		c.calls(s, msauthtest.TokenCode, 1)
		if fmt.Sprint(attacker.session()) != before {
			c.Error("the attacker's session has changed")
		}
		attacker.wantGreeting(was)
	}
}

func TestCase019_CodeRedeemedTwice(t *testing.T) {
	c := newCase(t)
	s := newSiteInProcess(t)
	s.as(msauthtest.Ada)
	b := s.browser(t)
	callback := b.attempt("/a")
	cookies := b.cookies()
	// The same address from a copy of the browser, before the answer came.
	copied := s.browser(t)
	for _, cookie := range cookies {
		copied.keep(cookie.Name, cookie.Value)
	}
	if got := b.get(callback).body; got != helloAda {
		c.Fatalf("page %q", got)
	}
	s.ms.ResetCalls()
	res := copied.get(callback)
	c.refused(copied, res, 400, "start-again", "AADSTS54005")
	if !strings.Contains(res.body, "start again") {
		c.Errorf("the page does not say so: %s", res.body)
	}
	c.calls(s, msauthtest.TokenCode, 1)
	if copied.get(callback); s.ms.Count(msauthtest.TokenCode) != 1 {
		c.Error("the refused code was sent once more")
	}
	b.wantGreeting(helloAda)
}

func TestCase020_RedirectURIIsTheConfiguredOne(t *testing.T) {
	c := newCase(t)
	s := newSiteInProcess(t)
	s.as(msauthtest.Ada)
	want := s.cfg.BaseURL + "/callback"
	for _, header := range [][]string{
		{"Host", "evil.example"}, {"Host", "evil.example:443"}, {"X-Forwarded-Host", "evil.example"},
		{"X-Forwarded-Proto", "http"}, {"Forwarded", "host=evil.example;proto=http"}, {"X-Original-Host", "evil.example"},
		{"X-Forwarded-Prefix", "/evil"}, {"X-Original-URL", "/evil"}, {"X-Rewrite-URL", "/evil"}, {"X-HTTP-Host-Override", "evil.example"},
		{"X-Forwarded-Host", "evil.example", "X-Forwarded-Port", "1", "X-Forwarded-Server", "evil.example"},
	} {
		for _, target := range []string{"/a", "/auth/login?return_to=/a"} {
			b := s.browser(t)
			s.ms.ResetCalls()
			q := b.authorizeQuery(target, header...)
			if got := q["redirect_uri"]; len(got) != 1 || got[0] != want {
				c.Errorf("%q: redirect_uri %q, want %q", header, got, want)
			}
		}
		// And in the exchange.
		b := s.browser(t)
		callback := b.attempt("/a")
		if header[0] == "Host" { // the jar would keep the cookies at home
			header = append(header, "Cookie", b.cookieLine())
		}
		res := b.still().get(callback, header...)
		if res.StatusCode != 303 || res.Header.Get("Location") != "/a" {
			c.Errorf("%q: the callback answers %d to %q", header, res.StatusCode, res.Header.Get("Location"))
		}
		c.calls(s, msauthtest.TokenCode, 1)
		if got := s.ms.Calls(msauthtest.TokenCode)[0].Form["redirect_uri"]; len(got) != 1 || got[0] != want {
			c.Errorf("%q: redirect_uri %q in the exchange, want %q", header, got, want)
		}
	}
}

func TestCase021_NoParametersOfTheCaller(t *testing.T) {
	c := newCase(t)
	s := newSiteInProcess(t)
	b := s.browser(t)
	plain := b.authorizeQuery("/auth/login")
	for _, add := range []string{
		"scope=Mail.ReadWrite", "client_id=evil", "redirect_uri=https://evil.example/", "claims=%7B%7D", "max_age=0",
		"response_type=token", "response_mode=fragment", "state=x", "nonce=x", "code_challenge=x", "code_challenge_method=plain",
		"request=x", "request_uri=https://evil.example/", "acr_values=x", "id_token_hint=x", "resource=x", "login_hint=a&scope=x",
		"ui_locales=fr&response_mode=form_post", "prompt=login&prompt%5B%5D=none", "LOGIN_HINT=x", "domain_hint=x%26scope%3Dy",
	} {
		got := b.authorizeQuery("/auth/login?" + add)
		for name, values := range got {
			if len(values) != 1 {
				c.Errorf("%s: %s is there %d times", add, name, len(values))
			}
			switch name {
			case "state", "nonce", "code_challenge", "login_hint", "ui_locales", "prompt", "domain_hint":
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
		res := b.still().get("/auth/login?" + add)
		c.page(s, res, 400, "bad-request", reason)
		if len(res.Cookies()) != 0 {
			c.Errorf("%s: a cookie is set", add)
		}
	}
	c.calls(s, msauthtest.Authorize, 0)
}

func TestCase022_OtherAnswerModesAreRefused(t *testing.T) {
	c := newCase(t)
	s := newSiteInProcess(t)
	s.as(msauthtest.Ada)
	b := s.browser(t)
	if got := b.authorizeQuery("/").Get("response_mode"); got != "query" {
		c.Errorf("response_mode %q, want query", got)
	}
	callback := b.attempt("/a")
	address, query, _ := strings.Cut(callback, "?")
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "PROPFIND"} {
		for _, target := range []string{address, callback} {
			req, err := http.NewRequest(method, target, strings.NewReader(query))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			res := b.still().send(req)
			if res.StatusCode != http.StatusMethodNotAllowed || res.Header.Get("Allow") != "GET" || len(res.Cookies()) != 0 {
				c.Errorf("%s %s: status %d, Allow %q, %d cookies", method, target, res.StatusCode, res.Header.Get("Allow"), len(res.Cookies()))
			}
		}
	}
	c.refused(b, b.get(address+"#"+query), 400, "start-again", "state is missing")
	req, err := http.NewRequest(http.MethodGet, address, strings.NewReader(query)) // a GET with a form
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	c.refused(b, b.send(req), 400, "start-again", "state is missing")
	c.refused(b, b.get(address+"?"+strings.Replace(query, "code=", "id_token=", 1)), 400, "start-again", "neither code nor error")
	c.refused(b, b.get(address+"?"+strings.Replace(query, "code=", "access_token=", 1)), 400, "start-again", "neither code nor error")
	c.calls(s, msauthtest.TokenCode, 0)
	if got := b.get(callback).body; got != helloAda {
		c.Errorf("the right answer afterwards: %q", got)
	}
}

func TestCase023_WrongIssuerIsRefused(t *testing.T) {
	c := newCase(t)
	const us, them = msauthtest.TenantContoso, msauthtest.TenantFabrikam
	const origin = "http://localhost:9"
	for _, wrong := range []any{
		"https://evil.example/" + us + "/v2.0", origin + "/" + us + "/v2.0/", origin + "/" + us + "/v2.0 ",
		"https://localhost:9/" + us + "/v2.0", "http://LOCALHOST:9/" + us + "/v2.0", origin + "/" + strings.ToUpper(us) + "/v2.0",
		origin + "/" + them + "/v2.0", origin + "/" + us, origin + "/" + us + "/v1.0", origin + "." + us + "/v2.0",
		origin + "//" + us + "/v2.0", origin + "/common/v2.0", origin + "/" + us + "/v2.0#", "https://sts.windows.net/" + us + "/",
		"http://localhost/" + us + "/v2.0", "http://localhost:9@evil.example/" + us + "/v2.0", "", nil, 7, []any{origin + "/" + us + "/v2.0"},
	} {
		c.refusesToken(fmt.Sprintf("%v", wrong), "ID token: ", claimIs("iss", wrong))
	}
	c.refusesToken("absent", "ID token: ", without("iss"))
}

func TestCase023_WrongIssuerOfAnotherProvider(t *testing.T) {
	c := newCase(t)
	for _, wrong := range []string{"/generic/", "/Generic", "", "/" + msauthtest.TenantContoso + "/v2.0"} {
		c.run(wrong, func(c *testCase) {
			s := newSiteInProcess(c.T)
			s.restart(c.T, generic(s))
			s.ms.Set(claimIs("iss", s.ms.URL+wrong))
			s.as(msauthtest.Ada)
			b := s.browser(c.T)
			c.refused(b, b.get("/"), 400, "start-again", "different provider")
			c.calls(s, msauthtest.TokenCode, 1)
		})
	}
}

func TestCase024_WrongAudienceIsRefused(t *testing.T) {
	c := newCase(t)
	for _, wrong := range []any{
		"6731de76-14a6-49ae-97bc-6eba6914391e", []any{"6731de76-14a6-49ae-97bc-6eba6914391e"}, "00000003-0000-0000-c000-000000000000",
		"https://app.test/auth/callback", "*",
	} {
		c.refusesToken(fmt.Sprint(wrong), "expected audience", claimIs("aud", wrong))
	}
	c.refusesToken("ours with a space", "expected audience", func(b *msauthtest.Behavior) {
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { claims["aud"] = claims["aud"].(string) + " " }
	})
	c.refusesToken("ours and another's, meant for nobody", "azp is not this app", func(b *msauthtest.Behavior) {
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { claims["aud"] = []any{claims["aud"], "other"} }
	})
	c.refusesToken("ours and another's, meant for the other", "azp is not this app", func(b *msauthtest.Behavior) {
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) {
			claims["aud"], claims["azp"] = []any{claims["aud"], "other"}, "other"
		}
	})
	c.refusesToken("ours, meant for another", "azp is not this app", claimIs("azp", "other"))
}

func TestCase025_NoAudienceIsRefused(t *testing.T) {
	c := newCase(t)
	c.refusesToken("absent", "expected audience", without("aud"))
	for _, wrong := range []any{"", []any{}, []any{""}, 7, []any{7}, nil, true, map[string]any{"x": 1}} {
		c.refusesToken(fmt.Sprintf("%T %v", wrong, wrong), "ID token: ", claimIs("aud", wrong))
	}
}

func TestCase027_NoSubjectIsRefused(t *testing.T) {
	c := newCase(t)
	c.refusesToken("absent", "sub is missing", without("sub"))
	for _, wrong := range []any{"", nil} {
		c.refusesToken(fmt.Sprintf("%T %v", wrong, wrong), "sub is missing", claimIs("sub", wrong))
	}
	for _, wrong := range []any{7, []any{"x"}, true, map[string]any{}} {
		c.refusesToken(fmt.Sprintf("%T %v", wrong, wrong), "ID token: ", claimIs("sub", wrong))
	}
	// What identifies a Microsoft account besides.
	for _, name := range []string{"oid", "tid"} {
		c.refusesToken(name+" absent", name+" is", without(name))
		for _, wrong := range []any{"", "x", 7, msauthtest.TenantContoso + "x", "{" + msauthtest.TenantContoso + "}", strings.ReplaceAll(msauthtest.TenantContoso, "-", ""), msauthtest.TenantContoso + "\n"} {
			c.refusesToken(fmt.Sprintf("%s %q", name, wrong), name+" is", claimIs(name, wrong))
		}
	}
}

func TestCase028_NoIssueTimeIsRefused(t *testing.T) {
	c := newCase(t)
	c.refusesToken("absent", "iat is missing", without("iat"))
	c.refusesToken("null", "ID token: ", claimIs("iat", nil))
	for _, wrong := range []any{"now", "1700000000", []any{}, true, 1e300, -1e12} {
		c.refusesToken(fmt.Sprint(wrong), "ID token: ", claimIs("iat", wrong))
	}
	c.refusesToken("no exp", "exp is missing", without("exp"))
	c.refusesToken("exp null", "ID token: ", claimIs("exp", nil))
	for _, wrong := range []any{"never", 1e300, 0, -1, []any{}} {
		c.refusesToken(fmt.Sprint("exp ", wrong), "ID token: ", claimIs("exp", wrong))
	}
	c.refusesToken("expired two minutes ago", "expired 2m", claimAt("exp", -2*time.Minute))
}

func TestCase029_StaleTokenIsRefused(t *testing.T) {
	c := newCase(t)
	ago := func(d time.Duration) func(*msauthtest.Behavior) { return claimAt("iat", -d) }
	c.refusesToken("a week", "issued 168h", ago(7*24*time.Hour))
	c.refusesToken("just over an hour", "issued 1h0", ago(time.Hour+10*time.Second))
	c.refusesToken("1970", "ago by the clock of this server", claimIs("iat", 0))
	c.refusesToken("tomorrow", "in the future", ago(-24*time.Hour))
	c.refusesToken("in six minutes", "in the future by the clock", ago(-6*time.Minute-time.Second/2))
}

func TestCase031_NotBefore(t *testing.T) {
	c := newCase(t)
	c.refusesToken("an hour ahead", "not valid for another", claimAt("nbf", time.Hour))
	c.refusesToken("six minutes ahead", "not valid for another", claimAt("nbf", 6*time.Minute))
	for _, wrong := range []any{"now", nil, []any{}, 1e300} {
		c.refusesToken(fmt.Sprint(wrong), "ID token: ", claimIs("nbf", wrong))
	}
	for name, tamper := range map[string]func(*msauthtest.Behavior){
		"four minutes ahead": claimAt("nbf", 4*time.Minute),
		"absent":             without("nbf"),
	} {
		c.run(name, func(c *testCase) {
			s := newSiteInProcess(c.T)
			s.ms.Set(tamper)
			s.browser(c.T).signIn(msauthtest.Ada)
			c.calls(s, msauthtest.TokenCode, 1)
		})
	}
}

func TestCase032_FlippedBitIsRefused(t *testing.T) {
	c := newCase(t)
	c.refusesToken("flipped", "failed to verify signature", signed(msauthtest.SignFlippedBit))
	c.refusesToken("cut", "failed to verify signature", signed(msauthtest.SignTruncated))
	// The payload changed under a good signature; the signature gone, doubled, of another token.
	for name, change := range map[string]func(parts []string) string{
		"payload": func(p []string) string {
			payload, _ := base64.RawURLEncoding.DecodeString(p[1])
			return p[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(payload), "Ada", "Eve", 1))) + "." + p[2]
		},
		"header":       func(p []string) string { return p[0][:len(p[0])-1] + "." + p[1] + "." + p[2] },
		"no signature": func(p []string) string { return p[0] + "." + p[1] + "." },
		"two parts":    func(p []string) string { return p[0] + "." + p[1] },
		"four parts":   func(p []string) string { return strings.Join(p, ".") + "." + p[2] },
		"padding":      func(p []string) string { return strings.Join(p, ".") + "==" },
		"in JSON": func(p []string) string {
			return `{"payload":"` + p[1] + `","protected":"` + p[0] + `","signature":"` + p[2] + `"}`
		},
		"other text":       func(p []string) string { return "x" },
		"header in header": func(p []string) string { return p[0] + "." + p[0] + "." + p[2] },
	} {
		c.refusesToken(name, "ID token: ", func(b *msauthtest.Behavior) {
			b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) {
				reply["id_token"] = change(strings.Split(reply["id_token"].(string), "."))
			}
		})
	}
}

func TestCase033_AlgNoneIsRefused(t *testing.T) {
	c := newCase(t)
	c.refusesToken("none", "unexpected signature algorithm", signed(msauthtest.SignNone))
	for _, alg := range []string{"None", "NONE", "nOnE", "", "none "} {
		c.refusesToken("spelled "+alg, "ID token: ", func(b *msauthtest.Behavior) {
			b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) {
				p := strings.Split(reply["id_token"].(string), ".")
				head, _ := json.Marshal(map[string]string{"alg": alg, "typ": "JWT"})
				reply["id_token"] = base64.RawURLEncoding.EncodeToString(head) + "." + p[1] + "."
			}
		})
	}
}

// A provider that announces weak algorithms does not bring them in.
func TestCase033_AnnouncedWeakAlgorithms(t *testing.T) {
	c := newCase(t)
	for _, how := range []msauthtest.Signing{msauthtest.SignNone, msauthtest.SignHS256Secret, msauthtest.SignHS256Public} {
		c.run(string(how), func(c *testCase) {
			s := newSiteInProcess(c.T)
			s.restart(c.T, generic(s))
			s.ms.Set(func(b *msauthtest.Behavior) {
				b.Signing = how
				b.Discovery = func(doc map[string]any) {
					doc["id_token_signing_alg_values_supported"] = []string{"none", "HS256", "HS384", "HS512"}
				}
			})
			s.as(msauthtest.Ada)
			b := s.browser(c.T)
			c.refused(b, b.get("/"), 400, "start-again", "unexpected signature algorithm")
			c.calls(s, msauthtest.TokenCode, 1)
		})
	}
}

func TestCase034_HMACIsRefused(t *testing.T) {
	c := newCase(t)
	c.refusesToken("with the client secret", "unexpected signature algorithm", signed(msauthtest.SignHS256Secret))
	c.refusesToken("with the public key", "unexpected signature algorithm", signed(msauthtest.SignHS256Public))
	c.refusesToken("with a published secret", "unexpected signature algorithm", func(b *msauthtest.Behavior) {
		b.Signing = msauthtest.SignHS256Secret
		b.KeySet = func(keys []map[string]any) []map[string]any {
			return append([]map[string]any{{"kty": "oct", "k": "AAAA", "alg": "HS256", "use": "sig"}}, keys...)
		}
	})
}

func TestCase035_OtherAlgorithmsAreRefused(t *testing.T) {
	c := newCase(t)
	c.refusesToken("PS256", "unexpected signature algorithm", signed(msauthtest.SignPS256))
	c.refusesToken("ES256, though announced", "unexpected signature algorithm", func(b *msauthtest.Behavior) {
		b.Signing = msauthtest.SignES256
		b.Discovery = func(doc map[string]any) {
			doc["id_token_signing_alg_values_supported"] = []string{"RS256", "ES256", "PS256"}
		}
	})
}

func TestCase036_UnknownKeyIsRefused(t *testing.T) {
	c := newCase(t)
	c.refusesToken("under a published kid", "failed to verify signature", signed(msauthtest.SignUnknownKey))
	c.refusesToken("under a kid of its own", "failed to verify signature", signed(msauthtest.SignUnpublished))
	c.refusesToken("of personal accounts, for a work account", "failed to verify signature", signed(msauthtest.SignOtherClass))
	c.refusesToken("for encryption", "ID token: ", func(b *msauthtest.Behavior) {
		b.KeySet = func(keys []map[string]any) []map[string]any {
			other := map[string]any{}
			for _, key := range keys {
				for name, value := range key {
					other[name] = value
				}
				key["use"] = "enc"
			}
			other["kid"], other["n"] = "other", strings.Replace(other["n"].(string), "A", "B", 1)
			return append(keys, other)
		}
	})
	// Tokens with made-up kids do not make us fetch keys again and again.
	s := newSiteInProcess(t)
	s.ms.Set(signed(msauthtest.SignUnpublished))
	s.as(msauthtest.Ada)
	for range 5 {
		b := s.browser(t)
		c.refused(b, b.get("/"), 400, "start-again", "failed to verify signature")
	}
	c.calls(s, msauthtest.Keys, 2)
}

func TestCase037_NoKeyID(t *testing.T) {
	c := newCase(t)
	for name, behave := range map[string]func(*msauthtest.Behavior){
		"several keys": signed(msauthtest.SignWithoutKeyID),
		"one key": func(b *msauthtest.Behavior) {
			b.Signing = msauthtest.SignWithoutKeyID
			b.KeySet = func(keys []map[string]any) []map[string]any { return keys[1:] } // of work accounts
		},
	} {
		c.run(name, func(c *testCase) {
			s := newSiteInProcess(c.T)
			s.ms.Set(behave)
			s.browser(c.T).signIn(msauthtest.Ada)
			c.calls(s, msauthtest.Keys, 1)
		})
	}
	c.refusesToken("and no key that fits", "failed to verify signature", func(b *msauthtest.Behavior) {
		b.Signing = msauthtest.SignWithoutKeyID
		b.KeySet = func(keys []map[string]any) []map[string]any { return keys[:1] }
	})
	c.refusesToken("that is published", "failed to verify signature", signed(msauthtest.SignWrongKeyID))
}

func TestCase039_AccessTokenHash(t *testing.T) {
	c := newCase(t)
	for _, wrong := range []any{"", "AAAAAAAAAAAAAAAAAAAAAA", "x"} {
		c.refusesToken(fmt.Sprintf("%q", wrong), "at_hash does not fit", claimIs("at_hash", wrong))
	}
	c.refusesToken("number", "ID token: ", claimIs("at_hash", 7))
	c.refusesToken("null", "at_hash does not fit", claimIs("at_hash", nil))
	c.refusesToken("another access token under a good one", "at_hash does not fit", func(b *msauthtest.Behavior) {
		b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) { reply["access_token"] = "injected" }
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { claims["at_hash"] = "77QmUPtjPfzWtF2AnpK9RQ" }
	})
	c.run("absent at Microsoft, right elsewhere", func(c *testCase) {
		s := newSiteInProcess(c.T)
		s.browser(c.T).signIn(msauthtest.Ada)
		s.restart(c.T, generic(s))
		s.browser(c.T).signIn(msauthtest.Ada)
		c.calls(s, msauthtest.TokenCode, 2)
	})
}

func TestCase043_ClaimsOfEveryShape(t *testing.T) {
	c := newCase(t)
	strange := map[string]any{
		"name": "\u202eÅda \u0000<b>🦊", "email": nil, "preferred_username": []any{"x"}, "roles": "one", "groups": map[string]any{"a": 1},
		"hasgroups": "maybe", "xms_edov": []any{1}, "sid": 7, "login_hint": true, "auth_time": "x", "upn": []any{nil, 1.5, "x"},
	}
	for name, tamper := range map[string]func(*msauthtest.Behavior){
		"strange": func(b *msauthtest.Behavior) {
			b.IDToken = func(_ msauthtest.Kind, claims map[string]any) {
				for name, value := range strange {
					claims[name] = value
				}
			}
		},
		"bare": func(b *msauthtest.Behavior) {
			b.IDToken = func(_ msauthtest.Kind, claims map[string]any) {
				for name := range strange {
					delete(claims, name)
				}
			}
		},
		"overage": func(b *msauthtest.Behavior) {
			b.IDToken = func(_ msauthtest.Kind, claims map[string]any) {
				claims["_claim_names"] = map[string]string{"groups": "src1"}
				claims["_claim_sources"] = map[string]any{"src1": map[string]string{"endpoint": "https://graph.example/x"}}
			}
		},
		"overage of text": claimIs("hasgroups", "true"),
		"null lists": func(b *msauthtest.Behavior) {
			b.IDToken = func(_ msauthtest.Kind, claims map[string]any) {
				claims["roles"], claims["groups"] = nil, []any{nil, 1, []any{}, "g"}
			}
		},
		"deep": claimIs("upn", json.RawMessage(strings.Repeat("[", 200)+strings.Repeat("]", 200))),
	} {
		c.run(name, func(c *testCase) {
			s := newSiteInProcess(c.T, func(cfg *msauth.Config) { cfg.Claims = []string{"upn", "roles", "absent"} })
			got := make(chan msauth.User, 1)
			s.mux.Handle("/who", s.auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				session, _ := msauth.FromContext(r.Context())
				got <- session.User
			})))
			s.ms.Set(tamper)
			s.as(msauthtest.Ada)
			s.browser(c.T).get("/who")
			c.calls(s, msauthtest.TokenCode, 1)
			select {
			case u := <-got:
				if u.Key() == "" || u.TenantID != msauthtest.TenantContoso {
					c.Errorf("user %+v", u)
				}
				if name == "strange" && (u.Email != "" || u.EmailVerified || u.Username != "" || len(u.Groups) > 0 || !u.HasRole("one") || u.GroupsOverage) {
					c.Errorf("user %+v", u)
				}
				if strings.HasPrefix(name, "overage") != u.GroupsOverage {
					c.Errorf("overage %v", u.GroupsOverage)
				}
			default:
				c.Errorf("not signed in:\n%s", s.log)
			}
		})
	}
	// Distributed claims that contradict themselves are no shape to live with.
	c.refusesToken("claim names without a source", "source does not exist", claimIs("_claim_names", map[string]any{"groups": "src1"}))
	c.refusesToken("claim names of text", "ID token: ", claimIs("_claim_names", "x"))
	c.run("two hundred groups", func(c *testCase) {
		s := newSiteInProcess(c.T)
		s.as(msauthtest.Grace)
		b := s.browser(c.T)
		if got := b.get("/"); !strings.HasPrefix(got.body, "hello Grace") {
			c.Errorf("page %q", got.body)
		}
		s.ms.Set(func(b *msauthtest.Behavior) { b.GroupClaims = true })
		b = s.browser(c.T)
		if got := b.get("/"); !strings.HasPrefix(got.body, "hello Grace") {
			c.Errorf("page %q", got.body)
		}
		c.calls(s, msauthtest.TokenCode, 2)
	})
}
