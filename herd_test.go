package msauth_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// An office is a site without a network: its handler and its provider are
// called in process, so that it can live in a testing/synctest bubble and serve
// a hundred thousand requests.
type office struct {
	t       *testing.T
	ms      *msauthtest.Server
	cfg     msauth.Config
	auth    *msauth.Middleware
	handler http.Handler
	log     *logBuffer
	people  atomic.Int32
}

const officeURL = "https://app.test"

// newOffice makes one whose people are all Ada. Its pages are those of newSite.
func newOffice(t *testing.T, changes ...func(*msauth.Config)) *office {
	t.Helper()
	o := &office{t: t, ms: msauthtest.New("http://localhost:9"), log: &logBuffer{}}
	o.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Ada })
	o.cfg = msauth.Config{
		ClientID: o.ms.ClientID, ClientSecret: o.ms.ClientSecret, Authority: o.ms.URL,
		BaseURL:    officeURL + "/auth",
		Keys:       [][]byte{newKey()},
		HTTPClient: &http.Client{Transport: o.ms.Transport()},
		Logger:     slog.New(slog.NewTextHandler(o.log, nil)),
	}
	for _, change := range changes {
		change(&o.cfg)
	}
	o.auth, o.handler = o.open()
	return o
}

// open starts one more process of the same app, with a memory of its own.
func (o *office) open() (*msauth.Middleware, http.Handler) {
	o.t.Helper()
	auth, err := msauth.New(o.cfg)
	if err != nil {
		o.t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/auth/", auth)
	mux.Handle("/public/", auth.Load(http.HandlerFunc(hello)))
	mux.Handle("/", auth.Require(http.HandlerFunc(hello)))
	return auth, mux
}

// A visitor is a browser of an office: its cookies, and how it asks.
type visitor struct {
	office  *office
	handler http.Handler
	jar     map[string]string
}

// An answer is what a visitor got.
type answer struct {
	status int
	header http.Header
	body   string
}

func (o *office) visitor() *visitor {
	return &visitor{office: o, handler: o.handler, jar: map[string]string{}}
}

// signIn makes a visitor who is signed in, with the tokens that the provider
// gives at this moment.
// signInNew signs in somebody whom the provider has not seen before, of Ada's
// name and tenant.
func (o *office) signInNew() *visitor {
	o.t.Helper()
	name := fmt.Sprintf("ada%d@contoso.example", o.people.Add(1))
	o.ms.SetUser(msauthtest.User{SignInName: name, Name: "Ada Lindqvist", TenantID: msauthtest.TenantContoso})
	before := ""
	o.ms.Set(func(b *msauthtest.Behavior) { before, b.AutoSignIn = b.AutoSignIn, name })
	defer o.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = before })
	return o.signIn()
}

func (o *office) signIn() *visitor {
	o.t.Helper()
	v := o.visitor()
	to := v.get("/")
	if to.status != http.StatusSeeOther {
		o.t.Fatalf("status %d in place of a redirect; log:\n%s", to.status, o.log)
	}
	req, err := http.NewRequest(http.MethodGet, to.header.Get("Location"), nil)
	if err != nil {
		o.t.Fatal(err)
	}
	back, err := o.ms.Transport().RoundTrip(req)
	if err != nil {
		o.t.Fatal(err)
	}
	callback := strings.TrimPrefix(back.Header.Get("Location"), officeURL)
	if got := v.get(callback); got.status != http.StatusSeeOther {
		o.t.Fatalf("callback: status %d; log:\n%s", got.status, o.log)
	}
	v.get("/public/") // the first page forgets that a sign-in has just been
	return v
}

// copy is a visitor with the cookies of this moment.
func (v *visitor) copy() *visitor {
	c := *v
	c.jar = map[string]string{}
	for name, value := range v.jar {
		c.jar[name] = value
	}
	return &c
}

