package requests_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

func TestRoutesWorkHoweverTheyAreMounted(t *testing.T) {
	t.Parallel()
	app := func(auth *msauth.Middleware) http.Handler { return auth.Require(http.HandlerFunc(testsite.Hello)) }
	tests := []struct {
		name  string
		base  string // path of BaseURL
		mount func(*msauth.Middleware) http.Handler
	}{
		{"mux", "/auth", func(auth *msauth.Middleware) http.Handler {
			mux := http.NewServeMux()
			mux.Handle("/auth/", auth)
			mux.Handle("/", app(auth))
			return mux
		}},
		{"mux, base URL with a slash", "/auth/", func(auth *msauth.Middleware) http.Handler {
			mux := http.NewServeMux()
			mux.Handle("/auth/", auth)
			mux.Handle("/", app(auth))
			return mux
		}},
		{"prefix stripped", "/auth", func(auth *msauth.Middleware) http.Handler {
			mux := http.NewServeMux()
			mux.Handle("/auth/", http.StripPrefix("/auth", auth))
			mux.Handle("/", app(auth))
			return mux
		}},
		{"prefix stripped with its slash", "/auth", func(auth *msauth.Middleware) http.Handler {
			mux := http.NewServeMux()
			mux.Handle("/auth/", http.StripPrefix("/auth/", auth))
			mux.Handle("/", app(auth))
			return mux
		}},
		{"part of the prefix stripped", "/area/auth", func(auth *msauth.Middleware) http.Handler {
			inner := http.NewServeMux()
			inner.Handle("/auth/", http.StripPrefix("/auth", auth))
			inner.Handle("/", app(auth))
			mux := http.NewServeMux()
			mux.Handle("/area/", http.StripPrefix("/area", inner))
			mux.Handle("/", app(auth))
			return mux
		}},
		{"methods, by hand", "/area/sign-in", func(auth *msauth.Middleware) http.Handler {
			mux := http.NewServeMux()
			mux.HandleFunc("/area/sign-in/login", auth.Login)
			mux.HandleFunc("/area/sign-in/callback", auth.Callback)
			mux.HandleFunc("/area/sign-in/logout", auth.Logout)
			mux.Handle("/area/sign-in/", auth)
			mux.Handle("/", app(auth))
			return mux
		}},
		{"Require around everything", "/auth", func(auth *msauth.Middleware) http.Handler { return app(auth) }},
		{"at the root", "", func(auth *msauth.Middleware) http.Handler {
			mux := http.NewServeMux()
			for _, name := range []string{"/login", "/callback", "/logout", "/signed-out"} {
				mux.Handle(name, auth)
			}
			mux.Handle("/", app(auth))
			return mux
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := testsite.NewInProcess(t, func(c *msauth.Config) { c.BaseURL = "https://app.test" + test.base })
			s.Mux = http.NewServeMux()
			s.Mux.Handle("/", test.mount(s.Auth))
			s.Current.Store(s.Mux)
			base := strings.TrimSuffix(test.base, "/")
			s.As(msauthtest.Ada)
			b := s.Browser(t)
			if got := b.Get("/a/b?x=1&y=%2F%20z"); got.Text != testsite.HelloAda || got.Request.URL.RequestURI() != "/a/b?x=1&y=%2F%20z" {
				t.Fatalf("status %d, page %q at %s, want %q", got.StatusCode, got.Text, got.Request.URL, testsite.HelloAda)
			}
			if got := s.MS.Calls(msauthtest.TokenCode)[0].Form.Get("redirect_uri"); got != "https://app.test"+base+"/callback" {
				t.Errorf("redirect_uri %q", got)
			}
			if got := b.Get(s.Auth.LoginURL(msauth.LoginOptions{ReturnTo: "/c"})); got.Request.URL.Path != "/c" {
				t.Errorf("login ends at %s, want /c", got.Request.URL)
			}
			if got := b.Request("POST", s.Auth.LogoutURL(), testsite.OwnPage...); got.Kind() != "signed-out" || got.Request.URL.Path != base+"/signed-out" {
				t.Errorf("logout ends at %s with page %q", got.Request.URL, got.Kind())
			}
		})
	}
}

// A handler behind StripPrefix sees a shorter path than the browser.
func TestReturnPathIsTheOneOfTheBrowser(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	s.As(msauthtest.Ada)
	s.Mux.Handle("/area/", http.StripPrefix("/area", s.Auth.Require(http.HandlerFunc(testsite.Hello))))
	for _, path := range []string{"/area/x?y=1", "/area/", "/%61rea/%2e/a%2Fb?q=%00&q=ü", "/area/a;b=c,d/@e/f+g"} {
		if got := s.Browser(t).Get(path).Request.URL.RequestURI(); got != strings.ReplaceAll(path, "ü", "%C3%BC") && got != path {
			t.Errorf("%s: came back to %s", path, got)
		}
	}
}

