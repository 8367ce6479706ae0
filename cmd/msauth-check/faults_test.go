package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/cmd/msauth-check/internal/report"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// A planted fault is one thing that is wrong in a world where all else is right.
type planted struct {
	name    string
	parts   []part
	args    []string
	plant   func(w *world)
	id      string // of the only finding
	what    string // in the finding's what
	remedy  string // in its remedy or command; CLIENT_ID, CALLBACK, SIGNED_OUT stand for those of the world
	numbers []int
}

const nobody = "5f0a4c1e-2a1b-4d3c-9e8f-0123456789ab" // a GUID that nobody has

// answer makes Microsoft answer all requests of a kind with a failure.
func answer(kind msauthtest.Kind, f msauthtest.Failure) func(w *world) {
	return func(w *world) {
		w.ms.Set(func(b *msauthtest.Behavior) { b.FailAlways[kind] = f })
	}
}

// env is a plant that sets variables.
func env(pairs ...string) func(w *world) {
	return func(w *world) { setenv(pairs...)(w, nil) }
}

// around puts a handler in front of another.
func around(h *http.Handler, f func(next http.Handler, rw http.ResponseWriter, r *http.Request)) {
	next := *h
	put(h, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { f(next, rw, r) }))
}

func atSite(f func(next http.Handler, rw http.ResponseWriter, r *http.Request)) func(w *world) {
	return func(w *world) { around(&w.atSite, f) }
}

func atMicrosoft(f func(next http.Handler, rw http.ResponseWriter, r *http.Request)) func(w *world) {
	return func(w *world) { around(&w.atMicrosoft, f) }
}

// stripped takes a prefix from paths, as a proxy does.
func stripped(prefix string) func(w *world) {
	return atSite(func(next http.Handler, rw http.ResponseWriter, r *http.Request) {
		r.RequestURI = strings.TrimPrefix(r.RequestURI, prefix)
		http.StripPrefix(prefix, next).ServeHTTP(rw, r)
	})
}

// oneOfThree has every third request for a sign-in end at a server that fails.
func oneOfThree(fails http.HandlerFunc) func(w *world) {
	return func(w *world) { oneOf(3, 0, fails)(w) }
}

// oneOf has the requests for a sign-in go to servers in turn, of which one fails.
func oneOf(servers, failing int32, fails http.HandlerFunc) func(w *world) {
	return func(w *world) {
		var n atomic.Int32
		atSite(func(next http.Handler, rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/auth/login" && n.Add(1)%servers == failing {
				fails(rw, r)
				return
			}
			next.ServeHTTP(rw, r)
		})(w)
	}
}

// refuseOver answers with a status where a size is over a limit.
func refuseOver(limit, status int, size func(*http.Request) int) func(w *world) {
	return atSite(func(next http.Handler, rw http.ResponseWriter, r *http.Request) {
		if size(r) > limit {
			http.Error(rw, "too large", status)
			return
		}
		next.ServeHTTP(rw, r)
	})
}

// otherSite serves the site with another configuration than the operator has.
func otherSite(change func(w *world, c *msauth.Config)) part {
	return func(w *world, c *msauth.Config) { change(w, c) }
}

