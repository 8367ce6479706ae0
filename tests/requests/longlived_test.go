package requests_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/oauth2"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// A handler that runs for hours has a good token all the time; the request that
// comes after it gets the cookie, and the strict provider sees each refresh
// token once.
func TestHandlerThatOutlivesItsTokenRenewsInMemory(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		token func(context.Context, *msauth.Session, *testsite.Office) (string, error)
	}{
		{"Token", func(ctx context.Context, s *msauth.Session, _ *testsite.Office) (string, error) {
			token, err := s.Token(ctx)
			if err != nil {
				return "", err
			}
			if token.RefreshToken != "" || !token.Expiry.After(time.Now()) || !s.Expiry().Equal(token.Expiry) {
				return "", fmt.Errorf("refresh token %t, expiry %v, now %v", token.RefreshToken != "", token.Expiry, time.Now())
			}
			return token.AccessToken, nil
		}},
		{"TokenSource", func(ctx context.Context, s *msauth.Session, _ *testsite.Office) (string, error) {
			token, err := oauth2.ReuseTokenSource(nil, s.TokenSource(ctx)).Token()
			if err != nil {
				return "", err
			}
			return token.AccessToken, nil
		}},
		{"Client", func(ctx context.Context, s *msauth.Session, o *testsite.Office) (string, error) {
			res, err := s.Client(ctx).Get(o.MS.URL + "/v1.0/me")
			if err != nil {
				return "", err
			}
			defer res.Body.Close()
			if res.StatusCode != http.StatusOK {
				return "", fmt.Errorf("Graph answers %s", res.Status)
			}
			calls := o.MS.Calls(msauthtest.Graph)
			return calls[len(calls)-1].Header.Get("Authorization"), nil
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				o := testsite.NewOffice(t)
				o.MS.Set(func(b *msauthtest.Behavior) {
					b.AccessTokenLifetime = time.Hour
					b.Rotation = msauthtest.RotateStrict
				})
				inner := o.Handler
				const hours = 9
				long := o.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					s, _ := msauth.FromContext(r.Context())
					tokens := map[string]bool{}
					for hour := range hours {
						var mu sync.Mutex
						var wg sync.WaitGroup
						for range 5 { // at once
							wg.Go(func() {
								token, err := c.token(r.Context(), s, o)
								if err != nil {
									t.Errorf("hour %d: %v", hour, err)
								}
								mu.Lock()
								defer mu.Unlock()
								tokens[token] = true
							})
						}
						wg.Wait()
						time.Sleep(time.Hour)
					}
					fmt.Fprint(w, len(tokens))
				}))
				o.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/long" {
						long.ServeHTTP(w, r)
						return
					}
					inner.ServeHTTP(w, r)
				})
				v := o.SignIn()
				old := v.Copy()
				if got := v.Get("/long"); got.Body != fmt.Sprint(hours) {
					t.Errorf("%s different tokens in %d hours", got.Body, hours)
				}
				o.WantCalls(msauthtest.TokenRefresh, hours-1)
				// The token of the last hour is over by now.
				got := v.Get("/?token")
				if got.Status != http.StatusOK || !got.SetsSession() {
					t.Errorf("the next request: status %d, new cookie %t; log:\n%s", got.Status, got.SetsSession(), o.Log)
				}
				o.WantCalls(msauthtest.TokenRefresh, hours)
				for name, v := range map[string]*testsite.Visitor{"with the new cookie": v, "with the old one": old} {
					if got := v.Get("/?token"); got.Status != http.StatusOK {
						t.Errorf("%s: status %d", name, got.Status)
					}
				}
				o.WantCalls(msauthtest.TokenRefresh, hours)
			})
		})
	}
}

// While the handler's newest token is good, the next request has it for
// nothing.
func TestRequestAfterALongHandlerGetsItsCookieWithoutACall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := testsite.RenewingOffice(t)
		o.MS.Set(func(b *msauthtest.Behavior) { b.Rotation = msauthtest.RotateStrict })
		var token string
		inner := o.Handler
		long := o.Auth.Load(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s, _ := msauth.FromContext(r.Context())
			time.Sleep(2 * time.Hour)
			got, err := s.Token(r.Context())
			if err != nil {
				t.Error(err)
				return
			}
			token = got.AccessToken
		}))
		o.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/long" {
				long.ServeHTTP(w, r)
				return
			}
			inner.ServeHTTP(w, r)
		})
		v := o.SignIn()
		v.Get("/long")
		o.WantCalls(msauthtest.TokenRefresh, 1)
		time.Sleep(30 * time.Minute) // long after any grace period
		got := v.Get("/?token")
		if got.Body != token || !got.SetsSession() {
			t.Errorf("status %d, the handler's token %t, new cookie %t", got.Status, got.Body == token, got.SetsSession())
		}
		o.WantCalls(msauthtest.TokenRefresh, 1)
	})
}

