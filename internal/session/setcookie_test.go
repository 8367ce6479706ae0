package session

import (
	"net/http"
	"slices"
	"testing"
	"time"
)

func TestCookieIsSetOnce(t *testing.T) {
	t.Parallel()
	h := http.Header{"Cache-Control": {"max-age=60"}}
	for _, c := range []string{"a", "ab", "a", "b"} {
		SetCookie(h, &http.Cookie{Name: c, Value: "1"})
	}
	if got, want := h["Set-Cookie"], []string{"ab=1", "a=1", "b=1"}; !slices.Equal(got, want) {
		t.Errorf("sets %q, want %q", got, want)
	}
	if h.Get("Cache-Control") != "max-age=60" || !slices.Equal(h[noStoreKey], []string{"no-store"}) {
		t.Errorf("caches are told %q", h)
	}
	DropCookie(h, "a")
	if got, want := h["Set-Cookie"], []string{"ab=1", "b=1"}; !slices.Equal(got, want) {
		t.Errorf("after taking one back %q, want %q", got, want)
	}
}

func TestCookieValues(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		lines []string
		want  []string
	}{
		{"none", nil, nil},
		{"among others", []string{"b=0; a=1;ab=2; xa=3"}, []string{"1"}},
		{"several", []string{"a=1; a=2", "a=3"}, []string{"1", "2", "3"}},
		{"a few at most", []string{"a=1; a=2; a=3; a=4; a=5"}, []string{"1", "2", "3", "4"}},
		{"empty", []string{"a=; a"}, []string{""}},
	} {
		if got := CookieValues(http.Header{"Cookie": test.lines}, "a"); !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestSeconds(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]int{0: 0, 1: 1, time.Second: 1, time.Second + 1: 2, LongestMaxAge: 34_560_000} {
		if got := Seconds(d); got != want {
			t.Errorf("%v are %d seconds, want %d", d, got, want)
		}
	}
}
