package signin_test

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

func TestSignInCostsOneTokenRequest(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	s.As(msauthtest.Ada)
	wantAll := func(what string, want map[msauthtest.Kind]int) {
		t.Helper()
		if got := s.Calls(); !maps.Equal(got, want) {
			t.Errorf("%s: requests at the provider %v, want %v", what, got, want)
		}
		s.MS.ResetCalls()
	}

	first := s.Browser(t)
	still := first.Still()
	res := still.Get("/page")
	if to := res.Header.Get("Location"); res.StatusCode != http.StatusSeeOther || !strings.HasPrefix(to, s.MS.URL+"/common/oauth2/v2.0/authorize?") {
		t.Fatalf("status %d to %q, want 303 straight to the provider", res.StatusCode, to)
	}
	wantAll("first navigation", map[msauthtest.Kind]int{msauthtest.Discovery: 1})
	first.Get(first.Attempt("/page"))
	wantAll("first sign-in", map[msauthtest.Kind]int{msauthtest.Authorize: 1, msauthtest.TokenCode: 1, msauthtest.Keys: 1})
	second := s.Browser(t)
	second.SignIn(msauthtest.Bruno)
	wantAll("second sign-in", map[msauthtest.Kind]int{msauthtest.Authorize: 1, msauthtest.TokenCode: 1})
	for range 3 {
		first.Get("/page")
		second.Get("/public/")
	}
	wantAll("signed in", map[msauthtest.Kind]int{})
}

func TestAuthorizeRequestIsExact(t *testing.T) {
	t.Parallel()
	microsoft := testsite.NewInProcess(t)
	generic := testsite.NewInProcess(t, func(c *msauth.Config) { c.Authority, c.Issuer = "", c.Authority+"/generic" })
	api := testsite.NewInProcess(t, func(c *msauth.Config) { c.Scopes = []string{"api://1/read", "profile", "api://1/read"} })
	link := func(o msauth.LoginOptions) string { return microsoft.Auth.LoginURL(o) }
	tests := []struct {
		name   string
		site   *testsite.Site
		target string
		want   map[string]string // beyond what is always there
	}{
		{"protected page", microsoft, "/page?prompt=login&scope=evil", nil},
		{"login link", microsoft, link(msauth.LoginOptions{}), nil},
		{"login link with everything", microsoft, link(msauth.LoginOptions{
			ReturnTo: "/there", Prompt: "select_account", LoginHint: "Ada <ada@contoso.example>", DomainHint: "contoso.example", UILocales: "fr-CA fr", AppState: "invitation 7",
		}), map[string]string{
			"prompt": "select_account", "login_hint": "Ada <ada@contoso.example>", "domain_hint": "contoso.example", "ui_locales": "fr-CA fr", "mkt": "fr-CA",
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
				"client_id": s.MS.ClientID, "redirect_uri": s.URL + "/auth/callback", "response_type": "code", "response_mode": "query",
				"scope": "openid profile email offline_access User.Read", "code_challenge_method": "S256",
			}
			for name, value := range test.want {
				if want[name] = value; value == "" {
					delete(want, name)
				}
			}
			b := s.Browser(t)
			one, two := b.AuthorizeQuery(test.target), b.AuthorizeQuery(test.target)
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
	s := testsite.NewInProcess(t)
	b := s.Browser(t)
	state := b.AuthorizeQuery("/").Get("state")
	link, _ := url.Parse(s.Auth.LoginURL(msauth.LoginOptions{AppState: "good"}))
	sealed := link.Query().Get("sealed")
	other := testsite.NewInProcess(t, func(c *msauth.Config) { c.Keys = s.Cfg.Keys })
	foreign, _ := url.Parse(other.Auth.LoginURL(msauth.LoginOptions{AppState: "good"}))
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
			b := s.Browser(t)
			res := b.Get("/auth/login?" + test.query)
			s.WantPage(t, res, http.StatusBadRequest, "bad-request", test.want)
			if len(res.Cookies()) != 0 {
				t.Errorf("cookies %v, want none", res.Cookies())
			}
		})
	}
}

