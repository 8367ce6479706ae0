package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"example.com/msauth"
	"example.com/msauth/example/internal/webapp"
)

// stubbed returns the app with a fake Graph, and a function that has a handler
// serve a request of Zoë. You can test your own handlers like this: with a session
// made by hand, without a sign-in.
func stubbed(t *testing.T, tokens oauth2.TokenSource, graph http.HandlerFunc) (*app, func(http.Handler, string) *httptest.ResponseRecorder) {
	t.Helper()
	server := httptest.NewServer(graph)
	t.Cleanup(server.Close)
	auth, err := msauth.New(msauth.Config{
		ClientID: "app", ClientSecret: "secret", BaseURL: "http://localhost:8080/auth", Keys: [][]byte{[]byte("0123456789abcdef0123456789abcdef")},
	})
	if err != nil {
		t.Fatal(err)
	}
	a := &app{auth: auth, set: &settings{Settings: webapp.Settings{Graph: server.URL}, AnswerTime: 200 * time.Millisecond}, log: slog.New(slog.DiscardHandler)}
	session := msauth.NewSession(msauth.User{Name: "Zoë Ångström", TenantID: "t", ObjectID: "o"}, tokens)
	return a, func(h http.Handler, target string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(msauth.NewContext(t.Context(), session), http.MethodGet, target, nil)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
}

var someToken = oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "TOKEN"})

type failingSource struct{ err error }

func (f failingSource) Token() (*oauth2.Token, error) { return nil, f.err }

func TestGraphErrors(t *testing.T) {
	t.Parallel()
	status := func(code int, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(code)
			io.WriteString(w, `{"error":{"code":"UPSTREAM","message":"UPSTREAM <b>text</b>"}}`)
		}
	}
	tests := []struct {
		name   string
		tokens oauth2.TokenSource
		graph  http.HandlerFunc
		status int
		want   []string
		retry  string
	}{
		{"no token now", failingSource{msauth.ErrTokenUnavailable}, status(200), 503, []string{"Microsoft is not responding", "You are still signed in", `id="retry" href="/profile"`}, ""},
		{"no token for a while", failingSource{&msauth.AuthError{Class: msauth.ClassRetry, RetryAfter: 90 * time.Second}}, status(200), 503, []string{"Microsoft is not responding"}, "90"},
		{"token refused", someToken, status(401), 401, []string{"You are not signed in"}, ""},
		{"forbidden", someToken, status(403), 403, []string{"Access denied"}, ""},
		{"not found", someToken, status(404), 404, []string{"Not found"}, ""},
		{"throttled", someToken, status(429, "Retry-After", "17"), 503, []string{"Microsoft is busy"}, "17"},
		{"throttled for ever", someToken, status(429, "Retry-After", "99999999"), 503, []string{"Microsoft is busy"}, "3600"},
		{"throttled oddly", someToken, status(503, "Retry-After", "-5"), 503, []string{"Microsoft is busy"}, ""},
		{"broken", someToken, status(500), 502, []string{"Microsoft is not responding", `id="retry"`}, ""},
		{"no JSON", someToken, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "<h1>UPSTREAM</h1>") }, 502, []string{"Microsoft is not responding"}, ""},
		{"cut off", someToken, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 502, []string{"Microsoft is not responding"}, ""},
		{"without end", someToken, func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, `{"displayName":"`)
			for i := 0; i < 9000; i++ {
				if _, err := w.Write(make([]byte, 1000)); err != nil {
					return
				}
			}
		}, 502, []string{"Microsoft is not responding"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a, serve := stubbed(t, tt.tokens, tt.graph)
			page := serve(a.page(a.profile), "/profile")
			body := page.Body.String()
			if page.Code != tt.status {
				t.Errorf("status %d, want %d", page.Code, tt.status)
			}
			for _, want := range tt.want {
				if !strings.Contains(body, want) {
					t.Errorf("%q is missing in\n%s", want, body)
				}
			}
			if got := page.Header().Get("Retry-After"); got != tt.retry {
				t.Errorf("Retry-After %q, want %q", got, tt.retry)
			}

			api := serve(a.api(a.apiMe), "/api/me")
			if api.Code != tt.status || api.Header().Get("Content-Type") != "application/problem+json" {
				t.Errorf("script: status %d, %s, want %d and problem+json", api.Code, api.Header().Get("Content-Type"), tt.status)
			}
			if got, want := strings.Contains(api.Body.String(), `"login_url"`), tt.status == 401; got != want {
				t.Errorf("script: login_url is there: %t, want %t", got, want)
			}
			for _, text := range []string{body, api.Body.String()} {
				if strings.Contains(text, "UPSTREAM") || strings.Contains(text, "TOKEN") {
					t.Errorf("Microsoft's own text is shown:\n%s", text)
				}
			}

			// Failing to read the picture is not an error.
			photo := serve(a.page(a.photo), "/profile/photo")
			if photo.Code != http.StatusOK || photo.Header().Get("Content-Type") != "image/svg+xml" || !strings.Contains(photo.Body.String(), ">ZÅ<") {
				t.Errorf("photo: status %d, %s, want the initials", photo.Code, photo.Header().Get("Content-Type"))
			}
		})
	}
}

