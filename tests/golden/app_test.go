package golden_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// A goldenApp is one process of an app, and a browser that visits it.
type goldenApp struct {
	t       *testing.T
	of      *goldenCase
	ms      *msauthtest.Server
	cfg     msauth.Config
	auth    *msauth.Middleware
	handler http.Handler
	log     *bytes.Buffer
	host    string
	person  string
	jar     map[string]string // Set-Cookie lines
	records *goldenRecords
	entries *goldenTokens

	userKey string            // what OnSignIn says
	seen    *goldenSeen       // by all clones
	issued  map[string]string // by the provider, the latest
	swap    map[string]string // refresh tokens, on their way to the provider
}

// A goldenSeen is what the app was shown last.
type goldenSeen struct {
	signIn *goldenHook
	page   msauth.Page
}

// A goldenHook is what Config.OnSignIn sees.
type goldenHook struct {
	AppState, ReturnTo, UserKey string
	Connecting                  bool
	Account                     string
}

func newGoldenApp(t *testing.T, c *goldenCase, at time.Time) *goldenApp {
	t.Helper()
	time.Sleep(time.Until(at))
	a := &goldenApp{
		t: t, of: c, ms: msauthtest.New("http://localhost:9"), log: &bytes.Buffer{}, host: "app.test",
		person: msauthtest.Ada, jar: map[string]string{}, issued: map[string]string{}, seen: &goldenSeen{},
	}
	a.ms.ClientID, a.ms.ClientSecret = goldenClient, goldenSecret
	a.ms.Set(func(b *msauthtest.Behavior) {
		b.AutoSignIn = msauthtest.Ada
		b.AccessTokenLifetime = time.Hour
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { a.issued["nonce"], _ = claims["nonce"].(string) }
		b.TokenReply = a.note
	})
	a.cfg = msauth.Config{
		ClientID: goldenClient, ClientSecret: goldenSecret, Authority: a.ms.URL, BaseURL: goldenSite + "/auth",
		Keys: [][]byte{goldenKey(1)}, HTTPClient: &http.Client{Transport: a},
		Logger: slog.New(slog.NewTextHandler(a.log, nil)),
		OnSignIn: func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
			in.AppData = "row 7 of Zoë's table"
			a.seen.signIn = &goldenHook{in.AppState, in.ReturnTo, in.UserKey, in.Connecting, in.Session.User.Key()}
			if a.userKey != "" {
				in.UserKey = a.userKey
			}
			return nil
		},
		Page: func(w http.ResponseWriter, _ *http.Request, p msauth.Page) {
			a.seen.page = p
			w.WriteHeader(p.Status)
			fmt.Fprint(w, p.Kind)
		},
	}
	if c.config != nil {
		c.config(a)
	}
	return a
}

func (a *goldenApp) note(_ msauthtest.Kind, reply map[string]any) {
	for _, name := range []string{"access_token", "refresh_token", "id_token", "authentication_token"} {
		a.issued[name], _ = reply[name].(string)
	}
}

// behave adds to what the provider does.
func (a *goldenApp) behave(f func(b *msauthtest.Behavior)) { a.ms.Set(f) }

// store keeps sessions on the server, keep refresh tokens.
func (a *goldenApp) store() {
	a.records = &goldenRecords{texts: map[string]string{}}
	a.cfg.Store = a.records
}

func (a *goldenApp) keep() {
	a.entries = &goldenTokens{entries: map[string]msauth.StoredTokens{}}
	a.cfg.Tokens = a.entries
}

// open starts the process.
func (a *goldenApp) open() {
	a.t.Helper()
	auth, err := msauth.New(a.cfg)
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { _ = auth.Close(context.Background()) })
	a.auth = auth
	report := http.HandlerFunc(a.report)
	mux := http.NewServeMux()
	mux.Handle("/auth/", auth)
	mux.Handle("/public", auth.Load(report))
	mux.Handle("/", auth.Require(report))
	mux.Handle("/scopes", auth.RequireScopes("Calendars.Read", "Mail.Send")(report))
	mux.Handle("/fresh", auth.RequireFreshSignIn(5*time.Minute)(report))
	mux.Handle("/context", auth.RequireAuthContext("c1")(report))
	mux.Handle("/role", auth.RequireRole("Auditor")(report))
	challenge := func(err error) http.Handler {
		return auth.Load(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !auth.Challenge(w, r, err) {
				a.t.Error("no challenge")
			}
		}))
	}
	mux.Handle("/challenge", challenge(&msauth.AuthError{
		Class: msauth.ClassStepUp, Scopes: []string{"Files.Read"},
		Claims: `{"access_token":{"nbf":{"essential":true,"value":"1772443800"}}}`,
	}))
	mux.Handle("/again", challenge(msauth.ErrSignInRequired))
	if a.cfg.User != nil {
		mux.Handle("/connect", auth.Connect("/settings?tab=accounts", "Files.Read"))
	}
	a.handler = mux
}

// clone is another process of the app, with the same browser and stores as of
// now.
func (a *goldenApp) clone() *goldenApp {
	c := *a
	c.jar, c.swap = maps.Clone(a.jar), nil
	if a.records != nil {
		c.records = a.records.copy()
		c.cfg.Store = c.records
	}
	if a.entries != nil {
		c.entries = a.entries.copy()
		c.cfg.Tokens = c.entries
	}
	c.cfg.HTTPClient = &http.Client{Transport: &c}
	c.open()
	return &c
}

// RoundTrip brings requests to the provider.
func (a *goldenApp) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil && len(a.swap) > 0 {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		for from, to := range a.swap {
			body = bytes.ReplaceAll(body, []byte(url.QueryEscape(from)), []byte(url.QueryEscape(to)))
		}
		r = r.Clone(r.Context())
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	return a.ms.Transport().RoundTrip(r)
}

// down lets no renewal succeed.
func (a *goldenApp) down(is bool) {
	a.behave(func(b *msauthtest.Behavior) {
		if delete(b.FailAlways, msauthtest.TokenRefresh); is {
			b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Status: http.StatusServiceUnavailable}
		}
	})
}

// usedRefreshToken is the one of the latest renewal, "" if there was none.
func (a *goldenApp) usedRefreshToken() string {
	calls := a.ms.Calls(msauthtest.TokenRefresh)
	if len(calls) == 0 {
		return ""
	}
	return calls[len(calls)-1].Form.Get("refresh_token")
}

// usedToken is the refresh token that the provider gave last.
func (a *goldenApp) usedToken() string { return a.issued["refresh_token"] }

func goldenIssuer(p func(s *msauthtest.Server) msauthtest.Provider) func(a *goldenApp) {
	return func(a *goldenApp) {
		at := p(a.ms)
		a.cfg.Authority, a.cfg.Issuer = "", at.Issuer
		if at.Published != at.Issuer {
			a.cfg.MicrosoftIssuer = at.Published
		}
		a.cfg.CookieBudget = 7168
	}
}
