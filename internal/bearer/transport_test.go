package bearer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/oauth2"
)

// An api answers requests, and notes the Authorization header of each.
type api struct {
	answers []func(*http.Request) *http.Response // the last one answers the rest too
	seen    []string
}

func (a *api) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		io.Copy(io.Discard, r.Body)
		r.Body.Close()
	}
	a.seen = append(a.seen, r.Header.Get("Authorization"))
	if len(a.answers) == 0 {
		return status(200)(r), nil
	}
	n := min(len(a.seen), len(a.answers)) - 1
	return a.answers[n](r), nil
}

func status(code int, header ...string) func(*http.Request) *http.Response {
	return func(r *http.Request) *http.Response {
		res := &http.Response{StatusCode: code, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("")), Request: r}
		for i := 0; i+1 < len(header); i += 2 {
			res.Header.Set(header[i], header[i+1])
		}
		return res
	}
}

const challenge = `Bearer error="insufficient_claims", claims="eyJhY2Nlc3NfdG9rZW4iOnsiYWNycyI6eyJlc3NlbnRpYWwiOnRydWUsInZhbHVlIjoiYzEifX19"`

func bearerOf(token string) *oauth2.Token {
	return &oauth2.Token{AccessToken: token, TokenType: "Bearer"}
}

// transport gives "first" to api.example.com, and "own" to a loopback host.
func transport(ctx context.Context, base http.RoundTripper) *Transport {
	return &Transport{
		Ctx: ctx,
		Token: func(_ context.Context, scopes []string) (*oauth2.Token, error) {
			if len(scopes) == 0 {
				return bearerOf("own"), nil
			}
			return bearerOf("first"), nil
		},
		Final: func(err error) bool { return errors.Is(err, errPerson) },
		Hosts: map[string][]string{"api.example.com:443": {"Read"}, "127.0.0.1:8080": nil},
		Base:  base,
	}
}

var errPerson = errors.New("the person must sign in again")

func TestWhichRequestsCarryTheToken(t *testing.T) {
	t.Parallel()
	from := func(address string) *http.Response {
		u, _ := url.Parse(address)
		return &http.Response{Request: &http.Request{URL: u}}
	}
	for _, test := range []struct {
		name   string
		url    string
		change func(*http.Request)
		local  bool
		want   string
	}{
		{"its host", "https://api.example.com/me", nil, false, "Bearer first"},
		{"its host, spelled otherwise", "https://API.example.COM:443/me", nil, false, "Bearer first"},
		{"another host", "https://api.example.org/me", nil, false, ""},
		{"a host below it", "https://x.api.example.com/me", nil, false, ""},
		{"with a dot at the end", "https://api.example.com./me", nil, false, ""},
		{"another port", "https://api.example.com:8443/me", nil, false, ""},
		{"plain http", "http://api.example.com:443/me", nil, false, ""},
		{"a loopback host by its name", "http://127.0.0.1:8080/me", nil, false, "Bearer own"},
		{"another loopback host", "http://localhost:9/me", nil, false, ""},
		{"any loopback host", "http://localhost:9/me", nil, true, "Bearer own"},
		{"letters that only look like it", "https://api.example.com\u212a/me", nil, false, ""},
		{"with credentials of its own", "https://api.example.com/me", func(r *http.Request) { r.Header.Set("Authorization", "Basic x") }, false, "Basic x"},
		{"with a user of its own", "https://u:p@api.example.com/me", nil, false, ""},
		{"along a redirect within the host", "https://api.example.com/me", func(r *http.Request) { r.Response = from("https://api.example.com/") }, false, "Bearer first"},
		{"along a redirect from elsewhere", "https://api.example.com/me", func(r *http.Request) { r.Response = from("https://evil.example/") }, false, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			base := &api{}
			tr := transport(t.Context(), base)
			tr.Local = test.local
			u, err := url.Parse(test.url)
			if err != nil {
				t.Fatal(err)
			}
			r := &http.Request{Method: http.MethodGet, URL: u, Header: http.Header{}}
			if test.change != nil {
				test.change(r)
			}
			if _, err := tr.RoundTrip(r); err != nil {
				t.Fatal(err)
			}
			if got := base.seen[0]; got != test.want {
				t.Errorf("Authorization %q, want %q", got, test.want)
			}
			if test.want != r.Header.Get("Authorization") && r.Header.Get("Authorization") != "" {
				t.Errorf("the caller's request has become %q", r.Header)
			}
		})
	}
}

