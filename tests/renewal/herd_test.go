package renewal_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

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
			if got := string(body[:size]); res.StatusCode != http.StatusOK || got != testsite.HelloAda {
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

func TestHerdAtExpiryMakesOneTokenRequest(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		protocol string
		at       testsite.Service
	}{
		{"HTTP/1.1", testsite.Services[0]},
		{"HTTP/2.0", testsite.Services[0]},
		{"HTTP/2.0", testsite.Services[1]}, // which protocol brings people does not matter to the service
	} {
		t.Run(c.protocol+" at "+c.at.Name, func(t *testing.T) { // one herd at a time
			s := testsite.New(t, c.at.Change)
			front := httptest.NewUnstartedServer(s.Config.Handler)
			front.EnableHTTP2 = c.protocol == "HTTP/2.0"
			front.StartTLS()
			defer front.Close()
			client := front.Client()
			if res, err := client.Get(front.URL + "/public/"); err != nil || res.Proto != c.protocol {
				t.Fatalf("%v, %v, want %s", res, err, c.protocol)
			} else {
				res.Body.Close()
			}

			s.MS.Set(func(b *msauthtest.Behavior) {
				b.Rotation = msauthtest.RotateStrict
				b.AccessTokenLifetime = 2 * time.Second
			})
			b := s.Browser(t)
			b.SignIn(msauthtest.Ada)
			cookies := testsite.HeaderOf(b.Cookies()...)
			time.Sleep(2 * time.Second)
			s.MS.Set(func(b *msauthtest.Behavior) {
				b.AccessTokenLifetime = 0
				b.Delay[msauthtest.TokenRefresh] = 1 * time.Second
			})
			s.MS.ResetCalls()

			const n = 200
			first := herd(t, client, front.URL+"/", cookies, n)
			s.WantCalls(t, msauthtest.TokenRefresh, 1)
			for i, line := range first {
				if line == "" {
					t.Fatalf("request %d got no new cookie", i)
				}
			}
			late := herd(t, client, front.URL+"/", cookies, n)
			s.WantCalls(t, msauthtest.TokenRefresh, 1)

			// Whichever answer the browser takes last, it goes on from there.
			for _, line := range []string{first[0], first[n-1], late[n/2]} {
				cookie, err := http.ParseSetCookie(line)
				if err != nil {
					t.Fatal(err)
				}
				herd(t, client, front.URL+"/", cookie.Name+"="+cookie.Value, 2)
			}
			s.WantCalls(t, msauthtest.TokenRefresh, 1)
			s.WantCalls(t, msauthtest.Authorize, 0)
		})
	}
}

func TestRequestWithAnOldCookieIsServedFromMemoryForTwoMinutes(t *testing.T) {
	t.Parallel()
	testsite.AtEach(t, func(t *testing.T, at testsite.Service) {
		o := testsite.NewOffice(t, at.Change)
		v := o.SignIn()
		old := v.Copy()
		time.Sleep(2 * time.Hour)
		v.WantHello("at expiry")
		o.WantCalls(msauthtest.TokenRefresh, 1)
		for range 11 {
			time.Sleep(10 * time.Second)
			late := old.Copy()
			if got := late.Fetch("/"); got.Body != testsite.HelloAda || !got.SetsSession() {
				t.Errorf("an old cookie: status %d, new cookie %t", got.Status, got.SetsSession())
			}
			o.WantCalls(msauthtest.TokenRefresh, 1)
			late.WantHello("with the cookie that the late answer brought")
			o.WantCalls(msauthtest.TokenRefresh, 1)
		}
		time.Sleep(20 * time.Second)
		old.WantHello("when all is forgotten") // Microsoft keeps old refresh tokens
		o.WantCalls(msauthtest.TokenRefresh, 2)
	})
}

// A tab that slept through several renewals has a refresh token that a strict
// provider would take for stolen.
func TestCookieFromSeveralRenewalsAgoLeadsToTheNewestToken(t *testing.T) {
	t.Parallel()
	testsite.AtEach(t, func(t *testing.T, at testsite.Service) {
		o := testsite.NewOffice(t, at.Change)
		o.MS.Set(func(b *msauthtest.Behavior) {
			b.Rotation = msauthtest.RotateStrict
			b.AccessTokenLifetime = 20 * time.Second
		})
		v := o.SignIn()
		old := v.Copy()
		for i := range 5 {
			time.Sleep(20 * time.Second)
			v.WantHello("in use")
			o.WantCalls(msauthtest.TokenRefresh, i+1)
		}
		old.WantHello("from five renewals ago")
		o.WantCalls(msauthtest.TokenRefresh, 5)
		time.Sleep(20 * time.Second)
		old.WantHello("at the next renewal")
		v.WantHello("at the next renewal, the other tab")
		o.WantCalls(msauthtest.TokenRefresh, 6)
	})
}

