package testsite

import (
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// Ages of a token that lives for an hour.
const (
	// BeforeExpiry is when it is due, and still good.
	BeforeExpiry = 59 * time.Minute
	// AfterExpiry is when it is over.
	AfterExpiry = 61 * time.Minute
)

// ExpiredBrowser is signed in with a token that is over.
func ExpiredBrowser(t *testing.T, s *Site) *Browser {
	t.Helper()
	b := s.Browser(t)
	b.SignInExpired(msauthtest.Ada)
	s.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Second })
	return b
}

// SignInExpired signs a person in and returns when the token is over: at the next
// full second, as no token is taken for a shorter one. The calls at the provider
// begin at 0 then, and the next tokens last as long as before.
func (b *Browser) SignInExpired(person string) {
	b.T.Helper()
	s := b.Site
	s.As(person)
	s.MS.Set(func(b *msauthtest.Behavior) { b.ExpiresIn = 0.001 })
	b.Still().Get(b.Attempt("/"))
	s.MS.Set(func(b *msauthtest.Behavior) { b.ExpiresIn = nil })
	if len(b.Session()) == 0 {
		b.T.Fatalf("%s is not signed in; log:\n%s", person, s.Log)
	}
	for _, c := range b.Cookies() { // the marker "just signed in", which the first page would take
		if !SessionCookie.MatchString(c.Name) {
			b.Keep(c.Name, "")
		}
	}
	now := time.Now()
	time.Sleep(now.Truncate(time.Second).Add(1010 * time.Millisecond).Sub(now))
	s.MS.ResetCalls()
}

// Renewing runs a test in a bubble where Ada is signed in. What a handler gets
// from Session.Token is at /public/token: the token, or the name of the error.
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
