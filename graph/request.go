package graph

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"time"
)

const (
	// attemptTime bounds one request and its answer, where that is a document.
	attemptTime = 30 * time.Second
	// longestWait bounds what a call waits in all because it was asked to, or
	// before it is repeated, and mostRepeats how often.
	longestWait = 1 * time.Minute
	mostRepeats = 5
	// longestStep bounds what is waited before a repeat that nobody has timed.
	longestStep = 16 * time.Second

	maxDocument   = 8 << 20 // bytes of a JSON document
	maxElements   = 100_000 // of all lists in it
	mostRedirects = 5       // from one storage host to another
)

var (
	errManyRedirects    = errors.New("too many redirects")
	errInsecureRedirect = errors.New("a redirect to a URL that is not https")
	errOver             = errors.New("the request is over")
	errManyElements     = errors.New("the answer has more than 100,000 elements")
	errDocumentTooLarge = errors.New("the answer is larger than 8 MiB")
)

// A repeatRule says when a request may be sent again. One that was refused with
// 429 has not been processed and always may. Of others it is not known.
type repeatRule int

const (
	ifRefused repeatRule = iota // after 429
	ifFailed                    // after 503 and its like too: twice does what once does (RFC 9110 section 9.2.2)
)

// allows reports whether a request may be sent again after a status.
func (rule repeatRule) allows(status int) bool {
	switch status {
	case http.StatusTooManyRequests:
		return true
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, 509:
		return rule == ifFailed
	}
	return false
}

// ruleOf returns the rule of a method.
func ruleOf(method string) repeatRule {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete:
		return ifFailed
	}
	return ifRefused
}

// A request is one to Graph or to a storage host. Its body is in memory, so that
// it can be sent again.
type request struct {
	op     string // for errors
	method string
	url    *url.URL
	header http.Header
	body   []byte
	sized  bool          // a body that is empty is sent as such
	time   time.Duration // of one attempt; attemptTime if 0
	repeat repeatRule
	found  bool // status 302 and 303 are answers, not errors

	sent *sending // the last attempt's body
}

func (r *request) http(ctx context.Context) (*http.Request, error) {
	var body io.Reader
	if r.sized || len(r.body) > 0 {
		body = bytes.NewReader(r.body) // with GetBody and Content-Length
	}
	req, err := http.NewRequestWithContext(ctx, r.method, r.url.String(), body)
	if err != nil {
		return nil, &InvalidError{Field: "path", Reason: "makes no URL"}
	}
	if req.Body != nil && req.Body != http.NoBody {
		sent := &sending{}
		r.sent, req.Body = sent, sent.reader(r.body)
		req.GetBody = func() (io.ReadCloser, error) { return sent.reader(r.body), nil }
	}
	for name, values := range r.header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	return req, nil
}

// A sending is the body of one attempt. A RoundTripper may go on reading it when
// it has returned, where the host has answered early, and the bytes are a chunk of
// which the buffer is used again: once the attempt is over, they are not touched.
type sending struct {
	mu   sync.Mutex
	over bool
}

func (s *sending) end() {
	if s != nil {
		s.mu.Lock()
		s.over = true
		s.mu.Unlock()
	}
}

func (s *sending) reader(body []byte) io.ReadCloser { return &sentBody{s, body} }

type sentBody struct {
	*sending
	rest []byte
}

func (b *sentBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.over:
		return 0, errOver
	case len(b.rest) == 0:
		return 0, io.EOF
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

func (b *sentBody) Close() error { return nil }

// failed is the error of a request without an answer. A *url.Error is left out:
// it contains the URL, which may be a secret.
func (r *request) failed(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return &callError{r.op, cause}
	}
	for {
		e, ok := err.(*url.Error)
		if !ok {
			return &callError{r.op, err}
		}
		err = e.Err
	}
}

// A callError says which call has failed, of an error that is not Graph's.
type callError struct {
	op  string
	err error
}

func (e *callError) Error() string { return "graph: " + e.op + ": " + e.err.Error() }
func (e *callError) Unwrap() error { return e.err }

// ended returns the cause of the end of ctx or, if it has not ended, err.
func ended(ctx context.Context, op string, err error) error {
	if ctx.Err() != nil {
		return &callError{op, context.Cause(ctx)}
	}
	return err
}

