package msauth_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

func TestSignInCostsOneTokenRequest(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.as(msauthtest.Ada)
	wantAll := func(what string, want map[msauthtest.Kind]int) {
		t.Helper()
		if got := s.calls(); !maps.Equal(got, want) {
			t.Errorf("%s: requests at the provider %v, want %v", what, got, want)
		}
		s.ms.ResetCalls()
	}

	first := s.browser(t)
	still := first.still()
	res := still.get("/page")
	if to := res.Header.Get("Location"); res.StatusCode != http.StatusSeeOther || !strings.HasPrefix(to, s.ms.URL+"/common/oauth2/v2.0/authorize?") {
		t.Fatalf("status %d to %q, want 303 straight to the provider", res.StatusCode, to)
	}
	wantAll("first navigation", map[msauthtest.Kind]int{msauthtest.Discovery: 1})
	first.get(first.attempt("/page"))
	wantAll("first sign-in", map[msauthtest.Kind]int{msauthtest.Authorize: 1, msauthtest.TokenCode: 1, msauthtest.Keys: 1})
	second := s.browser(t)
	second.signIn(msauthtest.Bruno)
	wantAll("second sign-in", map[msauthtest.Kind]int{msauthtest.Authorize: 1, msauthtest.TokenCode: 1})
	for range 3 {
		first.get("/page")
		second.get("/public/")
	}
	wantAll("signed in", map[msauthtest.Kind]int{})
}

// authorizeQuery begins a sign-in and returns what it asks of the provider.
func (b *browser) authorizeQuery(target string, header ...string) url.Values {
	b.t.Helper()
	res := b.still().get(target, header...)
	to, err := res.Location()
	if err != nil || res.StatusCode != http.StatusSeeOther || !strings.HasPrefix(to.String(), b.site.ms.URL+"/") {
		b.t.Fatalf("%s: status %d to %v, want a redirect to the provider; log:\n%s", target, res.StatusCode, to, b.site.log)
	}
	return to.Query()
}

