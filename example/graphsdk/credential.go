// Package graphsdk shows how to use msgraph-sdk-go, Microsoft's client for Graph,
// for the user who is signed in: the adapter, and with the SDK everything that the
// LiveConnectClient of the Live SDK did. In plain.go is how to do it with
// [msauth.Session.Client] instead.
//
// It is a separate module because the SDK takes minutes to compile.
package graphsdk

import (
	"context"
	"net/url"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	msgraphsdk "github.com/microsoftgraph/msgraph-sdk-go"

	"example.com/msauth"
)

// Credential hands the tokens of one person's session to Microsoft's SDKs.
type Credential struct{ *msauth.Session }

var _ azcore.TokenCredential = Credential{}

// GetToken implements [azcore.TokenCredential].
func (c Credential) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if o.Claims != "" { // a challenge: Middleware.Challenge takes it to the person
		return azcore.AccessToken{}, &msauth.AuthError{Class: msauth.ClassStepUp, Claims: o.Claims}
	}
	token, err := c.Session.Token(ctx, o.Scopes...)
	if err != nil {
		return azcore.AccessToken{}, err
	}
	return azcore.AccessToken{Token: token.AccessToken, ExpiresOn: token.Expiry}, nil
}

// current is the Credential of whoever the context of a call belongs to. It is
// for Graph's client, which asks at every request. Clients of other Azure SDKs
// keep the token that they were given: make those for one Credential each.
type current struct{}

func (current) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	s, _ := msauth.FromContext(ctx)
	return Credential{s}.GetToken(ctx, o)
}

// NewClient makes the one client of an app, when it starts: making one replaces a
// global variable of the SDK, and each has a pool of connections. Its calls are
// made with the context of a request that [msauth.Middleware.Load] or Require
// let through. graph is "https://graph.microsoft.com/v1.0": the token is sent
// to that host and to no other, over https, or over http to a loopback host.
func NewClient(graph string) (*msgraphsdk.GraphServiceClient, error) {
	address, err := url.Parse(graph)
	if err != nil {
		return nil, err
	}
	// An empty list of hosts would mean all of Microsoft's.
	client, err := msgraphsdk.NewGraphServiceClientWithCredentialsAndHosts(current{}, nil, []string{address.Hostname()})
	if err != nil {
		return nil, err
	}
	client.GetAdapter().SetBaseUrl(graph)
	return client, nil
}
