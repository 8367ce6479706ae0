package provider

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/msauth/internal/credential"
	"example.com/msauth/internal/seal"
)

// A prover is a credential that makes one proof, and notes for whom.
type prover struct {
	name  string
	proof credential.Proof
	fail  error
	to    []credential.Recipient
}

func (p *prover) Prove(_ context.Context, to credential.Recipient) (credential.Proof, error) {
	p.to = append(p.to, to)
	return p.proof, p.fail
}
func (p *prover) Valid() (from, until time.Time) { return from, until }
func (p *prover) Expires() bool                  { return false }
func (p *prover) Name() string                   { return p.name }

// deaf is a credential.Observer.
type deaf struct{}

func (deaf) CredentialRefused(context.Context, string, time.Time, string, error) {}
func (deaf) CredentialFault(context.Context, error)                              {}
func (deaf) CredentialChanged(context.Context, string, time.Time)                {}
func (deaf) CredentialEnds(context.Context, string, time.Time)                   {}

// ringOf is the ring of an app with these credentials.
func ringOf(all ...credential.Credential) *credential.Ring {
	var sources []credential.Source
	for _, c := range all {
		sources = append(sources, credential.Fixed(c))
	}
	return credential.NewRing(sources, 0, deaf{})
}

// signing is one of testKeys with a certificate of its own.
func signing(t *testing.T, n int, o credential.Options) credential.Credential {
	t.Helper()
	key := testKeys()[n]
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := credential.NewSigned(tls.Certificate{PrivateKey: key, Certificate: [][]byte{der}}, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// foreignToken is an assertion of another issuer.
func foreignToken() string {
	return signJWT(1, headerOf("of-the-cluster"), map[string]any{"iss": "https://cluster.example", "sub": "system:serviceaccount:shop", "aud": "api://AzureADTokenExchange"})
}

// A request that carries an assertion carries no secret, and says what it is (RFC
// 7521 section 4.2).
func TestRequestsWithAnAssertion(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		provider func(*testing.T) (*Authority, *published)
		token    string // the token endpoint
		proof    func(t *testing.T) credential.Credential
		audience string
	}{
		{"a certificate at Entra", entraProvider, entraBase + "/token",
			func(t *testing.T) credential.Credential {
				return signing(t, 0, credential.Options{Microsoft: true})
			}, entraBase + "/token"},
		{"a certificate at B2C", b2cProvider, b2cBase + "/token",
			func(t *testing.T) credential.Credential {
				return signing(t, 0, credential.Options{Microsoft: true})
			}, b2cBase + "/token"},
		{"a key elsewhere", plainProvider, otherBase + "/token",
			func(t *testing.T) credential.Credential { return signing(t, 0, credential.Options{}) }, otherBase},
		{"another issuer's token", entraProvider, entraBase + "/token",
			func(*testing.T) credential.Credential {
				return &prover{name: "token", proof: credential.Proof{Assertion: seal.Secret(foreignToken())}}
			}, "api://AzureADTokenExchange"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			a, web := test.provider(t)
			endpoint := endpointOf(a)
			endpoint.Credentials = ringOf(test.proof(t))
			requests := answer(web, test.token, goodReply)
			if _, failure := endpoint.Redeem(t.Context(), testCode, "a-verifier", ""); failure != nil {
				t.Fatal(failure)
			}
			if _, failure := endpoint.Refresh(t.Context(), testRefresh, RefreshRequest{Purpose: PurposeRenewal}); failure != nil {
				t.Fatal(failure)
			}
			grants := []url.Values{
				{"grant_type": {"authorization_code"}, "code": {testCode}, "code_verifier": {"a-verifier"}, "redirect_uri": {endpoint.RedirectURI}},
				{"grant_type": {"refresh_token"}, "refresh_token": {testRefresh}},
			}
			if len(*requests) != len(grants) {
				t.Fatalf("%d requests, want %d", len(*requests), len(grants))
			}
			for i, want := range grants {
				got := (*requests)[i]
				assertion := got.form.Get("client_assertion")
				want.Set("client_id", testClient)
				want.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
				want.Set("client_assertion", assertion)
				if !maps.EqualFunc(got.form, want, slices.Equal) {
					t.Errorf("sent %v, want %v", got.form, want)
				}
				if h := got.header["Authorization"]; h != nil {
					t.Errorf("Authorization: %q", h)
				}
				if claims, err := unverifiedClaims(assertion); err != nil || claims.text("aud") != test.audience {
					t.Errorf("for %q, want %q: %v", claims.text("aud"), test.audience, err)
				}
			}
		})
	}
}

