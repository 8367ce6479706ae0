package golden_test

import (
	"context"
	"errors"
	"strings"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// A goldenOffline is what is found of an entry of Config.Tokens.
type goldenOffline struct {
	Session       *goldenSession
	Error, Claims string
	Refresh       string
	Waited        bool // for somebody's lease
	refused       bool // as it should be
}

func (o *goldenOffline) opened() bool { return o.Session != nil || o.refused }

func (a *goldenApp) offline(user string) *goldenOffline {
	a.down(true)
	s, err := a.auth.Offline(context.Background(), user)
	found := &goldenOffline{}
	if found.Error, found.Claims = goldenError(err); err == nil {
		began := time.Now()
		found.Session = reportGolden(context.Background(), s)
		found.Waited = time.Since(began) > time.Minute
		if found.Session.Token != "" {
			time.Sleep(time.Until(found.Session.Expiry) + time.Minute)
			_, _ = s.Token(context.Background())
		}
		found.Refresh = a.usedRefreshToken()
	}
	return found
}

// goldenEntries are what Config.Tokens keeps.
func goldenEntries() []*goldenCase {
	both := []string{"access_token", "refresh_token"}
	config := func(a *goldenApp) { a.keep(); a.userKey = "user-7" }
	signIn := func(then func(a *goldenApp, v *goldenValue), tokens ...string) func(a *goldenApp, v *goldenValue) {
		return func(a *goldenApp, v *goldenValue) {
			goldenSignIn(tokens...)(a, v)
			then(a, v)
			a.jar = map[string]string{}
		}
	}
	nothing := func(*goldenApp, *goldenValue) {}
	cases := []*goldenCase{
		{name: "entry-work", config: config, make: signIn(nothing, both...)},
		{name: "entry-personal", config: func(a *goldenApp) { config(a); a.person = msauthtest.Mia }, make: signIn(nothing, both...)},
		{name: "entry-large", config: func(a *goldenApp) { config(a); goldenRich(a) }, make: signIn(nothing, both...)},
		{
			name: "entry-old-key", config: config, make: signIn(nothing, both...),
			reader: func(a *goldenApp) { a.cfg.Keys = [][]byte{goldenKey(2), goldenKey(1)} },
		},
		{
			// Of before the registration was part of the names.
			name: "entry-bare-name", config: config,
			make: signIn(func(a *goldenApp, v *goldenValue) {
				prefix := a.auth.StoredUser("")
				v.Entries = map[string]msauth.StoredTokens{}
				for user, e := range a.entries.entries {
					e.Account = strings.TrimPrefix(e.Account, prefix)
					v.Entries[strings.TrimPrefix(user, prefix)] = e
				}
			}, both...),
		},
		{
			// Somebody renews it.
			name: "entry-leased", config: config,
			make: signIn(func(a *goldenApp, v *goldenValue) {
				time.Sleep(61 * time.Minute)
				a.behave(func(b *msauthtest.Behavior) { b.Delay[msauthtest.TokenRefresh] = 10 * time.Second })
				s, err := a.auth.Offline(context.Background(), "user-7")
				if err != nil {
					a.t.Fatal(err)
				}
				done := make(chan struct{})
				go func() {
					defer close(done)
					_, _ = s.Token(context.Background())
				}()
				time.Sleep(time.Second)
				v.Entries = a.entries.copy().entries
				for _, e := range v.Entries {
					if time.Until(e.Lease) < time.Minute {
						a.t.Errorf("lease until %v", e.Lease)
					}
				}
				<-done
				v.expect = append(v.expect, `"Waited":true`)
			}, "refresh_token"),
		},
		{
			name: "entry-step-up", config: config,
			make: signIn(func(a *goldenApp, v *goldenValue) {
				a.behave(func(b *msauthtest.Behavior) { b.RequireMFA = true })
				time.Sleep(61 * time.Minute)
				s, err := a.auth.Offline(context.Background(), "user-7")
				if err == nil {
					_, err = s.Token(context.Background())
				}
				failure, ok := errors.AsType[*msauth.AuthError](err)
				if !ok || failure.Claims == "" {
					a.t.Fatalf("Token: %v", err)
				}
				v.expect = []string{"sign in required"}
			}),
			read: func(a *goldenApp, _ *goldenValue) goldenFound {
				found := a.offline("user-7")
				found.refused = found.Claims != ""
				return found
			},
		},
	}
	for _, c := range cases {
		if c.read == nil {
			c.read = func(a *goldenApp, _ *goldenValue) goldenFound { return a.offline("user-7") }
		}
	}
	return cases
}