var faults = []planted{
	// The settings.
	{name: "no client ID", plant: env("AZURE_CLIENT_ID", ""), id: "client-id-missing", remedy: "az ad app list"},
	{name: "a name as client ID", plant: env("AZURE_CLIENT_ID", "my-app"), id: "client-id-invalid", what: "is not a GUID: it is a text of 6 characters", remedy: "Application (client) ID"},
	{name: "a secret as client ID", plant: func(w *world) { w.env["AZURE_CLIENT_ID"] = w.ms.ClientSecret }, id: "client-id-invalid", what: "is not a GUID", remedy: "Application (client) ID"},
	{name: "a client ID after a space", plant: func(w *world) { w.env["AZURE_CLIENT_ID"] = " " + w.ms.ClientID }, id: "client-id-invalid", what: "has a space or a quotation mark", remedy: "Application (client) ID"},
	{name: "a client ID in quotation marks", plant: func(w *world) { w.env["AZURE_CLIENT_ID"] = `"` + w.ms.ClientID + `"` }, id: "client-id-invalid", what: "has a space or a quotation mark", remedy: "Application (client) ID"},
	{name: "client ID and secret in each other's place", plant: func(w *world) {
		w.env["AZURE_CLIENT_ID"], w.env["AZURE_CLIENT_SECRET"] = w.ms.ClientSecret, w.ms.ClientID
	}, id: "client-id-and-secret-swapped", remedy: "Exchange the two values"},
	{name: "client ID and a file with the secret in each other's place", plant: func(w *world) {
		w.env["AZURE_CLIENT_ID"], w.env["AZURE_CLIENT_SECRET"] = w.ms.ClientSecret, ""
		w.env["AZURE_CLIENT_SECRET_FILE"] = w.file("secret", []byte(w.ms.ClientID+"\n"))
	}, id: "client-id-and-secret-swapped", remedy: "Exchange the two values"},
	{name: "the tenant as client ID", parts: []part{tenant(msauthtest.TenantContoso)}, plant: env("AZURE_CLIENT_ID", msauthtest.TenantContoso), id: "client-id-is-tenant", remedy: "Directory (tenant) ID"},
	{name: "no credential", plant: env("AZURE_CLIENT_SECRET", ""), id: "credential-missing", remedy: "az ad app credential reset --id CLIENT_ID --append"},
	{name: "a certificate file that is missing", plant: env("AZURE_CLIENT_CERTIFICATE_PATH", "/nowhere/app.pem"), id: "file-unusable", what: "AZURE_CLIENT_CERTIFICATE_PATH: stat /nowhere/app.pem", remedy: "whether the file is mounted"},
	{name: "a secret file that is missing", plant: env("AZURE_CLIENT_SECRET", "", "AZURE_CLIENT_SECRET_FILE", "/nowhere/secret"), id: "file-unusable", what: "AZURE_CLIENT_SECRET_FILE: stat /nowhere/secret", remedy: "Compare the path"},
	{name: "a wrong secret in a file", plant: func(w *world) {
		w.env["AZURE_CLIENT_SECRET"], w.env["AZURE_CLIENT_SECRET_FILE"] = "", w.file("secret", []byte("abc8Q~wrong-wrong-wrong-wrong-wrong-wrong"))
	}, id: "secret-wrong", what: "AZURE_CLIENT_SECRET_FILE: AADSTS7000215", remedy: "into the file that AZURE_CLIENT_SECRET_FILE names, without", numbers: []int{7000215}},
	{name: "a secret in place of a file", plant: func(w *world) {
		w.env["AZURE_CLIENT_CERTIFICATE_PATH"] = w.ms.ClientSecret
	}, id: "credential-unusable", what: "AZURE_CLIENT_CERTIFICATE_PATH is not the path of a file", remedy: "PEM file"},
	{name: "a certificate without its key", plant: func(w *world) {
		pem, _, _ := strings.Cut(string(testsite.NewCertificate(w.t, "app", time.Hour).PEM), "-----BEGIN PRIVATE KEY")
		w.env["AZURE_CLIENT_CERTIFICATE_PATH"] = w.file("cert.pem", []byte(pem))
	}, id: "credential-unusable", what: "has no private key in PEM form", remedy: "private key in the same PEM file"},
	{name: "a certificate that has ended here", plant: func(w *world) {
		w.env["AZURE_CLIENT_CERTIFICATE_PATH"] = w.file("app.pem", testsite.NewCertificate(w.t, "app", -time.Minute).PEM)
	}, id: "credential-unusable", what: "ended at", remedy: "Certificates & secrets"},
	{name: "a certificate that ends soon", plant: func(w *world) {
		c := testsite.NewCertificate(w.t, "app", 5*24*time.Hour)
		w.ms.AddCertificate(c.X509)
		w.env["AZURE_CLIENT_CERTIFICATE_PATH"] = w.file("app.pem", c.PEM)
	}, id: "credential-ends-soon", what: "ends at", remedy: "az ad app credential reset --id CLIENT_ID --cert @next-cert.pem --append"},
	{name: "no such tenant name", plant: env("AZURE_TENANT_ID", "my company"), id: "provider-invalid", what: "Config.Tenant", remedy: "AZURE_TENANT_ID"},
	{name: "an authority with the tenant in it", plant: func(w *world) { w.env["AZURE_AUTHORITY_HOST"] += "/common" }, id: "provider-invalid", what: "must have no path", remedy: "AZURE_AUTHORITY_HOST"},
	{name: "a base URL without https", plant: env("MSAUTH_BASE_URL", "http://app.example.com/auth"), id: "base-url-invalid", what: "must be https", remedy: "MSAUTH_BASE_URL"},
	{name: "a base URL with one slash", plant: env("MSAUTH_BASE_URL", "https:/app.example.com/auth"), id: "base-url-invalid", what: "https:/app.example.com/auth", remedy: "MSAUTH_BASE_URL"},
	{name: "a base URL with a misspelt scheme", plant: env("MSAUTH_BASE_URL", "htps://app.example.com/auth"), id: "base-url-invalid", what: "htps://app.example.com/auth", remedy: "MSAUTH_BASE_URL"},
	{name: "a base URL with a port that is none", plant: env("MSAUTH_BASE_URL", "https://app.example.com:https/auth"), id: "base-url-invalid", what: "https://app.example.com:https/auth", remedy: "MSAUTH_BASE_URL"},
	{name: "a redirect URI as base URL", plant: func(w *world) { w.env["MSAUTH_BASE_URL"] += "/callback" }, id: "base-url-invalid", what: "ends in /callback", remedy: "by adding /callback"},
	{name: "scopes of two APIs", plant: env("MSAUTH_SCOPES", "User.Read api://orders/Orders.Read"), id: "scopes-invalid", what: "several APIs", remedy: "az ad app permission list --id CLIENT_ID"},
	{name: "a key that is no base64", plant: env("MSAUTH_KEYS", "not base64 at all!"), id: "keys-invalid", what: "entry 1 is not base64", remedy: "openssl rand -base64 32"},
	{name: "a key that is too short", plant: env("MSAUTH_KEYS", "c2hvcnQgYnV0IHJhbmRvbQ=="), id: "keys-invalid", what: "Config.Keys", remedy: "openssl rand -base64 32"},
	{name: "a file of keys that is not there", plant: func(w *world) { w.env["MSAUTH_KEYS"], w.env["MSAUTH_KEY_FILES"] = "", w.file("keys", nil)+".none" }, id: "file-unusable", what: "MSAUTH_KEY_FILES: ", remedy: "Compare the path"},
	{name: "keys and a file of them", plant: func(w *world) { w.env["MSAUTH_KEY_FILES"] = w.file("keys", []byte(w.env["MSAUTH_KEYS"])) }, id: "keys-invalid", what: "cannot be combined", remedy: "openssl rand -base64 32"},
	{name: "a port that is none", plant: env("PORT", "eighty"), id: "setting-invalid", what: `PORT is "eighty"`, remedy: "what the message names"},
	{name: "neither true nor false", plant: env("AZURE_CLIENT_SEND_CERTIFICATE_CHAIN", "yes"), id: "setting-invalid", what: "must be 1, true, 0 or false", remedy: "what the message names"},
	{name: "a proxy whose password breaks its URL", plant: env("HTTPS_PROXY", "http://me:proxy-%zz-password@proxy.example:3128"), id: "setting-invalid", what: "HTTPS_PROXY is not a URL", remedy: "what the message names"},

	// The network.
	{name: "a host that does not exist", plant: env("AZURE_AUTHORITY_HOST", "https://login.nowhere.invalid"), id: "host-unresolved", what: "login.nowhere.invalid", remedy: "DNS"},
	{name: "a port where nobody listens", plant: func(w *world) { w.env["AZURE_AUTHORITY_HOST"] = "http://" + closedAddress(w.t) }, id: "host-unreachable", what: "connection refused", remedy: "nothing listens there"},
	{name: "a host that hangs", plant: answer(msauthtest.Discovery, msauthtest.Failure{Hang: true}), id: "host-silent", what: "no answer came", remedy: "drops packets"},
	{name: "a host that drips", plant: atMicrosoft(func(_ http.Handler, rw http.ResponseWriter, r *http.Request) { drip(rw, r) }), id: "host-silent", what: "not complete", remedy: "holds answers back"},
	{name: "a TLS handshake that hangs", plant: func(w *world) { w.env["AZURE_AUTHORITY_HOST"] = "https://" + silentAddress(w.t) }, id: "host-silent", what: "TLS handshake was not finished", remedy: "drops packets"},
	{name: "a host that hangs up", plant: answer(msauthtest.Discovery, msauthtest.Failure{Close: true}), id: "host-unreachable", what: "closes connections", remedy: "firewall"},
	{name: "a firewall that looks at names", plant: func(w *world) {
		w.hosts["login.microsoftonline.com:443"] = hangUpAddress(w.t)
		w.env["AZURE_AUTHORITY_HOST"] = ""
	}, id: "host-unreachable", what: "in the TLS handshake", remedy: "firewall"},
	{name: "a server of something else", plant: func(w *world) { w.env["AZURE_AUTHORITY_HOST"] = "http://" + sshAddress(w.t) }, id: "host-unreachable", what: "gives no answer of HTTP", remedy: "firewall"},
	{name: "a clock from before the certificate", plant: func(w *world) {
		other := tlsServer(w.t, http.NotFoundHandler())
		w.transport.TLSClientConfig = other.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		w.transport.TLSClientConfig.Time = func() time.Time { return time.Unix(0, 0).Add(-time.Hour) }
		w.hosts["login.example.com:443"] = other.Listener.Addr().String()
		w.env["AZURE_AUTHORITY_HOST"] = "https://login.example.com"
	}, id: "tls-failed", what: "not yet valid", remedy: "clock is right"},
	{name: "a host that hangs up in the middle", plant: atMicrosoft(broken), id: "host-unreachable", what: "in the middle of an answer", remedy: "firewall"},
	{name: "a document that is cut", plant: answer(msauthtest.Discovery, msauthtest.Failure{Status: 200, Body: `{"issuer":`, Header: http.Header{"Content-Type": {"application/json"}}}), id: "discovery-failed", what: "not JSON", remedy: "it must show JSON"},
	{name: "a proxy that is down", plant: func(w *world) { w.proxy("http://" + closedAddress(w.t)) }, id: "proxy-failed", what: "connection refused", remedy: "HTTPS_PROXY"},
	{name: "a proxy that wants a password", plant: func(w *world) { w.proxy(refusingProxy(w.t, http.StatusProxyAuthRequired)) }, id: "proxy-failed", what: "Proxy Authentication Required", remedy: "user name and password"},
	{name: "TLS that is intercepted", plant: func(w *world) {
		w.hosts["login.microsoftonline.com:443"] = intercepting(w.t, "login.microsoftonline.com", "Corporate Inspection CA")
		w.env["AZURE_AUTHORITY_HOST"] = ""
	}, id: "tls-untrusted", what: `issued by "CN=Corporate Inspection CA"`, remedy: "SSL_CERT_FILE"},
	{name: "a certificate of another name", plant: func(w *world) {
		other := tlsServer(w.t, http.NotFoundHandler())
		w.transport.TLSClientConfig = other.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		w.hosts["login.microsoftonline.com:443"] = other.Listener.Addr().String()
		w.env["AZURE_AUTHORITY_HOST"] = ""
	}, id: "tls-failed", what: "login.microsoftonline.com", remedy: "openssl s_client"},
	{name: "http where https is wanted", plant: func(w *world) {
		w.hosts["login.microsoftonline.com:443"] = w.microsoft.Listener.Addr().String()
		w.env["AZURE_AUTHORITY_HOST"] = ""
	}, id: "tls-failed", what: "handshake", remedy: "openssl s_client"},
	{name: "a slow clock", plant: shiftClock(10 * time.Minute), id: "clock-off", what: "slow", remedy: "timedatectl set-ntp true"},
	{name: "a clock that spoils assertions", parts: []part{certificate}, plant: func(w *world) {
		shiftClock(-10 * time.Minute)(w)
		answer(msauthtest.TokenRefresh, msauthtest.Failure{Codes: []int{700024}})(w)
	}, id: "clock-off", what: "fast", remedy: "chrony"},
	{name: "a clock from long ago", plant: shiftClock(73000*24*time.Hour + time.Hour), id: "clock-off", what: "000 days slow", remedy: "timedatectl set-ntp true"},
	{name: "a fast clock", parts: []part{certificate}, plant: shiftClock(-10 * time.Minute), id: "clock-off", what: "fast", remedy: "chrony"},

	// What the provider publishes.
	{name: "an unknown tenant", parts: []part{tenant(msauthtest.TenantContoso)}, plant: env("AZURE_TENANT_ID", nobody), id: "tenant-unknown", what: nobody, remedy: "az account list", numbers: []int{90002}},
	{name: "the client ID as tenant", parts: []part{func(w *world, c *msauth.Config) {
		c.Tenant, c.ClientID = c.ClientID, msauthtest.TenantContoso
		w.env["AZURE_TENANT_ID"], w.env["AZURE_CLIENT_ID"] = c.Tenant, c.ClientID
	}}, id: "tenant-unknown", remedy: "which is not the client ID", numbers: []int{90002}},
	{name: "a captive portal", plant: answer(msauthtest.Discovery, page(200, "<title>Welcome to our Wi-Fi</title>")), id: "discovery-failed", what: "and the provider?", remedy: "it must show JSON"},
	{name: "an endless document", plant: answer(msauthtest.Discovery, msauthtest.Failure{Handler: endless}), id: "discovery-failed", what: "too large", remedy: "it must show JSON"},
	{name: "a document that is moved", plant: answer(msauthtest.Discovery, msauthtest.Failure{Status: 302, Header: http.Header{"Location": {"https://elsewhere.example/"}}}), id: "discovery-failed", what: "redirects", remedy: "in a browser on this machine"},
	{name: "another issuer", plant: discoverySays("issuer", "https://login.evil.example/{tenantid}/v2.0"), id: "discovery-refused", what: "login.evil.example", remedy: "answers in place of the provider"},
	{name: "endpoints elsewhere", plant: discoverySays("token_endpoint", "https://evil.example/token"), id: "discovery-refused", what: "evil.example", remedy: "answers in place of the provider"},
	{name: "no usable key", plant: func(w *world) {
		w.ms.Set(func(b *msauthtest.Behavior) { b.KeySet = func([]map[string]any) []map[string]any { return nil } })
	}, id: "keys-unusable", what: "none that can be used", remedy: "jwks_uri"},
	{name: "keys that are a page", plant: answer(msauthtest.Keys, page(200, "<h1>blocked</h1>")), id: "keys-unusable", what: "not JSON", remedy: "jwks_uri"},

	// The app and its credentials.
	{name: "an unknown app", plant: env("AZURE_CLIENT_ID", nobody), parts: []part{otherSite(func(w *world, c *msauth.Config) { c.ClientID = nobody })}, id: "app-unknown", what: nobody, remedy: "az ad app show --id " + nobody, numbers: []int{700016}},
	{name: "a disabled app", plant: everywhere(7000112), id: "app-disabled", remedy: "az ad sp update --id CLIENT_ID --set accountEnabled=true", numbers: []int{7000112}},
	{name: "an app for one tenant", plant: everywhere(50194), id: "app-single-tenant", remedy: "--sign-in-audience", numbers: []int{50194}},
	{name: "an app for personal accounts", plant: everywhere(9002331), id: "app-personal-only", remedy: "AZURE_TENANT_ID to consumers", numbers: []int{9002331}},
	{name: "no service principal", plant: answer(msauthtest.TokenRefresh, msauthtest.Failure{Error: "invalid_client", Codes: []int{7000229}, Description: "The client application x is missing service principal in the tenant y."}), id: "service-principal-missing", remedy: "az ad sp create --id CLIENT_ID", numbers: []int{7000229}},
	{name: "an app that is a public client", plant: answer(msauthtest.TokenRefresh, msauthtest.Failure{Codes: []int{700025}}), id: "app-refused", remedy: "az ad sp show --id CLIENT_ID", numbers: []int{700025}},
	{name: "a wrong secret", plant: env("AZURE_CLIENT_SECRET", "abc8Q~wrong-wrong-wrong-wrong-wrong-wrong"), id: "secret-wrong", what: "AZURE_CLIENT_SECRET: AADSTS7000215", remedy: "az ad app credential reset --id CLIENT_ID --append --query password", numbers: []int{7000215}},
	{name: "the secret's ID for its value", plant: env("AZURE_CLIENT_SECRET", nobody), id: "secret-is-id", remedy: `not its "Secret ID"`, numbers: []int{7000215}},
	{name: "the secret's ID in a file", plant: func(w *world) { w.env["AZURE_CLIENT_SECRET"] = "" }, parts: []part{func(w *world, _ *msauth.Config) { w.env["AZURE_CLIENT_SECRET_FILE"] = w.file("secret", []byte(nobody)) }}, id: "secret-is-id", what: "AZURE_CLIENT_SECRET_FILE", remedy: `not its "Secret ID"`, numbers: []int{7000215}},
	{name: "a secret that has ended", plant: func(w *world) { w.ms.Secret().Expire() }, id: "secret-expired", remedy: "delete the old one", numbers: []int{7000222}},
	{name: "a certificate that is not registered", plant: func(w *world) {
		w.env["AZURE_CLIENT_CERTIFICATE_PATH"] = w.file("app.pem", testsite.NewCertificate(w.t, "app", 90*24*time.Hour).PEM)
	}, id: "certificate-unknown", what: "AZURE_CLIENT_CERTIFICATE_PATH", remedy: "az ad app credential reset --id CLIENT_ID --cert @cert.pem --append", numbers: []int{700027}},
	{name: "a certificate that was revoked", plant: func(w *world) {
		c := testsite.NewCertificate(w.t, "app", 90*24*time.Hour)
		w.ms.AddCertificate(c.X509).Revoke()
		w.env["AZURE_CLIENT_CERTIFICATE_PATH"] = w.file("app.pem", c.PEM)
	}, id: "certificate-revoked", remedy: "--cert @next-cert.pem", numbers: []int{7000214}},
	{name: "a certificate that has ended at Microsoft", plant: answer(msauthtest.TokenRefresh, msauthtest.Failure{Codes: []int{1000502}}), id: "certificate-ended", remedy: "--cert @next-cert.pem", numbers: []int{1000502}},
	{name: "a federated token that has ended", parts: []part{federatedFor("web", -time.Minute)}, id: "credential-unusable", what: "ended at", remedy: "what the message names"},
	{name: "a federated token that is not yet valid", parts: []part{federated}, plant: answer(msauthtest.TokenRefresh, msauthtest.Failure{Codes: []int{700024}}), id: "assertion-time", remedy: "kubectl describe pod", numbers: []int{700024}},
	{name: "a federated token of another subject", parts: []part{federatedFor("other", time.Hour)}, id: "federated-mismatch", what: "other", remedy: "az ad app federated-credential list --id CLIENT_ID", numbers: []int{700213}},
	{name: "an issuer that cannot be reached", parts: []part{federated, func(w *world, _ *msauth.Config) { w.closeIssuers() }}, id: "federated-keys", remedy: "reachable from the internet", numbers: []int{501661}},
	{name: "an assertion that is no JWT", parts: []part{federated}, plant: answer(msauthtest.TokenRefresh, msauthtest.Failure{Error: "invalid_client", Codes: []int{50027}}), id: "assertion-invalid", remedy: "signed with RS256", numbers: []int{50027}},
	{name: "a proxy that removes the secret", plant: atMicrosoft(func(next http.Handler, rw http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			body, _ := io.ReadAll(r.Body)
			form, _ := url.ParseQuery(string(body))
			form.Del("client_secret")
			r.Body = io.NopCloser(strings.NewReader(form.Encode()))
		}
		next.ServeHTTP(rw, r)
	}), id: "credential-lost", remedy: "changes the bodies", numbers: []int{7000218}},
	{name: "a refusal without a number", plant: answer(msauthtest.TokenRefresh, msauthtest.Failure{Body: `{"error":"invalid_client","error_description":"No."}`, Status: 401}), id: "credential-refused", what: "No.", remedy: "az ad app credential list --id CLIENT_ID"},
	{name: "a token endpoint that is down", plant: answer(msauthtest.TokenRefresh, page(503, "<h1>down</h1>")), id: "token-endpoint-failed", what: "/token: HTTP status 503: the token endpoint answered with text/html, not JSON", remedy: "stops POST requests"},
	{name: "too many requests", plant: answer(msauthtest.TokenRefresh, msauthtest.Failure{Codes: []int{50196}}), id: "token-endpoint-failed", remedy: "again in some minutes", numbers: []int{50196}},
	{name: "a token endpoint that hangs", plant: answer(msauthtest.TokenRefresh, msauthtest.Failure{Hang: true}), id: "host-silent", what: "no answer came", remedy: "HTTPS_PROXY"},
	{name: "a token endpoint without end", plant: answer(msauthtest.TokenRefresh, msauthtest.Failure{Handler: endless}), id: "token-endpoint-failed", what: "too large", remedy: "Run this again"},
	{name: "an answer that repeats the secret", plant: atMicrosoft(func(next http.Handler, rw http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			next.ServeHTTP(rw, r)
			return
		}
		body, _ := io.ReadAll(r.Body)
		form, _ := url.ParseQuery(string(body))
		rw.Header().Set("Content-Type", "application/json")
		rw.WriteHeader(401)
		fmt.Fprintf(rw, `{"error":"invalid_client","error_description":"AADSTS7000215: %s is not %s"}`, form.Get("client_secret"), url.PathEscape(form.Get("client_secret")))
	}), id: "secret-wrong", what: "[hidden]", remedy: "the Value of a client secret", numbers: []int{7000215}},

	// The sign-in page.
	{name: "a redirect URI that is not registered", plant: func(w *world) {
		w.register(w.env["MSAUTH_BASE_URL"]+"/callback/", w.env["MSAUTH_BASE_URL"]+"/signed-out")
	}, id: "redirect-uri-missing", what: "CALLBACK", remedy: `--web-redirect-uris $(az ad app show --id CLIENT_ID --query "web.redirectUris[]" --output tsv) CALLBACK`, numbers: []int{50011}},
	{name: "a redirect URI of a single-page application", plant: func(w *world) {
		w.ms.Set(func(b *msauthtest.Behavior) {
			b.SPARedirectURIs, b.RedirectURIs = b.RedirectURIs[:1], b.RedirectURIs[1:]
		})
	}, id: "redirect-uri-spa", what: "CALLBACK", remedy: "spa.redirectUris[?@ != 'CALLBACK']", numbers: []int{9002325}},
	{name: "no redirect URI for signing out", plant: func(w *world) { w.register(w.env["MSAUTH_BASE_URL"] + "/callback") }, id: "sign-out-uri-missing", what: "SIGNED_OUT", remedy: "--output tsv) SIGNED_OUT", numbers: []int{50011}},
	{name: "Microsoft's own error page", plant: answer(msauthtest.Authorize, page(200, `<script>$Config={"iErrorCode":50011,"strServiceExceptionMessage":"AADSTS50011: The redirect URI \u0027http://x/\u0027 specified in the request does not match.","x":1};</script>`)), id: "redirect-uri-missing", what: "The redirect URI 'http://x/' specified", remedy: "platform, Web", numbers: []int{50011}},
	{name: "an authorization endpoint that is down", plant: answer(msauthtest.Authorize, page(500, "oops")), id: "authorize-failed", what: "status 500", remedy: "in a browser"},
	{name: "an authorization endpoint that is not there", plant: answer(msauthtest.Authorize, page(404, "nothing here")), id: "authorize-failed", what: "status 404", remedy: "CALLBACK is registered"},
	{name: "an authorization endpoint that hangs", plant: answer(msauthtest.Authorize, msauthtest.Failure{Hang: true}), id: "host-silent", what: "127.0.0.1", remedy: "HTTPS_PROXY"},
	{name: "an authorization endpoint that hangs for one address", plant: atAuthorize("/signed-out", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), id: "host-silent", what: "127.0.0.1", remedy: "HTTPS_PROXY"},
	{name: "an authorization endpoint that fails for one address", plant: atAuthorize("/signed-out", func(rw http.ResponseWriter, _ *http.Request) { http.Error(rw, "oops", 500) }), id: "authorize-failed", what: "SIGNED_OUT", remedy: "in a browser"},
	{name: "an authorization endpoint that hangs up on scopes", plant: atAuthorize("Files.Read", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), id: "host-unreachable", what: "closes connections", remedy: "firewall"},
	{name: "a scope that does not exist", parts: []part{orders("Orders.Reed")}, id: "scope-unknown", what: "Orders.Reed", remedy: "Expose an API", numbers: []int{650053}},
	{name: "a malformed scope", plant: func(w *world) {
		w.ms.Set(func(b *msauthtest.Behavior) {
			b.AuthorizeAnswer = func(answer url.Values) {
				answer.Set("error", "invalid_scope")
				answer.Set("error_description", "AADSTS70011: The provided value for the input parameter 'scope' is not valid.")
			}
		})
	}, id: "authorize-failed", what: "AADSTS70011", remedy: "docs/troubleshooting.md", numbers: []int{70011}},
	{name: "an API that is not there", parts: []part{ordersAt("api://invoices", "api://orders/Orders.Read")}, id: "api-unknown", what: "api://orders", remedy: "Application ID URI", numbers: []int{500011}},

	// The site.
	{name: "a site that is not running", plant: func(w *world) { w.site.Close() }, id: "site-unreachable", what: "connection refused", remedy: "Start the site"},
	{name: "a site of a name that does not exist", plant: func(w *world) {
		w.env["MSAUTH_BASE_URL"] = "https://app.nowhere.invalid/auth"
		w.register("https://app.nowhere.invalid/auth/callback", "https://app.nowhere.invalid/auth/signed-out")
	}, id: "site-unresolved", what: "app.nowhere.invalid", remedy: "DNS"},
	{name: "a site that hangs", plant: atSite(func(_ http.Handler, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), id: "site-silent", what: "no answer came", remedy: "the log of the proxy"},
	{name: "a certificate that browsers do not know", parts: []part{overTLS}, plant: func(w *world) {
		w.transport.TLSClientConfig = new(tls.Config)
	}, id: "site-tls", what: "Acme Co", remedy: "SSL_CERT_FILE"},
	{name: "a proxy without an app", plant: atSite(func(_ http.Handler, rw http.ResponseWriter, _ *http.Request) {
		http.Error(rw, "bad gateway", http.StatusBadGateway)
	}), id: "site-unreachable", what: "no app behind it", remedy: "Start the site"},
	{name: "another app", plant: atSite(func(_ http.Handler, rw http.ResponseWriter, _ *http.Request) {
		io.WriteString(rw, "<title>It works!</title>")
	}), id: "site-not-msauth", what: `"It works!"`, remedy: "which app the proxy passes"},
	{name: "a site on https, for which http is set", plant: func(w *world) {
		secure := tlsServer(w.t, w.atSite)
		w.env["MSAUTH_BASE_URL"] = "http://" + secure.Listener.Addr().String() + "/auth"
		w.register(w.env["MSAUTH_BASE_URL"]+"/callback", w.env["MSAUTH_BASE_URL"]+"/signed-out")
	}, id: "site-not-msauth", what: "has to begin with https://", remedy: "Compare MSAUTH_BASE_URL"},
	{name: "an endless page", plant: atSite(func(_ http.Handler, rw http.ResponseWriter, r *http.Request) { endless(rw, r) }), id: "site-not-msauth", what: "too large", remedy: "which app the proxy passes"},
	{name: "a site of which only the sign-in reaches msauth", plant: atSite(func(next http.Handler, rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/auth/login" {
			http.Error(rw, "another app", http.StatusNotFound)
			return
		}
		next.ServeHTTP(rw, r)
	}), id: "site-not-msauth", what: "/auth/session", remedy: "which app the proxy passes"},
	{name: "a site that loses large requests", plant: atSite(func(next http.Handler, rw http.ResponseWriter, r *http.Request) {
		if len(r.Header.Get("Cookie")) > 1400 {
			<-r.Context().Done()
			return
		}
		next.ServeHTTP(rw, r)
	}), id: "site-silent", what: "bytes of cookies no answer came in time", remedy: "the log of the proxy"},
	{name: "a site that hangs up in the middle", plant: atSite(broken), id: "site-unreachable", what: "in the middle of an answer", remedy: "firewall"},
	{name: "a slow site", plant: func(w *world) {
		w.patience = 2 * time.Second // and 5 for all
		atSite(func(next http.Handler, rw http.ResponseWriter, r *http.Request) {
			time.Sleep(1800 * time.Millisecond)
			next.ServeHTTP(rw, r)
		})(w)
	}, id: "site-silent", what: "in time", remedy: "the log of the proxy"},
	{name: "a site that hangs after its first answer", plant: atSite(func(next http.Handler, rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/auth/session" {
			<-r.Context().Done()
		}
		next.ServeHTTP(rw, r)
	}), id: "site-silent", what: "no answer came", remedy: "the log of the proxy"},
	{name: "one of three servers that hangs", plant: oneOfThree(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), id: "site-silent", what: "in time", remedy: "one of several servers may hang"},
	{name: "one of three servers that is down", plant: oneOfThree(func(rw http.ResponseWriter, _ *http.Request) {
		http.Error(rw, "bad gateway", http.StatusBadGateway)
	}), id: "site-intermittent", what: "status 502", remedy: "one may be down"},
	{name: "one of two servers that is down, and is asked first", plant: oneOf(2, 1, func(rw http.ResponseWriter, _ *http.Request) {
		http.Error(rw, "bad gateway", http.StatusBadGateway)
	}), id: "site-intermittent", what: "status 502", remedy: "one may be down"},
	{name: "one of three servers that hangs up", plant: func(w *world) {
		w.transport.DisableKeepAlives = true // package net/http repeats a request that meets the end of a connection
		oneOfThree(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })(w)
	}, id: "site-intermittent", what: "closed without an answer", remedy: "one may be down"},
	{name: "a proxy that waits in vain for an answer to large requests", plant: refuseOver(4096, 504, func(r *http.Request) int { return len(r.Header.Get("Cookie")) }), id: "site-silent", what: "bytes of cookies no answer came in time", remedy: "the log of the proxy"},
	{name: "a path prefix that a proxy takes away", parts: []part{below("/expenses")}, plant: stripped("/expenses"), id: "site-prefix", what: "takes /expenses from paths", remedy: "proxy_pass without a path"},
	{name: "a path prefix that the app does not have", plant: func(w *world) {
		w.env["MSAUTH_BASE_URL"] = w.site.URL + "/expenses/auth"
		w.register(w.site.URL+"/expenses/auth/callback", w.site.URL+"/expenses/auth/signed-out")
	}, id: "site-prefix", what: "without /expenses", remedy: "pass the path on unchanged"},
	{name: "a site that is all under Require, and a prefix that is taken away", parts: []part{below("/expenses")}, plant: func(w *world) {
		put(&w.atSite, w.underRequire("/expenses/auth"))
		stripped("/expenses")(w)
	}, id: "site-prefix", what: "takes /expenses from paths", remedy: "proxy_pass without a path"},
	{name: "a host that redirects to another", parts: []part{overTLS}, plant: atSite(func(next http.Handler, rw http.ResponseWriter, r *http.Request) {
		http.Redirect(rw, r, "https://www.app.example.com"+r.URL.RequestURI(), http.StatusMovedPermanently)
	}), id: "site-redirects", what: "www.app.example.com", remedy: "the address that the redirect leads to"},
	{name: "a site with another base URL", parts: []part{otherSite(func(w *world, c *msauth.Config) { c.BaseURL = strings.Replace(c.BaseURL, "127.0.0.1", "localhost", 1) })}, plant: func(w *world) {
		w.register(w.env["MSAUTH_BASE_URL"]+"/callback", w.env["MSAUTH_BASE_URL"]+"/signed-out")
	}, id: "site-base-url", what: "http://localhost", remedy: "MSAUTH_BASE_URL to the same value"},
	{name: "a site with another client ID", parts: []part{otherSite(func(w *world, c *msauth.Config) { c.ClientID = nobody })}, id: "site-registration", what: nobody, remedy: "to the same values"},
	{name: "a site with another tenant", parts: []part{otherSite(func(w *world, c *msauth.Config) { c.Tenant = msauthtest.TenantContoso })}, id: "site-registration", what: msauthtest.TenantContoso, remedy: "to the same values"},
	{name: "a site that cannot reach Microsoft", parts: []part{otherSite(func(w *world, c *msauth.Config) { c.Authority = "http://" + closedAddress(w.t) })}, id: "site-unavailable", what: "unavailable", remedy: "in its container"},
	{name: "a network that removes cookies", plant: atSite(func(next http.Handler, rw http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(without{rw, "Set-Cookie"}, r)
	}), id: "site-cookies", remedy: "removes or changes Set-Cookie"},
	{name: "a network that makes cookies insecure", parts: []part{overTLS}, plant: changeCookies(func(c *http.Cookie) { c.Secure = false }), id: "site-cookies", remedy: "removes or changes Set-Cookie"},
	{name: "a network that gives cookies a domain", plant: changeCookies(func(c *http.Cookie) { c.Domain = "example.com" }), id: "site-cookies", remedy: "removes or changes Set-Cookie"},
	{name: "a network that renames cookies", parts: []part{overTLS}, plant: changeCookies(func(c *http.Cookie) { c.Name = strings.TrimPrefix(c.Name, "__Host-") }), id: "site-cookies", remedy: "removes or changes Set-Cookie"},
	{name: "a cache that shares sign-ins", plant: func(w *world) {
		kept := httptest.NewRecorder()
		w.atSite.ServeHTTP(kept, httptest.NewRequest("GET", "/auth/login", nil))
		around(&w.atSite, func(next http.Handler, rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/auth/login" || r.URL.RawQuery != "" {
				next.ServeHTTP(rw, r)
				return
			}
			for name, values := range kept.Header() {
				rw.Header()[name] = values
			}
			rw.WriteHeader(kept.Code)
		})
	}, id: "site-cached", remedy: "Cache-Control: no-store"},
	{name: "a site on plain http too", parts: []part{overTLS}, plant: func(w *world) {
		w.hosts["app.example.com:80"] = w.site.Listener.Addr().String()
	}, id: "site-plain-http", what: "http://app.example.com/auth/login", remedy: "301 or 308"},
	{name: "a site that begins sign-ins on plain http", parts: []part{overTLS}, plant: func(w *world) {
		plain := httptest.NewServer(http.RedirectHandler("https://login.example.com/authorize?response_type=code&client_id=x&redirect_uri=y&state=z", http.StatusFound))
		w.t.Cleanup(plain.Close)
		w.hosts["app.example.com:80"] = plain.Listener.Addr().String()
	}, id: "site-plain-http", what: "a redirect to https://login.example.com/authorize", remedy: "301 or 308"},
	{name: "a proxy with little room for cookies", plant: refuseOver(4096, 400, func(r *http.Request) int { return len(r.Header.Get("Cookie")) }), id: "site-request-headers", what: "status 400", remedy: "large_client_header_buffers 4 16k;"},
	{name: "a proxy with little room for addresses", plant: refuseOver(1024, 414, func(r *http.Request) int { return len(r.RequestURI) }), id: "site-long-address", what: "status 414", remedy: "large_client_header_buffers 4 16k;"},
	{name: "a proxy with small buffers", plant: atSite(func(next http.Handler, rw http.ResponseWriter, r *http.Request) {
		kept := httptest.NewRecorder()
		next.ServeHTTP(kept, r)
		size := 0
		for name, values := range kept.Header() {
			for _, v := range values {
				size += len(name) + len(v) + 4
			}
		}
		if size > 2048 {
			http.Error(rw, "upstream sent too big header", http.StatusBadGateway)
			return
		}
		for name, values := range kept.Header() {
			rw.Header()[name] = values
		}
		rw.WriteHeader(kept.Code)
		rw.Write(kept.Body.Bytes())
	}), id: "site-response-headers", what: "status 502", remedy: "proxy_buffer_size 8k;"},
}

