package outage_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// A sign-in has a person waiting: it is tried whatever happened to renewals,
// and its success ends the pause.
func TestSignInIsNotPaused(t *testing.T) {
	t.Parallel()
	testsite.AtEach(t, func(t *testing.T, at testsite.Service) {
		o := testsite.NewOffice(t, at.Change)
		o.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
		people := make([]*testsite.Visitor, 6)
		for i := range people {
			people[i] = o.SignInNew()
		}
		time.Sleep(time.Hour)
		o.MS.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Status: 500} })
		for _, v := range people[:5] {
			v.WantHello("during the outage")
		}
		if !o.Auth.Stats().Paused {
			t.Fatal("not paused")
		}
		o.MS.Set(func(b *msauthtest.Behavior) { clear(b.FailAlways) })
		o.SignIn().WantHello("signed in meanwhile")
		if o.Auth.Stats().Paused {
			t.Error("still paused after a sign-in that worked")
		}
		for _, v := range people {
			v.WantHello("afterwards")
		}
		o.WantCalls(msauthtest.TokenRefresh, 5+6)
	})
}

// The app's secret expires: an operator must act, nobody else is to notice
// more than must be.
func TestExpiredClientSecretSignsNobodyOut(t *testing.T) {
	t.Parallel()
	testsite.AtEach(t, func(t *testing.T, at testsite.Service) {
		const minutes = 30
		o := testsite.NewOffice(t, at.Change)
		o.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = 10 * time.Minute })
		people := make([]*testsite.Visitor, 50)
		for i := range people {
			people[i] = o.SignIn()
		}
		if err := o.Auth.Ready(context.Background()); err != nil {
			t.Fatal(err)
		}
		o.MS.ResetCalls()
		o.MS.Set(func(b *msauthtest.Behavior) { b.SecretExpired = true })
		began := time.Now()
		var wg sync.WaitGroup
		for i, v := range people {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 200 * time.Millisecond)
				for time.Since(began) < minutes*time.Minute {
					if got := v.Get("/"); got.Status != http.StatusOK || got.ClearsSession() {
						t.Errorf("after %v: status %d", time.Since(began), got.Status)
						return
					}
					time.Sleep(10 * time.Second)
				}
			})
		}
		wg.Wait()
		calls := o.MS.Count(msauthtest.TokenRefresh)
		if most := minutes*12 + 32; calls == 0 || calls > most {
			t.Errorf("%d calls in %d minutes, want at most %d", calls, minutes, most)
		}
		errorsLogged := strings.Count(o.Log.String(), "level=ERROR")
		if errorsLogged == 0 || errorsLogged > minutes {
			t.Errorf("%d error-level lines in %d minutes, want one a minute at most", errorsLogged, minutes)
		}
		reason := "7000222"
		if at.Live() { // it has no numbers
			reason = "'client_secret' is not valid"
		}
		if !strings.Contains(o.Log.String(), "event=app_misconfigured") || !strings.Contains(o.Log.String(), reason) {
			t.Errorf("no event says %q; log:\n%.2000s", reason, o.Log)
		}
		err := o.Auth.Ready(context.Background())
		if failure, ok := errors.AsType[*msauth.AuthError](err); !ok || failure.Class != msauth.ClassMisconfigured {
			t.Errorf("Ready returns %v, want class %q", err, msauth.ClassMisconfigured)
		}
		if got := people[0].Get("/?token"); got.Status != http.StatusBadGateway || !strings.Contains(got.Body, "invalid_client") {
			t.Errorf("Token: status %d, %q, want the cause", got.Status, got.Body)
		}

		o.MS.Set(func(b *msauthtest.Behavior) { b.SecretExpired = false })
		time.Sleep(10 * time.Second)
		for _, v := range people {
			v.WantHello("with a new secret")
		}
		for i, v := range people {
			if got := v.Get("/?token"); got.Status != http.StatusOK {
				t.Errorf("person %d: status %d after the secret was replaced", i, got.Status)
			}
		}
		if err := o.Auth.Ready(context.Background()); err != nil {
			t.Errorf("Ready returns %v with a new secret", err)
		}
		if stats := o.Auth.Stats(); stats.RenewalsFailed[msauth.ClassMisconfigured] == 0 || stats.SessionsEnded != 0 {
			t.Errorf("stats %+v", stats)
		}
	})
}

