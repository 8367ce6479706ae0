package msauth_test

import (
	"fmt"
	"net/http"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// A page that needs more of Microsoft Graph than the rest of the site: the first visit
// leads to Microsoft for consent, and back.
func ExampleMiddleware_RequireScopes() {
	site := newExampleSite()
	defer site.Close()
	auth := site.auth

	calendar := text(func(s *msauth.Session) string { return fmt.Sprint("calendar: ", s.HasScope("Calendars.Read")) })
	site.mux.Handle("/", auth.Require(text(func(s *msauth.Session) string { return fmt.Sprint("home: ", s.HasScope("Calendars.Read")) })))
	site.mux.Handle("/calendar", auth.RequireScopes("Calendars.Read")(calendar))

	ada := site.signIn(msauthtest.Ada, "/")
	fmt.Println(site.open(ada, "/"))
	site.microsoft.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Ada }) // who consents without a click
	fmt.Println(site.open(ada, "/calendar"))
	// Output:
	// 200 home: false
	// 200 calendar: true
}

// A page for which people have to have entered their password a short while ago.
func ExampleMiddleware_RequireFreshSignIn() {
	site := newExampleSite()
	defer site.Close()
	auth := site.auth

	codes := text(func(s *msauth.Session) string {
		return fmt.Sprint("recovery codes; password entered just now: ", time.Since(s.AuthTime()) < 5*time.Minute)
	})
	site.mux.Handle("/codes", auth.RequireFreshSignIn(5*time.Minute)(codes))

	ada := site.signIn(msauthtest.Ada, "/codes")
	fmt.Println(site.open(ada, "/codes"))
	// Output: 200 recovery codes; password entered just now: true
}

// A page behind a Conditional Access policy: whatever the policy asks for, such as a
// second factor, has been done when the handler runs.
func ExampleMiddleware_RequireAuthContext() {
	site := newExampleSite()
	defer site.Close()
	auth := site.auth

	pay := text(func(s *msauth.Session) string { return "paid by " + s.User.Name })
	site.mux.Handle("/pay", auth.RequireAuthContext("c1")(pay))

	ada := site.signIn(msauthtest.Ada, "/pay")
	fmt.Println(site.open(ada, "/pay"))
	// Output: 200 paid by Ada Lindqvist
}

// Sensitive pages on sites with Config.DeviceBinding. Browsers that cannot bind a
// session, like the one here, are sent to Microsoft for a password as old as that at
// most.
func ExampleMiddleware_RequireDevice() {
	site := newExampleSite(func(cfg *msauth.Config) { cfg.DeviceBinding = msauth.DeviceBindingOffered })
	defer site.Close()
	auth := site.auth

	transfer := text(func(s *msauth.Session) string { return fmt.Sprint("transferred; bound to a device: ", s.DeviceBound()) })
	site.mux.Handle("/transfer", auth.RequireDevice(5*time.Minute)(transfer))

	ada := site.signIn(msauthtest.Ada, "/transfer")
	fmt.Println(site.open(ada, "/transfer"))
	// Output: 200 transferred; bound to a device: false
}

// A page for people with one of two app roles. Everybody else gets a page that says
// so.
func ExampleMiddleware_RequireRole() {
	site := newExampleSite()
	defer site.Close()
	auth := site.auth
	site.microsoft.SetUser(msauthtest.User{SignInName: "zoe@contoso.example", Name: "Zoe", Roles: []string{"Admin"}})

	admin := text(func(s *msauth.Session) string { return fmt.Sprint("settings; may delete: ", s.User.HasRole("Owner")) })
	site.mux.Handle("/admin", auth.RequireRole("Admin", "Owner")(admin))

	for _, person := range []string{"zoe@contoso.example", msauthtest.Ada} {
		fmt.Println(person, site.open(site.signIn(person, "/admin"), "/admin"))
	}
	// Output:
	// zoe@contoso.example 200 settings; may delete: false
	// ada@contoso.example 403
}

// A page for members of a group, which is named by its object ID.
func ExampleMiddleware_RequireGroup() {
	const accounting = "5d3c1a52-8a0b-4b3f-9a53-2f9e1c7d4e01"
	site := newExampleSite()
	defer site.Close()
	auth := site.auth
	site.microsoft.SetUser(msauthtest.User{SignInName: "zoe@contoso.example", Name: "Zoe", Groups: []string{accounting}})

	books := text(func(s *msauth.Session) string { return "the books, for " + s.User.Name })
	site.mux.Handle("/books", auth.RequireGroup(accounting)(books))

	for _, person := range []string{"zoe@contoso.example", msauthtest.Ada} {
		fmt.Println(person, site.open(site.signIn(person, "/books"), "/books"))
	}
	// Output:
	// zoe@contoso.example 200 the books, for Zoe
	// ada@contoso.example 403
}

// A part of the site for the people of one customer, and one for personal accounts.
func ExampleMiddleware_RequireTenant() {
	const personalAccounts = "9188040d-6c67-4c5b-b112-36a304b66dad"
	site := newExampleSite()
	defer site.Close()
	auth := site.auth

	page := text(func(s *msauth.Session) string {
		return fmt.Sprint(s.User.Name, ", personal account: ", s.User.Personal())
	})
	site.mux.Handle("/contoso", auth.RequireTenant(msauthtest.TenantContoso)(page))
	site.mux.Handle("/family", auth.RequireTenant(personalAccounts)(page))

	for _, person := range []string{msauthtest.Ada, msauthtest.Mia} {
		for _, path := range []string{"/contoso", "/family"} {
			fmt.Println(path, site.open(site.signIn(person, path), path))
		}
	}
	// Output:
	// /contoso 200 Ada Lindqvist, personal account: false
	// /family 403
	// /contoso 403
	// /family 200 Mia Müller, personal account: true
}

// A call to Graph that a policy refuses until Ada has done more: the page leads her
// there, and works when she is back.
func ExampleMiddleware_Challenge() {
	site := newExampleSite(func(cfg *msauth.Config) { cfg.ContinuousAccess = true })
	defer site.Close()
	auth := site.auth
	graph := site.microsoft.URL + "/v1.0" // https://graph.microsoft.com/v1.0

	profile := func(w http.ResponseWriter, r *http.Request) {
		s, _ := msauth.FromContext(r.Context())
		res, err := s.Client(r.Context()).Get(graph + "/me")
		if auth.Challenge(w, r, err) { // before anything is written
			return
		}
		if err != nil {
			http.Error(w, "Microsoft is not responding.", http.StatusBadGateway)
			return
		}
		defer res.Body.Close()
		fmt.Fprint(w, "Graph says ", res.StatusCode)
	}
	site.mux.Handle("/profile", auth.Require(http.HandlerFunc(profile)))

	ada := site.signIn(msauthtest.Ada, "/profile")
	fmt.Println(site.open(ada, "/profile"))

	withdraw := site.microsoft.Challenge(msauthtest.Challenge{ACRS: "c1"})
	defer withdraw()
	site.microsoft.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Ada }) // who does so without a click
	before := site.microsoft.Count(msauthtest.Authorize)
	fmt.Println(site.open(ada, "/profile"))
	fmt.Println("ways to Microsoft:", site.microsoft.Count(msauthtest.Authorize)-before)
	// Output:
	// 200 Graph says 200
	// 200 Graph says 200
	// ways to Microsoft: 1
}
