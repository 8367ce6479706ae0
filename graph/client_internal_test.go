package graph

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"example.com/msauth"
	"example.com/msauth/internal/bearer"
	"golang.org/x/oauth2"
)

// A RoundTripper that other tests can tell apart.
type base struct{ http.RoundTripper }

// What goes to storage hosts has the proxy and certificates of the client for
// Graph, if that can say what it does without a token, and never its token.
func TestStorageIsReachedWithoutToken(t *testing.T) {
	t.Parallel()
	token := oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "a-token"})
	session := msauth.NewSession(msauth.User{}, token).Client(t.Context())
	own := &base{}
	for _, test := range []struct {
		name   string
		client *http.Client
		want   http.RoundTripper
	}{
		{"no client", nil, http.DefaultTransport},
		{"a plain client", &http.Client{Transport: own}, http.DefaultTransport},
		{"a client of x/oauth2", oauth2.NewClient(context.WithValue(t.Context(), oauth2.HTTPClient, &http.Client{Transport: own}), token), http.DefaultTransport},
		{"a client with a token", &http.Client{Transport: &bearer.Transport{Base: own}}, own},
		{"a session's client", session, session.Transport.(*bearer.Transport).Base},
	} {
		c := New(test.client, "")
		if got := c.storage.Transport; got != test.want {
			t.Errorf("%s: storage is reached by %T, want %T", test.name, got, test.want)
		}
		if other := c.WithStorage(own); other.storage.Transport != http.RoundTripper(own) || c.storage.Transport != test.want || other.api != c.api {
			t.Errorf("%s: WithStorage changes something else", test.name)
		}
	}
}

func TestAsciiPath(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ path, want string }{
		{"me/drive/root:/a-b._~c:", "me/drive/root:/a-b._~c:"},
		{"a b", "a%20b"},
		{"a%20b%3Ac", "a%20b%3Ac"},
		{"ü", "%C3%BC"},
		{"\xff", "%FF"},
		{"f(x='1,2',y=@z)$a!*;[]&+", "f(x='1,2',y=@z)$a!*;[]&+"},
		{"^`{|}\"<>", "%5E%60%7B%7C%7D%22%3C%3E"},
	} {
		if got := asciiPath(test.path); got != test.want {
			t.Errorf("%q: %q, want %q", test.path, got, test.want)
		}
	}
}

// A new sign-in makes no storage host accept its URL again.
func TestStatus401OfStorageIsNoRejection(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", "Bearer")
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer server.Close()
	c := New(server.Client(), server.URL)
	u, _ := url.Parse(server.URL)
	for _, test := range []struct {
		client *http.Client
		want   int
	}{{c.api, 1}, {c.storage, 0}, {c.WithStorage(http.DefaultTransport).storage, 0}} {
		_, err := c.roundTrip(t.Context(), test.client, &request{op: "download", method: http.MethodGet, url: u})
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Status != http.StatusUnauthorized || len(e.WWWAuthenticate()) != test.want || (e.WWWAuthenticate() == nil) != (test.want == 0) {
			t.Errorf("%v, with %q", err, e.WWWAuthenticate())
		}
	}
}

func TestStorageURLs(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		base, url string
		ok        bool
	}{
		{DefaultBase, "https://contoso-my.sharepoint.com/x?tempauth=y", true},
		{DefaultBase, "http://contoso-my.sharepoint.com/x?tempauth=y", false},
		{DefaultBase, "http://127.0.0.1/x", false},
		{"http://127.0.0.1/v1.0", "http://localhost:9/x", true},
		{"http://127.0.0.1/v1.0", "http://contoso-my.sharepoint.com/x", false},
		{DefaultBase, "https://u:p@contoso-my.sharepoint.com/x", false},
		{DefaultBase, "file:///etc/passwd", false},
		{DefaultBase, "https:///x", false},
		{DefaultBase, "/x?tempauth=y", false},
		{DefaultBase, "https://contoso\x00/?tempauth=y", false},
	} {
		u, err := New(nil, test.base).storageURL(test.url)
		if (err == nil) != test.ok || test.ok && u.String() != test.url || err != nil && strings.Contains(err.Error(), "tempauth") {
			t.Errorf("%s: %v, %v", test.url, u, err)
		}
	}
}

func TestRedirectsOfStorageHosts(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		from, to string
		hops     int
		want     error
	}{
		{"https://a.example/?tempauth=x", "https://b.example/", 1, nil},
		{"https://a.example/?tempauth=x", "https://b.example/", 4, nil},
		{"https://a.example/?tempauth=x", "https://b.example/", 5, errManyRedirects},
		{"https://a.example/?tempauth=x", "http://a.example/", 1, errInsecureRedirect},
		{"https://a.example/?tempauth=x", "http://127.0.0.1/", 1, errInsecureRedirect},
		{"http://127.0.0.1/?tempauth=x", "http://localhost/", 1, nil},
		{"http://127.0.0.1/?tempauth=x", "http://b.example/", 1, errInsecureRedirect},
		{"https://a.example/?tempauth=x", "ftp://a.example/", 1, errInsecureRedirect},
	} {
		first, _ := http.NewRequest(http.MethodGet, test.from, nil)
		next, _ := http.NewRequest(http.MethodGet, test.to, nil)
		next.Header.Set("Referer", test.from)
		err := New(nil, "").storage.CheckRedirect(next, slices.Repeat([]*http.Request{first}, test.hops))
		if !errors.Is(err, test.want) || next.Header.Get("Referer") != "" {
			t.Errorf("%s to %s: %v, with Referer %q, want %v", test.from, test.to, err, next.Header.Get("Referer"), test.want)
		}
	}
}
