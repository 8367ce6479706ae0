package requests_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// The functions from here to the first test are those of docs/recipes.md.

// proxyTo leads people who are signed in on to a service that learns from
// headers who they are. It must be reachable through here only.
func proxyTo(service *url.URL, auth *msauth.Middleware) http.Handler {
	return auth.Require(&httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(service)
		p.SetXForwarded()
		// First what the visitor sent under these names, in every spelling:
		// CGI, WSGI and their kin read X_User_Key as X-User-Key.
		for name := range p.Out.Header {
			if strings.HasPrefix(strings.ReplaceAll(strings.ToLower(name), "_", "-"), "x-user-") {
				delete(p.Out.Header, name)
			}
		}
		p.Out.Trailer = nil
		withoutCookies(p.Out, "__Host-msauth-")
		if s, ok := msauth.FromContext(p.In.Context()); ok {
			p.Out.Header.Set("X-User-Key", s.User.Key())
			p.Out.Header.Set("X-User-Name", url.PathEscape(s.User.Name)) // names are not ASCII
		}
	}})
}

// withoutCookies drops the cookies whose names begin with prefix: the session
// is not for the service.
func withoutCookies(r *http.Request, prefix string) {
	var kept []string
	for _, line := range r.Header["Cookie"] {
		for cookie := range strings.SplitSeq(line, ";") {
			cookie = strings.TrimSpace(cookie)
			if cookie != "" && !strings.HasPrefix(cookie, prefix) {
				kept = append(kept, cookie)
			}
		}
	}
	r.Header.Del("Cookie")
	if len(kept) > 0 {
		r.Header.Set("Cookie", strings.Join(kept, "; "))
	}
}

// protected refuses changes that other sites ask for, in the whole app.
func protected(auth *msauth.Middleware, app http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/auth/", auth)
	mux.Handle("/", auth.Require(app))
	return http.NewCrossOriginProtection().Handler(mux)
}

