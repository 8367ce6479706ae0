package msauthtest_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"example.com/msauth/msauthtest"
)

// A liveApp is a client of Live Connect.
type liveApp struct {
	*app
	base string // of the endpoints
}

func newLive(t *testing.T) *liveApp {
	t.Helper()
	a := newApp(t, newServer(t))
	a.scope = "wl.signin wl.basic wl.offline_access"
	return &liveApp{a, a.ms.LiveAuthority()}
}

func (a *liveApp) query(pairs ...string) url.Values {
	return with(url.Values{
		"client_id":     {a.ms.ClientID},
		"redirect_uri":  {redirectURI},
		"response_type": {"code"},
		"scope":         {a.scope},
		"state":         {"the state"},
		"display":       {"page"},
		"locale":        {"de"},
	}, pairs...)
}

func (a *liveApp) authorize(pairs ...string) (*http.Response, string) {
	a.t.Helper()
	return a.get(a.base + "/oauth20_authorize.srf?" + a.query(pairs...).Encode())
}

// post sends the form of the sign-in page.
func (a *liveApp) post(form url.Values, pairs ...string) (*http.Response, string) {
	a.t.Helper()
	form.Set("request", a.query(pairs...).Encode())
	res, err := a.browser.PostForm(a.base+"/signin", form)
	if err != nil {
		a.t.Fatal(err)
	}
	return res, body(a.t, res)
}

// pick signs a person in on the page and returns the code.
func (a *liveApp) pick(user string, pairs ...string) string {
	a.t.Helper()
	res, _ := a.post(url.Values{"user": {user}}, pairs...)
	return a.answer(res).Get("code")
}

// token sends a token request and returns its reply.
func (a *liveApp) token(form url.Values) (int, map[string]any) {
	a.t.Helper()
	res, err := a.browser.PostForm(a.base+"/oauth20_token.srf", form)
	if err != nil {
		a.t.Fatal(err)
	}
	text := body(a.t, res)
	doc := map[string]any{}
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		a.t.Fatalf("token reply %d %q: %v", res.StatusCode, text, err)
	}
	return res.StatusCode, doc
}

func (a *liveApp) codeForm(code string, pairs ...string) url.Values {
	return a.app.codeForm(code, append([]string{"code_verifier", "-"}, pairs...)...)
}

func (a *liveApp) refreshForm(token any, pairs ...string) url.Values {
	text, _ := token.(string)
	return a.app.refreshForm(text, append([]string{"redirect_uri", redirectURI}, pairs...)...)
}

func (a *liveApp) signIn(user string, pairs ...string) map[string]any {
	a.t.Helper()
	return a.want(a.codeForm(a.pick(user, pairs...)), "")
}

// want sends a token request that is answered with an error, or with none.
func (a *liveApp) want(form url.Values, wantError string) map[string]any {
	a.t.Helper()
	status, doc := a.token(form)
	want := http.StatusOK
	if wantError != "" {
		want = http.StatusBadRequest
	}
	if got, _ := doc["error"].(string); got != wantError || status != want {
		a.t.Errorf("%d %v, want %d %q", status, doc, want, wantError)
	}
	return doc
}