func TestAuthorizeRequestIsExact(t *testing.T) {
	t.Parallel()
	microsoft := newSiteInProcess(t)
	generic := newSiteInProcess(t, func(c *msauth.Config) { c.Authority, c.Issuer = "", c.Authority+"/generic" })
	api := newSiteInProcess(t, func(c *msauth.Config) { c.Scopes = []string{"api://1/read", "profile", "api://1/read"} })
	link := func(o msauth.LoginOptions) string { return microsoft.auth.LoginURL(o) }
	tests := []struct {
		name   string
		site   *site
		target string
		want   map[string]string // beyond what is always there
	}{
		{"protected page", microsoft, "/page?prompt=login&scope=evil", nil},
		{"login link", microsoft, link(msauth.LoginOptions{}), nil},
		{"login link with everything", microsoft, link(msauth.LoginOptions{
			ReturnTo: "/there", Prompt: "select_account", LoginHint: "Ada <ada@contoso.example>", DomainHint: "contoso.example", UILocales: "fr-CA fr", AppState: "invitation 7",
		}), map[string]string{
			"prompt": "select_account", "login_hint": "Ada <ada@contoso.example>", "domain_hint": "contoso.example", "ui_locales": "fr-CA fr",
		}},
		{"prompt login", microsoft, "/auth/login?prompt=login", map[string]string{"prompt": "login"}},
		{"empty parameters", microsoft, "/auth/login?prompt=&login_hint=&return_to=", nil},
		{"parameters of an attacker", microsoft, "/auth/login?scope=Mail.ReadWrite&client_id=evil&redirect_uri=https://evil.example&claims=%7B%7D&max_age=0" +
			"&response_type=token&response_mode=fragment&state=evil&nonce=evil&code_challenge=evil&code_challenge_method=plain&login=1&resource=x&appState=evil&id_token_hint=x", nil},
		{"another provider", generic, "/page", map[string]string{"response_mode": "", "scope": "openid profile email offline_access"}},
		{"scopes of the app", api, "/page", map[string]string{"scope": "openid profile email offline_access api://1/read"}},
	}
	varying := map[string]*regexp.Regexp{
		"state":          regexp.MustCompile(`^[A-Za-z0-9_-]{100,924}$`),
		"nonce":          regexp.MustCompile(`^[A-Za-z0-9_-]{22}$`),
		"code_challenge": regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`),
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := test.site
			want := map[string]string{
				"client_id": s.ms.ClientID, "redirect_uri": s.URL + "/auth/callback", "response_type": "code", "response_mode": "query",
				"scope": "openid profile email offline_access User.Read", "code_challenge_method": "S256",
			}
			for name, value := range test.want {
				if want[name] = value; value == "" {
					delete(want, name)
				}
			}
			b := s.browser(t)
			one, two := b.authorizeQuery(test.target), b.authorizeQuery(test.target)
			got := map[string]string{}
			for name, values := range one {
				if len(values) != 1 {
					t.Errorf("%s is there %d times", name, len(values))
				}
				if form := varying[name]; form == nil {
					got[name] = values[0]
				} else if !form.MatchString(values[0]) || values[0] == two.Get(name) {
					t.Errorf("%s is %q, and %q the next time; want different ones of the form %v", name, values[0], two.Get(name), form)
				}
			}
			if len(one) != len(got)+3 || !maps.Equal(got, want) {
				t.Errorf("query %v, want %v, and state, nonce and code_challenge", got, want)
			}
			if strings.Contains(one.Get("state"), one.Get("nonce")) {
				t.Error("the nonce can be read in the state")
			}
		})
	}
}

func TestLoginRefusesWhatItCannotUse(t *testing.T) {
	t.Parallel()
	s := newSiteInProcess(t)
	b := s.browser(t)
	state := b.authorizeQuery("/").Get("state")
	link, _ := url.Parse(s.auth.LoginURL(msauth.LoginOptions{AppState: "good"}))
	sealed := link.Query().Get("sealed")
	other := newSiteInProcess(t, func(c *msauth.Config) { c.Keys = s.cfg.Keys })
	foreign, _ := url.Parse(other.auth.LoginURL(msauth.LoginOptions{AppState: "good"}))
	tests := []struct {
		name  string
		query string
		want  string
	}{
		{"return_to twice", "return_to=/a&return_to=/b", "return_to is repeated"},
		{"prompt twice", "prompt=login&prompt=login", "prompt is repeated"},
		{"login_hint twice", "login_hint=a&login_hint=", "login_hint is repeated"},
		{"domain_hint twice", "domain_hint=a&domain_hint=b", "domain_hint is repeated"},
		{"ui_locales twice", "ui_locales=a&ui_locales=b", "ui_locales is repeated"},
		{"sealed twice", "sealed=" + sealed + "&sealed=" + sealed, "sealed is repeated"},
		{"silent prompt", "prompt=none", "prompt is neither"},
		{"consent prompt", "prompt=consent", "prompt is neither"},
		{"two prompts", "prompt=login+select_account", "prompt is neither"},
		{"prompt in other case", "prompt=Login", "prompt is neither"},
		{"long login_hint", "login_hint=" + strings.Repeat("a", 201), "login_hint cannot be used"},
		{"login_hint with a line break", "login_hint=a%0D%0Ab", "login_hint cannot be used"},
		{"domain_hint with NUL", "domain_hint=%00", "domain_hint cannot be used"},
		{"return_to of 64 kB", "return_to=/" + strings.Repeat("a", 64<<10), "return_to cannot be used"},
		{"bad escape", "return_to=%zz", "malformed query"},
		{"semicolon", "return_to=/a;prompt=login", "malformed query"},
		{"sealed by nobody", "sealed=abc", "sealed is damaged"},
		{"sealed cut short", "sealed=" + sealed[1:], "sealed is damaged"},
		{"sealed for another app with these keys", "sealed=" + foreign.Query().Get("sealed"), "sealed is damaged"},
		{"a state in place of a sealed text", "sealed=" + state, "sealed is damaged"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := s.browser(t)
			res := b.get("/auth/login?" + test.query)
			s.wantPage(t, res, http.StatusBadRequest, "bad-request", test.want)
			if len(res.Cookies()) != 0 {
				t.Errorf("cookies %v, want none", res.Cookies())
			}
		})
	}
}

func TestLoginMethods(t *testing.T) {
	t.Parallel()
	s := newSiteInProcess(t)
	for method, want := range map[string]int{
		"GET": 303, "HEAD": 303, "POST": 303, "PUT": 405, "DELETE": 405, "OPTIONS": 405, "PATCH": 405,
	} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			res := s.browser(t).still().do(method, "/auth/login")
			if res.StatusCode != want {
				t.Fatalf("status %d, want %d", res.StatusCode, want)
			}
			if got := res.Header.Get("Allow"); (got == "GET, HEAD, POST") != (want == 405) {
				t.Errorf("Allow %q", got)
			}
			if got := len(res.Cookies()); (got == 1) != (want == 303) {
				t.Errorf("%d cookies", got)
			}
		})
	}
}

func TestStateIsNeverTooLong(t *testing.T) {
	t.Parallel()
	s := newSiteInProcess(t)
	s.as(msauthtest.Ada)
	path := func(n int) string { return "/" + strings.Repeat("p", n-1) }
	scopes := make([]string, 8)
	for i := range scopes {
		scopes[i] = fmt.Sprint(strings.Repeat("S", 48), i)
	}
	tests := []struct {
		name             string
		target, appState string
		scopes           []string
		want             string
	}{
		{"600 bytes", path(600), "", nil, path(600)},
		{"601 bytes of path", path(601), "", nil, "/"},
		{"600 bytes with a query", path(300) + "?" + strings.Repeat("q", 299), "", nil, path(300) + "?" + strings.Repeat("q", 299)},
		{"long query", path(300) + "?" + strings.Repeat("q", 1000), "", nil, path(300)},
		{"letters that grow", "/%C3%BC?" + strings.Repeat("q", 1000), "", nil, "/%C3%BC"},
		{"longest app state", path(300), strings.Repeat("s", 256), nil, path(300)},
		{"longest of both", path(600), strings.Repeat("s:", 128), nil, "/"},
		{"a query beside many scopes", path(100) + "?" + strings.Repeat("q", 400), "", scopes, path(100)},
		{"a query beside a long app state", path(200) + "?" + strings.Repeat("q", 399), strings.Repeat("s:", 128), nil, path(200)},
		{"a path beside many scopes", path(600), "", scopes, "/"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := s.browser(t)
			target := s.auth.LoginURL(msauth.LoginOptions{ReturnTo: test.target, AppState: test.appState, Scopes: test.scopes})
			u, _ := url.Parse(b.attempt(target))
			if n := len(u.Query().Get("state")); n > 1024 || n < 100 {
				t.Errorf("state of %d characters, want at most 1024", n)
			}
			if got := b.still().get(u.String()).Header.Get("Location"); got != test.want {
				t.Errorf("leads to %.50q (%d bytes), want %.50q (%d)", got, len(got), test.want, len(test.want))
			}
		})
	}
}

func TestTooLongAppStateIsTheAppsFault(t *testing.T) {
	t.Parallel()
	s := newSiteInProcess(t)
	b := s.browser(t)
	res := b.get(s.auth.LoginURL(msauth.LoginOptions{AppState: strings.Repeat("s", 257)}))
	s.wantPage(t, res, http.StatusInternalServerError, "app-error", "AppState is too long")
}

func TestRedirectURIDoesNotFollowTheRequest(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.as(msauthtest.Ada)
	want := s.URL + "/auth/callback"
	for _, header := range [][]string{
		{"Host", "evil.example"},
		{"X-Forwarded-Host", "evil.example"},
		{"X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "http", "X-Forwarded-Port", "80", "X-Forwarded-Prefix", "/evil"},
		{"Forwarded", "host=evil.example;proto=http"},
		{"X-Original-Url", "/evil", "X-Rewrite-Url", "/evil"},
	} {
		t.Run(strings.Join(header, " "), func(t *testing.T) {
			b := s.browser(t)
			for _, target := range []string{"/page", "/auth/login"} {
				if got := b.authorizeQuery(target, header...).Get("redirect_uri"); got != want {
					t.Errorf("%s: redirect_uri %q, want %q", target, got, want)
				}
			}
			back := b.attempt("/page", header...)
			s.ms.ResetCalls()
			res := b.still().get(back, header...)
			if got := res.Header.Get("Location"); got != "/page" {
				t.Errorf("leads to %q, want /page", got)
			}
			calls := s.ms.Calls(msauthtest.TokenCode)
			if len(calls) != 1 || calls[0].Form.Get("redirect_uri") != want {
				t.Errorf("redirect_uri of the token request %v, want %q", calls, want)
			}
			for _, c := range res.Cookies() {
				if !c.Secure || c.Domain != "" {
					t.Errorf("cookie %s is not Secure, or has a Domain", c.Name)
				}
			}
		})
	}
}

func TestTokenRequestIsExact(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.browser(t)
	s.as(msauthtest.Ada)
	to := b.still().get("/").Header.Get("Location")
	back := b.still().get(to).Header.Get("Location")
	b.get(back)
	asked, _ := url.Parse(to)
	answer, _ := url.Parse(back)
	call := s.ms.Calls(msauthtest.TokenCode)[0]
	want := url.Values{
		"grant_type": {"authorization_code"}, "code": {answer.Query().Get("code")}, "redirect_uri": {s.URL + "/auth/callback"},
		"client_id": {s.ms.ClientID}, "client_secret": {s.ms.ClientSecret}, "code_verifier": call.Form["code_verifier"],
	}
	if !maps.EqualFunc(call.Form, want, slices.Equal) || len(call.Query) != 0 || call.Header.Get("Authorization") != "" {
		t.Errorf("token request with %v, query %v, want only %v", slices.Collect(maps.Keys(call.Form)), call.Query, slices.Collect(maps.Keys(want)))
	}
	verifier := call.Form.Get("code_verifier")
	if !regexp.MustCompile(`^[A-Za-z0-9._~-]{43,128}$`).MatchString(verifier) {
		t.Error("code_verifier is not of the form of RFC 7636 section 4.1")
	}
	// The provider has compared it with the challenge; nowhere can it be read.
	for _, c := range b.cookies() {
		plain, _ := base64.RawURLEncoding.DecodeString(c.Value)
		if strings.Contains(c.Value, verifier) || strings.Contains(string(plain), verifier) {
			t.Errorf("cookie %s shows the verifier", c.Name)
		}
	}
	if strings.Contains(to+back+asked.Query().Get("state"), verifier) {
		t.Error("a URL shows the verifier")
	}
}

// flip changes one character of a base64url text.
func flip(s string, i int) string {
	c := byte('A')
	if s[i] == c {
		c = 'B'
	}
	return s[:i] + string(c) + s[i+1:]
}

func TestCallbackRefusesWithItsReason(t *testing.T) {
	t.Parallel()
	// A test opens the good address of a callback changed, or elsewhere.
	type open = func(s *site, b *browser, good *url.URL, q url.Values) seen
	query := func(change func(q url.Values)) open {
		return func(s *site, b *browser, good *url.URL, q url.Values) seen {
			change(q)
			return b.get("/auth/callback?" + q.Encode())
		}
	}
	raw := func(query string) open {
		return func(s *site, b *browser, good *url.URL, q url.Values) seen {
			return b.get("/auth/callback?" + strings.ReplaceAll(query, "GOOD", good.RawQuery))
		}
	}
	set := func(pairs ...string) open {
		return query(func(q url.Values) {
			for i := 0; i < len(pairs); i += 2 {
				if q.Set(pairs[i], pairs[i+1]); pairs[i+1] == "-" {
					q.Del(pairs[i])
				}
			}
		})
	}
	const state = "state is missing, altered or of another app"
	const unbound = "no cookie of this attempt"
	tests := []struct {
		name   string
		open   open
		status int
		kind   string
		want   string
	}{
		{"nothing at all", raw(""), 400, "start-again", state},
		{"no state", set("state", "-"), 400, "start-again", state},
		{"empty state", set("state", ""), 400, "start-again", state},
		{"no code", set("code", "-"), 400, "start-again", "neither code nor error"},
		{"empty code", set("code", ""), 400, "start-again", "neither code nor error"},
		{"code and error", set("error", "access_denied"), 400, "start-again", "both code and error"},
		{"state twice", raw("GOOD&state=evil"), 400, "start-again", "state is repeated"},
		{"state twice, the good one last", raw("state=evil&GOOD"), 400, "start-again", "state is repeated"},
		{"code twice", raw("GOOD&code=evil"), 400, "start-again", "code is repeated"},
		{"error twice", raw("GOOD&error=a&error=b"), 400, "start-again", "error is repeated"},
		{"iss twice", raw("GOOD&iss=a&iss=a"), 400, "start-again", "iss is repeated"},
		{"description twice", raw("GOOD&error_description=a&error_description=b"), 400, "start-again", "error_description is repeated"},
		{"bad escape", raw("GOOD&x=%zz"), 400, "start-again", "malformed query"},
		{"semicolon", raw("GOOD;x=1"), 400, "start-again", "malformed query"},
		{"state in other case", query(func(q url.Values) { q.Set("state", strings.ToUpper(q.Get("state"))) }), 400, "start-again", state},
		{"state cut short", query(func(q url.Values) { q.Set("state", q.Get("state")[1:]) }), 400, "start-again", state},
		{"state extended", query(func(q url.Values) { q.Set("state", q.Get("state")+"AAAA") }), 400, "start-again", state},
		{"state with padding", query(func(q url.Values) { q.Set("state", q.Get("state")+"=") }), 400, "start-again", state},
		{"code of 9 kB", set("code", strings.Repeat("A", 9<<10)), 400, "start-again", "code is too long"},
		{"state of 100 kB", set("state", strings.Repeat("A", 100_000)), 400, "start-again", state},
		{"state that is not base64", set("state", "{\"a\":1}"), 400, "start-again", state},
		{"first byte of the state changed", query(func(q url.Values) { q.Set("state", flip(q.Get("state"), 0)) }), 400, "start-again", state},
		{"a byte of the state changed", query(func(q url.Values) { q.Set("state", flip(q.Get("state"), 60)) }), 400, "start-again", state},
		{"last byte of the state changed", query(func(q url.Values) { q.Set("state", flip(q.Get("state"), len(q.Get("state"))-2)) }), 400, "start-again", state},
		{"sealed text of a login link", func(s *site, b *browser, good *url.URL, q url.Values) seen {
			link, _ := url.Parse(s.auth.LoginURL(msauth.LoginOptions{AppState: strings.Repeat("s", 200)}))
			q.Set("state", link.Query().Get("sealed"))
			return b.get("/auth/callback?" + q.Encode())
		}, 400, "start-again", state},
		{"state of another app with the same keys", func(s *site, b *browser, good *url.URL, q url.Values) seen {
			other := newSiteInProcess(b.t, func(c *msauth.Config) { c.Keys = s.cfg.Keys })
			q.Set("state", other.browser(b.t).authorizeQuery("/").Get("state"))
			return b.get("/auth/callback?" + q.Encode())
		}, 400, "start-again", state},
		{"another browser", func(s *site, b *browser, good *url.URL, q url.Values) seen {
			victim := s.browser(b.t)
			victim.authorizeQuery("/") // has an attempt of its own
			res := victim.get(good.String())
			victim.wantGreeting(helloNobody)
			return res
		}, 400, "start-again", unbound},
		{"another browser, where another person is signed in", func(s *site, b *browser, good *url.URL, q url.Values) seen {
			victim := s.browser(b.t)
			victim.signIn(msauthtest.Bruno)
			s.ms.ResetCalls()
			res := victim.get(good.String())
			victim.wantGreeting(helloBruno)
			return res
		}, 400, "start-again", unbound},
		{"browser without cookies", func(s *site, b *browser, good *url.URL, q url.Values) seen {
			return s.browser(b.t).get(good.String())
		}, 400, "cookies-blocked", unbound},
		{"cookie of the attempt changed", func(s *site, b *browser, good *url.URL, q url.Values) seen {
			for _, c := range b.cookies() {
				b.keep(c.Name, flip(c.Value, 5))
				defer b.keep(c.Name, c.Value)
			}
			return b.get(good.String())
		}, 400, "start-again", unbound},
		{"cookie of another attempt", func(s *site, b *browser, good *url.URL, q url.Values) seen {
			mine := b.cookies()[0]
			b.attempt("/")
			s.ms.ResetCalls()
			for _, c := range b.cookies() {
				if c.Name != mine.Name {
					b.keep(mine.Name, c.Value)
				}
			}
			defer b.keep(mine.Name, mine.Value)
			return b.get(good.String())
		}, 400, "start-again", unbound},
		{"answer by POST", func(s *site, b *browser, good *url.URL, q url.Values) seen {
			req, _ := http.NewRequest("POST", s.URL+"/auth/callback", strings.NewReader(q.Encode()))
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			return b.send(req)
		}, 405, "bad-request", ""},
		{"answer by POST with a query", func(s *site, b *browser, good *url.URL, q url.Values) seen {
			return b.do("POST", good.String())
		}, 405, "bad-request", ""},
		{"error without state", raw("error=access_denied&error_description=Call+0900-EVIL"), 400, "start-again", state},
		{"error with a wrong state", set("state", "evil", "code", "-", "error", "access_denied"), 400, "start-again", state},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSiteInProcess(t)
			s.as(msauthtest.Ada)
			b := s.browser(t)
			good, _ := url.Parse(b.attempt("/page"))
			s.ms.ResetCalls()
			res := test.open(s, b, good, good.Query())
			b.wantRefused(res, test.status, test.kind, test.want)
			s.wantNoCalls(t)
			if strings.Contains(res.body+s.log.String(), "EVIL") {
				t.Error("the text of an answer without a state is shown")
			}
			b.wantGreeting(helloNobody)
			// Nothing is spent: the true answer still works.
			if got := b.get(good.String()); got.body != helloAda || got.Request.URL.Path != "/page" {
				t.Errorf("the true callback afterwards: %d %q at %s, want %q at /page", got.StatusCode, got.body, got.Request.URL, helloAda)
			}
		})
	}
}

func TestEveryByteOfTheStateCounts(t *testing.T) {
	t.Parallel()
	s := newSiteInProcess(t)
	s.as(msauthtest.Ada)
	b := s.browser(t)
	good := b.attempt("/page")
	u, _ := url.Parse(good)
	q := u.Query()
	state := q.Get("state")
	for i := range state {
		q.Set("state", flip(state, i))
		if res := b.get("/auth/callback?" + q.Encode()); res.kind() != "start-again" {
			t.Fatalf("byte %d changed: status %d, page %q", i, res.StatusCode, res.kind())
		}
	}
	s.wantCalls(t, msauthtest.TokenCode, 0)
	if got := b.get(good).body; got != helloAda {
		t.Errorf("page %q afterwards, want %q", got, helloAda)
	}
}

func TestPrefetchedCallbackSpendsNothing(t *testing.T) {
	t.Parallel()
	s := newSiteInProcess(t)
	s.as(msauthtest.Ada)
	b := s.browser(t)
	good := b.attempt("/page")
	res := b.still().get(good, "Sec-Purpose", "prefetch;prerender", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document")
	if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Cache-Control") != "no-store" || len(res.Cookies()) > 0 {
		t.Errorf("status %d, %v, want 503 and no-store without cookies", res.StatusCode, res.Header)
	}
	s.wantCalls(t, msauthtest.TokenCode, 0)
	if got := b.get(good).body; got != helloAda {
		t.Errorf("page %q afterwards, want %q", got, helloAda)
	}
}

func TestSecondDeliveryLeadsOnWithoutATokenRequest(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.as(msauthtest.Ada)
	b := s.browser(t)
	good := b.attempt("/page?x=1")
	b.get(good)
	before := b.session()[0].Value
	s.ms.ResetCalls()
	res := b.still().get(good)
	if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/page?x=1" {
		t.Errorf("status %d to %q, want 303 to /page?x=1", res.StatusCode, res.Header.Get("Location"))
	}
	s.wantNoCalls(t)
	if b.session()[0].Value != before {
		t.Error("another session")
	}
	// Elsewhere, or after signing out, it is refused.
	other := s.browser(t)
	other.wantRefused(other.get(good), 400, "start-again", "no cookie of this attempt")
	b.do("POST", "/auth/logout", "Sec-Fetch-Site", "same-origin")
	s.ms.ResetCalls()
	b.keep("unrelated", "x")
	b.wantRefused(b.get(good), 400, "start-again", "no cookie of this attempt")
	s.wantCalls(t, msauthtest.TokenCode, 0)
	// A session of a later sign-in is not one of this attempt.
	b.signIn(msauthtest.Ada)
	s.ms.ResetCalls()
	b.wantRefused(b.get(good), 400, "start-again", "no cookie of this attempt")
	b.wantGreeting(helloAda)
}

func TestRefusedPageOffersTheSamePageAgain(t *testing.T) {
	t.Parallel()
	s := newSiteInProcess(t)
	s.as(msauthtest.Ada)
	good := s.browser(t).attempt("/page?x=1")
	res := s.browser(t).get(good)
	if want := `href="/auth/login?return_to=%2Fpage%3Fx%3D1"`; !strings.Contains(res.body, want) {
		t.Errorf("page %s, want %s", res.body, want)
	}
}

func TestCodeOfAnotherAttemptIsRefusedByTheProvider(t *testing.T) {
	t.Parallel()
	s := newSiteInProcess(t)
	s.as(msauthtest.Ada)
	victim := s.browser(t)
	stolen, _ := url.Parse(victim.attempt("/"))
	attacker := s.browser(t)
	attacker.signIn(msauthtest.Bruno)
	s.as(msauthtest.Bruno)
	own, _ := url.Parse(attacker.attempt("/auth/login"))
	q := own.Query()
	q.Set("code", stolen.Query().Get("code"))
	s.ms.ResetCalls()
	attacker.wantRefused(attacker.get("/auth/callback?"+q.Encode()), 400, "start-again", "AADSTS501481")
	s.wantCalls(t, msauthtest.TokenCode, 1)
	attacker.wantGreeting(helloBruno)
	attacker.wantRefused(attacker.get(own.String()), 400, "start-again", "no cookie of this attempt") // it is spent
	s.wantCalls(t, msauthtest.TokenCode, 1)
}

func TestAnswerThatCannotBeCompletedLeavesTheSession(t *testing.T) {
	t.Parallel()
	fail := func(kind msauthtest.Kind, f msauthtest.Failure) func(*msauthtest.Behavior) {
		return func(b *msauthtest.Behavior) { b.FailAlways[kind] = f }
	}
	answer := func(pairs ...string) func(*msauthtest.Behavior) {
		return func(b *msauthtest.Behavior) {
			b.AuthorizeAnswer = func(q url.Values) {
				q.Del("code")
				for i := 0; i < len(pairs); i += 2 {
					q.Set(pairs[i], pairs[i+1])
				}
			}
		}
	}
	tests := []struct {
		name   string
		behave func(*msauthtest.Behavior)
		calls  int // token requests
		status int
		kind   string
		want   string
	}{
		{"cancelled", answer("error", "access_denied", "error_subcode", "cancel"), 0, 403, "declined", "declined: access_denied"},
		{"cancelled, by its subcode alone", answer("error", "whatever", "error_subcode", "cancel"), 0, 403, "declined", "declined: whatever"},
		{"consent refused", fail(msauthtest.Authorize, msauthtest.Failure{Error: "access_denied"}), 0, 403, "declined", "AADSTS65004"},
		{"not assigned", fail(msauthtest.Authorize, msauthtest.Failure{Error: "access_denied", Codes: []int{50105}}), 0, 403, "not-allowed", "AADSTS50105"},
		{"not of this tenant", fail(msauthtest.Authorize, msauthtest.Failure{Error: "access_denied", Codes: []int{90072}}), 0, 403, "not-allowed", "AADSTS90072"},
		{"login required", answer("error", "login_required"), 0, 400, "start-again", "replay: login_required"},
		{"interaction required", answer("error", "interaction_required"), 0, 400, "start-again", "replay: interaction_required"},
		{"consent required", answer("error", "consent_required"), 0, 400, "start-again", "replay: consent_required"},
		{"provider busy", answer("error", "temporarily_unavailable"), 0, 400, "unavailable", "retry: temporarily_unavailable"},
		{"provider broken", answer("error", "server_error"), 0, 400, "unavailable", "retry: server_error"},
		{"bad request", answer("error", "invalid_request", "error_description", "AADSTS90023: Unsupported"), 0, 400, "app-error", "AADSTS90023"},
		{"unknown app", answer("error", "unauthorized_client"), 0, 400, "app-error", "app misconfigured: unauthorized_client"},
		{"unknown error", answer("error", "something_new"), 0, 400, "app-error", "app misconfigured: something_new"},

		{"iss of somebody else", func(b *msauthtest.Behavior) {
			b.AuthorizeAnswer = func(q url.Values) { q.Set("iss", "https://evil.example/v2.0") }
		}, 0, 400, "start-again", "iss of the answer is another issuer"},
		{"iss that begins right", func(b *msauthtest.Behavior) {
			b.AuthorizeAnswer = func(q url.Values) {
				q.Set("iss", "http://localhost:9/"+msauthtest.TenantContoso+"/v2.0.evil.example")
			}
		}, 0, 400, "start-again", "iss of the answer is another issuer"},
		{"iss of somebody else with an error", answer("error", "access_denied", "iss", "https://evil.example/v2.0"), 0, 400, "start-again", "iss of the answer is another issuer"},

		{"code used before", fail(msauthtest.TokenCode, msauthtest.Failure{Error: "invalid_grant", Codes: []int{54005}}), 1, 400, "start-again", "replay: invalid_grant"},
		{"code of an unknown kind", fail(msauthtest.TokenCode, msauthtest.Failure{Error: "invalid_grant", Suberror: "new_kind"}), 1, 400, "start-again", "replay: invalid_grant (new_kind)"},
		{"wrong secret", fail(msauthtest.TokenCode, msauthtest.Failure{Error: "invalid_client"}), 1, 500, "app-error", "AADSTS7000215"},
		{"unknown app at the token endpoint", fail(msauthtest.TokenCode, msauthtest.Failure{Error: "unauthorized_client"}), 1, 403, "not-allowed", "AADSTS700016"},
		{"unknown scope", fail(msauthtest.TokenCode, msauthtest.Failure{Error: "invalid_scope"}), 1, 400, "start-again", "AADSTS70011"},
		{"token endpoint down", fail(msauthtest.TokenCode, msauthtest.Failure{Status: 503}), 1, 503, "unavailable", "retry: HTTP status 503"},
		{"token endpoint throttles", fail(msauthtest.TokenCode, msauthtest.Failure{Status: 429}), 1, 503, "unavailable", "retry: HTTP status 429"},
		{"token endpoint cuts", fail(msauthtest.TokenCode, msauthtest.Failure{Close: true}), 1, 503, "unavailable", "retry"},
		{"token reply lost", fail(msauthtest.TokenCode, msauthtest.Failure{LoseReply: true}), 1, 503, "unavailable", "retry"},
		{"token endpoint redirects", fail(msauthtest.TokenCode, msauthtest.Failure{Status: 307, Body: "moved", Header: http.Header{"Location": {"http://evil.example/"}}}), 1, 503, "unavailable", "redirects, which is not followed"},
		{"token reply is a web page", fail(msauthtest.TokenCode, msauthtest.Failure{Body: "<html>proxy"}), 1, 503, "unavailable", "not JSON"},
		{"token reply is empty", fail(msauthtest.TokenCode, msauthtest.Failure{Body: "{}"}), 1, 503, "unavailable", "no bearer token"},
		{"token reply has no end", fail(msauthtest.TokenCode, msauthtest.Failure{Body: `{"access_token":"` + strings.Repeat("a", 1<<20)}), 1, 503, "unavailable", "reply too large"},
		{"token of another type", func(b *msauthtest.Behavior) {
			b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) { reply["token_type"] = "DPoP" }
		}, 1, 503, "unavailable", "no bearer token"},
		{"no ID token", func(b *msauthtest.Behavior) {
			b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) { delete(reply, "id_token") }
		}, 1, 502, "unavailable", "holds no ID token"},
		{"keys out of reach", fail(msauthtest.Keys, msauthtest.Failure{Status: 500}), 1, 503, "unavailable", "signing keys: GET"},
		{"no keys", func(b *msauthtest.Behavior) {
			b.KeySet = func([]map[string]any) []map[string]any { return nil }
		}, 1, 503, "unavailable", "none that can be used"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, signedIn := range []bool{false, true} {
				s := newSiteInProcess(t)
				b := s.browser(t)
				greeting := helloNobody
				if signedIn {
					b.signIn(msauthtest.Bruno)
					s.restart(t) // keys are not read yet
					greeting = helloBruno
				}
				s.as(msauthtest.Ada)
				s.ms.ResetCalls()
				s.ms.Set(test.behave)
				res := b.get("/auth/login?return_to=/page")
				b.wantRefused(res, test.status, test.kind, test.want)
				s.wantCalls(t, msauthtest.TokenCode, test.calls)
				b.wantGreeting(greeting)
				for _, c := range b.cookies() {
					if strings.Contains(c.Name, "-login-") {
						t.Errorf("the cookie of the attempt is still there")
					}
				}
			}
		})
	}
}

