package apis_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// A world is a transport to all hosts there are: the local Microsoft, and
// others, which note what they are asked. A path such as
// "/301/https://api.example.com/x" redirects to the rest of it.
type world struct {
	ms     http.RoundTripper
	asked  []string // "URL with token", "URL with HEADER" or "URL without"
	token  string
	forget bool // leave Response.Request out
}

func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host == "localhost:9" && !strings.HasPrefix(r.URL.Path, "/v1.0/") {
		return w.ms.RoundTrip(r)
	}
	if r.Body != nil {
		r.Body.Close()
	}
	with := "without"
	if header := r.Header.Get("Authorization"); header != "" {
		if with = "with " + header; header == "Bearer "+w.token {
			with = "with token"
		}
	}
	w.asked = append(w.asked, r.URL.Redacted()+" "+with)
	res := &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody, Request: r, ProtoMajor: 1, ProtoMinor: 1}
	if w.forget {
		res.Request = nil
	}
	if status, to, ok := strings.Cut(strings.TrimPrefix(r.URL.RequestURI(), "/"), "/"); ok && len(status) == 3 && status[0] == '3' {
		fmt.Sscan(status, &res.StatusCode)
		res.Header.Set("Location", to)
	}
	return res, nil
}

// session signs Ada in where the world is w and lets use see her session.
func (w *world) session(t *testing.T, use func(r *http.Request, session *msauth.Session)) {
	t.Helper()
	s := testsite.NewInProcess(t, func(c *msauth.Config) {
		w.ms = c.HTTPClient.Transport
		c.HTTPClient = &http.Client{Transport: w}
		c.TokenHosts = map[string][]string{"api.example.com": nil, "API2.example.com:8443": nil}
	})
	s.Mux.Handle("/use", s.Auth.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		session, _ := msauth.FromContext(r.Context())
		token, err := session.Token(r.Context())
		if err != nil {
			t.Error(err)
			return
		}
		w.token = token.AccessToken
		use(r, session)
	})))
	s.As(msauthtest.Ada)
	if res := s.Browser(t).Get("/use"); res.StatusCode != 200 {
		t.Fatalf("status %d; log:\n%s", res.StatusCode, s.Log)
	}
}

func TestClientSendsTheTokenToAllowedHostsOnly(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		url  string
		want bool
	}{
		{"allowed", "https://api.example.com/v1/x?y=1", true},
		{"upper case", "https://API.Example.COM/", true},
		{"upper case in the configuration", "https://api2.example.com:8443/", true},
		{"with its port", "https://api.example.com:443/", true},
		{"loopback, on http", "http://localhost:9/v1.0/me", true},
		{"loopback, on https", "https://localhost:9/v1.0/me", true},

		{"http", "http://api.example.com/", false},
		{"http on the port of https", "http://api.example.com:443/", false},
		{"another port", "https://api.example.com:8443/", false},
		{"configured with a port, asked without", "https://api2.example.com/", false},
		{"trailing dot", "https://api.example.com./", false},
		{"look-alike behind", "https://api.example.com.evil.example/", false},
		{"look-alike before", "https://evil-api.example.com/", false},
		{"below", "https://x.api.example.com/", false},
		{"above", "https://example.com/", false},
		{"as a user", "https://api.example.com@evil.example/", false},
		{"as a path", "https://evil.example/api.example.com", false},
		{"as a query", "https://evil.example/?https://api.example.com/", false},
		{"full-width dot", "https://api。example.com/", false},
		{"Kelvin sign for k", "https://api.example.com\u212a/", false},
		{"dotted capital I for i", "https://ap\u0130.example.com/", false},
		{"dotted capital I in a loopback name", "http://localhost.\u0130:9/", false},
		{"loopback by another name", "http://127.0.0.1:9/v1.0/me", false},
		{"loopback on another port", "http://localhost:10/", false},
		{"look-alike of loopback", "http://localhost.evil.example:9/v1.0/me", false},
		{"Graph of another cloud", "https://graph.microsoft.com/v1.0/me", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := &world{}
			w.session(t, func(r *http.Request, session *msauth.Session) {
				res, err := session.Client(r.Context()).Get(test.url)
				if err != nil {
					t.Fatal(err)
				}
				res.Body.Close()
				if len(w.asked) != 1 || strings.HasSuffix(w.asked[0], " with token") != test.want {
					t.Errorf("asked %.80q, want the token: %v", w.asked, test.want)
				}
			})
		})
	}
}

