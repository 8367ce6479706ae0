package msauth_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"example.com/msauth/msauthtest"
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
				s := newSiteInProcess(c.T)
				b, _ := adaSession(c.T, s)
				s.restart(c.T) // a new process that has read nothing yet
				s.ms.ResetCalls()
				s.ms.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.Discovery] = down })
				b.wantGreeting(helloAda)
				if got := b.get("/a").body; got != helloAda {
					c.Errorf("page %q", got)
				}
				c.silent(s)
				c.page(s, s.browser(c.T).get("/a"), http.StatusServiceUnavailable, "unavailable", "msauth: discovery")
				c.page(s, s.browser(c.T).get("/a"), http.StatusServiceUnavailable, "unavailable", "msauth: discovery")
				c.calls(s, msauthtest.Discovery, 1) // not one for each visitor
				c.fails(s.auth.Ready(c.Context()), "discovery")
				s.ms.Set(func(b *msauthtest.Behavior) { clear(b.FailAlways) })
				time.Sleep(6 * time.Second)
				s.browser(c.T).signIn(msauthtest.Ada)
				c.calls(s, msauthtest.Discovery, 2)
			})
		})
	}
}

func TestCase120_KeyRotation(t *testing.T) {
	c := newCase(t)
	c.bubble(func(c *testCase) {
		s := newSiteInProcess(c.T)
		s.lifetime(48 * time.Hour)
		b, _ := adaSession(c.T, s)
		c.calls(s, msauthtest.Keys, 1)
		for n := range 3 {
			s.ms.RollKeys()
			s.browser(c.T).signIn(msauthtest.Bruno)
			s.browser(c.T).signIn(msauthtest.Ada)
			c.calls(s, msauthtest.Keys, n+2)
			b.wantGreeting(helloAda)
			time.Sleep(6 * time.Minute)
		}
	})
}

// Twice within the five minutes in which keys are not fetched again, the
// second sign-in is refused, and says why.
func TestCase120_KeyRotationTwiceInARow(t *testing.T) {
	c := newCase(t)
	c.bubble(func(c *testCase) {
		s := newSiteInProcess(c.T)
		b, _ := adaSession(c.T, s)
		s.ms.RollKeys()
		s.browser(c.T).signIn(msauthtest.Bruno)
		s.ms.RollKeys()
		other := s.browser(c.T)
		s.as(msauthtest.Bruno)
		c.refused(other, other.get("/"), 400, "start-again", "failed to verify signature")
		c.calls(s, msauthtest.Keys, 2)
		time.Sleep(5 * time.Minute)
		s.browser(c.T).signIn(msauthtest.Bruno)
		c.calls(s, msauthtest.Keys, 3)
		b.wantGreeting(helloAda)
	})
}

func TestCase122_KeysOutOfReach(t *testing.T) {
	c := newCase(t)
	c.bubble(func(c *testCase) {
		s := newSiteInProcess(c.T)
		adaSession(c.T, s)
		s.ms.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.Keys] = msauthtest.Failure{Status: 500} })
		for _, wait := range []time.Duration{0, time.Hour, 12 * time.Hour, 12 * time.Hour, 48 * time.Hour} {
			time.Sleep(wait)
			s.browser(c.T).signIn(msauthtest.Bruno)
		}
		c.calls(s, msauthtest.TokenCode, 6)
		// Unless they were fetched never at all.
		s.restart(c.T)
		other := s.browser(c.T)
		c.page(s, other.get("/a"), http.StatusServiceUnavailable, "unavailable", "msauth: signing keys")
		other.wantGreeting(helloNobody)
	})
}
