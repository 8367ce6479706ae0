package returnpath

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"

	"example.com/msauth"
	"example.com/msauth/e2e/internal/chrome"
)

func TestMain(m *testing.M) { chrome.Main(m) }

const origin = "https://app.example.com"

// seeds reads the list that the Go tests use as well.
func seeds(t *testing.T) (values []string) {
	t.Helper()
	file, err := os.Open("../../tests/cases/testdata/returnpaths.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if lines.Text() == "" || strings.HasPrefix(lines.Text(), "# ") {
			continue
		}
		value, err := strconv.Unquote(`"` + lines.Text() + `"`)
		if err != nil {
			t.Fatalf("%s: %v", lines.Text(), err)
		}
		values = append(values, value)
	}
	if len(values) < 200 {
		t.Fatalf("%d seeds, want 200 and more", len(values))
	}
	return values
}

// generated puts fragments together that have led browsers astray. It is the
// same list every time.
func generated(n int) (values []string) {
	fragments := []string{
		"/", "/", "/", "\\", ".", "..", "/..", "/.", "%2f", "%5c", "%2e", "%2E%2e", "\t", "\n", "\r", "\x00", "\x0b", "\x0c", "\x1f", "\x7f", " ", "@", ":", "?", "#", ";", "&", "=", "%", "%25", "%00", "%09", "%0a", "%0d",
		"evil.example", "app.example.com", "a", "é", "//", "https:", "http:", "javascript:", "data:", "[::1]", "[", "]", "|", "^", "\"", "<", ">", "`", "'", "{", "}", "auth", "/auth", "login", "/logout", "callback", "%6cogin", "signed-out",
		"\u2028", "\u2029", "\uff0f", "\uff3c", "\uff0e", "\u3002", "\u2044", "\u2215", "\u29f8", "\u200b", "\ufeff", "\u00a0", "\u0085", "\u00ad", "\u202e", "%c0%af", "%ef%bc%8f", "%e3%80%82", "\xff", "\xc0\xaf", "\xed\xa0\x80", ":80", ":443", "user:pw@", "+", "*", "~", "$", "!", ",", "-", "_", "0",
	}
	random := rand.New(rand.NewPCG(20, 26))
	for range n {
		var b strings.Builder
		if random.IntN(5) > 0 {
			b.WriteString("/")
		}
		for range 1 + random.IntN(8) {
			b.WriteString(fragments[random.IntN(len(fragments))])
		}
		values = append(values, b.String())
	}
	return values
}

func middleware(t *testing.T) *msauth.Middleware {
	t.Helper()
	key := make([]byte, 32)
	key[0] = 1
	m, err := msauth.New(msauth.Config{ClientID: "id", ClientSecret: "secret", BaseURL: origin + "/auth", Keys: [][]byte{key}})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// accepted is what becomes of a wish to return somewhere.
func accepted(t *testing.T, m *msauth.Middleware, wish string) string {
	t.Helper()
	link, err := url.Parse(m.LoginURL(msauth.LoginOptions{ReturnTo: wish}))
	if err != nil {
		t.Fatal(err)
	}
	if q := link.Query(); q.Has("return_to") {
		return q.Get("return_to")
	}
	return "/"
}

// resolved is where a browser on the callback's page goes.
type resolved struct{ Origin, Path, Href, Error string }

func resolve(b *chrome.Tab, paths []string) (all []resolved) {
	const script = `(%s).map(p => {
		try {
			const u = new URL(p, %q);
			return {Origin: u.origin, Path: u.pathname, Href: u.href, Error: ""};
		} catch (e) {
			return {Origin: "", Path: "", Href: "", Error: String(e)};
		}
	})`
	for batch := range slices.Chunk(paths, 500) {
		text, _ := json.Marshal(batch)
		all = append(all, chrome.Eval[[]resolved](b, fmt.Sprintf(script, text, origin+"/auth/callback?code=x&state=y"))...)
	}
	return all
}

func TestEveryAcceptedPathStaysOnTheSite(t *testing.T) {
	t.Parallel()
	m := middleware(t)
	b := chrome.NewTab(t, chrome.Shared(t))
	listed := seeds(t)
	wishes := append(listed, generated(6000)...)
	var paths []string
	other := 0
	for _, wish := range wishes {
		p := accepted(t, m, wish)
		if strings.ContainsFunc(p, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Errorf("%q gives %q, which a header line cannot carry as it is", wish, p)
		}
		if p != "/" {
			other++
		}
		paths = append(paths, p)
	}
	if other < 500 {
		t.Errorf("%d of %d are accepted: the test tests nothing", other, len(wishes))
	}
	raw := resolve(b, wishes)
	away, cautious := 0, 0
	for i, u := range resolve(b, paths) {
		if u.Error != "" || u.Origin != origin {
			t.Errorf("%q gives %q, which the browser takes for %s%s", wishes[i], paths[i], u.Href, u.Error)
		}
		// What handlers see is decoded and cleaned.
		decoded, err := url.PathUnescape(u.Path)
		if err != nil {
			t.Errorf("%q gives %q, which the browser takes for the path %q: %v", wishes[i], paths[i], u.Path, err)
		}
		switch path.Clean(decoded) {
		case "/auth/login", "/auth/callback", "/auth/logout", "/auth/signed-out":
			t.Errorf("%q gives %q, a page of ours", wishes[i], paths[i])
		}
		if raw[i].Origin != origin {
			away++
		} else if paths[i] == "/" && strings.HasPrefix(wishes[i], "/") && len(wishes[i]) > 1 {
			cautious++
		}
	}
	t.Logf("%d wishes (%d listed), %d would lead away, %d are accepted, %d that would not are refused", len(wishes), len(listed), away, other, cautious)
	if away < 500 {
		t.Errorf("only %d of the wishes would lead away: they are too tame", away)
	}
}

// And not by new URL alone: by following the redirect.
func TestEveryRedirectStaysOnTheSite(t *testing.T) {
	t.Parallel()
	m := middleware(t)
	var paths []string
	for _, wish := range append(seeds(t), generated(600)...) {
		if p := accepted(t, m, wish); p != "/" && !slices.Contains(paths, p) {
			paths = append(paths, p)
		}
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/redirect-")); err == nil && n < len(paths) {
			w.Header().Set("Location", paths[n])
			w.WriteHeader(http.StatusSeeOther)
		}
	}))
	defer server.Close()
	b := chrome.NewTab(t, chrome.Shared(t))
	b.Open(server.URL + "/")
	ended := chrome.Eval[[]string](b, fmt.Sprintf(`Promise.all([...Array(%d).keys()].map(n => fetch("/redirect-" + n).then(r => r.url, e => String(e))))`, len(paths)))
	for i, href := range ended {
		if !strings.HasPrefix(href, server.URL+"/") || strings.HasPrefix(href, server.URL+"/redirect-") {
			t.Errorf("%q leads to %s", paths[i], href)
		}
	}
	if len(ended) < 100 {
		t.Errorf("%d redirects, want a hundred and more", len(ended))
	}
}