func TestClientLeavesOtherCredentialsAlone(t *testing.T) {
	t.Parallel()
	w := &world{}
	w.session(t, func(r *http.Request, session *msauth.Session) {
		client := session.Client(r.Context())
		for _, target := range []string{"https://me:pass@api.example.com/", "https://me@api.example.com/"} {
			if res, err := client.Get(target); err == nil {
				res.Body.Close()
			}
		}
		req, _ := http.NewRequest("GET", "https://api.example.com/", nil)
		req.Header.Set("Authorization", "Bearer own")
		if res, err := client.Do(req); err == nil {
			res.Body.Close()
		}
		if got := req.Header.Get("Authorization"); got != "Bearer own" {
			t.Errorf("the caller's request was changed to %.20q", got)
		}
		want := "[https://me:xxxxx@api.example.com/ with Basic bWU6cGFzcw== https://me@api.example.com/ with Basic bWU6 https://api.example.com/ with Bearer own]"
		if got := fmt.Sprint(w.asked); got != want {
			t.Errorf("asked %s, want %s", got, want)
		}
		plain, _ := http.NewRequest("GET", "https://api.example.com/", nil)
		if res, err := client.Do(plain); err == nil {
			res.Body.Close()
		}
		if len(plain.Header) != 0 {
			t.Errorf("the caller's request was changed: it has %d headers", len(plain.Header))
		}
	})
}

func TestClientDoesNotTakeTheTokenAlongToOthers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		to     string // where the first answer leads
		forget bool
		want   string // with the token or without it, request by request
	}{
		{"same host", "https://api.example.com/b", false, "with with"},
		{"other path", "/b", false, "with with"},
		{"same host, in upper case and with its port", "https://API.example.com:443/b", false, "with with"},
		{"other host", "https://evil.example/", false, "with without"},
		{"other allowed host", "https://api2.example.com:8443/", false, "with without"},
		{"look-alike", "https://api.example.com.evil.example/", false, "with without"},
		{"without scheme", "//evil.example/", false, "with without"},
		{"downgrade", "http://api.example.com/", false, "with without"},
		{"other port", "https://api.example.com:8443/", false, "with without"},
		{"away and further", "https://evil.example/302/https://evil2.example/", false, "with without without"},
		{"away and back", "https://evil.example/302/https://api.example.com/secret", false, "with without without"},
		{"away and to another allowed host", "https://evil.example/302/https://api2.example.com:8443/", false, "with without without"},
		{"by a transport that does not tell what it asked", "https://api2.example.com:8443/", true, "with without"},
	}
	for _, test := range tests {
		for _, status := range []int{301, 302, 303, 307, 308} {
			t.Run(fmt.Sprint(test.name, " ", status), func(t *testing.T) {
				t.Parallel()
				w := &world{forget: test.forget}
				w.session(t, func(r *http.Request, session *msauth.Session) {
					res, err := session.Client(r.Context()).Get(fmt.Sprintf("https://api.example.com/%d/%s", status, test.to))
					if err != nil {
						t.Fatal(err)
					}
					res.Body.Close()
					var got []string
					for _, asked := range w.asked {
						_, with, _ := strings.Cut(asked, " ")
						got = append(got, strings.TrimSuffix(with, " token"))
					}
					if strings.Join(got, " ") != test.want {
						t.Errorf("asked %.100q, want %s", w.asked, test.want)
					}
				})
			})
		}
	}
}

