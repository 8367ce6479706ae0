package main

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// all is what is checked where everything can be.
var all = []string{"settings", "network", "clock", "discovery", "signing keys", "app", "credentials", "redirect URIs", "scopes", "site"}

func TestNothingIsFoundInARightSetUp(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		parts []part
	}{
		{"a secret", nil},
		{"a secret in a file", []part{func(w *world, _ *msauth.Config) {
			w.env["AZURE_CLIENT_SECRET_FILE"], w.env["AZURE_CLIENT_SECRET"] = w.file("secret", []byte(w.ms.ClientSecret+"\n")), ""
		}}},
		{"a certificate", []part{certificate}},
		{"a federated token", []part{federated}},
		{"all three", []part{certificate, federated, func(w *world, _ *msauth.Config) { w.env["AZURE_CLIENT_SECRET"] = w.ms.ClientSecret }}},
		{"a tenant", []part{tenant(msauthtest.TenantContoso)}},
		{"a tenant by its domain", []part{tenant("contoso.example")}},
		{"organizations", []part{tenant("organizations")}},
		{"a discovery document from a cache", []part{func(w *world, _ *msauth.Config) {
			atMicrosoft(func(next http.Handler, rw http.ResponseWriter, r *http.Request) {
				rw.Header().Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
				rw.Header().Set("Age", "3600")
				if !strings.HasSuffix(r.URL.Path, "/openid-configuration") {
					rw.Header().Del("Age")
					rw.Header().Del("Date")
				}
				next.ServeHTTP(rw, r)
			})(w)
		}}},
		{"consumers", []part{tenant("consumers")}},
		{"a file of keys with a space in its name", []part{func(w *world, _ *msauth.Config) {
			file := w.file("the keys", []byte(w.env["MSAUTH_KEYS"]))
			w.env["MSAUTH_KEYS"], w.env["MSAUTH_KEY_FILES"] = "", file+", "
		}}},
		{"the site over TLS", []part{overTLS}},
		{"below a path prefix", []part{func(w *world, site *msauth.Config) {
			w.env["MSAUTH_BASE_URL"] += "/"
			w.env["MSAUTH_BASE_URL"] = strings.Replace(w.env["MSAUTH_BASE_URL"], "/auth/", "/expenses/auth", 1)
			site.BaseURL = w.env["MSAUTH_BASE_URL"]
		}}},
		{"a host that is not ASCII", []part{overTLS, func(w *world, _ *msauth.Config) {
			for _, port := range []string{":443", ":80"} {
				w.hosts["xn--bcher-kva.example.com"+port] = w.hosts["app.example.com"+port]
			}
		}, at(func(*world) string { return "https://b\u00fccher.example.com/auth" })}},
		{"capitals in the host", []part{at(func(w *world) string {
			return strings.Replace(w.site.URL, "127.0.0.1", "LocalHost", 1) + "/auth"
		})}},
		{"an address of IPv6", []part{func(w *world, _ *msauth.Config) { w.hosts["[::1]:80"] = w.site.Listener.Addr().String() }, at(func(*world) string { return "http://[::1]/auth" })}},
		{"a default port", []part{overTLS, at(func(*world) string { return "https://app.example.com:443/auth" })}},
		{"a port beside another site", []part{overTLS, func(w *world, _ *msauth.Config) {
			w.hosts["app.example.com:8443"], w.hosts["app.example.com:80"] = w.hosts["app.example.com:443"], w.site.Listener.Addr().String()
		}, at(func(*world) string { return "https://app.example.com:8443/auth" })}},
		{"no path", []part{at(func(w *world) string { return w.site.URL })}},
		{"another page after signing out", []part{func(w *world, site *msauth.Config) {
			w.env["(post-logout-url)"] = w.site.URL + "/auth/signed-out"
		}}},
		{"a plain OpenID provider", []part{plainProvider}},
		{"Entra External ID", []part{customers(func(w *world) msauthtest.Provider { return w.ms.ExternalID() })}},
		{"Azure AD B2C", []part{customers(func(w *world) msauthtest.Provider { return w.ms.B2C() })}},
		{"an API of the app's own", []part{func(w *world, site *msauth.Config) {
			w.ms.AddAPI(msauthtest.API{ID: "api://orders", Scopes: []string{"Orders.Read"}})
			w.env["MSAUTH_SCOPES"], site.Scopes = "api://orders/Orders.Read", []string{"api://orders/Orders.Read"}
		}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tt.parts...)
			o := w.check()
			if o.code != exitNothing || len(o.findings) != 0 {
				t.Fatalf("exit code %d:\n%s", o.code, o.text)
			}
			for _, check := range all {
				if !slices.Contains(o.checked, check) {
					t.Errorf("not checked: %s; only %q", check, o.checked)
				}
			}
			var out bytes.Buffer
			if run(t.Context(), nil, surroundings{getenv: func(name string) string { return w.env[name] }, transport: w.transport, stdout: &out, stderr: &out}); strings.Count(out.String(), "\n") != 1 || !strings.HasPrefix(out.String(), "msauth-check: OK, no errors. Checked: settings, ") {
				t.Errorf("printed\n%swant one line", &out)
			}
		})
	}
}

// at serves the site at another base URL.
func at(base func(w *world) string) part {
	return func(w *world, site *msauth.Config) {
		w.env["MSAUTH_BASE_URL"], site.BaseURL = base(w), base(w)
	}
}

// customers has people sign in at one of Microsoft's services for customers, on a custom
// domain.
func customers(provider func(w *world) msauthtest.Provider) part {
	return func(w *world, site *msauth.Config) {
		plainProvider(w, site)
		w.env["MSAUTH_ISSUER"], w.env["(microsoft-issuer)"] = provider(w).Issuer, provider(w).Published
		site.Issuer, site.MicrosoftIssuer = provider(w).Issuer, provider(w).Published
	}
}
