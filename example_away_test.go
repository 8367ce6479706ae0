package msauth_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"strings"
	"sync"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// memoryTokens is a TokenStore for tests: everything is forgotten when the process ends.
// Module tokenstore keeps tokens in SQLite or PostgreSQL.
type memoryTokens struct {
	mu      sync.Mutex
	entries map[string]msauth.StoredTokens
}

func (s *memoryTokens) Load(_ context.Context, user string) (msauth.StoredTokens, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, found := s.entries[user]
	if !found {
		return t, msauth.ErrNoTokens
	}
	return t, nil
}

func (s *memoryTokens) Save(_ context.Context, user string, old int64, t msauth.StoredTokens) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries[user].Version != old { // 0 if there is none
		return msauth.ErrConflict
	}
	for other, entry := range s.entries {
		if other != user && entry.Account == t.Account && !entry.Shared && !t.Shared {
			return msauth.ErrAccountTaken
		}
	}
	s.entries[user] = t
	return nil
}

func (s *memoryTokens) Delete(_ context.Context, user string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.entries, user)
	return nil
}

// A worker that acts for people who have closed their browsers.
func ExampleMiddleware_Offline() {
	tokens := &memoryTokens{entries: map[string]msauth.StoredTokens{}}
	site := newExampleSite(func(cfg *msauth.Config) {
		cfg.Tokens = tokens
		cfg.OnSignIn = func(w http.ResponseWriter, r *http.Request, in *msauth.SignIn) error {
			in.UserKey = "user-42" // the app's own, of the account in.Session.User.Key()
			return nil
		}
	})
	defer site.Close()
	auth, graph := site.auth, site.microsoft.URL+"/v1.0"
	site.mux.Handle("/", auth.Require(http.NotFoundHandler()))
	site.signIn(msauthtest.Ada, "/")

	work := func(ctx context.Context, user string) error {
		s, err := auth.Offline(ctx, user)
		if err != nil {
			return err
		}
		res, err := s.Client(ctx).Get(graph + "/me")
		if err != nil {
			return err
		}
		defer res.Body.Close()
		fmt.Println(user, "is", s.User.Key() != "", res.StatusCode)
		return nil
	}
	for _, user := range []string{"user-42", "user-43"} {
		switch err := work(context.Background(), user); {
		case errors.Is(err, msauth.ErrNoTokens), errors.Is(err, msauth.ErrSignInRequired):
			fmt.Println(user, "has to sign in: send an e-mail, once")
		case err != nil:
			fmt.Println(user, "is tried again later")
		}
	}
	// Output:
	// user-42 is true 200
	// user-43 has to sign in: send an e-mail, once
}

// A site with users of its own: its settings page connects a Microsoft account, and
// takes it away again.
func ExampleMiddleware_Connect() {
	tokens := &memoryTokens{entries: map[string]msauth.StoredTokens{}}
	site := newExampleSite(func(cfg *msauth.Config) {
		cfg.Tokens = tokens
		cfg.User = func(r *http.Request) string { return "user-42" } // whom the site's own session names
	})
	defer site.Close()
	auth := site.auth
	site.mux.Handle("POST /connect", auth.Connect("/settings", "Files.Read"))
	site.mux.HandleFunc("POST /disconnect", func(w http.ResponseWriter, r *http.Request) {
		if err := auth.Disconnect(r.Context(), "user-42"); err != nil {
			http.Error(w, "not disconnected", http.StatusInternalServerError)
			return
		}
		http.Redirect(w, r, "/settings", http.StatusSeeOther)
	})
	site.mux.HandleFunc("/settings", func(w http.ResponseWriter, r *http.Request) {
		_, err := auth.Offline(r.Context(), "user-42")
		fmt.Fprint(w, "connected: ", err == nil)
	})

	// A browser posts the forms of the settings page.
	site.microsoft.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Ada })
	browser := site.browser()
	for _, form := range []string{"/connect", "/disconnect"} {
		fmt.Println(form, site.post(browser, form))
	}
	// Output:
	// /connect 200 connected: true
	// /disconnect 200 connected: false
}

// Before an old key is dropped, what it has sealed is sealed anew.
func ExampleMiddleware_Reseal() {
	tokens := &memoryTokens{entries: map[string]msauth.StoredTokens{}}
	site := newExampleSite(func(cfg *msauth.Config) { cfg.Tokens = tokens })
	defer site.Close()
	auth := site.auth
	site.mux.Handle("/", auth.Require(http.NotFoundHandler()))
	site.signIn(msauthtest.Ada, "/")

	prefix := auth.StoredUser("") // of this registration: others may share the store
	for name := range tokens.entries {
		user, ours := strings.CutPrefix(name, prefix)
		if !ours {
			continue
		}
		if err := auth.Reseal(context.Background(), user); err != nil && !errors.Is(err, msauth.ErrNoTokens) {
			log.Fatal(err)
		}
		fmt.Println("resealed")
	}
	// Output: resealed
}

// Which of the app's own users has an account, in a store that is a table of the app.
func ExampleMiddleware_StoredAccount() {
	tokens := &memoryTokens{entries: map[string]msauth.StoredTokens{}}
	var account string // User.Key, as a report of Microsoft's, or an administrator, names it
	site := newExampleSite(func(cfg *msauth.Config) {
		cfg.Tokens = tokens
		cfg.OnSignIn = func(w http.ResponseWriter, r *http.Request, in *msauth.SignIn) error {
			in.UserKey, account = "user-42", in.Session.User.Key()
			return nil
		}
	})
	defer site.Close()
	auth := site.auth
	site.mux.Handle("/", auth.Require(http.NotFoundHandler()))
	site.signIn(msauthtest.Ada, "/")

	// SELECT name FROM tokens WHERE account = ?
	for name, entry := range tokens.entries {
		if entry.Account == auth.StoredAccount(account) {
			fmt.Println(strings.TrimPrefix(name, auth.StoredUser("")))
		}
	}
	// Output: user-42
}
