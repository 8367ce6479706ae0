package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/cmd/msauth-check/internal/report"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// A world is a right set-up: a local Microsoft, a site that signs people in there, and
// the environment of an operator. Each test changes one thing.
type world struct {
	t   *testing.T
	env map[string]string
	ms  *msauthtest.Server
	// atMicrosoft and atSite are in front of both: a network, a proxy.
	atMicrosoft, atSite http.Handler

	microsoft, site *httptest.Server
	hosts           map[string]string // addresses of names, with their ports
	transport       *http.Transport
	issuers         []*msauthtest.Issuer
	secrets         []string
	stderr          io.Writer     // gets what the command prints there
	patience        time.Duration // of one request
	signInTime      time.Duration
}

// A part changes a world before the site is there, which begins with what it says.
type part func(w *world, site *msauth.Config)

func newWorld(t *testing.T, parts ...part) *world {
	t.Helper()
	w := &world{t: t, env: map[string]string{}, hosts: map[string]string{}, stderr: io.Discard, patience: time.Second, signInTime: 20 * time.Second}
	w.microsoft = httptest.NewServer(serving(&w.atMicrosoft))
	w.ms = msauthtest.New(w.microsoft.URL)
	put(&w.atMicrosoft, w.ms)
	w.site = httptest.NewServer(serving(&w.atSite))
	t.Cleanup(func() {
		w.site.Close()
		w.microsoft.CloseClientConnections()
		w.microsoft.Close()
		w.ms.Close()
	})
	key := make([]byte, 32)
	rand.Read(key)
	w.env = map[string]string{
		"AZURE_CLIENT_ID": w.ms.ClientID, "AZURE_CLIENT_SECRET": w.ms.ClientSecret, "AZURE_AUTHORITY_HOST": w.ms.URL,
		"MSAUTH_BASE_URL": w.site.URL + "/auth", "MSAUTH_KEYS": base64.StdEncoding.EncodeToString(key),
	}
	w.secrets = []string{w.ms.ClientSecret, w.env["MSAUTH_KEYS"]}
	w.transport = transport()
	dialer := &net.Dialer{}
	w.transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if known, ok := w.hosts[address]; ok {
			address = known
		}
		return dialer.DialContext(ctx, network, address)
	}
	t.Cleanup(w.transport.CloseIdleConnections)
	c := msauth.Config{
		ClientID: w.ms.ClientID, ClientSecret: w.ms.ClientSecret, Authority: w.ms.URL, BaseURL: w.site.URL + "/auth",
		Keys: [][]byte{key}, Scopes: []string{"User.Read", "Files.Read"}, Logger: slog.New(slog.DiscardHandler),
	}
	for _, p := range parts {
		p(w, &c)
	}
	w.register(c.BaseURL+"/callback", c.BaseURL+"/signed-out")
	w.serve(c)
	return w
}

// inFront guards what is in front of all worlds: a port that was another test's can get
// requests that were meant for that.
var inFront sync.RWMutex

// put puts a handler in front of a world.
func put(at *http.Handler, h http.Handler) {
	inFront.Lock()
	defer inFront.Unlock()
	*at = h
}

// serving serves what is in front of a world now.
func serving(at *http.Handler) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		inFront.RLock()
		h := *at
		inFront.RUnlock()
		if h == nil {
			http.Error(rw, "nothing is here yet", http.StatusServiceUnavailable)
			return
		}
		h.ServeHTTP(rw, r)
	}
}

// register makes these the registered redirect URIs.
func (w *world) register(uris ...string) {
	w.ms.Set(func(b *msauthtest.Behavior) { b.RedirectURIs = uris })
}

// serve puts a site with this configuration where BaseURL says.
func (w *world) serve(c msauth.Config) {
	w.t.Helper()
	auth, err := msauth.New(c)
	if err != nil {
		w.t.Fatal(err)
	}
	_, path, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(c.BaseURL, "https://"), "http://"), "/")
	mux := http.NewServeMux()
	if path != "" {
		mux.Handle("/"+path+"/", auth)
		mux.HandleFunc("/", http.NotFound)
	} else {
		mux.Handle("/", auth)
	}
	put(&w.atSite, mux)
}

