package testsite

import (
	"context"
	"encoding/json"
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"example.com/msauth"
)

// CookieLine is the browser's Cookie header for the site.
func (b *Browser) CookieLine() string {
	var pairs []string
	for _, c := range b.Cookies() {
		pairs = append(pairs, c.Name+"="+c.Value)
	}
	return strings.Join(pairs, "; ")
}

// Headers that a request can be sent with, for what it is to look like.
var (
	// Script is what a script's fetch sends.
	Script = []string{"Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Accept", "*/*"}
	// Navigation is what a page load sends.
	Navigation = []string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Accept", "text/html"}
	// SameOrigin is a navigation that begins on the site itself.
	SameOrigin = slices.Concat(Navigation, []string{"Sec-Fetch-Site", "same-origin"})
	// CrossSite is a navigation that begins on another site.
	CrossSite = slices.Concat(Navigation, []string{"Sec-Fetch-Site", "cross-site"})
)

// Measured is the size in bytes of the largest header that the site answers the
// browser with from now on.
func (b *Browser) Measured() *atomic.Int64 {
	largest := new(atomic.Int64)
	u, _ := url.Parse(b.Site.URL)
	b.Transport = measuring{b.Transport, u.Host, largest}
	return largest
}

// Browser is a client with a cookie jar whose requests look like a person's
// navigation, unless they say otherwise.
type Browser struct {
	*http.Client
	T    *testing.T
	Site *Site
}

// Still makes the browser show redirects instead of following them.
func (b *Browser) Still() *Browser {
	c := *b.Client
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Browser{Client: &c, T: b.T, Site: b.Site}
}

// Navigating is a transport that adds the headers of a navigation to requests that
// do not say what they are.
type Navigating struct{ Base http.RoundTripper }

// RoundTrip sends a request on by Base; the caller's request is left as it is.
func (n Navigating) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Header.Get("Sec-Fetch-Mode") == "" && r.Header.Get("Accept") == "" {
		r = r.Clone(r.Context())
		r.Header.Set("Sec-Fetch-Mode", "navigate")
		r.Header.Set("Sec-Fetch-Dest", "document")
		r.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	}
	return n.Base.RoundTrip(r)
}

// Seen is a response with its body read.
type Seen struct {
	*http.Response
	Text string
}

// Request sends a request with these headers, given as names and values in turn,
// and returns the answer. A target that begins with a slash is on the site.
func (b *Browser) Request(method, target string, header ...string) Seen {
	b.T.Helper()
	if strings.HasPrefix(target, "/") {
		target = b.Site.URL + target
	}
	req, err := http.NewRequestWithContext(context.Background(), method, target, nil)
	if err != nil {
		b.T.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Set(header[i], header[i+1])
	}
	return b.Send(req)
}

// Send sends a request and reads the answer. It fails the test if there is none,
// or if a page or problem document holds a secret.
func (b *Browser) Send(req *http.Request) Seen {
	b.T.Helper()
	res, err := b.Do(req)
	if err != nil {
		b.T.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.T.Fatal(err)
	}
	got := Seen{res, string(body)}
	b.Site.Watch(got)
	if got.Kind() != "" || strings.HasPrefix(got.Header.Get("Content-Type"), "application/problem") {
		b.Site.WantNoSecrets(b.T, "a page", got.Text)
	}
	return got
}

var (
	pageKind = regexp.MustCompile(`<main id="msauth-([a-z-]+)">`)
	// PageID finds the id by which a page about a failure can be found in the log.
	PageID = regexp.MustCompile(`<code>([0-9a-f]{12})</code>`)
)

// Get is [Browser.Request] with method GET.
func (b *Browser) Get(target string, header ...string) Seen {
	b.T.Helper()
	return b.Request(http.MethodGet, target, header...)
}

// SignIn signs a person in and fails the test if that does not work.
func (b *Browser) SignIn(person string) {
	b.T.Helper()
	b.Site.As(person)
	if res := b.Get("/"); res.StatusCode != http.StatusOK || !strings.HasPrefix(res.Text, "hello ") || res.Text == "hello nobody" {
		b.T.Fatalf("signing in as %s: status %d, page %q, log:\n%s", person, res.StatusCode, res.Text, b.Site.Log)
	}
}

