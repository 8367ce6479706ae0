package msauthtest_test

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth/msauthtest"
)

// prove sends a token request with client credentials and a made-up refresh
// token. The answer to an app that is who it says is 70000.
func (a *app) prove(pairs ...string) *reply {
	a.t.Helper()
	return a.mustToken(a.refreshForm("made-up", pairs...))
}

func wantProven(t *testing.T, rep *reply) {
	t.Helper()
	wantCode(t, rep, 400, "invalid_grant", 70000)
}

func wantCounts(t *testing.T, c *msauthtest.Credential, accepted, refused int) {
	t.Helper()
	if c.Accepted() != accepted || c.Refused() != refused {
		t.Errorf("accepted %d times and refused %d times, want %d and %d", c.Accepted(), c.Refused(), accepted, refused)
	}
}

func TestSeveralSecrets(t *testing.T) {
	t.Parallel()
	for _, tenant := range []string{"common", "consumers", msauthtest.TenantExternal} {
		a := newApp(t, newServer(t))
		a.tenant = tenant
		next := a.ms.AddSecret("the next secret of the app")
		wantProven(t, a.prove())
		wantProven(t, a.prove("client_secret", "the next secret of the app"))
		wantProven(t, a.prove("client_secret", "the next secret of the app"))
		wantCode(t, a.prove("client_secret", "the next secret of the ap"), 401, "invalid_client", 7000215)
		wantCode(t, a.prove("client_secret", "-"), 401, "invalid_client", 7000218)
		wantCounts(t, a.ms.Secret(), 1, 0)
		wantCounts(t, next, 2, 0)
	}
}

func TestLifeOfASecret(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	other := a.ms.AddSecret("the next secret of the app")
	first := a.ms.Secret()
	for _, tt := range []struct {
		name   string
		change func()
		code   int
	}{
		{"expired", first.Expire, 7000222},
		{"valid until a minute ago", func() { first.SetValidity(time.Time{}, time.Now().Add(-time.Minute)) }, 7000222},
		{"expired by the behavior", func() { a.ms.Set(func(b *msauthtest.Behavior) { b.SecretExpired = true }) }, 7000222},
		{"revoked", first.Revoke, 7000215},
		{"removed", first.Remove, 7000215},
		{"removed after it expired", func() { first.Expire(); first.Remove() }, 7000215},
	} {
		before := first.Refused()
		tt.change()
		rep := a.prove()
		wantCode(t, rep, 401, "invalid_client", tt.code)
		if !strings.Contains(rep.Description, "'"+a.ms.ClientID+"'") {
			t.Errorf("%s: %s", tt.name, rep.Description)
		}
		if first.Refused() != before+1 {
			t.Errorf("%s: refused %d times more, want 1", tt.name, first.Refused()-before)
		}
		wantProven(t, a.prove("client_secret", "the next secret of the app"))
		first.Restore()
		a.ms.Set(func(b *msauthtest.Behavior) { b.SecretExpired = false })
		wantProven(t, a.prove())
	}
	if other.Refused() != 0 || first.Accepted() != 6 {
		t.Errorf("the other secret was refused %d times, the first was accepted %d times", other.Refused(), first.Accepted())
	}
}

// A request counts for the credential even if it fails later, but not if the
// server does not come to look at it.
func TestWhatCounts(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	rep := a.signIn(msauthtest.Ada)
	a.renew(rep)
	wantCounts(t, a.ms.Secret(), 2, 0)
	a.ms.Set(func(b *msauthtest.Behavior) {
		b.Fail[msauthtest.TokenRefresh] = []msauthtest.Failure{{Status: 503}, {LoseReply: true}}
	})
	res, err := a.browser.PostForm(a.endpoint("oauth2/v2.0/token"), a.refreshForm("x"))
	if err != nil {
		t.Fatal(err)
	}
	body(t, res)
	wantCounts(t, a.ms.Secret(), 2, 0)
	if _, err := a.token(a.refreshForm("x")); err == nil {
		t.Error("the reply was not lost")
	}
	// The transport may send a request again whose connection was cut.
	if n := a.ms.Count(msauthtest.TokenRefresh) - 2; a.ms.Secret().Accepted() != 2+n {
		t.Errorf("accepted %d times, want %d", a.ms.Secret().Accepted(), 2+n)
	}
}

func TestSecretsAndAssertionsAreSecrets(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	a.ms.AddSecret("the next secret of the app").Remove()
	good := a.assertion(testCert(), nil)
	a.ms.AddCertificate(testCert())
	wantProven(t, a.assert(good))
	bad := "not.an.assertion-but-it-may-be-one"
	a.assert(bad)
	a.assert("short")
	a.mustToken(with(a.refreshForm("x"), "grant_type", "-", "client_assertion", bad+"2"))
	secrets := a.ms.Secrets()
	for _, want := range []string{a.ms.ClientSecret, "the next secret of the app", good, bad, bad + "2"} {
		if !slices.Contains(secrets, want) {
			t.Errorf("Secrets lacks %.30s", want)
		}
	}
	if slices.Contains(secrets, "short") {
		t.Error("a text that is part of many others is a secret")
	}
}