// A pair is one handler without and with the middleware.
type pair struct {
	*testsite.Site
	plain   *httptest.Server
	cookies string
}

// newPair starts a site with further handlers, and the same handlers bare. The
// browser's token is over, so that the first request with its cookies gets new
// ones.
func newPair(t *testing.T, handler http.HandlerFunc, http2 bool) *pair {
	t.Helper()
	s := testsite.New(t)
	b := testsite.ExpiredBrowser(t, s)
	s.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
	p := &pair{Site: s, cookies: testsite.HeaderOf(b.Cookies()...)}
	mux := http.NewServeMux()
	mux.Handle("/load", s.Auth.Load(handler))
	mux.Handle("/require", s.Auth.Require(handler))
	mux.Handle("/plain", handler)
	p.plain = httptest.NewUnstartedServer(mux)
	p.plain.EnableHTTP2 = http2
	p.plain.Config.ErrorLog = s.Config.ErrorLog
	p.plain.StartTLS()
	t.Cleanup(p.plain.Close)
	return p
}

// raw sends a request as it is and returns the bytes of the answer until the
// server closes.
func (p *pair) raw(t *testing.T, request string) string {
	t.Helper()
	conn := p.dial(t)
	defer conn.Close()
	if _, err := io.WriteString(conn, strings.ReplaceAll(request, "\n", "\r\n")); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	return string(answer)
}

func (p *pair) dial(t *testing.T) *tls.Conn {
	t.Helper()
	conn, err := tls.Dial("tcp", p.plain.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn
}

var (
	ownLines = regexp.MustCompile(`(?m)^(Vary: Cookie|cache-control: no-store|Cache-Control: no-store|Set-Cookie: __Host-msauth-[^\r]*)\r\n`)
	dateLine = regexp.MustCompile(`(?m)^Date: [^\r]*\r\n`)
)

// Whatever a handler answers, the bytes are those it would have sent without
// the middleware, and our own header lines.
func TestAnswerIsTheSameOnTheWireButForOurHeaders(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		method  string
		header  string
		handler http.HandlerFunc
	}{
		{"a page", "GET", "", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<p>hello") }},
		{"nothing", "GET", "", func(w http.ResponseWriter, r *http.Request) {}},
		{"204", "GET", "", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) }},
		{"304", "GET", "If-None-Match: \"v1\"\n", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Etag", `"v1"`)
			http.ServeContent(w, r, "a.txt", time.Unix(1e9, 0), strings.NewReader("0123456789"))
		}},
		{"a range", "GET", "Range: bytes=2-5\n", func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "a.txt", time.Unix(1e9, 0), strings.NewReader("0123456789"))
		}},
		{"a range that is not there", "GET", "Range: bytes=20-\n", func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "a.txt", time.Unix(1e9, 0), strings.NewReader("0123456789"))
		}},
		{"HEAD", "HEAD", "", func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "a.txt", time.Unix(1e9, 0), strings.NewReader("0123456789"))
		}},
		{"103 before 200", "GET", "", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", "</style.css>; rel=preload; as=style")
			w.WriteHeader(103)
			fmt.Fprint(w, "done")
		}},
		{"100-continue", "POST", "Expect: 100-continue\nContent-Length: 4\n", func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%q", body)
		}},
		{"chunks", "GET", "", func(w http.ResponseWriter, r *http.Request) {
			for i := range 3 {
				fmt.Fprintf(w, "chunk %d\n", i)
				w.(http.Flusher).Flush()
			}
		}},
		{"trailers", "GET", "", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Trailer", "X-Sum")
			fmt.Fprint(w, strings.Repeat("x", 3000))
			w.Header().Set("X-Sum", "42")
		}},
		{"an error", "GET", "", func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", http.StatusTeapot) }},
		{"a redirect", "GET", "", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }},
		{"headers of its own", "GET", "", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "public, max-age=60")
			w.Header().Add("Set-Cookie", "app=1")
			w.Header().Add("X-One", "1")
			w.Header()["x-lower"] = []string{"2"}
			fmt.Fprint(w, "x")
		}},
		{"a file by ReadFrom", "GET", "", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "5000")
			w.(io.ReaderFrom).ReadFrom(io.LimitReader(zeros{}, 5000))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, c.handler, false)
			ask := func(path string) string {
				body := ""
				if c.method == "POST" {
					body = "body"
				}
				return p.raw(t, c.method+" "+path+" HTTP/1.1\nHost: app.test\nSec-Fetch-Mode: cors\nConnection: close\nCookie: "+p.cookies+"\n"+c.header+"\n"+body)
			}
			want := dateLine.ReplaceAllString(ask("/plain"), "")
			if !strings.HasPrefix(want, "HTTP/1.1 ") {
				t.Fatalf("without the middleware: %q", want)
			}
			for _, path := range []string{"/load", "/require"} {
				wire := ask(path)
				if got := dateLine.ReplaceAllString(ownLines.ReplaceAllString(wire, ""), ""); got != ownLines.ReplaceAllString(want, "") {
					t.Errorf("%s answers\n%q\nwant\n%q", path, got, want)
				}
				wantOurLines(t, path, wire, c.name == "headers of its own")
			}
			p.WantCalls(t, msauthtest.TokenRefresh, 1)
		})
	}
}

