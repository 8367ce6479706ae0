package device

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"example.com/msauth"
	"example.com/msauth/e2e/internal/chrome"
	"example.com/msauth/msauthtest"
)

// patience is how long anything may take.
const patience = 30 * time.Second

// crowd limits the browsers that run at the same time.
var crowd = make(chan struct{}, 3)

// parallel lets a test run beside others, but not beside many.
func parallel(t *testing.T) {
	t.Helper()
	t.Parallel()
	crowd <- struct{}{}
	t.Cleanup(func() { <-crowd })
}

// authority is a CA and a certificate of it for localhost. Chromium registers nothing
// at a site whose certificate it does not trust.
var authority = sync.OnceValues(func() (ca []byte, leaf tls.Certificate) {
	made := func(cert, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) []byte {
		cert.SerialNumber, cert.NotBefore, cert.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, cert, parent, &key.PublicKey, signer)
		if err != nil {
			panic(err)
		}
		return der
	}
	newKey := func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic(err)
		}
		return key
	}
	caKey, leafKey := newKey(), newKey()
	root := &x509.Certificate{Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	rootDER := made(root, root, caKey, caKey)
	leafDER := made(&x509.Certificate{
		Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, root, leafKey, caKey)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: rootDER}), tls.Certificate{Certificate: [][]byte{leafDER}, PrivateKey: leafKey}
})

const (
	register = "/auth/device/register"
	refresh  = "/auth/device/refresh"
	session  = "__Host-app"
	bound    = "__Host-app-device"
)

// A site is an app at https://localhost, and a provider at http://127.0.0.1.
type site struct {
	t        *testing.T
	url      string
	ms       *msauthtest.Server
	cfg      msauth.Config
	replicas atomic.Pointer[[]*msauth.Middleware]
	log      syncBuffer

	mu    sync.Mutex
	pages map[string]http.Handler
	front func(w http.ResponseWriter, r *http.Request) bool // answers in place of the app
	seen  []*passed
}

// passed is a request that was answered.
type passed struct {
	r      *http.Request
	status int
	header http.Header
	body   string // of the endpoints for the browser itself
}

// newSite starts a site whose sessions are bound where the browser can do it.
func newSite(t *testing.T, changes ...func(*msauth.Config)) *site {
	t.Helper()
	s := &site{t: t, ms: msauthtest.NewServer(), pages: map[string]http.Handler{}}
	t.Cleanup(s.ms.Close)
	s.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Ada })
	server := httptest.NewUnstartedServer(s)
	_, leaf := authority()
	server.EnableHTTP2, server.TLS = true, &tls.Config{Certificates: []tls.Certificate{leaf}}
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	address := server.Listener.Addr().String()
	s.url = "https://localhost" + address[strings.LastIndexByte(address, ':'):]
	s.cfg = msauth.Config{
		ClientID: s.ms.ClientID, ClientSecret: s.ms.ClientSecret, Authority: s.ms.URL,
		BaseURL: s.url + "/auth", Keys: [][]byte{newKey()}, CookieName: "app",
		DeviceBinding: msauth.DeviceBindingOffered,
		Logger:        slog.New(slog.NewTextHandler(&s.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, change := range changes {
		change(&s.cfg)
	}
	s.serve(s.middleware())
	server.StartTLS()
	t.Cleanup(server.Close)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("requests:\n%s\nlog:\n%s", s.requests(), s.log.String())
		}
	})
	return s
}

func newKey() []byte {
	key := make([]byte, 32)
	rand.Read(key)
	return key
}

// middleware makes a process of the app.
func (s *site) middleware() *msauth.Middleware {
	s.t.Helper()
	auth, err := msauth.New(s.cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	return auth
}

// serve puts the processes behind the address, in turns.
func (s *site) serve(replicas ...*msauth.Middleware) { s.replicas.Store(&replicas) }

func (s *site) auth() *msauth.Middleware { return (*s.replicas.Load())[0] }

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	p := &passed{r: r}
	s.seen = append(s.seen, p)
	replicas := *s.replicas.Load()
	auth, page, front := replicas[len(s.seen)%len(replicas)], s.pages[r.URL.Path], s.front
	s.mu.Unlock()
	out := &recorder{ResponseWriter: w, status: http.StatusOK, keep: strings.Contains(r.URL.Path, "/auth/device/")}
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		p.status, p.header, p.body = out.status, w.Header().Clone(), out.body.String()
	}()
	switch {
	case front != nil && front(out, r):
	case page != nil:
		page.ServeHTTP(out, r)
	case strings.Contains(r.URL.Path, "/auth/"):
		auth.ServeHTTP(out, r)
	case strings.HasPrefix(r.URL.Path, "/public/"):
		auth.Load(http.HandlerFunc(hello)).ServeHTTP(out, r)
	default:
		auth.Require(http.HandlerFunc(hello)).ServeHTTP(out, r)
	}
}

// hello says who is signed in, and whether the session is bound.
func hello(w http.ResponseWriter, r *http.Request) {
	text := "hello nobody"
	if session, ok := msauth.FromContext(r.Context()); ok {
		text = "hello " + session.User.Name
		if session.DeviceBound() {
			text += ", bound"
		}
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprintf(w, `<link rel="icon" href="data:,"><p>%s</p>`, text)
}

// helloBound is what hello says to Ada.
const helloBound = "hello Ada Lindqvist, bound"

// A recorder notes what was answered.
type recorder struct {
	http.ResponseWriter
	status int
	keep   bool
	body   bytes.Buffer
}

func (w *recorder) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.keep {
		w.body.Write(p)
	}
	return w.ResponseWriter.Write(p)
}

func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// page serves a page of its own.
func (s *site) page(path string, h http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pages[path] = h
}

