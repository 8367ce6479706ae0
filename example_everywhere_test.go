package msauth_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/sharedtest"
)

// A page "Where you are signed in", with a button for each browser.
func ExampleMiddleware_Sessions() {
	site := newExampleSite(func(cfg *msauth.Config) {
		cfg.Shared = sharedtest.New() // redisshared.New in production: all servers know all sessions
	})
	defer site.Close()
	auth := site.auth
	list := func(w http.ResponseWriter, r *http.Request) {
		s, _ := msauth.FromContext(r.Context())
		sessions, err := auth.Sessions(r.Context(), s.User.Key())
		if err != nil {
			http.Error(w, "The list cannot be read right now.", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "You are signed in:")
		for _, each := range sessions {
			fmt.Fprintf(w, "%q on %q, this browser: %t\n", each.Browser, each.Platform, each.Current)
		}
	}
	end := func(w http.ResponseWriter, r *http.Request) {
		s, _ := msauth.FromContext(r.Context())
		err := auth.SignOutSession(r.Context(), s.User.Key(), r.FormValue("id"))
		if errors.Is(err, msauth.ErrUnknownSession) {
			http.Error(w, "You have no such session.", http.StatusNotFound)
			return
		}
		http.Redirect(w, r, "/sessions", http.StatusSeeOther)
	}
	site.mux.Handle("GET /sessions", auth.Require(http.HandlerFunc(list)))
	site.mux.Handle("POST /sessions", auth.Require(http.HandlerFunc(end)))

	laptop := site.signIn(msauthtest.Ada, "/sessions")
	site.signIn(msauthtest.Ada, "/sessions") // and another browser
	fmt.Println(site.open(laptop, "/sessions"))
	fmt.Println(site.post(laptop, "/sessions?id=somebody-else's"))
	// Unordered output:
	// 200 You are signed in:
	// "" on "", this browser: false
	// "" on "", this browser: true
	// 404 You have no such session.
}

// Somebody has left the company: every browser is signed out, and what workers use is
// forgotten.
func ExampleMiddleware_SignOutUser() {
	site := newExampleSite(func(cfg *msauth.Config) {
		cfg.Tokens = &memoryTokens{entries: map[string]msauth.StoredTokens{}}
	})
	defer site.Close()
	auth := site.auth
	var key string // of the account, as the app's database has it
	site.mux.Handle("/", auth.Load(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, signedIn := auth.FromContext(r.Context())
		if signedIn {
			key = s.User.Key()
		}
		fmt.Fprint(w, "signed in: ", signedIn)
	})))

	ada := site.signIn(msauthtest.Ada, "/auth/login")
	fmt.Println(site.open(ada, "/"))
	if err := auth.SignOutUser(context.Background(), key, key); err != nil {
		log.Fatal(err)
	}
	fmt.Println(site.open(ada, "/"))
	_, err := auth.Offline(context.Background(), key)
	fmt.Println(errors.Is(err, msauth.ErrNoTokens))
	// Output:
	// 200 signed in: true
	// 200 signed in: false
	// true
}
