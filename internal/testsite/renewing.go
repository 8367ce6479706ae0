package testsite

import (
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

const (
	BeforeExpiry = 59 * time.Minute // of a token of one hour: it is due, and good
	AfterExpiry  = 61 * time.Minute
)

// ExpiredBrowser is signed in with a token that is over.
func ExpiredBrowser(t *testing.T, s *Site) *Browser {
	t.Helper()
	s.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Second })
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	time.Sleep(1100 * time.Millisecond)
	s.MS.ResetCalls()
	return b
}

// Renewing runs a test in a bubble where Ada is signed in. What a handler gets
// from Session.Token is at /token: the token, or the name of the error.
func Renewing(t *testing.T, f func(t *testing.T, s *Site, b *Browser), changes ...func(*msauth.Config)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := NewInProcess(t, changes...)
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.AccessTokenLifetime, b.RefreshIn = time.Hour, 30*time.Minute
		})
		s.RouteTokens()
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		s.MS.ResetCalls()
		f(t, s, b)
		time.Sleep(time.Minute) // for what still waits
	})
}
