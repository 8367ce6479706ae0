package graph_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode"

	"example.com/msauth/graph"
)

func TestPaths(t *testing.T) {
	t.Parallel()
	const (
		dots  = `empty, "." or ".."`
		slash = "with a slash in it"
		chars = `control character, "\" or "#"`
	)
	for _, test := range []struct {
		name, path string
		want       string // the URI that Graph sees below /v1.0
		reason     string // or why it is refused
	}{
		{"a resource", "me", "/me", ""},
		{"a slash at the beginning", "/me", "/me", ""},
		{"several segments", "me/drive/items/01ABC/children", "/me/drive/items/01ABC/children", ""},
		{"an account with an address", "users/ada@contoso.example", "/users/ada@contoso.example", ""},
		{"a query", "me?$select=id&x=%2e%2e/..", "/me?$select=id&x=%2e%2e/..", ""},
		{"spaces in the query", "users?$filter=a eq 'ü'", "/users?$filter=a%20eq%20'%C3%BC'", ""},
		{"a path in a drive", "me/drive/root:/Documents/a.txt:/content", "/me/drive/root:/Documents/a.txt:/content", ""},
		{"below an item", "drives/b!x/items/01A:/a.txt", "/drives/b!x/items/01A:/a.txt", ""},
		{"an escaped colon", "me/drive/root:/a%3Ab:/content", "/me/drive/root:/a%3Ab:/content", ""},
		{"an escaped colon beside a space", "me/drive/root:/a b%3A%25c:/content", "/me/drive/root:/a%20b%3A%25c:/content", ""},
		{"an escaped question mark", "me/drive/root:/a%3Fb", "/me/drive/root:/a%3Fb", ""},
		{"an escaped number sign", "me/drive/root:/a%23b", "/me/drive/root:/a%23b", ""},
		{"letters beyond ASCII", "me/drive/root:/Ünïcode", "/me/drive/root:/%C3%9Cn%C3%AFcode", ""},
		{"a function", "me/drive/root/search(q='it''s')", "/me/drive/root/search(q='it''s')", ""},
		{"dots in a name", "me/drive/root:/a..b", "/me/drive/root:/a..b", ""},
		{"a scheme in a name", "me/drive/root:/https%3A", "/me/drive/root:/https%3A", ""},
		{"$value", "me/photo/$value", "/me/photo/$value", ""},

		{"nothing", "", "", dots},
		{"a slash", "/", "", dots},
		{"a slash at the end", "me/", "", dots},
		{"an empty segment", "me//drive", "", dots},
		{"another host", "//evil.example/me", "", dots},
		{"up", "../me", "", dots},
		{"up, in the middle", "me/../users", "", dots},
		{"up, escaped", "me/%2e%2e/users", "", dots},
		{"up, escaped in part", "me/%2E./users", "", dots},
		{"here", "me/./drive", "", dots},
		{"up in a drive", "me/drive/root:/..:/content", "", dots},
		{"up in a drive, escaped", "me/drive/root:/%2e%2e%3A/content", "", dots},
		{"a colon", "me/:/x", "", dots},
		{"an escaped slash", "me/a%2fb", "", slash},
		{"an escaped backslash", "me/a%5cb", "", slash},
		{"a backslash", `me\..\users`, "", chars},
		{"a fragment", "me#x", "", chars},
		{"a line break", "me\r\nX: y", "", chars},
		{"a line break in the query", "me?x=\n", "", chars},
		{"a zero byte", "me\x00", "", chars},
		{"DEL", "me\x7f", "", chars},
		{"a control character beyond ASCII", "me\u0085", "", chars},
		{"an escaped line break", "me%0d%0a", "", "contains a control character"},
		{"an escaped zero byte", "me/%00", "", "contains a control character"},
		{"a broken escape", "me/%zz", "", "not followed by two hexadecimal digits"},
		{"half an escape", "me/%2", "", "not followed by two hexadecimal digits"},
		{"too long", strings.Repeat("a", 16<<10+1), "", "is too long"},
		{"another scheme", "mailto:ada@contoso.example", "/mailto:ada@contoso.example", ""}, // a name like others
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, w := clientOf(reply(200, "{}"))
			_, err := graph.Get[struct{}](t.Context(), c, test.path)
			if test.reason != "" {
				if wantInvalid(t, err, "path", test.reason); len(w.got) > 0 {
					t.Errorf("%s was sent", w.got[0].uri)
				}
				return
			}
			if err != nil || w.got[0].uri != "/v1.0"+test.want {
				t.Errorf("%v, Graph sees %+v, want %s", err, w.got, test.want)
			}
		})
	}
}

// A path is below the base, whatever the base is.
func TestPathsOfOtherBases(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ base, want string }{
		{"", "https://graph.microsoft.com/v1.0/me"},
		{"https://graph.microsoft.us/beta/", "https://graph.microsoft.us/beta/me"},
		{"https://graph.example", "https://graph.example/me"},
		{"http://127.0.0.1:9/a%20b", "http://127.0.0.1:9/a%20b/me"},
		{"http://graph.example/v1.0", ""},
		{"https://u:secret@graph.example", ""},
		{"https://graph.example?x", ""},
		{"graph.example", ""},
		{"ftp://graph.example", ""},
		{"https://%zz", ""},
	} {
		var got string
		c := graph.New(&http.Client{Transport: tripper(func(r *http.Request) { got = r.URL.String() })}, test.base)
		_, err := graph.Get[struct{}](t.Context(), c, "me")
		if test.want == "" {
			if wantInvalid(t, err, "base", " "); err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error has the password: %v", err)
			}
			continue
		}
		if got != test.want {
			t.Errorf("%q: %v, %q, want %q", test.base, err, got, test.want)
		}
	}
}