// Attempt begins a sign-in at target and has the provider answer, as the
// person of [Site.As]. It returns the address of the callback, not yet opened.
func (b *Browser) Attempt(target string, header ...string) string {
	b.T.Helper()
	still := b.Still()
	res := still.Get(target, header...)
	to := res.Header.Get("Location")
	if res.StatusCode != http.StatusSeeOther || !strings.HasPrefix(to, b.Site.MS.URL) {
		b.T.Fatalf("%s: status %d to %q, want a redirect to the provider; log:\n%s", target, res.StatusCode, to, b.Site.Log)
	}
	back := still.Get(to).Header.Get("Location")
	if !strings.HasPrefix(back, b.Site.URL+"/auth/callback?") {
		b.T.Fatalf("the provider sends back to %q, want the callback", back)
	}
	return back
}

// WantGreeting checks who is signed in, without starting a sign-in.
func (b *Browser) WantGreeting(want string) {
	b.T.Helper()
	if got := b.Get("/public/").Text; got != want {
		b.T.Errorf("page %q, want %q; log:\n%s", got, want, b.Site.Log)
	}
}

// Session are the cookies of the browser's session, in their order.
func (b *Browser) Session() (cookies []*http.Cookie) {
	for _, c := range b.Cookies() {
		if SessionCookie.MatchString(c.Name) {
			cookies = append(cookies, c)
		}
	}
	slices.SortFunc(cookies, func(a, b *http.Cookie) int { return strings.Compare(a.Name, b.Name) })
	return cookies
}

// Keep puts a cookie into the browser; an empty value takes it away.
func (b *Browser) Keep(name, value string) {
	c := &http.Cookie{Name: name, Value: value, Path: "/", Secure: true}
	if value == "" {
		c.MaxAge = -1
	}
	u, _ := url.Parse(b.Site.URL)
	b.Jar.SetCookies(u, []*http.Cookie{c})
}

// Cookies are those the browser would send to the site; the provider, on
// another port of the same host, has one of its own.
func (b *Browser) Cookies() []*http.Cookie {
	u, _ := url.Parse(b.Site.URL)
	return slices.DeleteFunc(b.Jar.Cookies(u), func(c *http.Cookie) bool { return strings.HasPrefix(c.Name, "msauthtest-") })
}

// Token is what the page of [Site.RouteTokens] says: the access token, or the name
// of an error.
func (b *Browser) Token() string { b.T.Helper(); return b.Get("/public/token").Text }

// Fetch asks as a script on the page /seen would.
func (b *Browser) Fetch(target string) Seen {
	b.T.Helper()
	return b.Get(target, "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Sec-Fetch-Site", "same-origin",
		"Accept", "application/json", "Referer", b.Site.URL+"/seen?x=1")
}

// AuthorizeQuery begins a sign-in and returns what it asks of the provider.
func (b *Browser) AuthorizeQuery(target string, header ...string) url.Values {
	b.T.Helper()
	res := b.Still().Get(target, header...)
	to, err := res.Location()
	if err != nil || res.StatusCode != http.StatusSeeOther || !strings.HasPrefix(to.String(), b.Site.MS.URL+"/") {
		b.T.Fatalf("%s: status %d to %v, want a redirect to the provider; log:\n%s", target, res.StatusCode, to, b.Site.Log)
	}
	return to.Query()
}

// LinksOf are the addresses that a page links to.
func LinksOf(res Seen) (links []string) {
	for _, m := range regexp.MustCompile(`<a href="([^"]*)"`).FindAllStringSubmatch(res.Text, -1) {
		links = append(links, html.UnescapeString(m[1]))
	}
	return links
}

// User returns what a handler behind Require sees of the person, who is signed in
// on the way if need be. It adds the page /user, so it works once for a site.
func (b *Browser) User() (u msauth.User) {
	b.T.Helper()
	b.Site.Mux.Handle("/user", b.Site.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, _ := msauth.FromContext(r.Context())
		json.NewEncoder(w).Encode(session.User)
	})))
	res := b.Get("/user")
	if err := json.Unmarshal([]byte(res.Text), &u); err != nil {
		b.T.Fatalf("%v: page %q; log:\n%s", err, res.Text, b.Site.Log)
	}
	return u
}

// OwnPage is what browsers send when a person follows a link on a page of the
// site, or sends a form on it.
var OwnPage = []string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Sec-Fetch-Site", "same-origin"}

// Connect presses the button of the app by which a person of its own connects a
// Microsoft account.
func (b *Browser) Connect() Seen {
	b.T.Helper()
	return b.Request(http.MethodPost, "/connect", "Sec-Fetch-Site", "same-origin", "Origin", b.Site.URL)
}