// shared lets scripts on pages of one other origin ask, with cookies. It goes
// around Require: a preflight comes without cookies and wants an answer all the
// same, and a script may read a 401 only under these headers.
func shared(origin string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Add("Vary", "Origin")
		if r.Header.Get("Origin") == origin {
			h.Set("Access-Control-Allow-Origin", origin)
			h.Set("Access-Control-Allow-Credentials", "true")
			if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
				h.Set("Access-Control-Allow-Methods", "GET, POST")
				h.Set("Access-Control-Allow-Headers", "Content-Type")
				w.WriteHeader(http.StatusNoContent)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// handshake refuses WebSockets that pages of other origins open. Browsers send
// cookies with them and ask nobody before, and CrossOriginProtection lets them
// pass: they are GET.
func handshake(origin string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if from := r.Header["Origin"]; len(from) != 1 || from[0] != origin {
			http.Error(w, "this address is for pages of "+origin, http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func TestRecipesAreTheCodeThatIsTested(t *testing.T) {
	t.Parallel()
	testsite.WantInDocument(t, "docs/recipes.md", "proxy_test.go", 5)
}

// mirror is a service that tells what it received.
func mirror(t *testing.T) *url.URL {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		for name, values := range r.Header {
			for _, value := range values {
				fmt.Fprintf(w, "%s: %s\n", name, value)
			}
		}
		for name, values := range r.Trailer {
			fmt.Fprintf(w, "trailer %s: %s\n", name, values)
		}
	}))
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestProxyTellsWhoTheVisitorIs(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	s.Mux.Handle("/service/", proxyTo(mirror(t), s.Auth))
	b := s.Browser(t)
	b.SignIn(msauthtest.Mia) // whose name is not ASCII
	b.Keep("theme", "dark")
	b.Attempt("/auth/login") // leaves its cookie, which is not the service's either
	req, _ := http.NewRequest("POST", s.URL+"/service/x", io.NopCloser(strings.NewReader("body")))
	req.Trailer = http.Header{"X-User-Key": {"eve"}}
	for _, name := range []string{"X-User-Key", "x-user-key", "X_User_Key", "X_USER_KEY", "X-User_Key", "x_user-key", "X-USER-KEY", "X-User-Role", "X_User_Role", "X-User-Name"} {
		req.Header[name] = []string{"eve"}
	}
	req.Header["Connection"] = []string{"X-User-Key, X-User-Name"} // which would take ours away, were they set before
	req.Header.Set("X-Forwarded-For", "10.9.8.7")
	req.Header.Set("Accept", "*/*")
	res := b.Send(req)
	if res.StatusCode != http.StatusOK {
		t.Fatalf("status %d: %s", res.StatusCode, res.Text)
	}
	lines := strings.Split(strings.TrimSpace(res.Text), "\n")
	if strings.Contains(res.Text, "eve") || strings.Contains(res.Text, "10.9.8.7") {
		t.Errorf("the service sees what the visitor made up:\n%s", res.Text)
	}
	if !slices.Contains(lines, "X-User-Name: Mia%20M%C3%BCller") || !strings.Contains(res.Text, "theme=dark\n") {
		t.Errorf("the service does not see the name, or the other cookies:\n%s", res.Text)
	}
	if !strings.Contains(res.Text, "X-User-Key: "+msauthtest.TenantPersonal+".") || strings.Count(res.Text, "X-User-Key") != 1 {
		t.Errorf("the service does not see who it is:\n%s", res.Text)
	}
	if strings.Contains(strings.ToLower(res.Text), "__host-") {
		t.Errorf("the service sees our cookies:\n%s", res.Text)
	}
	// Nobody comes through.
	if res := s.Browser(t).Get("/service/x", append(slices.Clone(testsite.Script), "X-User-Key", "eve")...); res.StatusCode != http.StatusUnauthorized || strings.Contains(res.Text, "eve") {
		t.Errorf("nobody gets status %d: %s", res.StatusCode, res.Text)
	}
}

func TestCookiesAreStrippedByName(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, have, want string }{
		{"none", "", ""},
		{"only ours", "__Host-msauth-abc=1; __Host-msauth-abc-1=2;__Host-msauth-abc-ok=1; \t__Host-msauth-abc-login-00=x", ""},
		{"others", `a=b; c="d e"; f==; g`, `a=b; c="d e"; f==; g`},
		{"mixed", "a=__Host-msauth-abc=1; __Host-msauth-abc=1; b=c", "a=__Host-msauth-abc=1; b=c"},
		{"empty parts", ";; ;a=b;;", "a=b"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest("GET", "/", nil)
			if test.have != "" {
				r.Header.Set("Cookie", test.have)
			}
			withoutCookies(r, "__Host-msauth-")
			if got := r.Header.Get("Cookie"); got != test.want || len(r.Header["Cookie"]) > 1 {
				t.Errorf("%q is left, want %q", got, test.want)
			}
		})
	}
}

// An app that protects itself with net/http's means and our routes, which do
// so as well, do not stand in each other's way.
func TestBesideCrossOriginProtection(t *testing.T) {
	t.Parallel()
	trusting := http.NewCrossOriginProtection()
	if err := trusting.AddTrustedOrigin("https://partner.example"); err != nil {
		t.Fatal(err)
	}
	bypassing := http.NewCrossOriginProtection()
	bypassing.AddInsecureBypassPattern("/auth/")
	outside := func(p *http.CrossOriginProtection) func(*testsite.Site) http.Handler {
		return func(s *testsite.Site) http.Handler { return p.Handler(s.Mux) }
	}
	for name, wrap := range map[string]func(*testsite.Site) http.Handler{
		"as in the recipe": func(s *testsite.Site) http.Handler { return protected(s.Auth, http.HandlerFunc(testsite.Hello)) },
		"around it all":    outside(http.NewCrossOriginProtection()),
		"inside": func(s *testsite.Site) http.Handler {
			return s.Auth.Load(s.Auth.Require(http.NewCrossOriginProtection().Handler(http.HandlerFunc(testsite.Hello))))
		},
		"with a trusted origin": outside(trusting),
		"with a bypass":         outside(bypassing),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testsite.NewInProcess(t)
			whole := wrap(s)
			s.Mux = http.NewServeMux()
			s.Mux.Handle("/", whole)
			s.Current.Store(s.Mux)
			s.As(msauthtest.Ada)
			b := s.Browser(t)
			// Signing in comes from another site, and works.
			if got := b.Get(b.Attempt("/a"), testsite.CrossSite...); got.Text != testsite.HelloAda {
				t.Fatalf("signing in gives %q:\n%s", got.Text, s.Log)
			}
			post := func(target string, header ...string) testsite.Seen {
				return b.Still().Request("POST", target, append([]string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Accept", "text/html"}, header...)...)
			}
			if res := post("/a", "Sec-Fetch-Site", "same-origin", "Origin", s.URL); res.Text != testsite.HelloAda {
				t.Errorf("the app's own form gets status %d", res.StatusCode)
			}
			for _, from := range [][]string{
				{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, {"Sec-Fetch-Site", "same-site", "Origin", "https://x.app.test"},
				{"Origin", "https://evil.example"}, {"Origin", "null"}, {"Sec-Fetch-Site", "cross-site", "Origin", "https://partner.example"},
			} {
				partner := name == "with a trusted origin" && slices.Contains(from, "https://partner.example")
				if res := post("/a", from...); (res.StatusCode == http.StatusForbidden) == partner {
					t.Errorf("%v: the app's action gets status %d", from, res.StatusCode)
				}
				// Sign-out is ours to judge, whom ever the app trusts.
				res := post("/auth/logout", from...)
				if res.StatusCode != http.StatusForbidden && res.Kind() != "confirm-sign-out" || len(res.Header["Set-Cookie"]) != 0 {
					t.Errorf("%v: sign-out gets status %d, %v", from, res.StatusCode, res.Header["Set-Cookie"])
				}
			}
			if res := b.Still().Get("/auth/logout", testsite.CrossSite...); res.Kind() != "confirm-sign-out" {
				t.Errorf("a link elsewhere gets status %d, page %q", res.StatusCode, res.Kind())
			}
			if got := b.Get("/a").Text; got != testsite.HelloAda {
				t.Errorf("afterwards %q", got)
			}
			if res := post("/auth/logout", "Sec-Fetch-Site", "same-origin", "Origin", s.URL); res.StatusCode != http.StatusSeeOther || len(b.Cookies()) > 0 {
				t.Errorf("our own form gets status %d, %d cookies are left", res.StatusCode, len(b.Cookies()))
			}
			// A form that starts a sign-in is one like any other to the app.
			if res := post("/auth/login", "Sec-Fetch-Site", "same-origin", "Origin", s.URL); res.StatusCode != http.StatusSeeOther {
				t.Errorf("a form that signs in gets status %d", res.StatusCode)
			}
		})
	}
}

func TestHandshakesAreForOurPages(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t)
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	s.Mux.Handle("/ws", http.NewCrossOriginProtection().Handler(s.Auth.Require(handshake(s.URL, http.HandlerFunc(testsite.Hello)))))
	s.Mux.Handle("/unchecked", http.NewCrossOriginProtection().Handler(s.Auth.Require(http.HandlerFunc(testsite.Hello))))
	upgrade := []string{"Sec-Fetch-Mode", "websocket", "Sec-Fetch-Dest", "empty", "Accept", "*/*", "Upgrade", "websocket", "Connection", "Upgrade"}
	for _, test := range []struct {
		origin string
		want   int
	}{
		{s.URL, 200}, {"", 403}, {"https://evil.example", 403}, {"null", 403}, {"http://app.test", 403}, {"https://app.test:8443", 403}, {"https://app.test.evil.example", 403}, {"https://x.app.test", 403}, {"https://APP.test", 403}, {s.URL + "/", 403},
	} {
		header := append(slices.Clone(upgrade), "Sec-Fetch-Site", "cross-site")
		if test.origin != "" {
			header = append(header, "Origin", test.origin)
		}
		if res := b.Get("/ws", header...); res.StatusCode != test.want {
			t.Errorf("Origin %q: status %d, want %d", test.origin, res.StatusCode, test.want)
		}
		// Why the check is needed: nothing else stands in the way.
		if res := b.Get("/unchecked", header...); res.Text != testsite.HelloAda {
			t.Errorf("Origin %q without the check: %q", test.origin, res.Text)
		}
	}
	if res := s.Browser(t).Get("/ws", append(slices.Clone(upgrade), "Origin", s.URL)...); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("nobody gets status %d", res.StatusCode)
	}
}

