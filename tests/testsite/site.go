package testsite

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// WantNoReuse checks that no refresh token was used twice, which a provider
// that rotates strictly takes for theft.
func (s *Site) WantNoReuse(t *testing.T) {
	t.Helper()
	used := map[string]bool{}
	for _, call := range s.MS.Calls(msauthtest.TokenRefresh) {
		token := call.Form.Get("refresh_token")
		if used[token] {
			t.Errorf("a refresh token was used twice; log:\n%s", s.Log)
			return
		}
		used[token] = call.Status == http.StatusOK // a refusal uses nothing up
	}
}

// Lifetime makes access tokens good for that long.
func (s *Site) Lifetime(d time.Duration) {
	s.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = d })
}

// Failing makes the provider answer all renewals like this, if f is set.
func (s *Site) Failing(f msauthtest.Failure) {
	s.MS.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.TokenRefresh] = f })
}

// LeastConfig is what every app has to say.
func LeastConfig() msauth.Config {
	return msauth.Config{
		ClientID:     "6731de76-14a6-49ae-97bc-6eba6914391e",
		ClientSecret: "a-client-secret-that-must-not-be-shown",
		BaseURL:      "https://app.example.com/auth",
		Keys:         [][]byte{NewKey()},
	}
}

// Ask sends a Cookie header to a public page, with nothing in between.
func (s *Site) Ask(cookie ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", "https://app.test/public/", nil)
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Dest", "document")
	for _, c := range cookie {
		r.Header.Add("Cookie", c)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// A RoundTripper is a transport made of a func.
type RoundTripper func(*http.Request) (*http.Response, error)

// RoundTrip calls f.
func (f RoundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Elsewhere is another process of the same app, with a store of its own to look
// through.
func (s *Site) Elsewhere(t *testing.T, store msauth.TokenStore) *msauth.Middleware {
	t.Helper()
	cfg := s.Cfg
	cfg.Tokens = store
	other, err := msauth.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return other
}

// Site is an app that uses the package, with a local Microsoft.
type Site struct {
	*httptest.Server // of an in-process site, only its URL
	MS               *msauthtest.Server
	Auth             *msauth.Middleware
	Log              *LogBuffer
	Cfg              msauth.Config
	Mux              *http.ServeMux

	Wire    http.RoundTripper // leads to the site and to the provider
	Current atomic.Pointer[http.ServeMux]

	mu       sync.Mutex
	canaries []string // texts that must not show up in the log
}

// New starts a site on TLS; changes adjust the configuration. Its pages are
//
//	/public/...  under Load: "hello NAME" or "hello nobody"
//	/...         under Require: "hello NAME"; with ?token the access token
func New(t *testing.T, changes ...func(*msauth.Config)) *Site {
	t.Helper()
	s := &Site{MS: msauthtest.NewServer(), Log: &LogBuffer{}}
	t.Cleanup(s.MS.Close)
	s.Server = httptest.NewUnstartedServer(s)
	s.URL = "https://" + s.Listener.Addr().String()
	s.configure(t, nil, changes)
	s.Server.URL = "" // StartTLS wants to set it
	s.Config.ErrorLog = slog.NewLogLogger(slog.NewTextHandler(s.Log, nil), slog.LevelError)
	s.StartTLS()
	t.Cleanup(s.Close)
	s.Wire = s.Server.Client().Transport
	return s
}

// NewInProcess is [New] without a network, for testing/synctest and for
// tables that need many sites.
func NewInProcess(t *testing.T, changes ...func(*msauth.Config)) *Site {
	t.Helper()
	s := &Site{MS: msauthtest.New("http://localhost:9"), Log: &LogBuffer{}, Server: &httptest.Server{URL: "https://app.test"}}
	s.configure(t, &http.Client{Transport: s.MS.Transport(), Timeout: 15 * time.Second}, changes)
	s.Wire = Hosts{"app.test": s, "localhost:9": s.MS, "login.live.com": s.MS, "fabrikam.b2clogin.com": s.MS, "fabrikam.ciamlogin.com": s.MS}
	return s
}

func (s *Site) configure(t *testing.T, client *http.Client, changes []func(*msauth.Config)) {
	t.Helper()
	foreign := &foreignErrors{}
	s.Cfg = msauth.Config{
		ClientID:     s.MS.ClientID,
		ClientSecret: s.MS.ClientSecret,
		Authority:    s.MS.URL,
		BaseURL:      s.URL + "/auth",
		Keys:         [][]byte{NewKey()},
		HTTPClient:   client,
		Logger:       slog.New(ownErrors{slog.NewTextHandler(s.Log, &slog.HandlerOptions{Level: slog.LevelDebug}), foreign}),
	}
	s.Restart(t, changes...)
	settle(s.MS, s.Cfg.Authority)
	t.Cleanup(func() {
		s.WantNoSecrets(t, "the log", s.Log.String())
		if found := foreign.list(); len(found) > 0 {
			t.Errorf("errors in the log that no app can know: %q", found)
		}
	})
}

// Restart replaces the app by one with a changed configuration and an empty
// memory.
func (s *Site) Restart(t *testing.T, changes ...func(*msauth.Config)) {
	t.Helper()
	for _, change := range changes {
		change(&s.Cfg)
	}
	var err error
	if s.Auth, err = msauth.New(s.Cfg); err != nil {
		t.Fatal(err)
	}
	s.Mux = http.NewServeMux()
	s.Mux.Handle("/auth/", s.Auth)
	s.Mux.Handle("/public/", s.Auth.Load(http.HandlerFunc(Hello)))
	s.Mux.Handle("/", s.Auth.Require(http.HandlerFunc(Hello)))
	s.Current.Store(s.Mux)
}

// ServeHTTP answers with the handler that is Current: the Mux of the last Restart,
// unless a test has put another in its place.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.Current.Load().ServeHTTP(w, r) }

// WantNoSecrets fails the test when a text holds anything that was secret.
func (s *Site) WantNoSecrets(t *testing.T, what, text string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	secrets := append(s.MS.Secrets(), s.canaries...)
	for _, call := range s.MS.Calls(msauthtest.TokenCode) {
		secrets = append(secrets, call.Form.Get("code_verifier"))
	}
	for _, key := range s.Cfg.Keys {
		secrets = append(secrets, string(key), hex.EncodeToString(key), base64.StdEncoding.EncodeToString(key), fmt.Sprint(key))
	}
	for _, secret := range secrets {
		if secret != "" && strings.Contains(text, secret) {
			t.Errorf("a secret of %d bytes (%.6s...) is in %s", len(secret), secret, what)
			return
		}
	}
}

// Watch keeps what an answer gave to the browser alone.
func (s *Site) Watch(res Seen) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range res.Cookies() {
		if len(c.Value) > 8 {
			s.canaries = append(s.canaries, c.Value)
		}
	}
	if to, err := res.Location(); err == nil {
		for _, name := range []string{"state", "nonce"} {
			if value := to.Query().Get(name); len(value) > 8 {
				s.canaries = append(s.canaries, value)
			}
		}
	}
}

// Watched are the values that browsers got until now.
func (s *Site) Watched() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.canaries)
}

