package vault_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

func TestConnectAddsAMicrosoftAccountToTheAppsUser(t *testing.T) {
	t.Parallel()
	var seenUser string
	s, kept := testsite.Account(t, func(c *msauth.Config) {
		c.OnSignIn = func(_ http.ResponseWriter, r *http.Request, in *msauth.SignIn) error {
			if in.Connecting {
				token, err := in.Session.Token(r.Context())
				seenUser = fmt.Sprint(in.UserKey, " ", in.Session.User.Name, " ", err == nil && token.AccessToken != "")
			}
			return nil
		}
	})
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	b.Keep("app", "zoe")
	res := b.Connect()
	if res.Request.URL.Path != "/public/settings" || res.Text != testsite.HelloNobody {
		t.Fatalf("page %.200q at %s; log:\n%s", res.Text, res.Request.URL, s.Log)
	}
	if got := s.Asked(t); got.Get("prompt") != "select_account" {
		t.Errorf("asked with prompt %q", got.Get("prompt"))
	}
	if seenUser != "zoe Ada Lindqvist true" || !slices.Equal(kept.Users(), []string{"zoe"}) {
		t.Errorf("OnSignIn saw %q, kept for %q", seenUser, kept.Users())
	}
	if len(b.Session()) != 0 {
		t.Error("the app's user has a session of ours too")
	}
	if session := offline(s, t, "zoe"); session.User.Name != "Ada Lindqvist" {
		t.Errorf("connected to %v", session.User)
	}
	// Once more: the same account, newer tokens.
	version := kept.Entry("zoe").Version
	if res := b.Connect(); res.StatusCode != 200 || kept.Entry("zoe").Version == version {
		t.Errorf("again: status %d, version %d", res.StatusCode, kept.Entry("zoe").Version)
	}
}

func TestNobodyCanBeMadeToConnectAnAccount(t *testing.T) {
	t.Parallel()
	t.Run("from another site", func(t *testing.T) {
		t.Parallel()
		s, kept := testsite.Account(t)
		s.As(msauthtest.Ada)
		b := s.Browser(t)
		b.Keep("app", "zoe")
		s.WantPage(t, b.Request(http.MethodPost, "/connect", "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"), http.StatusForbidden, "not-allowed", "not of this site")
		s.WantPage(t, b.Get("/connect"), http.StatusMethodNotAllowed, "bad-request", "")
		s.WantNoCalls(t)
		if len(kept.Users()) != 0 {
			t.Error("connected")
		}
	})
	t.Run("signed out of the app", func(t *testing.T) {
		t.Parallel()
		s, _ := testsite.Account(t)
		b := s.Browser(t)
		s.WantPage(t, b.Connect(), http.StatusForbidden, "not-allowed", "nobody is signed in to the app")
	})
	for name, cookie := range map[string]string{"another user comes back": "eve", "nobody comes back": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, kept := testsite.Account(t)
			s.As(msauthtest.Ada)
			b := s.Browser(t)
			b.Keep("app", "zoe")
			still := b.Still()
			to := still.Connect().Header.Get("Location")
			back := still.Get(to).Header.Get("Location")
			b.Keep("app", cookie)
			b.WantRefused(still.Get(back), http.StatusForbidden, "not-allowed", "than when this began")
			if len(kept.Users()) != 0 {
				t.Errorf("connected to %q", kept.Users())
			}
		})
	}
	t.Run("with a callback of somebody else's", func(t *testing.T) {
		t.Parallel()
		s, kept := testsite.Account(t)
		s.As(msauthtest.Ada)
		eve, zoe := s.Browser(t), s.Browser(t)
		eve.Keep("app", "zoe") // even if Eve knew how to name her
		still := eve.Still()
		back := still.Get(still.Connect().Header.Get("Location")).Header.Get("Location")
		zoe.Keep("app", "zoe")
		zoe.WantRefused(zoe.Still().Get(back), http.StatusBadRequest, "start-again", "no cookie of this attempt")
		if len(kept.Users()) != 0 {
			t.Errorf("connected to %q", kept.Users())
		}
	})
}