// refused reads an answer that is an error.
func (r *request) refused(res *http.Response) *Error {
	body, _ := io.ReadAll(io.LimitReader(res.Body, maxErrorBody))
	return refusal(r.op, res.StatusCode, res.Header, body)
}

// document sends a request to Graph, repeats it where that may help, and returns
// the answer's document and its header. The document is empty if there is none.
func (c *Client) document(ctx context.Context, client *http.Client, r *request) (*http.Response, []byte, error) {
	return c.documentWithin(ctx, client, r, &waiting{})
}

// documentWithin is document for a call that may have waited already.
func (c *Client) documentWithin(ctx context.Context, client *http.Client, r *request, waits *waiting) (*http.Response, []byte, error) {
	for {
		res, body, err := c.attempt(ctx, client, r)
		if err == nil {
			return res, body, nil
		}
		if !waits.again(ctx, r.repeat, err) {
			return nil, nil, ended(ctx, r.op, err)
		}
	}
}

// attempt sends a request once.
func (c *Client) attempt(ctx context.Context, client *http.Client, r *request) (*http.Response, []byte, error) {
	within, cancel := context.WithTimeout(ctx, cmp.Or(r.time, attemptTime))
	defer cancel()
	defer func() { r.sent.end() }()
	res, err := c.roundTrip(within, client, r)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	if res.ContentLength > maxDocument {
		return nil, nil, unreadable(r.op, res, errDocumentTooLarge)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxDocument+1))
	switch {
	case err != nil && within.Err() != nil:
		return nil, nil, &callError{r.op, context.Cause(within)}
	case err != nil:
		return nil, nil, unreadable(r.op, res, err)
	case len(body) > maxDocument:
		return nil, nil, unreadable(r.op, res, errDocumentTooLarge)
	}
	return res, body, nil
}

// decode reads a document into v. A *struct{} takes anything.
func decode(op string, res *http.Response, body []byte, v any) error {
	if _, ok := v.(*struct{}); ok {
		return nil
	}
	if len(bytes.TrimSpace(body)) == 0 {
		if res.StatusCode == http.StatusNoContent || res.StatusCode == http.StatusAccepted {
			return nil
		}
		return unreadable(op, res, errEmpty)
	}
	if elements(body) > maxElements {
		return unreadable(op, res, errManyElements)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return unreadable(op, res, err)
	}
	return nil
}

// elements counts the elements of all lists in a document: an element of two bytes
// may become a struct of hundreds.
func elements(doc []byte) (n int) {
	var lists []bool // whether each of those that are open is a list, and not an object
	text := false
	for i := 0; i < len(doc); i++ {
		switch c := doc[i]; {
		case text && c == '\\':
			i++
		case c == '"':
			text = !text
		case text:
		case c == '[' || c == '{':
			lists = append(lists, c == '[')
			if c == '[' {
				n++
			}
		case (c == ']' || c == '}') && len(lists) > 0:
			lists = lists[:len(lists)-1]
		case c == ',' && len(lists) > 0 && lists[len(lists)-1]:
			n++
		}
	}
	return n
}

// A waiting is what one call has waited so far.
type waiting struct {
	times   int
	total   time.Duration
	patient bool // a transfer: only the time counts, not how often
}

// retryAfter returns how long an answer asks to wait; e may be nil.
func retryAfter(e *Error) time.Duration {
	if e == nil {
		return 0
	}
	return e.RetryAfter
}

// again waits before a request is repeated. It reports false if it must not be,
// or if waiting takes too long.
func (w *waiting) again(ctx context.Context, rule repeatRule, err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && rule.allows(e.Status) && w.pause(ctx, e.RetryAfter)
}

// pause waits for at least the time that was asked for, or for one that grows with
// each pause; with jitter, so that those who were refused together do not come
// back together.
func (w *waiting) pause(ctx context.Context, asked time.Duration) bool {
	wait := asked
	if wait == 0 {
		wait = min(500*time.Millisecond<<w.times, longestStep)
	}
	wait += rand.N(min(wait/4, 5*time.Second) + 1) // #nosec G404 -- jitter
	deadline, bounded := ctx.Deadline()
	if w.times == mostRepeats && !w.patient || w.total+wait > longestWait || bounded && time.Until(deadline) < wait {
		return false
	}
	w.times, w.total = w.times+1, w.total+wait
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