// Hosts calls handlers by host.
type Hosts map[string]http.Handler

// RoundTrip has the handler of the address's host answer, or fails if there is none.
// The answer is complete when it returns.
func (p Hosts) RoundTrip(r *http.Request) (*http.Response, error) {
	handler := p[r.URL.Host]
	if handler == nil {
		return nil, fmt.Errorf("no such host: %s", r.URL.Host)
	}
	if ms, ok := handler.(*msauthtest.Server); ok {
		return ms.Transport().RoundTrip(r)
	}
	in := r.Clone(r.Context())
	in.RequestURI = r.URL.RequestURI()
	in.URL.Scheme, in.URL.Host = "", ""
	if in.Host == "" {
		in.Host = r.URL.Host
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	rec := httptest.NewRecorder()
	handler.ServeHTTP(rec, in)
	res := rec.Result()
	res.Request = r
	header := http.Header{}
	for name, values := range res.Header { // as a reader of the wire joins them
		name = http.CanonicalHeaderKey(name)
		header[name] = append(header[name], values...)
	}
	res.Header = header
	return res, nil
}

// Hello greets whoever is signed in, or nobody. With ?token it answers the access
// token instead, or status 502 and the error.
func Hello(w http.ResponseWriter, r *http.Request) {
	session, ok := msauth.FromContext(r.Context())
	if !ok {
		fmt.Fprint(w, "hello nobody")
		return
	}
	if r.URL.Query().Has("token") {
		token, err := session.Token(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		fmt.Fprint(w, token.AccessToken)
		return
	}
	name := session.User.Name
	if name == "" { // see AtLiveConnect
		name, _ = session.User.Claims["name"].(string)
	}
	fmt.Fprintf(w, "hello %s", name)
}

// NewKey is a random master key of 32 bytes.
func NewKey() []byte {
	key := make([]byte, 32)
	rand.Read(key)
	return key
}

// As makes every sign-in be that of one person, without a page.
func (s *Site) As(person string) {
	s.MS.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = person })
}