func TestDoubleConnectionsAreRefusedUnlessTheAppAllowsThem(t *testing.T) {
	t.Parallel()
	var allow func(in *msauth.SignIn)
	s, kept := testsite.Account(t, func(c *msauth.Config) {
		c.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
			if allow != nil {
				allow(in)
			}
			return nil
		}
	})
	connect := func(user, person string) testsite.Seen {
		s.As(person)
		b := s.Browser(t)
		b.Keep("app", user)
		return b.Connect()
	}
	account := func(user string) string {
		t.Helper()
		return offline(s, t, user).User.Username
	}
	connect("zoe", msauthtest.Ada)
	s.WantPage(t, connect("zoe", msauthtest.Bruno), http.StatusForbidden, "account-taken", "connected to another Microsoft account")
	s.WantPage(t, connect("yan", msauthtest.Ada), http.StatusForbidden, "account-taken", "connected to another user")
	if got := kept.Users(); !slices.Equal(got, []string{"zoe"}) || account("zoe") != msauthtest.Ada {
		t.Errorf("connected: %q", got)
	}
	allow = func(in *msauth.SignIn) { in.ReplaceAccount = true }
	if res := connect("zoe", msauthtest.Bruno); res.StatusCode != 200 || account("zoe") != msauthtest.Bruno {
		t.Errorf("replacing: status %d", res.StatusCode)
	}
	allow = nil
	connect("yan", msauthtest.Ada) // free again
	s.WantPage(t, connect("xia", msauthtest.Ada), http.StatusForbidden, "account-taken", "connected to another user")
	allow = func(in *msauth.SignIn) { in.ShareAccount = true }
	if res := connect("xia", msauthtest.Ada); res.StatusCode != 200 || account("xia") != msauthtest.Ada {
		t.Errorf("sharing: status %d", res.StatusCode)
	}
}

// What a worker is challenged for is asked of the person who connects again,
// whenever that is.
func TestConnectingAgainMeetsTheWorkersChallenge(t *testing.T) {
	t.Parallel()
	for _, age := range []time.Duration{0, 48 * time.Hour, 30 * 24 * time.Hour} {
		t.Run(age.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := testsite.NewInProcess(t, testsite.OfItsOwn(testsite.NewTokens()))
				s.Mux.Handle("/connect", s.Auth.Connect("/public/settings"))
				s.As(msauthtest.Ada)
				b := s.Browser(t)
				b.Keep("app", "zoe")
				b.Connect()
				time.Sleep(age)
				s.MS.Challenge(msauthtest.Challenge{ACRS: "c1"})
				worker := offline(s, t, "zoe")
				if _, err := testsite.Call(worker.Client(context.Background()), "GET", testsite.GraphMe, nil); !errors.Is(err, msauth.ErrSignInRequired) {
					t.Fatalf("the error is %v", err)
				}
				time.Sleep(age)
				b.Connect()
				if got := s.Asked(t).Get("claims"); !strings.Contains(got, `"acrs"`) {
					t.Errorf("claims %q", got)
				}
				if status, err := testsite.Call(offline(s, t, "zoe").Client(context.Background()), "GET", testsite.GraphMe, nil); status != 200 {
					t.Errorf("afterwards: status %d, %v", status, err)
				}
			})
		})
	}
}

