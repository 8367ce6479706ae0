package graph

import (
	"context"
	"io"
	"net/http"
	"time"
)

// A Stream is content that is read as it comes. It must be closed.
type Stream struct {
	io.ReadCloser
	ContentType string
	Length      int64 // in bytes, -1 if unknown
}

// open sends a request to Graph whose answer is read as it comes. Where Graph
// refers to a storage host, that is asked, without the token.
func (c *Client) open(ctx context.Context, r *request) (*http.Response, error) {
	r.found = true
	res, err := c.streamed(ctx, c.api, r)
	if err != nil || res.StatusCode < 300 {
		return res, err
	}
	res.Body.Close()
	u, err := c.storageURL(res.Header.Get("Location"))
	if err != nil {
		return nil, err
	}
	return c.streamed(ctx, c.storage, &request{op: r.op, method: http.MethodGet, url: u, header: identity(), repeat: ifFailed})
}

// identity asks for content as it is.
func identity() http.Header { return http.Header{"Accept-Encoding": {"identity"}} }

// streamed sends a request, repeats it where that may help, and returns an answer
// whose body can be read until ctx is done.
func (c *Client) streamed(ctx context.Context, client *http.Client, r *request) (*http.Response, error) {
	var waits waiting
	for {
		res, err := c.begin(ctx, client, r)
		if err == nil {
			return res, nil
		}
		if !waits.again(ctx, r.repeat, err) {
			return nil, ended(ctx, r.op, err)
		}
	}
}

// begin sends a request once. An answer must begin within attemptTime, and its
// body must not pause for longer than stallTime.
func (c *Client) begin(ctx context.Context, client *http.Client, r *request) (*http.Response, error) {
	within, cancel := context.WithCancelCause(ctx)
	watch := time.AfterFunc(attemptTime, func() { cancel(context.DeadlineExceeded) })
	res, err := c.roundTrip(within, client, r)
	if err != nil {
		watch.Stop()
		cancel(nil)
		return nil, err
	}
	watch.Stop()
	res.Body = &watchedBody{res.Body, watch, cancel}
	return res, nil
}

// stallTime is how long a body may pause.
const stallTime = 1 * time.Minute

// A watchedBody is a body that is given up if it pauses for too long.
type watchedBody struct {
	io.ReadCloser
	watch  *time.Timer
	cancel context.CancelCauseFunc
}

func (b *watchedBody) Read(p []byte) (int, error) {
	b.watch.Reset(stallTime)
	n, err := b.ReadCloser.Read(p)
	b.watch.Stop() // its reader may be slow
	return n, err
}

func (b *watchedBody) Close() error {
	b.watch.Stop()
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}
