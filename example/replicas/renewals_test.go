//go:build unix

package main

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"example.com/msauth/msauthtest"
	"example.com/msauth/redisshared/redistest"
	"example.com/msauth/tests/testsite"
)

// Of 200 requests with one cookie over three servers, at the moment when its token has
// expired, one renews it. The provider takes each refresh token once, and a second use
// of one for theft. It runs alone: it takes all the processors there are.
func TestOneTokenRequestOverAllServers(t *testing.T) {
	needServers(t)
	const (
		people   = 15
		requests = 200
		lifetime = 5 * time.Second
	)
	rounds := testsite.Times(30, 1000)
	s := newSite(t, onRedis(redistest.Start(t)))
	s.ms.Set(func(b *msauthtest.Behavior) {
		b.Rotation, b.AccessTokenLifetime = msauthtest.RotateStrict, lifetime
	})
	crowd := make([]*person, people)
	over := make([]time.Time, people) // when their tokens have expired
	for i := range crowd {
		crowd[i] = s.signIn(fmt.Sprint("Person ", i))
		over[i] = time.Now().Add(lifetime + time.Second)
	}
	s.ms.ResetCalls()
	used := map[string]int{}
	var longest, busy time.Duration
	for round := range rounds {
		i := round % people
		time.Sleep(time.Until(over[i])) // the others' tokens expire meanwhile
		began := time.Now()
		s.burst(crowd[i], requests)
		took := time.Since(began)
		longest, busy = max(longest, took), busy+took
		over[i] = time.Now().Add(lifetime + time.Second)
		calls := s.ms.Calls(msauthtest.TokenRefresh)
		s.ms.ResetCalls()
		// A machine that takes longer than a token lasts renews that one too.
		if len(calls) != 1 && took < lifetime-time.Second || len(calls) == 0 {
			t.Errorf("round %d: %d token requests, want 1", round, len(calls))
		}
		for _, call := range calls {
			if used[call.Form.Get("refresh_token")]++; call.Status != http.StatusOK {
				t.Errorf("round %d: a token request is answered with %d", round, call.Status)
			}
		}
		if t.Failed() {
			break
		}
	}
	for _, n := range used {
		if n != 1 {
			t.Errorf("a refresh token was sent %d times", n)
		}
	}
	if n := s.ms.Count(msauthtest.TokenCode); n != 0 {
		t.Errorf("%d sign-ins", n)
	}
	for _, srv := range s.servers {
		if stats := srv.stats(); stats.SessionsEnded != 0 || stats.SignOuts != 0 {
			t.Errorf("%d sessions ended, %d sign-outs", stats.SessionsEnded, stats.SignOuts)
		}
	}
	t.Logf("%d rounds of %d requests, %v each on average, %v at most; %d token requests", rounds, requests,
		(busy / time.Duration(rounds)).Round(time.Millisecond), longest.Round(time.Millisecond), len(used))
}

// burst sends requests at a time with the cookies that a person has now. The browser
// takes those of the answers afterwards.
func (s *site) burst(p *person, requests int) {
	s.t.Helper()
	cookies := p.cookies()
	answers := make([]answer, requests)
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() {
			got, err := s.send(nil, http.MethodGet, "/me", cookies)
			if answers[i] = got; err != nil {
				s.t.Error(err)
			}
		})
	}
	all.Wait()
	renewed := 0
	var wrong []string
	for _, got := range answers {
		if got.status != http.StatusOK || got.person != p.name {
			wrong = append(wrong, fmt.Sprintf("status %d, person %q", got.status, got.person))
		}
		if len(got.cookies) > 0 {
			renewed++
			p.take(got)
		}
	}
	if len(wrong) > 0 {
		slices.Sort(wrong)
		s.t.Errorf("%d wrong answers: %q", len(wrong), slices.Compact(wrong))
	}
	if renewed == 0 {
		s.t.Error("no answer has a new cookie")
	}
}