func TestFolderOfManyPages(t *testing.T) {
	t.Parallel()
	var asked []string
	var base string
	a, serve := stubbed(t, someToken, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path+"?"+r.URL.RawQuery)
		switch {
		case r.URL.Path == "/me/drive/items/F!1":
			io.WriteString(w, `{"id":"F!1","name":"Ünïcode & <b>","folder":{"childCount":2},"parentReference":{"id":"R","path":"/drive/root:"}}`)
		case r.URL.Query().Get("$skiptoken") == "":
			fmt.Fprintf(w, `{"value":[{"id":"A","name":"a.txt","file":{"mimeType":"text/plain"},"size":5}],
				"@odata.nextLink":"%s/drives('x')/items/F!1/children?$top=50&$skiptoken=a%%26b"}`, base)
		default:
			io.WriteString(w, `{"value":[{"id":"B","name":"Notebook","package":{"type":"oneNote"},"size":1536}]}`)
		}
	})
	base = a.set.Graph
	mux := http.NewServeMux()
	mux.Handle("GET /files/{id}", a.page(a.files))

	first := serve(mux, "/files/F!1").Body.String()
	if !strings.Contains(first, "Ünïcode &amp; &lt;b&gt;") || strings.Contains(first, "First page") {
		t.Errorf("first page:\n%s", first)
	}
	_, rest, _ := strings.Cut(first, `id="next-page" href="`)
	link, _, _ := strings.Cut(rest, `"`)
	u, err := url.Parse(strings.ReplaceAll(link, "&amp;", "&"))
	if err != nil || u.Path != "/files/F!1" {
		t.Fatalf("next page at %q, %v", link, err)
	}
	second := serve(mux, u.RequestURI()).Body.String()
	for _, want := range []string{"Notebook", "1.5 KB", "First page"} {
		if !strings.Contains(second, want) {
			t.Errorf("second page: %q is missing in\n%s", want, second)
		}
	}
	if strings.Contains(second, `href="/files/B"`) || strings.Contains(second, `href="/files/B/content"`) {
		t.Error("a notebook is a link")
	}
	if want := "/me/drive/items/F!1/children?$top=50&$skiptoken=a%26b"; asked[len(asked)-1] != want {
		t.Errorf("asked Graph for %s, want %s", asked[len(asked)-1], want)
	}
}

// Errors that only the user can resolve are not failures of the app: msauth
// redirects.
func TestOnlyThePersonCanHelp(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"sign in required": msauth.ErrSignInRequired,
		"no session":       fmt.Errorf("later: %w", msauth.ErrNoSession),
		"consent":          &msauth.AuthError{Class: msauth.ClassStepUp, Scopes: []string{"Files.Read"}},
	} {
		a, serve := stubbed(t, failingSource{err}, http.NotFound)
		for _, h := range []http.Handler{a.page(a.profile), a.page(a.files), a.api(a.apiMe), a.api(a.apiCalendar)} {
			w := serve(h, "/")
			if body := w.Body.String(); w.Code != http.StatusUnauthorized || !strings.Contains(body, `"login_url":"/auth/login`) {
				t.Errorf("%s: status %d, want 401 and where to sign in\n%s", name, w.Code, body)
			}
		}
	}
}

func TestNoDrive(t *testing.T) {
	t.Parallel()
	a, serve := stubbed(t, someToken, http.NotFound)
	w := serve(a.page(a.files), "/files")
	if w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "This account has no OneDrive") {
		t.Errorf("status %d:\n%s", w.Code, w.Body)
	}
}

func TestClientGoesAway(t *testing.T) {
	t.Parallel()
	a, _ := stubbed(t, someToken, http.NotFound)
	ctx, cancel := context.WithCancel(msauth.NewContext(t.Context(), msauth.NewSession(msauth.User{}, someToken)))
	cancel()
	if _, err := a.me(httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}
