package outside

import (
	"cmp"
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"example.com/msauth/internal/web"
)

// A phase is how far a request came.
type phase int32

const (
	resolving phase = iota
	connecting
	handshaking
	waiting // for the answer
)

// A tracer is a transport that notes how far each request came, and what the server's
// clock says.
type tracer struct {
	base     *http.Transport
	patience time.Duration

	mu     sync.Mutex
	offset time.Duration // of the server's clock to this machine's
	dated  bool
}

func newTracer(n Network) *tracer {
	return &tracer{base: n.Transport, patience: cmp.Or(n.Patience, Patience)}
}

// client returns a client with the tracer, which follows no redirect. The tracer limits
// the time of a request: if the client did, its error would not say how far that came.
func (t *tracer) client() *http.Client {
	return &http.Client{Transport: t, CheckRedirect: web.FollowNothing}
}

// A tripError is why a request got no answer.
type tripError struct {
	error
	at    phase
	proxy string // host of the proxy that was asked; "" if none was
}

func (e *tripError) Unwrap() error { return e.error }

func (t *tracer) RoundTrip(r *http.Request) (*http.Response, error) {
	var at atomic.Int32
	reached := func(p phase) { at.Store(max(at.Load(), int32(p))) }
	began := time.Now()
	ctx, cancel := context.WithTimeout(r.Context(), t.patience)
	res, err := t.base.RoundTrip(r.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		ConnectStart:      func(string, string) { reached(connecting) },
		TLSHandshakeStart: func() { reached(handshaking) },
		TLSHandshakeDone: func(_ tls.ConnectionState, err error) {
			if err == nil {
				reached(waiting)
			}
		},
		GotConn: func(httptrace.GotConnInfo) { reached(waiting) },
	})))
	if err != nil {
		cancel()
		return nil, &tripError{err, phase(at.Load()), t.proxyOf(r)}
	}
	t.note(res, began, time.Now())
	res.Body = &limitedBody{res.Body, cancel}
	return res, nil
}

// A limitedBody ends the time limit of its request when it is closed.
type limitedBody struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (b *limitedBody) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}

func (t *tracer) proxyOf(r *http.Request) string {
	if t.base.Proxy == nil {
		return ""
	}
	u, err := t.base.Proxy(r)
	if err != nil || u == nil {
		return ""
	}
	return u.Host
}

// note reads the clock of the server. A cached answer has an old date.
func (t *tracer) note(res *http.Response, sent, got time.Time) {
	date, err := http.ParseTime(res.Header.Get("Date"))
	if err != nil || res.Header.Get("Age") != "" {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dated {
		return
	}
	t.dated = true
	switch early, late := date.Add(time.Second).Sub(sent), date.Sub(got); { // a date is cut to seconds
	case early < 0:
		t.offset = early
	case late > 0:
		t.offset = late
	}
}

// get makes a GET request and reads at most a megabyte of the answer.
func get(ctx context.Context, client *http.Client, address string, header http.Header) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, nil, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	body, err := web.ReadAtMost(res.Body, 1<<20)
	return res, body, err
}

// sameOrigin reports whether two URLs are of one origin.
func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && web.HostPort(a) == web.HostPort(b)
}
