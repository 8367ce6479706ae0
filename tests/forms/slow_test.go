package forms_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/tests/testsite"
)

// A pipe is a listener with one connection.
type pipe struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipe) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}
func (p *pipe) Close() error   { close(p.done); return nil }
func (p *pipe) Addr() net.Addr { return &net.TCPAddr{} }

// A body that does not come keeps the answer waiting for 10 seconds, or as long as the
// server itself waits. One that does come takes the time that it takes.
func TestSlowBodies(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		limit time.Duration // the server's own
		pause time.Duration // before the rest of the body, 0 if that never comes
		want  time.Duration
		kept  bool
	}{
		{"never there", 0, 0, 10 * time.Second, false},
		{"never there, impatient server", 3 * time.Second, 0, 3 * time.Second, false},
		{"never there, patient server", time.Minute, 0, time.Minute, false},
		{"late", 0, 9 * time.Second, 9 * time.Second, true},
		{"too late", 0, 11 * time.Second, 10 * time.Second, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				auth, err := msauth.New(testsite.LeastConfig())
				if err != nil {
					t.Fatal(err)
				}
				p := &pipe{make(chan net.Conn, 1), make(chan struct{})}
				server := &http.Server{Handler: auth.Require(http.NotFoundHandler()), ReadTimeout: test.limit}
				ended := make(chan struct{})
				go func() { server.Serve(p); close(ended) }()
				mine, theirs := net.Pipe()
				p.conns <- theirs
				began := time.Now()
				written := make(chan struct{})
				go func() {
					defer close(written)
					io.WriteString(mine, "POST /order HTTP/1.1\r\nHost: app.example.com\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n"+
						"Accept: text/html\r\nContent-Type: "+urlencoded+"\r\nContent-Length: 5\r\n\r\na=1")
					if test.pause > 0 {
						time.Sleep(test.pause)
						io.WriteString(mine, "23")
					}
				}()
				replies := bufio.NewReader(mine)
				res, err := http.ReadResponse(replies, &http.Request{Method: http.MethodPost})
				if err != nil {
					t.Fatal(err)
				}
				took := time.Since(began)
				body, err := io.ReadAll(res.Body)
				if err != nil {
					t.Fatal(err)
				}
				f, ok := formOn(t, string(body))
				if took != test.want || ok != test.kept || ok && f.body() != "a=123" || res.StatusCode != 401 || !strings.Contains(string(body), "not s") {
					t.Errorf("after %v, status %d, kept %t as %q", took, res.StatusCode, ok, f.body())
				}
				if test.kept { // and the connection goes on, for longer than that
					time.Sleep(time.Minute)
					io.WriteString(mine, "GET /auth/session HTTP/1.1\r\nHost: app.example.com\r\n\r\n")
					if res, err := http.ReadResponse(replies, nil); err != nil || res.StatusCode != 403 {
						t.Errorf("the next request: %v, %v", res, err)
					}
				}
				mine.Close()
				server.Close()
				<-ended
				<-written
			})
		})
	}
}
