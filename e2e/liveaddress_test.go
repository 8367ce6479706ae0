package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"example.com/msauth/e2e/internal/chrome"
	"example.com/msauth/msauthtest"
)

const liveHost = "login.live.com"

// atLoginLive serves the provider over TLS under the name of Live Connect, at address.
// certificate is a file with its certificate.
func atLoginLive(t *testing.T, ms *msauthtest.Server) (address, certificate string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{liveHost}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate = filepath.Join(t.TempDir(), "login.live.com.pem")
	if err := os.WriteFile(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(ms)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String(), certificate
}

// onlyTo is a proxy that lets programs reach login.live.com, which is at address, and
// nothing else.
func onlyTo(t *testing.T, address string) *httptest.Server {
	t.Helper()
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Host != liveHost+":443" {
			t.Errorf("the app calls %s %s", r.Method, r.Host)
			w.WriteHeader(http.StatusForbidden)
			return
		}
		there, err := net.Dial("tcp", address)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer there.Close()
		w.WriteHeader(http.StatusOK)
		here, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer here.Close()
		go func() {
			io.Copy(there, here)
			there.(*net.TCPConn).CloseWrite()
		}()
		io.Copy(here, there)
	}))
	t.Cleanup(proxy.Close)
	return proxy
}

// The sample runs as it does at Microsoft, on https://login.live.com: only where that
// name leads is different, for the browser and for the program.
func TestLiveAtItsRealAddress(t *testing.T) {
	parallel(t)
	ms := newMicrosoft(t)
	ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = 2 * time.Second })
	address, certificate := atLoginLive(t, ms)
	a := newLive(t, ms, "signin", "LIVE_AUTHORITY=", "HTTPS_PROXY="+onlyTo(t, address).URL, "SSL_CERT_FILE="+certificate)
	if !a.log.contains("People sign in at https://login.live.com.") {
		t.Fatalf("the program runs elsewhere:\n%s", a.log.tail(20))
	}
	browser, stop, err := chrome.Launch("", chrome.SharedProcesses, chromedp.Flag("host-resolver-rules", "MAP "+liveHost+" "+address))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	b := openTab(t, browser, chrome.Person(t, browser))
	t.Cleanup(b.expectNoProblems)

	b.open(a.url)
	b.liveStatus("unknown")
	b.click("#sign-in")
	b.shows("button[name=user]")
	if got := eval[string](b, "location.origin + location.pathname"); got != "https://login.live.com/oauth20_authorize.srf" {
		t.Errorf("signing in at %s", got)
	}
	b.click("button#cancel")
	b.at(a.url + "/")
	b.liveStatus("notConnected")
	b.click("#sign-in")
	b.pick(msauthtest.Mia)
	b.at(a.url + "/")
	b.liveStatus("connected")
	uid, renewed, expires := b.text("#uid"), b.moment("renewed"), b.moment("expires")

	ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
	b.waitUntil(expires)
	b.click("#to-token") // renews it
	b.at(a.url + "/token")
	b.click("#call")
	b.shows("#named")
	if got := b.text("#named"); got != uid {
		t.Errorf("the other part of the site names %q, want %q", got, uid)
	}
	b.open(a.url)
	b.liveStatus("connected")
	if got := b.moment("renewed"); !got.After(renewed) {
		t.Errorf("renewed at %v, as before", got)
	}

	b.click("#sign-out")
	b.at(a.url + "/auth/signed-out")
	left := false
	for _, load := range b.loads() {
		left = left || strings.HasPrefix(load.url, "https://login.live.com/oauth20_logout.srf?client_id="+ms.ClientID+"&redirect_uri=")
	}
	if !left {
		t.Errorf("signed out here only: %v", b.loads())
	}
	b.open(a.url)
	b.click("#sign-in")
	b.shows("button[name=user]") // signed out there, too

	for kind, want := range map[msauthtest.Kind]string{
		msauthtest.Authorize: "/oauth20_authorize.srf", msauthtest.TokenCode: "/oauth20_token.srf",
		msauthtest.TokenRefresh: "/oauth20_token.srf", msauthtest.Logout: "/oauth20_logout.srf",
	} {
		calls := ms.Calls(kind)
		if len(calls) == 0 {
			t.Errorf("no request of kind %s", kind)
		}
		for _, call := range calls {
			if call.Path != want {
				t.Errorf("%s at %s, want %s", kind, call.Path, want)
			}
		}
	}
}
