package main

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

const (
	principal = "8e3e9b3c-0d5c-4f0c-9c57-2f4f6a2c8f11" // object ID of the managed identity
	audience  = "api://AzureADTokenExchange"
)

// An azure stands in for the part of Azure that gives managed identities their
// tokens. azidentity remembers tokens for the whole process, by the client ID of
// the identity, so each test has its own.
type azure struct {
	*httptest.Server
	identity string             // client ID of the managed identity
	issuer   *msauthtest.Issuer // the tenant that issues its tokens
	header   http.Header        // that a request must have
	requests atomic.Int32
	status   atomic.Int32 // if not 0, of all answers
}

func newAzure(t *testing.T, identity, header, value string) *azure {
	t.Helper()
	a := &azure{identity: identity, issuer: msauthtest.NewIssuer(), header: http.Header{header: {value}}}
	t.Cleanup(a.issuer.Close)
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Server.Close)
	return a
}

func (a *azure) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.requests.Add(1)
	for name := range a.header {
		if r.Header.Get(name) != a.header.Get(name) {
			http.Error(w, "header "+name, http.StatusUnauthorized)
			return
		}
	}
	if got := r.FormValue("resource"); got != audience || r.FormValue("client_id") != a.identity {
		http.Error(w, "resource "+got+" for "+r.FormValue("client_id"), http.StatusBadRequest)
		return
	}
	if status := int(a.status.Load()); status != 0 {
		http.Error(w, `{"error":"invalid_request","error_description":"Identity not found"}`, status)
		return
	}
	const life = 24 * time.Hour
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]string{
		"access_token": a.issuer.Token(principal, audience, life), "token_type": "Bearer", "resource": audience, "client_id": a.identity,
		"expires_on": strconv.FormatInt(time.Now().Add(life).Unix(), 10),
	})
}

// newSite starts an app, with a stand-in for Microsoft that trusts the managed
// identity.
func newSite(t *testing.T, a *azure, app func(base string, ms *msauthtest.Server) http.Handler) (site string, federated *msauthtest.Credential) {
	t.Helper()
	ms := msauthtest.NewServer()
	t.Cleanup(ms.Close)
	ms.Secret().Remove()
	server := httptest.NewUnstartedServer(nil)
	site = "http://" + server.Listener.Addr().String()
	server.Config.Handler = app(site+"/auth", ms)
	server.Start()
	t.Cleanup(server.Close)
	return site, ms.AddFederated(a.issuer.URL, principal, audience)
}

// configured makes the app of this example from variables.
func configured(t *testing.T, a *azure) func(base string, ms *msauthtest.Server) http.Handler {
	return func(base string, ms *msauthtest.Server) http.Handler {
		_, handler, err := newApp(func(name string) string {
			return map[string]string{
				"AZURE_CLIENT_ID": ms.ClientID, "AZURE_AUTHORITY_HOST": ms.URL, "MANAGED_IDENTITY_CLIENT_ID": a.identity,
				"MSAUTH_BASE_URL": base, "MSAUTH_KEY": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
			}[name]
		})
		if err != nil {
			t.Fatal(err)
		}
		return handler
	}
}

func wantSignIn(t *testing.T, site string) {
	t.Helper()
	browser, err := msauthtest.Client(site, msauthtest.Ada)
	if err != nil {
		t.Fatal(err)
	}
	if got := get(t, browser, site); got != "Hello, Ada Lindqvist" {
		t.Errorf("page %q", got)
	}
}

func get(t *testing.T, client *http.Client, address string) string {
	t.Helper()
	res, err := client.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// On App Service, Functions and Container Apps, the environment names the endpoint.
func TestAppService(t *testing.T) {
	a := newAzure(t, "app-service", "X-Identity-Header", "a-header")
	t.Setenv("IDENTITY_ENDPOINT", a.URL+"/msi/token")
	t.Setenv("IDENTITY_HEADER", "a-header")
	site, federated := newSite(t, a, configured(t, a))
	for i := range 3 {
		wantSignIn(t, site)
		if got := federated.Accepted(); got != i+1 {
			t.Errorf("%d token requests with the managed identity's token, want %d", got, i+1)
		}
	}
	if n := a.requests.Load(); n != 1 {
		t.Errorf("%d requests for a token, want 1: it is valid for a day", n)
	}
	if got := get(t, http.DefaultClient, site+"/healthz"); got != "" {
		t.Errorf("not ready: %s", got)
	}
}

// On a virtual machine, the endpoint is at an address of its own. No variable
// changes that, so the test sends these requests elsewhere.
func TestVirtualMachine(t *testing.T) {
	a := newAzure(t, "virtual-machine", "Metadata", "true")
	site, federated := newSite(t, a, func(base string, ms *msauthtest.Server) http.Handler {
		managed, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{
			ID: azidentity.ClientID(a.identity), ClientOptions: azcore.ClientOptions{Transport: redirected(t, a.URL)},
		})
		if err != nil {
			t.Fatal(err)
		}
		auth, err := msauth.New(msauth.Config{
			ClientID: ms.ClientID, Credentials: []msauth.Credential{assertion(managed)}, Authority: ms.URL,
			BaseURL: base, Keys: [][]byte{[]byte("0123456789abcdef0123456789abcdef")},
		})
		if err != nil {
			t.Fatal(err)
		}
		mux := http.NewServeMux()
		mux.Handle("/auth/", auth)
		mux.Handle("/", auth.Require(http.HandlerFunc(hello)))
		return mux
	})
	wantSignIn(t, site)
	if federated.Accepted() != 1 || a.requests.Load() != 1 {
		t.Errorf("%d token requests with %d tokens", federated.Accepted(), a.requests.Load())
	}
}

