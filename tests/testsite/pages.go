package testsite

import (
	"encoding/json"
	"html"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// Pages shows how to get each page that there is.
func Pages(t *testing.T, changes ...func(*msauth.Config)) (s *Site, b *Browser, all map[string]func() Seen) {
	s = NewInProcess(t, changes...)
	b = s.Browser(t)
	answer := func(f func(*msauthtest.Behavior)) func() Seen {
		return func() Seen {
			s.MS.Set(func(b *msauthtest.Behavior) { *b = msauthtest.Behavior{AutoSignIn: msauthtest.Ada}; clear(b.Fail) })
			s.MS.Set(f)
			defer s.MS.Set(func(b *msauthtest.Behavior) { *b = msauthtest.Behavior{AutoSignIn: msauthtest.Ada} })
			return b.Get("/auth/login")
		}
	}
	failing := func(kind msauthtest.Kind, f msauthtest.Failure) func() Seen {
		return answer(func(b *msauthtest.Behavior) { b.Fail = map[msauthtest.Kind][]msauthtest.Failure{kind: {f}} })
	}
	s.As(msauthtest.Ada)
	return s, b, map[string]func() Seen{
		"signed-out":       func() Seen { return b.Get("/auth/signed-out") },
		"done":             func() Seen { return b.Get("/auth/done") },
		"confirm-sign-out": func() Seen { return b.Get("/auth/logout") },
		"sign-in-required": func() Seen {
			return s.Browser(t).Get("/", "Sec-Fetch-Mode", "cors", "Accept", "text/html")
		},
		"declined":    failing(msauthtest.Authorize, msauthtest.Failure{Error: "access_denied"}),
		"not-allowed": failing(msauthtest.Authorize, msauthtest.Failure{Error: "access_denied", Codes: []int{50105}}),
		"start-again": func() Seen { return b.Get("/auth/callback") },
		"expired": func() Seen {
			back := b.Attempt("/auth/login")
			time.Sleep(31 * time.Minute)
			return b.Get(back)
		},
		"cookies-blocked": func() Seen { return BlockedPage(t, s, b) },
		"wrong-host": func() Seen {
			s.Wire.(Hosts)["other.test"] = s
			return b.Get("https://other.test/auth/login")
		},
		"loop": func() Seen {
			lost := s.Browser(t)
			lost.SignIn(msauthtest.Ada)
			lost.Keep(strings.TrimSuffix(lost.Session()[0].Name, "-1")+"-ok", "1")
			lost.Keep(lost.Session()[0].Name, "")
			return lost.Get("/")
		},
		"unavailable": failing(msauthtest.TokenCode, msauthtest.Failure{Status: 503}),
		"app-error":   failing(msauthtest.TokenCode, msauthtest.Failure{Error: "invalid_client"}),
		"too-large":   answer(Claim("name", strings.Repeat("ü", 5000))),
		"bad-request": func() Seen { return b.Get("/auth/login?prompt=none") },
		"not-found":   func() Seen { return b.Get("/auth/nothing") },
		"other-account": func() Seen {
			form := append([]string{"Content-Type", "application/x-www-form-urlencoded"}, SameOrigin...)
			r := httptest.NewRequest(http.MethodPost, "/order", nil)
			for i := 0; i < len(form); i += 2 {
				r.Header.Set(form[i], form[i+1])
			}
			first := httptest.NewRecorder()
			plainPages(t, s).Require(nil).ServeHTTP(first, r)
			b.Get("/")
			return b.Request(http.MethodPost, html.UnescapeString(keptForm.FindStringSubmatch(first.Body.String())[1]), form...)
		},
		"form-expired": func() Seen { return b.Request(http.MethodPost, "/auth/again?form=x", SameOrigin...) },
	}
}

// keptForm is where the page of a kept form sends it.
var keptForm = regexp.MustCompile(`action="(/auth/again[^"]*)"`)

// BlockedPage is what a browser gets that never brings a cookie back.
func BlockedPage(t *testing.T, s *Site, b *Browser) Seen {
	t.Helper()
	first := httptest.NewRecorder()
	plainPages(t, s).Callback(first, httptest.NewRequest(http.MethodGet, b.Attempt("/auth/login"), nil))
	return s.Browser(t).Get(b.Attempt(LinksOf(Seen{Text: first.Body.String()})[0]))
}

// plainPages is another process of the app, without pages of its own.
func plainPages(t *testing.T, s *Site) *msauth.Middleware {
	t.Helper()
	cfg := s.Cfg
	cfg.Page = nil
	plain, err := msauth.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

// Kind is that of a page of the package; "" for all other answers.
func (s Seen) Kind() string {
	if m := pageKind.FindStringSubmatch(s.Text); m != nil {
		return m[1]
	}
	return ""
}

// WantPage checks that an answer is the page of a kind, under headers that let
// it do nothing but be read. For a page about a failure, reason must be in the
// one log line that has the page's id.
func (s *Site) WantPage(t *testing.T, res Seen, status int, kind, reason string) {
	t.Helper()
	if res.StatusCode != status || res.Kind() != kind {
		t.Fatalf("status %d, page %q, want %d, %q; body %.300q; log:\n%s", res.StatusCode, res.Kind(), status, kind, res.Text, s.Log)
	}
	referrer := "no-referrer"
	if keptForm.MatchString(res.Text) {
		referrer = "same-origin"
	}
	for name, want := range map[string]string{
		"Content-Security-Policy": "default-src 'none'; style-src 'sha256-", "X-Content-Type-Options": "nosniff",
		"Cache-Control": "no-store", "Referrer-Policy": referrer, "Content-Type": "text/html; charset=utf-8",
	} {
		if got := res.Header.Get(name); !strings.HasPrefix(got, want) {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if res.Header.Get("Location") != "" || !strings.Contains(res.Text, `<html lang="en" dir="ltr">`) {
		t.Errorf("the page has a Location %q, or no language", res.Header.Get("Location"))
	}
	if reason == "" {
		if PageID.MatchString(res.Text) {
			t.Errorf("the page has an id, though nothing failed: %q", res.Text)
		}
		return
	}
	id := PageID.FindStringSubmatch(res.Text)
	if id == nil {
		t.Fatalf("the page has no id: %q", res.Text)
	}
	lines := s.Log.With(" id=" + id[1])
	if len(lines) != 1 || !strings.Contains(lines[0], reason) {
		t.Fatalf("log lines of the page %q, want one with %q", lines, reason)
	}
}

// WantRefused checks that the answer of a callback is a page, and that nobody
// was signed in by it.
func (b *Browser) WantRefused(res Seen, status int, kind, reason string) {
	b.T.Helper()
	b.Site.WantPage(b.T, res, status, kind, reason)
	if !strings.HasPrefix(res.Request.URL.Path, "/auth/callback") {
		b.T.Errorf("the page is at %s, want the callback", res.Request.URL.Path)
	}
	for _, c := range res.Cookies() {
		if c.MaxAge >= 0 && SessionCookie.MatchString(c.Name) {
			b.T.Errorf("a refused sign-in sets %s", c.Name)
		}
	}
}

// A Problem is what a script is told (RFC 9457).
type Problem struct {
	Type, Title, Detail, ID string
	Status                  int
	LoginURL                string `json:"login_url"`
	LoginLabel              string `json:"login_label"`
	CancelLabel             string `json:"cancel_label"`
	SignIn                  uint64 `json:"sign_in"`
}

// WantProblem checks that an answer is a problem document with a status and all that
// it must have, and returns it.
func (b *Browser) WantProblem(res Seen, status int) (p Problem) {
	b.T.Helper()
	if res.StatusCode != status || res.Header.Get("Content-Type") != "application/problem+json" || res.Header.Get("Cache-Control") != "no-store" {
		b.T.Fatalf("status %d of type %q, want a problem document of status %d; body %.300q; log:\n%s",
			res.StatusCode, res.Header.Get("Content-Type"), status, res.Text, b.Site.Log)
	}
	if err := json.Unmarshal([]byte(res.Text), &p); err != nil || p.Status != status || p.Title == "" || p.Detail == "" || p.Type != "about:blank" {
		b.T.Fatalf("problem document %q: %v", res.Text, err)
	}
	return p
}