func TestRejectedTokenIsReplacedOnce(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		answers []func(*http.Request) *http.Response
		replace func(n int) (*oauth2.Token, error)
		once    bool     // the body cannot be sent again
		seen    []string // by the API
		asked   []string // of Replace: what was rejected, and whether it came from there
		status  int
		err     error
	}{
		{
			"by another", []func(*http.Request) *http.Response{status(401), status(200)},
			func(int) (*oauth2.Token, error) { return bearerOf("second"), nil }, false,
			[]string{"Bearer first", "Bearer second"}, []string{"first false claims false"}, 200, nil,
		},
		{
			"and no more", []func(*http.Request) *http.Response{status(401)},
			func(int) (*oauth2.Token, error) { return bearerOf("second"), nil }, false,
			[]string{"Bearer first", "Bearer second"}, []string{"first false claims false"}, 401, nil,
		},
		{
			"for a claims challenge again", []func(*http.Request) *http.Response{status(401, "Www-Authenticate", challenge)},
			func(n int) (*oauth2.Token, error) {
				if n > 1 {
					return nil, errPerson
				}
				return bearerOf("second"), nil
			}, false,
			[]string{"Bearer first", "Bearer second"}, []string{"first false claims true", "second true claims true"}, 0, errPerson,
		},
		{
			"by none: the API's answer stands", []func(*http.Request) *http.Response{status(401)},
			func(int) (*oauth2.Token, error) { return nil, errors.New("no other token") }, false,
			[]string{"Bearer first"}, []string{"first false claims false"}, 401, nil,
		},
		{
			"with a body that is gone", []func(*http.Request) *http.Response{status(401)},
			func(int) (*oauth2.Token, error) { return bearerOf("second"), nil }, true,
			[]string{"Bearer first"}, []string{"first false claims false"}, 401, nil,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			base := &api{answers: test.answers}
			tr := transport(t.Context(), base)
			var asked []string
			tr.Replace = func(_ context.Context, _ []string, rejected, claims string, again bool) (*oauth2.Token, error) {
				asked = append(asked, fmt.Sprintf("%s %t claims %t", rejected, again, claims != ""))
				return test.replace(len(asked))
			}
			r, err := http.NewRequest(http.MethodPost, "https://api.example.com/me", bytes.NewReader([]byte("x")))
			if err != nil {
				t.Fatal(err)
			}
			if test.once {
				r.GetBody = nil
			}
			res, err := tr.RoundTrip(r)
			if !errors.Is(err, test.err) || err == nil && res.StatusCode != test.status {
				t.Errorf("%v, %v; want status %d, error %v", res, err, test.status, test.err)
			}
			if !slices.Equal(base.seen, test.seen) || !slices.Equal(asked, test.asked) {
				t.Errorf("the API saw %q, Replace %q; want %q and %q", base.seen, asked, test.seen, test.asked)
			}
		})
	}
}

// Retry-After is waited out where a request may be repeated, twice and 10 seconds
// at most.
func TestRetryAfterIsWaitedOut(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		method  string
		answers []func(*http.Request) *http.Response
		timeout time.Duration // of the request, 0 for none
		wait    time.Duration
		sent    int
		status  int
	}{
		{"once", "GET", []func(*http.Request) *http.Response{status(429, "Retry-After", "3"), status(200)}, 0, 3 * time.Second, 2, 200},
		{"twice", "PUT", []func(*http.Request) *http.Response{status(503, "Retry-After", "2")}, 0, 4 * time.Second, 3, 503},
		{"too long", "GET", []func(*http.Request) *http.Response{status(429, "Retry-After", "11")}, 0, 0, 1, 429},
		{"too long in all", "GET", []func(*http.Request) *http.Response{status(429, "Retry-After", "6")}, 0, 6 * time.Second, 2, 429},
		{"without a time", "GET", []func(*http.Request) *http.Response{status(503)}, 0, 0, 1, 503},
		{"not to be repeated", "POST", []func(*http.Request) *http.Response{status(429, "Retry-After", "1")}, 0, 0, 1, 429},
		{"longer than the request has", "GET", []func(*http.Request) *http.Response{status(429, "Retry-After", "5")}, 2 * time.Second, 0, 1, 429},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				base := &api{answers: test.answers}
				ctx := t.Context()
				if test.timeout > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, test.timeout)
					defer cancel()
				}
				r, err := http.NewRequestWithContext(ctx, test.method, "https://api.example.com/me", nil)
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				res, err := transport(t.Context(), base).RoundTrip(r)
				if err != nil || res.StatusCode != test.status || len(base.seen) != test.sent || time.Since(began) != test.wait {
					t.Errorf("%v, %v after %v and %d requests; want status %d after %v and %d", res, err, time.Since(began), len(base.seen), test.status, test.wait, test.sent)
				}
			})
		})
	}
}

// Where there is no token there is no request, and the body is closed.
func TestNoTokenNoRequest(t *testing.T) {
	t.Parallel()
	base := &api{}
	tr := transport(t.Context(), base)
	tr.Token = func(context.Context, []string) (*oauth2.Token, error) { return nil, errPerson }
	body := &closing{Reader: strings.NewReader("x")}
	r, err := http.NewRequest(http.MethodPost, "https://api.example.com/me", body)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tr.RoundTrip(r); !errors.Is(err, errPerson) || len(base.seen) != 0 || !body.closed {
		t.Errorf("error %v, %d requests, body closed %t", err, len(base.seen), body.closed)
	}
}

type closing struct {
	io.Reader
	closed bool
}

func (c *closing) Close() error { c.closed = true; return nil }

func TestWithoutTokenSendsNone(t *testing.T) {
	t.Parallel()
	base := &api{}
	client := &http.Client{Transport: transport(t.Context(), base).WithoutToken()}
	if _, err := client.Get("https://api.example.com/me"); err != nil || base.seen[0] != "" {
		t.Errorf("%v, with Authorization %q", err, base.seen)
	}
}
