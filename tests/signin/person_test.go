package signin_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

func TestAnotherPersonReplacesTheSession(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	old, token := b.Session(), b.Get("/?token").Text
	s.As(msauthtest.Bruno)
	if got := b.Get("/auth/login?prompt=select_account&return_to=/page"); got.Text != testsite.HelloBruno || got.Request.URL.Path != "/page" {
		t.Fatalf("page %q at %s, want %q at /page", got.Text, got.Request.URL, testsite.HelloBruno)
	}
	if got := b.Get("/?token").Text; got == token || len(got) < 100 {
		t.Errorf("the token of the person before is still in use: %.20q", got)
	}
	thief := s.Browser(t)
	for _, c := range old {
		thief.Keep(c.Name, c.Value)
	}
	thief.WantGreeting(testsite.HelloNobody)
	if got := len(s.Log.With("reason=ended")); got != 1 {
		t.Errorf("%d lines about the session that was replaced, want 1", got)
	}
	thief.Keep("unrelated", "x")
	s.MS.ResetCalls()
	if res := thief.Still().Get("/"); res.StatusCode != 303 {
		t.Errorf("status %d for the replaced session, want 303", res.StatusCode)
	}
}

func TestSessionsOfTheSamePersonAreDistinct(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	planted := b.Session()[0]
	other := s.Browser(t)
	other.Keep(planted.Name, planted.Value) // fixation: an attacker's own session
	s.As(msauthtest.Bruno)
	other.Get("/auth/login")
	other.WantGreeting(testsite.HelloBruno)
	if other.Session()[0].Value == planted.Value {
		t.Error("sign-in goes on with the cookie that was there")
	}
	// The planted session was replaced in that browser, and is over.
	b.WantGreeting(testsite.HelloNobody)
}

func TestOnSignIn(t *testing.T) {
	t.Parallel()
	type hook = func(w http.ResponseWriter, r *http.Request, in *msauth.SignIn) error
	var caught *msauth.Session
	tests := []struct {
		name   string
		hook   hook
		status int
		kind   string // of the page; "" for signed in
		want   string // reason, or where it leads
	}{
		{"admits", func(http.ResponseWriter, *http.Request, *msauth.SignIn) error { return nil }, 200, "", "/page"},
		{"leads elsewhere", func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
			in.ReturnTo = "/welcome?from=" + in.ReturnTo[1:]
			return nil
		}, 200, "", "/welcome?from=page"},
		{"leads to another site", func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
			in.ReturnTo = "https://evil.example/"
			return nil
		}, 200, "", "/"},
		{"leads to our own route", func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
			in.ReturnTo = "/auth/logout"
			return nil
		}, 200, "", "/"},
		{"uses the session", func(_ http.ResponseWriter, r *http.Request, in *msauth.SignIn) error {
			token, err := in.Session.Token(r.Context())
			if err != nil || token.AccessToken == "" || token.RefreshToken != "" || in.Session.User.Key() == "" {
				return fmt.Errorf("no token: %w", err)
			}
			caught = in.Session
			return nil
		}, 200, "", "/page"},
		{"replaces the session", func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
			in.Session = nil
			return nil
		}, 200, "", "/page"},
		{"keeps much", func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
			in.AppData = strings.Repeat("d", 512)
			return nil
		}, 200, "", "/page"},
		{"keeps too much", func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
			in.AppData = strings.Repeat("d", 513)
			return nil
		}, 500, "app-error", "AppData has 513 bytes"},
		{"refuses", func(http.ResponseWriter, *http.Request, *msauth.SignIn) error {
			return errors.New("<i>zebra</i>")
		}, 403, "not-allowed", "zebra"},
		{"panics", func(http.ResponseWriter, *http.Request, *msauth.SignIn) error { panic("a zebra") }, 500, "app-error", "OnSignIn panicked: a zebra"},
		{"panics with an error", func(http.ResponseWriter, *http.Request, *msauth.SignIn) error { panic(errors.New("zebra map")) }, 500, "app-error", "OnSignIn panicked: zebra map"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := testsite.NewInProcess(t, func(c *msauth.Config) {
				c.OnSignIn = func(w http.ResponseWriter, r *http.Request, in *msauth.SignIn) error {
					http.SetCookie(w, &http.Cookie{Name: "own", Value: "x", Path: "/"})
					return test.hook(w, r, in)
				}
			})
			s.As(msauthtest.Ada)
			b := s.Browser(t)
			res := b.Get("/page")
			if test.kind == "" {
				if res.Text != testsite.HelloAda || res.Request.URL.RequestURI() != test.want {
					t.Errorf("page %q at %s, want %q at %s; log:\n%s", res.Text, res.Request.URL, testsite.HelloAda, test.want, s.Log)
				}
			} else {
				b.WantRefused(res, test.status, test.kind, test.want)
				b.WantGreeting(testsite.HelloNobody)
				if strings.Contains(res.Text, "zebra") {
					t.Error("the page shows the app's error")
				}
			}
			if !slices.ContainsFunc(b.Cookies(), func(c *http.Cookie) bool { return c.Name == "own" }) {
				t.Error("the cookie of the hook's own is missing")
			}
			s.WantCalls(t, msauthtest.TokenCode, 1)
		})
	}
	t.Cleanup(func() {
		if caught == nil || caught.User.Name != "Ada Lindqvist" {
			t.Errorf("OnSignIn saw %v", caught)
		}
	})
}
