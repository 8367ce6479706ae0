package cases_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// overHTTP2 serves the site a second time.
func overHTTP2(t *testing.T, s *testsite.Site) (*http.Client, string) {
	t.Helper()
	server := httptest.NewUnstartedServer(s)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.Client(), server.URL
}

func TestCase125_InterfacesSurvive(t *testing.T) {
	c := newCase(t)
	s := testsite.New(t)
	b, _ := testsite.AdaSession(t, s)
	s.MS.ResetCalls()
	bare := make(chan http.ResponseWriter, 1)
	passed := make(chan http.ResponseWriter, 1)
	inner := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		passed <- w
		io.WriteString(w, "hello")
	})
	for _, wrap := range []func(http.Handler) http.Handler{s.Auth.Load, s.Auth.Require, func(h http.Handler) http.Handler { return s.Auth.Load(s.Auth.Require(h)) }} {
		handler := wrap(inner)
		s.Mux = http.NewServeMux()
		s.Mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
			bare <- w
			handler.ServeHTTP(w, r)
		})
		s.Current.Store(s.Mux)
		if got := b.Get("/").Text; got != "hello" {
			c.Fatalf("page %q", got)
		}
		if <-bare != <-passed {
			c.Error("the handler gets another ResponseWriter")
		}
	}
	c.silent(s)
}

// Hijacking, as WebSockets do, with a session whose renewal is due.
func TestCase125_Hijack(t *testing.T) {
	c := newCase(t)
	s := testsite.New(t)
	s.Lifetime(time.Hour)
	s.Mux.Handle("/ws", s.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, _ := msauth.FromContext(r.Context())
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer conn.Close()
		rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello " + session.User.Name + "\n")
		rw.Flush()
	})))
	b, _ := testsite.AdaSession(t, s)
	s.MS.ResetCalls()
	conn, err := tls.Dial("tcp", strings.TrimPrefix(s.URL, "https://"), s.Wire.(*http.Transport).TLSClientConfig)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nCookie: %s\r\n\r\n", b.CookieLine())
	lines := bufio.NewReader(conn)
	if first, _ := lines.ReadString('\n'); !strings.Contains(first, "101") {
		c.Errorf("the answer begins with %q", first)
	}
	if rest, _ := io.ReadAll(lines); !strings.HasSuffix(string(rest), testsite.HelloAda+"\n") {
		c.Errorf("the connection says %q", rest)
	}
	c.silent(s)
}

func TestCase126_CookieBeforeTheFirstByte(t *testing.T) {
	c := newCase(t)
	s := testsite.New(t)
	release := make(chan bool)
	s.Mux.Handle("/stream", s.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		if err := control.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
			c.Error(err)
		}
		w.Header().Set("Cache-Control", "public, max-age=600") // a careless handler
		fmt.Fprintln(w, "first")
		if err := control.Flush(); err != nil {
			c.Error(err)
		}
		<-release
		fmt.Fprintln(w, "second")
	})))
	b := s.Browser(t)
	b.SignInExpired(msauthtest.Ada)
	old := b.Session()[0]
	req, _ := http.NewRequest("GET", s.URL+"/stream", nil)
	res, err := b.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	if !lines.Scan() || lines.Text() != "first" {
		c.Errorf("%q is the first line", lines.Text())
	}
	if !slices.ContainsFunc(res.Cookies(), func(set *http.Cookie) bool { return set.Name == old.Name && set.Value != old.Value }) {
		c.Errorf("the renewed cookie is not in the first header: %d cookies", len(res.Cookies()))
	}
	if !slices.Contains(res.Header["Cache-Control"], "no-store") {
		c.Errorf("Cache-Control %q beside a cookie", res.Header["Cache-Control"])
	}
	close(release)
	if !lines.Scan() || lines.Text() != "second" {
		c.Errorf("%q is the second line", lines.Text())
	}
	c.calls(s, msauthtest.TokenRefresh, 1)
}

func TestCase129_StreamPastTheEnd(t *testing.T) {
	c := newCase(t)
	c.bubble(func(c *testCase) {
		s := testsite.NewInProcess(c.T, func(cfg *msauth.Config) { cfg.MaxAge = 3 * time.Hour })
		s.Lifetime(time.Hour)
		b, _ := testsite.AdaSession(c.T, s)
		s.Mux.Handle("/stream", s.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			session, _ := msauth.FromContext(r.Context())
			if left := time.Until(session.Ends()); left > 3*time.Hour || left < 3*time.Hour-time.Minute {
				c.Errorf("the session ends in %v", left)
			}
			for time.Now().Before(session.Ends()) {
				if _, err := session.Token(r.Context()); err != nil {
					c.Error(err)
				}
				time.Sleep(time.Minute)
			}
			time.Sleep(time.Second)
			_, err := session.Token(r.Context())
			c.fails(err, "nobody is signed in")
			w.Header().Set("X-Seen", fmt.Sprint(len(w.Header()["Set-Cookie"])))
		})))
		before := b.Session()[0].Value
		b.Timeout = 0
		res := b.Get("/stream")
		if b.Session(); len(res.Header["Set-Cookie"]) > 1 {
			c.Errorf("%d cookies were set during the stream", len(res.Header["Set-Cookie"]))
		}
		for _, cookie := range res.Cookies() {
			if testsite.SessionCookie.MatchString(cookie.Name) && cookie.Value != before {
				c.Error("the session was written during the stream")
			}
		}
		c.calls(s, msauthtest.TokenRefresh, 2)
	})
}

