package testsite

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// RenewingOffice is an office whose tokens live for an hour, and where nothing
// but a renewal writes cookies.
func RenewingOffice(t *testing.T, changes ...func(*msauth.Config)) *Office {
	o := NewOffice(t, append(changes, func(c *msauth.Config) { c.IdleTimeout = 400 * 24 * time.Hour })...)
	o.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
	return o
}

// ToProvider tells whether an answer leads to the sign-in page.
func ToProvider(a Answer) bool {
	to := a.Header.Get("Location")
	return a.Status == http.StatusSeeOther && strings.HasPrefix(to, "http://localhost:9/") &&
		(strings.Contains(to, "/oauth2/v2.0/authorize?") || strings.Contains(to, "/oauth20_authorize.srf?"))
}

// An Office is a site without a network: its handler and its provider are
// called in process, so that it can live in a testing/synctest bubble and serve
// a hundred thousand requests.
type Office struct {
	T       *testing.T
	MS      *msauthtest.Server
	Cfg     msauth.Config
	Auth    *msauth.Middleware
	Handler http.Handler
	Log     *LogBuffer
	people  atomic.Int32
}

// OfficeURL is the origin of every office.
const OfficeURL = "https://app.test"

// NewOffice makes one whose people are all Ada. Its pages are those of [New].
func NewOffice(t *testing.T, changes ...func(*msauth.Config)) *Office {
	t.Helper()
	o := &Office{T: t, MS: msauthtest.New("http://localhost:9"), Log: &LogBuffer{}}
	o.MS.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Ada })
	o.Cfg = msauth.Config{
		ClientID: o.MS.ClientID, ClientSecret: o.MS.ClientSecret, Authority: o.MS.URL,
		BaseURL:    OfficeURL + "/auth",
		Keys:       [][]byte{NewKey()},
		HTTPClient: &http.Client{Transport: o.MS.Transport()},
		Logger:     slog.New(slog.NewTextHandler(o.Log, nil)),
	}
	for _, change := range changes {
		change(&o.Cfg)
	}
	settle(o.MS, o.Cfg.Authority)
	o.Auth, o.Handler = o.Open()
	return o
}

// Open starts one more process of the same app, with a memory of its own.
func (o *Office) Open() (*msauth.Middleware, http.Handler) {
	o.T.Helper()
	auth, err := msauth.New(o.Cfg)
	if err != nil {
		o.T.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/auth/", auth)
	mux.Handle("/public/", auth.Load(http.HandlerFunc(Hello)))
	mux.Handle("/", auth.Require(http.HandlerFunc(Hello)))
	return auth, mux
}

// A Visitor is a browser of an office: its cookies, and how it asks.
type Visitor struct {
	office  *Office
	handler http.Handler
	Jar     map[string]string
}

// An Answer is what a visitor got.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// Visitor makes a visitor without cookies.
func (o *Office) Visitor() *Visitor {
	return &Visitor{office: o, handler: o.Handler, Jar: map[string]string{}}
}

// SignInNew signs in somebody whom the provider has not seen before, of Ada's
// name and tenant; at Live Connect, with a personal account.
func (o *Office) SignInNew() *Visitor {
	o.T.Helper()
	name := fmt.Sprintf("ada%d@contoso.example", o.people.Add(1))
	u := msauthtest.User{SignInName: name, Name: "Ada Lindqvist", TenantID: msauthtest.TenantContoso}
	if o.Live() {
		u.TenantID = msauthtest.TenantPersonal
	}
	o.MS.SetUser(u)
	before := ""
	o.MS.Set(func(b *msauthtest.Behavior) { before, b.AutoSignIn = b.AutoSignIn, name })
	defer o.MS.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = before })
	return o.SignIn()
}

// SignIn makes a visitor who is signed in, with the tokens that the provider
// gives at this moment. It fails the test if that does not work.
func (o *Office) SignIn() *Visitor {
	o.T.Helper()
	v := o.Visitor()
	to := v.Get("/")
	if to.Status != http.StatusSeeOther {
		o.T.Fatalf("status %d in place of a redirect; log:\n%s", to.Status, o.Log)
	}
	req, err := http.NewRequest(http.MethodGet, to.Header.Get("Location"), nil)
	if err != nil {
		o.T.Fatal(err)
	}
	back, err := o.MS.Transport().RoundTrip(req)
	if err != nil {
		o.T.Fatal(err)
	}
	callback := strings.TrimPrefix(back.Header.Get("Location"), OfficeURL)
	if got := v.Get(callback); got.Status != http.StatusSeeOther {
		o.T.Fatalf("callback: status %d; log:\n%s", got.Status, o.Log)
	}
	v.Get("/public/") // the first page forgets that a sign-in has just been
	return v
}