// redirected returns a transport that sends requests for the metadata service to
// another server.
func redirected(t *testing.T, to string) *http.Client {
	other, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.URL.Host != "169.254.169.254" {
			t.Errorf("a request to %s", r.URL.Host)
		}
		r = r.Clone(r.Context())
		r.URL.Host = other.Host
		return http.DefaultTransport.RoundTrip(r)
	})}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Without a token nobody can sign in, and Ready says why. When there is one, the
// next attempt works.
func TestNoToken(t *testing.T) {
	a := newAzure(t, "not-assigned", "X-Identity-Header", "a-header")
	t.Setenv("IDENTITY_ENDPOINT", a.URL+"/msi/token")
	t.Setenv("IDENTITY_HEADER", "a-header")
	site, _ := newSite(t, a, configured(t, a))
	a.status.Store(http.StatusBadRequest)
	if _, err := msauthtest.Client(site, msauthtest.Ada); err == nil {
		t.Error("signed in without a token")
	}
	if got := get(t, http.DefaultClient, site+"/healthz"); !strings.Contains(got, "users cannot sign in") {
		t.Errorf("health: %q", got)
	}
	a.status.Store(0)
	wantSignIn(t, site)
	if got := get(t, http.DefaultClient, site+"/healthz"); got != "" {
		t.Errorf("health: %q", got)
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		env  map[string]string
		want string
	}{
		{nil, "MANAGED_IDENTITY_CLIENT_ID is not set"},
		{map[string]string{"MANAGED_IDENTITY_CLIENT_ID": "id", "MSAUTH_KEY": "????"}, "MSAUTH_KEY is not base64"},
		{map[string]string{"MANAGED_IDENTITY_CLIENT_ID": "id"}, "Config.ClientID"},
	} {
		err := run(t.Context(), func(name string) string { return tt.env[name] }, io.Discard, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "????") {
			t.Errorf("%v: error %v, want %q in it", tt.env, err, tt.want)
		}
	}
}

// When the platform ends the program it finishes a request that it has begun.
func TestEnd(t *testing.T) {
	t.Parallel()
	ms := msauthtest.NewServer()
	t.Cleanup(ms.Close)
	asked, release := make(chan struct{}, 100), make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-release
		ms.ServeHTTP(w, r)
	}))
	t.Cleanup(slow.Close)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(free.Addr().String())
	free.Close()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, func(name string) string {
			return map[string]string{
				"AZURE_CLIENT_ID": ms.ClientID, "AZURE_AUTHORITY_HOST": slow.URL, "MANAGED_IDENTITY_CLIENT_ID": "id",
				"MSAUTH_KEY": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=", "PORT": port,
			}[name]
		}, io.Discard, slog.New(slog.DiscardHandler))
	}()
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			conn.Close()
			break
		}
		if time.Since(began) > 10*time.Second {
			t.Fatal("it does not listen")
		}
	}
	answered := make(chan int, 1)
	go func() {
		defer close(answered)
		res, err := http.Get("http://127.0.0.1:" + port + "/healthz") // asks the provider
		if err != nil {
			t.Error(err)
			return
		}
		res.Body.Close()
		answered <- res.StatusCode
	}()
	<-asked
	stop()
	select {
	case err := <-ended:
		t.Fatalf("it has ended in the middle of a request: %v, %d", err, <-answered)
	case <-time.After(200 * time.Millisecond):
	}
	close(release)
	if status := <-answered; status == 0 {
		t.Errorf("the request has status %d", status)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
