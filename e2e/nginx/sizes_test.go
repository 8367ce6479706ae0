package nginx_test

import (
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"time"

	"example.com/msauth/msauthtest"
)

// nginx has 4 KB for the headers of an answer and 8 KB for a line of a request.
func TestSessionPassesNginxAtItsDefaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		person string
		groups bool
		want   string
	}{
		{"work account", msauthtest.Ada, false, "hello Ada Lindqvist"},
		{"work account of another tenant", msauthtest.Bruno, false, "hello Bruno Okafor"},
		{"personal account", msauthtest.Mia, false, "hello Mia Müller"},
		{"200 groups", msauthtest.Grace, true, "hello Grace "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := serve(t, "", unchanged)
			p.ms.Set(func(b *msauthtest.Behavior) {
				b.AccessTokenLifetime = time.Second
				b.GroupClaims = c.groups
			})
			v := p.signIn(c.person, p.url) // all of it through nginx
			if got := v.get(p.url + "/"); !strings.HasPrefix(got.body, c.want) {
				t.Errorf("the page after signing in: %s, %.200q", got.Status, got.body)
			}
			time.Sleep(1100 * time.Millisecond)
			got := v.get(p.url + "/public/page")
			if !strings.HasPrefix(got.body, c.want) || sessionOf(got.Header) == "" {
				t.Errorf("a page that brings a new cookie: %s, %.200q, new cookie %t", got.Status, got.body, sessionOf(got.Header) != "")
			}
			size := 0
			for _, line := range got.Header["Set-Cookie"] {
				size += len("Set-Cookie: ") + len(line) + 2
			}
			t.Logf("%d bytes of Set-Cookie", size)
			// With sign-ins begun and left in other tabs.
			for range 20 {
				v.get(p.url + "/auth/login")
			}
			if got := v.get(p.url + "/"); !strings.HasPrefix(got.body, c.want) {
				t.Errorf("with 16 unfinished sign-ins: %s, %.200q", got.Status, got.body)
			}
		})
	}
}

// However large a session is, what the default budget lets through passes, on
// the way in, where the answer also leads on and clears the attempt, too.
func TestLargestSessionPassesNginxAtItsDefaults(t *testing.T) {
	t.Parallel()
	p := serve(t, "", unchanged)
	path := "/orders/" + strings.Repeat("p", 200)
	largest := 0
	for n := 0; n <= 1200; n += 40 {
		filler := make([]byte, n)
		for i := range filler {
			filler[i] = " !#$%&'()*+,-./:;=?@[]^_`{|}~"[mathrand.IntN(29)] // nothing that packs
		}
		p.ms.Set(func(b *msauthtest.Behavior) {
			b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { claims["filler"] = string(filler) }
		})
		v := p.signInTo(msauthtest.Ada, p.url, path)
		if got := v.get(p.url + path); !strings.HasPrefix(got.body, "hello Ada") {
			t.Errorf("with %d more bytes: %s, %.200q", n, got.Status, got.body)
		}
		size := 0
		for name, value := range v.jar {
			if !strings.HasSuffix(name, "-ok") {
				size += len(name) + 1 + len(value)
			}
		}
		largest = max(largest, size)
	}
	if largest < 3100 {
		t.Errorf("the largest session had %d bytes: nothing was put to the test", largest)
	}
}

// longAddress is an address of n bytes.
func longAddress(n int) string {
	b := []byte("/orders?id=")
	for len(b) < n {
		b = append(b, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~&=:@/"[mathrand.IntN(71)])
	}
	return string(b)
}

// Addresses of up to 2,000 bytes come back whole, beside sessions of all sizes,
// through an nginx that has 4 KB for the headers of an answer.
func TestLongAddressPassesNginxAtItsDefaults(t *testing.T) {
	t.Parallel()
	p := serve(t, "", unchanged)
	for _, filled := range []int{0, 300, 450, 600} {
		filler := longAddress(filled + 11)[11:]
		p.ms.Set(func(b *msauthtest.Behavior) {
			b.AutoSignIn = msauthtest.Ada
			b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { claims["filler"] = filler }
		})
		for _, n := range []int{150, 400, 600, 1000, 1990, 2000} {
			v := &person{at: p, jar: map[string]string{}}
			for range 5 { // left behind in other tabs
				v.get(p.url + longAddress(n))
			}
			address := longAddress(n)
			end, way := v.follow(p.url + address)
			if end.StatusCode != 200 || end.body != "hello Ada Lindqvist" || end.Request.URL.RequestURI() != address {
				t.Errorf("filler %d, %d bytes: %q", filled, n, way)
			}
			if n == 2000 && !strings.HasSuffix(way[len(way)-2], "/auth/continue") {
				t.Errorf("not by the short route: %q", way)
			}
		}
	}
}

// Another site cannot make a browser's requests too large for nginx.
func TestHostilePageCannotFillUpTheCookieLine(t *testing.T) {
	t.Parallel()
	p := serve(t, "", unchanged)
	v := p.signIn(msauthtest.Ada, p.url)
	for range 40 {
		if got := v.get(p.url + "/auth/login?prompt=login&return_to=" + url.QueryEscape(longAddress(2000))); got.StatusCode != 303 && got.StatusCode != 200 {
			t.Fatalf("%s", got.Status)
		}
	}
	if got := v.get(p.url + "/"); got.body != "hello Ada Lindqvist" {
		t.Errorf("afterwards: %s", got.Status)
	}
}

// The README says how many sessions of apps on one host fit into a Cookie line.
func TestSessionsOfSiblingApps(t *testing.T) {
	t.Parallel()
	p := serve(t, "", unchanged)
	v := p.signIn(msauthtest.Ada, p.url)
	v.get(p.url + "/") // forgets that a sign-in has just been
	session := ""
	for name, value := range v.jar {
		if strings.HasPrefix(name, "msauth-") { // by plain http without __Host-
			session = value
		} else {
			delete(v.jar, name) // the local Microsoft's
		}
	}
	for n, want := range map[int]int{2: 200, 3: 400} {
		sibling := &person{at: p, jar: maps.Clone(v.jar)}
		for i := 1; i < n; i++ {
			for open := range 16 { // sign-ins that are not finished
				sibling.jar[fmt.Sprintf("msauth-abcde%d-login-%016x", i, open)] = "AAAAAAAAAAAAAAAAAAAAAA"
			}
			sibling.jar[fmt.Sprintf("msauth-abcde%d", i)] = session
		}
		if got := sibling.get(p.url + "/"); len(v.jar) != 1 || got.StatusCode != want {
			t.Errorf("%d sessions of %d bytes: status %d, want %d", n, len(session), got.StatusCode, want)
		}
	}
}
