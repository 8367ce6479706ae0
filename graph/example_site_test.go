package graph_test

import (
	"context"
	"crypto/rand"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"

	"example.com/msauth"
	"example.com/msauth/graph"
	"example.com/msauth/msauthtest"
)

// signedIn is a client for the Graph of a local Microsoft, at which Mia has signed in
// by way of a site. Her OneDrive has a few files.
func signedIn() (c *graph.Client, end func()) { return signedInAs(msauthtest.Mia) }

func signedInAs(person string) (c *graph.Client, end func()) {
	microsoft := msauthtest.NewServer()
	mux := http.NewServeMux()
	site := httptest.NewServer(mux)
	key := make([]byte, 32)
	rand.Read(key)
	auth, err := msauth.New(msauth.Config{
		ClientID: microsoft.ClientID, ClientSecret: microsoft.ClientSecret, Authority: microsoft.URL,
		BaseURL: site.URL + "/auth", Keys: [][]byte{key}, Scopes: []string{"User.Read", "Files.ReadWrite"},
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		log.Fatal(err)
	}
	mux.Handle("/auth/", auth)
	mux.Handle("/", auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, _ := msauth.FromContext(r.Context())
		c = graph.New(s.Client(context.Background()), microsoft.URL+"/v1.0")
	})))
	if _, err := msauthtest.Client(site.URL, person); err != nil {
		log.Fatal(err)
	}
	return c, func() {
		site.Close()
		microsoft.Close()
	}
}
