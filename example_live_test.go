package msauth_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// A page that everybody may see, and that says how the browser stands.
func ExampleMiddleware_Status() {
	microsoft := msauthtest.NewServer()
	defer microsoft.Close()
	auth, err := msauth.New(exampleConfig(microsoft))
	if err != nil {
		log.Fatal(err)
	}
	page := auth.Load(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Who cancels at Microsoft comes back to this page.
		login := auth.LoginURL(msauth.LoginOptions{ReturnTo: "/account", ReturnDeclined: true})
		switch auth.Status(r) {
		case msauth.StatusConnected:
			fmt.Fprintln(w, "You are signed in.")
		case msauth.StatusExpired:
			fmt.Fprintln(w, "Your session has ended:", login)
		case msauth.StatusNotConnected:
			fmt.Fprintln(w, "You did not connect your account:", login)
		default:
			fmt.Fprintln(w, "Sign in:", login)
		}
	}))
	w := httptest.NewRecorder()
	page.ServeHTTP(w, httptest.NewRequest("GET", "https://app.example.com/account", nil))
	fmt.Print(w.Body)
	// Output: Sign in: /auth/login?return_declined=1&return_to=%2Faccount
}

// Another part of a site that signs people in at Live Connect: the main site sends it
// the authentication token of the session.
func ExampleMiddleware_VerifyAuthenticationToken() {
	microsoft := msauthtest.NewServer() // in place of the real one
	defer microsoft.Close()
	cfg := exampleConfig(microsoft)           // that of the main site
	cfg.Authority = microsoft.LiveAuthority() // "https://login.live.com" for the real one
	auth, err := msauth.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	part := func(w http.ResponseWriter, r *http.Request) {
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		user, err := auth.VerifyAuthenticationToken(r.Context(), token)
		if err != nil {
			log.Print(err) // says why
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, "orders of ", user.Key())
	}

	r := httptest.NewRequest("GET", "https://app.example.com/orders", nil)
	r.Header.Set("Authorization", "Bearer "+microsoft.AuthenticationToken(msauthtest.Mia, "app.example.com", nil))
	w := httptest.NewRecorder()
	part(w, r)
	fmt.Println(w.Code, strings.HasPrefix(w.Body.String(), "orders of https://login.live.com#"))

	r.Header.Set("Authorization", "Bearer "+microsoft.AuthenticationToken(msauthtest.Mia, "another.example.com", nil))
	w = httptest.NewRecorder()
	part(w, r)
	fmt.Println(w.Code)
	// Output:
	// 200 true
	// 401
}

// The page of a site that signs people in at Live Connect gives the token of its session
// to another part of the site, which checks it with the same configuration.
func ExampleSession_AuthenticationToken() {
	microsoft := msauthtest.NewServer()
	defer microsoft.Close()
	site := newExampleSite(func(cfg *msauth.Config) {
		cfg.ClientID, cfg.ClientSecret = microsoft.ClientID, microsoft.ClientSecret
		cfg.Authority = microsoft.LiveAuthority() // "https://login.live.com" for the real one
		cfg.Scopes = []string{"wl.signin", "wl.basic"}
	})
	defer site.Close()
	auth := site.auth
	site.mux.Handle("/orders", auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, _ := msauth.FromContext(r.Context())
		token, err := s.AuthenticationToken()
		if err != nil {
			http.Error(w, "The orders cannot be read right now.", http.StatusBadGateway)
			return
		}
		user, err := auth.VerifyAuthenticationToken(r.Context(), token) // in the other part
		fmt.Fprint(w, "the same person: ", user.Key() == s.User.Key(), " ", err)
	})))

	fmt.Println(site.open(site.signIn(msauthtest.Mia, "/orders"), "/orders"))
	// Output: 200 the same person: true <nil>
}