// Browser makes a browser without cookies. It gives up at the tenth redirect in a
// row.
func (s *Site) Browser(t *testing.T) *Browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &Browser{T: t, Site: s, Client: &http.Client{
		Jar: jar, Transport: Navigating{s.Wire}, Timeout: 30 * time.Second,
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if s.Watch(Seen{Response: r.Response}); len(via) >= 10 {
				return fmt.Errorf("10 redirects, now to %s", r.URL)
			}
			return nil
		},
	}}
}

// WantCalls checks how many requests of a kind the provider got since the last
// reset.
func (s *Site) WantCalls(t *testing.T, kind msauthtest.Kind, want int) {
	t.Helper()
	if got := s.MS.Count(kind); got != want {
		t.Errorf("%d requests of kind %s at the provider, want %d", got, kind, want)
	}
}

// Calls counts the requests at the provider since the last reset, by kind.
func (s *Site) Calls() map[msauthtest.Kind]int {
	counts := map[msauthtest.Kind]int{}
	for _, kind := range []msauthtest.Kind{
		msauthtest.Discovery, msauthtest.Keys, msauthtest.Authorize, msauthtest.Picked, msauthtest.TokenCode, msauthtest.TokenRefresh,
		msauthtest.TokenOther, msauthtest.Logout, msauthtest.Graph, msauthtest.Batch, msauthtest.Download,
		msauthtest.Thumbnail, msauthtest.Upload, msauthtest.Monitor, msauthtest.Preflight, msauthtest.Other,
	} {
		if n := s.MS.Count(kind); n > 0 {
			counts[kind] = n
		}
	}
	return counts
}

// WantNoCalls checks that the provider got no request since the last reset.
func (s *Site) WantNoCalls(t *testing.T) {
	t.Helper()
	if calls := s.Calls(); len(calls) > 0 {
		t.Errorf("requests at the provider: %v, want none", calls)
	}
}

// Named are the scopes that the renewals have asked for, each as it was sent.
func (s *Site) Named() (scopes []string) {
	for _, call := range s.MS.Calls(msauthtest.TokenRefresh) {
		scopes = append(scopes, call.Form.Get("scope"))
	}
	return scopes
}

// WantRenewed has a token renewed that is over and checks what that has named.
func (s *Site) WantRenewed(t *testing.T, b *Browser, scopes ...string) {
	t.Helper()
	before := b.Get("/public/?token").Text
	s.MS.ResetCalls()
	time.Sleep(Expired)
	res := b.Get("/?token")
	if res.StatusCode != http.StatusOK || res.Text == before || res.Request.URL.Path != "/" {
		t.Errorf("status %d, another token %t; log:\n%s", res.StatusCode, res.Text != before, s.Log)
	}
	for i := range scopes {
		scopes[i] = strings.TrimSpace("openid profile email offline_access " + scopes[i])
	}
	if got := s.Named(); !slices.Equal(got, scopes) {
		t.Errorf("the renewals named %q, want %q", got, scopes)
	}
	s.WantCalls(t, msauthtest.Authorize, 0)
}

// How long to wait in tests where an access token is due after half an hour and
// good for one.
const (
	// Due is until it is due, and still good.
	Due = 31 * time.Minute
	// Expired is until it is over.
	Expired = 61 * time.Minute
)

// RouteTokens adds the page /public/token: the access token of whoever asks, or the
// name of the error in its place.
func (s *Site) RouteTokens() {
	s.Mux.Handle("/public/token", s.Auth.Load(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, _ := msauth.FromContext(r.Context())
		token, err := session.Token(r.Context())
		switch {
		case err == nil:
			fmt.Fprint(w, token.AccessToken)
		case errors.Is(err, msauth.ErrNoSession):
			fmt.Fprint(w, "ErrNoSession")
		case errors.Is(err, msauth.ErrSignInRequired):
			fmt.Fprint(w, "ErrSignInRequired")
		case errors.Is(err, msauth.ErrTokenUnavailable):
			fmt.Fprint(w, "ErrTokenUnavailable")
		default:
			fmt.Fprint(w, err)
		}
	})))
}

// Guard serves a page that a requirement guards.
func (s *Site) Guard(path string, require func(http.Handler) http.Handler) {
	s.Mux.Handle(path, require(http.HandlerFunc(Hello)))
}

// Asked is the newest authorize request.
func (s *Site) Asked(t *testing.T) url.Values {
	t.Helper()
	calls := s.MS.Calls(msauthtest.Authorize)
	if len(calls) == 0 {
		t.Fatal("nobody was sent to sign in")
	}
	return calls[len(calls)-1].Query
}
