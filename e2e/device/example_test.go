package device

import (
	"crypto/tls"
	"encoding/base64"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The example is bound over https, which a proxy in front of it speaks, and says so on its
// pages about the session.
func TestExampleSaysThatItsSessionIsBound(t *testing.T) {
	parallel(t)
	s := newSite(t) // for its browser and provider
	path := filepath.Join(t.TempDir(), "example")
	build := exec.Command("go", "build", "-o", path, "./example")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build ./example: %v\n%s", err, out)
	}
	free, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	behind := &url.URL{Scheme: "http", Host: free.Addr().String()}
	free.Close()
	proxy := httptest.NewUnstartedServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(behind)
		r.Out.Host = r.In.Host
	}})
	_, leaf := authority()
	proxy.TLS = &tls.Config{Certificates: []tls.Certificate{leaf}}
	proxy.StartTLS()
	t.Cleanup(proxy.Close)
	public, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	s.url = "https://localhost:" + public.Port() // the name that the certificate is for

	program := exec.Command(path)
	program.Env = []string{
		"PORT=" + behind.Port(), "MSAUTH_BASE_URL=" + s.url + "/auth", "MSAUTH_KEYS=" + base64.StdEncoding.EncodeToString(newKey()),
		"AZURE_CLIENT_ID=" + s.ms.ClientID, "AZURE_CLIENT_SECRET=" + s.ms.ClientSecret, "AZURE_AUTHORITY_HOST=" + s.ms.URL + "/", "AZURE_TENANT_ID=common",
	}
	program.Stdout, program.Stderr = &s.log, &s.log
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = program.Process.Kill()
		_ = program.Wait()
	})
	eventually(t, "the example", func() bool {
		res, err := http.Get(behind.String() + "/healthz")
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	})

	p := s.person(t)
	p.Open(s.url + "/session")
	eventually(t, "a bound session", func() bool {
		for _, c := range p.Cookies() {
			if strings.HasSuffix(c.Name, "-device") {
				return true
			}
		}
		return false
	})
	p.Open(s.url + "/session")
	p.Until(`document.querySelector("#bound").innerText.startsWith("yes")`)
	p.Open(s.url + "/sessions")
	p.Until(`/Bound to the device\s+yes/.test(document.querySelector("#current").innerText)`)
}
