package requests_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// failures are the pages that report one, and so have an id.
var failures = []string{"declined", "not-allowed", "start-again", "expired", "cookies-blocked", "wrong-host", "loop", "unavailable", "app-error", "too-large", "bad-request", "form-expired"}

func TestPagesAreSelfContainedAndAccessible(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _, all := testsite.Pages(t)
		titles := map[string]string{}
		for kind, get := range all {
			res := get()
			reason := ""
			if slices.Contains(failures, kind) {
				reason = "err="
			}
			s.WantPage(t, res, res.StatusCode, kind, reason)
			if want := map[string]int{"signed-out": 200, "done": 200, "confirm-sign-out": 200, "sign-in-required": 401, "declined": 403, "not-allowed": 403, "unavailable": 503, "app-error": 500, "too-large": 403, "not-found": 404, "other-account": 409}[kind]; want != res.StatusCode && (want != 0 || res.StatusCode != 400) {
				t.Errorf("%s: status %d, want %d", kind, res.StatusCode, want)
			}
			csp := res.Header.Get("Content-Security-Policy")
			style := regexp.MustCompile(`(?s)<style>(.*?)</style>`).FindStringSubmatch(res.Text)
			if style == nil {
				t.Fatalf("%s has no style: %s", kind, res.Text)
			}
			sum := sha256.Sum256([]byte(style[1]))
			for _, want := range []string{
				"default-src 'none'", "style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'", "base-uri 'none'", "form-action '", "frame-ancestors 'none'",
			} {
				if !strings.Contains(csp, want) {
					t.Errorf("%s: policy %q, want %q in it", kind, csp, want)
				}
			}
			if res.Header.Get("X-Frame-Options") != "DENY" || strings.Contains(csp, "unsafe") || strings.Contains(csp, "*") {
				t.Errorf("%s: policy %q, X-Frame-Options %q", kind, csp, res.Header.Get("X-Frame-Options"))
			}
			// The module that tells other tabs is all that a page may load.
			module := `<script type="module" src="` + s.Auth.ScriptURL() + `"></script>`
			scripts := strings.Count(res.Text, module)
			if allowed := strings.Contains(csp, "; script-src 'self'; require-trusted-types-for 'script'; base-uri"); allowed != (scripts == 1) || scripts > 0 && kind != "signed-out" && kind != "done" || scripts == 0 && kind == "signed-out" || !allowed && strings.Contains(csp, "script") {
				t.Errorf("%s: %d scripts, policy %q", kind, scripts, csp)
			}
			res.Text = strings.Replace(res.Text, module, "", 1)
			for _, bad := range []string{"<script", "javascript:", " on", "style=", "src=", "@import", "url("} {
				if bad == " on" {
					if m := regexp.MustCompile(`<[^>]* on[a-z]+=`).FindString(res.Text); m != "" {
						t.Errorf("%s has a handler: %s", kind, m)
					}
				} else if strings.Contains(res.Text, bad) {
					t.Errorf("%s holds %q", kind, bad)
				}
			}
			for _, want := range []string{"<!DOCTYPE html>", `<html lang="en" dir="ltr">`, `<meta charset="utf-8">`, `name="viewport"`, "<main", "<h1>"} {
				if !strings.Contains(res.Text, want) {
					t.Errorf("%s: no %s", kind, want)
				}
			}
			title := regexp.MustCompile(`<title>(.*)</title>`).FindStringSubmatch(res.Text)
			if title == nil || titles[title[1]] != "" || !strings.Contains(res.Text, "<h1>"+title[1]+"</h1>") {
				t.Errorf("%s: title %q, also of %q", kind, title, titles[title[1]])
			}
			titles[title[1]] = kind
			if !strings.Contains(res.Text, "<a href=") && kind != "confirm-sign-out" {
				t.Errorf("%s leaves nothing to do: %s", kind, res.Text)
			}
			for _, href := range regexp.MustCompile(`(?:href|action)="([^"]*)"`).FindAllStringSubmatch(res.Text, -1) {
				if !strings.HasPrefix(href[1], "/") && href[1] != "data:," {
					t.Errorf("%s leads to %s", kind, href[1])
				}
			}
		}
	})
}

