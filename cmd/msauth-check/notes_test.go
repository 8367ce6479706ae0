package main

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"example.com/msauth"
	"example.com/msauth/cmd/msauth-check/internal/report"
	"example.com/msauth/msauthtest"
)

// What cannot be judged is a note, and no fault: the exit code stays 0.
func TestNotes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		parts []part
		plant func(w *world)
		id    string
		what  string
	}{
		{"no keys on a public site", []part{overTLS}, env("MSAUTH_KEYS", ""), "keys-missing", "MSAUTH_KEYS and MSAUTH_KEY_FILES are not set"},
		{"a limit on requests", nil, atSite(func(next http.Handler, rw http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Cookie") != "" { // any one of several at once
				http.Error(rw, "slow down", http.StatusTooManyRequests)
				return
			}
			next.ServeHTTP(rw, r)
		}), "site-unjudged", "status 429"},
		// In which order Microsoft looks at a token request is not known.
		{"tokens are looked at before credentials", nil, answer(msauthtest.TokenRefresh, msauthtest.Failure{Error: "invalid_grant", Codes: []int{9002313}}),
			"credential-unjudged", "AADSTS9002313"},
		{"a wrong secret is a malformed request", nil, atMicrosoft(func(next http.Handler, rw http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				body, _ := io.ReadAll(r.Body)
				r.Body = io.NopCloser(bytes.NewReader(body))
				if form, _ := url.ParseQuery(string(body)); strings.HasPrefix(form.Get("client_secret"), "msauth-check-") {
					rw.Header().Set("Content-Type", "application/json")
					rw.WriteHeader(http.StatusBadRequest)
					io.WriteString(rw, `{"error":"invalid_request","error_description":"What is that?"}`)
					return
				}
			}
			next.ServeHTTP(rw, r)
		}), "credential-unjudged", "What is that?"},
		// As for personal accounts: https://login.live.com/oauth20_authorize.srf?...&msproxy=1&issuer=mso&tenant=consumers
		{"people are sent to another host", []part{tenant("consumers")}, answer(msauthtest.Authorize, msauthtest.Failure{Status: 302, Header: http.Header{"Location": {"https://login.live.com/oauth20_authorize.srf?msproxy=1"}}}),
			"authorize-unjudged", "login.live.com, which was not followed"},
		{"a sign-in page is shown all the same", nil, answer(msauthtest.Authorize, page(200, `<title>Sign in to your account</title><form action="/common/login">`)),
			"authorize-unjudged", "shows a page (status 200)"},
		{"redirects without end", nil, answer(msauthtest.Authorize, msauthtest.Failure{Status: 302, Header: http.Header{"Location": {"?again"}}}),
			"authorize-unjudged", "more than twice"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tt.parts...)
			tt.plant(w)
			o := w.check()
			if o.code != exitNothing || len(o.findings) != 1 || o.findings[0].ID != tt.id || o.findings[0].Severity != report.Note || !strings.Contains(o.findings[0].What, tt.what) {
				t.Fatalf("exit code %d, want the note %s (%s) alone:\n%s", o.code, tt.id, tt.what, o.text)
			}
			var out bytes.Buffer
			run(t.Context(), nil, surroundings{getenv: func(name string) string { return w.env[name] }, transport: w.transport, stdout: &out, stderr: &out, patience: w.patience})
			if !strings.HasPrefix(out.String(), "msauth-check: nothing found.") || !strings.Contains(out.String(), "note: "+tt.id) {
				t.Errorf("printed\n%s", &out)
			}
		})
	}
}

// Live Connect has no discovery, no keys and no prompt=none: the redirect URIs cannot be
// judged there, and the rest is checked.
func TestLiveConnect(t *testing.T) {
	t.Parallel()
	w := newWorld(t, liveConnect)
	for _, tt := range []struct {
		secret string
		code   int
		found  string
	}{
		{w.ms.ClientSecret, exitNothing, "authorize-unjudged"},
		{"another-secret", exitFindings, "credential-refused authorize-unjudged"},
	} {
		w.env["AZURE_CLIENT_SECRET"] = tt.secret
		o := w.check()
		var found []string
		for _, f := range o.findings {
			found = append(found, f.ID)
		}
		if o.code != tt.code || strings.Join(found, " ") != tt.found {
			t.Errorf("exit code %d, found %q, want %q:\n%s", o.code, found, tt.found, o.text)
		}
	}
}

// liveConnect has people sign in at Live Connect.
func liveConnect(w *world, site *msauth.Config) {
	w.env["AZURE_AUTHORITY_HOST"], site.Authority = w.ms.LiveAuthority(), w.ms.LiveAuthority()
	site.Scopes = nil
}