// After a sign-out elsewhere a stream gets no more tokens.
func TestCase129_StreamAfterSignOut(t *testing.T) {
	c := newCase(t)
	s := testsite.New(t)
	b, _ := testsite.AdaSession(t, s)
	out := make(chan bool)
	s.Mux.Handle("/stream", s.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, _ := msauth.FromContext(r.Context())
		http.NewResponseController(w).Flush()
		<-out
		_, err := session.Token(r.Context())
		fmt.Fprint(w, err)
	})))
	req, _ := http.NewRequest("GET", s.URL+"/stream", nil)
	res, err := b.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b.Still().Get("/auth/logout", testsite.SameOrigin...)
	close(out)
	body, _ := io.ReadAll(res.Body)
	c.fails(fmt.Errorf("%s", body), "nobody is signed in")
}

func TestCase130_ManyRequests(t *testing.T) {
	c := newCase(t)
	s := testsite.New(t)
	s.Lifetime(2 * time.Second)
	b, _ := testsite.AdaSession(t, s)
	cookie := b.CookieLine()
	h2, h2URL := overHTTP2(t, s)
	transport := s.Wire.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 64
	defer transport.CloseIdleConnections()
	h1 := &http.Client{Transport: transport}
	warm := func(n int) {
		slots := make(chan struct{}, 64)
		var all sync.WaitGroup
		for i := range n {
			slots <- struct{}{}
			all.Go(func() {
				defer func() { <-slots }()
				target := []string{"/", "/public/", "/auth/login", "/auth/callback?state=x&code=y", "/?token", "/auth/logout", "/auth/x", "/a"}[i%8]
				client, base := h1, s.URL
				if i%3 == 0 {
					client, base = h2, h2URL
				}
				req, _ := http.NewRequest("GET", base+target, nil)
				switch i % 5 {
				case 0:
				case 1:
					req.Header.Set("Cookie", cookie[:i%len(cookie)])
				default:
					req.Header.Set("Cookie", cookie)
				}
				req.Header.Set("Accept", []string{"text/html", "*/*"}[i%2])
				quiet := *client
				quiet.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
				res, err := quiet.Do(req)
				if err != nil {
					c.Error(err)
					return
				}
				defer res.Body.Close()
				io.Copy(io.Discard, res.Body)
				if res.StatusCode >= 500 && res.StatusCode != 503 {
					c.Errorf("%s: status %d", target, res.StatusCode)
				}
			})
		}
		all.Wait()
	}
	began := time.Now()
	warm(160)
	before := testsite.LiveHeap()
	warm(1000)
	if grown := int64(testsite.LiveHeap()) - int64(before); grown > 8<<20 {
		c.Errorf("memory has grown by %d bytes", grown)
	}
	if n, most := s.MS.Count(msauthtest.TokenRefresh), 5+int(time.Since(began)/time.Second); n > most {
		c.Errorf("%d renewals, want at most %d", n, most)
	}
	c.calls(s, msauthtest.TokenCode, 1)
}

func TestCase131_Caches(t *testing.T) {
	c := newCase(t)
	c.bubble(func(c *testCase) {
		s := testsite.NewInProcess(c.T)
		s.Lifetime(time.Second)
		s.Mux.Handle("/public/cached", s.Auth.Load(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
			w.Header().Set("Vary", "Accept-Encoding")
			testsite.Hello(w, r)
		})))
		s.Mux.Handle("/public/deleted", s.Auth.Load(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Del("Cache-Control")
			testsite.Hello(w, r)
		})))
		s.As(msauthtest.Ada)
		b := s.Browser(c.T)
		still := b.Still()
		start := still.Get("/a")
		back := still.Get(start.Header.Get("Location")).Header.Get("Location")
		answers := map[string]testsite.Seen{
			"start": start, "callback": still.Get(back), "first page": still.Get("/public/cached"),
			"401": still.Get("/a", testsite.Script...), "error": still.Get("/auth/callback"), "login": still.Get("/auth/login"),
		}
		for _, target := range []string{"/public/cached", "/public/deleted", "/a"} {
			time.Sleep(2 * time.Second)
			answers["renewal at "+target] = still.Get(target)
			if len(answers["renewal at "+target].Header["Set-Cookie"]) == 0 {
				c.Errorf("%s: not renewed", target)
			}
		}
		out := s.Browser(c.T)
		answers["401 nobody"], answers["confirm"] = out.Get("/a", testsite.Script...), out.Get("/auth/logout")
		answers["signed out"], answers["sign-out"], answers["404"] = out.Get("/auth/signed-out"), still.Get("/auth/logout", testsite.SameOrigin...), out.Get("/auth/x")
		answers["405"], answers["prefetch"] = out.Request("PUT", "/auth/callback"), out.Get("/auth/login", "Sec-Purpose", "prefetch")
		for name, res := range answers {
			ours := len(res.Header["Set-Cookie"]) > 0 || res.StatusCode != 200 || res.Kind() != ""
			if ours && !slices.Contains(res.Header["Cache-Control"], "no-store") {
				c.Errorf("%s: status %d, Cache-Control %q, %d cookies", name, res.StatusCode, res.Header["Cache-Control"], len(res.Header["Set-Cookie"]))
			}
			if vary := strings.Join(res.Header["Vary"], ", "); strings.HasPrefix(name, "renewal") && !strings.Contains(vary, "Cookie") && name != "renewal at /public/cached" {
				c.Errorf("%s: Vary %q", name, vary)
			}
		}
		c.calls(s, msauthtest.TokenRefresh, 3)
	})
}