// get is a navigation, fetch the request of a script.
func (v *visitor) get(target string, header ...string) answer {
	return v.do(http.MethodGet, target, append([]string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Accept", "text/html"}, header...)...)
}

func (v *visitor) fetch(target string, header ...string) answer {
	return v.do(http.MethodGet, target, append([]string{"Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Accept", "application/json"}, header...)...)
}

func (v *visitor) do(method, target string, header ...string) answer {
	return v.doContext(context.Background(), method, target, header...)
}

func (v *visitor) doContext(ctx context.Context, method, target string, header ...string) answer {
	u, err := url.ParseRequestURI(target)
	if err != nil {
		v.office.t.Errorf("%s: %v", target, err)
		return answer{}
	}
	r := (&http.Request{
		Method: method, URL: u, RequestURI: target, Host: "app.test", Header: http.Header{},
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, RemoteAddr: "192.0.2.1:1", Body: http.NoBody,
	}).WithContext(ctx)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	if len(v.jar) > 0 {
		var line strings.Builder
		for name, value := range v.jar {
			line.WriteString(name + "=" + value + "; ")
		}
		r.Header.Set("Cookie", strings.TrimSuffix(line.String(), "; "))
	}
	w := httptest.NewRecorder()
	w.Body.Grow(64)
	v.handler.ServeHTTP(w, r)
	v.receive(w.Header()["Set-Cookie"])
	return answer{w.Code, w.Header(), w.Body.String()}
}

func (v *visitor) receive(lines []string) {
	for _, line := range lines {
		c, err := http.ParseSetCookie(line)
		switch {
		case err != nil:
			v.office.t.Errorf("Set-Cookie %q: %v", line, err)
		case c.MaxAge < 0:
			delete(v.jar, c.Name)
		default:
			v.jar[c.Name] = c.Value
		}
	}
}

// setsSession tells whether an answer writes a session cookie.
func (a answer) setsSession() bool {
	for _, line := range a.header["Set-Cookie"] {
		if c, err := http.ParseSetCookie(line); err == nil && c.MaxAge >= 0 && len(c.Value) > 100 {
			return true
		}
	}
	return false
}

var officeCookie = regexp.MustCompile(`^__Host-msauth-[A-Za-z0-9]{6}(-[1-9])?$`)

// clearsSession tells whether an answer deletes one.
func (a answer) clearsSession() bool {
	for _, line := range a.header["Set-Cookie"] {
		if c, err := http.ParseSetCookie(line); err == nil && c.MaxAge < 0 && officeCookie.MatchString(c.Name) {
			return true
		}
	}
	return false
}

func (o *office) wantCalls(kind msauthtest.Kind, want int) {
	o.t.Helper()
	if got := o.ms.Count(kind); got != want {
		o.t.Errorf("%d requests of kind %s at the provider, want %d", got, kind, want)
	}
}

const helloEverybody = "hello Ada Lindqvist"

func (v *visitor) wantHello(what string) {
	v.office.t.Helper()
	if got := v.get("/"); got.status != http.StatusOK || got.body != helloEverybody {
		v.office.t.Fatalf("%s: status %d, page %.100q; log:\n%s", what, got.status, got.body, v.office.log)
	}
}

// A herd is many requests at once with one Cookie header.
func herd(t *testing.T, client *http.Client, url, cookies string, n int) (setCookie []string) {
	t.Helper()
	lines := make([]string, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			req, err := http.NewRequest(http.MethodGet, url, nil)
			if err != nil {
				t.Error(err)
				return
			}
			req.Header.Set("Cookie", cookies)
			if i%2 == 0 { // pages and scripts alike
				req.Header.Set("Accept", "text/html")
			}
			res, err := client.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			var body [100]byte
			size, _ := res.Body.Read(body[:])
			if got := string(body[:size]); res.StatusCode != http.StatusOK || got != helloEverybody {
				t.Errorf("request %d: status %d, page %q", i, res.StatusCode, got)
			}
			for _, line := range res.Header["Set-Cookie"] {
				lines[i] = line
			}
		})
	}
	wg.Wait()
	return lines
}

func cookieHeader(cookies []*http.Cookie) string {
	var parts []string
	for _, c := range cookies {
		parts = append(parts, c.Name+"="+c.Value)
	}
	return strings.Join(parts, "; ")
}

