package web_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"example.com/msauth/internal/web"
)

// The target arrives as it is: http.Redirect would make "/b" of "/a/../b".
func TestRedirect(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"/", "/a/../b", "/a//b?x=%2F#top", "https://login.example/authorize?x=1"} {
		w := httptest.NewRecorder()
		w.Header().Set("Cache-Control", "public")
		web.Redirect(w, target)
		if h := w.Header(); w.Code != http.StatusSeeOther || h.Get("Location") != target || w.Body.Len() != 0 {
			t.Errorf("to %s: status %d, location %q, %d bytes", target, w.Code, h.Get("Location"), w.Body.Len())
		} else if h.Get("Cache-Control") != "no-store" || h.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("to %s: %v", target, h)
		}
	}
}

func TestASCIIURL(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, url, want string }{
		{"nothing", "", ""},
		{"reserved characters", "/a;b=c,d/@:!$&'()*+?x=[1]&y=%2F#top~^`{|}", "/a;b=c,d/@:!$&'()*+?x=[1]&y=%2F#top~^`{|}"},
		{"space", "/a b", "/a%20b"},
		{"line break", "/a\r\nSet-Cookie: x=y", "/a%0D%0ASet-Cookie:%20x=y"},
		{"control characters", "\x00\x1f\x7f", "%00%1F%7F"},
		{"markup", `/<a href="x">`, "/%3Ca%20href=%22x%22%3E"},
		{"letters beyond ASCII", "/ü", "/%C3%BC"},
		{"not UTF-8", "/\xff", "/%FF"},
		{"encoded already", "/%C3%BC%20", "/%C3%BC%20"},
	}
	for _, test := range tests {
		if got := web.ASCIIURL(test.url); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}
