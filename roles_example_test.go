package msauth_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// price is a handler of an app that looks at roles itself.
func price(w http.ResponseWriter, r *http.Request) {
	s, ok := msauth.FromContext(r.Context())
	if !ok || !s.User.HasRole("Buyer") {
		http.Error(w, "ask a buyer", http.StatusForbidden)
		return
	}
	fmt.Fprint(w, "42")
}

// A handler that looks at roles itself needs no server.
func TestPrice(t *testing.T) {
	for role, want := range map[string]int{"Buyer": http.StatusOK, "Guest": http.StatusForbidden} {
		s := msauth.NewSessionFrom(msauth.SessionParts{User: msauth.User{Name: "Ada", Roles: []string{role}}})
		r := httptest.NewRequest("GET", "/price", nil)
		w := httptest.NewRecorder()
		price(w, r.WithContext(msauth.NewContext(r.Context(), s)))
		if w.Code != want {
			t.Errorf("%s: status %d, want %d", role, w.Code, want)
		}
	}
}

// RequireRole wants a real sign-in: here by people of a local Microsoft.
func TestAdminIsForAdmins(t *testing.T) {
	microsoft := msauthtest.NewServer()
	defer microsoft.Close()
	mux := http.NewServeMux()
	site := httptest.NewServer(mux)
	defer site.Close()
	config := exampleConfig(microsoft)
	config.BaseURL = site.URL + "/auth"
	auth, err := msauth.New(config)
	if err != nil {
		t.Fatal(err)
	}
	mux.Handle("/auth/", auth)
	mux.Handle("/admin", auth.RequireRole("Admin")(http.HandlerFunc(price)))

	for role, want := range map[string]int{"Admin": http.StatusOK, "Guest": http.StatusForbidden} {
		microsoft.SetUser(msauthtest.User{SignInName: "zoe@contoso.example", Name: "Zoe", Roles: []string{role, "Buyer"}})
		client, err := msauthtest.Client(site.URL+"/admin", "zoe@contoso.example")
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Get(site.URL + "/admin")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s: status %d, want %d", role, res.StatusCode, want)
		}
	}
}
