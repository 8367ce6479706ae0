package msauth_test

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
)

// pages shows how to get each page that there is.
func pages(t *testing.T, changes ...func(*msauth.Config)) (s *site, b *browser, all map[string]func() seen) {
	s = newSiteInProcess(t, changes...)
	b = s.browser(t)
	answer := func(f func(*msauthtest.Behavior)) func() seen {
		return func() seen {
			s.ms.Set(func(b *msauthtest.Behavior) { *b = msauthtest.Behavior{AutoSignIn: msauthtest.Ada}; clear(b.Fail) })
			s.ms.Set(f)
			defer s.ms.Set(func(b *msauthtest.Behavior) { *b = msauthtest.Behavior{AutoSignIn: msauthtest.Ada} })
			return b.get("/auth/login")
		}
	}
	failing := func(kind msauthtest.Kind, f msauthtest.Failure) func() seen {
		return answer(func(b *msauthtest.Behavior) { b.Fail = map[msauthtest.Kind][]msauthtest.Failure{kind: {f}} })
	}
	s.as(msauthtest.Ada)
	return s, b, map[string]func() seen{
		"signed-out":       func() seen { return b.get("/auth/signed-out") },
		"confirm-sign-out": func() seen { return b.get("/auth/logout") },
		"sign-in-required": func() seen {
			return s.browser(t).get("/", "Sec-Fetch-Mode", "cors", "Accept", "text/html")
		},
		"declined":    failing(msauthtest.Authorize, msauthtest.Failure{Error: "access_denied"}),
		"not-allowed": failing(msauthtest.Authorize, msauthtest.Failure{Error: "access_denied", Codes: []int{50105}}),
		"start-again": func() seen { return b.get("/auth/callback") },
		"expired": func() seen {
			back := b.attempt("/auth/login")
			time.Sleep(31 * time.Minute)
			return b.get(back)
		},
		"cookies-blocked": func() seen { return blockedPage(t, s, b) },
		"wrong-host": func() seen {
			s.wire.(inProcess)["other.test"] = s
			return b.get("https://other.test/auth/login")
		},
		"loop": func() seen {
			lost := s.browser(t)
			lost.signIn(msauthtest.Ada)
			lost.keep(strings.TrimSuffix(lost.session()[0].Name, "-1")+"-ok", "1")
			lost.keep(lost.session()[0].Name, "")
			return lost.get("/")
		},
		"unavailable": failing(msauthtest.TokenCode, msauthtest.Failure{Status: 503}),
		"app-error":   failing(msauthtest.TokenCode, msauthtest.Failure{Error: "invalid_client"}),
		"too-large":   answer(claim("name", strings.Repeat("ü", 5000))),
		"bad-request": func() seen { return b.get("/auth/login?prompt=none") },
		"not-found":   func() seen { return b.get("/auth/nothing") },
	}
}

// failures are the pages that report one, and so have an id.
var failures = []string{"declined", "not-allowed", "start-again", "expired", "cookies-blocked", "wrong-host", "loop", "unavailable", "app-error", "too-large", "bad-request"}

