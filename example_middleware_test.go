package msauth_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// A setting that is wrong is named, with what it should be.
func ExampleNew() {
	_, err := msauth.New(msauth.Config{
		ClientID:     "11111111-2222-3333-4444-555555555555",
		ClientSecret: "a secret",
		BaseURL:      "http://app.example.com/auth", // should be https
		Keys:         [][]byte{make([]byte, 32)},    // random in earnest
	})
	fmt.Println(err)
	// Output: msauth: Config.BaseURL "http://app.example.com/auth" must be https: plain http is for loopback hosts such as localhost
}

// The pages below BaseURL, here of a site that shares its host with others: it is
// reached below /shop.
func ExampleMiddleware_ServeHTTP() {
	microsoft := msauthtest.NewServer()
	defer microsoft.Close()
	cfg := exampleConfig(microsoft)
	cfg.BaseURL = "https://example.com/shop/auth"
	auth, err := msauth.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/shop/auth/", auth)

	for _, page := range []string{"login", "msauth.js", "signed-out"} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest("GET", "https://example.com/shop/auth/"+page, nil))
		fmt.Println(page, w.Code)
	}
	// Output:
	// login 303
	// msauth.js 200
	// signed-out 200
}

// A router in which each address is registered by itself.
func ExampleMiddleware_Callback() {
	site := newExampleSite()
	defer site.Close()
	auth := site.auth

	mux := http.NewServeMux()
	mux.HandleFunc("GET /auth/login", auth.Login)
	mux.HandleFunc("GET /auth/callback", auth.Callback)
	mux.HandleFunc("/auth/logout", auth.Logout)
	mux.Handle("/auth/", auth) // what else there is: signed-out, session, msauth.js, ...
	mux.Handle("/", auth.Require(text(func(s *msauth.Session) string { return "Hello, " + s.User.Name })))
	site.Config.Handler = mux

	fmt.Println(site.open(site.signIn(msauthtest.Ada, "/"), "/"))
	// Output: 200 Hello, Ada Lindqvist
}

// The end of a process: requests first, then what the Middleware does by itself.
func ExampleMiddleware_Close() {
	microsoft := msauthtest.NewServer()
	defer microsoft.Close()
	auth, err := msauth.New(exampleConfig(microsoft))
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Addr: "localhost:0", Handler: auth}
	stopped := make(chan error)
	go func() { stopped <- server.ListenAndServe() }()

	// On SIGTERM, with as much time as the platform gives:
	ctx := context.Background()
	fmt.Println("requests:", server.Shutdown(ctx))
	fmt.Println("sign-ins:", auth.Close(ctx))
	fmt.Println("server:", errors.Is(<-stopped, http.ErrServerClosed))
	// Output:
	// requests: <nil>
	// sign-ins: <nil>
	// server: true
}

// Numbers for a page that monitoring reads.
func ExampleMiddleware_Stats() {
	site := newExampleSite()
	defer site.Close()
	auth := site.auth
	site.mux.Handle("/admin", auth.RequireRole("Admin")(http.NotFoundHandler()))
	site.mux.HandleFunc("/metrics", func(w http.ResponseWriter, r *http.Request) {
		stats := auth.Stats()
		fmt.Fprintln(w, "sign_ins_total", stats.SignIns)
		for kind, n := range stats.Refused {
			fmt.Fprintf(w, "refused_total{kind=%q} %d\n", kind, n)
		}
		fmt.Fprintln(w, "degraded", len(stats.Degraded))
	})

	site.signIn(msauthtest.Ada, "/admin") // who has no role
	res, err := site.Client().Get(site.URL + "/metrics")
	if err != nil {
		log.Fatal(err)
	}
	defer res.Body.Close()
	io.Copy(os.Stdout, res.Body)
	// Output:
	// sign_ins_total 1
	// refused_total{kind="role"} 1
	// degraded 0
}

// The module for scripts of the site, in a page's HTML.
func ExampleMiddleware_ScriptURL() {
	microsoft := msauthtest.NewServer()
	defer microsoft.Close()
	auth, err := msauth.New(exampleConfig(microsoft))
	if err != nil {
		log.Fatal(err)
	}
	page := fmt.Sprintf(`<script type="module">
import { fetch, session } from %q;
const orders = await (await fetch("/orders.json")).json(); // asks for a sign-in if need be
</script>`, auth.ScriptURL())

	address, _, _ := strings.Cut(page[strings.Index(page, "/auth"):], "?") // before the version
	fmt.Println(address)
	// Output: /auth/msauth.js
}

