package msauthtest_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"example.com/msauth/msauthtest"
)

const (
	serviceAccount = "system:serviceaccount:shop:web"
	exchange       = "api://AzureADTokenExchange"
)

func newIssuer(t *testing.T) *msauthtest.Issuer {
	t.Helper()
	i := msauthtest.NewIssuer()
	t.Cleanup(i.Close)
	return i
}

func TestFederatedCredential(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	cluster, github := newIssuer(t), newIssuer(t)
	c := a.ms.AddFederated(cluster.URL, serviceAccount, "")
	c2 := a.ms.AddFederated(github.URL, "repo:owner/name:environment:production", "api://elsewhere")

	// A token of Kubernetes is used until it is replaced.
	token := cluster.Token(serviceAccount, "", time.Hour)
	with := []string{"client_secret", "-", "client_assertion_type", jwtBearer, "client_assertion", token}
	rep := a.mustToken(a.codeForm(a.pick(msauthtest.Ada).Get("code"), with...))
	if rep.Status != 200 || a.renew(rep, with...).Status != 200 || a.renew(rep, with...).Status != 200 {
		t.Fatalf("%d %s", rep.Status, rep.Description)
	}
	wantCounts(t, c, 3, 0)
	if cluster.Fetches() != 3 {
		t.Errorf("the keys were fetched %d times", cluster.Fetches())
	}

	// That of GitHub has a text as aud, and typ in its header is optional.
	now := time.Now().Unix()
	claims := map[string]any{"iss": github.URL, "sub": "repo:owner/name:environment:production", "aud": "api://elsewhere", "exp": now + 300}
	wantProven(t, a.assert(github.Sign(claims)))
	a.tenant = "consumers"
	wantProven(t, a.assert(github.Sign(claims)))
	wantProven(t, a.assert(cluster.Sign(map[string]any{"iss": cluster.URL, "sub": serviceAccount, "aud": []string{"x", exchange}, "exp": now + 300})))
	wantCounts(t, c, 4, 0)
	wantCounts(t, c2, 2, 0)
}

func TestFederatedTokenIsRefused(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	i, stranger := newIssuer(t), newIssuer(t)
	c := a.ms.AddFederated(i.URL, serviceAccount, "")
	a.ms.AddFederated(i.URL, "another subject", "another audience")
	const check = ". Check your federated identity credential Subject, Audience and Issuer against the presented assertion. https://learn.microsoft.com/entra/workload-id/workload-identity-federation"
	const none = "No matching federated identity record found for presented assertion "
	now := time.Now().Unix()
	type object = map[string]any
	for _, tt := range []struct {
		name   string
		claims object // a nil value removes one
		status int
		error  string
		code   int
		text   string
		counts bool
	}{
		{"another issuer", object{"iss": stranger.URL}, 401, "invalid_client", 700211, none + "issuer '" + stranger.URL + "'" + check, false},
		{"issuer with a slash", object{"iss": i.URL + "/"}, 401, "invalid_client", 700211, none + "issuer '" + i.URL + "/'" + check, false},
		{"another subject", object{"sub": "system:serviceaccount:shop:worker"}, 401, "invalid_client", 700213, none + "subject 'system:serviceaccount:shop:worker'" + check, false},
		{"subject in capitals", object{"sub": strings.ToUpper(serviceAccount)}, 401, "invalid_client", 700213, none + "subject '", false},
		{"another audience", object{"aud": []string{"https://kubernetes.default.svc"}}, 401, "invalid_client", 700212, none + "audience 'https://kubernetes.default.svc'" + check, true},
		{"audience of another credential", object{"aud": "another audience"}, 401, "invalid_client", 700212, "", true},
		{"no audience", object{"aud": nil}, 400, "invalid_request", 90014, "'aud'", false},
		{"an empty list of audiences", object{"aud": []string{}}, 401, "invalid_client", 700212, "", true},
		{"audience of another type", object{"aud": []int{1}}, 400, "invalid_request", 50027, "", false},
		{"no subject", object{"sub": nil}, 400, "invalid_request", 90014, "'sub'", false},
		{"no issuer", object{"iss": nil}, 400, "invalid_request", 90014, "'iss'", false},
		{"expired", object{"exp": now - 1}, 401, "invalid_client", 700024, "assertion valid from 1970-01-01T00:00:00.0000000Z", true},
		{"not yet valid", object{"nbf": now + 360}, 401, "invalid_client", 700024, "", true},
		{"no exp", object{"exp": nil}, 400, "invalid_request", 90014, "'exp'", true},
		{"exp is a text", object{"exp": "2000000000"}, 400, "invalid_request", 50027, "", true},
	} {
		claims := object{"iss": i.URL, "sub": serviceAccount, "aud": exchange, "exp": now + 300}
		for name, value := range tt.claims {
			if claims[name] = value; value == nil {
				delete(claims, name)
			}
		}
		before := c.Refused()
		rep := a.assert(i.Sign(claims))
		if rep.Status != tt.status || rep.Error != tt.error || rep.Codes[0] != tt.code || !strings.Contains(rep.Description, tt.text) {
			t.Errorf("%s: %d %s %s", tt.name, rep.Status, rep.Error, rep.Description)
		}
		if counted := c.Refused() - before; counted != 0 != tt.counts {
			t.Errorf("%s: counted %d times", tt.name, counted)
		}
	}
	wantProven(t, a.assert(i.Token(serviceAccount, "", time.Minute)))
	wantCode(t, a.assert(i.Token(serviceAccount, "", -time.Minute)), 401, "invalid_client", 700024)
}