func TestErrorTextIsInert(t *testing.T) {
	t.Parallel()
	s := newSiteInProcess(t)
	b := s.browser(t)
	hostile := "<script>alert(1)</script>\r\nlevel=ERROR msg=forged\x00\u202egnp\u2028" + strings.Repeat("A", 100_000) + "END"
	s.ms.Set(func(b *msauthtest.Behavior) {
		b.AutoSignIn = msauthtest.Ada
		b.AuthorizeAnswer = func(q url.Values) {
			q.Del("code")
			q.Set("error", "evil<b>\n"+strings.Repeat("e", 1000))
			q.Set("error_description", hostile)
		}
	})
	res := b.get("/")
	b.wantRefused(res, 400, "app-error", "<script>alert(1)</script>")
	if strings.Contains(res.body, "alert") || strings.Contains(res.body, "evil") || len(res.body) > 8000 {
		t.Errorf("the page repeats the provider's text: %q", res.body)
	}
	if lines := s.log.with("msg=forged"); len(lines) != 1 || len(lines[0]) > 2000 || strings.ContainsAny(lines[0], "\x00\u202e\u2028\r") {
		t.Errorf("log lines %.500q, want one short one without control characters", lines)
	}
}

func TestIssInTheAnswer(t *testing.T) {
	t.Parallel()
	answer := func(f func(url.Values)) func(*msauthtest.Behavior) {
		return func(b *msauthtest.Behavior) { b.AnswerIssuer, b.AuthorizeAnswer = true, f }
	}
	tests := []struct {
		name   string
		behave func(*msauthtest.Behavior)
		want   string // reason to refuse
	}{
		{"announced and right", answer(nil), ""},
		{"announced and missing", answer(func(q url.Values) { q.Del("iss") }), "iss is missing from the answer"},
		{"announced and wrong", answer(func(q url.Values) { q.Set("iss", q.Get("iss")+"/") }), "another issuer"},
		{"announced and the template itself", answer(func(q url.Values) { q.Set("iss", "http://localhost:9/{tenantid}/v2.0") }), ""},
		{"not announced and right", func(b *msauthtest.Behavior) {
			b.AuthorizeAnswer = func(q url.Values) { q.Set("iss", "http://localhost:9/"+msauthtest.TenantContoso+"/v2.0") }
		}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSiteInProcess(t)
			s.as(msauthtest.Ada)
			s.ms.Set(test.behave)
			b := s.browser(t)
			res := b.get("/")
			if test.want == "" {
				if res.body != helloAda {
					t.Errorf("page %q, want %q; log:\n%s", res.body, helloAda, s.log)
				}
				return
			}
			b.wantRefused(res, 400, "start-again", test.want)
			s.wantCalls(t, msauthtest.TokenCode, 0)
		})
	}
}