func TestHerdAtExpiryMakesOneTokenRequest(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			front := httptest.NewUnstartedServer(s.Config.Handler)
			front.EnableHTTP2 = protocol == "HTTP/2.0"
			front.StartTLS()
			defer front.Close()
			client := front.Client()
			if res, err := client.Get(front.URL + "/public/"); err != nil || res.Proto != protocol {
				t.Fatalf("%v, %v, want %s", res, err, protocol)
			} else {
				res.Body.Close()
			}

			s.ms.Set(func(b *msauthtest.Behavior) {
				b.Rotation = msauthtest.RotateStrict
				b.AccessTokenLifetime = 2 * time.Second
			})
			b := s.browser(t)
			b.signIn(msauthtest.Ada)
			cookies := cookieHeader(b.cookies())
			time.Sleep(2 * time.Second)
			s.ms.Set(func(b *msauthtest.Behavior) {
				b.AccessTokenLifetime = 0
				b.Delay[msauthtest.TokenRefresh] = 1 * time.Second
			})
			s.ms.ResetCalls()

			const n = 200
			first := herd(t, client, front.URL+"/", cookies, n)
			s.wantCalls(t, msauthtest.TokenRefresh, 1)
			for i, line := range first {
				if line == "" {
					t.Fatalf("request %d got no new cookie", i)
				}
			}
			late := herd(t, client, front.URL+"/", cookies, n)
			s.wantCalls(t, msauthtest.TokenRefresh, 1)

			// Whichever answer the browser takes last, it goes on from there.
			for _, line := range []string{first[0], first[n-1], late[n/2]} {
				c, err := http.ParseSetCookie(line)
				if err != nil {
					t.Fatal(err)
				}
				herd(t, client, front.URL+"/", c.Name+"="+c.Value, 2)
			}
			s.wantCalls(t, msauthtest.TokenRefresh, 1)
			s.wantCalls(t, msauthtest.Authorize, 0)
		})
	}
}

func TestRequestWithAnOldCookieIsServedFromMemoryForTwoMinutes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t)
		v := o.signIn()
		old := v.copy()
		time.Sleep(2 * time.Hour)
		v.wantHello("at expiry")
		o.wantCalls(msauthtest.TokenRefresh, 1)
		for range 11 {
			time.Sleep(10 * time.Second)
			late := old.copy()
			if got := late.fetch("/"); got.body != helloEverybody || !got.setsSession() {
				t.Errorf("an old cookie: status %d, new cookie %t", got.status, got.setsSession())
			}
			o.wantCalls(msauthtest.TokenRefresh, 1)
			late.wantHello("with the cookie that the late answer brought")
			o.wantCalls(msauthtest.TokenRefresh, 1)
		}
		time.Sleep(20 * time.Second)
		old.wantHello("when all is forgotten") // Microsoft keeps old refresh tokens
		o.wantCalls(msauthtest.TokenRefresh, 2)
	})
}

// A tab that slept through several renewals has a refresh token that a strict
// provider would take for stolen.
func TestCookieFromSeveralRenewalsAgoLeadsToTheNewestToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t)
		o.ms.Set(func(b *msauthtest.Behavior) {
			b.Rotation = msauthtest.RotateStrict
			b.AccessTokenLifetime = 20 * time.Second
		})
		v := o.signIn()
		old := v.copy()
		for i := range 5 {
			time.Sleep(20 * time.Second)
			v.wantHello("in use")
			o.wantCalls(msauthtest.TokenRefresh, i+1)
		}
		old.wantHello("from five renewals ago")
		o.wantCalls(msauthtest.TokenRefresh, 5)
		time.Sleep(20 * time.Second)
		old.wantHello("at the next renewal")
		v.wantHello("at the next renewal, the other tab")
		o.wantCalls(msauthtest.TokenRefresh, 6)
	})
}

func TestBrowserThatGoesAwayDoesNotEndTheRenewal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t)
		o.ms.Set(func(b *msauthtest.Behavior) {
			b.Rotation = msauthtest.RotateStrict
			b.Delay[msauthtest.TokenRefresh] = 3 * time.Second
		})
		v := o.signIn()
		time.Sleep(2 * time.Hour)
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(time.Second, cancel)
		began := time.Now()
		v.copy().doContext(ctx, http.MethodGet, "/", "Accept", "text/html")
		if took := time.Since(began); took > 1100*time.Millisecond {
			t.Errorf("a request whose client left after 1s was held for %v", took)
		}
		v.wantHello("the request that stayed")
		o.wantCalls(msauthtest.TokenRefresh, 1)
		if call := o.ms.Calls(msauthtest.TokenRefresh)[0]; call.Status != http.StatusOK {
			t.Errorf("the token request ended with status %d, want 200", call.Status)
		}
	})
}

