package nginx_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// What nginx does to requests and answers, msauth-check sees from outside: nothing with
// nginx's defaults and TLS, and each setting that is too small or wrong.
func TestCheckThroughNginx(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "msauth-check")
	if out, err := exec.Command("go", "build", "-o", path, "example.com/msauth/cmd/msauth-check").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	plain := "location / { proxy_pass http://APP; proxy_set_header Host $http_host; }"
	for _, tt := range []struct {
		name     string
		prefix   string // of BaseURL's path
		settings string // of nginx's server
		want     string // the only finding
		command  string // what the remedy says
	}{
		{name: "nginx's defaults", settings: plain},
		{name: "as docs/proxies.md advises", settings: "proxy_buffer_size 8k;" + plain},
		{name: "another Host header", settings: "location / { proxy_pass http://APP; }"},
		{name: "below a prefix", prefix: "/expenses", settings: "location /expenses/ { proxy_pass http://APP; }"},
		{name: "small response buffers", settings: "proxy_buffer_size 2k; proxy_buffers 8 2k; proxy_busy_buffers_size 4k;" + plain,
			want: "site-response-headers", command: "proxy_buffer_size 8k;"},
		{name: "small request buffers", settings: "large_client_header_buffers 4 5k;" + plain,
			want: "site-request-headers", command: "large_client_header_buffers 4 16k;"},
		{name: "a prefix that is taken away", prefix: "/expenses", settings: "location /expenses/ { proxy_pass http://APP/; }",
			want: "site-prefix", command: "proxy_pass without a path"},
		{name: "no app behind it", settings: "location / { proxy_pass http://127.0.0.1:9; }",
			want: "site-unreachable", command: "Start the site"},
		{name: "no cookies", settings: "proxy_hide_header Set-Cookie;" + plain,
			want: "site-cookies", command: "Set-Cookie"},
		{name: "a cache of everything", settings: "location / { proxy_pass http://APP; proxy_cache pages; proxy_cache_valid any 1m; proxy_buffer_size 8k; proxy_ignore_headers Cache-Control Set-Cookie Vary; }",
			want: "site-cached", command: "no-store"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ms := msauthtest.NewServer()
			t.Cleanup(ms.Close)
			front, secure := freeAddress(t), freeAddress(t)
			base := "https://" + secure + tt.prefix + "/auth"
			key := make([]byte, 32)
			rand.Read(key)
			auth, err := msauth.New(msauth.Config{
				ClientID: ms.ClientID, ClientSecret: ms.ClientSecret, Authority: ms.URL, BaseURL: base, Keys: [][]byte{key},
				Logger: slog.New(slog.DiscardHandler),
			})
			if err != nil {
				t.Fatal(err)
			}
			mux := http.NewServeMux()
			mux.Handle(tt.prefix+"/auth/", auth)
			app := httptest.NewServer(mux)
			t.Cleanup(app.Close)
			cert, private := serverCertificate(t)
			startNginx(t, front, "", fmt.Sprintf("listen %s ssl; ssl_certificate %s; ssl_certificate_key %s;\n%s", secure, cert, private,
				strings.ReplaceAll(tt.settings, "APP", app.Listener.Addr().String())))
			ms.Set(func(b *msauthtest.Behavior) { b.RedirectURIs = []string{base + "/callback", base + "/signed-out"} })

			cmd := exec.Command(path, "-json")
			cmd.Env = []string{"SSL_CERT_FILE=" + cert, "AZURE_CLIENT_ID=" + ms.ClientID, "AZURE_CLIENT_SECRET=" + ms.ClientSecret, "AZURE_AUTHORITY_HOST=" + ms.URL,
				"MSAUTH_BASE_URL=" + base, "MSAUTH_KEYS=" + base64.StdEncoding.EncodeToString(key)}
			out, _ := cmd.Output() // findings are no error
			var report struct {
				Findings []struct{ ID, Remedy string }
				Checked  []string
			}
			if err := json.Unmarshal(out, &report); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			switch {
			case tt.want == "":
				if len(report.Findings) > 0 || cmd.ProcessState.ExitCode() != 0 || !strings.Contains(strings.Join(report.Checked, " "), "site") {
					t.Errorf("exit code %d:\n%s", cmd.ProcessState.ExitCode(), out)
				}
			case len(report.Findings) != 1 || report.Findings[0].ID != tt.want || !strings.Contains(report.Findings[0].Remedy, tt.command) || cmd.ProcessState.ExitCode() != 1:
				t.Errorf("exit code %d, want %s alone:\n%s", cmd.ProcessState.ExitCode(), tt.want, out)
			}
		})
	}
}

// serverCertificate makes a certificate for 127.0.0.1 that certifies itself, in two files.
func serverCertificate(t *testing.T) (cert, private string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "nginx"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, private = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, private: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, private
}