// Every request is either accepted or refused, whatever happens meanwhile.
func TestCredentialsChangeWhileRequestsArrive(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	c := a.ms.AddSecret("the next secret of the app")
	const workers, each = 4, 25
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for range each {
				rep, err := a.token(a.refreshForm("x", "client_secret", "the next secret of the app"))
				if err != nil || rep.Status != 400 && rep.Status != 401 {
					t.Errorf("%v %+v", err, rep)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, change := range []func(){c.Expire, c.Restore, c.Revoke, c.Remove, c.Restore} {
			change()
			a.ms.AddSecret("one more")
			a.ms.Secrets()
			time.Sleep(time.Millisecond)
		}
	}()
	group.Wait()
	<-done
	if c.Accepted()+c.Refused() != workers*each {
		t.Errorf("accepted %d and refused %d, want %d together", c.Accepted(), c.Refused(), workers*each)
	}
}

// All dates are those of the caller's clock.
func TestValidityPasses(t *testing.T) {
	issuer := msauthtest.NewIssuer()
	defer issuer.Close()
	cert, key := testCert(), rsaKey()
	synctest.Test(t, func(t *testing.T) {
		ms := msauthtest.New("http://localhost:1234")
		a := newApp(t, ms)
		a.newBrowser(ms.Transport())
		ms.Secret().SetValidity(time.Now().Add(time.Hour), time.Now().Add(2*time.Hour))
		ms.AddCertificate(makeCert(key, certOptions{from: time.Now().Add(-time.Hour), until: time.Now().Add(time.Hour)}))
		ms.AddCertificate(cert) // in 2026, from here
		federated := ms.AddFederated(issuer.URL, "worker", "")

		mine := makeCert(key, certOptions{from: time.Now(), until: time.Now().Add(time.Hour)})
		ms.AddCertificate(mine)
		late := func(_, c map[string]any) { c["exp"] = time.Now().Add(10 * time.Minute).Unix() }
		assertion, token := a.assertion(mine, late), issuer.Token("worker", "", 10*time.Minute)

		wantCode(t, a.prove(), 401, "invalid_client", 7000222)
		wantCode(t, a.assert(a.assertion(cert, nil)), 401, "invalid_client", 1000502)
		wantProven(t, a.assert(token))
		time.Sleep(9 * time.Minute)
		wantProven(t, a.assert(token))
		wantProven(t, a.assert(assertion))
		time.Sleep(time.Minute)
		wantCode(t, a.assert(token), 401, "invalid_client", 700024)
		wantCode(t, a.assert(a.assertion(mine, func(_, c map[string]any) { c["exp"] = time.Now().Unix() })), 401, "invalid_client", 700024)
		time.Sleep(50 * time.Minute)
		wantProven(t, a.prove())
		time.Sleep(time.Second)
		wantCode(t, a.assert(a.assertion(mine, nil)), 401, "invalid_client", 1000502)
		time.Sleep(time.Hour)
		wantCode(t, a.prove(), 401, "invalid_client", 7000222)
		wantCounts(t, federated, 2, 1)
	})
}

func TestDiscoveryListsPrivateKeyJWT(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	for path, want := range map[string]bool{
		"/common/v2.0": true,
		"/" + msauthtest.TenantExternal + "/v2.0":   true,
		"/fabrikam.onmicrosoft.com/b2c_1_susi/v2.0": false,
		"/generic": false,
	} {
		var doc struct {
			Methods    []string `json:"token_endpoint_auth_methods_supported"`
			Algorithms []string `json:"token_endpoint_auth_signing_alg_values_supported"`
		}
		a.json(a.ms.URL+path+"/.well-known/openid-configuration", &doc)
		if slices.Contains(doc.Methods, "private_key_jwt") != want || doc.Algorithms != nil {
			t.Errorf("%s: %+v", path, doc)
		}
	}
}

// B2C's user flows know secrets only.
func TestB2CTakesNoAssertion(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	a.tenant = "fabrikam.onmicrosoft.com/b2c_1_susi"
	a.ms.AddCertificate(testCert())
	a.ms.AddSecret("the next secret of the app")
	rep := a.assert(a.assertion(testCert(), nil))
	if rep.Status != 401 || rep.Error != "invalid_client" || !strings.HasPrefix(rep.Description, "AADB2C90079") {
		t.Errorf("%d %s %s", rep.Status, rep.Error, rep.Description)
	}
	if rep := a.prove("client_secret", "the next secret of the app"); rep.Error != "invalid_grant" {
		t.Errorf("the next secret: %s %s", rep.Error, rep.Description)
	}
	req, err := http.NewRequest("POST", a.endpoint("oauth2/v2.0/token"), strings.NewReader(a.refreshForm("x", "client_secret", "-", "client_assertion", "x").Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(a.ms.ClientID, a.ms.ClientSecret)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer, err := a.browser.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if text := body(t, answer); answer.StatusCode != 400 || !strings.Contains(text, "invalid_request") {
		t.Errorf("Basic and an assertion: %d %s", answer.StatusCode, text)
	}
}
