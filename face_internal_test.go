package msauth

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"example.com/msauth/internal/compact"
	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/renew"
	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/session"
)

// testMiddleware is one that never asks anybody.
func testMiddleware(t *testing.T, changes ...func(*Config)) *Middleware {
	t.Helper()
	key := make([]byte, seal.KeyLength)
	seal.RandomBytes(key)
	cfg := Config{
		ClientID: "id", ClientSecret: "secret", BaseURL: "https://app.example.com/auth", Keys: [][]byte{key},
		HTTPClient: &http.Client{Transport: failingTransport{io.EOF}}, Logger: slog.New(slog.DiscardHandler),
	}
	for _, change := range changes {
		change(&cfg)
	}
	m, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// discovery answers everything with a document.
type discovery string

func (d discovery) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(string(d))), Request: r,
	}, nil
}

// External ID is another issuer, but Microsoft's: tokens are for one API, and
// .default goes with no other scope.
func TestExternalIDIsAskedForDefaultAlone(t *testing.T) {
	t.Parallel()
	const base = "https://contoso.ciamlogin.com/40a0cffe-4fc9-448b-9790-232954984f24"
	m := testMiddleware(t, func(c *Config) {
		c.Issuer = base + "/v2.0"
		c.HTTPClient = &http.Client{Transport: discovery(`{"issuer":"` + base + `/v2.0","authorization_endpoint":"` + base + `/authorize","token_endpoint":"` + base +
			`/token","jwks_uri":"` + base + `/keys","response_types_supported":["code"],"id_token_signing_alg_values_supported":["RS256"]}`)}
	})
	w := httptest.NewRecorder()
	m.begin(w, httptest.NewRequest(http.MethodGet, "https://app.example.com/orders", nil), authorizeOptions{
		returnTo: "/orders", requirement: provider.Requirement{Scopes: []string{"api://orders/.default"}}, granted: "openid profile email User.Read Files.Read",
	})
	u, err := url.Parse(w.Header().Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := u.Query().Get("scope"), "openid profile email offline_access api://orders/.default"; got != want {
		t.Errorf("it asks for %q, want %q", got, want)
	}
}

// What workers learn is of no use to browsers, and must not push out what is.
func TestWorkersLeaveNoNoticesForBrowsers(t *testing.T) {
	t.Parallel()
	m := testMiddleware(t, func(c *Config) { c.Tokens = emptyShelf{} })
	for range renew.MaxOutcomes {
		rec := aRecord()
		seal.RandomBytes(rec.ID[:])
		rec.UserKey, rec.Stored = "7", true
		(&heldTokens{m: m, rec: rec}).note(rec, renew.TokenRequest{}, "rejected", nil)
	}
	rec := aRecord()
	seal.RandomBytes(rec.ID[:])
	rec.Used = time.Now().Unix()
	m.renewals.Note(rec.ID, renew.PendingUpdate{Of: rec.Renewed, Deliver: true}, m.comesUntil(rec))
	if _, ok := m.renewals.PendingUpdate(rec); !ok {
		t.Error("the browser's notice is gone at once")
	}
}

// During a deployment the version before has sealed links that mean something
// else.
func TestLinksOfAnotherFormatAreRefused(t *testing.T) {
	t.Parallel()
	m := testMiddleware(t)
	e := compact.Encoder{}
	e.Text("admin=yes")
	session.AppendRequirement(&e, provider.Requirement{Scopes: []string{"Mail.ReadWrite"}})
	for _, version := range []string{"v1", "v2"} {
		before := append([]byte("msauth login link "+version+"\x00"), m.registration[:]...)
		if o, err := m.loginOptions("sealed=" + m.linkKeys.Seal(e.B, before)); err == nil {
			t.Errorf("%s: AppState %q, scopes %q", version, o.appState, o.requirement.Scopes)
		}
	}
}

// No page of a session without a refresh token tries to renew it.
func TestRenewalIsPutOffWithoutARefreshToken(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		change  func(*Config)
		refresh seal.Secret
		user    string
		off     time.Duration // from signing in; 0 for as it was
	}{
		{"for good", nil, "", "", session.LongestMaxAge},
		{"until it is to be rechecked", func(c *Config) { c.RecheckAfter = time.Hour }, "", "", time.Hour},
		{"with a refresh token", nil, "x", "", 0},
		{"of a user of the app", nil, "", "7", 0},
		{"at Microsoft", func(c *Config) { c.Issuer = "" }, "", "", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := testMiddleware(t, func(c *Config) {
				c.Authority, c.Tenant, c.Issuer = "", "", "https://id.example.com"
				if test.change != nil {
					test.change(c)
				}
			})
			rec := aRecord()
			rec.Refresh, rec.UserKey = test.refresh, test.user
			want := rec.RefreshAt
			if test.off > 0 {
				want = rec.SignedIn + int64(test.off/time.Second)
			}
			if m.withoutRefreshToken(rec); rec.RefreshAt != want {
				t.Errorf("renewed %d s after signing in, want %d", rec.RefreshAt-rec.SignedIn, want-rec.SignedIn)
			}
		})
	}
}

// An emptyShelf is a TokenStore that keeps nothing.
type emptyShelf struct{ TokenStore }