func TestClientReachesGraphAndItsDownloads(t *testing.T) {
	t.Parallel()
	s := testsite.New(t, func(c *msauth.Config) { c.Scopes = []string{"User.Read", "Files.Read"} })
	get := func(r *http.Request, path string) (int, string) {
		session, _ := msauth.FromContext(r.Context())
		res, err := session.Client(r.Context()).Get(s.MS.URL + path)
		if err != nil {
			return 0, err.Error()
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(body)
	}
	s.Mux.Handle("/graph", s.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, me := get(r, "/v1.0/me")
		if status != 200 || !strings.Contains(me, "Ada Lindqvist") {
			t.Errorf("/me: %d %s", status, me)
		}
		_, list := get(r, "/v1.0/me/drive/root/children")
		var children struct {
			Value []struct {
				ID   string
				File *struct{}
			}
		}
		if err := json.Unmarshal([]byte(list), &children); err != nil {
			t.Errorf("%v: %s", err, list)
		}
		for _, child := range children.Value {
			if child.File != nil {
				// The content is at another host, which refuses a token.
				if status, content := get(r, "/v1.0/me/drive/items/"+child.ID+"/content"); status != 200 || content == "" {
					t.Errorf("download: %d %s", status, content)
				}
				return
			}
		}
		t.Errorf("no file in %s", list)
	})))
	b := s.Browser(t)
	s.As(msauthtest.Ada)
	b.Get("/graph")
	if calls := s.MS.Calls(msauthtest.Download); len(calls) != 1 || calls[0].Header.Get("Authorization") != "" {
		t.Errorf("%d downloads, want 1 without a token", len(calls))
	}
}

func TestClientFailsLikeToken(t *testing.T) {
	testsite.Renewing(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
		var err error
		closed := false
		s.Mux.Handle("/public/fail", s.Auth.Load(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			session, _ := msauth.FromContext(r.Context())
			var res *http.Response
			res, err = session.Client(r.Context()).Post(s.MS.URL+"/v1.0/me", "text/plain", &body{Reader: strings.NewReader("x"), closed: &closed})
			if err == nil {
				res.Body.Close()
			}
		})))
		time.Sleep(testsite.Expired)
		s.MS.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Status: 503} })
		b.Get("/public/fail")
		if failure, ok := errors.AsType[*msauth.AuthError](err); !errors.Is(err, msauth.ErrTokenUnavailable) || !ok || failure.StatusCode != 503 || !closed {
			t.Errorf("%v, body closed: %v", err, closed)
		}
		s.WantCalls(t, msauthtest.Graph, 0)
		b.Still().Request("POST", "/auth/logout", testsite.OwnPage...)
		b.Get("/public/fail")
		if !errors.Is(err, msauth.ErrNoSession) {
			t.Errorf("%v for nobody, want ErrNoSession", err)
		}
	})
}

type body struct {
	io.Reader
	closed *bool
}

func (b *body) Close() error { *b.closed = true; return nil }

func TestTokenSource(t *testing.T) {
	testsite.Renewing(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
		s.Mux.Handle("/source", s.Auth.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			session, _ := msauth.FromContext(r.Context())
			source := session.TokenSource(r.Context())
			one, err := source.Token()
			if err != nil || one.Type() != "Bearer" || one.RefreshToken != "" || !one.Expiry.Equal(session.Expiry()) {
				t.Errorf("%v, %v", err, one)
			}
			time.Sleep(testsite.Expired)
			two, err := source.Token()
			if err != nil || two.AccessToken == one.AccessToken {
				t.Errorf("%v, or the same token", err)
			}
		})))
		b.Timeout = 0
		b.Get("/source")
		s.WantCalls(t, msauthtest.TokenRefresh, 1)
	})
}

