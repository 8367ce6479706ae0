// Package forms_test is about forms that meet the end of a session, seen from outside. The
// browser is one of Go, which does what HTML says of forms; e2e/forms has Chromium.
package forms_test

import (
	"fmt"
	"html"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

func TestMain(m *testing.M) { testsite.Main(m) }

// A shop is a site with a form, and what its handlers got.
type shop struct {
	*testsite.Site
	mu    sync.Mutex
	posts []string
}

// order notes a post.
func (s *shop) order(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	session, _ := msauth.FromContext(r.Context())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.posts = append(s.posts, fmt.Sprintf("%s %s %s %s", session.User.Username, r.Method, r.RequestURI, body))
	fmt.Fprint(w, "ordered")
}

// got are the posts since the last call.
func (s *shop) got() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	posts := s.posts
	s.posts = nil
	return posts
}

func (s *shop) open() { s.Mux.Handle("/order", s.Auth.Require(http.HandlerFunc(s.order))) }

// newShop is a site on TLS.
func newShop(t *testing.T, changes ...func(*msauth.Config)) *shop {
	t.Helper()
	s := &shop{Site: testsite.New(t, changes...)}
	s.open()
	return s
}

// inProcess is a site without a network.
func inProcess(t *testing.T, changes ...func(*msauth.Config)) *shop {
	t.Helper()
	s := &shop{Site: testsite.NewInProcess(t, changes...)}
	s.open()
	return s
}

const urlencoded = "application/x-www-form-urlencoded"

// request is the post of a form, as browsers send it. Headers are names and values in
// turn; a value "" takes the header out.
func (s *shop) request(t *testing.T, target, body string, header ...string) *http.Request {
	t.Helper()
	if strings.HasPrefix(target, "/") {
		target = s.URL + target
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", urlencoded)
	for all := slices.Concat(testsite.SameOrigin, []string{"Origin", s.URL}, header); len(all) > 0; all = all[2:] {
		if r.Header.Set(all[0], all[1]); all[1] == "" {
			r.Header.Del(all[0])
		}
	}
	return r
}

// post sends a form and shows the answer, which may be a redirect.
func (s *shop) post(b *testsite.Browser, target, body string, header ...string) testsite.Seen {
	b.T.Helper()
	return b.Still().Send(s.request(b.T, target, body, header...))
}

// A form is one on a page.
type form struct {
	action string
	fields [][2]string
	button string
}

var (
	formParts  = regexp.MustCompile(`(?s)<form method="post" action="([^"<>]*)"(?: accept-charset="utf-8")?>(.*?)</form>`)
	formInside = regexp.MustCompile(`^((?:<input type="hidden" name="[^"<>]*" value="[^"<>]*">)*)<button type="submit">([^<>]*)</button>$`)
	formField  = regexp.MustCompile(`<input type="hidden" name="([^"<>]*)" value="([^"<>]*)">`)
)

// attribute is the value of an attribute, as HTML's parser reads it.
func attribute(s string) string {
	return html.UnescapeString(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(s))
}

// formOn returns the form of a page, and whether there is one. It fails the test if the
// page has two, or one with anything else in it than hidden fields and a button.
func formOn(t *testing.T, text string) (f form, ok bool) {
	t.Helper()
	all := formParts.FindAllStringSubmatch(text, -1)
	if len(all) == 0 {
		if strings.Contains(text, "<form") || strings.Contains(text, "<input") {
			t.Fatalf("a form of another kind in %.2000s", text)
		}
		return f, false
	}
	inside := formInside.FindStringSubmatch(all[0][2])
	if len(all) > 1 || inside == nil || strings.Count(text, "<form") != 1 || strings.Count(text, "<input") != strings.Count(inside[1], "<input") {
		t.Fatalf("more than a form of hidden fields in %.2000s", text)
	}
	f = form{action: html.UnescapeString(all[0][1]), button: html.UnescapeString(inside[2])}
	for _, field := range formField.FindAllStringSubmatch(inside[1], -1) {
		f.fields = append(f.fields, [2]string{attribute(field[1]), attribute(field[2])})
	}
	return f, true
}

// body is what a browser sends of the form (HTML, "constructing the entry list"; WHATWG
// URL, the application/x-www-form-urlencoded serializer).
func (f form) body() string {
	var b strings.Builder
	write := func(s string) {
		s = strings.NewReplacer("\r\n", "\r\n", "\r", "\r\n", "\n", "\r\n").Replace(s)
		for i := range len(s) {
			switch c := s[i]; {
			case c == ' ':
				b.WriteByte('+')
			case c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte("*-._", c) >= 0:
				b.WriteByte(c)
			default:
				fmt.Fprintf(&b, "%%%02X", c)
			}
		}
	}
	for _, field := range f.fields {
		if field[0] == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('&')
		}
		if strings.EqualFold(field[0], "_charset_") {
			field[1] = "UTF-8"
		}
		write(field[0])
		b.WriteByte('=')
		write(field[1])
	}
	return b.String()
}

// kept is the form on a page that keeps one.
func (s *shop) kept(t *testing.T, res testsite.Seen, status int, kind string) form {
	t.Helper()
	f, ok := formOn(t, res.Text)
	if res.StatusCode != status || res.Kind() != kind || !ok || !strings.HasPrefix(f.action, "/auth/again?form=") {
		t.Fatalf("status %d, page %q, form to %q, want %d, %q; page %.800s; log:\n%s", res.StatusCode, res.Kind(), f.action, status, kind, res.Text, s.Log)
	}
	csp := res.Header.Get("Content-Security-Policy")
	if !strings.Contains(csp, "form-action 'self';") || !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") ||
		res.Header.Get("Referrer-Policy") != "same-origin" || res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", res.Header)
	}
	return f
}

// wantPosts checks what the handlers got.
func (s *shop) wantPosts(t *testing.T, want ...string) {
	t.Helper()
	if got := s.got(); !slices.Equal(got, want) {
		t.Errorf("the handler got %q, want %q; log:\n%s", got, want, s.Log)
	}
}

// end ends the session of a browser, which keeps its cookies: a copy of it signs out.
func (s *shop) end(b *testsite.Browser) {
	b.T.Helper()
	res := s.Browser(b.T).Still().Get("/auth/logout", append(slices.Clone(testsite.SameOrigin), "Cookie", b.CookieLine())...)
	if res.StatusCode != http.StatusSeeOther {
		b.T.Fatalf("signing out: status %d", res.StatusCode)
	}
}

const ada, bruno = msauthtest.Ada, msauthtest.Bruno