func TestCase132_CodeLeavesTheURL(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t)
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	callback := b.Attempt("/a?x=1")
	var sent url.Values
	testsite.Reworded(t, callback, func(q url.Values) { sent = q })
	res := b.Still().Get(callback)
	if res.Header.Get("Location") != "/a?x=1" || res.Header.Get("Referrer-Policy") != "no-referrer" || res.Text != "" {
		c.Errorf("the callback leads to %q under Referrer-Policy %q with %q", res.Header.Get("Location"), res.Header.Get("Referrer-Policy"), res.Text)
	}
	other := s.Browser(t)
	failed := other.Get(callback)
	c.refused(other, failed, 400, "start-again", "no cookie of this attempt")
	for _, secret := range []string{sent.Get("code"), sent.Get("state"), sent.Get("session_state")} {
		if strings.Contains(failed.Text, secret) || strings.Contains(fmt.Sprint(failed.Header), secret) {
			c.Error("a page shows what was in the URL")
		}
	}
	c.calls(s, msauthtest.TokenCode, 1)
}

func TestCase134_HeaderBudget(t *testing.T) {
	c := newCase(t)
	for _, person := range []string{msauthtest.Ada, msauthtest.Mia, msauthtest.Grace} {
		c.run(person, func(c *testCase) {
			s := testsite.NewInProcess(c.T)
			s.MS.Set(func(b *msauthtest.Behavior) { b.GroupClaims = true })
			b := s.Browser(c.T)
			b.SignIn(person)
			for range 20 {
				b.Still().Get("/auth/login")
			}
			if n := len("Cookie: " + b.CookieLine()); n > 8000 {
				c.Errorf("a Cookie header of %d bytes", n)
			}
			session := 0
			for _, cookie := range b.Session() {
				session += len(cookie.Name) + len(cookie.Value)
			}
			if session > 3300 {
				c.Errorf("a session of %d bytes", session)
			}
			c.calls(s, msauthtest.TokenCode, 1)
		})
	}
	c.run("too big is said at sign-in", func(c *testCase) {
		s := testsite.NewInProcess(c.T, func(cfg *msauth.Config) { cfg.CookieBudget = 1024 })
		s.As(msauthtest.Ada)
		b := s.Browser(c.T)
		c.refused(b, b.Get("/"), 403, "too-large", "msauth: session too large")
		c.signedOut(b)
	})
}

func TestCase135_FloodOfLongAddresses(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t)
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	largest := b.Measured()
	for range 200 {
		b.Still().Get("/auth/login?prompt=login&return_to=" + url.QueryEscape(testsite.LongAddress(2000)))
	}
	if n := len(b.CookieLine()); n > 7000 || largest.Load() > 4000 {
		c.Errorf("%d bytes of cookies, answers with headers of up to %d bytes", n, largest.Load())
	}
	c.calls(s, msauthtest.TokenCode, 1)
	b.WantGreeting(testsite.HelloAda)
}

func TestCase135_PendingLoginFlood(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t)
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	last := ""
	for i := range 500 {
		last = b.Still().Get([]string{"/a", "/auth/login"}[i%2]).Header.Get("Location")
		if n, size := len(b.Cookies()), len(b.CookieLine()); n > 16 || size > 1200 {
			c.Fatalf("%d cookies of %d bytes after %d attempts", n, size, i+1)
		}
	}
	if n := len(b.Cookies()); n != 16 {
		c.Errorf("%d attempts are kept, want 16", n)
	}
	c.calls(s, msauthtest.Discovery, 1)
	c.calls(s, msauthtest.TokenCode, 0)
	if got := b.Get(last).Text; got != testsite.HelloAda {
		c.Errorf("the newest attempt gives %q", got)
	}
	// A header with hundreds of them makes one answer, not one line for each without end.
	var pairs []string
	for i := range 500 {
		pairs = append(pairs, fmt.Sprintf("%s-login-%016x=x", testsite.CookieName(t, s), i))
	}
	res := s.Browser(t).Still().Get("/auth/login", "Cookie", strings.Join(pairs, "; "))
	if n := len(res.Header["Set-Cookie"]); res.StatusCode != 303 || n > 201 {
		c.Errorf("status %d with %d cookies set", res.StatusCode, n)
	}
}
