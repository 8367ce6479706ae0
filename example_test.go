package msauth_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"log"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/oauth2"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// A whole sign-in: somebody who is not signed in opens a page, is sent to
// Microsoft, comes back and sees it. Package msauthtest stands in for
// Microsoft.
func Example() {
	microsoft := msauthtest.NewServer()
	defer microsoft.Close()
	microsoft.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Ada }) // no page to click

	site := httptest.NewUnstartedServer(nil)
	defer site.Close()
	key := make([]byte, 32) // in production from where secrets are kept
	rand.Read(key)

	auth, err := msauth.New(msauth.Config{
		ClientID:     microsoft.ClientID,
		ClientSecret: microsoft.ClientSecret,
		Authority:    microsoft.URL, // leave it out for the real one
		BaseURL:      "https://" + site.Listener.Addr().String() + "/auth",
		Keys:         [][]byte{key},
	})
	if err != nil {
		log.Fatal(err)
	}
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, _ := msauth.FromContext(r.Context())
		fmt.Fprintf(w, "Hello, %s", s.User.Name)
	})
	mux := http.NewServeMux()
	mux.Handle("/auth/", auth)
	mux.Handle("/", auth.Require(hello))
	site.Config.Handler = mux
	site.StartTLS()

	// The browser: it keeps cookies, follows redirects and asks for pages.
	browser := site.Client()
	browser.Jar, _ = cookiejar.New(nil)
	req, _ := http.NewRequest("GET", site.URL+"/files?sort=name", nil)
	req.Header.Set("Accept", "text/html")
	res, err := browser.Do(req)
	if err != nil {
		log.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	fmt.Println(string(body))
	fmt.Println(res.Request.URL.RequestURI())
	// Output:
	// Hello, Ada Lindqvist
	// /files?sort=name
}

// exampleConfig is a registration at the local Microsoft.
func exampleConfig(microsoft *msauthtest.Server) msauth.Config {
	key := make([]byte, 32)
	rand.Read(key)
	return msauth.Config{
		ClientID:     microsoft.ClientID,
		ClientSecret: microsoft.ClientSecret,
		Authority:    microsoft.URL,
		BaseURL:      "https://app.example.com/auth",
		Keys:         [][]byte{key},
	}
}

// A person who navigates is sent to Microsoft; a script is told where to sign
// in.
func ExampleMiddleware_Require() {
	microsoft := msauthtest.NewServer()
	defer microsoft.Close()
	auth, err := msauth.New(exampleConfig(microsoft))
	if err != nil {
		log.Fatal(err)
	}
	orders := auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, _ := msauth.FromContext(r.Context()) // always there under Require
		fmt.Fprintf(w, "orders of %s", s.User.Key())
	}))

	page := httptest.NewRequest("GET", "https://app.example.com/orders", nil)
	page.Header.Set("Sec-Fetch-Mode", "navigate")
	page.Header.Set("Sec-Fetch-Dest", "document")
	w := httptest.NewRecorder()
	orders.ServeHTTP(w, page)
	to, _ := url.Parse(w.Header().Get("Location"))
	fmt.Println(w.Code, to.Path)

	script := httptest.NewRequest("GET", "https://app.example.com/orders.json", nil)
	script.Header.Set("Sec-Fetch-Mode", "cors")
	script.Header.Set("Referer", "https://app.example.com/orders")
	w = httptest.NewRecorder()
	orders.ServeHTTP(w, script)
	var problem struct {
		LoginURL string `json:"login_url"`
	}
	json.Unmarshal(w.Body.Bytes(), &problem)
	fmt.Println(w.Code, problem.LoginURL)
	// Output:
	// 303 /common/oauth2/v2.0/authorize
	// 401 /auth/login?return_to=%2Forders
}

// A page for everybody, which greets those it knows.
func ExampleMiddleware_Load() {
	microsoft := msauthtest.NewServer()
	defer microsoft.Close()
	auth, err := msauth.New(exampleConfig(microsoft))
	if err != nil {
		log.Fatal(err)
	}
	home := auth.Load(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s, ok := msauth.FromContext(r.Context()); ok {
			fmt.Fprintf(w, "Hello, %s", s.User.Name)
			return
		}
		fmt.Fprint(w, "Hello, whoever you are")
	}))

	w := httptest.NewRecorder()
	home.ServeHTTP(w, httptest.NewRequest("GET", "https://app.example.com/", nil))
	fmt.Println(w.Code, w.Body)
	// Output: 200 Hello, whoever you are
}

// Links for templates.
func ExampleMiddleware_LoginURL() {
	microsoft := msauthtest.NewServer()
	defer microsoft.Close()
	auth, err := msauth.New(exampleConfig(microsoft))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(auth.LoginURL(msauth.LoginOptions{ReturnTo: "/files?sort=name"}))
	fmt.Println(auth.LoginURL(msauth.LoginOptions{Prompt: "select_account"})) // "use another account"
	fmt.Println(auth.LogoutURL())
	// Output:
	// /auth/login?return_to=%2Ffiles%3Fsort%3Dname
	// /auth/login?prompt=select_account
	// /auth/logout
}

