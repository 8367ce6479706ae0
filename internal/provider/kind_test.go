package provider

import (
	"strings"
	"testing"
)

func TestKindsOfProviders(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		authority, issuer, microsoft string
		want                         Kind
	}{
		{"", "", "", Entra},
		{"https://login.microsoftonline.us", "", "", Entra},
		{"https://login.live.com", "", "", LiveConnect},
		{"HTTPS://Login.Live.com:443/", "", "", LiveConnect},
		{"http://127.0.0.1:8081/login.live.com", "", "", LiveConnect},
		{"http://127.0.0.1:8081", "", "", Entra},
		{"https://login.live.com.example", "", "", Entra},
		{"https://x.login.live.com", "", "", Entra},
		{"https://example.com/login.live.com", "", "", Entra},
		{"https://login.live.com:8443", "", "", Entra},
		{"", b2cBase, "", b2c},
		{"", strings.Replace(b2cBase, "fabrikam.b2clogin.com", "Fabrikam.B2CLogin.com", 1), "", b2c},
		{"", ciamBase, "", ExternalID},
		{"", "https://login.fabrikam.example/x/v2.0", ciamIssuer, ExternalID},
		{"", "https://login.fabrikam.example/x/v2.0", "https://login.fabrikam.example/" + testDirectory + "/v2.0/", b2c},
		{"", otherBase, "", OtherProvider},
		{"", "https://b2clogin.com.example/x", "", OtherProvider},
		{"", "https://evilb2clogin.com/x", "", OtherProvider},
		{"", "https://id.example.com/fabrikam.ciamlogin.com", "", OtherProvider},
	} {
		if got := KindOf(test.authority, test.issuer, test.microsoft); got != test.want {
			t.Errorf("%s and %s: kind %d, want %d", test.issuer, test.microsoft, got, test.want)
		}
	}
}
