package provider

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const (
	testSecret  = "the/secret+of-this~app"
	testCode    = "an-authorization-code"
	testRefresh = "the-refresh-token-of-a-session"
)

// endpointOf is the token endpoint of a provider.
func endpointOf(a *Authority) *TokenEndpoint {
	return &TokenEndpoint{
		Authority: a, ClientID: testClient, Credentials: secretRing(testSecret), RedirectURI: "https://app.example.com/auth/callback", Client: a.Client,
	}
}

// plainEndpoint is the token endpoint of a provider that is not Microsoft's, at
// otherBase + "/token".
func plainEndpoint(t *testing.T) (*TokenEndpoint, *published) {
	a, web := plainProvider(t)
	return endpointOf(a), web
}

// A tokenRequest is what a token endpoint was sent.
type tokenRequest struct {
	form   url.Values
	header http.Header
	path   string
}

// answer makes a token endpoint answer with f, and returns what it was sent.
func answer(web *published, address string, f func(form url.Values) (status int, body map[string]any)) *[]tokenRequest {
	var requests []tokenRequest
	web.set(address, func(r *http.Request) (*http.Response, error) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return nil, err
		}
		requests = append(requests, tokenRequest{form, r.Header.Clone(), r.URL.Path})
		status, members := f(form)
		return reply(r, status, "application/json", mustJSON(members)), nil
	})
	return &requests
}

// goodReply is a reply with all tokens.
func goodReply(url.Values) (int, map[string]any) {
	return 200, map[string]any{"access_token": "new-access", "refresh_token": "new-refresh", "token_type": "bearer", "id_token": "x.y.z", "scope": " openid  User.Read "}
}

func TestRedeem(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		methods []string // token_endpoint_auth_methods_supported
		scopes  string
		want    map[string]string // of the form, besides what is always there
		basic   bool
	}{
		{"secret by Basic", nil, "", nil, true},
		{"secret in the body", []string{"client_secret_post"}, "", map[string]string{"client_id": testClient, "client_secret": testSecret}, false},
		{"with scopes", nil, "api://" + testClient + "/Orders.Read openid", map[string]string{"scope": testClient + "/Orders.Read openid"}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			endpoint, web := plainEndpoint(t)
			web.set(otherDiscovery, with(web.pages[otherDiscovery].(map[string]any), "token_endpoint_auth_methods_supported", test.methods))
			requests := answer(web, otherBase+"/token", goodReply)
			tokens, failure := endpoint.Redeem(t.Context(), testCode, "a-verifier", test.scopes)
			if failure != nil {
				t.Fatal(failure)
			}
			if tokens.Access != "new-access" || tokens.Refresh != "new-refresh" || tokens.IDToken != "x.y.z" || tokens.Scopes != "openid User.Read" || tokens.Identity != nil {
				t.Errorf("%+v", tokens)
			}
			want := url.Values{
				"grant_type": {"authorization_code"}, "code": {testCode}, "code_verifier": {"a-verifier"}, "redirect_uri": {endpoint.RedirectURI},
			}
			for name, value := range test.want {
				want.Set(name, value)
			}
			got := (*requests)[0]
			if !maps.EqualFunc(got.form, want, slices.Equal) {
				t.Errorf("sent %v, want %v", got.form, want)
			}
			id, secret, ok := (&http.Request{Header: got.header}).BasicAuth()
			if ok != test.basic || ok && (id != testClient || secret != url.QueryEscape(testSecret)) {
				t.Errorf("Basic %t %q %q, want %t", ok, id, secret, test.basic)
			}
		})
	}
}

