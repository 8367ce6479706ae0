package live_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// asForm sends a reply as a form that is called text.
func asForm(w http.ResponseWriter, _ msauthtest.Kind, status int, reply map[string]any) {
	form := url.Values{}
	for name, value := range reply {
		form.Set(name, fmt.Sprint(value))
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprint(w, form.Encode())
}

// asOldJSON sends JSON that is called text, with texts in place of numbers and commas
// in place of spaces.
func asOldJSON(w http.ResponseWriter, _ msauthtest.Kind, status int, reply map[string]any) {
	if reply["expires_in"] != nil {
		reply["expires_in"] = fmt.Sprint(reply["expires_in"])
	}
	if scope, ok := reply["scope"].(string); ok {
		reply["scope"] = strings.ReplaceAll(scope, " ", ",")
	}
	delete(reply, "token_type")
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(reply)
}

// with200 sends errors as successes.
func with200(w http.ResponseWriter, _ msauthtest.Kind, _ int, reply map[string]any) {
	_ = json.NewEncoder(w).Encode(reply)
}

func TestRepliesInAnyForm(t *testing.T) {
	t.Parallel()
	for name, form := range map[string]func(http.ResponseWriter, msauthtest.Kind, int, map[string]any){
		"form": asForm, "old JSON": asOldJSON, "status 200": with200,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
				s.MS.Set(func(b *msauthtest.Behavior) { b.LiveReply = form })
				signIn(t, s, b, msauth.LoginOptions{})
				want(t, b.Get("/drive"), "connected ")
				want(t, b.Get("/skydrive"), "connected ")
				identity(t, b)
				time.Sleep(time.Hour)
				want(t, b.Get("/status"), "connected ")
				s.WantCalls(t, msauthtest.TokenRefresh, 1)
				// The end of the refresh token, in the same form, is the end of the session.
				s.MS.Revoke(msauthtest.Mia)
				time.Sleep(time.Hour)
				want(t, b.Get("/status"), "expired nobody")
				s.WantNoSecrets(t, "the log", s.Log.String())
			})
		})
	}
}

// What is no reply of a token endpoint ends nothing, and lets nobody in.
func TestAnswersThatAreNoReply(t *testing.T) {
	t.Parallel()
	html := func(w http.ResponseWriter, _ msauthtest.Kind, _ int, reply map[string]any) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<!DOCTYPE html><title>Sign in</title><a href="/?x=1&access_token=%v">`, reply["access_token"])
	}
	inBubble(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
		s.MS.Set(func(b *msauthtest.Behavior) { b.LiveReply = html })
		s.As(msauthtest.Mia)
		s.WantPage(t, b.Get("/files"), http.StatusServiceUnavailable, "unavailable", "not JSON")
		want(t, b.Get("/status"), "unknown nobody")

		s.MS.Set(func(b *msauthtest.Behavior) { b.LiveReply = nil })
		signIn(t, s, b, msauth.LoginOptions{})
		s.MS.Set(func(b *msauthtest.Behavior) { b.LiveReply = html })
		time.Sleep(time.Hour)
		want(t, b.Get("/status"), "connected ")
		s.WantCalls(t, msauthtest.TokenRefresh, 1)
		s.WantNoSecrets(t, "the log", s.Log.String())
	})
}

// A sign-in without an authentication token is none: nothing else says who it is.
func TestSignInWithoutAnAuthenticationToken(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.MS.Set(func(b *msauthtest.Behavior) {
		b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) {
			reply["id_token"] = reply["authentication_token"] // nothing by that name counts
			delete(reply, "authentication_token")
		}
	})
	b := s.Browser(t)
	s.As(msauthtest.Mia)
	s.WantPage(t, b.Get("/files"), http.StatusBadGateway, "unavailable", "holds no authentication token, although the scope wl.signin was requested")
	want(t, b.Get("/status"), "unknown nobody")
}

// People may refuse offline access. The session then lasts without renewals.
func TestPeopleWhoRefuseOfflineAccess(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) { delete(reply, "refresh_token") }
		})
		signIn(t, s, b, msauth.LoginOptions{})
		time.Sleep(3 * time.Hour)
		want(t, b.Get("/status"), "connected ")
		if res := b.Get("/?token"); res.StatusCode != http.StatusBadGateway {
			t.Errorf("token: status %d, %q", res.StatusCode, res.Text)
		}
		identity(t, b) // good for a day
		time.Sleep(20 * time.Hour)
		b.Get("/status") // a use of the session, which goes on
		time.Sleep(2 * time.Hour)
		if res := b.Get("/identity"); res.StatusCode != http.StatusBadGateway {
			t.Errorf("authentication token after its end: status %d", res.StatusCode)
		}
		want(t, b.Get("/status"), "connected ")
		s.WantCalls(t, msauthtest.TokenRefresh, 0)
	})
}

// What the Live SDK let pass: an answer that nobody here has asked for, and tokens that
// could not be saved.
func TestFaultsOfTheLiveSDKAreNone(t *testing.T) {
	t.Parallel()
	kept := testsite.NewTokens()
	s := newSite(t, func(c *msauth.Config) { c.Tokens = kept })
	s.As(msauthtest.Mia)
	answer := s.Browser(t).Attempt("/files") // a code and a state, both good, of somebody else's browser
	for name, link := range map[string]string{
		"another browser's": answer,
		"without a state":   regexp.MustCompile(`&?state=[^&]*`).ReplaceAllString(answer, ""),
	} {
		b := s.Browser(t)
		if res := b.Still().Get(link); res.StatusCode != http.StatusBadRequest || len(b.Session()) != 0 {
			t.Errorf("%s: status %d, page %.200q", name, res.StatusCode, res.Text)
		}
		want(t, b.Get("/status"), "unknown nobody")
	}
	s.WantCalls(t, msauthtest.TokenCode, 0)

	kept.Set(func(method string) error {
		if method == "save" {
			return errors.New("out of order")
		}
		return nil
	})
	b := s.Browser(t)
	s.WantPage(t, b.Get("/files"), http.StatusServiceUnavailable, "unavailable", "out of order")
	want(t, b.Get("/status"), "unknown nobody")
	kept.Set(nil)
	want(t, b.Get("/files"), "connected ")
	s.WantNoSecrets(t, "the log", s.Log.String())
}
