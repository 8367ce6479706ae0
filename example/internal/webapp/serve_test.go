package webapp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// When it is to end, a server takes no connections any more, lets requests finish, and
// then ends what goes on behind them.
func TestEndOfAServer(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	under, release := make(chan struct{}), make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(under)
		<-release
		io.WriteString(w, "whole")
	})
	finished, calls := false, 0
	end := func(ctx context.Context) error {
		calls++
		if until, ok := ctx.Deadline(); !finished || !ok || time.Until(until) < 15*time.Second {
			t.Errorf("requests finished: %t; the deadline is %v", finished, until)
		}
		return errors.New("something was left")
	}
	ctx, stop := context.WithCancel(t.Context())
	var out bytes.Buffer
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, listener, handler, end, &out, slog.New(slog.DiscardHandler)) }()
	answered := make(chan string)
	go func() {
		res, err := http.Get("http://" + listener.Addr().String())
		if err != nil {
			t.Error(err)
			close(answered)
			return
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		answered <- string(body)
	}()
	<-under
	stop()
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			break
		}
		conn.Close()
		if time.Since(began) > 10*time.Second {
			t.Fatal("it takes connections all the time")
		}
	}
	finished = true
	close(release)
	if body := <-answered; body != "whole" {
		t.Errorf("the answer is %q", body)
	}
	if err := <-ended; err == nil || err.Error() != "something was left" || calls != 1 || out.String() != "Stopping.\n" {
		t.Errorf("%v after %d calls, printed %q", err, calls, &out)
	}
}

// broken is a listener that fails.
type broken struct{ net.Listener }

var errBroken = errors.New("broken")

func (broken) Accept() (net.Conn, error) { return nil, errBroken }
func (broken) Close() error              { return nil }
func (broken) Addr() net.Addr            { return &net.TCPAddr{} }

// What goes on behind requests is ended too when the server fails. What does not end is
// given up after 20 seconds.
func TestServerThatFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		end := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		err := Serve(t.Context(), broken{}, http.NotFoundHandler(), end, io.Discard, slog.New(slog.DiscardHandler))
		if !errors.Is(err, errBroken) || !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != closeTime {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}
