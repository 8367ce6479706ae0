package graph

import (
	"context"
	"net/http"
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
