package requests_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// A WebSocket is a connection that the handler takes over: there is no answer
// for a cookie, so an expired token is renewed in memory and the next request
// gets it.
func TestWebSocketTakesTheConnectionOver(t *testing.T) {
	t.Parallel()
	token := make(chan string, 1)
	p := newPair(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			testsite.Hello(w, r)
			return
		}
		s, _ := msauth.FromContext(r.Context())
		got, err := s.Token(r.Context())
		if err != nil {
			t.Error(err)
			return
		}
		token <- got.AccessToken
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Errorf("Hijack: %v", err)
			return
		}
		defer conn.Close()
		io.WriteString(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		rw.Flush()
		line, _ := rw.ReadString('\n')
		io.WriteString(rw, "echo "+line)
		rw.Flush()
	}, false)
	p.MS.Set(func(b *msauthtest.Behavior) { b.Rotation = msauthtest.RotateStrict })
	conn := p.dial(t)
	defer conn.Close()
	fmt.Fprintf(conn, "GET /require HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nCookie: %s\r\n\r\n", p.cookies)
	in := bufio.NewReader(conn)
	var head []string
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line == "\r\n" {
			break
		}
		head = append(head, line)
	}
	if len(head) != 3 || head[0] != "HTTP/1.1 101 Switching Protocols\r\n" {
		t.Errorf("the answer begins with %q, want the handler's own lines", head)
	}
	io.WriteString(conn, "over the wire\n")
	if line, err := in.ReadString('\n'); line != "echo over the wire\n" {
		t.Errorf("%q, %v", line, err)
	}
	p.WantCalls(t, msauthtest.TokenRefresh, 1)

	req, _ := http.NewRequest(http.MethodGet, p.plain.URL+"/require?token", nil)
	req.Header.Set("Cookie", p.cookies)
	res, err := p.plain.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	if same := string(body) == <-token; !same || len(res.Cookies()) != 1 {
		t.Errorf("the next request: %d cookies, the same token as the WebSocket %t", len(res.Cookies()), same)
	}
	p.WantCalls(t, msauthtest.TokenRefresh, 1)
}

// A page that opens a WebSocket, or any other Upgrade, with a token that is
// merely due gets it as it is.
func TestUpgradeDoesNotRenewATokenThatIsGood(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := testsite.RenewingOffice(t)
		v := o.SignIn()
		time.Sleep(testsite.BeforeExpiry)
		got := v.Fetch("/", "Connection", "Upgrade", "Upgrade", "websocket")
		if got.Status != http.StatusOK || len(got.Header["Set-Cookie"]) > 0 {
			t.Errorf("status %d, cookies %q", got.Status, got.Header["Set-Cookie"])
		}
		o.WantCalls(msauthtest.TokenRefresh, 0)
	})
}

func TestResponseControllerReachesTheConnection(t *testing.T) {
	t.Parallel()
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprint("http2=", http2), func(t *testing.T) {
			t.Parallel()
			results := make(chan map[string]error, 2)
			p := newPair(t, func(w http.ResponseWriter, r *http.Request) {
				c := http.NewResponseController(w)
				_, flusher := w.(http.Flusher)
				_, readerFrom := w.(io.ReaderFrom)
				_, hijacker := w.(http.Hijacker)
				_, pusher := w.(http.Pusher)
				results <- map[string]error{
					"read deadline":  c.SetReadDeadline(time.Now().Add(time.Minute)),
					"write deadline": c.SetWriteDeadline(time.Now().Add(time.Minute)),
					"full duplex":    c.EnableFullDuplex(),
					"interfaces":     fmt.Errorf("%t %t %t %t %T", flusher, readerFrom, hijacker, pusher, w),
				}
			}, http2)
			seen := map[string]map[string]error{}
			for _, path := range []string{"/plain", "/require"} {
				req, _ := http.NewRequest(http.MethodGet, p.plain.URL+path, nil)
				req.Header.Set("Cookie", p.cookies)
				res, err := p.plain.Client().Do(req)
				if err != nil {
					t.Fatal(err)
				}
				res.Body.Close()
				seen[path] = <-results
			}
			for what, want := range seen["/plain"] {
				if got := seen["/require"][what]; fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("%s: %v, without the middleware %v", what, got, want)
				}
			}
		})
	}
}

