package vault_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// A worker acts for somebody who has signed in at Live Connect, until they take that
// back there.
func TestWorkerActsForAPersonAtLiveConnect(t *testing.T) {
	t.Parallel()
	away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
		s.RouteTokens()
		seen := []string{b.Token()}
		var key string
		for range 30 {
			time.Sleep(24 * time.Hour)
			s.Restart(t) // every memory is gone
			session := offline(s, t, "7")
			key = session.User.Key()
			token, err := session.Token(context.Background())
			if err != nil || slices.Contains(seen, token.AccessToken) {
				t.Fatalf("no new token: %v; log:\n%s", err, s.Log)
			}
			seen = append(seen, token.AccessToken)
			if token, err := session.AuthenticationToken(); !errors.Is(err, msauth.ErrTokenUnavailable) {
				t.Fatalf("an authentication token of %d bytes, %v: it is for browsers", len(token), err)
			}
		}
		calls := s.MS.Calls(msauthtest.TokenRefresh)
		if form := calls[len(calls)-1].Form; len(calls) != 30 || form.Get("redirect_uri") != s.URL+"/auth/callback" || form.Has("scope") {
			t.Errorf("%d renewals, the last with redirect_uri %q, scope %t", len(calls), form.Get("redirect_uri"), form.Has("scope"))
		}
		uid, ok := strings.CutPrefix(key, "https://login.live.com#")
		if !ok || !isUID(t, s, msauthtest.Ada, uid) || kept.Entry("7").Account != key {
			t.Errorf("key %q, entry of %q", key, kept.Entry("7").Account)
		}

		s.MS.Set(func(b *msauthtest.Behavior) {
			b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Status: 503}
		})
		time.Sleep(2 * time.Hour)
		if _, err := offline(s, t, "7").Token(context.Background()); !errors.Is(err, msauth.ErrTokenUnavailable) || errors.Is(err, msauth.ErrSignInRequired) {
			t.Errorf("in an outage: %v", err)
		}
		s.MS.Set(func(b *msauthtest.Behavior) { clear(b.FailAlways) })

		time.Sleep(time.Minute)
		s.MS.Revoke(msauthtest.Ada)
		for range 2 {
			s.Restart(t)
			session, err := s.Auth.Offline(context.Background(), "7")
			if err == nil {
				_, err = session.Token(context.Background())
			}
			if !errors.Is(err, msauth.ErrSignInRequired) {
				t.Errorf("revoked: %v", err)
			}
		}

		// Signing in again is all that is needed, and the account is the same.
		b.SignIn(msauthtest.Ada)
		session := offline(s, t, "7")
		if _, err := session.Token(context.Background()); err != nil || session.User.Key() != key {
			t.Errorf("signed in again as %q: %v", session.User.Key(), err)
		}
	}, testsite.AtLiveConnect, func(c *msauth.Config) { c.MaxAge = 48 * time.Hour })
}

// isUID reports whether uid is that of a person's authentication tokens.
func isUID(t *testing.T, s *testsite.Site, person, uid string) (same bool) {
	t.Helper()
	s.MS.AuthenticationToken(person, "app.test", func(_, claims map[string]any) { same = claims["uid"] == uid })
	return same && len(uid) == 32
}