func TestEachFaultIsTheOnlyFinding(t *testing.T) {
	t.Parallel()
	for _, tt := range faults {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tt.parts...)
			if tt.plant != nil {
				tt.plant(w)
			}
			o := w.check(tt.args...)
			if o.code != exitFindings || len(o.findings) != 1 || o.findings[0].ID != tt.id {
				t.Fatalf("exit code %d, want %s alone:\n%s", o.code, tt.id, o.text)
			}
			if o.took > 10*time.Second {
				t.Errorf("took %v", o.took)
			}
			base := strings.TrimRight(w.env["MSAUTH_BASE_URL"], "/")
			fill := strings.NewReplacer("CLIENT_ID", w.env["AZURE_CLIENT_ID"], "CALLBACK", base+"/callback", "SIGNED_OUT", base+"/signed-out")
			f := o.findings[0]
			for _, want := range []struct{ name, in, text string }{
				{"what", f.What, fill.Replace(tt.what)}, {"remedy and command", f.Remedy + "\n" + f.Command, fillRemedy(fill, tt.remedy)},
			} {
				if !strings.Contains(want.in, want.text) {
					t.Errorf("%s:\n%s\nwant %q in it", want.name, want.in, want.text)
				}
			}
			if strings.Contains(f.What, "?.") || strings.Contains(f.What, "..") && !strings.Contains(f.What, "...") {
				t.Errorf("two marks at the end of %s", f.What)
			}
			if tt.remedy == "" || f.Why == "" || !slices.Equal(f.Numbers, tt.numbers) {
				t.Errorf("numbers %v, want %v; why %q", f.Numbers, tt.numbers, f.Why)
			}
		})
	}
}