// The answer is on its way while the request is still coming in.
func TestFullDuplex(t *testing.T) {
	t.Parallel()
	p := newPair(t, func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		c.EnableFullDuplex()
		lines := bufio.NewReader(r.Body)
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			fmt.Fprint(w, "got ", line)
			c.Flush()
		}
	}, false)
	body, feed := io.Pipe()
	req, _ := http.NewRequest(http.MethodPost, p.plain.URL+"/require", body)
	req.Header.Set("Cookie", p.cookies)
	go io.WriteString(feed, "one\n")
	res, err := p.plain.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewReader(res.Body)
	for _, word := range []string{"one", "two", "three"} {
		if word != "one" {
			io.WriteString(feed, word+"\n")
		}
		if line, err := lines.ReadString('\n'); line != "got "+word+"\n" {
			t.Fatalf("%q, %v", line, err)
		}
	}
	feed.Close()
}

// Panics are the app's own: they are neither caught nor changed, and leave no
// lock behind.
func TestPanicOfAHandlerPassesThrough(t *testing.T) {
	t.Parallel()
	for _, value := range []any{"boom", errors.New("boom"), http.ErrAbortHandler} {
		for _, path := range []string{"/load", "/require"} {
			t.Run(fmt.Sprint(value, path), func(t *testing.T) {
				t.Parallel()
				p := newPair(t, func(w http.ResponseWriter, r *http.Request) {
					if r.Header.Get("Panic") == "" {
						testsite.Hello(w, r)
						return
					}
					panic(value)
				}, false)
				var caught any
				func() {
					defer func() { caught = recover() }()
					r := httptest.NewRequest(http.MethodGet, path, nil)
					r.Header.Set("Cookie", p.cookies)
					r.Header.Set("Panic", "yes")
					p.plain.Config.Handler.ServeHTTP(httptest.NewRecorder(), r)
				}()
				if caught != value {
					t.Errorf("panic %v came out as %v", value, caught)
				}
				if wire := p.raw(t, "GET "+path+" HTTP/1.1\nHost: app.test\nPanic: yes\nConnection: close\nCookie: "+p.cookies+"\n\n"); wire != "" {
					t.Errorf("the connection gave %q, want it cut", wire)
				}
				// The renewal that the panicking request made is not lost.
				wire := p.raw(t, "GET "+path+" HTTP/1.1\nHost: app.test\nConnection: close\nCookie: "+p.cookies+"\n\n")
				if !strings.Contains(wire, testsite.HelloAda) || !strings.Contains(wire, "Set-Cookie") {
					t.Errorf("the next request: %q", wire)
				}
				p.WantCalls(t, msauthtest.TokenRefresh, 1)
			})
		}
	}
}

// A reverse proxy behind the middleware passes everything on.
func TestBodiesPassUnchanged(t *testing.T) {
	t.Parallel()
	p := newPair(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }, true)
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MB
	req, _ := http.NewRequest(http.MethodPost, p.plain.URL+"/require", bytes.NewReader(sent))
	req.Header.Set("Cookie", p.cookies)
	res, err := p.plain.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes came back, %v, want the %d that were sent", len(got), err, len(sent))
	}
}

// A thousand requests on each protocol, with a token that has just run out.
func TestManyRequestsOnBothProtocols(t *testing.T) {
	t.Parallel()
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprint("http2=", http2), func(t *testing.T) {
			t.Parallel()
			p := newPair(t, testsite.Hello, http2)
			p.MS.Set(func(b *msauthtest.Behavior) { b.Rotation = msauthtest.RotateStrict })
			client := p.plain.Client()
			var wg sync.WaitGroup
			for worker := range 20 {
				wg.Go(func() {
					for i := range 50 {
						path := []string{"/load", "/require", "/plain", "/require?token"}[(worker+i)%4]
						req, _ := http.NewRequest(http.MethodGet, p.plain.URL+path, nil)
						req.Header.Set("Cookie", p.cookies)
						res, err := client.Do(req)
						if err != nil {
							t.Error(err)
							return
						}
						body, _ := io.ReadAll(res.Body)
						res.Body.Close()
						switch path {
						case "/plain":
							if string(body) != "hello nobody" {
								t.Errorf("%s: %q", path, body)
							}
						case "/require?token":
							if res.StatusCode != http.StatusOK {
								t.Errorf("%s: %s %q", path, res.Status, body)
							}
						default:
							if string(body) != testsite.HelloAda {
								t.Errorf("%s: %s %q", path, res.Status, body)
							}
						}
					}
				})
			}
			wg.Wait()
			p.WantCalls(t, msauthtest.TokenRefresh, 1)
		})
	}
}