// For whom a proof is: Microsoft's services want the endpoint, others their issuer.
func TestRecipient(t *testing.T) {
	t.Parallel()
	const exchange = "api://AzureADTokenExchange"
	algorithms := []string{"ES256", "RS256"}
	common, consumers := testOrigin+"/common/token", testOrigin+"/consumers/token"
	for _, test := range []struct {
		name     string
		provider func(*testing.T) (*Authority, *published)
		base     string // discovery is below it
		changes  []any  // in discovery
		request  RefreshRequest
		want     []credential.Recipient // besides ClientID, one for each request
	}{
		{"a tenant of Entra", entraProvider, entraBase, nil, RefreshRequest{}, []credential.Recipient{{Endpoint: entraBase + "/token", Exchange: exchange}}},
		{"Entra for all", commonProvider, testOrigin + "/common/v2.0", []any{"token_endpoint", common}, RefreshRequest{}, []credential.Recipient{{Endpoint: common, Exchange: exchange}}},
		{"Entra for personal accounts", commonProvider, testOrigin + "/common/v2.0", []any{"token_endpoint", common}, RefreshRequest{Personal: true},
			[]credential.Recipient{{Endpoint: common, Exchange: exchange}, {Endpoint: consumers, Exchange: exchange}}},
		{"B2C", b2cProvider, b2cBase, nil, RefreshRequest{}, []credential.Recipient{{Endpoint: b2cBase + "/token", Exchange: exchange}}},
		{"External ID", ciamProvider, ciamBase, nil, RefreshRequest{}, []credential.Recipient{{Endpoint: ciamBase + "/token", Exchange: exchange}}},
		{"Microsoft, whatever it announces", entraProvider, entraBase, []any{"token_endpoint_auth_signing_alg_values_supported", algorithms}, RefreshRequest{},
			[]credential.Recipient{{Endpoint: entraBase + "/token", Exchange: exchange}}},
		{"another provider", plainProvider, otherBase, nil, RefreshRequest{}, []credential.Recipient{{Endpoint: otherBase + "/token", Issuer: otherBase, Exchange: otherBase}}},
		{"another provider that announces algorithms", plainProvider, otherBase, []any{"token_endpoint_auth_signing_alg_values_supported", algorithms}, RefreshRequest{},
			[]credential.Recipient{{Endpoint: otherBase + "/token", Issuer: otherBase, Exchange: otherBase, Algorithms: algorithms}}},
		{"another provider that announces nonsense", plainProvider, otherBase, []any{"token_endpoint_auth_signing_alg_values_supported", 7}, RefreshRequest{},
			[]credential.Recipient{{Endpoint: otherBase + "/token", Issuer: otherBase, Exchange: otherBase}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			a, web := test.provider(t)
			where := test.base + "/.well-known/openid-configuration"
			web.set(where, with(web.pages[where].(map[string]any), test.changes...))
			for i, to := range test.want {
				answer(web, to.Endpoint, func(url.Values) (int, map[string]any) {
					if i < len(test.want)-1 {
						return 400, map[string]any{"error": "invalid_grant", "suberror": "bad_token"}
					}
					return goodReply(nil)
				})
				test.want[i].ClientID = testClient
			}
			c := &prover{name: "secret", proof: credential.Proof{Secret: testSecret}}
			endpoint := endpointOf(a)
			endpoint.Credentials = ringOf(c)
			if _, failure := endpoint.Refresh(t.Context(), testRefresh, test.request); failure != nil {
				t.Fatal(failure)
			}
			if !reflect.DeepEqual(c.to, test.want) {
				t.Errorf("for %+v, want %+v", c.to, test.want)
			}
		})
	}
	// Tokens of other issuers are for the exchange of the cloud.
	for origin, want := range map[string]string{
		"https://login.microsoftonline.com": exchange, "https://login.microsoftonline.us": "api://AzureADTokenExchangeUSGov",
		"https://login.partner.microsoftonline.cn": "api://AzureADTokenExchangeChina", "https://login.sovcloud-identity.fr": exchange, "http://localhost:8090": exchange,
	} {
		endpoint := endpointOf(NewAuthority(Settings{Kind: Entra, Origin: origin, Tenant: "common"}))
		if to := endpoint.recipient(&Metadata{Issuer: origin + "/{tenantid}/v2.0"}, origin+"/common/token"); to.Exchange != want || to.Issuer != "" {
			t.Errorf("%s: %+v, want %s", origin, to, want)
		}
	}
}