func TestProviderOutOfReachAtSignIn(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ada := s.browser(t)
	ada.signIn(msauthtest.Ada)
	s.restart(t) // discovery is not read yet
	s.ms.Close()
	b := s.browser(t)
	res := b.get("/page")
	s.wantPage(t, res, http.StatusServiceUnavailable, "unavailable", "msauth: discovery")
	if res.Header.Get("Retry-After") == "" || len(res.Cookies()) > 0 {
		t.Errorf("headers %v, want Retry-After and no cookies", res.Header)
	}
	if got := ada.get("/").body; got != helloAda {
		t.Errorf("page %q for a person who is signed in, want %q", got, helloAda)
	}
}

func TestAttemptsExpire(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		start time.Duration // after midnight UTC
		after time.Duration
		want  string
	}{
		{"in time", time.Hour, 29*time.Minute + 59*time.Second, ""},
		{"in time, the next day", 24*time.Hour - 10*time.Minute, 29 * time.Minute, ""},
		{"too late", time.Hour, 30*time.Minute + time.Second, "took too long"},
		{"too late, the next day", 24*time.Hour - 10*time.Minute, 31 * time.Minute, "took too long"},
		{"two days later", time.Hour, 48 * time.Hour, "state is missing, altered"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(test.start)
				s := newSiteInProcess(t)
				s.as(msauthtest.Ada)
				b := s.browser(t)
				to := b.still().get("/page").Header.Get("Location")
				cookie := b.cookies()[0]
				time.Sleep(test.after) // at the provider's page
				b.keep(cookie.Name, cookie.Value)
				good := b.still().get(to).Header.Get("Location")
				res := b.get(good)
				if test.want == "" {
					if res.body != helloAda || res.Request.URL.Path != "/page" {
						t.Errorf("page %q, want %q; log:\n%s", res.body, helloAda, s.log)
					}
					return
				}
				kind := "expired"
				if strings.Contains(test.want, "altered") {
					kind = "start-again"
				}
				b.wantRefused(res, 400, kind, test.want)
				s.wantCalls(t, msauthtest.TokenCode, 0)
				if kind == "expired" && (len(b.cookies()) > 0 || !strings.Contains(res.body, "return_to=%2Fpage")) {
					t.Errorf("the attempt's cookie is left, or no way to start again: %q", res.body)
				}
			})
		})
	}
}

func TestAttemptCookieLastsAsLongAsItsAttempt(t *testing.T) {
	t.Parallel()
	s := newSiteInProcess(t)
	for _, c := range s.browser(t).still().get("/").Cookies() {
		if c.MaxAge != 30*60 || !regexp.MustCompile(`^__Host-msauth-[A-Za-z0-9]{6}-login-[0-9a-f]{16}$`).MatchString(c.Name) || len(c.Value) != 22 {
			t.Errorf("cookie %v, want 30 minutes, an id and 16 random bytes", c)
		}
	}
}

func TestLoginLinkWithAppStateLastsUntilTheNextDay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var got string
		s := newSiteInProcess(t, func(c *msauth.Config) {
			c.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error { got = in.AppState; return nil }
		})
		s.as(msauthtest.Ada)
		link := s.auth.LoginURL(msauth.LoginOptions{AppState: "invitation ü 7"})
		if strings.Contains(link, "invitation") {
			t.Errorf("link %q shows the app's state", link)
		}
		time.Sleep(47 * time.Hour)
		if s.browser(t).get(link); got != "invitation ü 7" {
			t.Errorf("AppState %q", got)
		}
		time.Sleep(time.Hour)
		s.wantPage(t, s.browser(t).get(link), 400, "bad-request", "sealed is damaged or too old")
	})
}

func TestSignInBegunUnderAnotherHostIsExplained(t *testing.T) {
	t.Parallel()
	s := newSiteInProcess(t)
	s.as(msauthtest.Ada)
	s.wire.(inProcess)["other.test"] = s
	b := s.browser(t)
	b.keep("unrelated", "x") // at app.test
	res := b.get("https://other.test/page")
	b.wantRefused(res, 400, "wrong-host", "sign-in began on https://other.test but BaseURL is https://app.test/auth")
	// Away from loopback the Host header may be a stranger's: the log says it,
	// the page does not.
	if strings.Contains(res.body, "other.test") || !strings.Contains(res.body, "https://app.test") {
		t.Errorf("the page names the wrong host, or not the right one: %s", res.body)
	}
	s.wantCalls(t, msauthtest.TokenCode, 0)
	// The page's first link works, because it is on the right host.
	if got := b.get("/auth/login?return_to=/page").body; got != helloAda {
		t.Errorf("page %q, want %q", got, helloAda)
	}
}

func TestBrowserWithoutCookiesIsToldSoAfterOneRound(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"https://app.test/auth", "http://localhost/auth"} {
		s := newSiteInProcess(t, func(c *msauth.Config) { c.BaseURL = base })
		s.URL = strings.TrimSuffix(base, "/auth")
		s.wire.(inProcess)["localhost"] = s
		s.as(msauthtest.Ada)
		b := s.browser(t)
		b.Jar = nil
		res := b.get("/page")
		b.wantRefused(res, 400, "cookies-blocked", "no cookie of this attempt, nor any other")
		s.wantCalls(t, msauthtest.Authorize, 1)
	}
}

