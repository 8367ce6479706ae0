package signin_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// Two registrations in one process, around each other.
func TestWhichSessionAHandlerSeesOfTwoMiddlewares(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	cfg := s.Cfg
	cfg.BaseURL = s.URL + "/second"
	second, err := msauth.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.Mux.Handle("/second/", second)
	first := s.Auth
	name := func(session *msauth.Session, ok bool) string {
		if !ok {
			return "nobody"
		}
		return strings.Fields(session.User.Name)[0]
	}
	show := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s", name(msauth.FromContext(r.Context())), name(first.FromContext(r.Context())), name(second.FromContext(r.Context())))
	})
	inside := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r.WithContext(msauth.NewContext(r.Context(), msauth.NewSession(msauth.User{Name: "Test"}, nil))))
		})
	}
	all := []struct {
		name    string
		handler http.Handler
		want    string // with nobody at the second; "" for the way to Microsoft
		both    string // with Bruno there
	}{
		{"Require in Load", second.Load(first.Require(show)), "Ada Ada nobody", "Ada Ada Bruno"},
		{"Load in Require", first.Require(second.Load(show)), "Ada Ada nobody", "Ada Ada Bruno"},
		{"Load in Load", first.Load(second.Load(show)), "nobody Ada nobody", "Bruno Ada Bruno"},
		{"Load in Require in Load", first.Load(first.Require(second.Load(show))), "Ada Ada nobody", "Ada Ada Bruno"},
		{"Require in Require", second.Require(first.Require(show)), "", "Ada Ada Bruno"},
		{"the other way", first.Require(second.Require(show)), "", "Bruno Ada Bruno"},
		{"Require again", first.Require(second.Require(first.Require(show))), "", "Ada Ada Bruno"},
		{"Require in Load of both", first.Load(second.Load(first.Require(show))), "Ada Ada nobody", "Ada Ada Bruno"},
		{"a test's session", first.Require(inside(show)), "Test Ada Test", "Test Ada Test"},
		{"Load in a test's session", inside(first.Load(show)), "Ada Ada Test", "Ada Ada Test"},
	}
	for i, c := range all {
		s.Mux.Handle(fmt.Sprintf("/see/%d", i), c.handler)
	}
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	for _, bothIn := range []bool{false, true} {
		if bothIn {
			s.As(msauthtest.Bruno)
			b.Get("/second/login?return_to=/public/")
		}
		for i, c := range all {
			want := c.want
			if bothIn {
				want = c.both
			}
			if got := b.Still().Get(fmt.Sprintf("/see/%d", i)); want != "" && got.Text != want {
				t.Errorf("%s, both signed in %t: %q, want %q", c.name, bothIn, got.Text, want)
			} else if want == "" && got.StatusCode != http.StatusSeeOther {
				t.Errorf("%s: status %d, want the way to Microsoft", c.name, got.StatusCode)
			}
		}
	}
}

func TestCookieStoresOfTwoOwners(t *testing.T) {
	t.Parallel()
	key := testsite.NewKey()
	stores := map[string]*msauth.CookieStore{}
	for _, owner := range []string{"", "shop", "wiki"} {
		store, err := msauth.NewCookieStore(key)
		if err != nil {
			t.Fatal(err)
		}
		store.Owner = owner
		stores[owner] = store
	}
	for owner, store := range stores {
		r, w := httptest.NewRequest("GET", "https://app.test/", nil), httptest.NewRecorder()
		session, _ := store.New(r, "cart")
		session.Values["who"] = owner
		if err := store.Save(r, w, session); err != nil {
			t.Fatal(err)
		}
		for _, c := range w.Result().Cookies() {
			r.AddCookie(c)
		}
		for other, reader := range stores {
			if got, _ := reader.New(r, "cart"); got.IsNew != (owner != other) {
				t.Errorf("of %q, read by %q: new %t", owner, other, got.IsNew)
			}
		}
	}
}
