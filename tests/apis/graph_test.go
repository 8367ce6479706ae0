package apis_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/msauth"
	"example.com/msauth/graph"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
	"golang.org/x/oauth2"
)

// plain returns a client that knows nothing of claims challenges.
func plain(ctx context.Context, s *msauth.Session) *http.Client {
	return oauth2.NewClient(ctx, s.TokenSource(ctx))
}

func own(ctx context.Context, s *msauth.Session) *http.Client { return s.Client(ctx) }

// graphSite is a site whose page /do asks Graph with a client.
func graphSite(t *testing.T, client func(context.Context, *msauth.Session) *http.Client) (*testsite.Site, *testsite.Browser) {
	t.Helper()
	var s *testsite.Site
	s = testsite.Orders(t, func(w http.ResponseWriter, r *http.Request, session *msauth.Session, _ string) {
		me, err := graph.Get[graph.User](r.Context(), graph.New(client(r.Context(), session), s.MS.URL+"/v1.0"), "me")
		if err != nil {
			err = fmt.Errorf("reading the profile: %w", err)
		}
		switch {
		case s.Auth.Challenge(w, r, err):
		case err != nil:
			http.Error(w, err.Error(), http.StatusBadGateway)
		default:
			fmt.Fprint(w, me.UserPrincipalName)
		}
	})
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	if res := b.Get("/do"); res.Text != msauthtest.Ada {
		t.Fatalf("status %d, %q", res.StatusCode, res.Text)
	}
	s.MS.ResetCalls()
	return s, b
}

func TestChallengeReadsTheClaimsChallengeOfAGraphError(t *testing.T) {
	t.Parallel()
	s, b := graphSite(t, plain)
	s.MS.Challenge(msauthtest.Challenge{ACRS: "c1"})
	if p := b.WantProblem(b.Fetch("/do"), http.StatusUnauthorized); !strings.Contains(p.LoginURL, "/auth/login?") {
		t.Errorf("a script is told %+v", p)
	}
	res := b.Get("/do?x=1")
	if res.Text != msauthtest.Ada || res.Request.URL.RequestURI() != "/do?x=1" {
		t.Fatalf("status %d, page %q %.200q; log:\n%s", res.StatusCode, res.Kind(), res.Text, s.Log)
	}
	s.WantCalls(t, msauthtest.Authorize, 1)
	if got := s.Asked(t).Get("claims"); !strings.Contains(got, `"acrs":{"essential":true,"value":"c1"}`) {
		t.Errorf("asked with claims %s", got)
	}
}

func TestChallengeReadsAGraphErrorWithoutAChallenge(t *testing.T) {
	t.Parallel()
	s, b := graphSite(t, plain)
	refused := msauthtest.Failure{Status: http.StatusUnauthorized}
	s.MS.Set(func(b *msauthtest.Behavior) { b.Fail[msauthtest.Graph] = []msauthtest.Failure{refused} })
	if res := b.Get("/do"); res.Text != msauthtest.Ada {
		t.Fatalf("status %d, page %q %.200q; log:\n%s", res.StatusCode, res.Kind(), res.Text, s.Log)
	}
	s.WantCalls(t, msauthtest.Authorize, 1)
	if got := s.Asked(t).Get("claims"); strings.Contains(got, "acrs") || strings.Contains(got, "nbf") {
		t.Errorf("asked with claims %s", got)
	}
}

// What the session's own client finds out comes through package graph.
func TestChallengeReadsTheSessionsErrorsThroughPackageGraph(t *testing.T) {
	t.Parallel()
	s, b := graphSite(t, own)
	s.MS.Challenge(msauthtest.Challenge{}) // is met without the person
	if res := b.Still().Get("/do"); res.Text != msauthtest.Ada {
		t.Fatalf("status %d, %.200q; log:\n%s", res.StatusCode, res.Text, s.Log)
	}
	s.WantCalls(t, msauthtest.Authorize, 0)
	s.MS.Challenge(msauthtest.Challenge{ACRS: "c1"}) // is not
	if res := b.Get("/do"); res.Text != msauthtest.Ada {
		t.Fatalf("status %d, %.200q; log:\n%s", res.StatusCode, res.Text, s.Log)
	}
	s.WantCalls(t, msauthtest.Authorize, 1)
	if got := s.Asked(t).Get("claims"); !strings.Contains(got, `"acrs"`) {
		t.Errorf("asked with claims %s", got)
	}
}

// A second sign-in for the same reason would change nothing.
func TestGraphErrorsSendNobodyRoundInCircles(t *testing.T) {
	t.Parallel()
	for name, refuse := range map[string]func(*testsite.Site){
		"a claims challenge": func(s *testsite.Site) { s.MS.Challenge(msauthtest.Challenge{ACRS: "c1", Forever: true}) },
		"status 401": func(s *testsite.Site) {
			s.MS.Set(func(b *msauthtest.Behavior) {
				b.FailAlways[msauthtest.Graph] = msauthtest.Failure{Status: http.StatusUnauthorized}
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, b := graphSite(t, plain)
			refuse(s)
			if res := b.Get("/do"); res.StatusCode != http.StatusForbidden || res.Kind() != "not-enough" {
				t.Errorf("status %d, page %q; log:\n%s", res.StatusCode, res.Kind(), s.Log)
			}
			if p := b.WantProblem(b.Fetch("/do"), http.StatusForbidden); p.LoginURL != "" {
				t.Errorf("a script is sent to %s", p.LoginURL)
			}
			s.WantCalls(t, msauthtest.Authorize, 1)
			b.WantGreeting(testsite.HelloAda)
		})
	}
}

// An answer is an error with the WWW-Authenticate fields of an answer.
type answer []string

func (answer) Error() string               { return "an answer" }
func (a answer) WWWAuthenticate() []string { return a }

func TestChallengeFindsARejectionAnywhereInTheChain(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	for _, test := range []struct {
		name string
		err  error
		want bool
	}{
		{"an answer with another status", answer(nil), false},
		{"wrapped", fmt.Errorf("a: %w", fmt.Errorf("b: %w", answer(nil))), false},
		{"without a challenge", answer{}, true},
		{"wrapped without a challenge", fmt.Errorf("a: %w", fmt.Errorf("b: %w", answer{})), true},
		{"after another answer", errors.Join(answer(nil), nil, errors.New("x"), answer{}), true},
		{"below another answer", fmt.Errorf("%w: %w", answer(nil), answer{`Basic realm=""`}), true},
	} {
		w := httptest.NewRecorder()
		if got := s.Auth.Challenge(w, httptest.NewRequest("GET", "/", nil), test.err); got != test.want || got != (w.Code != http.StatusOK) {
			t.Errorf("%s: answered %v with status %d, want %v", test.name, got, w.Code, test.want)
		}
	}
}
