package cases_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

func TestCase118_ProviderDownAtTheStart(t *testing.T) {
	c := newCase(t)
	for _, down := range []msauthtest.Failure{
		{Status: 500}, {Close: true}, {Hang: true}, {Status: 404}, {Body: "{"}, {Body: "[]"}, {Body: "null"}, {Body: "{}"}, {Status: 302, Header: http.Header{"Location": {"https://evil.example/"}}},
		{Handler: func(w http.ResponseWriter, _ *http.Request) {
			for range 100 {
				w.Write(make([]byte, 64<<10)) // six megabytes
			}
		}},
	} {
		c.run(fmt.Sprintf("%d %s", down.Status, down.Body), func(c *testCase) {
			c.bubble(func(c *testCase) {
				s := testsite.NewInProcess(c.T)
				b, _ := testsite.AdaSession(c.T, s)
				s.Restart(c.T) // a new process that has read nothing yet
				s.MS.ResetCalls()
				s.MS.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.Discovery] = down })
				b.WantGreeting(testsite.HelloAda)
				if got := b.Get("/a").Text; got != testsite.HelloAda {
					c.Errorf("page %q", got)
				}
				c.silent(s)
				c.page(s, s.Browser(c.T).Get("/a"), http.StatusServiceUnavailable, "unavailable", "msauth: discovery")
				c.page(s, s.Browser(c.T).Get("/a"), http.StatusServiceUnavailable, "unavailable", "msauth: discovery")
				c.calls(s, msauthtest.Discovery, 1) // not one for each visitor
				c.fails(s.Auth.Ready(c.Context()), "discovery")
				s.MS.Set(func(b *msauthtest.Behavior) { clear(b.FailAlways) })
				time.Sleep(6 * time.Second)
				s.Browser(c.T).SignIn(msauthtest.Ada)
				c.calls(s, msauthtest.Discovery, 2)
			})
		})
	}
}

func TestCase120_KeyRotation(t *testing.T) {
	c := newCase(t)
	c.bubble(func(c *testCase) {
		s := testsite.NewInProcess(c.T)
		s.Lifetime(48 * time.Hour)
		b, _ := testsite.AdaSession(c.T, s)
		c.calls(s, msauthtest.Keys, 1)
		for n := range 3 {
			s.MS.RollKeys()
			s.Browser(c.T).SignIn(msauthtest.Bruno)
			s.Browser(c.T).SignIn(msauthtest.Ada)
			c.calls(s, msauthtest.Keys, n+2)
			b.WantGreeting(testsite.HelloAda)
			time.Sleep(6 * time.Minute)
		}
	})
}

// Twice within the five minutes in which keys are not fetched again, the
// second sign-in is refused, and says why.
func TestCase120_KeyRotationTwiceInARow(t *testing.T) {
	c := newCase(t)
	c.bubble(func(c *testCase) {
		s := testsite.NewInProcess(c.T)
		b, _ := testsite.AdaSession(c.T, s)
		s.MS.RollKeys()
		s.Browser(c.T).SignIn(msauthtest.Bruno)
		s.MS.RollKeys()
		other := s.Browser(c.T)
		s.As(msauthtest.Bruno)
		c.refused(other, other.Get("/"), 400, "start-again", "failed to verify signature")
		c.calls(s, msauthtest.Keys, 2)
		time.Sleep(5 * time.Minute)
		s.Browser(c.T).SignIn(msauthtest.Bruno)
		c.calls(s, msauthtest.Keys, 3)
		b.WantGreeting(testsite.HelloAda)
	})
}

func TestCase122_KeysOutOfReach(t *testing.T) {
	c := newCase(t)
	c.bubble(func(c *testCase) {
		s := testsite.NewInProcess(c.T)
		testsite.AdaSession(c.T, s)
		s.MS.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.Keys] = msauthtest.Failure{Status: 500} })
		for _, wait := range []time.Duration{0, time.Hour, 12 * time.Hour, 12 * time.Hour, 48 * time.Hour} {
			time.Sleep(wait)
			s.Browser(c.T).SignIn(msauthtest.Bruno)
		}
		c.calls(s, msauthtest.TokenCode, 6)
		// Unless they were fetched never at all.
		s.Restart(c.T)
		other := s.Browser(c.T)
		c.page(s, other.Get("/a"), http.StatusServiceUnavailable, "unavailable", "msauth: signing keys")
		other.WantGreeting(testsite.HelloNobody)
	})
}