// commonEndpoint is the token endpoint of Entra for all accounts, and what it was
// sent: path and scope of each refresh request.
func commonEndpoint(t *testing.T, f func(path string, form url.Values) (int, map[string]any)) (*TokenEndpoint, *[]string) {
	a, web := commonProvider(t)
	where := testOrigin + "/common/v2.0/.well-known/openid-configuration"
	web.set(where, with(web.pages[where].(map[string]any), "token_endpoint", testOrigin+"/common/token"))
	var sent []string
	for _, path := range []string{"/common/token", "/consumers/token"} {
		answer(web, testOrigin+path, func(form url.Values) (int, map[string]any) {
			if form.Get("grant_type") != "refresh_token" || form.Get("refresh_token") != testRefresh || form.Get("client_secret") != testSecret {
				t.Errorf("sent %v", form)
			}
			sent = append(sent, path+" "+form.Get("scope"))
			return f(path, form)
		})
	}
	return endpointOf(a), &sent
}

// A request that was refused is sent again only in a form that may help.
func TestRefreshTriesOtherForms(t *testing.T) {
	t.Parallel()
	const api = "api://" + testClient + "/Orders.Read"
	refuse := func(code, suberror string) (int, map[string]any) {
		return 400, map[string]any{"error": code, "suberror": suberror}
	}
	for _, test := range []struct {
		name    string
		request RefreshRequest
		answer  func(path string, form url.Values) (int, map[string]any)
		sent    []string // path and scope of each request
		class   Class    // "" if tokens are returned
	}{
		{"at once", RefreshRequest{Scopes: "a", Fewer: "a"}, func(_ string, form url.Values) (int, map[string]any) { return goodReply(form) },
			[]string{"/common/token a"}, ""},
		{"no scopes", RefreshRequest{}, func(_ string, form url.Values) (int, map[string]any) { return goodReply(form) },
			[]string{"/common/token "}, ""},
		{"by GUID", RefreshRequest{Scopes: api, Fewer: api}, func(_ string, form url.Values) (int, map[string]any) {
			if strings.HasPrefix(form.Get("scope"), "api:") {
				return refuse("invalid_resource", "")
			}
			return goodReply(form)
		}, []string{"/common/token " + api, "/common/token " + testClient + "/Orders.Read"}, ""},
		{"by GUID in vain", RefreshRequest{Scopes: api, Fewer: api}, func(string, url.Values) (int, map[string]any) { return refuse("invalid_resource", "") },
			[]string{"/common/token " + api, "/common/token " + testClient + "/Orders.Read"}, Misconfigured},
		{"a bad secret", RefreshRequest{Scopes: api, Fewer: api}, func(string, url.Values) (int, map[string]any) { return refuse("invalid_client", "") },
			[]string{"/common/token " + api}, Misconfigured},
		{"fewer scopes", RefreshRequest{Scopes: "a b", Fewer: "a"}, func(_ string, form url.Values) (int, map[string]any) {
			if form.Get("scope") != "a" {
				return refuse("invalid_grant", "consent_required")
			}
			return goodReply(form)
		}, []string{"/common/token a b", "/common/token a"}, ""},
		{"at consumers", RefreshRequest{Scopes: "a", Fewer: "a", Personal: true}, func(path string, form url.Values) (int, map[string]any) {
			if path != "/consumers/token" {
				return refuse("invalid_grant", "bad_token")
			}
			return goodReply(form)
		}, []string{"/common/token a", "/consumers/token a"}, ""},
		{"not at consumers", RefreshRequest{Scopes: "a", Fewer: "a"}, func(string, url.Values) (int, map[string]any) { return refuse("invalid_grant", "bad_token") },
			[]string{"/common/token a"}, SignIn},
		{"an outage", RefreshRequest{Scopes: "a b", Fewer: "a"}, func(string, url.Values) (int, map[string]any) {
			return 503, map[string]any{"error": "invalid_grant"}
		}, []string{"/common/token a b"}, Retry},
		{"an outage that speaks of consent", RefreshRequest{Scopes: "a b", Fewer: "a"}, func(string, url.Values) (int, map[string]any) {
			return 503, map[string]any{"error": "consent_required"}
		}, []string{"/common/token a b"}, Retry},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			endpoint, sent := commonEndpoint(t, test.answer)
			test.request.Purpose = PurposeRenewal
			tokens, failure := endpoint.Refresh(t.Context(), testRefresh, test.request)
			if !slices.Equal(*sent, test.sent) {
				t.Errorf("sent %q, want %q", *sent, test.sent)
			}
			if test.class != "" {
				if failure == nil || failure.Class != test.class || tokens != nil {
					t.Errorf("%v, want class %q", failure, test.class)
				}
				return
			}
			if failure != nil || tokens.Access != "new-access" {
				t.Fatal(failure)
			}
			if len(test.sent) == 1 || test.request.Fewer != test.request.Scopes {
				return
			}
			// What one session has found out serves the next.
			*sent = nil
			if _, failure := endpoint.Refresh(t.Context(), testRefresh, test.request); failure != nil || !slices.Equal(*sent, test.sent[1:]) {
				t.Errorf("then sent %q: %v", *sent, failure)
			}
		})
	}
}

