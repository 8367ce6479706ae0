package credentials_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// federated is a federated token in a file that the registration trusts.
func federated(t *testing.T, ms *msauthtest.Server) (msauth.Credential, *msauthtest.Credential) {
	t.Helper()
	cluster := msauthtest.NewIssuer()
	t.Cleanup(cluster.Close)
	const subject = "system:serviceaccount:shop:web"
	return msauth.FederatedTokenFile(inFile(t, cluster.Token(subject, "", time.Hour))), ms.AddFederated(cluster.URL, subject, "")
}

// wantFirstUsed checks that the first credential is in use, and that somebody else
// signs in with it alone.
func wantFirstUsed(t *testing.T, s *testsite.Site, second *msauthtest.Credential) {
	t.Helper()
	before := second.Accepted()
	if all := s.Auth.Stats().Credentials; !all[0].InUse || all[0].Problem != "" {
		t.Errorf("credentials: %+v", all)
	}
	s.As(msauthtest.Ada)
	s.Browser(t).SignIn(msauthtest.Ada)
	if n := second.Accepted() - before; n != 0 {
		t.Errorf("the second credential was used %d times by somebody else", n)
	}
	if lines := s.Log.With("event=credential_refused "); len(lines) != 0 {
		t.Errorf("log lines: %q", lines)
	}
}

// A code that is refused for what it is makes a request with a federated token fail
// like one whose token is refused (AADSTS70021): that says nothing of the token.
func TestMalformedCodeLeavesTheFederatedTokenAlone(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	first, _ := federated(t, s.MS)
	s.Restart(t, by(first, msauth.Secret(s.MS.ClientSecret)))
	s.As(msauthtest.Ada)
	malformed := msauthtest.Failure{Error: "invalid_request", Codes: []int{9002313}}
	s.MS.Set(func(b *msauthtest.Behavior) {
		b.Fail[msauthtest.TokenCode] = []msauthtest.Failure{malformed, malformed}
	})
	visitor := s.Browser(t)
	visitor.WantRefused(visitor.Get("/auth/login"), http.StatusBadRequest, "start-again", "AADSTS9002313")
	s.MS.Set(func(b *msauthtest.Behavior) { clear(b.Fail) })
	s.WantCalls(t, msauthtest.TokenCode, 1) // not about the credential
	wantFirstUsed(t, s, s.MS.Secret())
}

// A code can be refused in one way with the first credential and in another with
// the second: it may end meanwhile.
func TestCodeThatIsRefusedInTwoWays(t *testing.T) {
	t.Parallel()
	for name, second := range map[string]msauthtest.Failure{
		"as used up":      {Error: "invalid_grant", Codes: []int{54005}},
		"not answered":    {Status: http.StatusServiceUnavailable},
		"for the request": {Error: "invalid_request", Codes: []int{9002313}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testsite.New(t)
			next := s.MS.AddSecret("the~next~secret")
			s.Restart(t, by(msauth.Secret(s.MS.ClientSecret), msauth.Secret("the~next~secret")))
			s.As(msauthtest.Ada)
			s.MS.Set(func(b *msauthtest.Behavior) {
				b.Fail[msauthtest.TokenCode] = []msauthtest.Failure{{Error: "invalid_client", Codes: []int{50011}}, second}
			})
			s.Browser(t).Get("/auth/login")
			s.MS.Set(func(b *msauthtest.Behavior) { clear(b.Fail) })
			wantFirstUsed(t, s, next)
		})
	}
}

// A visitor who goes away in the middle leaves no suspicion.
func TestVisitorWhoGoesAway(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	next := s.MS.AddSecret("the~next~secret")
	s.Restart(t, by(msauth.Secret(s.MS.ClientSecret), msauth.Secret("the~next~secret")))
	s.As(msauthtest.Ada)
	refused := msauthtest.Failure{Error: "invalid_client", Codes: []int{50011}}
	visitor := s.Browser(t)
	ctx, leave := context.WithCancel(t.Context())
	s.MS.Set(func(b *msauthtest.Behavior) {
		b.Fail[msauthtest.TokenCode] = []msauthtest.Failure{refused}
		b.Delay[msauthtest.TokenCode] = 300 * time.Millisecond
	})
	defer leave()
	req, err := http.NewRequestWithContext(ctx, "GET", s.URL+"/auth/login", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Sec-Fetch-Mode", "navigate")
	req.Header.Set("Sec-Fetch-Dest", "document")
	go func() {
		for s.MS.Count(msauthtest.TokenCode) < 1 {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(450 * time.Millisecond) // the second request is under way
		leave()
	}()
	if res, err := visitor.Client.Do(req); err == nil {
		t.Logf("answered %d", res.StatusCode)
		res.Body.Close()
	}
	time.Sleep(400 * time.Millisecond)
	s.MS.Set(func(b *msauthtest.Behavior) { clear(b.Fail); b.Delay = nil })
	t.Logf("calls: %d", s.MS.Count(msauthtest.TokenCode))
	wantFirstUsed(t, s, next)
}

// The names of an API's scopes are not the credential's fault.
func TestRefusedScopesLeaveFederatedTokensAlone(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	first, _ := federated(t, s.MS)
	second, next := federated(t, s.MS)
	s.Restart(t, by(first, second))
	s.As(msauthtest.Ada)
	s.MS.Set(func(b *msauthtest.Behavior) { b.ExpiresIn = 1 })
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	time.Sleep(1100 * time.Millisecond)
	s.MS.Set(func(b *msauthtest.Behavior) {
		bad := msauthtest.Failure{Error: "invalid_request", Codes: []int{90009}}
		b.Fail[msauthtest.TokenRefresh] = []msauthtest.Failure{bad, bad}
	})
	b.Get("/")
	s.MS.Set(func(b *msauthtest.Behavior) { clear(b.Fail) })
	wantFirstUsed(t, s, next)
}