func TestBrowserThatGoesAwayDoesNotEndTheRenewal(t *testing.T) {
	t.Parallel()
	testsite.AtEach(t, func(t *testing.T, at testsite.Service) {
		o := testsite.NewOffice(t, at.Change)
		o.MS.Set(func(b *msauthtest.Behavior) {
			b.Rotation = msauthtest.RotateStrict
			b.Delay[msauthtest.TokenRefresh] = 3 * time.Second
		})
		v := o.SignIn()
		time.Sleep(2 * time.Hour)
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(time.Second, cancel)
		began := time.Now()
		v.Copy().DoContext(ctx, http.MethodGet, "/", "Accept", "text/html")
		if took := time.Since(began); took > 1100*time.Millisecond {
			t.Errorf("a request whose client left after 1s was held for %v", took)
		}
		v.WantHello("the request that stayed")
		o.WantCalls(msauthtest.TokenRefresh, 1)
		if call := o.MS.Calls(msauthtest.TokenRefresh)[0]; call.Status != http.StatusOK {
			t.Errorf("the token request ended with status %d, want 200", call.Status)
		}
	})
}

// While the token is good for a while yet, nobody waits long for a new one.
func TestSlowProviderBeforeExpiryHoldsARequestForOneSecond(t *testing.T) {
	t.Parallel()
	testsite.AtEach(t, func(t *testing.T, at testsite.Service) {
		o := testsite.NewOffice(t, at.Change)
		o.MS.Set(func(b *msauthtest.Behavior) {
			b.Rotation = msauthtest.RotateStrict
			b.AccessTokenLifetime = time.Hour
			b.RefreshIn = 30 * time.Minute
			b.Delay[msauthtest.TokenRefresh] = 10 * time.Second
		})
		v := o.SignIn()
		time.Sleep(31 * time.Minute)
		for i, want := range []time.Duration{time.Second, time.Second, time.Second} {
			began := time.Now()
			got := v.Get("/?token")
			if took := time.Since(began); got.Status != http.StatusOK || took != want {
				t.Errorf("request %d: status %d after %v, want 200 after %v", i, got.Status, took, want)
			}
		}
		o.WantCalls(msauthtest.TokenRefresh, 1)
		time.Sleep(8 * time.Second)
		began := time.Now()
		if got := v.Get("/"); !got.SetsSession() || time.Since(began) > 0 {
			t.Errorf("the next request got no new cookie, or waited %v", time.Since(began))
		}
		o.WantCalls(msauthtest.TokenRefresh, 1)
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
			testsite.AtEach(t, func(t *testing.T, at testsite.Service) {
				o := testsite.NewOffice(t, at.Change)
				o.MS.Set(func(b *msauthtest.Behavior) { c.set(b); b.AccessTokenLifetime = time.Hour })
				v := o.SignIn()
				seen := map[string]bool{v.Get("/?token").Body: true}
				for i := range 4 {
					time.Sleep(time.Hour)
					for range 10 {
						got := v.Get("/?token")
						if got.Status != http.StatusOK {
							t.Fatalf("status %d: %s", got.Status, got.Body)
						}
						seen[got.Body] = true
					}
					o.WantCalls(msauthtest.TokenRefresh, i+1)
				}
				if len(seen) != 5 {
					t.Errorf("%d access tokens in five lives, want 5", len(seen))
				}
				v.WantHello("at the end")
			})
		})
	}
}

// A session whose access token did not fit its cookie keeps that token in
// memory: a renewal that fails must not lose it.
func TestTokenThatDidNotFitTheCookieOutlivesAFailedRenewal(t *testing.T) {
	t.Parallel()
	testsite.AtEach(t, func(t *testing.T, at testsite.Service) {
		o := testsite.NewOffice(t, at.Change, func(c *msauth.Config) {
			if c.CookieBudget = 2600; at.Live() { // its tokens are shorter
				c.CookieBudget = 1400
			}
		})
		o.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime, b.RefreshIn = time.Hour, 30*time.Minute })
		v := o.SignIn()
		token := v.Get("/?token")
		if token.Status != http.StatusOK || !strings.Contains(o.Log.String(), "access token") {
			t.Fatalf("status %d; was the token left out? log:\n%s", token.Status, o.Log)
		}
		o.WantCalls(msauthtest.TokenRefresh, 0)
		o.MS.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Status: 503} })
		time.Sleep(31 * time.Minute)
		for range 20 {
			got := v.Get("/?token")
			if got.Status != http.StatusOK || got.Body != token.Body {
				t.Fatalf("after a failed renewal: status %d, the same token: %t", got.Status, got.Body == token.Body)
			}
			if got.SetsSession() {
				t.Fatal("a cookie is written though nothing changed")
			}
		}
		o.WantCalls(msauthtest.TokenRefresh, 1)
	})
}

// The app's own transport may panic: that is a failure like any other.
func TestPanicOfTheTransportIsAFailureThatIsRemembered(t *testing.T) {
	t.Parallel()
	testsite.AtEach(t, func(t *testing.T, at testsite.Service) {
		var base http.RoundTripper
		calls := 0
		o := testsite.NewOffice(t, at.Change, func(c *msauth.Config) {
			base = c.HTTPClient.Transport
			c.HTTPClient = &http.Client{Transport: testsite.RoundTripper(func(r *http.Request) (*http.Response, error) {
				if r.Method == http.MethodPost && time.Now().Year() > 2000 {
					calls++
					panic("boom")
				}
				return base.RoundTrip(r)
			})}
			c.MaxAge, c.IdleTimeout = 400*24*time.Hour, 400*24*time.Hour
		})
		v := o.SignIn()
		time.Sleep(366 * 24 * time.Hour)
		for range 20 {
			v.WantHello("while the transport panics")
		}
		if calls != 1 {
			t.Errorf("%d token requests, want 1", calls)
		}
	})
}
