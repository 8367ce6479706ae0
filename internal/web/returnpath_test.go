package web_test

import (
	"net/url"
	"strings"
	"testing"

	"example.com/msauth/internal/web"
)

const home = "/home"

// own are two routes that nobody may be returned to.
func own(path string) bool { return path == "/auth/login" || path == "/auth/logout" }

// paths are what somebody may want a browser to be sent to, and where it is sent.
var paths = []struct{ name, path, want string }{
	{"root", "/", "/"},
	{"path", "/a/b/", "/a/b/"},
	{"query", "/a?x=1&y=%2F%20", "/a?x=1&y=%2F%20"},
	{"fragment", "/#top", "/#top"},
	{"URL in the query", "/a?next=https://evil.example/", "/a?next=https://evil.example/"},
	{"two slashes in the query", "/?//evil.example", "/?//evil.example"},
	{"two slashes in the fragment", "/#//evil.example", "/#//evil.example"},
	{"two slashes further on", "/a//b", "/a//b"},
	{"looks like user information", "/@evil.example", "/@evil.example"},
	{"looks like a port", "/:80", "/:80"},
	{"looks like a scheme", "/javascript:alert(1)", "/javascript:alert(1)"},
	{"dots that stay on the site", "/./a/../b", "/./a/../b"},
	{"space", "/a b", "/a%20b"},
	{"letters beyond ASCII", "/ü?ß=é", "/%C3%BC?%C3%9F=%C3%A9"},
	{"markup", `/<script>"`, "/%3Cscript%3E%22"},

	{"nothing", "", home},
	{"relative", "a/b", home},
	{"query alone", "?x=1", home},
	{"dots", "..", home},
	{"another site", "https://evil.example", home},
	{"this site, absolute", "https://app.test/a", home},
	{"scheme without host", "https:evil.example", home},
	{"script", "javascript:alert(1)", home},
	{"network path", "//evil.example", home},
	{"three slashes", "///evil.example", home},
	{"backslash for a slash", `/\evil.example`, home},
	{"backslash further on", `/a\b`, home},
	{"backslash in the query", `/a?x=\`, home},
	{"tab that browsers drop", "/\t/evil.example", home},
	{"line break that browsers drop", "/\r\n/evil.example", home},
	{"line break that splits the header", "/a\r\nSet-Cookie: x=y", home},
	{"NUL", "/\x00/evil.example", home},
	{"space before it", " //evil.example", home},
	{"space after it", "/a ", home},
	{"decoded once more, a slash", "/%2Fevil.example", home},
	{"decoded once more, a backslash", "/%5Cevil.example", home},
	{"decoded once more, a tab", "/%09/evil.example", home},
	{"decoded once more, a line break", "/%0d%0aSet-Cookie:x=y", home},
	{"dot resolved, two slashes", "/.//evil.example", home},
	{"dots resolved, two slashes", "/a/..//evil.example", home},
	{"encoded dots resolved, two slashes", "/%2e%2e//evil.example", home},
	{"encoded dots and slash", "/a/%2e%2e/%2fevil.example", home},
	{"not an encoding", "/%zz", home},

	{"own route", "/auth/login", home},
	{"own route with a query", "/auth/login?return_to=/a", home},
	{"own route, encoded", "/auth/%6Cogin", home},
	{"own route, by dots", "/a/../auth/logout", home},
	{"own route, with a slash", "/auth/login/", home},
	{"beside the own routes", "/auth/other", "/auth/other"},
}

func TestReturnPath(t *testing.T) {
	t.Parallel()
	for _, test := range paths {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got, cut := web.ReturnPath(test.path, own, home); got != test.want || cut {
				t.Errorf("%q gives %q, want %q (cut: %t)", test.path, got, test.want, cut)
			}
		})
	}
	if got, _ := web.ReturnPath("/auth/login", nil, home); got != "/auth/login" {
		t.Errorf("without own routes: %q", got)
	}
}

// What is too long loses its query before it is given up.
func TestLongReturnPath(t *testing.T) {
	t.Parallel()
	long := func(n int) string { return "/" + strings.Repeat("a", n-1) }
	tests := []struct {
		name, path string
		want       string
		cut        bool
	}{
		{"as long as it may be", long(web.MaxReturnPath), long(web.MaxReturnPath), false},
		{"longer", long(web.MaxReturnPath + 1), home, true},
		{"with its query", "/a?x=" + long(web.MaxReturnPath), "/a", true},
		{"with its fragment", "/a#" + long(web.MaxReturnPath), "/a", true},
		{"question mark in the fragment", "/a#b?" + long(web.MaxReturnPath), "/a", true},
		{"path alone and query too long", long(web.MaxReturnPath+1) + "?x=1", home, true},
		{"too long when encoded", "/a?" + strings.Repeat("ü", web.MaxReturnPath/4), "/a", true},
		{"longer than is looked at", long(17 << 10), home, false},
		{"another site", "//evil.example" + long(web.MaxReturnPath), home, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got, cut := web.ReturnPath(test.path, own, home); got != test.want || cut != test.cut {
				t.Errorf("%.30q gives %.30q, cut: %t; want %.30q, %t", test.path, got, cut, test.want, test.cut)
			}
		})
	}
}

// Whatever is asked for, a browser stays on the site, and asking for the answer
// gives it again.
func FuzzReturnPath(f *testing.F) {
	for _, test := range paths {
		f.Add(test.path)
	}
	origin := &url.URL{Scheme: "https", Host: "app.test", Path: "/auth/callback"}
	f.Fuzz(func(t *testing.T, s string) {
		got, _ := web.ReturnPath(s, own, home)
		if len(got) > web.MaxReturnPath || !strings.HasPrefix(got, "/") || strings.HasPrefix(got, "//") || got != web.ASCIIURL(got) || strings.Contains(got, `\`) {
			t.Fatalf("%q gives %q", s, got)
		}
		if u, err := origin.Parse(got); err != nil || u.Host != origin.Host || u.Scheme != origin.Scheme || own(u.Path) {
			t.Fatalf("%q gives %q, which leads to %v (%v)", s, got, u, err)
		}
		if again, cut := web.ReturnPath(got, own, home); again != got || cut {
			t.Fatalf("%q gives %q, and that gives %q", s, got, again)
		}
	})
}
