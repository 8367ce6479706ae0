package signin

import (
	"context"
	"crypto/rand"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"example.com/msauth"
	"example.com/msauth/cmd/msauth-check/internal/outside"
	"example.com/msauth/cmd/msauth-check/internal/report"
	"example.com/msauth/cmd/msauth-check/internal/settings"
)

// Options say how the operator is signed in.
type Options struct {
	// Port is that of the page on localhost; 0 is a free one: Microsoft ignores the port
	// of redirect URIs on localhost ("Redirect URI (reply URL) outline and restrictions",
	// Localhost exceptions).
	Port uint
	// Timeout is how long the operator may take.
	Timeout time.Duration
	// Out is where the address to open is printed.
	Out io.Writer
}

// Path is that of BaseURL on localhost: the redirect URI is http://localhost, this, and
// /callback.
const Path = "/auth"

// Run signs the operator in, and ends when that is done or the time is over.
func Run(ctx context.Context, set *settings.Settings, found *report.Report, network outside.Network, o Options) {
	if found.Blocked() || set.Provider == nil || set.ClientID == "" || len(set.Config.Credentials) == 0 || set.Scopes == nil {
		found.Fact("Nobody was asked to sign in: mend the findings first.")
		return
	}
	l, err := net.Listen("tcp", fmt.Sprint("localhost:", o.Port))
	if err != nil {
		found.Found("sign-in-port", "The page cannot be served: "+err.Error()+".")
		return
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	home := "http://localhost:" + port
	if !outside.CheckRedirect(ctx, set, found, network, home+Path+"/callback") {
		return
	}
	v := &visit{set: set, found: found, done: make(chan struct{})}
	v.wire = &listener{base: network.Transport, found: found}
	auth, err := msauth.New(v.config(home + Path))
	if err != nil {
		found.Found("setting-invalid", strings.TrimPrefix(err.Error(), "msauth: "))
		return
	}
	mux := http.NewServeMux()
	mux.Handle(Path+"/", v.measured(auth))
	mux.Handle("/", auth.Require(http.HandlerFunc(v.arrived)))
	key := rand.Text()
	server := &http.Server{Handler: admit("localhost:"+port, key, mux), ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	go server.Serve(l)   // until Shutdown
	defer server.Close() // what Shutdown has not ended
	fmt.Fprintf(o.Out, "Open %s/%s in a browser on this computer, and sign in within %s.\n", home, key, o.Timeout)

	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	select {
	case <-v.done:
		v.tell(ctx)
	case <-ctx.Done():
		found.Found("sign-in-missing", fmt.Sprintf("Nobody came back to %s%s/callback within %s.", home, Path, o.Timeout))
	}
	stop, cancelStop := context.WithTimeout(context.WithoutCancel(ctx), time.Second) // the last page is still being read
	defer cancelStop()
	_ = server.Shutdown(stop)
}

// A visit is the operator's.
type visit struct {
	set   *settings.Settings
	found *report.Report
	wire  *listener
	once  sync.Once
	done  chan struct{}

	mu      sync.Mutex
	cookies int    // bytes of the session's Set-Cookie lines
	headers int    // bytes of the response that has them
	count   int    // of these lines
	failure *page  // the page that the sign-in ended on; nil if it did not
	person  string // what kind of account
}

// A page is one of msauth's that says no.
type page struct {
	kind string
	err  error
}

// personal is the person of a personal Microsoft account.
const personal = "a personal account"

// config is the configuration of an app with the operator's settings, at another address.
func (v *visit) config(base string) msauth.Config {
	key := make([]byte, 32)
	rand.Read(key)
	c := v.set.Config
	c.BaseURL, c.PostLogoutURL, c.Keys, c.KeyFiles = base, "", [][]byte{key}, nil
	c.HTTPClient = &http.Client{Transport: v.wire, Timeout: 15 * time.Second}
	c.Logger = slog.New(slog.DiscardHandler)
	c.Page = v.page
	return c
}

// page notes why a sign-in ended on a page, and shows that.
func (v *visit) page(w http.ResponseWriter, r *http.Request, p msauth.Page) {
	p.ServeHTTP(w, r)
	switch p.Kind {
	case "wait", "bad-request", "not-found", "start-again":
		// Anybody can ask for these; but a code that was redeemed is the operator's.
		if v.wire.first() == nil || p.Kind != "start-again" {
			return
		}
	}
	if p.Err == nil {
		return
	}
	v.mu.Lock()
	v.failure = &page{p.Kind, p.Err}
	v.mu.Unlock()
	v.end()
}

// end lets Run go on.
func (v *visit) end() { v.once.Do(func() { close(v.done) }) }

// arrived serves the page for who has signed in.
func (v *visit) arrived(w http.ResponseWriter, r *http.Request) {
	s, _ := msauth.FromContext(r.Context())
	v.mu.Lock()
	v.person = "a work or school account of tenant " + s.User.TenantID
	switch {
	case s.User.Personal():
		v.person = personal
	case s.User.TenantID == "":
		v.person = "an account of " + s.User.Issuer
	}
	v.mu.Unlock()
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'")
	fmt.Fprintf(w, "<!doctype html><title>msauth-check</title><h1>Signed in as %s</h1><p>You can close this page: msauth-check prints what it has seen.</p>\n", html.EscapeString(s.User.Name))
	v.end()
}

// measured serves msauth's pages, and measures the response that makes the session.
func (v *visit) measured(auth http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		auth.ServeHTTP(w, r)
		if r.URL.Path != Path+"/callback" {
			return
		}
		cookies, headers, count := 0, 0, 0
		for name, lines := range w.Header() {
			for _, line := range lines {
				n := len(name) + len(": ") + len(line) + len("\r\n")
				headers += n
				if name == "Set-Cookie" && !strings.Contains(line, "Max-Age=0") && len(line) > 400 {
					cookies, count = cookies+n, count+1
				}
			}
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		if cookies > v.cookies {
			v.cookies, v.headers, v.count = cookies, headers, count
		}
	})
}