// fillRemedy puts the values of the world into a remedy, but not into the names of
// variables.
func fillRemedy(fill *strings.Replacer, remedy string) string {
	const name = "AZURE_CLIENT_ID"
	parts := strings.Split(remedy, name)
	for i := range parts {
		parts[i] = fill.Replace(parts[i])
	}
	return strings.Join(parts, name)
}

// Each kind of finding is planted at least once, and msauth-check knows at least as many
// faults as it promises.
func TestEachKindIsPlanted(t *testing.T) {
	t.Parallel()
	planted := map[string]bool{}
	for _, f := range faults {
		planted[f.id] = true
	}
	for _, v := range visits {
		for _, id := range v.findings {
			planted[id] = true
		}
	}
	for _, k := range report.Catalogue() {
		if k.Severity != report.Note && !planted[k.ID] && !plantedElsewhere[k.ID] {
			t.Errorf("%s is never planted", k.ID)
		}
	}
	if len(planted) < 25 {
		t.Errorf("%d kinds are planted", len(planted))
	}
}

// plantedElsewhere are kinds with a test of their own.
var plantedElsewhere = map[string]bool{"sign-in-uri-missing": true, "sign-in-missing": true, "sign-in-port": true}

// changeCookies changes the cookies of each answer, as a proxy does.
func changeCookies(change func(*http.Cookie)) func(w *world) {
	return atSite(func(next http.Handler, rw http.ResponseWriter, r *http.Request) {
		kept := httptest.NewRecorder()
		next.ServeHTTP(kept, r)
		for name, values := range kept.Header() {
			if name != "Set-Cookie" {
				rw.Header()[name] = values
			}
		}
		for _, c := range kept.Result().Cookies() {
			change(c)
			http.SetCookie(rw, c)
		}
		rw.WriteHeader(kept.Code)
		rw.Write(kept.Body.Bytes())
	})
}