func TestPageHookReplacesEveryPage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var got msauth.Page
		s, b, all := testsite.Pages(t, func(c *msauth.Config) {
			c.Page = func(w http.ResponseWriter, r *http.Request, p msauth.Page) {
				got = p
				w.Header().Set("Content-Language", "de")
				w.WriteHeader(p.Status)
				fmt.Fprintf(w, `<html lang="en"><main id="msauth-%s"><h1>Eigene Seite</h1><code>%s</code>`, p.Kind, p.ID)
			}
		})
		for kind, get := range all {
			got = msauth.Page{}
			res := get()
			if got.Kind != kind || got.Status != res.StatusCode || got.Title == "" || got.Text == "" || len(got.Links) == 0 || !strings.Contains(res.Text, "Eigene Seite") {
				t.Errorf("%s: the hook got %+v", kind, got)
			}
			if failed := slices.Contains(failures, kind); failed != (got.ID != "") || failed != (got.Err != nil) {
				t.Errorf("%s: id %q, error %v, want both: %v", kind, got.ID, got.Err, failed)
			}
			if script := strings.Contains(res.Header.Get("Content-Security-Policy"), "script-src"); script != (got.Script != "") || script && got.Script != s.Auth.ScriptURL() {
				t.Errorf("%s: the hook got the script %q, allowed: %t", kind, got.Script, script)
			}
			if got.ID != "" && len(s.Log.With(" id="+got.ID)) != 1 {
				t.Errorf("%s: id %s is not in one log line", kind, got.ID)
			}
			for _, name := range []string{"Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy", "Cache-Control"} {
				if res.Header.Get(name) == "" {
					t.Errorf("%s: no %s", kind, name)
				}
			}
			s.WantNoSecrets(t, "a page as the hook sees it", fmt.Sprintf("%+v %v", got, got.Err))
		}
		failure, ok := func() (*msauth.AuthError, bool) { all["app-error"](); return errors.AsType[*msauth.AuthError](got.Err) }()
		if !ok || failure.Class != msauth.ClassMisconfigured || failure.Code != "invalid_client" || !slices.Equal(failure.Numbers, []int{7000215}) || failure.TraceID == "" || failure.CorrelationID == "" || failure.StatusCode != 401 {
			t.Errorf("error %+v", failure)
		}
		b.Get("/auth/logout")
		token := got.Links[0].Token
		if got.Links[0] != (msauth.Link{URL: "/auth/logout", Label: "Sign out", TextID: "sign-out", Post: true, Token: token}) || token == "" {
			t.Errorf("links %+v, want one that posts, with a token", got.Links)
		}
	})
}

func TestIDsOfPagesAreDistinct(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t)
	ids := map[string]bool{}
	for range 50 {
		ids[testsite.PageID.FindStringSubmatch(s.Browser(t).Get("/auth/callback").Text)[1]] = true
	}
	if len(ids) != 50 {
		t.Errorf("%d ids for 50 pages", len(ids))
	}
}

// Whatever happens at debug level, and to people of every kind, nothing secret
// is written. Every test of this package checks its own log in the same way;
// this one makes sure that there is something to find.
func TestSecretsAreNowhereInAWholeDay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t)
		s.MS.Set(func(b *msauthtest.Behavior) { b.RefreshIn, b.GroupClaims = 30*time.Minute, true })
		s.RouteTokens()
		for _, person := range []string{msauthtest.Ada, msauthtest.Mia, msauthtest.Grace} {
			b := s.Browser(t)
			b.SignIn(person)
			b.Token()
			time.Sleep(40 * time.Minute)
			b.Get("/")
			for _, f := range []msauthtest.Failure{{Error: "invalid_client"}, {Status: 500}, {Error: "interaction_required"}, {Error: "invalid_grant"}} {
				s.MS.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.TokenRefresh] = f })
				time.Sleep(40 * time.Minute)
				b.Get("/public/")
				b.Token()
			}
			s.MS.Set(func(b *msauthtest.Behavior) { clear(b.FailAlways) })
			for _, how := range []msauthtest.Signing{msauthtest.SignNone, msauthtest.SignFlippedBit, msauthtest.SignHS256Secret} {
				s.MS.Set(func(b *msauthtest.Behavior) { b.Signing = how })
				b.Get("/auth/login")
			}
			s.MS.Set(func(b *msauthtest.Behavior) { b.Signing = "" })
			b.Request("POST", "/auth/logout", testsite.OwnPage...)
		}
		canaries := len(s.Watched())
		if secrets := len(s.MS.Secrets()); secrets < 50 || canaries < 30 || strings.Count(s.Log.String(), "\n") < 20 {
			t.Errorf("%d secrets of the provider and %d of our own, %d log lines: too few to mean anything", secrets, canaries, strings.Count(s.Log.String(), "\n"))
		}
		s.WantNoSecrets(t, "the log", s.Log.String())
	})
}

