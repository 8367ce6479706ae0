package device_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"context"
)

func TestSpike(t *testing.T) {
	home := t.TempDir()
	caKey, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	caDER, _ := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	leafKey, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(23 * time.Hour), DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.ParseIP("127.0.0.1")}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	leafDER, _ := x509.CreateCertificate(rand.Reader, leaf, ca, &leafKey.PublicKey, caKey)
	nss := filepath.Join(home, ".pki", "nssdb")
	os.MkdirAll(nss, 0o700)
	pemFile := filepath.Join(home, "ca.pem")
	os.WriteFile(pemFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}), 0o600)
	run := func(args ...string) {
		cmd := exec.Command("certutil", args...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatal(err, string(out))
		}
	}
	run("-N", "-d", "sql:"+nss, "--empty-password")
	run("-A", "-d", "sql:"+nss, "-n", "test", "-t", "C,,", "-i", pemFile)

	srv := httptest.NewUnstartedServer(nil)
	show := func(r *http.Request) {
		fmt.Println(time.Now().Format("05.000"), r.Method, r.URL.Path)
		for k, v := range r.Header {
			switch k {
			case "Accept", "Accept-Encoding", "Accept-Language", "User-Agent", "Sec-Ch-Ua", "Sec-Ch-Ua-Mobile", "Sec-Ch-Ua-Platform", "Upgrade-Insecure-Requests":
			default:
				fmt.Printf("    %s: %q\n", k, v)
			}
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		show(r)
		if r.URL.Path == "/login" {
			w.Header().Set("Secure-Session-Registration", `(ES256 RS256);path="/auth/device/register";challenge="c1"`)
			http.SetCookie(w, &http.Cookie{Name: "__Host-s", Value: "1", Path: "/", Secure: true, HttpOnly: true})
		}
		fmt.Fprint(w, "<title>x</title><p>page")
	})
	reply := func(w http.ResponseWriter) {
		http.SetCookie(w, &http.Cookie{Name: "__Host-d", Value: fmt.Sprint(time.Now().UnixNano()), Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: 4})
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Secure-Session-Challenge", `"c2";id="ident"`)
		fmt.Fprint(w, `{"session_identifier":"ident","refresh_url":"/auth/device/refresh","scope":{"include_site":false,"scope_specification":[{"type":"exclude","domain":"*","path":"/auth/"}]},"credentials":[{"type":"cookie","name":"__Host-d","attributes":"Path=/; Secure; HttpOnly; SameSite=Lax"}]}`)
	}
	mux.HandleFunc("/auth/device/register", func(w http.ResponseWriter, r *http.Request) { show(r); reply(w) })
	mux.HandleFunc("/auth/device/refresh", func(w http.ResponseWriter, r *http.Request) {
		show(r)
		if r.Header.Get("Secure-Session-Response") == "" {
			w.Header().Set("Secure-Session-Challenge", `"c3";id="ident"`)
			w.WriteHeader(403)
			return
		}
		reply(w)
	})
	srv.Config.Handler = mux
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{leafDER}, PrivateKey: leafKey}}}
	srv.StartTLS()
	defer srv.Close()
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	base := "https://localhost:" + port

	ctx, stop := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath("/usr/bin/chromium"), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(filepath.Join(home, "profile")),
		chromedp.Env("HOME="+home), chromedp.Flag("no-proxy-server", true),
		chromedp.Flag("enable-features", "DeviceBoundSessions:RequireOriginTrialTokens/false,EnableBoundSessionCredentialsSoftwareKeysForManualTesting"))...)
	defer stop()
	ctx, cancel := chromedp.NewContext(ctx)
	defer cancel()
	for _, p := range []string{"/login", "/page1", "/page2"} {
		if _, err := chromedp.Run(ctx, chromedp.Navigate(base+p)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1500 * time.Millisecond)
	}
	time.Sleep(4 * time.Second)
	chromedp.Run(ctx, chromedp.Navigate(base+"/page3"))
	time.Sleep(time.Second)
}