// What an answer says of the credential that the request carried.
func TestJudge(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		status  int
		code    string
		sub     string
		purpose Purpose
		want    credential.Verdict
	}{
		{"tokens", 200, "", "", purposeRedeem, credential.Accepted},
		{"a code that was used", 400, "invalid_grant", "", purposeRedeem, credential.Unknown},
		{"another factor is missing for a code", 400, "interaction_required", "", purposeRedeem, credential.Unknown},
		{"a refresh token that has ended", 400, "invalid_grant", "bad_token", PurposeRenewal, credential.Accepted},
		{"consent is missing", 400, "invalid_grant", "consent_required", PurposeScopes, credential.Accepted},
		{"another factor is missing", 400, "interaction_required", "", PurposeRenewal, credential.Accepted},
		{"the client is refused", 401, "invalid_client", "", purposeRedeem, credential.Refused},
		{"the client is refused, status 400", 400, "invalid_client", "", PurposeRenewal, credential.Refused},
		{"a malformed request", 400, "invalid_request", "", PurposeRenewal, credential.Unknown},
		{"the app may not use the grant", 400, "unauthorized_client", "", PurposeRenewal, credential.Unknown},
		{"an unknown scope", 400, "invalid_scope", "", PurposeRenewal, credential.Unknown},
		{"a token of another app", 400, "invalid_grant", "client_mismatch", PurposeRenewal, credential.Unknown},
		{"an outage that speaks of the client", 503, "invalid_client", "", PurposeRenewal, credential.Unknown},
		{"too many requests", 429, "invalid_client", "", PurposeRenewal, credential.Unknown},
		{"an outage", 500, "", "", PurposeRenewal, credential.Unknown},
		{"later", 400, "temporarily_unavailable", "", PurposeRenewal, credential.Unknown},
		{"no OAuth reply", 401, "", "", PurposeRenewal, credential.Unknown},
	} {
		var failure *Failure
		if test.status != 200 {
			failure = &Failure{Class: classify(test.status, test.code, test.sub, test.purpose), StatusCode: test.status, Code: test.code, Suberror: test.sub}
		}
		if got := judge(failure, test.purpose); got != test.want {
			t.Errorf("%s: verdict %d, want %d", test.name, got, test.want)
		}
	}
}

