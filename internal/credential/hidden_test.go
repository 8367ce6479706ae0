package credential

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"example.com/msauth/internal/seal"
)

// However a value of this package is printed, nothing secret of it appears; nor in
// an error.
func TestNothingSecretIsPrinted(t *testing.T) {
	t.Parallel()
	const text, pin = "the~secret~value", "pin-of-the-device"
	keys := testKeys()
	token := endingAt("4102444800")
	cert := certified(keys.rsa)
	pair := certBlocks(cert.Certificate...) + keyBlock(keys.rsa)

	// What must not appear, in part: strings, and numbers in the bases of fmt.
	parts := strings.Split(token, ".")
	forbidden := map[string]string{"the secret": text, "the PIN": pin, "claims of the token": parts[1], "signature of the token": parts[2]}
	for name, number := range map[string]interface{ Text(int) string }{
		"exponent": keys.rsa.D, "prime": keys.rsa.Primes[0], "EC key": new(big.Int).SetBytes(must(keys.ec.Bytes())),
	} {
		forbidden[name+" in decimal"], forbidden[name+" in hexadecimal"] = number.Text(10)[:40], number.Text(16)[:40]
	}
	for name, data := range map[string][]byte{
		"secret": []byte(text), "PIN": []byte(pin), "token": []byte(token), "exponent": keys.rsa.D.Bytes(), "prime": keys.rsa.Primes[0].Bytes(),
	} {
		forbidden[name+" as numbers"] = strings.Trim(fmt.Sprint(data[:12]), "[]")
		forbidden[name+" as numbers in Go"] = strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", data[:12]), "[]byte{"), "}")
		forbidden[name+" in hexadecimal, as bytes"] = fmt.Sprintf("%x", data[:12])
	}
	lines := strings.Split(keyBlock(keys.rsa), "\n")
	for i, line := range lines[8:20] { // those before hold the modulus, which is public
		forbidden[fmt.Sprint("line ", i+8, " of the key in PEM form")] = line
	}

	values := map[string]any{"atMicrosoft": atMicrosoft, "elsewhere": elsewhere}
	add := func(name string, v any, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		values[name] = v
	}
	secret, err := NewSecret(text, "client secret")
	add("secret", secret, err)
	software, err := NewSigned(cert, Options{Microsoft: true, Chain: true})
	add("key", software, err)
	hsm, err := NewSigned(certified(device{PIN: pin, key: keys.rsa}), Options{Microsoft: true})
	add("device", hsm, err)
	small, err := NewSigned(certified(keys.ec), Options{})
	add("EC key", small, err)
	asked, err := NewAsked(func(context.Context, string) (string, error) { return token, nil }, "the function")
	add("function", asked, err)

	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		writeFile(t, path, content)
		return path
	}
	secretFile, err := SecretFile(file("secret", text))
	add("source of a secret", secretFile, err)
	tokenFile, err := TokenFile(file("token", token))
	add("source of a token", tokenFile, err)
	certFiles, err := CertificateFiles(file("pair", pair), filepath.Join(dir, "pair"), Options{Microsoft: true, Chain: true})
	add("source of a certificate", certFiles, err)

	sources := []Source{Fixed(secret), Fixed(software), Fixed(hsm), Fixed(asked), secretFile, tokenFile, certFiles}
	for i, source := range sources {
		c, _, _ := source.Look()
		values[fmt.Sprint("source ", i)], values[fmt.Sprint("credential ", i)] = source, c
		proof, err := c.Prove(t.Context(), atMicrosoft)
		add(fmt.Sprint("proof ", i), proof, err)
		if string(proof.Assertion) != "" {
			forbidden[fmt.Sprint("assertion ", i)] = string(proof.Assertion)[40:]
		}
	}
	ring := NewRing(sources, time.Hour, deaf{})
	values["ring"], values["status"] = ring, ring.Status()
	values["error of the ring"] = ring.Use(t.Context(), atMicrosoft, false, func(Proof) (Verdict, error) { return Refused, errors.New("refused") })
	values["status then"] = ring.Status()

	// Contents that are refused.
	for name, open := range map[string]func() (Source, error){
		"two secrets":      func() (Source, error) { return SecretFile(file("1", text+"\n"+text)) },
		"a secret and NUL": func() (Source, error) { return SecretFile(file("2", text+"\x00")) },
		"a long secret":    func() (Source, error) { return SecretFile(file("3", strings.Repeat(text, 1000))) },
		"two tokens":       func() (Source, error) { return TokenFile(file("4", token+"\n"+token)) },
		"half a token":     func() (Source, error) { return TokenFile(file("5", parts[0]+"."+parts[1])) },
		"a secret there":   func() (Source, error) { return TokenFile(file("6", text)) },
		"half a key":       func() (Source, error) { return CertificateFiles(file("7", pair[:len(pair)-400]), dir+"/7", Options{}) },
		"two keys": func() (Source, error) {
			return CertificateFiles(file("8", pair+keyBlock(keys.ec)), dir+"/8", Options{})
		},
		"a key of others": func() (Source, error) {
			return CertificateFiles(file("9", certBlocks(chainOf(keys.another.Public())...)+keyBlock(keys.rsa)), dir+"/9", Options{})
		},
		"a key in DER": func() (Source, error) {
			return CertificateFiles(dir+"/pair", file("10", string(keyDER(keys.rsa))), Options{})
		},
		"a key for a certificate": func() (Source, error) {
			return CertificateFiles(file("11", block("CERTIFICATE", keyDER(keys.rsa))+keyBlock(keys.rsa)), dir+"/11", Options{})
		},
		"a secret for a key": func() (Source, error) {
			return CertificateFiles(dir+"/pair", file("12", block("PRIVATE KEY", []byte(text))), Options{})
		},
		"a device alone": func() (Source, error) {
			c, err := NewSigned(certified(device{PIN: pin, key: keys.ec}), Options{Microsoft: true})
			return Fixed(c), err
		},
	} {
		_, err := open()
		if err == nil {
			t.Errorf("%s was accepted", name)
			continue
		}
		values["error of "+name] = err
	}
	for name, returned := range map[string]string{"a token with more": token + " " + token, "a secret": text, "an old token": endingAt("1000000000")} {
		c, err := NewAsked(func(context.Context, string) (string, error) { return returned, nil }, "the function")
		if err != nil {
			t.Fatal(err)
		}
		if _, err = c.Prove(t.Context(), atMicrosoft); err == nil {
			t.Errorf("%s was accepted", name)
			continue
		}
		values["error of a function that returns "+name] = err
	}

	for name, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			shown := fmt.Sprintf(verb, v)
			p := reflect.New(reflect.TypeOf(v))
			p.Elem().Set(reflect.ValueOf(v))
			shown += fmt.Sprintf(verb, p.Interface()) + fmt.Sprintf(verb, []any{v}) + fmt.Sprintf(verb, struct{ V any }{v})
			for what, part := range forbidden {
				if strings.Contains(strings.ToLower(shown), strings.ToLower(part)) {
					t.Errorf("%s shows %s with %s", name, what, verb)
				}
			}
		}
	}
	// The test would find what is there.
	if shown := fmt.Sprintf("%+v", struct{ s seal.Secret }{text}); !strings.Contains(shown, forbidden["the secret"]) {
		t.Errorf("%s", shown)
	}
	if data := base64.StdEncoding.EncodeToString(keyDER(keys.rsa)); !strings.Contains(data, lines[9]) {
		t.Error("the lines of a key are others")
	}
}