func TestConnectingThatFailsLeadsBackToTheApp(t *testing.T) {
	t.Parallel()
	for name, behave := range map[string]func(*msauthtest.Behavior){
		"cancelled": func(b *msauthtest.Behavior) {
			b.Fail[msauthtest.Authorize] = []msauthtest.Failure{{Error: "access_denied", Suberror: "cancel"}}
		},
		"an outage": func(b *msauthtest.Behavior) { b.Fail[msauthtest.TokenCode] = []msauthtest.Failure{{Status: 503}} },
		"a replay": func(b *msauthtest.Behavior) {
			b.Fail[msauthtest.TokenCode] = []msauthtest.Failure{{Error: "invalid_grant"}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, kept := testsite.Account(t)
			s.As(msauthtest.Ada)
			s.MS.Set(behave)
			b := s.Browser(t)
			b.Keep("app", "zoe")
			res := b.Connect()
			if res.Kind() == "" || strings.Contains(res.Text, "/auth/login") || !strings.Contains(res.Text, `href="/public/settings"`) {
				t.Errorf("page %q: %s", res.Kind(), res.Text)
			}
			if len(kept.Users()) != 0 {
				t.Error("connected")
			}
		})
	}
}

// An account that the site does not admit is nothing to sign in with: the person
// goes back to the app, who they are there.
func TestConnectingAnAccountThatIsNotAdmittedLeadsBackToTheApp(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*msauth.Config)
		behave func(*msauthtest.Behavior)
		reason string
	}{
		{"by the app", func(c *msauth.Config) {
			c.OnSignIn = func(http.ResponseWriter, *http.Request, *msauth.SignIn) error {
				return errors.New("no company account")
			}
		}, nil, "no company account"},
		{"by its tenant", func(c *msauth.Config) { c.AllowedTenants = []string{msauthtest.TenantFabrikam} }, nil, "tenant " + msauthtest.TenantContoso},
		{"by Microsoft", nil, func(b *msauthtest.Behavior) {
			b.Fail[msauthtest.Authorize] = []msauthtest.Failure{{Error: "access_denied", Codes: []int{50105}}}
		}, "AADSTS50105"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var changes []func(*msauth.Config)
			if test.change != nil {
				changes = append(changes, test.change)
			}
			s, kept := testsite.Account(t, changes...)
			s.As(msauthtest.Ada)
			if test.behave != nil {
				s.MS.Set(test.behave)
			}
			b := s.Browser(t)
			b.Keep("app", "zoe")
			res := b.Connect()
			b.WantRefused(res, http.StatusForbidden, "not-allowed", test.reason)
			if !strings.Contains(res.Text, "The account was not connected") || !strings.Contains(res.Text, `<a href="/public/settings" target="_top">Back</a>`) {
				t.Errorf("page %s", res.Text)
			}
			if strings.Contains(res.Text, "/auth/login") || strings.Contains(res.Text, "/auth/logout") {
				t.Errorf("the page leads to a sign-in of its own: %s", res.Text)
			}
			if len(kept.Users()) != 0 {
				t.Error("connected")
			}
		})
	}
}

func TestAPlainSignInIsNoneOfTheAppsUsers(t *testing.T) {
	t.Parallel()
	s, kept := testsite.Account(t)
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	b.Keep("app", "zoe")
	b.Connect()
	b.SignIn(msauthtest.Ada)
	if got := kept.Users(); !slices.Equal(got, []string{"zoe"}) {
		t.Errorf("kept for %q", got)
	}
}

func TestConnectingCanSignInToo(t *testing.T) {
	t.Parallel()
	s, _ := testsite.Account(t, func(c *msauth.Config) {
		c.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
			in.MakeSession = in.Connecting
			in.AppData = in.UserKey
			return nil
		}
	})
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	b.Keep("app", "zoe")
	if res := b.Connect(); res.Text != testsite.HelloAda {
		t.Errorf("page %q", res.Text)
	}
}

func TestConnectNeedsToKnowTheAppsUser(t *testing.T) {
	t.Parallel()
	s := testsite.New(t, func(c *msauth.Config) { c.Tokens = testsite.NewTokens() })
	s.Mux.Handle("/connect", s.Auth.Connect("/"))
	if res := s.Browser(t).Connect(); res.StatusCode != http.StatusInternalServerError {
		t.Errorf("status %d", res.StatusCode)
	}
	if len(s.Log.With("Connect needs Config.Tokens and Config.User")) == 0 {
		t.Error("the log does not say why")
	}
}