// page is an answer with HTML.
func page(status int, html string) msauthtest.Failure {
	return msauthtest.Failure{Status: status, Body: html, Header: http.Header{"Content-Type": {"text/html"}}}
}

// everywhere makes token requests and the sign-in page answer with a number.
func everywhere(number int) func(w *world) {
	return func(w *world) {
		answer(msauthtest.TokenRefresh, msauthtest.Failure{Codes: []int{number}})(w)
		answer(msauthtest.Authorize, msauthtest.Failure{Codes: []int{number}, Status: 400})(w)
	}
}

func discoverySays(member string, value any) func(w *world) {
	return func(w *world) {
		w.ms.Set(func(b *msauthtest.Behavior) { b.Discovery = func(doc map[string]any) { doc[member] = value } })
	}
}

// shiftClock makes Microsoft's clock differ from this machine's.
func shiftClock(by time.Duration) func(w *world) {
	return atMicrosoft(func(next http.Handler, rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Date", time.Now().Add(by).UTC().Format(http.TimeFormat))
		next.ServeHTTP(rw, r)
	})
}

// broken sends a part of an answer.
func broken(_ http.Handler, rw http.ResponseWriter, _ *http.Request) {
	rw.Header().Set("Content-Length", "1000")
	io.WriteString(rw, `{"issuer":`)
}

