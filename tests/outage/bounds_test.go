package outage_test

import (
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// spend tells what a request costs.
func spend(f func()) (bytes uint64, took time.Duration) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	f()
	took = time.Since(began)
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc, took
}

// hostileRequests are as large as net/http lets them be.
func hostileRequests(name string) map[string]*http.Request {
	const mega = 1 << 20
	requests := map[string]*http.Request{}
	add := func(what, target string, header ...string) {
		r := &http.Request{Method: "GET", Host: "app.test", Header: http.Header{}, RequestURI: target, Body: http.NoBody}
		r.URL, _ = url.ParseRequestURI(target)
		for i := 0; i < len(header); i += 2 {
			r.Header[header[i]] = append(r.Header[header[i]], header[i+1])
		}
		requests[what] = r
	}
	fill := func(text string) string { return strings.Repeat(text, mega/len(text)) }
	count := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	add("one foreign cookie of 1 MB", "/public/", "Cookie", "x="+fill("A"))
	add("one cookie of ours of 1 MB", "/public/", "Cookie", name+"=1"+fill("A"))
	add("our name all over", "/public/", "Cookie", fill(name+"=1AAAA; "))
	add("our name without a value", "/public/", "Cookie", fill(name+";"))
	add("a beginning of our name", "/public/", "Cookie", fill(name[:len(name)-1]+";"))
	add("nine pieces of 100 kB", "/public/", "Cookie", name+"=9"+strings.Repeat("A", 100<<10)+count(10, "; "+name+"-%d="+strings.Repeat("A", 100<<10)))
	add("nine pieces, four first ones", "/public/", "Cookie", strings.Repeat(name+"=9A; ", 4)+count(10, name+"-%d="+strings.Repeat("A", 90<<10)+"; "))
	add("forged counts", "/public/", "Cookie", count(10, name+"=%d"+strings.Repeat("A", 4000)+"; "))
	add("3000 cookies", "/public/", "Cookie", count(3000, "c%d=x; "))
	add("3000 lines of cookies", "/public/")
	for i := range 3000 {
		requests["3000 lines of cookies"].Header.Add("Cookie", fmt.Sprintf("c%d=x", i))
	}
	add("3000 pieces", "/public/", "Cookie", count(3000, name+"-%d=x; "))
	add("3000 attempts", "/auth/login", "Cookie", count(3000, name+"-login-%016x=x; "))
	add("3000 attempts at the callback", "/auth/callback?state=x&code=y", "Cookie", count(3000, name+"-login-%016x=x; "))
	add("3000 attempts at sign-out", "/auth/logout", "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Cookie", count(3000, name+"-login-%016x=x; "))
	add("markers", "/a", "Cookie", fill(name+"-okay=1; "), "Accept", "text/html")
	for _, text := range []string{";", "=", " ", "; ", "\t", ",", "=;", "\""} {
		add(fmt.Sprintf("%q", text), "/public/", "Cookie", fill(text))
	}
	add("a state of 1 MB", "/auth/callback?code=x&state="+fill("A"))
	add("states without number", "/auth/callback?"+fill("state=x&"))
	add("parameters without number", "/auth/callback?"+fill("a&"))
	add("an error of 1 MB", "/auth/callback?state=x&error="+fill("%41"))
	add("a return path of 1 MB", "/auth/login?return_to="+fill("/"))
	add("a return path of dots", "/auth/login?return_to=/"+strings.Repeat("a/../", 3<<10))
	add("a page of 1 MB", "/"+fill("a/../"), "Accept", "text/html")
	add("a query of 1 MB", "/?"+fill("%41"), "Accept", "text/html")
	add("a sealed link of 1 MB", "/auth/login?sealed="+fill("A"))
	add("a referrer of 1 MB", "/a", "Referer", "https://app.test/"+fill("a/"))
	add("htmx's page of 1 MB", "/a", "Hx-Request", "true", "Hx-Current-Url", "https://app.test/"+fill("%2e/"))
	add("Accept of 1 MB", "/a", "Accept", fill("text/html;q=0.1,"))
	add("Accept of parameters", "/a", "Accept", "text/html;"+fill("q=0.1;"))
	add("prefetches", "/a", "Purpose", fill("pref "))
	return requests
}