// instead has f answer in place of the app, where it returns true; nil ends that.
func (s *site) instead(f func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.front = f
}

// answered lists the requests to a path that were answered, all for "".
func (s *site) answered(path string) (list []passed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.seen {
		if p.status != 0 && (path == "" || p.r.URL.Path == path) {
			list = append(list, *p)
		}
	}
	return list
}

// proofs counts the refreshes with a proof that was accepted.
func (s *site) proofs() (n int) {
	for _, r := range s.answered(refresh) {
		if r.status == http.StatusOK && r.r.Header.Get("Secure-Session-Response") != "" {
			n++
		}
	}
	return n
}

// forget forgets the requests so far, also those at the provider.
func (s *site) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = nil
	s.ms.ResetCalls()
}

// requests describes what was asked and answered.
func (s *site) requests() string {
	var b strings.Builder
	for _, p := range s.answered("") {
		fmt.Fprintf(&b, "%s %s %d", p.r.Method, p.r.URL.Path, p.status)
		for _, name := range []string{"Cookie", "Secure-Session-Skipped", "Secure-Session-Response", "Sec-Secure-Session-Id"} {
			if value := p.r.Header.Get(name); value != "" {
				fmt.Fprintf(&b, " %s=%.60s", name, cookieNames(name, value))
			}
		}
		for _, name := range []string{"Location", "Secure-Session-Registration", "Secure-Session-Challenge"} {
			if value := p.header.Get(name); value != "" {
				fmt.Fprintf(&b, " > %s=%.40s", name, value)
			}
		}
		fmt.Fprintf(&b, " %.400s\n", p.body)
	}
	return b.String()
}

func cookieNames(header, value string) string {
	if header != "Cookie" {
		return value
	}
	var names []string
	for pair := range strings.SplitSeq(value, "; ") {
		name, _, _ := strings.Cut(pair, "=")
		names = append(names, strings.TrimPrefix(name, session))
	}
	return strings.Join(names, ",")
}

// A syncBuffer collects a log.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// A person is a Chromium with a profile of its own.
type person struct {
	*chrome.Tab
	s    *site
	home string
	stop func()

	mu     sync.Mutex
	events []string
}

// person starts a browser at the site.
func (s *site) person(t *testing.T) *person {
	t.Helper()
	p := &person{s: s, home: t.TempDir()}
	p.start(t)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the browser says:\n%s", strings.Join(p.said(), "\n"))
		}
	})
	return p
}

// start starts the browser, with the profile that it may have from before.
func (p *person) start(t *testing.T) {
	t.Helper()
	ca, _ := authority()
	ctx, stop := chrome.Trusting(t, p.home, ca, chrome.SharedProcesses, chromedp.Flag("enable-features",
		"DeviceBoundSessions:RequireOriginTrialTokens/false,EnableBoundSessionCredentialsSoftwareKeysForManualTesting"))
	p.stop, p.Tab = stop, chrome.OwnTab(t, ctx)
	p.DeviceSessions(func(e *network.EventDeviceBoundSessionEventOccurred) {
		p.mu.Lock()
		defer p.mu.Unlock()
		switch {
		case e.CreationEventDetails != nil:
			p.events = append(p.events, "created "+e.CreationEventDetails.FetchResult.String())
		case e.RefreshEventDetails != nil:
			p.events = append(p.events, strings.TrimSpace("refreshed "+e.RefreshEventDetails.RefreshResult.String()+" "+e.RefreshEventDetails.FetchResult.String()))
		case e.TerminationEventDetails != nil:
			p.events = append(p.events, "ended "+e.TerminationEventDetails.DeletionReason.String())
		case e.ChallengeEventDetails != nil:
			p.events = append(p.events, "challenged "+e.ChallengeEventDetails.ChallengeResult.String())
		}
	})
}

// said is what the browser has said of its bindings.
func (p *person) said() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.events...)
}

// has reports whether the browser has said something of its bindings.
func (p *person) has(event string) bool { return slices.Contains(p.said(), event) }

// cookie returns a cookie of the site, nil if there is none.
func (p *person) cookie(name string) *network.Cookie {
	for _, c := range p.Cookies() {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// signIn signs Ada in, and waits until the session is bound.
func (p *person) signIn(t *testing.T, path string) {
	t.Helper()
	before := len(p.s.answered(register))
	p.Open(p.s.url + path)
	p.waitBound(t, before)
	p.s.forget()
}

// waitBound waits until the browser has registered, once more than before.
func (p *person) waitBound(t *testing.T, before int) {
	t.Helper()
	eventually(t, "a registration", func() bool {
		list := p.s.answered(register)
		return len(list) > before && list[len(list)-1].status == http.StatusOK && p.cookie(bound) != nil
	})
}

// shows opens a page and checks what it says.
func (p *person) shows(t *testing.T, when, path, want string) {
	t.Helper()
	p.Open(p.s.url + path)
	if got := p.Text(); got != want {
		t.Errorf("%s: the page shows %q, want %q", when, got, want)
	}
}

// goesOn opens a page, for which the browser has to prove its device: once, and without
// Microsoft.
func (p *person) goesOn(t *testing.T, when string) {
	t.Helper()
	p.s.forget()
	p.shows(t, when, "/page", helloBound)
	pages := p.s.answered("/page")
	if n := p.s.proofs(); n != 1 || len(pages) != 1 || pages[0].status != http.StatusOK {
		t.Errorf("%s: %d proofs, %d requests for the page", when, n, len(pages))
	}
	if n := p.s.ms.Count(msauthtest.Authorize); n != 0 {
		t.Errorf("%s: %d times at Microsoft", when, n)
	}
}

// drop has the bound cookie end.
func (p *person) drop() { p.DeleteCookie(p.s.url, bound) }

// eventually waits for what cannot be waited for otherwise.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