func TestLiveSignIn(t *testing.T) {
	t.Parallel()
	a := newLive(t)
	res, text := a.authorize()
	if res.StatusCode != http.StatusOK || !strings.Contains(text, `action="/login.live.com/signin"`) || !strings.Contains(text, "<li>wl.basic</li>") {
		t.Fatalf("page: %d %s", res.StatusCode, text)
	}
	res, _ = a.post(url.Values{"user": {msauthtest.Mia}})
	answer := a.answer(res)
	if answer.Get("state") != "the state" || answer.Get("code") == "" || len(answer) != 2 {
		t.Fatalf("answer: %v", answer)
	}
	doc := a.want(a.codeForm(answer.Get("code")), "")
	if doc["token_type"] != "bearer" || doc["expires_in"] != 3600.0 || doc["scope"] != "wl.signin wl.basic wl.offline_access" {
		t.Errorf("reply: %v", doc)
	}
	var names []string
	for name, value := range doc {
		names = append(names, name)
		if text, _ := value.(string); strings.HasSuffix(name, "_token") && !slices.Contains(a.ms.Secrets(), text) {
			t.Errorf("Secrets lacks %s", name)
		}
	}
	slices.Sort(names)
	if want := []string{"access_token", "authentication_token", "expires_in", "refresh_token", "scope", "token_type", "user_id"}; !slices.Equal(names, want) {
		t.Errorf("members %q, want %q", names, want)
	}
	if id, _ := doc["user_id"].(string); !strings.HasPrefix(id, "AAAAAAAAAAAAAAAAAAAAA") || len(id) != 43 {
		t.Errorf("user_id: %q", id)
	}

	renewed := a.want(a.refreshForm(doc["refresh_token"]), "")
	if renewed["refresh_token"] == doc["refresh_token"] || renewed["access_token"] == doc["access_token"] || renewed["scope"] != doc["scope"] ||
		renewed["authentication_token"] == nil || renewed["user_id"] != doc["user_id"] {
		t.Errorf("renewal: %v", renewed)
	}
	for kind, want := range map[msauthtest.Kind]int{msauthtest.Authorize: 1, msauthtest.Picked: 1, msauthtest.TokenCode: 1, msauthtest.TokenRefresh: 1} {
		if got := a.ms.Count(kind); got != want {
			t.Errorf("Count(%s) = %d, want %d", kind, got, want)
		}
	}
}

func TestLiveScopesDecideWhatAReplyHas(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, scope, wantScope      string
		wantRefresh, wantIdentified bool
	}{
		{"signin", "wl.signin", "wl.signin", false, true},
		{"basic", "wl.basic", "wl.basic", false, false},
		{"offline", "wl.basic wl.offline_access", "wl.basic wl.offline_access", true, false},
		{"commas", "wl.signin,wl.basic, wl.emails", "wl.signin wl.basic wl.emails", false, true},
		{"others", "wl.signin onedrive.readwrite office.onenote", "wl.signin onedrive.readwrite office.onenote", false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := newLive(t)
			doc := a.signIn(msauthtest.Mia, "scope", tt.scope)
			if doc["scope"] != tt.wantScope || (doc["refresh_token"] != nil) != tt.wantRefresh || (doc["authentication_token"] != nil) != tt.wantIdentified {
				t.Errorf("reply: %v", doc)
			}
			if got := a.ms.Consented(msauthtest.Mia); strings.Join(got, " ") != tt.wantScope {
				t.Errorf("consented: %q", got)
			}
		})
	}
}

func TestLiveSingleSignOn(t *testing.T) {
	t.Parallel()
	a := newLive(t)
	a.signIn(msauthtest.Mia)
	res, _ := a.authorize()
	if a.answer(res).Get("code") == "" {
		t.Error("no code for a person who is signed in and has consented")
	}
	res, text := a.authorize("scope", "wl.basic")
	if res.StatusCode != http.StatusOK || !strings.Contains(text, "Pick an account") {
		t.Errorf("without wl.signin: %d, want the sign-in page", res.StatusCode)
	}
	res, text = a.authorize("scope", "wl.signin wl.emails")
	if res.StatusCode != http.StatusOK || !strings.Contains(text, `<ul id="scopes"><li>wl.emails</li>`) {
		t.Errorf("another scope: %d %s, want the consent page", res.StatusCode, text)
	}
	res, _ = a.post(url.Values{"user": {msauthtest.Mia}, "confirmed": {"yes"}}, "scope", "wl.signin wl.emails")
	if a.answer(res).Get("code") == "" {
		t.Error("no code after consent")
	}

	res, _ = a.authorize("display", "none")
	if a.answer(res).Get("code") == "" {
		t.Error("display=none: no code for a person who is signed in")
	}
	a.newBrowser(&http.Transport{})
	res, _ = a.authorize("display", "none")
	if answer := a.answer(res); answer.Get("error") != "unknown_user" || answer.Get("state") != "the state" {
		t.Errorf("display=none: %v, want unknown_user", answer)
	}
}

func TestLiveRefusalsOfThePerson(t *testing.T) {
	t.Parallel()
	a := newLive(t)
	for _, answer := range []string{"cancel", "refuse"} {
		res, _ := a.post(url.Values{"answer": {answer}})
		got := a.answer(res)
		if got.Get("error") != "access_denied" || got.Get("state") != "the state" || len(got) != 3 ||
			got.Get("error_description") != "The user has denied access to the scope requested by the client application." {
			t.Errorf("%s: %v", answer, got)
		}
	}
	a.ms.Set(func(b *msauthtest.Behavior) { b.RefuseScopes = []string{"wl.basic"}; b.AutoSignIn = msauthtest.Mia })
	res, _ := a.authorize()
	if got := a.answer(res); got.Get("error") != "access_denied" {
		t.Errorf("RefuseScopes: %v", got)
	}
}

