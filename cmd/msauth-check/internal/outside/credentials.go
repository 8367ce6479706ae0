package outside

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"example.com/msauth/cmd/msauth-check/internal/settings"
	"example.com/msauth/internal/credential"
	"example.com/msauth/internal/provider"
)

// noSecret is a client secret that no app has. It takes the place of the app's own in
// one request: what Microsoft refuses about that tells nothing of a credential, and if it
// refuses nothing, its answers tell nothing of the others either.
const noSecret = "msauth-check-sends-a-secret-that-nobody-has"

// checkCredentials asks whether the app exists and each credential is accepted, by token
// requests with a refresh token that nobody has issued. Whether Microsoft looks at the
// credential before the token is not documented; the request with noSecret shows it.
func (c *checks) checkCredentials(ctx context.Context) {
	if c.set.ClientID == "" {
		return
	}
	var wg sync.WaitGroup
	answers := make([]*provider.Failure, len(c.set.Credentials))
	for i, one := range c.set.Credentials {
		wg.Go(func() { answers[i] = c.probe(ctx, one.Source) })
	}
	secret, err := credential.NewSecret(noSecret, "no secret")
	if err != nil {
		return
	}
	control := c.probe(ctx, credential.Fixed(secret))
	wg.Wait()

	if c.aboutApp(control) {
		return
	}
	tells := control.Class == provider.Misconfigured && control.Code == "invalid_client"
	unjudged := false
	for i, one := range c.set.Credentials {
		switch failure := answers[i]; {
		case c.aboutApp(failure):
			return
		case accepted(failure):
			unjudged = unjudged || !tells
		default:
			c.refused(one, failure)
		}
	}
	switch {
	case unjudged:
		c.report.Found("credential-unjudged", fmt.Sprintf("A secret that nobody has is not refused as a wrong one: %s", sentence(control)), control.Numbers...)
	case len(c.set.Credentials) == 0:
		c.report.Checked("app")
	default:
		c.report.Checked("app")
		c.report.Checked("credentials")
	}
}

// probe makes a token request with one credential. The answer is never nil.
func (c *checks) probe(ctx context.Context, source credential.Source) *provider.Failure {
	endpoint := &provider.TokenEndpoint{
		Authority: c.authority, ClientID: c.set.ClientID, Client: c.client,
		Credentials: credential.NewRing([]credential.Source{source}, 0, NoObserver{}),
	}
	if c.set.Base != nil {
		endpoint.RedirectURI = c.set.Page("callback")
	}
	return endpoint.Probe(ctx)
}

// appFindings are findings about the app or the tenant, whatever the credential.
var appFindings = []string{"app-unknown", "app-disabled", "app-single-tenant", "app-personal-only", "service-principal-missing", "tenant-unknown", "app-refused", "token-endpoint-failed"}

// aboutApp reports an answer that is about the app, or that was none.
func (c *checks) aboutApp(failure *provider.Failure) bool {
	switch id := firstKnown(failure.Numbers); {
	case slices.Contains(appFindings, id):
		c.report.Found(id, sentence(failure), failure.Numbers...)
	case failure.Class == provider.Retry && failure.Err != nil && c.unreachable(failure.Err, host(c.known().Token)):
	case failure.Class == provider.Retry:
		c.report.Found("token-endpoint-failed", fmt.Sprintf("%s: %s", c.known().Token, sentence(failure)), failure.Numbers...)
	default:
		return false
	}
	return true
}

// known is what discovery has said.
func (c *checks) known() *provider.Metadata {
	meta, err := c.authority.Known()
	if err != nil {
		return new(provider.Metadata)
	}
	return meta
}

// aboutToken are numbers of refusals of a refresh token, whatever error comes with them.
var aboutToken = []int{9002313, 70000, 70008, 700082}

// accepted reports whether an answer is about the refresh token, and so not about the
// credential.
func accepted(failure *provider.Failure) bool {
	switch failure.Class {
	case provider.SignIn, provider.StepUp, provider.Replay:
		return true
	}
	return slices.ContainsFunc(failure.Numbers, func(n int) bool { return slices.Contains(aboutToken, n) })
}

// refused reports a credential that is not accepted.
func (c *checks) refused(one settings.Credential, failure *provider.Failure) {
	id := firstKnown(failure.Numbers)
	what := one.Name + ": " + sentence(failure)
	switch {
	case id == "secret-wrong" && one.SecretID:
		id = "secret-is-id"
	case id == "assertion-time" && c.report.Has("clock-off"):
		return // which says it already
	case id == "":
		id = "credential-refused"
	}
	c.report.Found(id, what, failure.Numbers...)
}

// NoObserver is an observer of a ring whose answers are read directly.
type NoObserver struct{}

func (NoObserver) CredentialRefused(context.Context, string, time.Time, string, error) {}
func (NoObserver) CredentialFault(context.Context, error)                              {}
func (NoObserver) CredentialChanged(context.Context, string, time.Time)                {}
func (NoObserver) CredentialEnds(context.Context, string, time.Time)                   {}
