package msauth_test

import (
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// An exampleSite is a site on this machine, whose people come from a local Microsoft.
type exampleSite struct {
	*httptest.Server
	mux       *http.ServeMux
	microsoft *msauthtest.Server
	auth      *msauth.Middleware
}

// newExampleSite starts a site. Changes are made to the configuration that all
// examples have.
func newExampleSite(changes ...func(*msauth.Config)) *exampleSite {
	s := &exampleSite{mux: http.NewServeMux(), microsoft: msauthtest.NewServer()}
	s.Server = httptest.NewTLSServer(s.mux)
	cfg := exampleConfig(s.microsoft)
	cfg.BaseURL = s.URL + "/auth"
	cfg.Logger = slog.New(slog.DiscardHandler)
	for _, change := range changes {
		change(&cfg)
	}
	auth, err := msauth.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	s.auth = auth
	s.mux.Handle("/auth/", auth)
	return s
}

func (s *exampleSite) Close() {
	s.Server.Close()
	s.microsoft.Close()
}

// signIn is a browser in which a person has signed in by opening a page.
func (s *exampleSite) signIn(person, path string) *http.Client {
	browser, err := msauthtest.Client(s.URL+path, person)
	if err != nil {
		log.Fatal(err)
	}
	return browser
}

// open is what a browser gets for a page: "200 Hello"; of pages in HTML, such as those
// that refuse somebody, only the status.
func (s *exampleSite) open(browser *http.Client, path string) string {
	req, err := http.NewRequest("GET", s.URL+path, nil)
	if err != nil {
		log.Fatal(err)
	}
	req.Header.Set("Accept", "text/html")
	return s.do(browser, req)
}

func (s *exampleSite) do(browser *http.Client, req *http.Request) string {
	res, err := browser.Do(req)
	if err != nil {
		log.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		log.Fatal(err)
	}
	if strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") {
		return fmt.Sprint(res.StatusCode)
	}
	return fmt.Sprint(res.StatusCode, " ", strings.TrimSpace(string(body)))
}

// text is a handler that says what f says of the session.
func text(f func(s *msauth.Session) string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, _ := msauth.FromContext(r.Context())
		fmt.Fprint(w, f(s))
	})
}

// browser is one in which nobody has signed in.
func (s *exampleSite) browser() *http.Client {
	browser := s.Client()
	browser.Jar, _ = cookiejar.New(nil)
	return browser
}

// post sends a form of a page of the site, and follows where that leads.
func (s *exampleSite) post(browser *http.Client, path string) string {
	req, err := http.NewRequest("POST", s.URL+path, nil)
	if err != nil {
		log.Fatal(err)
	}
	req.Header.Set("Accept", "text/html")
	req.Header.Set("Origin", s.URL)
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	return s.do(browser, req)
}