// A reply that repeats an assertion shows nothing of it.
func TestErrorsContainNoAssertion(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]credential.Credential{
		"our own":   signing(t, 0, credential.Options{Microsoft: true, Chain: true}),
		"a foreign": &prover{name: "token", proof: credential.Proof{Assertion: seal.Secret(foreignToken())}},
		"a short":   &prover{name: "token", proof: credential.Proof{Assertion: "e30.e30.c2hvcnQ"}},
	} {
		a, web := entraProvider(t)
		endpoint := endpointOf(a)
		endpoint.Credentials = ringOf(c)
		var assertion string
		web.set(entraBase+"/token", func(r *http.Request) (*http.Response, error) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return nil, err
			}
			form, _ := url.ParseQuery(string(body))
			assertion = form.Get("client_assertion")
			return reply(r, 400, "application/json", mustJSON(map[string]any{
				"error": "refused " + assertion, "suberror": assertion, "trace_id": string(body), "correlation_id": "id " + assertion,
				"error_description": "AADSTS50027: JWT token is invalid: " + assertion + " in " + string(body),
				"claims":            mustJSON(map[string]any{"access_token": map[string]any{"x": map[string]any{"value": assertion}}}),
			})), nil
		})
		_, failure := endpoint.Redeem(t.Context(), testCode, "the-verifier-of-this-attempt", "")
		if failure == nil || assertion == "" || !slices.Equal(failure.Numbers, []int{50027}) || !strings.Contains(failure.Description, seal.Hidden) {
			t.Fatalf("%s: %+v", name, failure)
		}
		text := fmt.Sprintf("%+v %#v %v", *failure, *failure, failure)
		for _, part := range append(strings.Split(assertion, "."), testCode) {
			if len(part) > 3 && strings.Contains(text, part) {
				t.Errorf("%s: %q is in %s", name, part, text)
			}
		}
	}
}

// refuse is a refusal.
func refuse(code, description string) (int, map[string]any) {
	return 401, map[string]any{"error": code, "error_description": description}
}

// If a credential is refused the same request is made with the next one.
func TestNextCredentialForTheSameRequest(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		provider func(*testing.T) (*Authority, *published)
		token    string
		options  credential.Options
	}{
		{"Entra", entraProvider, entraBase + "/token", credential.Options{Microsoft: true}},
		{"a provider that wants secrets by Basic", plainProvider, otherBase + "/token", credential.Options{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			a, web := test.provider(t)
			endpoint := endpointOf(a)
			endpoint.Capability = Capability
			endpoint.Credentials = ringOf(&prover{name: "secret", proof: credential.Proof{Secret: testSecret}}, signing(t, 0, test.options))
			requests := answer(web, test.token, func(form url.Values) (int, map[string]any) {
				if !form.Has("client_assertion") {
					return refuse("invalid_client", "AADSTS7000222: the secret has ended")
				}
				return goodReply(form)
			})
			scopes := "openid api://" + testClient + "/Orders.Read"
			tokens, failure := endpoint.Redeem(t.Context(), testCode, "a-verifier", scopes)
			if failure != nil || tokens.Access != "new-access" {
				t.Fatal(failure)
			}
			if len(*requests) != 2 {
				t.Fatalf("%d requests, want one for each credential", len(*requests))
			}
			first, second := (*requests)[0], (*requests)[1]
			if _, _, basic := (&http.Request{Header: first.header}).BasicAuth(); !basic && first.form.Get("client_secret") != testSecret || first.form.Has("client_assertion") {
				t.Errorf("first %v", first.form)
			}
			if second.header["Authorization"] != nil || second.form.Has("client_secret") || second.form.Get("client_id") != testClient || second.form.Get("client_assertion") == "" {
				t.Errorf("then %v, Authorization %q", second.form, second.header["Authorization"])
			}
			for _, r := range []tokenRequest{first, second} {
				for _, name := range []string{"client_id", "client_secret", "client_assertion", "client_assertion_type"} {
					r.form.Del(name)
				}
			}
			if !maps.EqualFunc(first.form, second.form, slices.Equal) || first.form.Get("code") != testCode || first.path != second.path {
				t.Errorf("%v at %s, then %v at %s", first.form, first.path, second.form, second.path)
			}
			// The next request does not ask again.
			*requests = nil
			if _, failure := endpoint.Refresh(t.Context(), testRefresh, RefreshRequest{}); failure != nil || len(*requests) != 1 || !(*requests)[0].form.Has("client_assertion") {
				t.Errorf("%d more requests, %v", len(*requests), failure)
			}
		})
	}
}

