package provider

import (
	"strings"
	"testing"
)

func TestKindsOfProviders(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		issuer, microsoft string
		want              Kind
	}{
		{"", "", Entra},
		{b2cBase, "", b2c},
		{strings.Replace(b2cBase, "fabrikam.b2clogin.com", "Fabrikam.B2CLogin.com", 1), "", b2c},
		{ciamBase, "", ExternalID},
		{"https://login.fabrikam.example/x/v2.0", ciamIssuer, ExternalID},
		{"https://login.fabrikam.example/x/v2.0", "https://login.fabrikam.example/" + testDirectory + "/v2.0/", b2c},
		{otherBase, "", OtherProvider},
		{"https://b2clogin.com.example/x", "", OtherProvider},
		{"https://evilb2clogin.com/x", "", OtherProvider},
		{"https://id.example.com/fabrikam.ciamlogin.com", "", OtherProvider},
	} {
		if got := KindOf(test.issuer, test.microsoft); got != test.want {
			t.Errorf("%s and %s: kind %d, want %d", test.issuer, test.microsoft, got, test.want)
		}
	}
}