// A form is better than a link for signing out: nothing on the way fetches it
// beforehand.
func ExampleMiddleware_LogoutURL() {
	microsoft := msauthtest.NewServer()
	defer microsoft.Close()
	auth, err := msauth.New(exampleConfig(microsoft))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("<form method=\"post\" action=%q><button>Sign out</button></form>\n", auth.LogoutURL())
	// Output: <form method="post" action="/auth/logout"><button>Sign out</button></form>
}

// Values of the app's own in cookies, encrypted with the keys that the sessions have:
// a change of keys changes both.
func ExampleMiddleware_CookieStore() {
	microsoft := msauthtest.NewServer()
	defer microsoft.Close()
	auth, err := msauth.New(exampleConfig(microsoft))
	if err != nil {
		log.Fatal(err)
	}
	store := auth.CookieStore()
	visit := func(w http.ResponseWriter, r *http.Request) {
		visits, _ := store.New(r, "visits") // an empty one, if the browser's cannot be opened
		n, _ := visits.Values["n"].(int)
		visits.Values["n"] = n + 1
		if err := visits.Save(r, w); err != nil {
			http.Error(w, "not saved", http.StatusInternalServerError)
			return
		}
		fmt.Fprintln(w, "visit", n+1)
	}

	var cookies []*http.Cookie
	for range 2 {
		r := httptest.NewRequest("GET", "https://app.example.com/", nil)
		for _, c := range cookies {
			r.AddCookie(c)
		}
		w := httptest.NewRecorder()
		visit(w, r)
		fmt.Print(w.Body)
		cookies = w.Result().Cookies()
	}
	// Output:
	// visit 1
	// visit 2
}

// A site for the people of a company, with a page to which they may bring an account
// of their own: two registrations, two Middlewares.
func ExampleMiddleware_FromContext() {
	site := newExampleSite()
	defer site.Close()
	work := site.auth
	cfg := exampleConfig(site.microsoft)
	cfg.BaseURL, cfg.CookieName, cfg.Tenant = site.URL+"/personal", "personal", "consumers"
	personal, err := msauth.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		employee, _ := work.FromContext(r.Context()) // the function FromContext would return this one, too
		_, both := personal.FromContext(r.Context())
		fmt.Fprint(w, employee.User.Name, ", with a personal account: ", both)
	})
	site.mux.Handle("/personal/", personal)
	site.mux.Handle("/both", personal.Load(work.Require(page)))

	fmt.Println(site.open(site.signIn(msauthtest.Ada, "/both"), "/both"))
	// Output: 200 Ada Lindqvist, with a personal account: false
}

// One page with words of the site's own, and all others as they are.
func ExamplePage_ServeHTTP() {
	microsoft := msauthtest.NewServer()
	defer microsoft.Close()
	cfg := exampleConfig(microsoft)
	cfg.Page = func(w http.ResponseWriter, r *http.Request, p msauth.Page) {
		if p.Kind == "signed-out" {
			p.Text = "See you soon."
		}
		p.ServeHTTP(w, r)
	}
	auth, err := msauth.New(cfg)
	if err != nil {
		log.Fatal(err)
	}

	w := httptest.NewRecorder()
	auth.ServeHTTP(w, httptest.NewRequest("GET", "https://app.example.com/auth/signed-out", nil))
	fmt.Println(w.Code, strings.Contains(w.Body.String(), "See you soon."))
	// Output: 200 true
}

// Keys in files, which can change while the app runs. At first the new key is the second
// one: all servers can open what any of them seals, before one seals with it.
func ExampleConfig_keyFiles() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	var files []string
	for _, name := range []string{"2026.key", "2027.key"} {
		key := make([]byte, 32)
		rand.Read(key)
		file := filepath.Join(dir, name) // openssl rand -base64 32 > 2027.key
		if err := os.WriteFile(file, []byte(base64.StdEncoding.EncodeToString(key)+"\n"), 0o600); err != nil {
			log.Fatal(err)
		}
		files = append(files, file)
	}

	microsoft := msauthtest.NewServer()
	defer microsoft.Close()
	cfg := exampleConfig(microsoft)
	cfg.Keys, cfg.KeyFiles = nil, files
	auth, err := msauth.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("keys in use:", len(auth.Stats().KeyIDs))
	// Output: keys in use: 2
}
