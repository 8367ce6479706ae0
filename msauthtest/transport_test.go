package msauthtest_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth/msauthtest"
)

// The clock of a bubble moves the server's clock.
func TestTransportInBubble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ms := msauthtest.New("http://localhost:9000")
		defer ms.Close()
		a := newApp(t, ms)
		a.newBrowser(ms.Transport())
		rep := a.signIn(msauthtest.Ada)
		code := a.pick(msauthtest.Ada).Get("code")
		me := ms.URL + "/v1.0/me"
		if res, _ := a.graph(me, rep.AccessToken); res.StatusCode != 200 {
			t.Fatalf("me: %d", res.StatusCode)
		}
		time.Sleep(90 * time.Minute)
		if res, _ := a.graph(me, rep.AccessToken); res.StatusCode != 401 {
			t.Errorf("me with an expired token: %d", res.StatusCode)
		}
		wantCode(t, a.mustToken(a.codeForm(code)), 400, "invalid_grant", 70008)
		rep = a.renew(rep)
		a.claims(rep.IDToken)

		// The client's timeout ends requests without an answer.
		ms.Set(func(b *msauthtest.Behavior) { b.Delay[msauthtest.TokenRefresh] = time.Second })
		start := time.Now()
		rep = a.renew(rep)
		if took := time.Since(start); took != time.Second || rep.Status != 200 {
			t.Errorf("delayed renewal: %v, %d", took, rep.Status)
		}
		ms.Set(func(b *msauthtest.Behavior) {
			b.Delay = nil
			b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Hang: true}
		})
		a.browser.Timeout = 30 * time.Second
		start = time.Now()
		_, err := a.token(a.refreshForm(rep.RefreshToken))
		if took := time.Since(start); took != 30*time.Second || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("hanging renewal: %v, %v", took, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		req, _ := http.NewRequestWithContext(ctx, "POST", a.endpoint("oauth2/v2.0/token"), strings.NewReader(a.refreshForm(rep.RefreshToken).Encode()))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if _, err := ms.Transport().RoundTrip(req); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled renewal: %v", err)
		}
		ms.Set(func(b *msauthtest.Behavior) { b.FailAlways = nil })
		time.Sleep(91 * 24 * time.Hour)
		wantCode(t, a.renew(rep), 400, "invalid_grant", 700082)
	})
}

func TestTransport(t *testing.T) {
	t.Parallel()
	ms := msauthtest.New("http://localhost:9000/")
	a := newApp(t, ms)
	a.newBrowser(ms.Transport())
	if res, text := a.get(ms.URL + "/"); res.StatusCode != 200 || !strings.Contains(text, "http://localhost:9000/v1.0") {
		t.Errorf("welcome page: %d %s", res.StatusCode, text)
	}
	if _, err := a.browser.Get("http://localhost:9001/"); err == nil || !strings.Contains(err.Error(), "no such host") {
		t.Errorf("another port: %v", err)
	}
	res, err := a.browser.Head(ms.URL + "/")
	if err != nil || body(t, res) != "" {
		t.Errorf("HEAD: %v", err)
	}
	ms.Set(func(b *msauthtest.Behavior) {
		b.FailAlways[msauthtest.Other] = msauthtest.Failure{Handler: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "10")
			io.WriteString(w, "short")
		}}
	})
	if res, err := a.browser.Get(ms.URL + "/"); err != nil {
		t.Error(err)
	} else if text, err := io.ReadAll(res.Body); string(text) != "short" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("shorter than its Content-Length: %q, %v", text, err)
	}
	ms.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.Other] = msauthtest.Failure{Close: true} })
	if _, err := a.browser.Get(ms.URL + "/"); err == nil || !strings.Contains(err.Error(), "connection cut") {
		t.Errorf("cut: %v", err)
	}
	ms.Close()
	if _, err := a.browser.Get(ms.URL + "/"); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("closed: %v", err)
	}
}