func TestSessionMadeForTests(t *testing.T) {
	t.Parallel()
	user := msauth.User{Name: "Ada", TenantID: "T", ObjectID: "O"}
	asked := ""
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked = r.Header.Get("Authorization") }))
	t.Cleanup(server.Close)
	fail := func(err error) oauth2.TokenSource {
		return sourceFunc(func() (*oauth2.Token, error) { return nil, err })
	}
	tests := []struct {
		name   string
		source oauth2.TokenSource
		want   error // with errors.Is
	}{
		{"token", oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "for-tests"}), nil},
		{"no source", nil, msauth.ErrTokenUnavailable},
		{"failing source", fail(errors.New("broken")), msauth.ErrTokenUnavailable},
		{"sign-in required", fail(msauth.ErrSignInRequired), msauth.ErrSignInRequired},
		{"step up", fail(&msauth.AuthError{Class: msauth.ClassStepUp}), msauth.ErrSignInRequired},
		{"unavailable", fail(fmt.Errorf("x: %w", msauth.ErrTokenUnavailable)), msauth.ErrTokenUnavailable},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			session := msauth.NewSession(user, test.source)
			got, ok := msauth.FromContext(msauth.NewContext(t.Context(), session))
			if !ok || got != session || got.User.Key() != "t.o" {
				t.Errorf("%v, %v", got, ok)
			}
			token, err := session.Token(t.Context())
			if !errors.Is(err, test.want) || err == nil && token.AccessToken != "for-tests" {
				t.Errorf("Token: %v, want %v", err, test.want)
			}
			asked = "nothing"
			res, err := session.Client(t.Context()).Get(server.URL)
			if !errors.Is(err, test.want) {
				t.Errorf("Client: %v, want %v", err, test.want)
			}
			if err == nil {
				res.Body.Close()
			}
			if want := map[bool]string{true: "Bearer for-tests", false: "nothing"}[test.want == nil]; asked != want {
				t.Errorf("the server was asked with %q, want %q", asked, want)
			}
			if !session.Expiry().IsZero() || len(session.Scopes()) != 0 {
				t.Errorf("expiry %v, scopes %v", session.Expiry(), session.Scopes())
			}
		})
	}
}

type sourceFunc func() (*oauth2.Token, error)

func (f sourceFunc) Token() (*oauth2.Token, error) { return f() }

func TestSessionOfNobodyIsSafeToUse(t *testing.T) {
	t.Parallel()
	for _, session := range []*msauth.Session{nil, {}} {
		if _, err := session.Token(t.Context()); err != msauth.ErrNoSession {
			t.Errorf("Token: %v", err)
		}
		if _, err := session.TokenSource(t.Context()).Token(); err != msauth.ErrNoSession {
			t.Errorf("TokenSource: %v", err)
		}
		if _, err := session.Client(t.Context()).Get("http://localhost:1/"); !errors.Is(err, msauth.ErrNoSession) {
			t.Errorf("Client: %v", err)
		}
		if !session.Expiry().IsZero() || !session.Ends().IsZero() || !session.SignedIn().IsZero() || !session.Renewed().IsZero() || session.Scopes() != nil {
			t.Error("times or scopes of nobody")
		}
		fmt.Fprint(io.Discard, session)
		slog.New(slog.NewTextHandler(io.Discard, nil)).Info("", "session", session)
	}
	if got := (msauth.User{}).Key(); got != "" {
		t.Errorf("nobody has the key %q", got)
	}
}

func TestUserKey(t *testing.T) {
	t.Parallel()
	tests := []struct {
		user msauth.User
		want string
	}{
		{msauth.User{}, ""},
		{msauth.User{TenantID: "ABC", ObjectID: "DEF", Issuer: "i", Subject: "s"}, "abc.def"},
		{msauth.User{Issuer: "https://ID.example", Subject: "Sub"}, "https://ID.example#Sub"},
		{msauth.User{TenantID: "abc", Issuer: "i", Subject: "s"}, "i#s"},
		{msauth.User{Subject: "s"}, ""},
		{msauth.User{Issuer: "i"}, ""},
		{msauth.User{Email: "ada@contoso.example", Username: "ada", Name: "Ada"}, ""},
	}
	for _, test := range tests {
		if got := test.user.Key(); got != test.want {
			t.Errorf("%+v: key %q, want %q", test.user, got, test.want)
		}
	}
}