func TestTabsDoNotDisturbEachOther(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.as(msauthtest.Ada)
	b := s.browser(t)
	var callbacks []string
	for i := range 10 {
		callbacks = append(callbacks, b.attempt(fmt.Sprintf("/tab/%d", i)))
	}
	for _, i := range []int{3, 9, 0, 1, 8, 2, 7, 5, 4, 6} {
		if got := b.get(callbacks[i]); got.body != helloAda || got.Request.URL.Path != fmt.Sprintf("/tab/%d", i) {
			t.Errorf("tab %d: page %q at %s", i, got.body, got.Request.URL)
		}
	}
	for _, c := range b.cookies() {
		if strings.Contains(c.Name, "-login-") {
			t.Errorf("%s is left", c.Name)
		}
	}
	s.wantCalls(t, msauthtest.TokenCode, 10)
}

func TestUnfinishedAttemptsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSiteInProcess(t)
		s.as(msauthtest.Ada)
		b := s.browser(t)
		var last string
		for i := range 500 {
			last = b.still().get(fmt.Sprintf("/tab/%d", i)).Header.Get("Location")
			time.Sleep(time.Second)
		}
		size := 0
		for _, c := range b.cookies() {
			size += len(c.Name) + len("=; ") + len(c.Value)
		}
		if n := len(b.cookies()); n != 16 || size > 1200 {
			t.Errorf("%d cookies of %d bytes, want 16 of at most 1200", n, size)
		}
		if got := b.get(last); got.body != helloAda || got.Request.URL.Path != "/tab/499" {
			t.Errorf("the last attempt leads to %q at %s", got.body, got.Request.URL)
		}
		// The ones that are left are the newest.
		var started []string
		for _, c := range b.cookies() {
			if _, id, ok := strings.Cut(c.Name, "-login-"); ok {
				started = append(started, id[:8])
			}
		}
		slices.Sort(started)
		newest := fmt.Sprintf("%08x", time.Now().Unix()-2)
		oldest := fmt.Sprintf("%08x", time.Now().Unix()-16)
		if len(started) != 15 || started[0] != oldest || started[14] != newest {
			t.Errorf("attempts left began at %v, want 15 from %s to %s", started, oldest, newest)
		}
	})
}

func TestAnotherPersonReplacesTheSession(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.browser(t)
	b.signIn(msauthtest.Ada)
	old, token := b.session(), b.get("/?token").body
	s.as(msauthtest.Bruno)
	if got := b.get("/auth/login?prompt=select_account&return_to=/page"); got.body != helloBruno || got.Request.URL.Path != "/page" {
		t.Fatalf("page %q at %s, want %q at /page", got.body, got.Request.URL, helloBruno)
	}
	if got := b.get("/?token").body; got == token || len(got) < 100 {
		t.Errorf("the token of the person before is still in use: %.20q", got)
	}
	thief := s.browser(t)
	for _, c := range old {
		thief.keep(c.Name, c.Value)
	}
	thief.wantGreeting(helloNobody)
	if got := len(s.log.with("reason=ended")); got != 1 {
		t.Errorf("%d lines about the session that was replaced, want 1", got)
	}
	thief.keep("unrelated", "x")
	s.ms.ResetCalls()
	if res := thief.still().get("/"); res.StatusCode != 303 {
		t.Errorf("status %d for the replaced session, want 303", res.StatusCode)
	}
}

func TestSessionsOfTheSamePersonAreDistinct(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.browser(t)
	b.signIn(msauthtest.Ada)
	planted := b.session()[0]
	other := s.browser(t)
	other.keep(planted.Name, planted.Value) // fixation: an attacker's own session
	s.as(msauthtest.Bruno)
	other.get("/auth/login")
	other.wantGreeting(helloBruno)
	if other.session()[0].Value == planted.Value {
		t.Error("sign-in goes on with the cookie that was there")
	}
	// The planted session was replaced in that browser, and is over.
	b.wantGreeting(helloNobody)
}

func TestOnSignIn(t *testing.T) {
	t.Parallel()
	type hook = func(w http.ResponseWriter, r *http.Request, in *msauth.SignIn) error
	var caught *msauth.Session
	tests := []struct {
		name   string
		hook   hook
		status int
		kind   string // of the page; "" for signed in
		want   string // reason, or where it leads
	}{
		{"admits", func(http.ResponseWriter, *http.Request, *msauth.SignIn) error { return nil }, 200, "", "/page"},
		{"leads elsewhere", func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
			in.ReturnTo = "/welcome?from=" + in.ReturnTo[1:]
			return nil
		}, 200, "", "/welcome?from=page"},
		{"leads to another site", func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
			in.ReturnTo = "https://evil.example/"
			return nil
		}, 200, "", "/"},
		{"leads to our own route", func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
			in.ReturnTo = "/auth/logout"
			return nil
		}, 200, "", "/"},
		{"uses the session", func(_ http.ResponseWriter, r *http.Request, in *msauth.SignIn) error {
			token, err := in.Session.Token(r.Context())
			if err != nil || token.AccessToken == "" || token.RefreshToken != "" || in.Session.User.Key() == "" {
				return fmt.Errorf("no token: %w", err)
			}
			caught = in.Session
			return nil
		}, 200, "", "/page"},
		{"replaces the session", func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
			in.Session = nil
			return nil
		}, 200, "", "/page"},
		{"keeps much", func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
			in.AppData = strings.Repeat("d", 512)
			return nil
		}, 200, "", "/page"},
		{"keeps too much", func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
			in.AppData = strings.Repeat("d", 513)
			return nil
		}, 500, "app-error", "AppData has 513 bytes"},
		{"refuses", func(http.ResponseWriter, *http.Request, *msauth.SignIn) error {
			return errors.New("<i>zebra</i>")
		}, 403, "not-allowed", "zebra"},
		{"panics", func(http.ResponseWriter, *http.Request, *msauth.SignIn) error { panic("a zebra") }, 500, "app-error", "OnSignIn panicked: a zebra"},
		{"panics with an error", func(http.ResponseWriter, *http.Request, *msauth.SignIn) error { panic(errors.New("zebra map")) }, 500, "app-error", "OnSignIn panicked: zebra map"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSiteInProcess(t, func(c *msauth.Config) {
				c.OnSignIn = func(w http.ResponseWriter, r *http.Request, in *msauth.SignIn) error {
					http.SetCookie(w, &http.Cookie{Name: "own", Value: "x", Path: "/"})
					return test.hook(w, r, in)
				}
			})
			s.as(msauthtest.Ada)
			b := s.browser(t)
			res := b.get("/page")
			if test.kind == "" {
				if res.body != helloAda || res.Request.URL.RequestURI() != test.want {
					t.Errorf("page %q at %s, want %q at %s; log:\n%s", res.body, res.Request.URL, helloAda, test.want, s.log)
				}
			} else {
				b.wantRefused(res, test.status, test.kind, test.want)
				b.wantGreeting(helloNobody)
				if strings.Contains(res.body, "zebra") {
					t.Error("the page shows the app's error")
				}
			}
			if !slices.ContainsFunc(b.cookies(), func(c *http.Cookie) bool { return c.Name == "own" }) {
				t.Error("the cookie of the hook's own is missing")
			}
			s.wantCalls(t, msauthtest.TokenCode, 1)
		})
	}
	t.Cleanup(func() {
		if caught == nil || caught.User.Name != "Ada Lindqvist" {
			t.Errorf("OnSignIn saw %v", caught)
		}
	})
}

func TestOnSignInRunsOncePerSignInAndItsDataStays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		runs := 0
		s := newSiteInProcess(t, func(c *msauth.Config) {
			c.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
				runs++
				in.AppData = fmt.Sprintf("row %d", runs)
				return nil
			}
		})
		s.mux.Handle("/data", s.auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			session, _ := msauth.FromContext(r.Context())
			fmt.Fprint(w, session.AppData)
		})))
		b := s.browser(t)
		b.signIn(msauthtest.Ada)
		time.Sleep(3 * time.Hour) // renewed
		if got := b.get("/data").body; got != "row 1" || runs != 1 {
			t.Errorf("AppData %q after %d runs, want row 1 after 1", got, runs)
		}
		s.wantCalls(t, msauthtest.TokenRefresh, 1)
		b.get("/auth/login")
		if got := b.get("/data").body; got != "row 2" || runs != 2 {
			t.Errorf("AppData %q after %d runs, want row 2 after 2", got, runs)
		}
	})
}

// claim sets one claim of every ID token; drop removes it.
func claim(name string, value any) func(*msauthtest.Behavior) {
	return claims(map[string]any{name: value})
}

func claims(set map[string]any) func(*msauthtest.Behavior) {
	return func(b *msauthtest.Behavior) {
		b.IDToken = func(_ msauthtest.Kind, c map[string]any) {
			for name, value := range set {
				if f, ok := value.(func(any) any); ok {
					value = f(c[name])
				}
				if c[name] = value; value == nil {
					delete(c, name)
				}
			}
		}
	}
}

func drop(name string) func(*msauthtest.Behavior) { return claim(name, nil) }