// Where no credential helps, the first failure says why: what is preferred is what
// the operator should mend. A refusal of the code is no refusal of the credential.
func TestRequestThatNoCredentialHelps(t *testing.T) {
	t.Parallel()
	stuck := errors.New("the device does not answer")
	for _, test := range []struct {
		name   string
		fail   error                                     // of the first credential
		answer func(secret string) (int, map[string]any) // to each
		sent   []string                                  // secrets
		class  Class
		want   string // in the failure
	}{
		{"both are refused", nil, func(secret string) (int, map[string]any) {
			return refuse("invalid_client", "AADSTS7000215: "+secret[:3])
		},
			[]string{"one-secret", "two-secret"}, Misconfigured, "invalid_client: AADSTS7000215: one"},
		{"the code is refused", nil, func(string) (int, map[string]any) { return refuse("invalid_grant", "AADSTS54005: the code was used") },
			[]string{"one-secret"}, Replay, "AADSTS54005"},
		{"the code is refused after a credential", nil, func(secret string) (int, map[string]any) {
			if secret == "one-secret" {
				return refuse("invalid_client", "AADSTS7000222")
			}
			return refuse("invalid_grant", "AADSTS54005: the code was used")
		}, []string{"one-secret", "two-secret"}, Replay, "AADSTS54005"},
		{"an outage", nil, func(string) (int, map[string]any) { return 503, map[string]any{"error": "invalid_client"} },
			[]string{"one-secret"}, Retry, "invalid_client"},
		{"an outage after a refusal", nil, func(secret string) (int, map[string]any) {
			if secret == "one-secret" {
				return refuse("invalid_client", "AADSTS7000222")
			}
			return 503, nil
		}, []string{"one-secret", "two-secret"}, Retry, "msauth: retry"},
		{"no proof, and no other is accepted", stuck, func(string) (int, map[string]any) { return refuse("invalid_client", "AADSTS7000222") },
			[]string{"two-secret"}, Misconfigured, "AADSTS7000222"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			a, web := entraProvider(t)
			endpoint := endpointOf(a)
			endpoint.Credentials = ringOf(
				&prover{name: "one", proof: credential.Proof{Secret: "one-secret"}, fail: test.fail},
				&prover{name: "two", proof: credential.Proof{Secret: "two-secret"}})
			var sent []string
			answer(web, entraBase+"/token", func(form url.Values) (int, map[string]any) {
				sent = append(sent, form.Get("client_secret"))
				return test.answer(form.Get("client_secret"))
			})
			tokens, failure := endpoint.Redeem(t.Context(), testCode, "a-verifier", "")
			if tokens != nil || failure == nil {
				t.Fatalf("%v, %v", tokens, failure)
			}
			if wantFault(t, failure, test.want); failure.Class != test.class {
				t.Errorf("class %q of %v, want %q", failure.Class, failure, test.class)
			}
			if !slices.Equal(sent, test.sent) {
				t.Errorf("sent %q, want %q", sent, test.sent)
			}
		})
	}
}

// Without a proof there is no request.
func TestNoRequestWithoutAProof(t *testing.T) {
	t.Parallel()
	endpoint, web := plainEndpoint(t)
	requests := answer(web, otherBase+"/token", goodReply)
	stuck := errors.New("the device does not answer")
	endpoint.Credentials = ringOf(&prover{name: "key", fail: stuck})
	for name, failure := range map[string]*Failure{
		"a renewal": func() *Failure { _, f := endpoint.Refresh(t.Context(), testRefresh, RefreshRequest{}); return f }(),
		"a probe":   endpoint.Probe(t.Context()),
	} {
		if wantFault(t, failure, "msauth: key: the device does not answer"); failure.Class != Retry || !errors.Is(failure, stuck) {
			t.Errorf("%s: class %q", name, failure.Class)
		}
	}
	if len(*requests) != 0 {
		t.Errorf("%d requests", len(*requests))
	}
}