// What an operator's dashboards are built on.
func TestEventsHaveStableNamesAndAttributes(t *testing.T) {
	t.Parallel()
	testsite.AtEach(t, func(t *testing.T, at testsite.Service) {
		o := testsite.NewOffice(t, at.Change)
		seen := &eventLog{attrs: map[string]map[string]bool{}}
		o.Cfg.Logger = slog.New(seen)
		o.Auth, o.Handler = o.Open()
		o.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })

		people := make([]*testsite.Visitor, 6)
		for i := range people {
			people[i] = o.SignInNew()
		}
		o.Visitor().Get("/auth/callback?code=x&state=y")
		time.Sleep(time.Hour)
		people[0].WantHello("renewed")
		o.MS.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Status: 503} })
		for _, v := range people[1:] {
			v.WantHello("in an outage")
		}
		time.Sleep(11 * time.Second)
		o.MS.Set(func(b *msauthtest.Behavior) { clear(b.FailAlways) })
		people[1].WantHello("after it")
		o.MS.Set(func(b *msauthtest.Behavior) { b.SecretExpired = true })
		people[2].WantHello("with an expired secret")
		o.MS.Set(func(b *msauthtest.Behavior) { b.SecretExpired = false })
		o.MS.Revoke("ada4@contoso.example") // people[3]
		for range 5 {                       // one event, however often the cookie comes back
			people[3].Fetch("/")
		}
		people[0].Do(http.MethodPost, "/auth/logout", "Origin", testsite.OfficeURL, "Sec-Fetch-Site", "same-origin")

		for event, attrs := range map[string][]string{
			"sign_in":           {"user"},
			"sign_in_refused":   {"page", "id", "err"},
			"sign_out":          {"user"},
			"session_ended":     {"user", "err"},
			"renewal":           {"user", "reason", "duration", "outcome", "err"},
			"renewal_pause":     {"err"},
			"renewal_resume":    {},
			"app_misconfigured": {"err", "aadsts", "trace_id", "correlation_id"},
		} {
			for _, attr := range attrs {
				if !seen.attrs[event][attr] {
					t.Errorf("event %s has no attribute %s; it has %v", event, attr, seen.attrs[event])
				}
			}
			if seen.attrs[event] == nil {
				t.Errorf("no event %s", event)
			}
		}
		stats := o.Auth.Stats()
		want := msauth.Stats{SignIns: 6, SignOuts: 1, SignInsRefused: 1, SessionsEnded: 1, Renewals: 2}
		if stats.SignIns != want.SignIns || stats.SignOuts != want.SignOuts || stats.SignInsRefused != want.SignInsRefused ||
			stats.SessionsEnded != want.SessionsEnded || stats.Renewals != want.Renewals ||
			stats.RenewalsFailed[msauth.ClassRetry] != 5 || stats.RenewalsFailed[msauth.ClassMisconfigured] != 1 || stats.RenewalsFailed[msauth.ClassSignIn] != 1 {
			t.Errorf("stats %+v", stats)
		}
		stats.RenewalsFailed[msauth.ClassRetry] = 99
		if o.Auth.Stats().RenewalsFailed[msauth.ClassRetry] == 99 {
			t.Error("a change to what Stats returned changes the counts")
		}
	})
}

// eventLog notes which attributes came with each event.
type eventLog struct {
	mu    sync.Mutex
	attrs map[string]map[string]bool
}

func (l *eventLog) Enabled(context.Context, slog.Level) bool { return true }

func (l *eventLog) WithAttrs([]slog.Attr) slog.Handler { return l }

func (l *eventLog) WithGroup(string) slog.Handler { return l }

func (l *eventLog) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	names, event := map[string]bool{}, ""
	r.Attrs(func(a slog.Attr) bool {
		names[a.Key] = true
		if a.Key == "event" {
			event = a.Value.String()
		}
		return true
	})
	if event != "" {
		if l.attrs[event] == nil {
			l.attrs[event] = map[string]bool{}
		}
		for name := range names {
			l.attrs[event][name] = true
		}
	}
	return nil
}