func TestPagesAreSelfContainedAndAccessible(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _, all := pages(t)
		titles := map[string]string{}
		for kind, get := range all {
			res := get()
			reason := ""
			if slices.Contains(failures, kind) {
				reason = "err="
			}
			s.wantPage(t, res, res.StatusCode, kind, reason)
			if want := map[string]int{"signed-out": 200, "confirm-sign-out": 200, "sign-in-required": 401, "declined": 403, "not-allowed": 403, "unavailable": 503, "app-error": 500, "too-large": 403, "not-found": 404}[kind]; want != res.StatusCode && (want != 0 || res.StatusCode != 400) {
				t.Errorf("%s: status %d, want %d", kind, res.StatusCode, want)
			}
			csp := res.Header.Get("Content-Security-Policy")
			style := regexp.MustCompile(`(?s)<style>(.*?)</style>`).FindStringSubmatch(res.body)
			if style == nil {
				t.Fatalf("%s has no style: %s", kind, res.body)
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
			for _, bad := range []string{"<script", "javascript:", " on", "style=", "src=", "@import", "url("} {
				if bad == " on" {
					if m := regexp.MustCompile(`<[^>]* on[a-z]+=`).FindString(res.body); m != "" {
						t.Errorf("%s has a handler: %s", kind, m)
					}
				} else if strings.Contains(res.body, bad) {
					t.Errorf("%s holds %q", kind, bad)
				}
			}
			for _, want := range []string{"<!DOCTYPE html>", `<html lang="en">`, `<meta charset="utf-8">`, `name="viewport"`, "<main", "<h1>"} {
				if !strings.Contains(res.body, want) {
					t.Errorf("%s: no %s", kind, want)
				}
			}
			title := regexp.MustCompile(`<title>(.*)</title>`).FindStringSubmatch(res.body)
			if title == nil || titles[title[1]] != "" || !strings.Contains(res.body, "<h1>"+title[1]+"</h1>") {
				t.Errorf("%s: title %q, also of %q", kind, title, titles[title[1]])
			}
			titles[title[1]] = kind
			if !strings.Contains(res.body, "<a href=") && kind != "confirm-sign-out" {
				t.Errorf("%s leaves nothing to do: %s", kind, res.body)
			}
			for _, href := range regexp.MustCompile(`(?:href|action)="([^"]*)"`).FindAllStringSubmatch(res.body, -1) {
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
		s, b, all := pages(t, func(c *msauth.Config) {
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
			if got.Kind != kind || got.Status != res.StatusCode || got.Title == "" || got.Text == "" || len(got.Links) == 0 || !strings.Contains(res.body, "Eigene Seite") {
				t.Errorf("%s: the hook got %+v", kind, got)
			}
			if failed := slices.Contains(failures, kind); failed != (got.ID != "") || failed != (got.Err != nil) {
				t.Errorf("%s: id %q, error %v, want both: %v", kind, got.ID, got.Err, failed)
			}
			if got.ID != "" && len(s.log.with(" id="+got.ID)) != 1 {
				t.Errorf("%s: id %s is not in one log line", kind, got.ID)
			}
			for _, name := range []string{"Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy", "Cache-Control"} {
				if res.Header.Get(name) == "" {
					t.Errorf("%s: no %s", kind, name)
				}
			}
			s.wantNoSecrets(t, "a page as the hook sees it", fmt.Sprintf("%+v %v", got, got.Err))
		}
		failure, ok := func() (*msauth.AuthError, bool) { all["app-error"](); return errors.AsType[*msauth.AuthError](got.Err) }()
		if !ok || failure.Class != msauth.ClassMisconfigured || failure.Code != "invalid_client" || !slices.Equal(failure.Numbers, []int{7000215}) || failure.TraceID == "" || failure.CorrelationID == "" || failure.StatusCode != 401 {
			t.Errorf("error %+v", failure)
		}
		b.get("/auth/logout")
		token := got.Links[0].Token
		if got.Links[0] != (msauth.Link{URL: "/auth/logout", Label: "Sign out", Post: true, Token: token}) || token == "" {
			t.Errorf("links %+v, want one that posts, with a token", got.Links)
		}
	})
}

func TestIDsOfPagesAreDistinct(t *testing.T) {
	t.Parallel()
	s := newSiteInProcess(t)
	ids := map[string]bool{}
	for range 50 {
		ids[pageID.FindStringSubmatch(s.browser(t).get("/auth/callback").body)[1]] = true
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
		s := newSiteInProcess(t)
		s.ms.Set(func(b *msauthtest.Behavior) { b.RefreshIn, b.GroupClaims = 30*time.Minute, true })
		s.routeTokens()
		for _, person := range []string{msauthtest.Ada, msauthtest.Mia, msauthtest.Grace} {
			b := s.browser(t)
			b.signIn(person)
			b.token()
			time.Sleep(40 * time.Minute)
			b.get("/")
			for _, f := range []msauthtest.Failure{{Error: "invalid_client"}, {Status: 500}, {Error: "interaction_required"}, {Error: "invalid_grant"}} {
				s.ms.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.TokenRefresh] = f })
				time.Sleep(40 * time.Minute)
				b.get("/public/")
				b.token()
			}
			s.ms.Set(func(b *msauthtest.Behavior) { clear(b.FailAlways) })
			for _, how := range []msauthtest.Signing{msauthtest.SignNone, msauthtest.SignFlippedBit, msauthtest.SignHS256Secret} {
				s.ms.Set(func(b *msauthtest.Behavior) { b.Signing = how })
				b.get("/auth/login")
			}
			s.ms.Set(func(b *msauthtest.Behavior) { b.Signing = "" })
			b.do("POST", "/auth/logout", ownPage...)
		}
		s.mu.Lock()
		canaries := len(s.canaries)
		s.mu.Unlock()
		if secrets := len(s.ms.Secrets()); secrets < 50 || canaries < 30 || strings.Count(s.log.String(), "\n") < 20 {
			t.Errorf("%d secrets of the provider and %d of our own, %d log lines: too few to mean anything", secrets, canaries, strings.Count(s.log.String(), "\n"))
		}
		s.wantNoSecrets(t, "the log", s.log.String())
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
	s := newSiteInProcess(t, func(c *msauth.Config) {
		c.Logger = slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	s.as(msauthtest.Ada)
	s.ms.Set(claims(map[string]any{"name": "Ada\nlevel=ERROR msg=forged", "iss": "x\r\ny\x00\u2028z"}))
	b := s.browser(t)
	b.get("/", "Host", "app.test")
	b.get("/auth/callback?error=a%0Ab&state=x%0Ay")
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