func TestIDToken(t *testing.T) {
	t.Parallel()
	const origin = "http://localhost:9"
	in := func(d time.Duration) func(any) any { return func(any) any { return time.Now().Add(d).Unix() } }
	text := func(f func(string) string) func(any) any { return func(v any) any { return f(v.(string)) } }
	suffix := func(s string) func(any) any { return text(func(v string) string { return v + s }) }
	with := func(also ...string) func(any) any {
		return func(v any) any { return append([]string{v.(string)}, also...) }
	}
	sign := func(how msauthtest.Signing) func(*msauthtest.Behavior) {
		return func(b *msauthtest.Behavior) { b.Signing = how }
	}
	keys := func(f func(key map[string]any)) func(*msauthtest.Behavior) {
		return func(b *msauthtest.Behavior) {
			b.KeySet = func(keys []map[string]any) []map[string]any {
				for _, key := range keys {
					f(key)
				}
				return keys
			}
		}
	}
	var self string // replaced by the client id
	const issuer, alg, signed = "issued by a different provider", "signature algorithm", "signed by no key that the provider publishes"
	tests := []struct {
		name   string
		behave func(*msauthtest.Behavior)
		want   string // reason to refuse; "" for accepted
	}{
		{"as it should be", func(*msauthtest.Behavior) {}, ""},

		{"iss of another host", claim("iss", "https://evil.example/"+msauthtest.TenantContoso+"/v2.0"), issuer},
		{"iss with a slash", claim("iss", suffix("/")), issuer},
		{"iss on https", claim("iss", text(func(s string) string { return strings.Replace(s, "http:", "https:", 1) })), issuer},
		{"iss in upper case", claim("iss", text(strings.ToUpper)), issuer},
		{"iss of the old version", claim("iss", "https://sts.windows.net/"+msauthtest.TenantContoso+"/"), issuer},
		{"iss of another tenant", claim("iss", origin+"/"+msauthtest.TenantFabrikam+"/v2.0"), issuer},
		{"iss is the template", claim("iss", origin+"/{tenantid}/v2.0"), issuer},
		{"iss missing", drop("iss"), issuer},
		{"iss is a list", claim("iss", []string{origin}), "failed to unmarshal claims"},
		{"tid of another tenant", claim("tid", msauthtest.TenantFabrikam), issuer},
		{"tid missing", drop("tid"), "tid is not a tenant id"},
		{"tid is a domain", claim("tid", "contoso.example"), "tid is not a tenant id"},
		{"tid is a number", claim("tid", 7), "tid is not a tenant id"},
		{"tid and iss are the template", claims(map[string]any{"tid": "{tenantid}", "iss": origin + "/{tenantid}/v2.0"}), "tid is not a tenant id"},
		{"tid in upper case", claim("tid", text(strings.ToUpper)), ""},

		{"aud of another app", claim("aud", "0c4d6a9d-0000-4000-8000-000000000000"), "expected audience"},
		{"aud missing", drop("aud"), "expected audience"},
		{"aud empty", claim("aud", ""), "expected audience"},
		{"aud an empty list", claim("aud", []string{}), "expected audience"},
		{"aud a number", claim("aud", 1), "failed to unmarshal claims"},
		{"aud a list of one", claim("aud", with()), ""},
		{"aud a list of two", claim("aud", with("other")), "azp is not this app"},
		{"aud a list of two, azp us", claims(map[string]any{"aud": with("other"), "azp": &self}), ""},
		{"aud a list of two, azp the other", claims(map[string]any{"aud": with("other"), "azp": "other"}), "azp is not this app"},
		{"azp another app", claim("azp", "other"), "azp is not this app"},
		{"azp us", claim("azp", &self), ""},

		{"sub missing", drop("sub"), "sub is missing"},
		{"sub empty", claim("sub", ""), "sub is missing"},
		{"sub a number", claim("sub", 7), "failed to unmarshal claims"},
		{"oid missing", drop("oid"), "oid is missing"},
		{"oid not a GUID", claim("oid", "ada"), "oid is missing"},
		{"oid a list", claim("oid", []string{"x"}), "oid is missing"},

		{"nonce of another attempt", claim("nonce", suffix("x")), "nonce is missing or of another attempt"},
		{"nonce missing", drop("nonce"), "nonce is missing or of another attempt"},
		{"nonce empty", claim("nonce", ""), "nonce is missing or of another attempt"},
		{"nonce a number", claim("nonce", 0), ""},
		{"nonce a list", claim("nonce", []string{""}), ""},

		{"expired", claim("exp", in(-61*time.Second)), "expired 1m"},
		{"expired within the leeway", claim("exp", in(-50*time.Second)), ""},
		{"exp missing", drop("exp"), "exp is missing"},
		{"exp a text", claim("exp", "tomorrow"), "failed to unmarshal claims"},
		{"exp beyond all time", claim("exp", 1e300), "exp is missing"},
		{"iat missing", drop("iat"), "iat is missing"},
		{"iat null", claim("iat", json.RawMessage("null")), "failed to unmarshal claims"},
		{"iat a week ago", claim("iat", in(-7*24*time.Hour)), "issued 168h0m"},
		{"iat over an hour ago", claim("iat", in(-61*time.Minute)), "issued 1h1m"},
		{"iat under an hour ago", claim("iat", in(-59*time.Minute)), ""},
		{"iat far ahead", claim("iat", in(6*time.Minute)), "in the future"},
		{"iat a little ahead", claim("iat", in(4*time.Minute)), ""},
		{"nbf far ahead", claim("nbf", in(time.Hour)), "not valid for another"},
		{"nbf a little ahead", claim("nbf", in(4*time.Minute)), ""},
		{"nbf missing", drop("nbf"), ""},
		{"nbf a text", claim("nbf", "now"), "failed to unmarshal claims"},
		{"times with fractions", claims(map[string]any{"iat": float64(time.Now().Unix()) + 0.5, "exp": float64(time.Now().Unix()) + 3600.25}), ""},

		{"at_hash wrong", claim("at_hash", "AAAAAAAAAAAAAAAAAAAAAA"), "at_hash does not fit"},
		{"at_hash empty", claim("at_hash", ""), "at_hash does not fit"},
		{"at_hash absent", drop("at_hash"), ""},

		{"alg none", sign(msauthtest.SignNone), alg},
		{"alg HS256 with the client secret", sign(msauthtest.SignHS256Secret), alg},
		{"alg HS256 with the public key", sign(msauthtest.SignHS256Public), alg},
		{"alg PS256", sign(msauthtest.SignPS256), alg},
		{"alg ES256 with a published key", sign(msauthtest.SignES256), alg},
		{"key that is not published under a known id", sign(msauthtest.SignUnknownKey), signed},
		{"key that is not published", sign(msauthtest.SignUnpublished), signed},
		{"key of the other class of accounts", sign(msauthtest.SignOtherClass), signed},
		{"good signature under an unknown id", sign(msauthtest.SignWrongKeyID), signed},
		{"good signature without an id, two keys", sign(msauthtest.SignWithoutKeyID), ""},
		{"one bit of the signature changed", sign(msauthtest.SignFlippedBit), signed},
		{"signature cut short", sign(msauthtest.SignTruncated), signed},
		{"keys for encryption", keys(func(key map[string]any) { key["use"] = "enc" }), "none that can be used"},
		{"keys of another algorithm", keys(func(key map[string]any) { key["alg"] = "RS512" }), signed},
		{"keys of another issuer", keys(func(key map[string]any) { key["issuer"] = origin + "/" + msauthtest.TenantFabrikam + "/v2.0" }), signed},
		{"keys of another cloud", keys(func(key map[string]any) { key["issuer"] = "https://evil.example/{tenantid}/v2.0" }), signed},
		{"keys without an issuer", keys(func(key map[string]any) { delete(key, "issuer") }), ""},
		{"keys without a certificate", keys(func(key map[string]any) { delete(key, "x5c") }), ""},
		{"keys with a broken certificate", keys(func(key map[string]any) { key["x5c"] = []string{"AAAA"} }), ""},
		{"keys of unknown kinds beside", func(b *msauthtest.Behavior) {
			b.KeySet = func(keys []map[string]any) []map[string]any {
				return append([]map[string]any{{"kty": "PQ", "kid": "1"}, {"kty": "oct", "k": "c2VjcmV0", "kid": "2"}, {}, {"kty": "RSA", "n": "AQ", "e": 7}}, keys...)
			}
		}, ""},

		{"overage of an odd shape", claim("_claim_names", []string{"groups"}), "failed to unmarshal claims"},
		{"not a JWT", func(b *msauthtest.Behavior) {
			b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) { reply["id_token"] = "a.b.c" }
		}, "not a JWT"},
		{"encrypted", func(b *msauthtest.Behavior) {
			b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) { reply["id_token"] = "e30.e30.e30.e30.e30" }
		}, "not a JWT"},
		{"an access token in its place", func(b *msauthtest.Behavior) {
			b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) { reply["id_token"] = reply["access_token"] }
		}, issuer},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSiteInProcess(t)
			s.as(msauthtest.Ada)
			s.ms.Set(test.behave)
			s.ms.Set(func(b *msauthtest.Behavior) {
				if change := b.IDToken; change != nil {
					b.IDToken = func(kind msauthtest.Kind, c map[string]any) {
						change(kind, c)
						if c["azp"] == &self {
							c["azp"] = s.ms.ClientID
						}
					}
				}
			})
			b := s.browser(t)
			res := b.get("/page")
			s.wantCalls(t, msauthtest.TokenCode, 1)
			switch {
			case test.want == "" && strings.HasPrefix(test.name, "nonce a "):
				if res.StatusCode != 400 || res.kind() != "start-again" || len(s.log.with("nonce")) == 0 {
					t.Errorf("status %d, page %q, want a refusal that names the nonce; log:\n%s", res.StatusCode, res.kind(), s.log)
				}
			case test.want == "":
				if res.body != helloAda {
					t.Errorf("page %q, want %q; log:\n%s", res.body, helloAda, s.log)
				}
			case test.want == "none that can be used":
				b.wantRefused(res, 503, "unavailable", test.want)
			default:
				b.wantRefused(res, 400, "start-again", test.want)
				b.wantGreeting(helloNobody)
			}
		})
	}
}

func TestNewSigningKeysAreFetchedOnceAndNotForEveryForgery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSiteInProcess(t)
		early := s.browser(t)
		early.signIn(msauthtest.Ada)
		s.ms.RollKeys()
		s.browser(t).signIn(msauthtest.Bruno)
		s.wantCalls(t, msauthtest.Keys, 2)
		early.wantGreeting(helloAda)

		s.as(msauthtest.Ada)
		s.ms.Set(func(b *msauthtest.Behavior) { b.Signing = msauthtest.SignWrongKeyID })
		for range 3 { // within 5 minutes of the last time
			if res := s.browser(t).get("/"); res.kind() != "start-again" {
				t.Errorf("page %q, want a refusal", res.kind())
			}
		}
		s.wantCalls(t, msauthtest.Keys, 2)
		time.Sleep(5 * time.Minute)
		s.browser(t).get("/")
		s.browser(t).get("/")
		s.wantCalls(t, msauthtest.Keys, 3)
	})
}

func TestSigningKeysOutliveAnOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSiteInProcess(t)
		s.browser(t).signIn(msauthtest.Ada)
		s.ms.Set(func(b *msauthtest.Behavior) {
			b.FailAlways[msauthtest.Keys] = msauthtest.Failure{Status: 500}
			b.FailAlways[msauthtest.Discovery] = msauthtest.Failure{Hang: true}
		})
		for _, wait := range []time.Duration{time.Hour, 12 * time.Hour, 24 * time.Hour} {
			time.Sleep(wait)
			s.browser(t).signIn(msauthtest.Bruno)
		}
		s.ms.Set(func(b *msauthtest.Behavior) { clear(b.FailAlways) })
		time.Sleep(24 * time.Hour)
		s.ms.ResetCalls()
		s.browser(t).signIn(msauthtest.Bruno)
		s.wantCalls(t, msauthtest.Keys, 1)
		s.wantCalls(t, msauthtest.Discovery, 1)
	})
}