// drip sends a byte each 100 ms.
func drip(rw http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		io.WriteString(rw, " ")
		rw.(http.Flusher).Flush()
		time.Sleep(100 * time.Millisecond)
	}
}

// endless sends as much as is read.
func endless(rw http.ResponseWriter, r *http.Request) {
	block := []byte(strings.Repeat(" ", 64<<10))
	for r.Context().Err() == nil {
		if _, err := rw.Write(block); err != nil {
			return
		}
	}
}

// without removes a header from a response.
type without struct {
	http.ResponseWriter
	name string
}

func (w without) WriteHeader(status int) {
	w.Header().Del(w.name)
	w.ResponseWriter.WriteHeader(status)
}

// closedAddress is an address where nobody listens, nor will until the test ends: its
// port is that of the other end of a connection.
func closedAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialed, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialed.Close() })
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { accepted.Close() })
	return dialed.LocalAddr().String()
}

// silentAddress is an address that accepts connections and says nothing.
func silentAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// hangUpAddress is an address that closes each connection after the first bytes.
func hangUpAddress(t *testing.T) string { return saying(t, "") }

// sshAddress is an address at which something else than HTTP answers.
func sshAddress(t *testing.T) string { return saying(t, "SSH-2.0-OpenSSH_9.2\r\n") }