// An outcome is what the command has said.
type outcome struct {
	code     int
	findings []report.Finding
	checked  []string
	facts    string
	text     string // all output, of both forms
	took     time.Duration
}

// check runs the command.
func (w *world) check(args ...string) outcome {
	w.t.Helper()
	getenv := func(name string) string { return w.env[name] }
	var out, stderr bytes.Buffer
	began := time.Now()
	code := run(w.t.Context(), append([]string{"-json"}, args...), surroundings{getenv: getenv, transport: w.transport, stdout: &out, stderr: io.MultiWriter(&stderr, w.stderr), patience: w.patience, signInTime: w.signInTime})
	took := time.Since(began)
	var doc struct {
		Findings []report.Finding
		Checked  []string
		Facts    []string
	}
	if err := json.Unmarshal(out.Bytes(), &doc); err != nil {
		w.t.Fatalf("%v\n%s%s", err, &out, &stderr)
	}
	o := outcome{code: code, facts: strings.Join(doc.Facts, "\n"), findings: doc.Findings, checked: doc.Checked, text: out.String() + stderr.String(), took: took}
	for _, secret := range append(w.secrets, w.ms.Secrets()...) {
		if len(secret) > 8 && strings.Contains(o.text, secret) {
			w.t.Errorf("a secret is in the output:\n%s", strings.ReplaceAll(o.text, secret, "<<<SECRET>>>"))
		}
	}
	if strings.Contains(o.text, "goroutine ") {
		w.t.Errorf("a stack trace is in the output:\n%s", o.text)
	}
	return o
}

// file writes a file, and returns its path.
func (w *world) file(name string, content []byte) string {
	w.t.Helper()
	path := filepath.Join(w.t.TempDir(), name)
	testsite.Replace(w.t, path, content)
	return path
}

// setenv is a part that sets variables.
func setenv(pairs ...string) part {
	return func(w *world, _ *msauth.Config) {
		for i := 0; i < len(pairs); i += 2 {
			w.env[pairs[i]] = pairs[i+1]
		}
	}
}

// certificate has the app prove itself by a certificate, which is registered.
func certificate(w *world, _ *msauth.Config) {
	c := testsite.NewCertificate(w.t, "app", 90*24*time.Hour)
	w.ms.AddCertificate(c.X509)
	w.env["AZURE_CLIENT_SECRET"], w.env["AZURE_CLIENT_CERTIFICATE_PATH"] = "", w.file("app.pem", c.PEM)
}

// federated has the app prove itself by a token of another issuer.
func federated(w *world, _ *msauth.Config) {
	issuer := msauthtest.NewIssuer()
	w.t.Cleanup(issuer.Close)
	w.issuers = append(w.issuers, issuer)
	w.ms.AddFederated(issuer.URL, "system:serviceaccount:shop:web", "")
	token := issuer.Token("system:serviceaccount:shop:web", "", time.Hour)
	w.secrets = append(w.secrets, token)
	w.env["AZURE_CLIENT_SECRET"], w.env["AZURE_FEDERATED_TOKEN_FILE"] = "", w.file("token", []byte(token))
}

// tenant is a part that is for one tenant, or for a kind of account.
func tenant(name string) part {
	return func(w *world, site *msauth.Config) { w.env["AZURE_TENANT_ID"], site.Tenant = name, name }
}

// overTLS puts the site at https://app.example.com, and a redirect to it at http.
func overTLS(w *world, site *msauth.Config) {
	secure := tlsServer(w.t, serving(&w.atSite))
	plain := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		http.Redirect(rw, r, "https://"+r.Host+r.URL.RequestURI(), http.StatusMovedPermanently)
	}))
	w.t.Cleanup(plain.Close)
	w.hosts["app.example.com:443"], w.hosts["app.example.com:80"] = secure.Listener.Addr().String(), plain.Listener.Addr().String()
	w.transport.TLSClientConfig = secure.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	w.env["MSAUTH_BASE_URL"], site.BaseURL = "https://app.example.com/auth", "https://app.example.com/auth"
}

// tlsServer is a server that does not log what its clients think of its certificate.
func tlsServer(t *testing.T, h http.Handler, certificates ...tls.Certificate) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{Certificates: certificates}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}