// user signs Ada in and returns what a handler sees of her.
func (b *browser) user(path string) (u msauth.User) {
	b.t.Helper()
	b.site.mux.Handle("/user", b.site.auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, _ := msauth.FromContext(r.Context())
		json.NewEncoder(w).Encode(session.User)
	})))
	res := b.get("/user")
	if err := json.Unmarshal([]byte(res.body), &u); err != nil {
		b.t.Fatalf("%v: page %q; log:\n%s", err, res.body, b.site.log)
	}
	return u
}

func TestClaimsOfAnyShapeReachTheApp(t *testing.T) {
	t.Parallel()
	sources := map[string]any{"src1": map[string]string{"endpoint": "https://graph.example/getMemberObjects"}}
	many := slices.Repeat([]string{"0b4c1a52-0000-4000-8000-00000000000f"}, 20)
	tests := []struct {
		name   string
		claims map[string]any
		want   func(u *msauth.User) // changes what is seen as a rule
	}{
		{"as usual", nil, func(u *msauth.User) {}},
		{"names in other scripts", map[string]any{"name": "Ὀδυσσεύς 🚢 <b>\x00\u202e"}, func(u *msauth.User) { u.Name = "Ὀδυσσεύς 🚢 <b>\x00\u202e" }},
		{"name missing", map[string]any{"name": nil}, func(u *msauth.User) { u.Name = "" }},
		{"name a number", map[string]any{"name": 7}, func(u *msauth.User) { u.Name = "" }},
		{"name null", map[string]any{"name": json.RawMessage("null")}, func(u *msauth.User) { u.Name = "" }},
		{"email missing", map[string]any{"email": nil}, func(u *msauth.User) { u.Email, u.EmailVerified = "", false }},
		{"email empty", map[string]any{"email": ""}, func(u *msauth.User) { u.Email, u.EmailVerified = "", false }},
		{"email a list", map[string]any{"email": []string{"a@b"}}, func(u *msauth.User) { u.Email, u.EmailVerified = "", false }},
		{"email not verified", map[string]any{"xms_edov": nil}, func(u *msauth.User) { u.EmailVerified = false }},
		{"email verified, as a number", map[string]any{"xms_edov": 1}, func(u *msauth.User) {}},
		{"email verified, as a text", map[string]any{"xms_edov": "1"}, func(u *msauth.User) {}},
		{"email not verified, as a text", map[string]any{"xms_edov": "0"}, func(u *msauth.User) { u.EmailVerified = false }},
		{"email verified by the standard's claim only", map[string]any{"xms_edov": nil, "email_verified": true}, func(u *msauth.User) { u.EmailVerified = false }},
		{"roles", map[string]any{"roles": []string{"Admin", "Reader"}}, func(u *msauth.User) { u.Roles = []string{"Admin", "Reader"} }},
		{"roles as a text", map[string]any{"roles": "Admin"}, func(u *msauth.User) { u.Roles = []string{"Admin"} }},
		{"roles of mixed kinds", map[string]any{"roles": []any{1, nil, "Reader", []string{"Admin"}, ""}}, func(u *msauth.User) { u.Roles = []string{"Reader"} }},
		{"roles an object", map[string]any{"roles": map[string]string{"Admin": "1"}}, func(u *msauth.User) {}},
		{"groups", map[string]any{"groups": many}, func(u *msauth.User) { u.Groups = many }},
		{"groups that are no GUIDs", map[string]any{"groups": []string{"CONTOSO\\all", "A0B4C1A5-0000-4000-8000-00000000000F"}}, func(u *msauth.User) {
			u.Groups = []string{"CONTOSO\\all", "A0B4C1A5-0000-4000-8000-00000000000F"}
		}},
		{"too many groups", map[string]any{"_claim_names": map[string]string{"groups": "src1"}, "_claim_sources": sources}, func(u *msauth.User) { u.GroupsOverage = true }},
		{"too many groups, the other mark", map[string]any{"hasgroups": true}, func(u *msauth.User) { u.GroupsOverage = true }},
		{"overage of something else", map[string]any{"_claim_names": map[string]string{"roles": "src1"}, "_claim_sources": sources}, func(u *msauth.User) {}},
		{"sid and login_hint of odd shapes", map[string]any{"sid": 1, "login_hint": []string{"x"}, "auth_time": "yesterday"}, func(u *msauth.User) {}},
		{"claims that the app keeps", map[string]any{"ipaddr": "203.0.113.1", "nested": map[string]any{"a": []any{1.5, nil, true}}, "dropped": 1}, func(u *msauth.User) {
			u.Claims = map[string]any{"ipaddr": "203.0.113.1", "nested": map[string]any{"a": []any{1.5, nil, true}}}
		}},
		{"object id in upper case", map[string]any{"oid": "8342B3FE-9359-4C66-8314-5BA888DA8409"}, func(u *msauth.User) {}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSiteInProcess(t, func(c *msauth.Config) { c.Claims = []string{"ipaddr", "nested"} })
			s.as(msauthtest.Ada)
			s.ms.Set(claims(test.claims))
			got := s.browser(t).user("/user")
			want := msauth.User{
				Issuer: "http://localhost:9/" + msauthtest.TenantContoso + "/v2.0", Subject: got.Subject,
				TenantID: msauthtest.TenantContoso, ObjectID: "8342b3fe-9359-4c66-8314-5ba888da8409",
				Name: "Ada Lindqvist", Username: msauthtest.Ada, Email: msauthtest.Ada, EmailVerified: true,
			}
			test.want(&want)
			g, _ := json.Marshal(got)
			w, _ := json.Marshal(want)
			if string(g) != string(w) || got.Subject == "" {
				t.Errorf("user %s\nwant %s", g, w)
			}
			if want := msauthtest.TenantContoso + ".8342b3fe-9359-4c66-8314-5ba888da8409"; got.Key() != want {
				t.Errorf("Key %q, want %q", got.Key(), want)
			}
		})
	}
}

func TestKeyTellsTenantsApart(t *testing.T) {
	t.Parallel()
	same := map[string]any{"sub": "same", "email": "same@example.com", "preferred_username": "same@example.com"}
	s := newSiteInProcess(t)
	s.ms.Set(claims(same))
	keys := map[string]bool{}
	for _, person := range []string{msauthtest.Ada, msauthtest.Bruno, msauthtest.Mia} {
		b := s.browser(t)
		b.signIn(person)
		s.mux.Handle("/"+person[:3], s.auth.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			session, _ := msauth.FromContext(r.Context())
			keys[session.User.Key()] = true
			if session.User.Personal() != (person == msauthtest.Mia) {
				t.Errorf("Personal of %s is %v", person, session.User.Personal())
			}
		})))
		b.get("/" + person[:3])
	}
	if len(keys) != 3 {
		t.Errorf("keys %v, want three", keys)
	}
}

func TestTenants(t *testing.T) {
	t.Parallel()
	const origin = "http://localhost:9"
	tenant := func(tenant string, allowed ...string) func(*msauth.Config) {
		return func(c *msauth.Config) { c.Tenant, c.AllowedTenants = tenant, allowed }
	}
	// from makes the tokens of Ada say that she is of another tenant, signed
	// with the keys of the tenant that is asked.
	from := func(id string) func(*msauthtest.Behavior) {
		return claims(map[string]any{"tid": id, "iss": origin + "/" + id + "/v2.0"})
	}
	nothing := func(*msauthtest.Behavior) {}
	tests := []struct {
		name   string
		change func(*msauth.Config)
		person string
		behave func(*msauthtest.Behavior)
		kind   string
		want   string // reason to refuse
	}{
		{"everybody: work", tenant("common"), msauthtest.Bruno, nothing, "", ""},
		{"everybody: personal", tenant(""), msauthtest.Mia, nothing, "", ""},
		{"organizations: work", tenant("organizations"), msauthtest.Bruno, nothing, "", ""},
		{"organizations: personal", tenant("organizations"), msauthtest.Ada, from(msauthtest.TenantPersonal), "not-allowed", "account not admitted: tenant " + msauthtest.TenantPersonal},
		{"consumers: personal", tenant("consumers"), msauthtest.Mia, nothing, "", ""},
		{"consumers: work", tenant("consumers"), msauthtest.Mia, from(msauthtest.TenantContoso), "start-again", "and not by"},
		{"one tenant: its people", tenant(msauthtest.TenantContoso), msauthtest.Ada, nothing, "", ""},
		{"one tenant, in upper case", tenant(strings.ToUpper(msauthtest.TenantContoso)), msauthtest.Ada, nothing, "", ""},
		{"one tenant: others", tenant(msauthtest.TenantContoso), msauthtest.Ada, from(msauthtest.TenantFabrikam), "start-again", "issued in tenant " + msauthtest.TenantFabrikam + " and not by"},
		{"one domain: its people", tenant("contoso.example"), msauthtest.Ada, nothing, "", ""},
		{"one domain: others", tenant("contoso.example"), msauthtest.Ada, from(msauthtest.TenantFabrikam), "start-again", "issued in tenant " + msauthtest.TenantFabrikam + " and not by"},
		{"allowed: on the list", tenant("common", msauthtest.TenantContoso, strings.ToUpper(msauthtest.TenantFabrikam)), msauthtest.Bruno, nothing, "", ""},
		{"allowed: personal on the list", tenant("common", msauthtest.TenantPersonal), msauthtest.Mia, nothing, "", ""},
		{"allowed: not on the list", tenant("common", msauthtest.TenantContoso), msauthtest.Bruno, nothing, "not-allowed", "account not admitted: tenant " + msauthtest.TenantFabrikam},
		{"allowed: personal, work only", tenant("common", msauthtest.TenantContoso), msauthtest.Mia, nothing, "not-allowed", "account not admitted: tenant " + msauthtest.TenantPersonal},
		{"allowed: not on the list of organizations", tenant("organizations", msauthtest.TenantContoso), msauthtest.Bruno, nothing, "not-allowed", "account not admitted"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSiteInProcess(t, test.change)
			s.as(test.person)
			s.ms.Set(test.behave)
			b := s.browser(t)
			res := b.get("/page")
			switch test.kind {
			case "":
				if res.StatusCode != 200 || !strings.HasPrefix(res.body, "hello ") || res.Request.URL.Path != "/page" {
					t.Errorf("status %d, page %q; log:\n%s", res.StatusCode, res.body, s.log)
				}
				return
			case "not-allowed":
				b.wantRefused(res, 403, test.kind, test.want)
				if !strings.Contains(res.body, `href="/auth/login?prompt=select_account&amp;return_to=%2Fpage"`) || !strings.Contains(res.body, `href="/auth/logout"`) {
					t.Errorf("page %s, want links to another account and to sign out", res.body)
				}
			default:
				b.wantRefused(res, 400, test.kind, test.want)
			}
			s.wantCalls(t, msauthtest.TokenCode, 1)
			s.wantCalls(t, msauthtest.Authorize, 1)
			b.wantGreeting(helloNobody)
		})
	}
}

