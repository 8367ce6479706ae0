package credential

import (
	"path/filepath"
	"strings"
	"testing"
)

// A secret that the app names is used as it is.
func TestSecret(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"a~secret", " with spaces ", "with\nlines", strings.Repeat("x", 5000)} {
		c, err := NewSecret(value, "client secret")
		if err != nil {
			t.Fatal(err)
		}
		proof, err := c.Prove(t.Context(), atMicrosoft)
		if err != nil || string(proof.Secret) != value || proof.Assertion != "" {
			t.Errorf("%q: %q, an assertion %t, %v", value, string(proof.Secret), proof.Assertion != "", err)
		}
		if from, until := c.Valid(); !from.IsZero() || !until.IsZero() || c.Expires() || c.Name() != "client secret" {
			t.Errorf("%s is valid from %v until %v", c.Name(), from, until)
		}
	}
	_, err := NewSecret("", "client secret")
	wantError(t, err, `is empty: create a client secret under "Certificates & secrets"`)
}

func TestSecretFile(t *testing.T) {
	t.Parallel()
	const several = "holds several lines, or no text: it must hold the value of a client secret and nothing else"
	for _, test := range []struct {
		name, content string
		value         string
		want          string // in the error
	}{
		{"a line", "a~secret\n", "a~secret", ""},
		{"no end of line", "a~secret", "a~secret", ""},
		{"white space around", "\t \r\n a~secret \r\n\n", "a~secret", ""},
		{"spaces within", "a secret", "a secret", ""},
		{"letters of another script", "geheimniß", "geheimniß", ""},
		{"a byte order mark", "\ufeffa~secret\r\n", "a~secret", ""},
		{"as long as it may be", strings.Repeat("x", maxSecret) + "\n", strings.Repeat("x", maxSecret), ""},
		{"empty", "", "", "is empty: it must hold the value of a client secret"},
		{"white space", " \r\n\t\n", "", "is empty"},
		{"a byte order mark alone", "\ufeff\n", "", "is empty"},
		{"two lines", "one\ntwo\n", "", several},
		{"a line separator", "one\u2028two", "", several},
		{"a tab", "id\tsecret", "", several},
		{"NUL", "a~secret\x00", "", several},
		{"UTF-16", "a\x00~\x00", "", several},
		{"binary without control characters", "\xff\xfe\xc3\x28", "", several},
		{"a control character of Latin-1", "a\u0085b", "", several},
		{"DEL", "a\x7fb", "", several},
		{"5 KB", strings.Repeat("x", 5<<10), "", "has more than 4096 bytes: it must hold the value of a client secret and nothing else"},
		{"1 MB", strings.Repeat("x", 1<<20+1), "", "has more than 1048576 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "secret")
			writeFile(t, path, test.content)
			source, err := SecretFile(path)
			if wantError(t, err, test.want); err != nil {
				if !strings.HasPrefix(err.Error(), path+": ") {
					t.Errorf("%v does not name the file", err)
				}
				return
			}
			c, version, fault := source.Look()
			proof, err := c.Prove(t.Context(), atMicrosoft)
			if version != 1 || fault != nil || err != nil || string(proof.Secret) != test.value {
				t.Errorf("version %d: %q, want %q; %v, %v", version, string(proof.Secret), test.value, fault, err)
			}
			if c.Name() != "client secret in "+path || c.Expires() {
				t.Errorf("name %q", c.Name())
			}
		})
	}
	_, err := SecretFile(filepath.Join(t.TempDir(), "missing"))
	wantError(t, err, "missing: no such file or directory")
}

// A secret is read again; while its file holds none, the last one is used.
func TestSecretFileChanges(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "secret")
	writeFile(t, path, "first")
	source, err := SecretFile(path)
	if err != nil {
		t.Fatal(err)
	}
	old, _, _ := source.Look()
	for _, step := range []struct {
		content, value string
		version        int
		fault          string
	}{
		{"", "first", 1, "is empty"},
		{"second", "second", 2, ""},
		{"one\ntwo", "second", 2, "several lines"},
		{" second\n", "second", 3, ""},
	} {
		writeFile(t, path, step.content)
		c, version, fault := source.Look()
		wantError(t, fault, step.fault)
		if proof, _ := c.Prove(t.Context(), atMicrosoft); string(proof.Secret) != step.value || version != step.version {
			t.Errorf("%q: %q, version %d, want %q, version %d", step.content, string(proof.Secret), version, step.value, step.version)
		}
	}
	if proof, _ := old.Prove(t.Context(), atMicrosoft); string(proof.Secret) != "first" {
		t.Errorf("a credential has changed to %q", string(proof.Secret))
	}
}
