package material

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/msauth"
)

var all = []string{CA, Certificate, ClientSecret, Keys, PrivateKey, RedisPassword, RedisUsers}

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, name := range all {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(text)
	}
	return files
}

// What is there stays, and what is missing is made anew, with what belongs to it. Nobody
// else can enter the directory.
func TestWrite(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ remove, made []string }{
		{nil, nil},
		{[]string{Keys}, []string{Keys}},
		{[]string{ClientSecret}, []string{ClientSecret}},
		{[]string{RedisPassword}, []string{RedisPassword, RedisUsers}},
		{[]string{RedisUsers}, []string{RedisPassword, RedisUsers}},
		{[]string{CA}, []string{CA, Certificate, PrivateKey}},
		{[]string{PrivateKey}, []string{CA, Certificate, PrivateKey}},
		{all, all},
	} {
		t.Run(strings.ReplaceAll(strings.Join(tt.remove, ","), "/", "-"), func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "secrets")
			if made, err := Write(dir, "localhost"); err != nil || len(made) != len(all) {
				t.Fatalf("%q, %v", made, err)
			}
			if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("%v, %v", info.Mode(), err)
			}
			before := contents(t, dir)
			for _, name := range tt.remove {
				if err := os.Remove(filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
			}
			made, err := Write(dir, "localhost")
			want := slices.Sorted(slices.Values(tt.made))
			slices.Sort(made)
			if err != nil || !slices.Equal(made, want) {
				t.Errorf("made %q, %v, want %q", made, err, want)
			}
			for name, text := range contents(t, dir) {
				if changed := text != before[name]; changed != slices.Contains(tt.made, name) {
					t.Errorf("%s has changed: %t", name, changed)
				}
			}
		})
	}
	if _, err := Write(t.TempDir()); err == nil || !strings.Contains(err.Error(), "no host") {
		t.Error(err)
	}
}

// The certificate is for its hosts, by an authority that can sign for no others; the
// keys are those that the app takes.
func TestContents(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := Write(dir, "localhost", "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, Certificate), filepath.Join(dir, PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	text, _ := os.ReadFile(filepath.Join(dir, CA))
	if !roots.AppendCertsFromPEM(text) {
		t.Fatal("no CA")
	}
	for host, good := range map[string]bool{"localhost": true, "127.0.0.1": true, "site.example": false, "127.0.0.2": false} {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: roots}); (err == nil) != good {
			t.Errorf("%s: %v", host, err)
		}
	}
	block, _ := pem.Decode(text)
	ca, err := x509.ParseCertificate(block.Bytes)
	if err != nil || !slices.Equal(ca.PermittedDNSDomains, []string{"localhost"}) || len(ca.PermittedIPRanges) != 1 || time.Until(ca.NotAfter) > 91*24*time.Hour {
		t.Errorf("%v, %v, until %v, %v", ca.PermittedDNSDomains, ca.PermittedIPRanges, ca.NotAfter, err)
	}
	_, err = msauth.New(msauth.Config{
		ClientID: "id", ClientSecret: "secret", BaseURL: "https://localhost:8443/auth", KeyFiles: []string{filepath.Join(dir, Keys)},
	})
	if err != nil {
		t.Error(err)
	}
	users := contents(t, dir)[RedisUsers]
	if strings.Contains(users, strings.TrimSpace(contents(t, dir)[RedisPassword])) || !strings.HasPrefix(users, "user default off\nuser msauth on #") {
		t.Errorf("%s", users)
	}
}
