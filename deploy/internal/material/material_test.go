package material

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
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

// selfSigned is a certificate of this name that is good for so long.
func selfSigned(t *testing.T, name string, good time.Duration) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(good)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// A certificate of the operator's own stays, and so does its key, whatever else is
// missing. One for trying out is replaced before it ends.
func TestOwnCertificate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name        string
		certificate []byte
		remove      []string
		made        string // the certificate is made anew, with these files
		want        string // of the error
	}{
		{"own", selfSigned(t, "site.example", time.Hour), nil, "", ""},
		{"own, without the CA of the other one", selfSigned(t, "site.example", time.Hour), []string{CA}, "", ""},
		{"own, with the key missing", selfSigned(t, "site.example", time.Hour), []string{PrivateKey}, "", "there is no site-key.pem"},
		{"not a certificate", []byte("soon\n"), []string{CA}, "", ""},
		{"a key alone", nil, []string{CA, Certificate}, "", "no site.pem"},
		{"for trying out, over soon", selfSigned(t, caName, 6*24*time.Hour), nil, "ca.pem site-key.pem site.pem", ""},
		{"for trying out, good", selfSigned(t, caName, 8*24*time.Hour), nil, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if _, err := Write(dir, "localhost"); err != nil {
				t.Fatal(err)
			}
			files := map[string][]byte{PrivateKey: []byte("the key of my own\n")}
			if tt.certificate != nil {
				files[Certificate] = tt.certificate
			}
			for name, text := range files {
				if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for _, name := range tt.remove {
				if err := os.Remove(filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
				delete(files, name)
			}
			made, err := Write(dir, "localhost")
			if got := strings.Join(made, " "); got != tt.made {
				t.Errorf("made %q, want %q", got, tt.made)
			}
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want %q in it", err, tt.want)
			}
			for name, text := range files {
				if now, _ := os.ReadFile(filepath.Join(dir, name)); (string(now) == string(text)) != (tt.made == "") {
					t.Errorf("%s is now\n%s", name, now)
				}
			}
		})
	}
}

// In a container the programs are other users, whatever umask the operator has.
func TestUmask(t *testing.T) {
	if dir := os.Getenv("MATERIAL_DIR"); dir != "" { // this is the program
		if _, err := Write(dir, "localhost"); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Parallel()
	dir := t.TempDir()
	write := exec.Command("sh", "-c", `umask 077 && exec "$0" -test.run '^TestUmask$'`, os.Args[0])
	write.Env = append(os.Environ(), "MATERIAL_DIR="+dir)
	if out, err := write.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := map[string]os.FileMode{"": 0o700, filepath.Dir(Keys): 0o755}
	for _, name := range all {
		want[name] = 0o644
	}
	for name, mode := range want {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v, want %o", name, info.Mode(), err, mode)
		}
	}
}
