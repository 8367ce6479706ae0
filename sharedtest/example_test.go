package sharedtest_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/sharedtest"
)

// Two servers of one site in one test: who signs out at the first is signed out at the
// second.
func ExampleNew() {
	microsoft := msauthtest.NewServer()
	defer microsoft.Close()
	key := make([]byte, 32)
	rand.Read(key)
	shared := sharedtest.New()
	var serving http.Handler // the server to which the load balancer passes requests on
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { serving.ServeHTTP(w, r) }))
	defer site.Close()
	var keyOfAda string
	newServer := func() (*msauth.Middleware, http.Handler) {
		auth, err := msauth.New(msauth.Config{
			ClientID: microsoft.ClientID, ClientSecret: microsoft.ClientSecret, Authority: microsoft.URL,
			BaseURL: site.URL + "/auth", Keys: [][]byte{key},
			Shared: shared, // the same for both
			Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			log.Fatal(err)
		}
		mux := http.NewServeMux()
		mux.Handle("/auth/", auth)
		mux.Handle("/", auth.Load(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s, signedIn := msauth.FromContext(r.Context())
			if signedIn {
				keyOfAda = s.User.Key()
			}
			w.Header().Set("Signed-In", fmt.Sprint(signedIn))
		})))
		return auth, mux
	}
	first, firstHandler := newServer()
	defer first.Close(context.Background())
	second, secondHandler := newServer()
	defer second.Close(context.Background())

	serving = firstHandler
	ada, err := msauthtest.Client(site.URL+"/auth/login", msauthtest.Ada)
	if err != nil {
		log.Fatal(err)
	}
	serving = secondHandler
	ask := func() string {
		res, err := ada.Get(site.URL)
		if err != nil {
			log.Fatal(err)
		}
		defer res.Body.Close()
		return res.Header.Get("Signed-In")
	}
	fmt.Println("at the second server:", ask())
	if err := first.SignOutUser(context.Background(), keyOfAda); err != nil {
		log.Fatal(err)
	}
	for ask() == "true" { // for a second at most
	}
	fmt.Println("after signing out at the first:", ask())
	// Output:
	// at the second server: true
	// after signing out at the first: false
}

// The test of an implementation: each call of the function makes two clients of one
// empty database.
func ExampleRun() {
	_ = func(t *testing.T) { // func TestShared
		sharedtest.Run(t, func(t testing.TB) (one, other msauth.Shared) {
			database := sharedtest.New() // open the database in place of this
			return database, database
		})
	}
}