func saying(t *testing.T, text string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Read(make([]byte, 4096))
			io.WriteString(c, text)
			c.Close()
		}
	}()
	return l.Addr().String()
}

// atAuthorize answers requests to the sign-in page whose address has a text in it.
func atAuthorize(text string, f http.HandlerFunc) func(w *world) {
	return atMicrosoft(func(next http.Handler, rw http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("prompt") == "none" && strings.Contains(r.URL.RawQuery, url.QueryEscape(text)) {
			f(rw, r)
			return
		}
		next.ServeHTTP(rw, r)
	})
}

// proxy has requests to Microsoft go through a proxy.
func (w *world) proxy(address string) {
	u, err := url.Parse(address)
	if err != nil {
		w.t.Fatal(err)
	}
	w.env["AZURE_AUTHORITY_HOST"] = ""
	w.transport.Proxy = func(r *http.Request) (*url.URL, error) {
		if r.URL.Scheme == "https" {
			return u, nil
		}
		return nil, nil
	}
}

// intercepting is the address of a server that shows a certificate for a name, from an
// authority that nobody else knows.
func intercepting(t *testing.T, name, authority string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: authority}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tlsServer(t, http.NotFoundHandler(), tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}).Listener.Addr().String()
}

// refusingProxy is a proxy that refuses to connect.
func refusingProxy(t *testing.T, status int) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(status) }))
	t.Cleanup(s.Close)
	return s.URL
}

