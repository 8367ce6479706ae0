package webapp

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

func TestCredentials(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pem, token, empty := filepath.Join(dir, "app.pem"), filepath.Join(dir, "token"), filepath.Join(dir, "empty")
	testsite.Replace(t, pem, testsite.NewCertificate(t, "app", time.Hour).PEM)
	issuer := msauthtest.NewIssuer()
	t.Cleanup(issuer.Close)
	testsite.Replace(t, token, []byte(issuer.Token("app", "", time.Hour)))
	testsite.Replace(t, empty, nil)

	const secret = "a-client-secret"
	file := filepath.Join(dir, "secret")
	testsite.Replace(t, file, []byte(secret+"\n"))
	for _, tt := range []struct {
		name string
		env  map[string]string
		want string // what is printed
		fail string // the error, of ReadSettings or of msauth.New
	}{
		{name: "a secret", env: map[string]string{"AZURE_CLIENT_SECRET": secret},
			want: "The app proves itself with the client secret in AZURE_CLIENT_SECRET.\n"},
		{name: "a secret in a file", env: map[string]string{"AZURE_CLIENT_SECRET_FILE": file},
			want: "The app proves itself with the client secret in " + file + ".\n"},
		{name: "a certificate", env: map[string]string{"AZURE_CLIENT_CERTIFICATE_PATH": pem},
			want: "The app proves itself with the certificate in " + pem + ".\n"},
		{name: "a certificate with its chain", env: map[string]string{"AZURE_CLIENT_CERTIFICATE_PATH": pem, "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN": "True"},
			want: "The app proves itself with the certificate in " + pem + ", sent with its chain.\n"},
		{name: "a federated token", env: map[string]string{"AZURE_FEDERATED_TOKEN_FILE": token, "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN": "1"},
			want: "The app proves itself with the token in " + token + ".\n"},
		{name: "all of them", env: map[string]string{"AZURE_CLIENT_SECRET": secret, "AZURE_CLIENT_SECRET_FILE": file, "AZURE_CLIENT_CERTIFICATE_PATH": pem, "AZURE_FEDERATED_TOKEN_FILE": token},
			want: "in the first of these ways that works:\n\n  1. the token in " + token + "\n  2. the certificate in " + pem + "\n  3. the client secret in " + file + "\n  4. the client secret in AZURE_CLIENT_SECRET\n"},
		{name: "none", fail: "AZURE_CLIENT_ID is set, and nothing to prove it with: set AZURE_CLIENT_SECRET, AZURE_CLIENT_CERTIFICATE_PATH or AZURE_FEDERATED_TOKEN_FILE"},
		{name: "no such certificate", env: map[string]string{"AZURE_CLIENT_CERTIFICATE_PATH": filepath.Join(dir, "none")},
			fail: "AZURE_CLIENT_CERTIFICATE_PATH: stat "},
		{name: "no such token", env: map[string]string{"AZURE_FEDERATED_TOKEN_FILE": filepath.Join(dir, "none"), "AZURE_CLIENT_SECRET": secret},
			fail: "AZURE_FEDERATED_TOKEN_FILE: stat "},
		{name: "no such secret", env: map[string]string{"AZURE_CLIENT_SECRET_FILE": filepath.Join(dir, "none")},
			fail: "AZURE_CLIENT_SECRET_FILE: stat "},
		{name: "a token for a certificate", env: map[string]string{"AZURE_CLIENT_CERTIFICATE_PATH": token}, fail: token + ": has no private key in PEM form"},
		{name: "a certificate for a token", env: map[string]string{"AZURE_FEDERATED_TOKEN_FILE": pem}, fail: pem + ": is not a JWT"},
		{name: "an empty file", env: map[string]string{"AZURE_FEDERATED_TOKEN_FILE": empty}, fail: empty + ": is empty"},
		{name: "neither true nor false", env: map[string]string{"AZURE_CLIENT_CERTIFICATE_PATH": pem, "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN": "yes"},
			fail: `AZURE_CLIENT_SEND_CERTIFICATE_CHAIN is "yes": must be 1, true, 0 or false`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			set, err := ReadSettings(func(name string) string {
				if name == "AZURE_CLIENT_ID" {
					return "id"
				}
				return tt.env[name]
			})
			if err == nil {
				set.Auth.Keys = [][]byte{testsite.NewKey()}
				_, err = msauth.New(set.Auth)
			}
			if tt.fail != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fail) {
					t.Errorf("error %v, want %q in it", err, tt.fail)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			set.PrintCredentials(&out)
			if !strings.Contains(out.String(), tt.want) || strings.Contains(out.String(), secret) {
				t.Errorf("printed\n%swant %q in it", &out, tt.want)
			}
		})
	}
}
