package msauthtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing/iotest"
)

// Transport returns an [http.RoundTripper] that calls the handler in process,
// without a network. It can be used in a testing/synctest bubble: the handler
// runs in the caller's goroutine, starts no others, and waits only for timers
// and the request's context. Requests to other hosts fail, except to the
// standard names of [Server.B2C] and [Server.ExternalID], and to login.live.com.
// The body of a response is held in memory. One that is shorter than its
// Content-Length ends in [io.ErrUnexpectedEOF].
//
//	client := &http.Client{Transport: ms.Transport(), Timeout: 10 * time.Second}
func (s *Server) Transport() http.RoundTripper { return transport{s} }

type transport struct{ s *Server }

// stockKey is the context key of the standard name that an in-process request
// was sent to. Requests from a network do not have it.
type stockKey struct{}

// directKey is the context key of in-process requests.
type directKey struct{}

// inProcess reports whether a request was sent to a standard name in process.
func inProcess(r *http.Request) bool { return r.Context().Value(stockKey{}) != nil }

// origin returns the origin that the provider was reached at.
func (s *Server) origin(r *http.Request) string {
	if origin, ok := r.Context().Value(stockKey{}).(string); ok {
		return origin
	}
	if atLive(r) {
		return liveOrigin
	}
	return s.URL
}

var errCut = errors.New("connection cut without an answer")

func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		defer req.Body.Close()
	}
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	origin := req.URL.Scheme + "://" + strings.ToLower(req.URL.Host)
	stock := origin == b2cOrigin || origin == externalOrigin || origin == externalIDOrigin || origin == liveOrigin
	if origin != t.s.URL && origin != t.s.otherURL && !stock {
		return nil, fmt.Errorf("msauthtest: no such host: %s", req.URL.Host)
	}
	if t.s.closed.Load() {
		return nil, errors.New("msauthtest: connection refused: the server is closed")
	}
	ctx := context.WithValue(req.Context(), directKey{}, true)
	if stock {
		ctx = context.WithValue(ctx, stockKey{}, origin)
	}
	in := req.Clone(ctx)
	in.RequestURI = req.URL.RequestURI()
	in.RemoteAddr = "127.0.0.1:1"
	if in.Host == "" {
		in.Host = req.URL.Host
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	if in.Header == nil {
		in.Header = http.Header{}
	}
	var rec recorder
	cut := t.serve(&rec, in)
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	if cut {
		return nil, fmt.Errorf("msauthtest: %w: %w", errCut, io.ErrUnexpectedEOF)
	}
	rec.WriteHeader(http.StatusOK)
	body := rec.body.Bytes()
	if req.Method == http.MethodHead {
		body = nil
	}
	length := int64(len(body))
	if text := rec.sent.Get("Content-Length"); text != "" {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			length = n
		}
	}
	var rest io.Reader = strings.NewReader(string(body))
	if length > int64(len(body)) && req.Method != http.MethodHead {
		rest = io.MultiReader(rest, iotest.ErrReader(io.ErrUnexpectedEOF)) // as a connection does
	}
	return &http.Response{
		Status:        strconv.Itoa(rec.status) + " " + http.StatusText(rec.status),
		StatusCode:    rec.status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        rec.sent,
		Body:          io.NopCloser(rest),
		ContentLength: length,
		Request:       req,
	}, nil
}

// serve calls the handler and reports whether it aborted the connection.
func (t transport) serve(w http.ResponseWriter, r *http.Request) (cut bool) {
	defer func() {
		if v := recover(); v != nil {
			if v != http.ErrAbortHandler {
				panic(v)
			}
			cut = true
		}
	}()
	t.s.ServeHTTP(w, r)
	return false
}