// Ready tells an alert whether people can sign in.
func ExampleMiddleware_Ready() {
	microsoft := msauthtest.NewServer()
	auth, err := msauth.New(exampleConfig(microsoft))
	if err != nil {
		log.Fatal(err)
	}
	readyz := func(w http.ResponseWriter, r *http.Request) {
		if err := auth.Ready(r.Context()); err != nil {
			http.Error(w, "nobody can sign in", http.StatusServiceUnavailable) // the error is for a log
		}
	}

	microsoft.Close() // an outage
	w := httptest.NewRecorder()
	readyz(w, httptest.NewRequest("GET", "/readyz", nil))
	fmt.Println(w.Code)
	// Output: 503
}

// Only members of the club may come in, and each sign-in notes who they are to
// the app.
func ExampleConfig_onSignIn() {
	microsoft := msauthtest.NewServer()
	defer microsoft.Close()
	members := map[string]string{} // the app's database: account key -> member number
	for _, u := range microsoft.Users() {
		if u.SignInName == msauthtest.Ada {
			members[u.TenantID+"."+u.ObjectID] = "member 7"
		}
	}

	site := httptest.NewUnstartedServer(nil)
	defer site.Close()
	cfg := exampleConfig(microsoft)
	cfg.BaseURL = "https://" + site.Listener.Addr().String() + "/auth"
	cfg.OnSignIn = func(w http.ResponseWriter, r *http.Request, in *msauth.SignIn) error {
		member, ok := members[in.Session.User.Key()]
		if !ok {
			return errors.New("not a member") // a page with status 403
		}
		in.AppData = member
		return nil
	}
	auth, err := msauth.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/auth/", auth)
	mux.Handle("/", auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, _ := msauth.FromContext(r.Context())
		fmt.Fprintf(w, "Welcome, %s", s.AppData)
	})))
	site.Config.Handler = mux
	site.StartTLS()

	for _, person := range []string{msauthtest.Ada, msauthtest.Bruno} {
		microsoft.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = person })
		browser := *site.Client()
		browser.Jar, _ = cookiejar.New(nil)
		req, _ := http.NewRequest("GET", site.URL, nil)
		req.Header.Set("Accept", "text/html")
		res, err := browser.Do(req)
		if err != nil {
			log.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		fmt.Println(person, res.StatusCode, strings.Contains(string(body), "Welcome, member 7"))
	}
	// Output:
	// ada@contoso.example 200 true
	// bruno@fabrikam.example 403 false
}

// The app's own pages in place of the plain ones.
func ExampleConfig_page() {
	microsoft := msauthtest.NewServer()
	defer microsoft.Close()
	branded := template.Must(template.New("").Parse(
		`<title>{{.Title}}</title><h1>{{.Title}}</h1><p>{{.Text}}</p>` +
			`{{range .Links}}{{if .Post}}<form method="post" action="{{.URL}}"><input type="hidden" name="msauth_token" value="{{.Token}}"><button>{{.Label}}</button></form>` +
			`{{else}}<a href="{{.URL}}">{{.Label}}</a> {{end}}{{end}}`))
	cfg := exampleConfig(microsoft)
	cfg.Page = func(w http.ResponseWriter, r *http.Request, p msauth.Page) {
		if p.Kind == "signed-out" {
			p.Title = "See you soon" // or a translation
		}
		w.WriteHeader(p.Status)
		branded.Execute(w, p)
	}
	auth, err := msauth.New(cfg)
	if err != nil {
		log.Fatal(err)
	}

	w := httptest.NewRecorder()
	auth.ServeHTTP(w, httptest.NewRequest("GET", "https://app.example.com/auth/signed-out", nil))
	title, _, _ := strings.Cut(w.Body.String(), "</title>")
	fmt.Println(w.Code, strings.TrimPrefix(title, "<title>"))
	// Output: 200 See you soon
}

// A handler that works with and without somebody signed in.
func ExampleFromContext() {
	greet := func(w http.ResponseWriter, r *http.Request) {
		s, ok := msauth.FromContext(r.Context())
		if !ok {
			fmt.Fprint(w, "Please sign in")
			return
		}
		fmt.Fprintf(w, "Hello, %s", s.User.Name)
	}

	w := httptest.NewRecorder()
	greet(w, httptest.NewRequest("GET", "/", nil)) // not under Load or Require
	fmt.Println(w.Body)
	// Output: Please sign in
}

// Testing a handler that needs nothing but to know who is there.
func ExampleNewContext() {
	greet := func(w http.ResponseWriter, r *http.Request) {
		if s, ok := msauth.FromContext(r.Context()); ok {
			fmt.Fprintf(w, "Hello, %s", s.User.Name)
		}
	}

	somebody := msauth.NewSession(msauth.User{Name: "Ada"}, nil)
	r := httptest.NewRequest("GET", "/", nil)
	r = r.WithContext(msauth.NewContext(r.Context(), somebody))
	w := httptest.NewRecorder()
	greet(w, r)
	fmt.Println(w.Body)
	// Output: Hello, Ada
}

