package msauthtest_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/msauth/msauthtest"
)

// tryRenewal sends a renewal that may fail in any way.
func (a *app) tryRenewal(rep *reply) (*http.Response, string, error) {
	res, err := a.browser.PostForm(a.endpoint("oauth2/v2.0/token"), a.refreshForm(rep.RefreshToken))
	if err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res, string(b), err
}

func TestFailures(t *testing.T) {
	t.Parallel()
	ms := newServer(t)
	a := newApp(t, ms)
	rep := a.signIn(msauthtest.Ada)
	const kind = msauthtest.TokenRefresh
	fail := func(f ...msauthtest.Failure) { ms.Set(func(b *msauthtest.Behavior) { b.Fail[kind] = f }) }
	do := func() (*http.Response, string, error) { return a.tryRenewal(rep) }

	fail(msauthtest.Failure{Status: 429, Header: http.Header{"Retry-After": {"-7"}}}, msauthtest.Failure{}, msauthtest.Failure{Body: "<html>"})
	if res, _, err := do(); err != nil || res.StatusCode != 429 || res.Header.Get("Retry-After") != "-7" {
		t.Errorf("429: %v %v", res, err)
	}
	if res, _, err := do(); err != nil || res.StatusCode != 200 {
		t.Errorf("the zero Failure: %v %v", res, err)
	}
	if res, text, err := do(); err != nil || res.StatusCode != 200 || text != "<html>" {
		t.Errorf("body: %v %s %v", res, text, err)
	}
	if res, _, err := do(); err != nil || res.StatusCode != 200 {
		t.Errorf("after the last failure: %v %v", res, err)
	}

	fail(msauthtest.Failure{Error: "temporarily_unavailable"}, msauthtest.Failure{Error: "invalid_client"}, msauthtest.Failure{Error: "invalid_grant", Suberror: "token_expired", Codes: []int{700082, 1}, Claims: "{}"})
	wantCode(t, a.renew(rep), 503, "temporarily_unavailable", 90033)
	wantCode(t, a.renew(rep), 401, "invalid_client", 7000215)
	if got := a.renew(rep); got.Suberror != "token_expired" || len(got.Codes) != 2 || got.Claims != "{}" || !strings.HasPrefix(got.Description, "AADSTS700082: ") {
		t.Errorf("%+v", got)
	}
}

// Failures that send no reply, or half of one.
func TestBrokenReplies(t *testing.T) {
	t.Parallel()
	ms := newServer(t)
	a := newApp(t, ms)
	rep := a.signIn(msauthtest.Ada)
	const kind = msauthtest.TokenRefresh
	fail := func(f ...msauthtest.Failure) { ms.Set(func(b *msauthtest.Behavior) { b.Fail[kind] = f }) }
	do := func() (*http.Response, string, error) { return a.tryRenewal(rep) }

	fail(msauthtest.Failure{Close: true})
	if _, _, err := do(); err == nil {
		t.Error("Close: an answer")
	}

	// The work is done although the reply is lost: with strict rotation the
	// token is spent.
	ms.Set(func(b *msauthtest.Behavior) { b.Rotation = msauthtest.RotateStrict })
	fail(msauthtest.Failure{LoseReply: true})
	if _, _, err := do(); err == nil {
		t.Error("LoseReply: an answer")
	}
	wantCode(t, a.renew(rep), 400, "invalid_grant", 50173)
	ms.Set(func(b *msauthtest.Behavior) { b.Rotation = "" })
	rep = a.signIn(msauthtest.Ada)

	fail(msauthtest.Failure{Hang: true})
	a.browser.Timeout = 50 * time.Millisecond
	if _, _, err := do(); err == nil {
		t.Error("Hang: an answer")
	}
	ms.Set(func(b *msauthtest.Behavior) { b.Delay[kind] = time.Hour })
	if _, _, err := do(); err == nil {
		t.Error("Delay: an answer")
	}
	a.browser.Timeout = 0
	ms.Set(func(b *msauthtest.Behavior) {
		b.Delay = nil
		b.FailAlways[kind] = msauthtest.Failure{Handler: func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(299)
			io.WriteString(w, "dripping")
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}}
	})
	for range 2 {
		if res, text, err := do(); !errors.Is(err, io.ErrUnexpectedEOF) || res.StatusCode != 299 || text != "dripping" {
			t.Errorf("Handler: %q %v", text, err)
		}
	}
	calls := ms.Calls(kind)
	if got := calls[len(calls)-1].Status; got != 299 {
		t.Errorf("Call.Status = %d", got)
	}
}

// Failures of endpoints other than the token endpoint.
func TestFailuresByKind(t *testing.T) {
	t.Parallel()
	ms := newServer(t)
	a := newApp(t, ms)
	ms.Set(func(b *msauthtest.Behavior) {
		b.FailAlways = map[msauthtest.Kind]msauthtest.Failure{
			msauthtest.Discovery: {},
			msauthtest.Keys:      {Status: 502},
			msauthtest.Graph:     {Status: 429},
		}
		b.Fail[msauthtest.Discovery] = []msauthtest.Failure{{Error: "server_error"}}
	})
	discovery := a.endpoint("v2.0/.well-known/openid-configuration")
	if res, text := a.get(discovery); res.StatusCode != 500 || !strings.Contains(text, "server_error") {
		t.Errorf("discovery: %d %s", res.StatusCode, text)
	}
	if res, _ := a.get(discovery); res.StatusCode != 200 {
		t.Errorf("discovery: %d", res.StatusCode)
	}
	if res, _ := a.get(a.endpoint("discovery/v2.0/keys")); res.StatusCode != 502 {
		t.Errorf("keys: %d", res.StatusCode)
	}
	if res, text := a.get(ms.URL + "/v1.0/me"); res.StatusCode != 429 || !strings.Contains(text, `"code":"TooManyRequests"`) {
		t.Errorf("graph: %d %s", res.StatusCode, text)
	}
}

// Close ends requests that hang.
func TestCloseWhileHanging(t *testing.T) {
	t.Parallel()
	ms := msauthtest.NewServer()
	ms.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.Discovery] = msauthtest.Failure{Hang: true} })
	a := newApp(t, ms)
	done := make(chan error)
	go func() {
		_, err := a.browser.Get(a.endpoint("v2.0/.well-known/openid-configuration"))
		done <- err
	}()
	for ms.Count(msauthtest.Discovery) == 0 {
		time.Sleep(time.Millisecond)
	}
	ms.Close()
	ms.Close()
	if err := <-done; err == nil {
		t.Error("an answer")
	}
}