func TestRefreshTokenThatStays(t *testing.T) {
	t.Parallel()
	endpoint, web := plainEndpoint(t)
	endpoint.Capability = Capability
	requests := answer(web, otherBase+"/token", func(url.Values) (int, map[string]any) {
		return 200, map[string]any{"access_token": "new-access", "token_type": "Bearer"}
	})
	tokens, failure := endpoint.Refresh(t.Context(), testRefresh, RefreshRequest{Purpose: PurposeRenewal, Claims: `{"id_token":{"acrs":null}}`})
	if failure != nil || tokens.Refresh != testRefresh {
		t.Errorf("%v, %v: the refresh token that was used is lost", tokens, failure)
	}
	if claims := (*requests)[0].form.Get("claims"); !AsksFor(claims, "acrs") || !AsksFor(claims, "xms_cc") {
		t.Errorf("claims %q", claims)
	}
}

// Replies without the tokens that were asked for, and what they mean.
func TestTokenReplies(t *testing.T) {
	t.Parallel()
	page := func(status int, kind, body string) any {
		return func(r *http.Request) (*http.Response, error) { return reply(r, status, kind, body), nil }
	}
	for _, test := range []struct {
		name   string
		page   any
		class  Class
		status int
		want   string // in the error
	}{
		{"no connection", func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") }, Retry, 0, "connection refused"},
		{"timeout", func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() }, Retry, 0, "deadline exceeded"},
		{"HTML", page(200, "text/html", "<html>"), Retry, 200, "the token endpoint answered with text/html, not JSON"},
		{"a redirect", page(302, "text/html", ""), Retry, 302, "redirects, which is not followed"},
		{"too large", page(200, "application/json", `{"access_token":"`+strings.Repeat("x", maxTokenReply)+`"}`), Retry, 200, "reply too large"},
		{"no token", page(200, "application/json", `{"token_type":"Bearer"}`), Retry, 200, "the token reply holds no bearer token"},
		{"another type", page(200, "application/json", `{"access_token":"x","token_type":"DPoP"}`), Retry, 200, "the token reply holds no bearer token"},
		{"access token is a number", page(200, "application/json", `{"access_token":7,"token_type":"Bearer","id_token":"x.y.z"}`), Retry, 200, "the token reply holds no bearer token"},
		{"an ID token alone", page(200, "application/json", `{"id_token":"x.y.z","token_type":"Bearer"}`), Misconfigured, 0, ErrNoAccessToken.Error()},
		{"an error with status 200", page(200, "application/json", `{"error":"invalid_client"}`), Misconfigured, 200, "invalid_client"},
		{"a loop", page(400, "application/json", `{"error":"invalid_grant","error_description":"AADSTS50196: a loop"}`), StepUp, 400, "invalid_grant: AADSTS50196"},
		{"a challenge", page(400, "application/json", `{"error":"invalid_grant","suberror":"bad_token","claims":"{\"access_token\":{\"nbf\":{}}}"}`), StepUp, 400, "invalid_grant (bad_token)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				endpoint, web := plainEndpoint(t)
				web.set(otherBase+"/token", test.page)
				begun := time.Now()
				tokens, failure := endpoint.Refresh(t.Context(), testRefresh, RefreshRequest{Purpose: PurposeScopes})
				if tokens != nil || failure == nil {
					t.Fatalf("%+v, %v", tokens, failure)
				}
				if wantFault(t, failure, test.want); failure.Class != test.class || failure.StatusCode != test.status {
					t.Errorf("class %q and status %d of %v, want %q and %d", failure.Class, failure.StatusCode, failure, test.class, test.status)
				}
				if took := time.Since(begun); took > TokenTimeout {
					t.Errorf("it took %v", took)
				}
				if n := web.count(otherBase + "/token"); n != 1 {
					t.Errorf("%d requests, want 1", n)
				}
			})
		})
	}
}