// In 2022 the same refusals had another number, error and status.
func TestOlderFederatedErrors(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	i := newIssuer(t)
	a.ms.AddFederated(i.URL, serviceAccount, "")
	a.ms.Set(func(b *msauthtest.Behavior) { b.OldFederatedErrors = true })
	for _, token := range []string{i.Token("other", "", time.Minute), i.Token(serviceAccount, "other", time.Minute)} {
		wantCode(t, a.assert(token), 400, "invalid_request", 70021)
	}
	rep := a.assert(i.Token("other", "", time.Minute))
	want := "AADSTS70021: No matching federated identity record found for presented assertion. Assertion Issuer: '" + i.URL + "'. Assertion Subject: 'other'. Assertion Audience: '" + exchange + "'."
	if !strings.HasPrefix(rep.Description, want) {
		t.Errorf("%s", rep.Description)
	}
	wantProven(t, a.assert(i.Token(serviceAccount, "", time.Minute)))
}

func TestSignatureOfAFederatedToken(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	i := newIssuer(t)
	c := a.ms.AddFederated(i.URL, serviceAccount, "")
	claims := map[string]any{"iss": i.URL, "sub": serviceAccount, "aud": exchange, "exp": time.Now().Unix() + 300}
	old := i.Token(serviceAccount, "", time.Hour)
	kid := header(t, old)["kid"]
	forged := func(header map[string]any) string { return sign(rsaKey(), header, claims) }
	for _, tt := range []struct {
		name, token string
		status      int
		error       string
		code        int
	}{
		{"a key of the app", forged(map[string]any{"alg": "RS256", "kid": kid}), 401, "invalid_client", 700027},
		{"an unknown kid", forged(map[string]any{"alg": "RS256", "kid": "x"}), 401, "invalid_client", 7000272},
		{"no kid", forged(map[string]any{"alg": "RS256"}), 401, "invalid_client", 5002723},
		{"PS256", forged(map[string]any{"alg": "PS256", "kid": kid}), 401, "invalid_client", 5002738},
		{"HS256", forged(map[string]any{"alg": "HS256", "kid": kid}), 401, "invalid_client", 5002738},
		{"none", forged(map[string]any{"alg": "none", "kid": kid}), 401, "invalid_client", 5002738},
		{"wrong typ", forged(map[string]any{"alg": "RS256", "kid": kid, "typ": "at+jwt"}), 400, "invalid_request", 5002727},
		{"one letter changed", old[:len(old)-10] + "AAAA" + old[len(old)-6:], 401, "invalid_client", 700027},
	} {
		rep := a.assert(tt.token)
		if rep.Status != tt.status || rep.Error != tt.error || rep.Codes[0] != tt.code {
			t.Errorf("%s: %d %s %s", tt.name, rep.Status, rep.Error, rep.Description)
		}
	}
	wantProven(t, a.assert(old))
	i.RollKeys()
	wantCode(t, a.assert(old), 401, "invalid_client", 7000272)
	wantProven(t, a.assert(i.Token(serviceAccount, "", time.Hour)))
	i.Close()
	wantCode(t, a.assert(i.Token(serviceAccount, "", time.Hour)), 400, "invalid_request", 501661)
	wantCounts(t, c, 2, 9)
}