func TestWhatIsNoRouteIsNotFound(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	b := s.Browser(t)
	for _, path := range []string{
		"/auth/", "/auth/x", "/auth/login/", "/auth/login/x", "/auth/Login", "/auth/LOGIN", "/auth/callback/", "/auth/logout2",
		"/auth/signed-out.html", "/auth/login%00", "/auth/%2e%2e%2flogin", "/auth/login;x=1", "/auth/token", "/auth/.well-known/x",
	} {
		for _, method := range []string{"GET", "POST", "PROPFIND"} {
			s.WantPage(t, b.Request(method, path), http.StatusNotFound, "not-found", "")
		}
	}
	if res := b.Request("HEAD", "/auth/x"); res.StatusCode != http.StatusNotFound || res.Text != "" {
		t.Errorf("HEAD: status %d, body %q", res.StatusCode, res.Text)
	}
	s.WantNoCalls(t)
}

func TestWhoIsSentToSignInAndWhoGets401(t *testing.T) {
	t.Parallel()
	const login, page = "/auth/login", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	fetch := func(mode, dest, site string, more ...string) []string {
		return append([]string{"Sec-Fetch-Mode", mode, "Sec-Fetch-Dest", dest, "Sec-Fetch-Site", site}, more...)
	}
	tests := []struct {
		name   string
		method string
		header []string
		html   bool   // the page, and not the problem document
		want   string // login_url; "" for a redirect to the provider
	}{
		{"navigation", "GET", fetch("navigate", "document", "none"), false, ""},
		{"navigation from elsewhere", "GET", fetch("navigate", "document", "cross-site", "Accept", "text/html"), false, ""},
		{"navigation that asks for JSON", "GET", fetch("navigate", "document", "none", "Accept", "application/json"), false, ""},
		{"navigation by HEAD", "HEAD", fetch("navigate", "document", "none"), false, ""},
		{"old browser", "GET", []string{"Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}, false, ""},
		{"old browser, other case", "GET", []string{"Accept", "Text/HTML;q=0.9"}, false, ""},
		{"navigation in an Android WebView", "GET", []string{"Accept", "text/html,*/*;q=0.8", "X-Requested-With", "com.example.app"}, false, ""},
		{"navigation in an Android WebView, marked", "GET", fetch("navigate", "document", "none", "Accept", "text/html", "X-Requested-With", "com.example.app"), false, ""},
		{"passed on by a service worker", "GET", fetch("navigate", "empty", "same-origin", "Accept", page, "Upgrade-Insecure-Requests", "1"), false, ""},
		{"passed on, from elsewhere", "GET", fetch("navigate", "empty", "cross-site", "Accept", page, "Upgrade-Insecure-Requests", "1"), false, ""},
		{"made anew by a service worker", "GET", fetch("same-origin", "empty", "same-origin", "Accept", page, "Upgrade-Insecure-Requests", "1", "Referer", "https://app.test/sw.js"), false, ""},
		{"made anew, mode cors", "GET", fetch("cors", "empty", "same-origin", "Accept", page, "Upgrade-Insecure-Requests", "1", "Referer", "https://app.test/sw.js"), false, ""},

		{"form made anew by a service worker", "POST", fetch("same-origin", "empty", "same-origin", "Accept", page, "Upgrade-Insecure-Requests", "1", "Referer", "https://app.test/worker"), true, login},
		{"fetched by a service worker by its address", "GET", fetch("cors", "empty", "same-origin", "Accept", "*/*", "Referer", "https://app.test/sw.js"), false, login},
		{"script's request made anew by a service worker", "GET", fetch("same-origin", "empty", "same-origin", "Accept", "*/*", "Referer", "https://app.test/sw.mjs?v=2"), false, login},
		{"download", "GET", fetch("navigate", "empty", "same-origin", "Referer", "https://app.test/list"), false, login + "?return_to=%2Flist"},
		{"XMLHttpRequest in an Android WebView", "GET", []string{"Accept", "text/html, */*", "X-Requested-With", "xmlhttprequest"}, true, login},
		{"fetch", "GET", fetch("cors", "empty", "same-origin", "Accept", "*/*"), false, login},
		{"fetch that wants a page", "GET", fetch("cors", "empty", "same-origin", "Accept", "text/html"), true, login},
		{"fetch that wants JSON rather", "GET", fetch("cors", "empty", "same-origin", "Accept", "application/json, text/html;q=0.5"), false, login},
		{"fetch of an old browser", "GET", []string{"Accept", "application/json"}, false, login},
		{"XMLHttpRequest of an old browser", "GET", []string{"Accept", "text/html, */*", "X-Requested-With", "XMLHttpRequest"}, true, login},
		{"program", "GET", []string{"Accept", "*/*"}, false, login},
		{"program that does not want a page", "GET", []string{"Accept", "text/html;q=0, */*"}, false, login},
		{"htmx", "GET", fetch("cors", "empty", "same-origin", "Accept", "*/*", "HX-Request", "true", "HX-Current-URL", "https://app.test/list?p=2"), false, login + "?return_to=%2Flist%3Fp%3D2"},
		{"htmx of an old browser", "GET", []string{"Accept", "text/html", "HX-Request", "true"}, true, login},
		{"Turbo", "GET", fetch("cors", "empty", "same-origin", "Accept", "text/vnd.turbo-stream.html, text/html", "Referer", "https://app.test/list"), true, login + "?return_to=%2Flist"},
		{"frame", "GET", fetch("navigate", "iframe", "same-origin", "Accept", "text/html"), true, login},
		{"frame of the old kind", "GET", fetch("navigate", "frame", "same-origin", "Accept", "text/html"), true, login},
		{"fenced frame", "GET", fetch("navigate", "fencedframe", "same-origin", "Accept", "text/html"), true, login},
		{"embedded object", "GET", fetch("navigate", "object", "same-origin", "Accept", "text/html"), true, login},
		{"embedded image", "GET", fetch("navigate", "embed", "same-origin", "Accept", "*/*"), false, login},
		{"image", "GET", fetch("no-cors", "image", "same-origin", "Accept", "image/avif,image/*,*/*;q=0.8"), false, login},
		{"script", "GET", fetch("no-cors", "script", "same-origin", "Accept", "*/*"), false, login},
		{"module", "GET", fetch("cors", "script", "same-origin", "Accept", "*/*"), false, login},
		{"style", "GET", fetch("no-cors", "style", "same-origin", "Accept", "text/css,*/*;q=0.1"), false, login},
		{"video", "GET", fetch("no-cors", "video", "same-origin", "Accept", "*/*", "Range", "bytes=0-"), false, login},
		{"service worker", "GET", fetch("same-origin", "serviceworker", "same-origin", "Accept", "*/*"), false, login},
		{"beacon", "POST", fetch("no-cors", "empty", "same-origin", "Accept", "*/*"), false, login},
		{"event source", "GET", fetch("cors", "empty", "same-origin", "Accept", "text/event-stream"), false, login},
		{"WebSocket", "GET", fetch("websocket", "websocket", "same-origin", "Accept", "*/*", "Connection", "Upgrade", "Upgrade", "websocket"), false, login},
		{"WebSocket of an old browser", "GET", []string{"Accept", "text/html", "Connection", "Upgrade", "Upgrade", "websocket"}, true, login},
		{"form", "POST", fetch("navigate", "document", "same-origin", "Accept", "text/html", "Referer", "https://app.test/form?id=7"), true, login + "?return_to=%2Fform%3Fid%3D7"},
		{"form on another site", "POST", fetch("navigate", "document", "cross-site", "Accept", "text/html", "Referer", "https://evil.example/form"), true, login},
		{"PUT", "PUT", fetch("cors", "empty", "same-origin", "Accept", "application/json", "Referer", "https://app.test/page"), false, login + "?return_to=%2Fpage"},
		{"DELETE of a program", "DELETE", []string{"Accept", "*/*"}, false, login},
		{"preflight", "OPTIONS", fetch("cors", "empty", "cross-site", "Accept", "*/*", "Origin", "https://evil.example"), false, login},
		{"HEAD of a script", "HEAD", fetch("cors", "empty", "same-origin", "Accept", "*/*"), false, login},
		{"prefetch", "GET", fetch("navigate", "document", "same-origin", "Accept", "text/html", "Sec-Purpose", "prefetch"), true, login},
		{"prerendering", "GET", fetch("navigate", "document", "same-origin", "Accept", "text/html", "Sec-Purpose", "prefetch;prerender"), true, login},
		{"prefetch by a proxy", "GET", fetch("navigate", "document", "none", "Accept", "text/html", "Sec-Purpose", "prefetch;anonymous-client-ip"), true, login},
		{"prefetch of an old browser", "GET", []string{"Accept", "text/html", "Purpose", "prefetch"}, true, login},
		{"prefetch of an older browser", "GET", []string{"Accept", "text/html", "X-Moz", "prefetch"}, true, login},
		{"preview of Safari", "GET", []string{"Accept", "text/html", "X-Purpose", "x", "Purpose", "preview"}, true, login},
		{"prefetch marked by a proxy", "GET", []string{"Accept", "text/html", "X-Sec-Purpose", "prefetch"}, true, login},

		{"page of another site", "GET", fetch("cors", "empty", "cross-site", "Accept", "*/*", "Referer", "https://evil.example/page"), false, login},
		{"page of a look-alike", "GET", fetch("cors", "empty", "same-site", "Accept", "*/*", "Referer", "https://app.test.evil.example/page"), false, login},
		{"page on another port", "GET", fetch("cors", "empty", "same-site", "Accept", "*/*", "Referer", "https://app.test:8443/page"), false, login},
		{"page with a hostile path", "GET", fetch("cors", "empty", "same-origin", "Accept", "*/*", "Referer", "https://app.test//evil.example"), false, login},
		{"page that is a script", "GET", fetch("cors", "empty", "same-origin", "Accept", "*/*", "HX-Current-URL", "javascript:alert(1)"), false, login},
		{"page that is our own", "GET", fetch("cors", "empty", "same-origin", "Accept", "*/*", "Referer", "https://app.test/auth/logout"), false, login},
		{"origin alone", "GET", fetch("cors", "empty", "same-origin", "Accept", "*/*", "Referer", "https://app.test/"), false, login},
		{"htmx before Referer", "GET", fetch("cors", "empty", "same-origin", "Accept", "*/*", "HX-Current-URL", "https://app.test/one", "Referer", "https://app.test/two"), false, login + "?return_to=%2Fone"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := testsite.NewInProcess(t)
			b := s.Browser(t)
			res := b.Still().Request(test.method, "/api/data", test.header...)
			for _, name := range []string{"Cookie", "Sec-Fetch-Mode", "Sec-Fetch-Dest"} {
				if !strings.Contains(res.Header.Get("Vary"), name) {
					t.Errorf("Vary %q, want %s in it", res.Header.Get("Vary"), name)
				}
			}
			if got := res.Header.Get("Cache-Control"); got != "no-store" {
				t.Errorf("Cache-Control %q, want no-store", got)
			}
			if test.want == "" {
				if res.StatusCode != http.StatusSeeOther || len(b.Cookies()) != 1 {
					t.Errorf("status %d, %d cookies, want 303 to the provider and one", res.StatusCode, len(b.Cookies()))
				}
				return
			}
			if res.StatusCode != http.StatusUnauthorized || res.Header.Get("WWW-Authenticate") != `Cookie realm="msauth"` || res.Header.Get("Location") != "" {
				t.Fatalf("status %d, headers %v, want 401", res.StatusCode, res.Header)
			}
			if len(res.Cookies()) != 0 || !strings.Contains(res.Header.Get("Vary"), "Accept") {
				t.Errorf("cookies %v, Vary %q", res.Cookies(), res.Header.Get("Vary"))
			}
			s.WantNoCalls(t)
			if got, want := res.Header.Get("HX-Redirect"), slices.Contains(test.header, "HX-Request"); want != (got == test.want) || !want && got != "" {
				t.Errorf("HX-Redirect %q", got)
			}
			switch {
			case test.method == "HEAD":
				if res.Text != "" {
					t.Errorf("body %q", res.Text)
				}
			case test.html:
				s.WantPage(t, res, http.StatusUnauthorized, "sign-in-required", "")
				if want := `<a href="` + test.want + `" target="_top">`; !strings.Contains(res.Text, want) {
					t.Errorf("page %s, want %s", res.Text, want)
				}
			default:
				var doc struct {
					Type, Title, Detail string
					Status              int
					LoginURL            string `json:"login_url"`
				}
				if err := json.Unmarshal([]byte(res.Text), &doc); err != nil || res.Header.Get("Content-Type") != "application/problem+json" {
					t.Fatalf("%v: %s %q", err, res.Header.Get("Content-Type"), res.Text)
				}
				if doc.Type != "about:blank" || doc.Status != 401 || doc.Title == "" || doc.LoginURL != test.want {
					t.Errorf("document %+v, want login_url %q", doc, test.want)
				}
			}
		})
	}
}

// Libraries that make requests for pages get what they follow.
func TestWhatLibrariesGetWhenNobodyIsSignedIn(t *testing.T) {
	t.Parallel()
	const html = "text/html, application/xhtml+xml"
	tests := []struct {
		name, method string
		header       []string
		status       int
		page, reload bool
		returnTo     string
	}{
		// As sent by Turbo 8.0.23.
		{"Turbo Drive", "GET", []string{"Accept", html, "X-Turbo-Request-Id", "1"}, 401, false, false, "/wanted?x=1"},
		{"Turbo Drive, hovering", "GET", []string{"Accept", html, "X-Turbo-Request-Id", "1", "X-Sec-Purpose", "prefetch"}, 401, false, false, "/wanted?x=1"},
		{"Turbo Drive, form", "POST", []string{"Accept", "text/vnd.turbo-stream.html, " + html, "X-Turbo-Request-Id", "1"}, 401, true, false, "/seen"},
		{"Turbo frame", "GET", []string{"Accept", html, "X-Turbo-Request-Id", "1", "Turbo-Frame", "messages"}, 401, true, true, "/seen"},
		{"Turbo frame, form", "POST", []string{"Accept", "text/vnd.turbo-stream.html, " + html, "X-Turbo-Request-Id", "1", "Turbo-Frame", "messages"}, 401, true, true, "/seen"},
		// @inertiajs/core 3.7.1.
		{"Inertia", "GET", []string{"Accept", html, "X-Inertia", "true", "X-Requested-With", "XMLHttpRequest"}, 409, false, false, "/wanted?x=1"},
		{"Inertia, form", "PUT", []string{"Accept", html, "X-Inertia", "true", "X-Requested-With", "XMLHttpRequest"}, 409, false, false, "/seen"},
		// Unpoly 3.14.3.
		{"Unpoly", "GET", []string{"Accept", "*/*", "X-Up-Version", "3.14.3", "X-Up-Mode", "root", "X-Up-Target", "main"}, 401, true, true, "/wanted?x=1"},
		{"Unpoly, overlay", "GET", []string{"Accept", "*/*", "X-Up-Version", "3.14.3", "X-Up-Mode", "modal", "X-Up-Target", ".content"}, 401, true, true, "/seen"},
		{"Unpoly, form", "POST", []string{"Accept", "*/*", "X-Up-Version", "3.14.3", "X-Up-Mode", "root", "X-Up-Target", "main"}, 401, true, false, "/seen"},
		// Livewire 3.
		{"Livewire", "POST", []string{"Accept", "*/*", "X-Livewire", ""}, 419, true, false, "/seen"},
		{"Livewire, wire:navigate", "GET", []string{"Accept", "*/*", "X-Livewire-Navigate", ""}, 401, true, true, "/wanted?x=1"},
		{"htmx", "GET", []string{"Accept", "*/*", "HX-Request", "true", "HX-Current-URL", "https://app.test/current"}, 401, false, false, "/current"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := testsite.NewInProcess(t)
			header := append([]string{"Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Sec-Fetch-Site", "same-origin", "Referer", "https://app.test/seen"}, test.header...)
			res := s.Browser(t).Still().Request(test.method, "/wanted?x=1", header...)
			login := "/auth/login?return_to=" + url.QueryEscape(test.returnTo)
			if res.StatusCode != test.status || len(res.Cookies()) != 0 || res.Header.Get("Location") != "" {
				t.Fatalf("status %d, headers %v, want %d", res.StatusCode, res.Header, test.status)
			}
			if got := strings.HasPrefix(res.Header.Get("Content-Type"), "text/html"); got != test.page {
				t.Errorf("Content-Type %q, want a page: %t", res.Header.Get("Content-Type"), test.page)
			}
			if got := strings.Contains(res.Text, `<meta name="turbo-visit-control" content="reload">`); got != test.reload {
				t.Errorf("page %s, want one that is loaded again: %t", res.Text, test.reload)
			}
			if !strings.Contains(res.Text, login) {
				t.Errorf("page %s, want %s", res.Text, login)
			}
			want := map[string]string{"HX-Redirect": "", "X-Inertia-Location": ""}
			switch test.name {
			case "htmx":
				want["HX-Redirect"] = login
			case "Inertia", "Inertia, form":
				want["X-Inertia-Location"] = login
			}
			for name, value := range want {
				if got := res.Header.Get(name); got != value {
					t.Errorf("%s %q, want %q", name, got, value)
				}
			}
		})
	}
}

var signInLink = regexp.MustCompile(`<a href="([^"]*)" target="_top">Sign in<`)
