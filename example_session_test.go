package msauth_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"time"

	"golang.org/x/oauth2"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// A session with scopes and an end, for a test of a handler that looks at them.
func ExampleNewSessionFrom() {
	report := func(w http.ResponseWriter, r *http.Request) {
		s, _ := msauth.FromContext(r.Context())
		fmt.Fprintln(w, "files:", s.HasScope("Files.Read"))
		fmt.Fprintln(w, "mail:", s.HasScope("Mail.Read"))
		fmt.Fprintln(w, "ends:", s.Ends().Format(time.DateOnly))
	}

	s := msauth.NewSessionFrom(msauth.SessionParts{
		User:   msauth.User{Name: "Ada"},
		Scopes: []string{"User.Read", "Files.Read"},
		Ends:   time.Date(2030, 1, 31, 12, 0, 0, 0, time.UTC),
	})
	r := httptest.NewRequest("GET", "/", nil)
	w := httptest.NewRecorder()
	report(w, r.WithContext(msauth.NewContext(r.Context(), s)))
	fmt.Print(w.Body)
	// Output:
	// files: true
	// mail: false
	// ends: 2030-01-31
}

// A page "Your account".
func ExampleSession() {
	site := newExampleSite()
	defer site.Close()
	site.mux.Handle("/account", site.auth.Require(text(func(s *msauth.Session) string {
		now := time.Now()
		return fmt.Sprintln("permissions:", s.Scopes()) +
			fmt.Sprintln("signed in a moment ago:", now.Sub(s.SignedIn()) < time.Minute) +
			fmt.Sprintln("password entered then:", s.AuthTime().Equal(s.SignedIn()) || now.Sub(s.AuthTime()) < time.Minute) +
			fmt.Sprintln("ends in days:", int(s.Ends().Sub(s.SignedIn()).Hours()/24)) +
			fmt.Sprintln("ends earlier if it is not used:", s.IdleEnds().Before(s.Ends())) +
			fmt.Sprintln("next renewal after:", s.Expiry().After(s.Renewed())) +
			fmt.Sprintln("a copy is worthless elsewhere:", s.DeviceBound())
	})))

	fmt.Println(site.open(site.signIn(msauthtest.Ada, "/account"), "/account"))
	// Output:
	// 200 permissions: [openid profile email User.Read]
	// signed in a moment ago: true
	// password entered then: true
	// ends in days: 7
	// ends earlier if it is not used: true
	// next renewal after: true
	// a copy is worthless elsewhere: false
}

// Something that a page offers only to those who have allowed it.
func ExampleSession_HasScope() {
	s := msauth.NewSessionFrom(msauth.SessionParts{Scopes: []string{"User.Read", "Files.Read"}})
	if s.HasScope("Files.Read") {
		fmt.Println("your files")
	}
	if !s.HasScope("Calendars.Read") {
		fmt.Println("show your calendar here?") // a link to a page under RequireScopes
	}
	// Output:
	// your files
	// show your calendar here?
}

// Whose menu has what depends on groups, which are named by their object IDs. For
// people in very many groups, Microsoft Graph is asked.
func ExampleSession_MemberOf() {
	const accounting, board = "5d3c1a52-8a0b-4b3f-9a53-2f9e1c7d4e01", "0b7f6a44-51f2-4f6e-8a57-7d2a3b9c8e02"
	site := newExampleSite()
	defer site.Close()
	site.microsoft.SetUser(msauthtest.User{SignInName: "zoe@contoso.example", Name: "Zoe", Groups: []string{accounting}})
	site.mux.Handle("/", site.auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, _ := msauth.FromContext(r.Context())
		of, err := s.MemberOf(r.Context(), accounting, board)
		if site.auth.Challenge(w, r, err) {
			return
		}
		if err != nil {
			http.Error(w, "Microsoft is not responding.", http.StatusBadGateway)
			return
		}
		fmt.Fprint(w, "accounting: ", slices.Contains(of, accounting), ", board: ", slices.Contains(of, board))
	})))

	fmt.Println(site.open(site.signIn("zoe@contoso.example", "/"), "/"))
	// Output: 200 accounting: true, board: false
}

// An HTTP client, or a library, that takes an oauth2.TokenSource: here for an API of
// the company's own.
func ExampleSession_TokenSource() {
	site := newExampleSite(func(cfg *msauth.Config) { cfg.Scopes = []string{"api://orders/Orders.Read"} })
	defer site.Close()
	site.microsoft.AddAPI(msauthtest.API{ID: "api://orders", Scopes: []string{"Orders.Read"}})
	orders := httptest.NewServer(site.microsoft.Protect("api://orders", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "three orders")
	}), "Orders.Read"))
	defer orders.Close()

	site.mux.Handle("/", site.auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, _ := msauth.FromContext(r.Context())
		client := oauth2.NewClient(r.Context(), s.TokenSource(r.Context(), "api://orders/Orders.Read"))
		res, err := client.Get(orders.URL)
		if site.auth.Challenge(w, r, err) {
			return
		}
		if err != nil {
			http.Error(w, "no orders right now", http.StatusBadGateway)
			return
		}
		defer res.Body.Close()
		io.Copy(w, res.Body)
	})))

	fmt.Println(site.open(site.signIn(msauthtest.Ada, "/"), "/"))
	// Output: 200 three orders
}