func TestLoginMethods(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t)
	for method, want := range map[string]int{
		"GET": 303, "HEAD": 303, "POST": 303, "PUT": 405, "DELETE": 405, "OPTIONS": 405, "PATCH": 405,
	} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			res := s.Browser(t).Still().Request(method, "/auth/login")
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
	s := testsite.NewInProcess(t)
	s.As(msauthtest.Ada)
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
		{"601 bytes of path", path(601), "", nil, path(601)},
		{"2000 bytes of path", path(2000), "", nil, path(2000)},
		{"2001 bytes of path", path(2001), "", nil, "/"},
		{"600 bytes with a query", path(300) + "?" + strings.Repeat("q", 299), "", nil, path(300) + "?" + strings.Repeat("q", 299)},
		{"long query", path(300) + "?" + strings.Repeat("q", 1000), "", nil, path(300) + "?" + strings.Repeat("q", 1000)},
		{"longer query", path(300) + "?" + strings.Repeat("q", 1700), "", nil, path(300)},
		{"letters that grow", "/%C3%BC?" + strings.Repeat("q", 2000), "", nil, "/%C3%BC"},
		{"longest app state", path(300), strings.Repeat("s", 256), nil, path(300)},
		{"longest of both", path(600), strings.Repeat("s:", 128), nil, path(600)},
		{"a query beside many scopes", path(100) + "?" + strings.Repeat("q", 400), "", scopes, path(100) + "?" + strings.Repeat("q", 400)},
		{"a query beside a long app state", path(200) + "?" + strings.Repeat("q", 399), strings.Repeat("s:", 128), nil, path(200) + "?" + strings.Repeat("q", 399)},
		{"a path beside many scopes", path(600), "", scopes, path(600)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := s.Browser(t)
			target := s.Auth.LoginURL(msauth.LoginOptions{ReturnTo: test.target, AppState: test.appState, Scopes: test.scopes})
			u, _ := url.Parse(b.Attempt(target))
			if n := len(u.Query().Get("state")); n > 1024 || n < 100 {
				t.Errorf("state of %d characters, want at most 1024", n)
			}
			if got := leads(b, b.Still().Get(u.String())); got != test.want {
				t.Errorf("leads to %.50q (%d bytes), want %.50q (%d)", got, len(got), test.want, len(test.want))
			}
		})
	}
}

func TestTooLongAppStateIsTheAppsFault(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t)
	b := s.Browser(t)
	res := b.Get(s.Auth.LoginURL(msauth.LoginOptions{AppState: strings.Repeat("s", 257)}))
	s.WantPage(t, res, http.StatusInternalServerError, "app-error", "AppState is too long")
}

func TestRedirectURIDoesNotFollowTheRequest(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	s.As(msauthtest.Ada)
	want := s.URL + "/auth/callback"
	for _, header := range [][]string{
		{"Host", "evil.example"},
		{"X-Forwarded-Host", "evil.example"},
		{"X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "http", "X-Forwarded-Port", "80", "X-Forwarded-Prefix", "/evil"},
		{"Forwarded", "host=evil.example;proto=http"},
		{"X-Original-Url", "/evil", "X-Rewrite-Url", "/evil"},
	} {
		t.Run(strings.Join(header, " "), func(t *testing.T) {
			b := s.Browser(t)
			for _, target := range []string{"/page", "/auth/login"} {
				if got := b.AuthorizeQuery(target, header...).Get("redirect_uri"); got != want {
					t.Errorf("%s: redirect_uri %q, want %q", target, got, want)
				}
			}
			back := b.Attempt("/page", header...)
			s.MS.ResetCalls()
			res := b.Still().Get(back, header...)
			if got := res.Header.Get("Location"); got != "/page" {
				t.Errorf("leads to %q, want /page", got)
			}
			calls := s.MS.Calls(msauthtest.TokenCode)
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
	s := testsite.New(t)
	b := s.Browser(t)
	s.As(msauthtest.Ada)
	to := b.Still().Get("/").Header.Get("Location")
	back := b.Still().Get(to).Header.Get("Location")
	b.Get(back)
	asked, _ := url.Parse(to)
	answer, _ := url.Parse(back)
	call := s.MS.Calls(msauthtest.TokenCode)[0]
	want := url.Values{
		"grant_type": {"authorization_code"}, "code": {answer.Query().Get("code")}, "redirect_uri": {s.URL + "/auth/callback"},
		"client_id": {s.MS.ClientID}, "client_secret": {s.MS.ClientSecret}, "code_verifier": call.Form["code_verifier"],
	}
	if !maps.EqualFunc(call.Form, want, slices.Equal) || len(call.Query) != 0 || call.Header.Get("Authorization") != "" {
		t.Errorf("token request with %v, query %v, want only %v", slices.Collect(maps.Keys(call.Form)), call.Query, slices.Collect(maps.Keys(want)))
	}
	verifier := call.Form.Get("code_verifier")
	if !regexp.MustCompile(`^[A-Za-z0-9._~-]{43,128}$`).MatchString(verifier) {
		t.Error("code_verifier is not of the form of RFC 7636 section 4.1")
	}
	// The provider has compared it with the challenge; nowhere can it be read.
	for _, c := range b.Cookies() {
		plain, _ := base64.RawURLEncoding.DecodeString(c.Value)
		if strings.Contains(c.Value, verifier) || strings.Contains(string(plain), verifier) {
			t.Errorf("cookie %s shows the verifier", c.Name)
		}
	}
	if strings.Contains(to+back+asked.Query().Get("state"), verifier) {
		t.Error("a URL shows the verifier")
	}
}