// Whatever size a request has, it costs little more than its own, and the
// provider hears nothing of it. Not beside other tests: memory is counted.
func TestHostileRequestsAreCheap(t *testing.T) {
	s := testsite.NewInProcess(t)
	name := testsite.CookieName(t, s)
	s.MS.ResetCalls()
	for what, r := range hostileRequests(name) {
		size := len(r.RequestURI)
		for _, values := range r.Header {
			for _, value := range values {
				size += len(value)
			}
		}
		rec := httptest.NewRecorder()
		bytes, took := spend(func() { s.ServeHTTP(rec, r) })
		if limit := uint64(10*size + 512<<10); bytes > limit {
			t.Errorf("%s: %d bytes of memory for a request of %d, want at most %d", what, bytes, size, limit)
		}
		if took > 10*time.Second {
			t.Errorf("%s: %v", what, took)
		}
		answered := rec.Body.Len()
		for _, values := range rec.Result().Header {
			answered += len(strings.Join(values, ""))
		}
		if rec.Code >= 500 || answered > 32<<10 {
			t.Errorf("%s: status %d, an answer of %d bytes", what, rec.Code, answered)
		}
	}
	if calls := s.MS.Calls(""); len(calls) != 0 {
		t.Errorf("%d requests at the provider", len(calls))
	}
	for line := range strings.Lines(s.Log.String()) {
		if len(line) > 2500 {
			t.Errorf("a log line of %d bytes: %.200s", len(line), line)
		}
	}
}

// A store of the app's own values reads the same header.
func TestHostileCookiesOfACookieStoreAreCheap(t *testing.T) {
	store, err := msauth.NewCookieStore(testsite.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	for what, r := range hostileRequests("__Host-cart") {
		size := len(strings.Join(r.Header["Cookie"], ""))
		bytes, took := spend(func() {
			session, err := store.New(r, "cart")
			if err != nil || !session.IsNew || len(session.Values) > 0 {
				t.Errorf("%s: session %v, error %v", what, session.Values, err)
			}
		})
		if bytes > uint64(5*size+64<<10) || took > 10*time.Second {
			t.Errorf("%s: %d bytes of memory and %v for %d bytes of cookies", what, bytes, took, size)
		}
	}
}

func TestFloodOfForgedCallbacks(t *testing.T) {
	s := testsite.NewInProcess(t)
	s.As(msauthtest.Ada)
	victim := s.Browser(t)
	good := victim.Attempt("/a")
	var state string
	testsite.Reworded(t, good, func(q url.Values) { state = q.Get("state") })
	cookie := victim.CookieLine()
	s.MS.ResetCalls()
	flood := func(n int) {
		var all sync.WaitGroup
		for worker := range 8 {
			all.Go(func() {
				for i := range n / 8 {
					at := i % len(state)
					forged := state[:at] + string(testsite.OtherCharacter(state[at])) + state[at+1:]
					r := &http.Request{Method: "GET", Host: "app.test", Header: http.Header{"Cookie": {cookie}}, Body: http.NoBody}
					r.URL = &url.URL{Path: "/auth/callback", RawQuery: url.Values{"code": {fmt.Sprint(worker, i)}, "state": {forged}}.Encode()}
					rec := httptest.NewRecorder()
					s.ServeHTTP(rec, r)
					if rec.Code != http.StatusBadRequest || len(rec.Header()["Set-Cookie"]) != 0 {
						t.Errorf("status %d, cookies %q", rec.Code, rec.Header()["Set-Cookie"])
						return
					}
				}
			})
		}
		all.Wait()
	}
	flood(400)
	s.Log.Reset()
	before := testsite.LiveHeap()
	began := time.Now()
	flood(1600)
	took := time.Since(began)
	s.Log.Reset()
	if grown := int64(testsite.LiveHeap()) - int64(before); grown > 2<<20 {
		t.Errorf("memory has grown by %d bytes", grown)
	}
	if took > 60*time.Second {
		t.Errorf("1600 forged callbacks take %v", took)
	}
	if calls := s.MS.Calls(""); len(calls) != 0 {
		t.Errorf("%d requests at the provider, the first for %s", len(calls), calls[0].Path)
	}
	if got := victim.Get(good).Text; got != testsite.HelloAda {
		t.Errorf("the victim's sign-in gives %q", got)
	}
}

// Whoever has begun a sign-in can send the callback any code.
func TestCallbackDoesNotPassOnEveryCode(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t)
	s.As(msauthtest.Ada)
	for _, code := range []string{strings.Repeat("A", 16<<10), strings.Repeat("\x00", 16<<10), strings.Repeat("A", 900<<10)} {
		b := s.Browser(t)
		answer := testsite.Reworded(t, b.Attempt("/a"), func(q url.Values) { q.Set("code", code) })
		b.WantRefused(b.Get(answer), http.StatusBadRequest, "start-again", "code is too long")
	}
	s.WantCalls(t, msauthtest.TokenCode, 0)
}

