package register_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// A cloud is where az finds Microsoft.
type cloud struct{ name, login, graph, manager string }

var (
	global = cloud{"AzureCloud", "https://login.microsoftonline.com", "https://graph.microsoft.com", "https://management.azure.com"}
	usGov  = cloud{"AzureUSGovernment", "https://login.microsoftonline.us", "https://graph.microsoft.us", "https://management.usgovcloudapi.net"}
)

var hosts = []string{"login.microsoftonline.com", "graph.microsoft.com", "management.azure.com",
	"login.microsoftonline.us", "graph.microsoft.us", "management.usgovcloudapi.net"}

// startProxy starts an HTTP proxy that leads to no network: behind it handler is each of
// Microsoft's hosts, with a certificate of a CA in caFile. So az is what it is everywhere,
// but for HTTPS_PROXY and REQUESTS_CA_BUNDLE.
func startProxy(t *testing.T, handler http.Handler) (proxy, caFile string) {
	ca, leaf := authorities(t)
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca}), 0o600); err != nil {
		t.Fatal(err)
	}
	inner := &handed{conns: make(chan net.Conn), closed: make(chan struct{})}
	site := &http.Server{Handler: handler}
	go site.Serve(inner)
	outer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, port, _ := net.SplitHostPort(r.Host)
		if r.Method != http.MethodConnect || port != "443" || !slices.Contains(hosts, host) {
			http.Error(w, "only Microsoft is here", http.StatusBadGateway)
			return
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		conn.Write([]byte("HTTP/1.1 200 OK\r\n\r\n"))
		select {
		case inner.conns <- tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{leaf}}):
		case <-inner.closed:
			conn.Close()
		}
	}))
	t.Cleanup(func() {
		site.Close()
		outer.Close()
	})
	return outer.URL, caFile
}

// handed is a listener for connections that were accepted elsewhere.
type handed struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (h *handed) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, errors.New("closed")
	}
}

func (h *handed) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

func (h *handed) Addr() net.Addr { return &net.TCPAddr{} }

// authorities makes a CA, and a certificate of it for Microsoft's hosts.
var authorities = func() func(t *testing.T) ([]byte, tls.Certificate) {
	made := sync.OnceValues(func() ([]byte, tls.Certificate) {
		caKey, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA of these tests"}, NotBefore: time.Now().Add(-time.Hour),
			NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
		ca, _ := x509.CreateCertificate(rand.Reader, template, template, caKey.Public(), caKey)
		site := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: hosts[0]}, NotBefore: template.NotBefore, NotAfter: template.NotAfter,
			DNSNames: hosts, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
		leaf, _ := x509.CreateCertificate(rand.Reader, site, template, key.Public(), caKey)
		return ca, tls.Certificate{Certificate: [][]byte{leaf}, PrivateKey: key}
	})
	return func(t *testing.T) ([]byte, tls.Certificate) {
		ca, leaf := made()
		if len(ca) == 0 || len(leaf.Certificate[0]) == 0 {
			t.Fatal("no certificates")
		}
		return ca, leaf
	}
}()