func TestTightenedConfigurationEndsSessions(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*msauth.Config)
		want   string // reason
	}{
		{"allowed tenants", func(c *msauth.Config) { c.AllowedTenants = []string{msauthtest.TenantContoso} }, `reason="no longer admitted"`},
		{"tenant", func(c *msauth.Config) { c.Tenant = msauthtest.TenantContoso }, "reason=unreadable"},
		{"client id", func(c *msauth.Config) { c.ClientID = "another" }, "reason=unreadable"},
		{"shorter age", func(c *msauth.Config) { c.MaxAge = time.Minute }, `reason="too old"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSiteInProcess(t, func(c *msauth.Config) { c.CookieName = "msauth-fixed1" })
				b := s.browser(t)
				b.signIn(msauthtest.Bruno)
				time.Sleep(time.Minute)
				s.restart(t, test.change)
				if res := b.still().get("/"); res.StatusCode != 303 {
					t.Errorf("status %d, want 303", res.StatusCode)
				}
				if len(s.log.with(test.want)) != 1 || len(b.session()) != 0 {
					t.Errorf("%d cookies; log %s, want one line with %s", len(b.session()), s.log, test.want)
				}
				b.wantGreeting(helloNobody)
			})
		})
	}
}

func TestOtherProvider(t *testing.T) {
	t.Parallel()
	const issuer = "http://localhost:9/generic"
	newSite := func(t *testing.T, behave ...func(*msauthtest.Behavior)) (*site, *browser) {
		s := newSiteInProcess(t, func(c *msauth.Config) { c.Authority, c.Issuer = "", issuer })
		s.as(msauthtest.Ada)
		for _, f := range behave {
			s.ms.Set(f)
		}
		return s, s.browser(t)
	}
	announce := func(algs ...string) func(*msauthtest.Behavior) {
		return func(b *msauthtest.Behavior) {
			b.Discovery = func(doc map[string]any) { doc["id_token_signing_alg_values_supported"] = algs }
		}
	}
	sign := func(how msauthtest.Signing) func(*msauthtest.Behavior) {
		return func(b *msauthtest.Behavior) { b.Signing = how }
	}
	t.Run("signs in, renews and signs out", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s, b := newSite(t)
			u := b.user("/user")
			if u.Key() != issuer+"#"+u.Subject || u.Subject == "" || u.TenantID != "" || u.ObjectID != "" || !u.EmailVerified {
				t.Errorf("user %+v, key %s", u, u.Key())
			}
			time.Sleep(2 * time.Hour)
			b.wantGreeting(helloAda)
			s.wantCalls(t, msauthtest.TokenRefresh, 1)
			to, _ := b.still().do("POST", "/auth/logout", "Sec-Fetch-Site", "same-origin").Location()
			if got := to.Query(); got.Get("client_id") != s.ms.ClientID || got.Get("post_logout_redirect_uri") != s.URL+"/auth/signed-out" {
				t.Errorf("sign-out at %v", to)
			}
		})
	})
	tests := []struct {
		name   string
		behave []func(*msauthtest.Behavior)
		want   string
	}{
		{"tid and oid mean nothing here", []func(*msauthtest.Behavior){claims(map[string]any{"tid": msauthtest.TenantContoso, "oid": "8342b3fe-9359-4c66-8314-5ba888da8409"})}, ""},
		{"iss with a slash", []func(*msauthtest.Behavior){claim("iss", issuer+"/")}, "issued by a different provider"},
		{"iss of the Microsoft side", []func(*msauthtest.Behavior){claim("iss", "http://localhost:9/"+msauthtest.TenantContoso+"/v2.0")}, "issued by a different provider"},
		{"at_hash missing", []func(*msauthtest.Behavior){drop("at_hash")}, ""},
		{"at_hash wrong", []func(*msauthtest.Behavior){claim("at_hash", "AAAAAAAAAAAAAAAAAAAAAA")}, "at_hash does not fit"},
		{"ES256, announced", []func(*msauthtest.Behavior){announce("RS256", "ES256"), sign(msauthtest.SignES256)}, ""},
		{"ES256, not announced", []func(*msauthtest.Behavior){sign(msauthtest.SignES256)}, "signature algorithm"},
		{"HS256, announced", []func(*msauthtest.Behavior){announce("HS256", "none"), sign(msauthtest.SignHS256Secret)}, "signature algorithm"},
		{"none, announced", []func(*msauthtest.Behavior){announce("none"), sign(msauthtest.SignNone)}, "signature algorithm"},
		{"RS256, nothing announced", []func(*msauthtest.Behavior){announce()}, ""},
		{"no key id, one key", []func(*msauthtest.Behavior){sign(msauthtest.SignWithoutKeyID)}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s, b := newSite(t, test.behave...)
			if test.want != "" {
				b.wantRefused(b.get("/"), 400, "start-again", test.want)
				return
			}
			if u := b.user("/user"); u.Key() != issuer+"#"+u.Subject || u.TenantID != "" {
				t.Errorf("user %+v; log:\n%s", u, s.log)
			}
		})
	}
}

func TestDiscoveryOfSomebodyElseIsRefused(t *testing.T) {
	t.Parallel()
	const origin = "http://localhost:9"
	tests := []struct {
		name   string
		tenant string // "generic" for another provider
		change map[string]any
		want   string // reason; "" for accepted
	}{
		{"as it should be", "common", nil, ""},
		{"issuer of another host", "common", map[string]any{"issuer": "https://evil.example/{tenantid}/v2.0"}, "names the issuer"},
		{"issuer of the old version", "common", map[string]any{"issuer": "https://sts.windows.net/{tenantid}/"}, "names the issuer"},
		{"issuer missing", "common", map[string]any{"issuer": nil}, "names the issuer"},
		{"issuer with another placeholder", "common", map[string]any{"issuer": origin + "/{tenant}/v2.0"}, "names the issuer"},
		{"issuer without a version", "common", map[string]any{"issuer": origin + "/{tenantid}"}, "names the issuer"},
		{"template for one tenant", msauthtest.TenantContoso, map[string]any{"issuer": origin + "/{tenantid}/v2.0"}, "names the issuer"},
		{"other tenant for one tenant", msauthtest.TenantContoso, map[string]any{"issuer": origin + "/" + msauthtest.TenantFabrikam + "/v2.0"}, "names the issuer"},
		{"template for a domain", "contoso.example", map[string]any{"issuer": origin + "/{tenantid}/v2.0"}, "names the issuer"},
		{"work tenant for consumers", "consumers", map[string]any{"issuer": origin + "/" + msauthtest.TenantContoso + "/v2.0"}, "names the issuer"},
		{"template for consumers", "consumers", map[string]any{"issuer": origin + "/{tenantid}/v2.0"}, "names the issuer"},
		{"another provider with a slash", "generic", map[string]any{"issuer": origin + "/generic/"}, "names the issuer"},
		{"another provider's issuer in other case", "generic", map[string]any{"issuer": origin + "/Generic"}, "names the issuer"},
		{"authorize endpoint elsewhere", "common", map[string]any{"authorization_endpoint": "https://evil.example/authorize"}, "authorization_endpoint is on the host"},
		{"token endpoint elsewhere", "common", map[string]any{"token_endpoint": "https://evil.example/token"}, "token_endpoint is on the host"},
		{"token endpoint on another port", "common", map[string]any{"token_endpoint": "http://localhost:99/token"}, "token_endpoint is on the host"},
		{"token endpoint with a user", "common", map[string]any{"token_endpoint": "http://evil@localhost:9/token"}, "token_endpoint is not an absolute URL"},
		{"keys elsewhere", "common", map[string]any{"jwks_uri": "https://evil.example/keys"}, "jwks_uri is on the host"},
		{"sign-out elsewhere", "common", map[string]any{"end_session_endpoint": "https://evil.example/"}, "end_session_endpoint is on the host"},
		{"no token endpoint", "common", map[string]any{"token_endpoint": nil}, "token_endpoint is not an absolute URL"},
		{"relative keys", "common", map[string]any{"jwks_uri": "/keys"}, "jwks_uri is not an absolute URL"},
		{"plain http elsewhere", "generic", map[string]any{"token_endpoint": "http://id.example.com/token"}, "token_endpoint is not on https"},
		{"script in place of a URL", "generic", map[string]any{"authorization_endpoint": "javascript:alert(1)"}, "authorization_endpoint is not an absolute URL"},
		{"no sign-out", "common", map[string]any{"end_session_endpoint": nil}, ""},
		{"wrong kinds", "common", map[string]any{"issuer": 7}, "cannot unmarshal"},
		{"endpoints elsewhere, of another provider", "generic", map[string]any{"userinfo_endpoint": "https://elsewhere.example/"}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSiteInProcess(t, func(c *msauth.Config) {
				if c.Tenant = test.tenant; test.tenant == "generic" {
					c.Authority, c.Tenant, c.Issuer = "", "", origin+"/generic"
				}
			})
			s.as(msauthtest.Ada)
			s.ms.Set(func(b *msauthtest.Behavior) {
				b.Discovery = func(doc map[string]any) {
					for name, value := range test.change {
						if doc[name] = value; value == nil {
							delete(doc, name)
						}
					}
				}
			})
			res := s.browser(t).get("/page")
			if test.want == "" {
				if res.body != helloAda {
					t.Errorf("page %q, want %q; log:\n%s", res.body, helloAda, s.log)
				}
				return
			}
			s.wantPage(t, res, 503, "unavailable", test.want)
			if want := map[msauthtest.Kind]int{msauthtest.Discovery: 1}; !maps.Equal(s.calls(), want) {
				t.Errorf("requests at the provider %v, want %v", s.calls(), want)
			}
			if err := s.auth.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Ready returns %v, want %q", err, test.want)
			}
		})
	}
}

func TestDomainKeepsItsTenant(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSiteInProcess(t, func(c *msauth.Config) { c.Tenant = "contoso.example" })
		s.browser(t).signIn(msauthtest.Ada)
		s.ms.Set(func(b *msauthtest.Behavior) {
			b.Discovery = func(doc map[string]any) { doc["issuer"] = "http://localhost:9/" + msauthtest.TenantFabrikam + "/v2.0" }
		})
		time.Sleep(25 * time.Hour)
		s.browser(t).signIn(msauthtest.Ada) // the last good document is kept
	})
}