// federatedFor registers a federated credential for the subject "web", and has the app
// prove itself by a token of a subject.
func federatedFor(subject string, lifetime time.Duration) part {
	return func(w *world, _ *msauth.Config) {
		issuer := msauthtest.NewIssuer()
		w.t.Cleanup(issuer.Close)
		w.ms.AddFederated(issuer.URL, "web", "")
		token := issuer.Token(subject, "", lifetime)
		w.secrets = append(w.secrets, token)
		w.env["AZURE_CLIENT_SECRET"], w.env["AZURE_FEDERATED_TOKEN_FILE"] = "", w.file("token", []byte(token))
	}
}

// closeIssuers makes the keys of a federated token unreachable.
func (w *world) closeIssuers() {
	for _, issuer := range w.issuers {
		issuer.Close()
	}
}

// orders registers an API with the scope Orders.Read, and asks for another.
func orders(scope string) part { return ordersAt("api://orders", "api://orders/"+scope) }

func ordersAt(id, scope string) part {
	return func(w *world, site *msauth.Config) {
		w.ms.AddAPI(msauthtest.API{ID: id, Scopes: []string{"Orders.Read"}})
		w.env["MSAUTH_SCOPES"], site.Scopes = scope, []string{scope}
	}
}

// below puts the site below a path.
func below(prefix string) part {
	return func(w *world, site *msauth.Config) {
		site.BaseURL = w.site.URL + prefix + "/auth"
		w.env["MSAUTH_BASE_URL"] = site.BaseURL
	}
}

// underRequire is a site of which all pages need a sign-in.
func (w *world) underRequire(path string) http.Handler {
	w.t.Helper()
	c := msauth.Config{
		ClientID: w.ms.ClientID, ClientSecret: w.ms.ClientSecret, Authority: w.ms.URL, BaseURL: w.site.URL + path,
		Keys: [][]byte{testsite.NewKey()}, Logger: slog.New(slog.DiscardHandler),
	}
	auth, err := msauth.New(c)
	if err != nil {
		w.t.Fatal(err)
	}
	return auth.Require(http.NotFoundHandler())
}