func TestLoopbackOnly(t *testing.T) {
	t.Parallel()
	ms := msauthtest.New("http://localhost:9000")
	for host, want := range map[string]int{
		"localhost:9000": 200, "LOCALHOST": 200, "login.localhost:9000": 200, "127.0.0.1": 200, "127.8.9.1:80": 200, "[::1]:9000": 200,
		"login.example.com": 403, "localhost.example.com": 403, "notlocalhost": 403, "10.0.0.1:9000": 403, "[2001:db8::1]": 403, "": 403, "::1]": 403,
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Host = host
		w := httptest.NewRecorder()
		ms.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%q: %d, want %d", host, w.Code, want)
		}
	}
	for _, origin := range []string{"", "localhost", "https://login.microsoftonline.com", "http://localhost/path", "ftp://localhost", "http://10.0.0.1"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("New(%q) did not panic", origin)
				}
			}()
			msauthtest.New(origin)
		}()
	}
}

// Odd requests get an answer, not a panic.
func TestOddRequests(t *testing.T) {
	t.Parallel()
	ms := msauthtest.New("http://localhost:9000")
	for _, method := range []string{"GET", "POST", "PUT", "OPTIONS", "HEAD"} {
		for _, target := range []string{
			"/", "//", "/common", "/common/", "/common/oauth2/v2.0/authorize?%zz", "/common/oauth2/v2.0/authorize?client_id=" + ms.ClientID,
			"/common/oauth2/v2.0/token", "/common/oauth2/v2.0/logout?logout_hint=x&post_logout_redirect_uri=%00", "/common/signin", "/x/signin",
			"/generic/oauth2/v2.0/authorize", "/v1.0", "/v1.0/", "/v1.0/me/drive/items/", "/v1.0/me/drive/root:", "/download/", "/download/a/b/c?tempauth=v1.",
			"/error", "/error?code=50058", "/error?code=x", "/%2e%2e/v2.0/.well-known/openid-configuration",
		} {
			r := httptest.NewRequest(method, "http://localhost:9000"+target, strings.NewReader("grant_type=refresh_token&request=%25"))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("Cookie", "msauthtest=x; =; ;")
			w := httptest.NewRecorder()
			ms.ServeHTTP(w, r)
			if w.Code >= 500 {
				t.Errorf("%s %s: %d %s", method, target, w.Code, w.Body)
			}
		}
	}
}

// All methods may be called while requests are being served.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	ms := newServer(t)
	ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Ada })
	done := make(chan struct{})
	for range 4 {
		go func() {
			defer func() { done <- struct{}{} }()
			a := newApp(t, ms)
			for range 5 {
				res, _ := a.authorize()
				rep, err := a.token(a.codeForm(a.answer(res).Get("code")))
				if err != nil || rep.Status != 200 {
					t.Errorf("sign-in: %+v %v", rep, err)
					return
				}
				if _, err := a.token(a.refreshForm(rep.RefreshToken)); err != nil {
					t.Error(err)
				}
				a.graph(ms.URL+"/v1.0/me/drive/root/children", rep.AccessToken)
				a.get(a.endpoint("discovery/v2.0/keys"))
			}
		}()
	}
	for left := 4; left > 0; {
		select {
		case <-done:
			left--
		case <-time.After(time.Millisecond):
			ms.Set(func(b *msauthtest.Behavior) {
				b.Delay[msauthtest.TokenRefresh] = time.Millisecond
				b.Fail[msauthtest.Keys] = []msauthtest.Failure{{Status: 500}, {}}
			})
			ms.SetUser(msauthtest.User{SignInName: "new@contoso.example", Name: "New"})
			ms.Revoke(msauthtest.Bruno)
			ms.Users()
			ms.Secrets()
			for _, c := range ms.Calls(msauthtest.TokenCode) {
				_ = c.Status
			}
			ms.Count(msauthtest.Graph)
			ms.ResetCalls()
		}
	}
}

// Not parallel: it counts goroutines.
func TestNoGoroutineIsLeft(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 5 {
		ms := msauthtest.NewServer()
		ms.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.Keys] = msauthtest.Failure{Hang: true} })
		tr := &http.Transport{}
		client := &http.Client{Transport: tr}
		if res, err := client.Get(ms.URL + "/"); err != nil {
			t.Fatal(err)
		} else {
			body(t, res)
		}
		client.Timeout = 10 * time.Millisecond
		if _, err := client.Get(ms.URL + "/common/discovery/v2.0/keys"); err == nil {
			t.Error("an answer")
		}
		ms.Close()
		tr.CloseIdleConnections()
	}
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines before, %d after", before, runtime.NumGoroutine())
		}
	}
}
