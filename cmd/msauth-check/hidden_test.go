package main

import (
	"fmt"
	"html"
	"net/http"
	"strings"
	"testing"

	"example.com/msauth/cmd/msauth-check/internal/report"
)

// Wherever an answer is cut, no part of a secret is left before the cut that is long
// enough to be one.
func TestSecretsThatAreCut(t *testing.T) {
	t.Parallel()
	for before := range 60 {
		t.Run(fmt.Sprint(before), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			secret := w.ms.ClientSecret
			atMicrosoft(func(next http.Handler, rw http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodPost {
					next.ServeHTTP(rw, r)
					return
				}
				rw.Header().Set("Content-Type", "application/json")
				rw.WriteHeader(401)
				fmt.Fprintf(rw, `{"error":"invalid_client","error_description":"AADSTS7000215: %s%s is wrong"}`, strings.Repeat("words ", 75+before/6)+strings.Repeat("x", before%6), strings.Repeat(secret+" ", 8))
			})(w)
			if o := w.check(); strings.Contains(o.text, secret[:12]) {
				t.Errorf("%q is left of the secret in\n%s", secret[:12], o.text)
			}
		})
	}
}

func TestSecretsInOtherForms(t *testing.T) {
	t.Parallel()
	const secret = `quote"and\slash&<more>`
	var found report.Report
	found.Hide(secret)
	for _, form := range []string{secret, html.EscapeString(secret), fmt.Sprintf("%q", secret), secret[:6] + "\u200b" + secret[6:], secret[:12] + "...", secret[:12] + ".", secret[:12], strings.Repeat("x", 1495) + secret, strings.Repeat("x", 2990) + secret} {
		found.Found("site-tls", "It says "+form)
	}
	for _, f := range found.Findings() {
		if strings.Contains(f.What, `quote`) {
			t.Errorf("%.200q", f.What)
		}
	}
}

// A word of the catalogue can be somebody's secret, and a client ID can be where a secret
// should be: commands stay as they are.
func TestCommandsAreWhole(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, secret := range []string{"password", w.env["AZURE_CLIENT_ID"]} {
		w.env["AZURE_CLIENT_SECRET"] = secret
		o := w.check()
		if want := "az ad app credential reset --id " + w.env["AZURE_CLIENT_ID"] + " --append --query password --output tsv"; len(o.findings) != 1 || o.findings[0].Command != want {
			t.Errorf("want the command\n%s\nin\n%s", want, o.text)
		}
	}
	for _, authority := range []string{"login.microsoftonline.com", "login.microsoftonline.com/common"} {
		w.env["AZURE_AUTHORITY_HOST"] = authority
		if o := w.check(); len(o.findings) != 1 || !strings.Contains(o.findings[0].What, authority) {
			t.Errorf("want %s in\n%s", authority, o.text)
		}
	}
}
