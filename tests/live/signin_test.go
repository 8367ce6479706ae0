package live_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

func TestSignInAtLiveConnect(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.Browser(t)
	want(t, b.Get("/status"), "unknown nobody")
	s.WantCalls(t, msauthtest.Discovery, 0)

	// The way there is the Live SDK's BuildAuthorizeUrl, with PKCE.
	to, err := url.Parse(b.Still().Get(s.Auth.LoginURL(msauth.LoginOptions{ReturnTo: "/status", UILocales: "fr-CA fr", LoginHint: "mia@outlook.example"})).Header.Get("Location"))
	if err != nil || !strings.HasSuffix(to.Path, "/login.live.com/oauth20_authorize.srf") {
		t.Fatalf("sent to %v, %v", to, err)
	}
	q := to.Query()
	for name, value := range map[string]string{
		"client_id": s.MS.ClientID, "redirect_uri": s.URL + "/auth/callback", "response_type": "code", "scope": "wl.signin wl.offline_access wl.basic",
		"locale": "fr-CA", "login_hint": "mia@outlook.example", "code_challenge_method": "S256",
		"nonce": "", "ui_locales": "", "response_mode": "", "claims": "",
	} {
		if q.Get(name) != value {
			t.Errorf("%s=%q, want %q", name, q.Get(name), value)
		}
	}
	if q.Get("state") == "" || len(q.Get("code_challenge")) != 43 {
		t.Errorf("state or code_challenge is missing from %v", q)
	}

	signIn(t, s, b, msauth.LoginOptions{})
	got := b.Get("/files").Text
	if !regexp.MustCompile(`^connected https://login\.live\.com#[0-9a-f]{32}$`).MatchString(got) {
		t.Errorf("page %q", got)
	}
	code := s.MS.Calls(msauthtest.TokenCode)[0]
	if code.Form.Get("redirect_uri") == "" || code.Form.Get("code_verifier") == "" || code.Form.Get("client_secret") == "" {
		t.Errorf("token request %v", code.Form)
	}
	s.WantCalls(t, msauthtest.Keys, 0)
	s.WantCalls(t, msauthtest.Discovery, 0)
	s.WantNoSecrets(t, "the log", s.Log.String())
	if err := s.Auth.Ready(t.Context()); err != nil {
		t.Error(err)
	}
}

// Another site's part, a person of whom nothing but an id is known.
func TestSessionOfLiveConnect(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.Browser(t)
	s.Mux.Handle("/session", s.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, _ := msauth.FromContext(r.Context())
		u := session.User
		if u.Issuer != "https://login.live.com" || u.Name != "" || u.TenantID != "" || u.ObjectID != "" || !u.Personal() {
			t.Errorf("user %+v", u)
		}
		if !session.HasScope("wl.basic") || !session.HasScope("WL.Basic") || session.HasScope("wl.skydrive") {
			t.Errorf("scopes %v", session.Scopes())
		}
		if !session.AuthTime().IsZero() {
			t.Errorf("credentials entered %v", session.AuthTime())
		}
		if token, err := session.Token(r.Context()); err != nil || token.AccessToken == "" {
			t.Errorf("access token: %v", err)
		}
		if token, err := session.Token(r.Context(), "wl.basic"); err != nil || token.AccessToken == "" {
			t.Errorf("access token for wl.basic: %v", err)
		}
	})))
	signIn(t, s, b, msauth.LoginOptions{})
	want(t, b.Get("/session"), "")
}

// An API that is none of Microsoft Graph gets no token unless it is named.
func TestNoHostGetsATokenUnlessItIsNamed(t *testing.T) {
	t.Parallel()
	var auth string
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { auth = r.Header.Get("Authorization") }))
	defer api.Close()
	for _, named := range []bool{false, true} {
		s := newSite(t, func(c *msauth.Config) {
			if named {
				c.TokenHosts = map[string][]string{strings.TrimPrefix(api.URL, "http://"): nil}
			}
		})
		b := s.Browser(t)
		s.Mux.Handle("/call", s.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			session, _ := msauth.FromContext(r.Context())
			for _, address := range []string{api.URL, s.MS.URL + "/v1.0/me"} {
				res, err := session.Client(context.Background()).Get(address)
				if err != nil {
					t.Error(err)
					return
				}
				res.Body.Close()
			}
		})))
		signIn(t, s, b, msauth.LoginOptions{})
		auth = ""
		b.Get("/call")
		if got := strings.HasPrefix(auth, "Bearer "); got != named {
			t.Errorf("named %t: the API gets %q", named, auth)
		}
		for _, call := range s.MS.Calls(msauthtest.Graph) {
			if call.Header.Get("Authorization") != "" {
				t.Error("Graph gets a token of Live Connect")
			}
		}
	}
}

