package otelmsauth_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/sharedtest"
	"example.com/msauth/tests/testsite"
)

// eventful is the telemetry of a site where everything has happened: each metric has
// values, with each of its attributes, and each span has been there.
func eventful(t *testing.T) *telemetry {
	t.Helper()
	o := newTelemetry(t)
	api := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(api.Close)
	certificate := testsite.NewCertificate(t, "app", 24*time.Hour)
	file := filepath.Join(t.TempDir(), "app.pem")
	testsite.Replace(t, file, certificate.PEM)
	var keys testsite.KeyFile
	refuse := false
	s := testsite.New(t, func(c *msauth.Config) {
		keys = testsite.NewKeyFile(t, testsite.NewKey())
		keys.Use(c)
		c.Credentials = []msauth.Credential{msauth.CertificateFiles(file, file), msauth.Secret(c.ClientSecret)}
		c.ClientSecret = ""
		c.Shared = broken{sharedtest.New()}
		c.TokenHosts = map[string][]string{strings.TrimPrefix(api.URL, "http://"): {testsite.OrdersRead}}
		c.OnSignIn = func(http.ResponseWriter, *http.Request, *msauth.SignIn) error {
			if refuse {
				return errors.New("not today")
			}
			return nil
		}
	}, o.use(t))
	o.observe(t, s.Auth)
	s.MS.AddCertificate(certificate.X509)
	s.MS.AddAPI(msauthtest.API{ID: "api://orders"})
	s.MS.Consent(msauthtest.Ada, testsite.OrdersRead)
	s.Mux.Handle("/call/", s.Auth.Require(o.Pages(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		session, _ := msauth.FromContext(r.Context())
		for _, address := range []string{s.MS.URL + "/v1.0/me", api.URL} {
			if res, err := session.Client(r.Context()).Get(address); err == nil {
				res.Body.Close()
			}
		}
		canceled, cancel := context.WithCancel(r.Context())
		cancel()
		call, _ := http.NewRequestWithContext(canceled, "GET", s.MS.URL+"/v1.0/me", nil)
		if res, err := session.Client(r.Context()).Do(call); err == nil {
			res.Body.Close()
			t.Error("a canceled request is sent")
		}
	}))))
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	b.Get("/call/")
	fail := msauthtest.Failure{Codes: []int{7000222}}
	for _, failing := range []bool{true, false} {
		s.MS.Set(func(b *msauthtest.Behavior) { clear(b.FailAlways) })
		late := s.Browser(t)
		late.SignInExpired(msauthtest.Ada)
		if failing {
			s.Failing(fail)
		}
		late.Still().Get("/call/")
	}
	s.MS.Set(func(b *msauthtest.Behavior) { clear(b.FailAlways) })
	other := s.Browser(t)
	other.SignIn(msauthtest.Ada)
	s.Failing(msauthtest.Failure{Codes: []int{50076}})
	other.Get("/call/") // no token for the other API
	refuse = true
	s.Browser(t).Get("/call/")
	keys.Fill(t, "junk")
	deadline := time.Now().Add(20 * time.Second)
	for !slices.Contains(s.Auth.Stats().Degraded, "key files fail") {
		if time.Now().After(deadline) {
			t.Fatalf("degraded %q", s.Auth.Stats().Degraded)
		}
		b.Get("/public/")
		time.Sleep(100 * time.Millisecond)
	}
	return o
}
