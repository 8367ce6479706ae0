package credential_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.com/msauth/internal/credential"
)

// wantSecrets checks what Secrets returns: each as value and version, separated by
// spaces.
func (s *site) wantSecrets(when, want string) {
	s.t.Helper()
	var got []string
	for _, secret := range s.ring.Secrets(s.t.Context()) {
		got = append(got, fmt.Sprintf("%s/%d", string(secret.Value), secret.Version))
	}
	if got := strings.Join(got, " "); got != want {
		s.t.Errorf("%s: %q, want %q", when, got, want)
	}
}

func TestSecretsHaveTheirVersions(t *testing.T) {
	t.Parallel()
	newSecret := func(value string) credential.Source {
		c, err := credential.NewSecret(value, "client secret "+value)
		if err != nil {
			t.Fatal(err)
		}
		return credential.Fixed(c)
	}
	second := credential.Numbered(newSecret("second"), 2)
	s := newSite(t, "first", second, newSecret("any"), credential.Fixed(&plain{name: "a certificate"}), credential.Numbered(newSecret("first"), 0))
	s.wantSecrets("at the start", "second/2 any/-1 first/0")
	s.request("the first", "second any a certificate first")
	s.wantSecrets("some refused", "second/2 any/-1 first/0")
	if c, _, _ := second.Look(); c.Name() != "client secret second, version 2" {
		t.Error(c.Name())
	}
	if c, _, _ := credential.Numbered(credential.Fixed(&plain{name: "no secret"}), 1).Look(); c.Name() != "no secret" {
		t.Error(c.Name())
	}
}

// What a file held before is a secret only as long as the provider refuses the new one.
func TestSecretsOfAFileThatChanges(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "secret")
	write := func(value string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("leaked")
	file, err := credential.SecretFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, "leaked", credential.Numbered(file, 1))
	s.wantSecrets("at the start", "leaked/1")
	write("next")
	s.wantSecrets("replaced, without a token request", "next/1")
	s.request("not registered yet", "next leaked")
	s.wantSecrets("refused", "next/1 leaked/1")
	s.accept("next")
	write("last")
	s.accept("last")
	s.request("another one", "last")
	s.wantSecrets("accepted", "last/1")
}