// A session without Microsoft, for a test of code that calls an API with the
// person's token.
func ExampleNewSession() {
	s := msauth.NewSession(
		msauth.User{TenantID: msauthtest.TenantContoso, ObjectID: "1a5b2f0e-8f43-4d6b-9d3a-52c1d0a7e001", Name: "Ada"},
		oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "a token"}),
	)
	token, err := s.Token(context.Background())
	fmt.Println(s.User.Key())
	fmt.Println(token.AccessToken, err)
	fmt.Println(s) // no token in sight
	// Output:
	// 40a0cffe-4fc9-448b-9790-232954984f24.1a5b2f0e-8f43-4d6b-9d3a-52c1d0a7e001
	// a token <nil>
	// msauth.Session(40a0cffe-4fc9-448b-9790-232954984f24.1a5b2f0e-8f43-4d6b-9d3a-52c1d0a7e001)
}

// The client adds the person's token to requests for Microsoft Graph (and, as
// here, for a test server on this machine), and to no others.
func ExampleSession_Client() {
	graph := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"displayName": "Ada", "sent": %q}`, r.Header.Get("Authorization"))
	}))
	defer graph.Close()
	profile := func(w http.ResponseWriter, r *http.Request) {
		s, _ := msauth.FromContext(r.Context())
		res, err := s.Client(r.Context()).Get(graph.URL + "/v1.0/me") // https://graph.microsoft.com/v1.0/me
		if err != nil {
			http.Error(w, "Your profile cannot be read right now.", http.StatusBadGateway)
			return
		}
		defer res.Body.Close()
		io.Copy(w, res.Body)
	}

	s := msauth.NewSession(msauth.User{}, oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "a-token"}))
	r := httptest.NewRequest("GET", "/profile", nil)
	w := httptest.NewRecorder()
	profile(w, r.WithContext(msauth.NewContext(r.Context(), s)))
	fmt.Println(w.Body)
	// Output: {"displayName": "Ada", "sent": "Bearer a-token"}
}

// Telling apart what a failed call means.
func ExampleSession_Token() {
	explain := func(err error) string {
		switch {
		case errors.Is(err, msauth.ErrSignInRequired):
			return "sign in again" // the next page under Require leads there
		case errors.Is(err, msauth.ErrTokenUnavailable):
			return "try again later" // the session lives on
		}
		return "nobody is signed in"
	}
	s := msauth.NewSession(msauth.User{}, nil) // has no tokens to give
	_, err := s.Token(context.Background())
	fmt.Println(explain(err))
	// Output: try again later
}

// What Microsoft said, found in any error of this package.
func ExampleAuthError() {
	var err error = fmt.Errorf("reading files: %w", &msauth.AuthError{
		Class: msauth.ClassSignIn, Code: "invalid_grant", Suberror: "bad_token", Numbers: []int{50173},
	})
	if failure, ok := errors.AsType[*msauth.AuthError](err); ok {
		fmt.Println(failure.Class, failure.Code, failure.Numbers)
	}
	fmt.Println(errors.Is(err, msauth.ErrSignInRequired))
	// Output:
	// sign in again invalid_grant [50173]
	// true
}

// The app's own values in a cookie that nobody can read or change.
func ExampleNewCookieStore() {
	key := make([]byte, 32) // may be one of Config.Keys
	rand.Read(key)
	store, err := msauth.NewCookieStore(key)
	if err != nil {
		log.Fatal(err)
	}
	choose := func(w http.ResponseWriter, r *http.Request) {
		cart, _ := store.New(r, "cart")
		cart.Values["item"] = "teapot"
		if err := cart.Save(r, w); err != nil { // before the response begins
			http.Error(w, "The cart is full.", http.StatusInternalServerError)
		}
	}

	w := httptest.NewRecorder()
	choose(w, httptest.NewRequest("POST", "/choose", nil))
	r := httptest.NewRequest("GET", "/cart", nil)
	for _, c := range w.Result().Cookies() {
		fmt.Println(c.Name, c.Secure, c.HttpOnly, c.SameSite == http.SameSiteLaxMode)
		r.AddCookie(c)
	}
	cart, _ := store.New(r, "cart")
	fmt.Println(cart.Values["item"])
	// Output:
	// __Host-cart true true true
	// teapot
}

// An account has one key, whatever happens to names and addresses.
func ExampleUser_Key() {
	ada := msauth.User{
		TenantID: "40A0CFFE-4FC9-448B-9790-232954984F24",
		ObjectID: "1a5b2f0e-8f43-4d6b-9d3a-52c1d0a7e001",
		Email:    "ada@contoso.example", // never a key
	}
	fmt.Println(ada.Key())
	// Output: 40a0cffe-4fc9-448b-9790-232954984f24.1a5b2f0e-8f43-4d6b-9d3a-52c1d0a7e001
}

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