func TestErrorsOfThePackageReadWell(t *testing.T) {
	t.Parallel()
	tests := []struct {
		err  *msauth.AuthError
		want string
		is   []error
	}{
		{&msauth.AuthError{Class: msauth.ClassSignIn, Code: "invalid_grant", Suberror: "bad_token", Description: "AADSTS50173: expired", StatusCode: 400},
			"msauth: sign in again: invalid_grant (bad_token): AADSTS50173: expired", []error{msauth.ErrSignInRequired}},
		{&msauth.AuthError{Class: msauth.ClassStepUp, Code: "interaction_required"}, "msauth: step up: interaction_required", []error{msauth.ErrSignInRequired}},
		{&msauth.AuthError{Class: msauth.ClassRetry, StatusCode: 503}, "msauth: retry: HTTP status 503", []error{msauth.ErrTokenUnavailable}},
		{&msauth.AuthError{Class: msauth.ClassRetry, Err: io.ErrUnexpectedEOF}, "msauth: retry: unexpected EOF", []error{msauth.ErrTokenUnavailable, io.ErrUnexpectedEOF}},
		{&msauth.AuthError{Class: msauth.ClassMisconfigured, Code: "invalid_client"}, "msauth: app misconfigured: invalid_client", []error{msauth.ErrTokenUnavailable}},
		{&msauth.AuthError{Class: msauth.ClassDeclined}, "msauth: declined", nil},
		{&msauth.AuthError{Class: msauth.ClassNotAllowed}, "msauth: not allowed", nil},
		{&msauth.AuthError{Class: msauth.ClassReplay}, "msauth: replay", nil},
	}
	for _, test := range tests {
		if got := test.err.Error(); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
		wrapped := fmt.Errorf("graph: %w", test.err)
		for _, sentinel := range []error{msauth.ErrNoSession, msauth.ErrSignInRequired, msauth.ErrTokenUnavailable, msauth.ErrCookieTooLarge, io.ErrUnexpectedEOF} {
			if got, want := errors.Is(wrapped, sentinel), slices.Contains(test.is, sentinel); got != want {
				t.Errorf("%v is %v: %v, want %v", test.err, sentinel, got, want)
			}
		}
		if got, ok := errors.AsType[*msauth.AuthError](wrapped); !ok || got != test.err {
			t.Errorf("%v is not found in its wrapping", test.err)
		}
	}
}

func TestLogLinesAreOneLineEach(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := testsite.NewInProcess(t, func(c *msauth.Config) {
		c.Logger = slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	s.As(msauthtest.Ada)
	s.MS.Set(testsite.Claims(map[string]any{"name": "Ada\nlevel=ERROR msg=forged", "iss": "x\r\ny\x00\u2028z"}))
	b := s.Browser(t)
	b.Get("/", "Host", "app.test")
	b.Get("/auth/callback?error=a%0Ab&state=x%0Ay")
	for line := range strings.Lines(out.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		for name, value := range fields {
			if text, _ := value.(string); strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("%s is %q", name, text)
			}
		}
	}
	if out.Len() == 0 {
		t.Error("nothing was logged")
	}
}
