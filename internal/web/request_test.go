package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"example.com/msauth/internal/web"
)

// request is a request with the header lines given, one a line.
func request(method, lines string) *http.Request {
	r := &http.Request{Method: method, URL: &url.URL{Path: "/"}, Header: http.Header{}}
	for line := range strings.Lines(lines) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		r.Header.Add(name, value)
	}
	return r
}

// What browsers send, with each kind of service worker and without.
func TestPageLoadsAndProofsOfWhoAsked(t *testing.T) {
	t.Parallel()
	const page = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8\nUpgrade-Insecure-Requests: 1\n"
	const mine, theirs = "Sec-Fetch-Site: same-origin\n", "Sec-Fetch-Site: cross-site\n"
	fetched := func(mode, dest string) string { return "Sec-Fetch-Mode: " + mode + "\nSec-Fetch-Dest: " + dest + "\n" }
	tests := []struct {
		name     string
		header   string
		pageLoad bool // a navigation, for GET
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
		r := request(http.MethodGet, test.header)
		if got := web.IsNavigation(r); got != test.pageLoad {
			t.Errorf("%s: a navigation: %t, want %t", test.name, got, test.pageLoad)
		}
		if got := web.ProvesWhoAsked(r.Header); got != test.proves {
			t.Errorf("%s: proves who asked: %t, want %t", test.name, got, test.proves)
		}
		r.Method = http.MethodPost
		if web.IsNavigation(r) {
			t.Errorf("%s: a POST is a navigation", test.name)
		}
		if got := web.IsPageLoad(r); got != test.pageLoad {
			t.Errorf("%s: a POST that loads a page: %t, want %t", test.name, got, test.pageLoad)
		}
	}
}

// A prefetch is no navigation: nobody is waiting for the page.
func TestIsPrefetch(t *testing.T) {
	t.Parallel()
	const page = "Accept: text/html\nSec-Fetch-Mode: navigate\nSec-Fetch-Dest: document\n"
	tests := []struct {
		name, method, header string
		want                 bool
	}{
		{"page", "GET", "", false},
		{"Chromium, prefetch", "GET", "Sec-Purpose: prefetch", true},
		{"Chromium, prerender", "GET", "Sec-Purpose: prefetch;prerender", true},
		{"Chromium, another value first", "GET", "Sec-Purpose: anonymous-client-ip\nSec-Purpose: prefetch", true},
		{"Safari", "GET", "Purpose: Prefetch", true},
		{"Safari, preview", "GET", "X-Sec-Purpose: preview", true},
		{"Firefox", "GET", "X-Moz: prefetch", true},
		{"HEAD", "HEAD", "Sec-Purpose: prefetch", true},
		{"a form", "POST", "Sec-Purpose: prefetch", false},
		{"another purpose", "GET", "Sec-Purpose: other", false},
	}
	for _, test := range tests {
		r := request(test.method, page+test.header)
		if got := web.IsPrefetch(r); got != test.want {
			t.Errorf("%s: a prefetch: %t, want %t", test.name, got, test.want)
		}
		if got, want := web.IsNavigation(r), !test.want && test.method != "POST"; got != want {
			t.Errorf("%s: a navigation: %t, want %t", test.name, got, want)
		}
	}
}

func TestIsUpgrade(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, method, header string
		want                 bool
	}{
		{"WebSocket", "GET", "Upgrade: websocket\nConnection: Upgrade", true},
		{"Firefox", "GET", "Upgrade: websocket\nConnection: keep-alive, Upgrade", true},
		{"two lines", "GET", "Upgrade: websocket\nConnection: keep-alive\nConnection: upgrade", true},
		{"no protocol", "GET", "Connection: Upgrade", false},
		{"not of this connection", "GET", "Upgrade: websocket", false},
		{"another option", "GET", "Upgrade: websocket\nConnection: keep-alive", false},
		{"part of another option", "GET", "Upgrade: websocket\nConnection: no-upgrade", false},
		{"POST", "POST", "Upgrade: websocket\nConnection: Upgrade", false},
	}
	for _, test := range tests {
		if got := web.IsUpgrade(request(test.method, test.header)); got != test.want {
			t.Errorf("%s: %t, want %t", test.name, got, test.want)
		}
	}
}

func TestPrefersHTML(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, accept string
		want         bool
	}{
		{"browser", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true},
		{"any case", "Text/HTML", true},
		{"program", "*/*", false},
		{"all texts", "text/*", false},
		{"JSON", "application/json", false},
		{"both alike", "application/json, text/html", true},
		{"rather JSON", "application/json, text/html;q=0.9", false},
		{"rather a problem document", "application/problem+json, text/html;q=0.9", false},
		{"rather HTML", "application/json;q=0.5, text/html; level=1; q=0.9", true},
		{"not HTML", "text/html;q=0", false},
		{"no number", "text/html;q=x", true},
		{"named twice", "text/html;q=0.1, application/json;q=0.5, text/html", true},
		{"two lines", "application/json;q=0.5\nAccept: text/html", true},
		{"nothing", "", false},
	}
	for _, test := range tests {
		if got := web.PrefersHTML(request("GET", "Accept: "+test.accept)); got != test.want {
			t.Errorf("%s: %t, want %t", test.name, got, test.want)
		}
	}
	if web.PrefersHTML(request("GET", "")) {
		t.Error("without an Accept header")
	}
}

func TestRequestPath(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, uri, path string // path is r.URL.Path, after http.StripPrefix for example
		want            string
	}{
		{"path", "/a/b?x=1", "/a/b", "/a/b?x=1"},
		{"prefix stripped", "/app/a?x=1", "/a", "/app/a?x=1"},
		{"encoded", "/a%2Fb", "/a/b", "/a%2Fb"},
		{"two slashes", "//evil.example/a", "//evil.example/a", "//evil.example/a"},
		{"absolute form", "http://app.test/a?x=1", "/a", "/a?x=1"},
		{"absolute form without path", "http://app.test", "", "/"},
		{"made by hand", "", "/a b", "/a%20b"},
		{"all resources", "*", "*", ""},
		{"CONNECT", "app.test:443", "", ""},
		{"not a URL", "http://%zz", "", ""},
	}
	for _, test := range tests {
		r := &http.Request{RequestURI: test.uri, URL: &url.URL{Path: test.path}}
		if got := web.RequestPath(r); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}
