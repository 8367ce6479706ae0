//go:build unix

package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/msauth/msauthtest"
	"example.com/msauth/redisshared/redistest"
)

// slowMicrosoft is a Microsoft that takes each refresh token once. It has used it up at
// once, and answers later, if the channel says so.
func slowMicrosoft(t *testing.T) (ms *msauthtest.Server, used <-chan struct{}, answer chan<- struct{}) {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	ms = msauthtest.New("http://" + server.Listener.Addr().String())
	ms.Set(func(b *msauthtest.Behavior) { b.Rotation = msauthtest.RotateStrict })
	uses, answers := make(chan struct{}, 10), make(chan struct{})
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		if form, _ := url.ParseQuery(string(body)); r.Method != http.MethodPost || form.Get("grant_type") != "refresh_token" {
			ms.ServeHTTP(w, r)
			return
		}
		whole := httptest.NewRecorder()
		ms.ServeHTTP(whole, r)
		uses <- struct{}{}
		<-answers
		for name, values := range whole.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(whole.Code)
		_, _ = w.Write(whole.Body.Bytes())
	})
	server.Start()
	t.Cleanup(func() { close(answers); server.Close(); ms.Close() })
	return ms, uses, answers
}

// A server that is told to end in the middle of a renewal waits for the answer, though
// nobody is there any more who has asked for it. If it did not, nobody would have the
// refresh token that followed the one that is used up, and the session would be over at
// its next request. Load balancers get notice before it refuses connections.
func TestRenewalsUnderWayAtTheEnd(t *testing.T) {
	needServers(t)
	t.Parallel()
	const delay, renewal = time.Second, 9 * time.Second
	ms, used, answer := slowMicrosoft(t)
	s := newSiteAt(t, ms, onRedis(redistest.Start(t)), "SHUTDOWN_DELAY="+delay.String())
	ms.Set(func(b *msauthtest.Behavior) { b.ExpiresIn = 2 })
	ada := s.signIn("Ada")
	ms.Set(func(b *msauthtest.Behavior) { b.ExpiresIn = nil })
	time.Sleep(2100 * time.Millisecond)

	// The browser gives up, or its user does.
	first := s.servers[0]
	asked := time.Now()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		client := http.Client{Timeout: time.Second}
		req, _ := http.NewRequest(http.MethodGet, first.url.String()+"/me", nil)
		req.Host = s.proxy.Host
		req.Header.Set("Cookie", ada.cookies())
		if res, err := client.Do(req); err == nil {
			res.Body.Close()
			t.Errorf("the page does not wait for the renewal: status %d", res.StatusCode)
		}
	}()
	<-used
	<-gone

	_ = first.cmd.Process.Signal(syscall.SIGTERM)
	told := time.Now()
	notReady := false
	for time.Since(told) < delay-100*time.Millisecond {
		res, err := http.Get(first.url.String() + "/readyz")
		if err != nil {
			t.Fatalf("%v after SIGTERM: %v", time.Since(told), err)
		}
		res.Body.Close()
		notReady = notReady || res.StatusCode == http.StatusServiceUnavailable
		if got := s.do(first, http.MethodGet, "/", ""); got.status != http.StatusOK {
			t.Errorf("%v after SIGTERM a page has status %d", time.Since(told), got.status)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if !notReady {
		t.Error("/readyz has not said that the server ends")
	}
	select {
	case <-first.ended:
		t.Fatalf("the server has ended %v before the answer:\n%s", time.Until(asked.Add(renewal)), first.log.String())
	case <-time.After(time.Until(asked.Add(renewal))):
	}
	if res, err := http.Get(first.url.String() + "/readyz"); err == nil {
		res.Body.Close()
		t.Error("the server takes connections after the delay")
	}
	answer <- struct{}{}
	answered := time.Now()
	select {
	case <-first.ended:
	case <-time.After(10 * time.Second):
		t.Fatalf("the server does not end:\n%s", first.log.String())
	}
	t.Logf("ended %v after the answer, %v after SIGTERM", time.Since(answered).Round(time.Millisecond), time.Since(told).Round(time.Millisecond))
	if code := first.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("it ends with status %d:\n%s", code, first.log.String())
	}
	first.kill()

	// The cookie is still the one from before the renewal.
	if !first.start() {
		t.Fatalf("the server does not start again:\n%s", first.log.String())
	}
	for i, srv := range s.servers {
		got := s.do(srv, http.MethodGet, "/me", ada.cookies())
		if got.person != "Ada" || len(got.cookies) == 0 {
			t.Errorf("server %d: status %d, %q, %d cookies", i, got.status, got.person, len(got.cookies))
		}
	}
	if n := ms.Count(msauthtest.TokenRefresh); n != 1 {
		t.Errorf("%d renewals, want 1", n)
	}
	if log := first.log.String(); strings.Contains(log, "level=ERROR") {
		t.Errorf("an error in the log:\n%s", log)
	}
}