// At Microsoft a loop is reported as a revoked token is, but waiting helps.
func TestLoopAtMicrosoft(t *testing.T) {
	t.Parallel()
	a, web := entraProvider(t)
	answer(web, entraBase+"/token", func(url.Values) (int, map[string]any) {
		return 400, map[string]any{"error": "invalid_grant", "error_codes": []int{loopDetected}}
	})
	if _, failure := endpointOf(a).Refresh(t.Context(), testRefresh, RefreshRequest{}); failure == nil || failure.Class != Retry || failure.RetryAfter != loopWait {
		t.Errorf("%+v, want class %q after %v", failure, Retry, loopWait)
	}
}

// Discovery that cannot be read gives the failure its class.
func TestTokenEndpointWithoutDiscovery(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		status int
		class  Class
	}{{503, Retry}, {404, Misconfigured}} {
		endpoint, web := plainEndpoint(t)
		web.set(otherDiscovery, func(r *http.Request) (*http.Response, error) { return reply(r, test.status, "text/html", ""), nil })
		_, failure := endpoint.Redeem(t.Context(), testCode, "a-verifier", "")
		if failure == nil || failure.Class != test.class || web.count("/token") != 0 {
			t.Errorf("status %d: %v, want class %q", test.status, failure, test.class)
		}
	}
}

func TestProbe(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		status int
		body   map[string]any
		class  Class
	}{
		{"the secret is good", 400, map[string]any{"error": "invalid_grant"}, SignIn},
		{"the secret is wrong", 401, map[string]any{"error": "invalid_client"}, Misconfigured},
		{"any token is accepted", 200, map[string]any{"access_token": "x", "token_type": "Bearer"}, SignIn},
		{"an outage", 503, map[string]any{}, Retry},
	} {
		endpoint, web := plainEndpoint(t)
		answer(web, otherBase+"/token", func(url.Values) (int, map[string]any) { return test.status, test.body })
		if failure := endpoint.Probe(t.Context()); failure == nil || failure.Class != test.class {
			t.Errorf("%s: %v, want class %q", test.name, failure, test.class)
		}
	}
}

func TestMeant(t *testing.T) {
	t.Parallel()
	endpoint, _ := plainEndpoint(t)
	ada := &Account{Issuer: otherBase, Subject: "AAAA", TenantID: testTenant, ObjectID: testPerson}
	good := with(someClaims(otherBase), "tid", strings.ToUpper(testTenant), "oid", testPerson)
	for _, test := range []struct {
		name    string
		changes []any
		want    bool
	}{
		{"the same", nil, true},
		{"without tid", []any{"tid", nil}, true},
		{"one of several apps", []any{"aud", []string{"another", testClient}}, true},
		{"another app", []any{"aud", "another"}, false},
		{"another issuer", []any{"iss", "https://evil.example"}, false},
		{"another person", []any{"sub", "BBBB"}, false},
		{"another oid", []any{"oid", testTenant}, false},
		{"without oid", []any{"oid", nil}, false},
		{"another tenant", []any{"tid", testDirectory}, false},
	} {
		if got, err := endpoint.Meant(signJWT(0, headerOf("one"), with(good, test.changes...)), ada); err != nil || got != test.want {
			t.Errorf("%s: %t, %v, want %t", test.name, got, err, test.want)
		}
	}
	_, err := endpoint.Meant("opaque", ada)
	wantFault(t, err, "not a JWT")
}
