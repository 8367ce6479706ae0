// Command managedidentity is a web app on Azure that keeps neither a secret nor a
// private key: to prove itself when a user signs in, it sends Microsoft a token of
// its managed identity.
//
// The managed identity must be a user-assigned one, and the app registration needs
// a federated credential that trusts it: see docs/credentials.md. These variables
// configure the app:
//
//	AZURE_CLIENT_ID             the app registration
//	AZURE_TENANT_ID             who can sign in; by default common
//	AZURE_AUTHORITY_HOST        another cloud, such as https://login.microsoftonline.us/
//	MANAGED_IDENTITY_CLIENT_ID  the client ID of the managed identity
//	MSAUTH_BASE_URL             public URL of /auth, by default http://localhost:PORT/auth
//	MSAUTH_KEY                  openssl rand -base64 32
//	PORT                        by default 8080
//
// It is a separate module because of its dependency, Microsoft's azidentity.
package main

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"example.com/msauth"
	"example.com/msauth/example/internal/webapp"
)

func main() { webapp.Main(run) }

// run serves the app until ctx is done, which it is when the platform ends the program:
// requests are finished, and token requests under way.
func run(ctx context.Context, getenv func(string) string, out io.Writer, log *slog.Logger) error {
	auth, handler, err := newApp(getenv)
	if err != nil {
		return err
	}
	listener, err := webapp.Listen(":"+cmp.Or(getenv("PORT"), "8080"), "go run .")
	if err != nil {
		return err
	}
	defer listener.Close()
	return webapp.Serve(ctx, listener, handler, auth.Close, out, log)
}

// newApp makes the app.
func newApp(getenv func(string) string) (*msauth.Middleware, http.Handler, error) {
	proof, err := managedIdentity(getenv("MANAGED_IDENTITY_CLIENT_ID"))
	if err != nil {
		return nil, nil, err
	}
	key, err := base64.StdEncoding.DecodeString(getenv("MSAUTH_KEY"))
	if err != nil {
		return nil, nil, errors.New("MSAUTH_KEY is not base64") // err would show part of it
	}
	auth, err := msauth.New(msauth.Config{
		ClientID:    getenv("AZURE_CLIENT_ID"),
		Credentials: []msauth.Credential{proof},
		Tenant:      getenv("AZURE_TENANT_ID"),
		Authority:   getenv("AZURE_AUTHORITY_HOST"),
		BaseURL:     cmp.Or(getenv("MSAUTH_BASE_URL"), "http://localhost:"+cmp.Or(getenv("PORT"), "8080")+"/auth"),
		Keys:        [][]byte{key},
	})
	if err != nil {
		return nil, nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/auth/", auth)
	mux.Handle("/healthz", ready(auth))
	mux.Handle("/", auth.Require(http.HandlerFunc(hello)))
	return auth, mux, nil
}

// managedIdentity returns the credential that a user-assigned managed identity
// makes. The SDK finds out where the app runs, and keeps a token until five minutes
// before it ends.
func managedIdentity(clientID string) (msauth.Credential, error) {
	if clientID == "" { // azidentity would use the system-assigned one
		return msauth.Credential{}, errors.New("MANAGED_IDENTITY_CLIENT_ID is not set: an app registration can trust user-assigned managed identities only")
	}
	managed, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ID: azidentity.ClientID(clientID)})
	if err != nil {
		return msauth.Credential{}, err
	}
	return assertion(managed), nil
}

// assertion returns the credential that tokens of Microsoft's SDK make.
func assertion(tokens azcore.TokenCredential) msauth.Credential {
	return msauth.Assertion(func(ctx context.Context, audience string) (string, error) {
		token, err := tokens.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{audience + "/.default"}})
		return token.Token, err
	})
}

func hello(w http.ResponseWriter, r *http.Request) {
	s, _ := msauth.FromContext(r.Context())
	fmt.Fprintf(w, "Hello, %s", s.User.Name)
}

// ready says whether users can sign in, for alerts. The log has the reason if not.
func ready(auth *msauth.Middleware) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := auth.Ready(r.Context()); err != nil {
			log.Print(err)
			http.Error(w, "users cannot sign in", http.StatusServiceUnavailable)
		}
	})
}