// While the token is good for a while yet, nobody waits long for a new one.
func TestSlowProviderBeforeExpiryHoldsARequestForOneSecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t)
		o.ms.Set(func(b *msauthtest.Behavior) {
			b.Rotation = msauthtest.RotateStrict
			b.AccessTokenLifetime = time.Hour
			b.RefreshIn = 30 * time.Minute
			b.Delay[msauthtest.TokenRefresh] = 10 * time.Second
		})
		v := o.signIn()
		time.Sleep(31 * time.Minute)
		for i, want := range []time.Duration{time.Second, time.Second, time.Second} {
			began := time.Now()
			got := v.get("/?token")
			if took := time.Since(began); got.status != http.StatusOK || took != want {
				t.Errorf("request %d: status %d after %v, want 200 after %v", i, got.status, took, want)
			}
		}
		o.wantCalls(msauthtest.TokenRefresh, 1)
		time.Sleep(8 * time.Second)
		began := time.Now()
		if got := v.get("/"); !got.setsSession() || time.Since(began) > 0 {
			t.Errorf("the next request got no new cookie, or waited %v", time.Since(began))
		}
		o.wantCalls(msauthtest.TokenRefresh, 1)
	})
}

func TestEveryWayOfRotatingRefreshTokensIsRenewedOncePerLife(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		set  func(*msauthtest.Behavior)
	}{
		{"old ones stay valid", func(b *msauthtest.Behavior) {}},
		{"each is good for one use", func(b *msauthtest.Behavior) { b.Rotation = msauthtest.RotateStrict }},
		{"always the same one", func(b *msauthtest.Behavior) { b.Rotation = msauthtest.RotateSame }},
		{"none in the reply", func(b *msauthtest.Behavior) { b.OmitRefreshToken = true }},
		{"no ID token in the reply", func(b *msauthtest.Behavior) { b.OmitIDTokenOnRefresh = true }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				o := newOffice(t)
				o.ms.Set(func(b *msauthtest.Behavior) { c.set(b); b.AccessTokenLifetime = time.Hour })
				v := o.signIn()
				seen := map[string]bool{v.get("/?token").body: true}
				for i := range 4 {
					time.Sleep(time.Hour)
					for range 10 {
						got := v.get("/?token")
						if got.status != http.StatusOK {
							t.Fatalf("status %d: %s", got.status, got.body)
						}
						seen[got.body] = true
					}
					o.wantCalls(msauthtest.TokenRefresh, i+1)
				}
				if len(seen) != 5 {
					t.Errorf("%d access tokens in five lives, want 5", len(seen))
				}
				v.wantHello("at the end")
			})
		})
	}
}

// A session whose access token did not fit its cookie keeps that token in
// memory: a renewal that fails must not lose it.
func TestTokenThatDidNotFitTheCookieOutlivesAFailedRenewal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, func(c *msauth.Config) { c.CookieBudget = 2600 })
		o.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime, b.RefreshIn = time.Hour, 30*time.Minute })
		v := o.signIn()
		token := v.get("/?token")
		if token.status != http.StatusOK || !strings.Contains(o.log.String(), "access token") {
			t.Fatalf("status %d; was the token left out? log:\n%s", token.status, o.log)
		}
		o.wantCalls(msauthtest.TokenRefresh, 0)
		o.ms.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Status: 503} })
		time.Sleep(31 * time.Minute)
		for range 20 {
			got := v.get("/?token")
			if got.status != http.StatusOK || got.body != token.body {
				t.Fatalf("after a failed renewal: status %d, the same token: %t", got.status, got.body == token.body)
			}
			if got.setsSession() {
				t.Fatal("a cookie is written though nothing changed")
			}
		}
		o.wantCalls(msauthtest.TokenRefresh, 1)
	})
}

// The app's own transport may panic: that is a failure like any other.
func TestPanicOfTheTransportIsAFailureThatIsRemembered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var base http.RoundTripper
		calls := 0
		o := newOffice(t, func(c *msauth.Config) {
			base = c.HTTPClient.Transport
			c.HTTPClient = &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
				if r.Method == http.MethodPost && time.Now().Year() > 2000 {
					calls++
					panic("boom")
				}
				return base.RoundTrip(r)
			})}
			c.MaxAge, c.IdleTimeout = 400*24*time.Hour, 400*24*time.Hour
		})
		v := o.signIn()
		time.Sleep(366 * 24 * time.Hour)
		for range 20 {
			v.wantHello("while the transport panics")
		}
		if calls != 1 {
			t.Errorf("%d token requests, want 1", calls)
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