type tripper func(*http.Request)

func (f tripper) RoundTrip(r *http.Request) (*http.Response, error) {
	f(r)
	return reply(200, "{}")(sent{}), nil
}

// What the server sees of each segment is what was given, or nothing is sent.
func FuzzPath(f *testing.F) {
	for _, segment := range []string{
		"me", "", ".", "..", "a/b", `a\b`, "a:b", ":", "a b", "?x=y", "#top", "%2e%2e", "%", "ü", "\xff", "\u0085", "a\r\nb",
		"//evil.example", "https://evil.example", "it's", "a+b;c,d=e&f", "AAMk-_=", "root:", "$value", strings.Repeat("a", 5000),
	} {
		f.Add(segment)
	}
	var seen *url.URL
	c := serve(f, func(w http.ResponseWriter, r *http.Request) {
		seen = r.URL
		w.Write([]byte("{}"))
	})
	f.Fuzz(func(t *testing.T, segment string) {
		seen = nil
		path := graph.Path("users", segment, "messages")
		_, err := graph.Get[struct{}](t.Context(), c, path)
		bare := strings.Trim(segment, ":")
		refused := bare == "" || bare == "." || bare == ".." || strings.ContainsAny(segment, `/\`) ||
			strings.ContainsFunc(segment, unicode.IsControl) || len(path) > 16<<10
		if refused {
			if _, ok := err.(*graph.InvalidError); !ok || seen != nil {
				t.Errorf("%q: error %v, sent %v", segment, err, seen)
			}
			return
		}
		if err != nil {
			t.Fatalf("%q: %v", segment, err)
		}
		parts := strings.Split(strings.TrimPrefix(seen.EscapedPath(), "/v1.0/"), "/")
		if len(parts) != 3 || seen.RawQuery != "" || strings.Contains(parts[1], ":") {
			t.Fatalf("%q: the server sees %q", segment, seen)
		}
		if got, err := url.PathUnescape(parts[1]); err != nil || got != segment {
			t.Errorf("%q: the server sees %q, %v", segment, got, err)
		}
	})
}

func TestLinks(t *testing.T) {
	t.Parallel()
	const (
		host  = "leads to another host than graph.example"
		below = "does not lead below /v1.0/"
		chars = "in its path"
	)
	for _, test := range []struct{ name, link, reason string }{
		{"a page", base + "/me/messages?$skiptoken=abc%2F..", ""},
		{"in other letters", "https://GRAPH.example/v1.0/me", ""},
		{"with the port of its scheme", "https://graph.example:443/v1.0/me", ""},
		{"with a fragment", base + "/me#x", ""},
		{"with a space in the query", base + "/me?$filter=a eq b", ""},
		{"another host", "https://evil.example/v1.0/me", host},
		{"a host below", "https://x.graph.example/v1.0/me", host},
		{"a host that begins so", "https://graph.example.evil.example/v1.0/me", host},
		{"with a dot at the end", "https://graph.example./v1.0/me", host},
		{"another port", "https://graph.example:8443/v1.0/me", host},
		{"another scheme", "http://graph.example/v1.0/me", host},
		{"as a user", "https://graph.example@evil.example/v1.0/me", host},
		{"with a user", "https://u:p@graph.example/v1.0/me", host},
		{"letters that are ASCII in lower case only", "https://graph.example\u212a/v1.0/me", host},
		{"below another path", "https://graph.example/beta/me", below},
		{"below a path that begins so", "https://graph.example/v1.0x/me", below},
		{"the base itself", base, below},
		{"up", base + "/../beta/me", below},
		{"up, escaped", base + "/%2e%2e/beta/me", below},
		{"up, with an escaped slash", base + "/..%2fbeta/me", below},
		{"an empty segment", base + "//evil.example", below},
		{"a backslash", base + `/..\beta/me`, chars},
		{"an escaped line break", base + "/me%0d%0aX:%20y", chars},
		{"a line break", base + "/me\r\n", "control character"},
		{"no URL", "https://[::1/v1.0", "is not a URL"},
		{"too long", base + "/" + strings.Repeat("a", 16<<10), "is too long"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var got *url.URL
			c := graph.New(&http.Client{Transport: tripper(func(r *http.Request) { got = r.URL })}, base)
			_, err := graph.Get[struct{}](t.Context(), c, test.link)
			if test.reason != "" {
				if wantInvalid(t, err, "link", test.reason); got != nil {
					t.Errorf("%s was asked", got)
				}
				return
			}
			if err != nil || got.Scheme+"://"+got.Host != "https://graph.example" || got.Fragment != "" || strings.Contains(got.RawQuery, " ") {
				t.Errorf("%v, asked %v", err, got)
			}
		})
	}
}

// In lower case, U+0130 is an i: it must not make another host the same.
func TestLinksToHostsThatOnlyLookTheSame(t *testing.T) {
	t.Parallel()
	var got *url.URL
	c := graph.New(&http.Client{Transport: tripper(func(r *http.Request) { got = r.URL })}, "https://graph.microsoft.com/v1.0")
	_, err := graph.Get[struct{}](t.Context(), c, "https://graph.m\u0130crosoft.com/v1.0/me")
	if wantInvalid(t, err, "link", "leads to another host than graph.microsoft.com"); got != nil {
		t.Errorf("%s was asked", got)
	}
}
