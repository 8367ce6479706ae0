package routers_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"golang.org/x/oauth2"

	"example.com/msauth"
	"example.com/msauth/example/routers"
	"example.com/msauth/msauthtest"
)

func TestFiles(t *testing.T) {
	t.Parallel()
	var graph string
	s := newSite(t, func(auth *msauth.Middleware) http.Handler {
		// Around a whole site, Require serves the pages below BaseURL too.
		return auth.Require(routers.Files(auth, graph))
	}, func(c *msauth.Config) {
		graph = c.Authority + "/v1.0"
		c.Scopes = []string{"User.Read", "Files.Read"}
	})
	s.want(t, "/files", "navigate", http.StatusOK, "Documents\n")

	// Graph fails, and is well again.
	s.ms.Set(func(b *msauthtest.Behavior) { b.Fail[msauthtest.Graph] = []msauthtest.Failure{{Status: 500}} })
	s.want(t, "/files", "navigate", http.StatusBadGateway, "cannot be read")
	s.want(t, "/files", "navigate", http.StatusOK, "Documents\n")
}

type failing struct{ err error }

func (f failing) Token() (*oauth2.Token, error) { return nil, f.err }

func TestFilesWithoutToken(t *testing.T) {
	t.Parallel()
	auth, err := msauth.New(msauth.Config{
		ClientID: "id", ClientSecret: "secret", BaseURL: "https://app.example.com/auth",
		Keys: [][]byte{[]byte("0123456789abcdefghijklmnopqrstuv")},
	})
	if err != nil {
		t.Fatal(err)
	}
	files := routers.Files(auth, "https://graph.microsoft.com/v1.0") // never reached
	for _, test := range []struct {
		name string
		err  error
		want int
		text string
	}{
		{"revoked", &msauth.AuthError{Class: msauth.ClassSignIn}, http.StatusUnauthorized, `"login_url":"/auth/login?return_to=%2Fpage"`},
		{"outage", &msauth.AuthError{Class: msauth.ClassRetry}, http.StatusBadGateway, "cannot be read"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest("GET", "/files?a=b", nil) // by a script
			r.Header.Set("Referer", "https://app.example.com/page")
			session := msauth.NewSession(msauth.User{Name: "Ada"}, failing{test.err})
			w := httptest.NewRecorder()
			files(w, r.WithContext(msauth.NewContext(r.Context(), session)))
			if w.Code != test.want || !strings.Contains(w.Body.String(), test.text) {
				t.Errorf("status %d, body %q; want %d with %q", w.Code, w.Body, test.want, test.text)
			}
		})
	}
}

// A TokenStore that is enough for one process and a test.
type kept struct{ entries sync.Map }

func (k *kept) Load(_ context.Context, user string) (msauth.StoredTokens, error) {
	if e, ok := k.entries.Load(user); ok {
		return e.(msauth.StoredTokens), nil
	}
	return msauth.StoredTokens{}, msauth.ErrNoTokens
}

func (k *kept) Save(_ context.Context, user string, _ int64, t msauth.StoredTokens) error {
	k.entries.Store(user, t)
	return nil
}

func (k *kept) Delete(_ context.Context, user string) error {
	k.entries.Delete(user)
	return nil
}

func TestAway(t *testing.T) {
	t.Parallel()
	var auth *msauth.Middleware
	store := &kept{}
	s := newSite(t, func(a *msauth.Middleware) http.Handler { auth = a; return routers.Std(a) }, func(c *msauth.Config) {
		c.Tokens, c.Scopes = store, []string{"User.Read", "Files.Read"}
		c.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
			in.UserKey = "7"
			return nil
		}
	})
	s.want(t, "/private", "navigate", http.StatusOK, "For Ada Lindqvist only")
	notified := ""
	notify := func(user string) error { notified += user; return nil }
	graph := s.ms.URL + "/v1.0"
	if err := routers.Away(t.Context(), auth, graph, "7", notify); err != nil || notified != "" {
		t.Errorf("%v, notified %q", err, notified)
	}
	if err := routers.Away(t.Context(), auth, graph, "8", notify); err != nil || notified != "8" {
		t.Errorf("%v, notified %q", err, notified)
	}
	s.ms.Challenge(msauthtest.Challenge{})
	s.ms.Revoke(msauthtest.Ada)
	if err := routers.Away(t.Context(), auth, graph, "7", notify); err != nil || notified != "87" {
		t.Errorf("%v, notified %q", err, notified)
	}
}
