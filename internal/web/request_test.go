package web

import (
	"net/http"
	"strings"
	"testing"
)

// What Chromium sends, with each kind of service worker and without.
func TestPageLoadsAndProofsOfWhoAsked(t *testing.T) {
	t.Parallel()
	const page = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8\nUpgrade-Insecure-Requests: 1\n"
	const mine, theirs = "Sec-Fetch-Site: same-origin\n", "Sec-Fetch-Site: cross-site\n"
	fetched := func(mode, dest string) string { return "Sec-Fetch-Mode: " + mode + "\nSec-Fetch-Dest: " + dest + "\n" }
	tests := []struct {
		name     string
		header   string
		pageLoad bool // go to Microsoft, for GET
		proves   bool
	}{
		{"link", page + mine + fetched("navigate", "document"), true, true},
		{"link elsewhere", page + theirs + fetched("navigate", "document"), true, true},
		{"form", page + mine + fetched("navigate", "document") + "Origin: https://app.test\n", true, true},
		{"frame", page + mine + fetched("navigate", "iframe"), false, true},
		{"download", mine + fetched("navigate", "empty"), false, false},
		{"fetch", "Accept: */*\n" + mine + fetched("cors", "empty"), false, false},
		{"fetch of a page", "Accept: text/html\n" + mine + fetched("cors", "empty"), false, false},
		{"fetch, mode same-origin", "Accept: text/html\n" + mine + fetched("same-origin", "empty"), false, false},
		{"fetch, mode no-cors", page + mine + fetched("no-cors", "empty"), false, false},
		{"image", "Accept: image/avif,*/*\n" + mine + fetched("no-cors", "image"), false, true},

		{"fetch(event.request)", page + mine + fetched("navigate", "empty"), true, false},
		{"fetch(event.request), from elsewhere", page + theirs + fetched("navigate", "empty"), true, false},
		{"new Request(event.request, {mode: 'same-origin'})", page + mine + fetched("same-origin", "empty"), true, false},
		{"new Request(event.request, {mode: 'cors'})", page + mine + fetched("cors", "empty"), true, false},
		{"fetch(event.request.url)", "Accept: */*\n" + mine + fetched("cors", "empty"), false, false},
		{"Dest kept by a worker", page + mine + fetched("same-origin", "document"), false, false},
		{"htmx behind a worker", "HX-Request: true\n" + page + mine + fetched("same-origin", "empty"), false, false},
		{"XMLHttpRequest behind a worker", "X-Requested-With: XMLHttpRequest\n" + page + mine + fetched("same-origin", "empty"), false, false},

		{"old browser", page, true, true},
		{"old Android WebView", page + "X-Requested-With: com.example.app\n", true, true},
		{"Android WebView", page + mine + fetched("navigate", "document") + "X-Requested-With: com.example.app\n", true, true},
		{"XMLHttpRequest of an old browser", "Accept: text/html, */*\nX-Requested-With: XMLHttpRequest\n", false, true},
		{"program", "Accept: */*\n", false, true},
		{"nothing", "", false, true},
	}
	for _, test := range tests {
		r := &http.Request{Method: http.MethodGet, Header: http.Header{}}
		for line := range strings.Lines(test.header) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			r.Header.Set(name, value)
		}
		if got := IsNavigation(r); got != test.pageLoad {
			t.Errorf("%s: a page load: %t, want %t", test.name, got, test.pageLoad)
		}
		if got := ProvesWhoAsked(r.Header); got != test.proves {
			t.Errorf("%s: proves who asked: %t, want %t", test.name, got, test.proves)
		}
		r.Method = http.MethodPost
		if IsNavigation(r) {
			t.Errorf("%s: a POST is sent to Microsoft", test.name)
		}
	}
}