func TestLifeOfAFederatedCredential(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	i := newIssuer(t)
	c := a.ms.AddFederated(i.URL, serviceAccount, "")
	token := i.Token(serviceAccount, "", time.Hour)
	for _, change := range []func(){c.Expire, c.Revoke, c.Remove, func() { c.SetValidity(time.Now().Add(time.Minute), time.Time{}) }} {
		change()
		wantCode(t, a.assert(token), 401, "invalid_client", 700211)
		c.Restore()
		wantProven(t, a.assert(token))
	}
	a.ms.AddFederated(i.URL, "other", "")
	c.Remove()
	wantCode(t, a.assert(token), 401, "invalid_client", 700213)
	a.ms.AddFederated(i.URL, serviceAccount, "other")
	wantCode(t, a.assert(token), 401, "invalid_client", 700212)
	wantCounts(t, c, 4, 6)
}

// The server believes only the issuer's own documents.
func TestDocumentsOfAFederatedIssuer(t *testing.T) {
	t.Parallel()
	for name, discovery := range map[string]string{
		"its own":           `{"issuer":"URL","jwks_uri":"URL/keys"}`,
		"of another issuer": `{"issuer":"https://elsewhere.example","jwks_uri":"URL/keys"}`,
		"without keys":      `{"issuer":"URL"}`,
		"no JSON":           `<html>`,
		"keys elsewhere":    `{"issuer":"URL","jwks_uri":"URL/none"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newApp(t, newServer(t))
			mux := http.NewServeMux()
			site := issuerSite(t, mux)
			mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
				w.Write([]byte(strings.ReplaceAll(discovery, "URL", site)))
			})
			mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
				json.NewEncoder(w).Encode(map[string]any{"keys": []any{map[string]any{"kty": "RSA", "kid": "1", "n": b64(rsaKey().N.Bytes()), "e": "AQAB"}}})
			})
			a.ms.AddFederated(site, serviceAccount, "")
			token := sign(rsaKey(), map[string]any{"alg": "RS256", "kid": "1"}, map[string]any{"iss": site, "sub": serviceAccount, "aud": exchange, "exp": time.Now().Unix() + 60})
			if rep := a.assert(token); name == "its own" {
				wantProven(t, rep)
			} else {
				wantCode(t, rep, 400, "invalid_request", 501661)
			}
		})
	}
}

func TestIssuer(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	token := i.Token("worker", "api://x", time.Hour)
	var claims struct {
		Iss, Sub, Jti string
		Aud           []string
		Iat, Nbf, Exp int64
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		t.Fatal(string(payload))
	}
	if claims.Iss != i.URL || claims.Sub != "worker" || claims.Jti == "" || len(claims.Aud) != 1 || claims.Aud[0] != "api://x" || claims.Exp-claims.Nbf != 3600 || claims.Iat != claims.Nbf {
		t.Errorf("claims: %s", payload)
	}
	res, err := http.Get(i.URL + "/elsewhere")
	if err != nil {
		t.Fatal(err)
	}
	if body(t, res); res.StatusCode != 404 || i.Fetches() != 0 {
		t.Errorf("another path: %d, fetches %d", res.StatusCode, i.Fetches())
	}
	defer func() {
		if recover() == nil {
			t.Error("claims that are no JSON were signed")
		}
	}()
	i.Sign(map[string]any{"x": func() {}})
}

func issuerSite(t *testing.T, h http.Handler) string {
	t.Helper()
	site := httptest.NewServer(h)
	t.Cleanup(site.Close)
	return site.URL
}
