package main

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// With all variables set, the token is used, then the certificate, then the secret.
func TestCredentialsInTheirOrder(t *testing.T) {
	t.Parallel()
	issuer := msauthtest.NewIssuer()
	t.Cleanup(issuer.Close)
	cert := testsite.NewCertificate(t, "app", time.Hour)
	token, pem := filepath.Join(t.TempDir(), "token"), filepath.Join(t.TempDir(), "app.pem")
	testsite.Replace(t, token, []byte(issuer.Token("app", "", time.Hour)))
	testsite.Replace(t, pem, cert.PEM)

	var federated, certificate *msauthtest.Credential
	s := newSite(t, func(set *settings, ms *msauthtest.Server) {
		federated, certificate = ms.AddFederated(issuer.URL, "app", ""), ms.AddCertificate(cert.X509)
		with, err := readSettings(env{
			"AZURE_CLIENT_ID": ms.ClientID, "AZURE_AUTHORITY_HOST": ms.URL, "AZURE_CLIENT_SECRET": ms.ClientSecret,
			"AZURE_CLIENT_CERTIFICATE_PATH": pem, "AZURE_FEDERATED_TOKEN_FILE": token, "MSAUTH_BASE_URL": set.Auth.BaseURL,
		}.get)
		if err != nil {
			t.Fatal(err)
		}
		*set = *with
		set.Auth.KeepFragments = false
	})
	want := func(now *msauthtest.Credential, accepted int) {
		t.Helper()
		s.signedIn().get("/profile").want(http.StatusOK)
		if got := now.Accepted(); got != accepted {
			t.Errorf("%d requests with the credential, want %d; log:\n%s", got, accepted, s.log)
		}
	}
	want(federated, 1)
	want(federated, 2)
	federated.Remove()
	want(certificate, 1)
	certificate.Revoke()
	want(s.ms.Secret(), 1)
	var out strings.Builder
	s.set.announce(&out)
	if !strings.Contains(out.String(), "  2. the certificate in "+pem+"\n") {
		t.Errorf("printed\n%s", out.String())
	}
	if n := strings.Count(s.log.String(), "event=credential_refused"); n != 2 {
		t.Errorf("%d credentials refused, want 2; log:\n%s", n, s.log)
	}
}