// wantOurLines checks the lines that come with a new session cookie.
func wantOurLines(t *testing.T, what, wire string, handlersOwn bool) {
	t.Helper()
	// The last block of headers, after those of status 1xx.
	blocks := strings.SplitAfter(wire, "\r\n\r\n")
	head := blocks[0]
	for strings.HasPrefix(head, "HTTP/1.1 1") && len(blocks) > 1 {
		blocks = blocks[1:]
		head = blocks[0]
	}
	for line, want := range map[string]int{"Vary: Cookie\r\n": 1, "cache-control: no-store\r\n": 1, "Set-Cookie: __Host-msauth-": 1} {
		if got := strings.Count(head, line); got != want {
			t.Errorf("%s: %d lines %q, want %d:\n%s", what, got, line, want, head)
		}
	}
	if handlersOwn && !strings.Contains(head, "Cache-Control: public, max-age=60\r\n") {
		t.Errorf("%s: the handler's own Cache-Control is not on the wire:\n%s", what, head)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// What a handler does to Cache-Control does not make a cookie cacheable.
func TestNoStoreOutlivesTheHandler(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		do   func(http.Header)
	}{
		{"Set", func(h http.Header) { h.Set("Cache-Control", "public, max-age=3600") }},
		{"Set in lower case", func(h http.Header) { h.Set("cache-control", "public, max-age=3600") }},
		{"Del", func(h http.Header) { h.Del("Cache-Control") }},
		{"Del in lower case", func(h http.Header) { h.Del("cache-control") }},
		{"Add", func(h http.Header) { h.Add("Cache-Control", "s-maxage=3600") }},
	} {
		for _, http2 := range []bool{false, true} {
			t.Run(fmt.Sprint(c.name, " http2=", http2), func(t *testing.T) {
				t.Parallel()
				p := newPair(t, func(w http.ResponseWriter, r *http.Request) {
					c.do(w.Header())
					fmt.Fprint(w, "x")
				}, http2)
				if !http2 {
					wire := p.raw(t, "GET /require HTTP/1.1\nHost: app.test\nConnection: close\nCookie: "+p.cookies+"\n\n")
					wantOurLines(t, "the answer", wire, false)
					return
				}
				req, _ := http.NewRequest(http.MethodGet, p.plain.URL+"/require", nil)
				req.Header.Set("Cookie", p.cookies)
				res, err := p.plain.Client().Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				if res.ProtoMajor != 2 || len(res.Cookies()) == 0 {
					t.Fatalf("%s, %d cookies", res.Proto, len(res.Cookies()))
				}
				if line := strings.Join(res.Header["Cache-Control"], ", "); !strings.Contains(line, "no-store") {
					t.Errorf("Cache-Control %q, want no-store in it", line)
				}
			})
		}
	}
}

// The new cookie is in the first bytes, and so is each event as it happens.
func TestStreamBeginsWithTheCookie(t *testing.T) {
	t.Parallel()
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprint("http2=", http2), func(t *testing.T) {
			t.Parallel()
			next := make(chan bool)
			p := newPair(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				for i := range 3 {
					fmt.Fprintf(w, "data: %d\n\n", i)
					if err := http.NewResponseController(w).Flush(); err != nil {
						t.Errorf("Flush: %v", err)
					}
					<-next
				}
			}, http2)
			req, _ := http.NewRequest(http.MethodGet, p.plain.URL+"/require", nil)
			req.Header.Set("Cookie", p.cookies)
			req.Header.Set("Accept", "text/event-stream")
			res, err := p.plain.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if len(res.Cookies()) != 1 {
				t.Errorf("%d cookies in the first headers, want the new session", len(res.Cookies()))
			}
			lines := bufio.NewReader(res.Body)
			for i := range 3 { // each is here before the handler goes on
				if line, err := lines.ReadString('\n'); line != fmt.Sprintf("data: %d\n", i) {
					t.Errorf("event %d is %q, %v", i, line, err)
				}
				lines.ReadString('\n')
				next <- true
			}
		})
	}
}