func TestSignOutAtLiveConnect(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.Browser(t)
	signIn(t, s, b, msauth.LoginOptions{})
	res := b.Still().Get(s.Auth.LogoutURL(), testsite.SameOrigin...)
	to, err := url.Parse(res.Header.Get("Location"))
	if err != nil || to.Path != "/login.live.com/oauth20_logout.srf" {
		t.Fatalf("sent to %v, %v", to, err)
	}
	if q := to.Query(); len(q) != 2 || q.Get("client_id") != s.MS.ClientID || q.Get("redirect_uri") != s.URL+"/auth/signed-out" {
		t.Errorf("sent to %s", to)
	}
	if res := b.Get(to.String()); res.Kind() != "signed-out" {
		t.Errorf("after it: status %d, page %.200q", res.StatusCode, res.Text)
	}
	want(t, b.Get("/status"), "unknown nobody")
}

func TestMoreScopesAtLiveConnect(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.Browser(t)
	signIn(t, s, b, msauth.LoginOptions{})
	want(t, b.Get("/skydrive"), "notConnected https://login.live.com#")
	want(t, b.Get("/drive"), "connected https://login.live.com#")
	want(t, b.Get("/skydrive"), "connected https://login.live.com#")
	calls := s.MS.Calls(msauthtest.Authorize)
	if got := calls[len(calls)-1].Query.Get("scope"); got != "wl.signin wl.offline_access wl.basic wl.skydrive" {
		t.Errorf("asked for %q", got)
	}
}

// Nobody is signed in by anything but an authentication token, whatever else a reply has.
func TestNoSignInWithoutAnAuthenticationToken(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(reply map[string]any){
		"none":     func(reply map[string]any) { delete(reply, "authentication_token") },
		"a number": func(reply map[string]any) { reply["authentication_token"] = 7 },
		"in place of an ID token": func(reply map[string]any) {
			reply["id_token"] = reply["authentication_token"]
			delete(reply, "authentication_token")
		},
	} {
		s := newSite(t)
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) { change(reply) }
		})
		s.As(msauthtest.Mia)
		b := s.Browser(t)
		if res := b.Get("/files"); res.StatusCode != http.StatusBadGateway || len(s.Log.With("holds no authentication token, although the scope wl.signin was requested")) != 1 {
			t.Errorf("%s: status %d, log:\n%s", name, res.StatusCode, s.Log)
		}
		want(t, b.Get("/status"), "unknown nobody")
	}
}

// Who refuses wl.offline_access is signed in all the same, until MaxAge or IdleTimeout.
func TestSessionWithoutARefreshToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := office(t)
		o.MS.Set(func(b *msauthtest.Behavior) {
			b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) { delete(reply, "refresh_token") }
		})
		v := o.SignIn()
		if res := v.Get("/identity"); res.Status != http.StatusOK {
			t.Errorf("its token: status %d", res.Status)
		}
		for range 3 {
			time.Sleep(20 * time.Hour)
			says(t, v, "connected")
		}
		if res := v.Get("/identity"); res.Status != http.StatusBadGateway { // it is over after a day
			t.Errorf("its token, later: status %d", res.Status)
		}
		o.WantCalls(msauthtest.TokenRefresh, 0)
		time.Sleep(25 * time.Hour)
		says(t, v, "expired")
	})
}

// One server has the same keys, client ID and cookie name for both services: the
// sessions of one are nothing to the other.
func TestSessionsOfTheTwoServicesDoNotMix(t *testing.T) {
	t.Parallel()
	for _, first := range []string{"Entra", "Live Connect"} {
		s := testsite.New(t, func(c *msauth.Config) { c.CookieName = "same" })
		other := s.Cfg
		other.Authority = s.MS.LiveAuthority()
		if first == "Live Connect" {
			other.Authority = s.Cfg.Authority
			s.Restart(t, atLive)
		}
		routes(s.Mux, s.Auth)
		auth, err := msauth.New(other)
		if err != nil {
			t.Fatal(err)
		}
		s.Mux.Handle("/other", auth.Load(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, ok := auth.FromContext(r.Context())
			fmt.Fprint(w, auth.Status(r), " ", ok)
		})))
		b := s.Browser(t)
		s.As(msauthtest.Mia)
		want(t, b.Get(s.Auth.LoginURL(msauth.LoginOptions{ReturnTo: "/status"})), "connected ")
		want(t, b.Get("/other"), "unknown false")
	}
}