// Copy is a visitor with the cookies of this moment.
func (v *Visitor) Copy() *Visitor {
	c := *v
	c.Jar = map[string]string{}
	for name, value := range v.Jar {
		c.Jar[name] = value
	}
	return &c
}

// Get is a navigation, with these headers besides or instead.
func (v *Visitor) Get(target string, header ...string) Answer {
	return v.Do(http.MethodGet, target, append([]string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Accept", "text/html"}, header...)...)
}

// Fetch is the request of a script, with these headers besides or instead.
func (v *Visitor) Fetch(target string, header ...string) Answer {
	return v.Do(http.MethodGet, target, append([]string{"Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Accept", "application/json"}, header...)...)
}

// Do is [Visitor.DoContext] with a context that does not end.
func (v *Visitor) Do(method, target string, header ...string) Answer {
	return v.DoContext(context.Background(), method, target, header...)
}

// DoContext calls the handler with the visitor's cookies and these headers, given as
// names and values in turn, and keeps the cookies of the answer.
func (v *Visitor) DoContext(ctx context.Context, method, target string, header ...string) Answer {
	u, err := url.ParseRequestURI(target)
	if err != nil {
		v.office.T.Errorf("%s: %v", target, err)
		return Answer{}
	}
	r := (&http.Request{
		Method: method, URL: u, RequestURI: target, Host: "app.test", Header: http.Header{},
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, RemoteAddr: "192.0.2.1:1", Body: http.NoBody,
	}).WithContext(ctx)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	if len(v.Jar) > 0 {
		var line strings.Builder
		for name, value := range v.Jar {
			line.WriteString(name + "=" + value + "; ")
		}
		r.Header.Set("Cookie", strings.TrimSuffix(line.String(), "; "))
	}
	w := httptest.NewRecorder()
	w.Body.Grow(64)
	v.handler.ServeHTTP(w, r)
	v.Receive(w.Header()["Set-Cookie"])
	return Answer{w.Code, w.Header(), w.Body.String()}
}

// Receive keeps and deletes cookies as these Set-Cookie lines say, and fails the
// test at one that cannot be read.
func (v *Visitor) Receive(lines []string) {
	for _, line := range lines {
		c, err := http.ParseSetCookie(line)
		switch {
		case err != nil:
			v.office.T.Errorf("Set-Cookie %q: %v", line, err)
		case c.MaxAge < 0:
			delete(v.Jar, c.Name)
		default:
			v.Jar[c.Name] = c.Value
		}
	}
}

// SetsSession tells whether an answer writes a session cookie.
func (a Answer) SetsSession() bool {
	for _, line := range a.Header["Set-Cookie"] {
		if c, err := http.ParseSetCookie(line); err == nil && c.MaxAge >= 0 && len(c.Value) > 100 {
			return true
		}
	}
	return false
}

// ClearsSession tells whether an answer deletes one.
func (a Answer) ClearsSession() bool {
	for _, line := range a.Header["Set-Cookie"] {
		if c, err := http.ParseSetCookie(line); err == nil && c.MaxAge < 0 && SessionCookie.MatchString(c.Name) {
			return true
		}
	}
	return false
}

// WantCalls checks how many requests of a kind the provider got since the last
// reset.
func (o *Office) WantCalls(kind msauthtest.Kind, want int) {
	o.T.Helper()
	if got := o.MS.Count(kind); got != want {
		o.T.Errorf("%d requests of kind %s at the provider, want %d", got, kind, want)
	}
}

// WantHello checks that the visitor is signed in as Ada; what names the moment.
func (v *Visitor) WantHello(what string) {
	v.office.T.Helper()
	if got := v.Get("/"); got.Status != http.StatusOK || got.Body != HelloAda {
		v.office.T.Fatalf("%s: status %d, page %.100q; log:\n%s", what, got.Status, got.Body, v.office.Log)
	}
}

// At is the same browser at another process of the app.
func (v *Visitor) At(h http.Handler) *Visitor {
	c := *v
	c.handler = h
	return &c
}