// Readiness is about the app. The code in a callback is the visitor's to
// choose, and Microsoft's word about it says nothing of the app.
func TestReadyIsNotTheVisitorsToFlip(t *testing.T) {
	t.Parallel()
	for name, failure := range map[string]msauthtest.Failure{
		"malformed": {Error: "invalid_request", Codes: []int{9002313}},
		"unknown":   {Error: "invalid_grant", Codes: []int{70000}},
		"no OAuth":  {Error: "surprise"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testsite.NewInProcess(t)
			s.As(msauthtest.Ada)
			s.MS.Set(func(b *msauthtest.Behavior) { b.Fail[msauthtest.TokenCode] = []msauthtest.Failure{failure} })
			b := s.Browser(t)
			if res := b.Get(testsite.Reworded(t, b.Attempt("/a"), func(q url.Values) { q.Set("code", "garbage") })); res.StatusCode < 400 || res.StatusCode > 499 {
				t.Errorf("status %d for a code that the visitor made up", res.StatusCode)
			}
			s.WantCalls(t, msauthtest.TokenCode, 1)
			if err := s.Auth.Ready(t.Context()); err != nil {
				t.Errorf("not ready: %v", err)
			}
		})
	}
}

// An app for people of many tenants is disabled, or removed, in one of them.
// That says nothing of the app elsewhere: nobody else waits for it, and the
// site stays in the load balancer.
func TestOneTenantDoesNotSpeakForTheApp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t)
		s.Lifetime(time.Hour)
		var theirs []*testsite.Browser
		for range 6 {
			b := s.Browser(t)
			b.SignIn(msauthtest.Bruno)
			theirs = append(theirs, b)
		}
		ada, _ := testsite.AdaSession(t, s)
		time.Sleep(time.Hour)
		s.Failing(msauthtest.Failure{Error: "unauthorized_client", Codes: []int{700016}})
		for _, b := range theirs {
			b.Get("/", testsite.Script...)
		}
		s.WantCalls(t, msauthtest.TokenRefresh, len(theirs))
		s.Failing(msauthtest.Failure{})
		if err := s.Auth.Ready(t.Context()); err != nil {
			t.Errorf("not ready: %v", err)
		}
		if s.Auth.Stats().Paused {
			t.Error("renewals are paused for everybody")
		}
		if got := ada.Get("/?token", testsite.Script...); got.StatusCode != http.StatusOK {
			t.Errorf("somebody of another tenant gets status %d: %s", got.StatusCode, got.Text)
		}
	})
}

// Where all people are of one tenant, it does.
func TestTheOnlyTenantSpeaksForTheApp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t, testsite.Tenant(msauthtest.TenantContoso))
		s.Lifetime(time.Hour)
		b, _ := testsite.AdaSession(t, s)
		time.Sleep(time.Hour)
		s.Failing(msauthtest.Failure{Error: "unauthorized_client", Codes: []int{700016}})
		b.Get("/", testsite.Script...)
		if err := s.Auth.Ready(t.Context()); err == nil {
			t.Error("ready, though the provider does not know the app")
		}
	})
}

// The same at sign-in: a tenant that has disabled the app says it to its own.
func TestSignInOfOneTenantDoesNotSpeakForTheApp(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t)
	s.MS.Set(func(b *msauthtest.Behavior) {
		b.AutoSignIn = msauthtest.Bruno
		b.Fail[msauthtest.TokenCode] = []msauthtest.Failure{{Error: "unauthorized_client", Codes: []int{7000112}}}
	})
	b := s.Browser(t)
	b.WantRefused(b.Get("/auth/login"), 403, "not-allowed", "AADSTS7000112")
	if err := s.Auth.Ready(t.Context()); err != nil {
		t.Errorf("not ready: %v", err)
	}
}

// A handler that asks for a sign-in whoever is signed in must not send the
// browser round in circles.
func TestHandlerThatAlwaysAsksForASignIn(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t)
	s.As(msauthtest.Ada)
	s.Mux.HandleFunc("/greedy", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, s.Auth.LoginURL(msauth.LoginOptions{ReturnTo: "/greedy"}), http.StatusSeeOther)
	})
	b := s.Browser(t)
	res := b.Get("/greedy")
	s.WantCalls(t, msauthtest.Authorize, 2)
	hinted := s.Auth.LoginURL(msauth.LoginOptions{LoginHint: msauthtest.Ada})
	if got := b.Still().Get(hinted); got.Kind() != "wait" {
		t.Errorf("with the person's own name as login_hint: status %d", got.StatusCode)
	}
	linking := s.Auth.LoginURL(msauth.LoginOptions{AppState: "link another account"})
	if got := b.Still().Get(linking); got.StatusCode != http.StatusSeeOther {
		t.Errorf("with AppState: status %d", got.StatusCode)
	}
	// From the third on it goes on by itself, but slowly.
	for round := 3; round <= 8; round++ {
		s.WantPage(t, res, 200, "wait", "")
		refresh := regexp.MustCompile(`<meta http-equiv="refresh" content="5; url=([^"]*)">`).FindStringSubmatch(res.Text)
		if refresh == nil || html.UnescapeString(refresh[1]) != testsite.LinksOf(res)[0] || !strings.HasPrefix(testsite.LinksOf(res)[0], s.MS.URL) {
			t.Fatalf("round %d: goes on to %q, links to %q", round, refresh, testsite.LinksOf(res))
		}
		res = b.Get(testsite.LinksOf(res)[0])
		s.WantCalls(t, msauthtest.Authorize, round)
	}
	s.WantPage(t, res, 400, "loop", "sent to sign in once more")
	if !strings.Contains(res.Text, "prompt=select_account") {
		t.Error("the page offers no other account")
	}
	b.WantGreeting(testsite.HelloAda) // and still signed in
	// Another account is another matter, and so is a minute later.
	s.As(msauthtest.Bruno)
	if got := b.Still().Get("/auth/login?prompt=select_account"); got.StatusCode != http.StatusSeeOther {
		t.Errorf("another account: status %d", got.StatusCode)
	}
}