func TestLiveIsForPersonalAccounts(t *testing.T) {
	t.Parallel()
	a := newLive(t)
	const want = "You can&#39;t sign in here with a work or school account. Use your personal account instead."
	res, text := a.post(url.Values{"user": {msauthtest.Ada}})
	if res.StatusCode != http.StatusForbidden || !strings.Contains(text, want) || strings.Contains(text, "AADSTS") {
		t.Errorf("%d %s", res.StatusCode, text)
	}
	a.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Ada })
	if res, text = a.authorize(); res.StatusCode != http.StatusForbidden || !strings.Contains(text, want) {
		t.Errorf("AutoSignIn: %d %s", res.StatusCode, text)
	}
	a.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Mia })
	if res, _ = a.authorize(); a.answer(res).Get("code") == "" {
		t.Error("AutoSignIn: no code")
	}
}

func TestLiveAuthorizeChecks(t *testing.T) {
	t.Parallel()
	a := newLive(t)
	a.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Mia })
	tests := []struct {
		name     string
		pairs    []string
		redirect bool
		want     string
	}{
		{"another client", []string{"client_id", "00000000603E0BFE"}, false, "The client does not exist."},
		{"no client", []string{"client_id", "-"}, false, "include a &#39;client_id&#39; input parameter."},
		{"another redirect URI", []string{"redirect_uri", "http://evil.example/cb"}, false, "The provided value for the input parameter &#39;redirect_uri&#39; is not valid."},
		{"no redirect URI", []string{"redirect_uri", "-"}, false, "include a &#39;redirect_uri&#39; input parameter."},
		{"no response type", []string{"response_type", "-"}, true, "invalid_request"},
		{"a token", []string{"response_type", "token"}, true, "unsupported_response_type"},
		{"no scope", []string{"scope", "-"}, true, "invalid_request"},
		{"a scope of Graph", []string{"scope", "wl.signin User.Read"}, true, "invalid_scope"},
		{"a scope of OpenID Connect", []string{"scope", "openid"}, true, "invalid_scope"},
		{"unknown parameters", []string{"nonce", "n", "prompt", "login", "max_age", "x", "response_mode", "form_post"}, true, ""},
		{"a challenge", []string{"code_challenge", "x", "code_challenge_method", "plain"}, true, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res, text := a.authorize(tt.pairs...)
			if !tt.redirect {
				if res.StatusCode != http.StatusBadRequest || !strings.Contains(text, tt.want) || strings.Contains(text, "AADSTS") || res.Header.Get("Location") != "" {
					t.Errorf("%d %s", res.StatusCode, text)
				}
				return
			}
			answer := a.answer(res)
			if answer.Get("error") != tt.want || answer.Has("code") == (tt.want != "") || answer.Get("state") != "the state" || strings.Contains(answer.Encode(), "AADSTS") {
				t.Errorf("%v, want error %q", answer, tt.want)
			}
		})
	}
	res, _ := a.authorize("state", "-")
	if answer := a.answer(res); answer.Has("state") || !answer.Has("code") {
		t.Errorf("without state: %v", answer)
	}
}

func TestLiveRedirectDomains(t *testing.T) {
	t.Parallel()
	a := newLive(t)
	a.ms.Set(func(b *msauthtest.Behavior) {
		b.AutoSignIn, b.RedirectURIs = msauthtest.Mia, []string{"https://www.contoso.example/", "http://localhost:8080/x"}
	})
	for uri, want := range map[string]bool{
		"https://www.contoso.example/any/path?q=1": true,
		"https://WWW.contoso.example:444/":         true,
		"http://localhost:1/cb":                    true,
		"http://www.contoso.example/":              false,
		"https://contoso.example/":                 false,
		"https://a.www.contoso.example/":           false,
		"https://www.contoso.example@evil.example": false,
		"https://www.contoso.example/#x":           false,
		"//www.contoso.example/":                   false,
	} {
		res, _ := a.authorize("redirect_uri", uri)
		if got := strings.HasPrefix(res.Header.Get("Location"), uri); got != want {
			t.Errorf("%s: allowed %t, want %t", uri, got, want)
		}
	}
}

