package msauth

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
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
	if _, ok := m.renewals.Pending(rec); !ok {
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

// Whatever goes wrong below, an app and its log see errors of this package only,
// with the same text.
func TestErrorsThatLeaveAreThisPackagesOwn(t *testing.T) {
	t.Parallel()
	failure := &provider.Failure{
		Class: provider.StepUp, Code: "invalid_grant", Numbers: []int{50076}, Scopes: []string{"Mail.Read"},
		Err: fmt.Errorf("below: %w", renew.ErrNoTokens),
	}
	for name, test := range map[string]struct {
		err error
		is  []error
	}{
		"a failure":                {failure, []error{ErrSignInRequired, ErrNoTokens}},
		"wrapped":                  {fmt.Errorf("discovery: %w", failure), []error{ErrSignInRequired, ErrNoTokens}},
		"one of several":           {fmt.Errorf("%w: %w", ErrTokenUnavailable, failure), []error{ErrTokenUnavailable, ErrSignInRequired}},
		"joined":                   {errors.Join(io.EOF, failure), []error{io.EOF, ErrSignInRequired}},
		"of a client":              {&url.Error{Op: "Get", URL: "https://graph.microsoft.com", Err: failure}, []error{ErrSignInRequired}},
		"in an AuthError":          {&AuthError{Class: ClassRetry, Err: failure}, []error{ErrTokenUnavailable, ErrSignInRequired}},
		"a session that is over":   {renew.ErrSessionOver, []error{ErrNoSession}},
		"too large":                {fmt.Errorf("%w: 9 bytes", session.ErrTooLarge), []error{ErrCookieTooLarge}},
		"too large for a store":    {fmt.Errorf("%w: 9 bytes", session.ErrStoreLimit), []error{ErrCookieTooLarge}},
		"nothing kept":             {renew.ErrNoTokens, []error{ErrNoTokens}},
		"a conflict":               {storeError{io.EOF, renew.ErrConflict}, []error{io.EOF, ErrConflict}},
		"an account that is taken": {renew.ErrAccountTaken, []error{ErrAccountTaken}},
		"of a store":               {storeError{io.EOF, nil}, []error{io.EOF}},
		"nothing of ours":          {fmt.Errorf("app: %w", io.EOF), []error{io.EOF}},
	} {
		seen := public(test.err)
		if seen.Error() != test.err.Error() {
			t.Errorf("%s: reads %q, was %q", name, seen, test.err)
		}
		for _, want := range test.is {
			if !errors.Is(seen, want) {
				t.Errorf("%s: is not %v", name, want)
			}
		}
		wantOwn(t, name, seen)
	}
	own := &ownError{&AuthError{Class: ClassRetry}}
	if seen, ok := errors.AsType[*ownError](public(fmt.Errorf("hook: %w", own))); !ok || seen != own {
		t.Error("an app's own error around one of ours has become another")
	}
	if public(nil) != nil {
		t.Error("of no error one is made")
	}
	seen, _ := errors.AsType[*AuthError](public(fmt.Errorf("x: %w", failure)))
	if seen == nil || seen.Class != ClassStepUp || seen.Code != failure.Code || !slices.Equal(seen.Numbers, failure.Numbers) {
		t.Fatalf("the AuthError is %+v", seen)
	}
	if seen.Numbers[0], seen.Scopes[0] = 0, ""; failure.Numbers[0] != 50076 || failure.Scopes[0] != "Mail.Read" {
		t.Error("an app that changes its error changes another's")
	}
}

// wantOwn walks an error's chain in search of the types of packages below
// internal/.
func wantOwn(t *testing.T, name string, err error) {
	t.Helper()
	if err == nil {
		return
	}
	of := reflect.TypeOf(err)
	if of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	if strings.Contains(of.PkgPath(), "/internal/") && strings.HasPrefix(of.PkgPath(), "example.com/msauth") {
		t.Errorf("%s: %T in the chain", name, err)
	}
	for _, sentinel := range sentinels {
		if err == sentinel.below {
			t.Errorf("%s: %v of a package below", name, err)
		}
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		wantOwn(t, name, e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, below := range e.Unwrap() {
			if below == nil {
				t.Errorf("%s: nil among the causes", name)
			}
			wantOwn(t, name, below)
		}
	}
}

// An ownError is one of an app's.
type ownError struct{ err error }

func (e *ownError) Error() string { return "own: " + e.err.Error() }
func (e *ownError) Unwrap() error { return e.err }

// A rejection is an error with the answer of an API.
type rejected []string

func (rejected) Error() string               { return "rejected" }
func (r rejected) WWWAuthenticate() []string { return r }

func TestARequirementIsReadFromAnAPIsAnswer(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err    error
		claims string
		nobody bool // can help
	}{
		{rejected{`Bearer error="insufficient_claims", claims="eyJhIjoxfQ=="`}, `{"a":1}`, false},
		{rejected{}, "", false},
		{rejected(nil), "", true},
		{errors.Join(rejected{`Bearer error="insufficient_claims", claims="eyJhIjoxfQ=="`}, &AuthError{Class: ClassStepUp, Claims: `{"b":2}`}), `{"b":2}`, false},
	} {
		short := shortOf(fmt.Errorf("x: %w", test.err), []string{"Mail.Read"})
		if (short.err != nil) != test.nobody || short.requirement.Claims != test.claims || !test.nobody && len(short.requirement.Scopes) != 1 {
			t.Errorf("%#v: %+v", test.err, short)
		}
	}
}