// http.StripPrefix around everything: Require still knows its own pages.
func TestRequireBehindStripPrefix(t *testing.T) {
	t.Parallel()
	for _, wrap := range []string{"the site", "a mux with both"} {
		t.Run(wrap, func(t *testing.T) {
			t.Parallel()
			s := testsite.NewInProcess(t, func(c *msauth.Config) { c.BaseURL = "https://app.test/app/auth" })
			s.As(msauthtest.Ada)
			inner := s.Auth.Require(http.HandlerFunc(testsite.Hello))
			if wrap != "the site" {
				mux := http.NewServeMux()
				mux.Handle("/auth/", s.Auth)
				mux.Handle("/", inner)
				inner = mux
			}
			s.Mux.Handle("/app/", http.StripPrefix("/app", inner))
			b := s.Browser(t)
			if got := b.Get("/app/orders?page=2"); got.Text != testsite.HelloAda || got.Request.URL.RequestURI() != "/app/orders?page=2" {
				t.Errorf("%s: status %d, page %q", got.Request.URL, got.StatusCode, got.Text)
			}
			s.WantCalls(t, msauthtest.Authorize, 1)
		})
	}
}

// A proxy that strips a prefix hides the callback: that is a page, not a loop.
func TestAnswerThatGoesPastCallback(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t, func(c *msauth.Config) { c.BaseURL = "https://app.test/app/auth" })
	s.As(msauthtest.Ada)
	site := s.Auth.Require(http.HandlerFunc(testsite.Hello))
	s.Mux.HandleFunc("/app/", func(w http.ResponseWriter, r *http.Request) {
		r.RequestURI = strings.TrimPrefix(r.RequestURI, "/app") // as it arrives from such a proxy
		http.StripPrefix("/app", site).ServeHTTP(w, r)
	})
	b := s.Browser(t)
	s.WantPage(t, b.Get("/app/orders"), 400, "app-error", "did not reach Callback")
	s.WantCalls(t, msauthtest.Authorize, 1)
	// Somebody else's state says nothing of this site to this browser.
	to, _ := url.Parse(s.Browser(t).Still().Get("/app/orders").Header.Get("Location"))
	if got := s.Browser(t).Still().Get("/app/orders?code=x&state=" + to.Query().Get("state")); got.StatusCode != http.StatusSeeOther {
		t.Errorf("with a stranger's answer: status %d", got.StatusCode)
	}
	if lines := s.Log.With("did not reach Callback"); len(lines) != 1 || !strings.Contains(lines[0], "path=/auth/callback") {
		t.Errorf("log lines %q", lines)
	}
}

// A marker that somebody has planted stops one page load, not all.
func TestPlantedMarkerIsCleared(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t)
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	_, cookie := testsite.AdaSession(t, s)
	u, _ := url.Parse(s.URL)
	b.Jar.SetCookies(u, []*http.Cookie{{Name: cookie.Name + "-ok", Value: "1", Path: "/", Secure: true}})
	s.WantPage(t, b.Get("/"), 400, "loop", "no session came back")
	if got := b.Get("/"); got.Text != testsite.HelloAda {
		t.Errorf("the second time: status %d, page %q", got.StatusCode, got.Text)
	}
}

func BenchmarkHostileRequests(b *testing.B) {
	s, err := msauth.New(testsite.LeastConfig())
	if err != nil {
		b.Fatal(err)
	}
	handler := s.Load(http.HandlerFunc(testsite.Hello))
	for what, r := range hostileRequests("__Host-msauth-AAAAAA") {
		if len(r.Header["Cookie"]) == 0 {
			continue
		}
		b.Run(what, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				handler.ServeHTTP(httptest.NewRecorder(), r)
			}
		})
	}
}
