package graph_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/msauth/graph"
)

// A sent is a request as Graph sees it.
type sent struct {
	method, uri, body string
	header            http.Header
	at                time.Time
}

type answerFunc func(sent) *http.Response

// A wire answers requests without a network, so that it works in a bubble of
// testing/synctest, and keeps them. The last answer is that to all that follow.
type wire struct {
	mu      sync.Mutex
	answers []answerFunc
	got     []sent
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
		r.Body.Close()
	}
	s := sent{r.Method, r.URL.RequestURI(), string(body), r.Header.Clone(), time.Now()}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.got = append(w.got, s)
	res := w.answers[min(len(w.got), len(w.answers))-1](s)
	if res == nil {
		return nil, errConnection
	}
	res.Request = r
	return res, nil
}

var errConnection = errors.New("the connection is lost")

// reply is an answer with a document, and with header fields in pairs of name and
// value.
func reply(status int, body string, header ...string) answerFunc {
	return func(sent) *http.Response {
		w := httptest.NewRecorder()
		for i := 0; i < len(header); i += 2 {
			w.Header().Add(header[i], header[i+1])
		}
		w.WriteHeader(status)
		w.WriteString(body)
		return w.Result()
	}
}

func lost(sent) *http.Response { return nil }

const base = "https://graph.example/v1.0"

// clientOf returns a client whose requests are answered so.
func clientOf(answers ...answerFunc) (*graph.Client, *wire) {
	w := &wire{answers: answers}
	return graph.New(&http.Client{Transport: w}, base), w
}

// serve returns a client of a real server.
func serve(t testing.TB, handler http.HandlerFunc) *graph.Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return graph.New(server.Client(), server.URL+"/v1.0")
}

// wantError checks that err is an Error with this status and code.
func wantError(t *testing.T, err error, status int, code string) *graph.Error {
	t.Helper()
	e, ok := errors.AsType[*graph.Error](err)
	if !ok || e.Status != status || e.Code != code {
		t.Fatalf("error %v, want status %d and code %q", err, status, code)
	}
	return e
}

// wantInvalid checks that err is an InvalidError whose reason has this text.
func wantInvalid(t *testing.T, err error, field, reason string) {
	t.Helper()
	e, ok := errors.AsType[*graph.InvalidError](err)
	if !ok || e.Field != field || reason == "" || !strings.Contains(e.Reason, reason) {
		t.Errorf("error %v, want an invalid %s that %s", err, field, reason)
	}
}

// endless is a body that never ends.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	e.read += len(p)
	return len(p), nil
}
func (e *endless) Close() error { return nil }
