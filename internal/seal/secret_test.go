package seal_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"example.com/msauth/internal/seal"
)

// However a secret is shown, it does not appear, nor its bytes in hexadecimal.
func TestSecretsAreHidden(t *testing.T) {
	t.Parallel()
	const text = "top secret"
	secret := seal.Secret(text)
	type holder struct {
		Token  seal.Secret
		Tokens []seal.Secret
		ByName map[string]seal.Secret
		hidden func() seal.Secret
	}
	held := holder{secret, []seal.Secret{secret}, map[string]seal.Secret{"a": secret}, seal.Hide(text)}
	shown := map[string]string{"String": secret.String(), "GoString": secret.GoString(), "print": fmt.Sprint(secret)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%t", "%.3s", "%30s"} {
		shown[verb] = fmt.Sprintf(verb, secret)
		shown[verb+" of a pointer"] = fmt.Sprintf(verb, &secret)
		shown[verb+" of a struct"] = fmt.Sprintf(verb, held)
		shown[verb+" of a pointer to one"] = fmt.Sprintf(verb, &held)
	}
	for name, handler := range map[string]func(*bytes.Buffer) slog.Handler{
		"slog text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"slog JSON": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var line bytes.Buffer
		slog.New(handler(&line)).Info("message", "token", secret, "pointer", &secret, "list", held.Tokens, "group", slog.GroupValue(slog.Any("token", secret)))
		shown[name] = line.String()
	}
	encode := func(name string, marshal func(any) ([]byte, error), v any) {
		data, err := marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		shown[name] = string(data)
	}
	encode("JSON", json.Marshal, held)
	encode("XML", xml.Marshal, secret)
	for name, got := range shown {
		for _, part := range []string{text, "secret", "746f70", "746F70", "74 6f"} {
			if strings.Contains(got, part) {
				t.Errorf("%s shows %q", name, got)
			}
		}
		if !strings.Contains(name, "struct") && !strings.Contains(name, "pointer") && !strings.Contains(got, seal.Hidden) {
			t.Errorf("%s shows %q, want %s in it", name, got, seal.Hidden)
		}
	}
	if string(secret) != text || string(held.hidden()) != text {
		t.Errorf("the secret itself is %q and %q", string(secret), string(held.hidden()))
	}
}

func TestRandomBytes(t *testing.T) {
	t.Parallel()
	var one, other [32]byte
	seal.RandomBytes(one[:])
	seal.RandomBytes(other[:])
	if one == other || one == [32]byte{} {
		t.Errorf("%x and %x", one, other)
	}
	seal.RandomBytes(nil)
}

func TestSameText(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, a, b string
		want       bool
	}{
		{"empty", "", "", true},
		{"equal", "abc", "abc", true},
		{"last character", "abc", "abd", false},
		{"first character", "abc", "bbc", false},
		{"longer", "abc", "abcd", false},
		{"one empty", "", "a", false},
	}
	for _, test := range tests {
		if got := seal.SameText(test.a, test.b); got != test.want {
			t.Errorf("%s: %t, want %t", test.name, got, test.want)
		}
	}
}
