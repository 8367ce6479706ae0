package nginx_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/msauth/msauthtest"
)

// without is the app as it would be without header lines of msauth's.
// "cache-control" is the line of its own that comes with every cookie.
func without(names ...string) func(http.Handler) http.Handler {
	return func(app http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			app.ServeHTTP(&stripper{w, names}, r)
		})
	}
}

type stripper struct {
	http.ResponseWriter
	names []string
}

func (s *stripper) strip() {
	for _, name := range s.names {
		delete(s.Header(), name) // this spelling only
	}
}

func (s *stripper) WriteHeader(status int) {
	s.strip()
	s.ResponseWriter.WriteHeader(status)
}

func (s *stripper) Write(p []byte) (int, error) {
	s.strip()
	return s.ResponseWriter.Write(p)
}

// By default nginx stores no answer that sets a cookie. Many are told to, and
// to ignore Vary as well, for the sake of a high hit rate; then the line is all
// that keeps one person's session from the next.
func TestSharedCacheNeverHandsOutASession(t *testing.T) {
	t.Parallel()
	const careless = `
			proxy_cache pages;
			proxy_cache_key $request_uri;
			proxy_cache_valid 200 10m;
			proxy_ignore_headers %s;`
	for _, c := range []struct {
		name    string
		ignored string
		wrap    func(http.Handler) http.Handler
		leaks   bool
	}{
		{"Set-Cookie ignored", "Set-Cookie", unchanged, false},
		{"Set-Cookie and Vary ignored", "Set-Cookie Vary", unchanged, false},
		{"without Vary, the line alone", "Set-Cookie", without("Vary"), false},
		// The controls: without the line it does happen.
		{"control without the line", "Set-Cookie Vary", without("cache-control"), true},
		{"control without the line and Vary", "Set-Cookie", without("cache-control", "Vary"), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := serve(t, fmt.Sprintf(careless, c.ignored), c.wrap)
			// Tokens of a second, so that the next page brings a new cookie.
			p.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Second })
			ada, bruno := p.signIn(msauthtest.Ada, p.direct), p.signIn(msauthtest.Bruno, p.direct)
			time.Sleep(1100 * time.Millisecond)
			p.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })

			first := ada.get(p.url + "/public/page")
			session := sessionOf(first.Header)
			if first.body != "hello Ada Lindqvist" || session == "" || !strings.Contains(strings.Join(first.Header["Cache-Control"], ","), "public") {
				t.Fatalf("%s %q, new session %t, Cache-Control %q", first.Status, first.body, session != "", first.Header["Cache-Control"])
			}
			time.Sleep(200 * time.Millisecond) // nginx answers before it has stored
			second := bruno.get(p.url + "/public/page")
			hit := second.Header.Get("X-Cache-Status") == "HIT"
			handedOver := sessionOf(second.Header) == session
			t.Logf("first %s, second %s, page %q", first.Header.Get("X-Cache-Status"), second.Header.Get("X-Cache-Status"), second.body)
			if hit != c.leaks || handedOver != c.leaks {
				t.Errorf("HIT %t, Ada's session handed to Bruno %t, want both %t", hit, handedOver, c.leaks)
			}
			if !c.leaks && second.body != "hello Bruno Okafor" {
				t.Errorf("Bruno sees %q", second.body)
			}
		})
	}
}

// A page of an app that lets caches keep it, with nothing of ours to set, is
// still kept: the line comes with cookies only.
func TestPageWithoutANewCookieMayBeKept(t *testing.T) {
	t.Parallel()
	p := serve(t, `
			proxy_cache pages;
			proxy_cache_valid 200 10m;`, unchanged)
	ada := p.signIn(msauthtest.Ada, p.direct)
	ada.get(p.direct + "/") // forgets that a sign-in has just been
	status := ""
	for tries := 0; status != "HIT"; tries++ {
		got := ada.get(p.url + "/public/page")
		status = got.Header.Get("X-Cache-Status")
		if got.body != "hello Ada Lindqvist" || tries == 0 && status != "MISS" {
			t.Errorf("request %d: %s, %s, page %q", tries, got.Status, status, got.body)
		}
		if tries == 50 {
			t.Fatalf("never kept: %s", status)
		}
		time.Sleep(20 * time.Millisecond) // nginx answers before it has stored
	}
	// Vary keeps people apart, who have different cookies.
	bruno := p.signIn(msauthtest.Bruno, p.direct)
	bruno.get(p.direct + "/")
	if got := bruno.get(p.url + "/public/page"); got.body != "hello Bruno Okafor" {
		t.Errorf("Bruno sees %q", got.body)
	}
}