func TestLiveHost(t *testing.T) {
	t.Parallel()
	a := newLive(t)
	for _, host := range []string{"login.live.com", "LOGIN.live.com:443"} {
		for path, want := range map[string]int{
			"/oauth20_authorize.srf?" + a.query().Encode(): 200, "/login.live.com/oauth20_logout.srf": 200, "/oauth20_token.srf": 405,
			"/": 404, "/v1.0/me": 404, "/common/v2.0/.well-known/openid-configuration": 404,
		} {
			req, err := http.NewRequest(http.MethodGet, a.ms.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = host
			res, err := a.browser.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body(t, res)
			if res.StatusCode != want {
				t.Errorf("%s at %s: %d, want %d", path, host, res.StatusCode, want)
			}
		}
	}
	for path, want := range map[string]int{
		"/oauth20_token.srf": 404, "/login.live.com/oauth2/v2.0/authorize": 404, "/LOGIN.live.com/oauth2/v2.0/authorize": 404, "/LOGIN.live.com/oauth20_logout.srf": 200, "/common/oauth20_token.srf": 404,
		"/login.live.com/v2.0/.well-known/openid-configuration": 404,
	} {
		if res, _ := a.get(a.ms.URL + path); res.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, res.StatusCode, want)
		}
	}

	// In process, under its own name.
	a.newBrowser(a.ms.Transport())
	a.base = "https://login.live.com"
	if doc := a.signIn(msauthtest.Mia); doc["authentication_token"] == nil {
		t.Errorf("reply: %v", doc)
	}
	if res, _ := a.get("https://login.live.com/v1.0/me"); res.StatusCode != http.StatusNotFound {
		t.Errorf("Graph at login.live.com: %d, want 404", res.StatusCode)
	}
}

// Client signs people in to apps that use Live Connect.
func TestLiveClient(t *testing.T) {
	t.Parallel()
	a := newLive(t)
	mux := http.NewServeMux()
	site := httptest.NewServer(mux)
	t.Cleanup(site.Close)
	mux.HandleFunc("/page", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, a.base+"/oauth20_authorize.srf?"+a.query("redirect_uri", site.URL+"/callback").Encode(), http.StatusFound)
	})
	mux.HandleFunc("/callback", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/home?code="+r.FormValue("code"), http.StatusSeeOther)
	})
	mux.HandleFunc("/home", func(w http.ResponseWriter, r *http.Request) {})
	a.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Ada }) // it ignores that
	if _, err := msauthtest.Client(site.URL+"/page", msauthtest.Mia); err != nil {
		t.Error(err)
	}
	if _, err := msauthtest.Client(site.URL+"/page", msauthtest.Ada); err == nil || !strings.Contains(err.Error(), "work or school account") {
		t.Errorf("a work account: %v", err)
	}
}

func TestLiveLogout(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, client, redirect string
		want                   bool
	}{
		{"allowed", "", "http://localhost:8080/bye", true},
		{"another host", "", "https://evil.example/", false},
		{"another client", "00000000603E0BFE", "http://localhost:8080/bye", false},
		{"no address", "", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := newLive(t)
			a.ms.Set(func(b *msauthtest.Behavior) { b.RedirectURIs = []string{redirectURI} })
			a.signIn(msauthtest.Mia)
			if tt.client == "" {
				tt.client = a.ms.ClientID
			}
			res, text := a.get(a.base + "/oauth20_logout.srf?" + url.Values{"client_id": {tt.client}, "redirect_uri": {tt.redirect}}.Encode())
			if tt.want && (res.StatusCode != http.StatusFound || res.Header.Get("Location") != tt.redirect) ||
				!tt.want && (res.StatusCode != http.StatusOK || !strings.Contains(text, "You signed out")) {
				t.Errorf("%d %s", res.StatusCode, text)
			}
			if res, _ := a.authorize(); res.StatusCode != http.StatusOK {
				t.Errorf("still signed in: %d", res.StatusCode)
			}
			if got := a.ms.Count(msauthtest.Logout); got != 1 {
				t.Errorf("Count(Logout) = %d", got)
			}
		})
	}
}