func TestPreflightsAreAnsweredOutsideRequire(t *testing.T) {
	t.Parallel()
	const other = "https://admin.app.test" // of the same site: else Lax cookies stay at home
	s := testsite.NewInProcess(t)
	s.Mux.Handle("/api", shared(other, s.Auth.Require(http.HandlerFunc(testsite.Hello))))
	b := s.Browser(t)
	preflight := func(origin string) []string {
		return []string{"Origin", origin, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type",
			"Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Sec-Fetch-Site", "same-site", "Accept", "*/*"}
	}
	script := []string{"Origin", other, "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Sec-Fetch-Site", "same-site", "Accept", "application/json"}
	for _, test := range []struct {
		name, method, path string
		header             []string
		status             int
		allowed            bool
	}{
		{"preflight", "OPTIONS", "/api", preflight(other), 204, true},
		{"preflight of a stranger", "OPTIONS", "/api", preflight("https://evil.example"), 401, false},
		{"preflight inside Require", "OPTIONS", "/private", preflight(other), 401, false},
		{"preflight of the login link", "OPTIONS", "/auth/login", preflight(other), 405, false},
		{"nobody", "GET", "/api", script, 401, true},
		{"nobody, by POST", "POST", "/api", script, 401, true},
	} {
		res := b.Still().Request(test.method, test.path, test.header...)
		if allowed := res.Header.Get("Access-Control-Allow-Origin") == other && res.Header.Get("Access-Control-Allow-Credentials") == "true"; res.StatusCode != test.status || allowed != test.allowed || len(res.Cookies()) != 0 {
			t.Errorf("%s: status %d, headers %v", test.name, res.StatusCode, res.Header)
		}
	}
	if doc := b.WantProblem(b.Get("/api", script...), http.StatusUnauthorized); doc.LoginURL == "" {
		t.Error("a script of another origin learns no way to sign in")
	}
	b.SignIn(msauthtest.Ada)
	res := b.Get("/api", script...)
	if res.Text != testsite.HelloAda || res.Header.Get("Access-Control-Allow-Origin") != other {
		t.Errorf("page %q, headers %v", res.Text, res.Header)
	}
	if vary := strings.Join(res.Header["Vary"], ", "); !strings.Contains(vary, "Origin") || !strings.Contains(vary, "Cookie") {
		t.Errorf("Vary %q", vary)
	}
}
