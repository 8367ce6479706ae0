package testsite

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"example.com/msauth/msauthtest"
)

// HeaderOf is the value of the Cookie header that brings these cookies.
func HeaderOf(cookies ...*http.Cookie) string {
	var pairs []string
	for _, c := range cookies {
		pairs = append(pairs, c.Name+"="+c.Value)
	}
	return strings.Join(pairs, "; ")
}

// AdaSession signs Ada in and returns her one cookie.
func AdaSession(t *testing.T, s *Site) (*Browser, *http.Cookie) {
	t.Helper()
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	if len(b.Session()) != 1 {
		t.Fatalf("a session of %d cookies, want one", len(b.Session()))
	}
	return b, b.Session()[0]
}

// CookieName is that of a site's session cookie.
func CookieName(t *testing.T, s *Site) string {
	t.Helper()
	for _, line := range s.Browser(t).Still().Get("/").Header["Set-Cookie"] {
		if name, _, ok := strings.Cut(line, "-login-"); ok {
			return name
		}
	}
	t.Fatal("no attempt was begun")
	return ""
}

// OtherCharacter gives another character of base64url.
func OtherCharacter(b byte) byte {
	if b == 'A' {
		return 'B'
	}
	return 'A'
}

// What [Hello] answers.
const (
	// HelloAda is the page of Ada, signed in.
	HelloAda = "hello Ada Lindqvist"
	// HelloBruno is the page of Bruno, signed in.
	HelloBruno = "hello Bruno Okafor"
	// HelloNobody is the page of somebody who is not signed in.
	HelloNobody = "hello nobody"
)

// SessionCookie matches the names of session cookies, in one part or several.
var SessionCookie = regexp.MustCompile(`^__Host-msauth-[A-Za-z0-9]{6}(-[1-9])?$`)

// Flip changes one character of a base64url text.
func Flip(s string, i int) string { return s[:i] + string(OtherCharacter(s[i])) + s[i+1:] }
