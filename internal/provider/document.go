package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"example.com/msauth/internal/web"
	"golang.org/x/sync/singleflight"
)

const (
	documentStale   = 12 * time.Hour  // then it is fetched anew beside its use
	documentOld     = 24 * time.Hour  // then its users wait for the new one
	documentPause   = 5 * time.Second // after a failure
	documentTimeout = 15 * time.Second
	maxDocument     = 1 << 20 // bytes
)

// A Document is something the provider publishes, discovery metadata or keys:
// fetched when first needed, by one request at a time whoever needs it, kept
// for a day, and kept longer when the provider is out of reach.
type Document[T any] struct {
	fetch    func(context.Context) (T, error)
	patience time.Duration // after a refusal, where that is not documentPause

	flight singleflight.Group
	mu     sync.Mutex
	have   bool
	value  T
	at     time.Time // of the last good fetch
	forced time.Time // when again last fetched
	failed time.Time // of the last failure since
	err    error
}

// Get returns the document, at most a day old where that is possible.
func (d *Document[T]) Get(ctx context.Context) (T, error) {
	d.mu.Lock()
	value, have, age := d.value, d.have, time.Since(d.at)
	d.mu.Unlock()
	switch {
	case have && age < documentStale:
		return value, nil
	case have && age < documentOld:
		d.start()
		return value, nil
	}
	fresh, err := d.renew(ctx)
	if err != nil && have {
		return value, nil
	}
	return fresh, err
}

// again fetches the document anew, at most once in every; in between it
// returns the one at hand.
func (d *Document[T]) again(ctx context.Context, every time.Duration) (T, error) {
	d.mu.Lock()
	value, lately := d.value, d.have && !d.forced.IsZero() && time.Since(d.forced) < every
	d.mu.Unlock()
	if lately {
		return value, nil
	}
	fresh, err := d.renew(ctx)
	if err == nil {
		d.mu.Lock()
		d.forced = time.Now()
		d.mu.Unlock()
	}
	return fresh, err
}

// last returns the document at hand, without asking anybody.
func (d *Document[T]) last() T {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.value
}

// age is how long ago the document was last fetched.
func (d *Document[T]) age() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Since(d.at)
}

// renew waits for a fetch, its own or the one under way.
func (d *Document[T]) renew(ctx context.Context) (T, error) {
	select {
	case r := <-d.start():
		value, _ := r.Val.(T)
		return value, r.Err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

func (d *Document[T]) start() <-chan singleflight.Result {
	return d.flight.DoChan("", func() (_ any, err error) {
		defer RecoverInto(&err)
		d.mu.Lock()
		failed, last := d.failed, d.err
		d.mu.Unlock()
		pause := documentPause
		if refusal, ok := errors.AsType[*Failure](last); ok && refusal.Class == Misconfigured {
			pause = max(pause, d.patience)
		}
		if last != nil && time.Since(failed) < pause {
			return d.value, last
		}
		// Not the visitor's context: others wait for the same answer.
		ctx, cancel := context.WithTimeout(context.Background(), documentTimeout)
		defer cancel()
		value, err := d.fetch(ctx)
		d.mu.Lock()
		defer d.mu.Unlock()
		if err != nil {
			d.failed, d.err = time.Now(), err
			return value, err
		}
		d.have, d.value, d.at, d.err = true, value, time.Now(), nil
		return value, nil
	})
}

// A documentFault is why a document could not be had: the text as it has always
// been logged, and below it what callers branch on.
type documentFault struct {
	text  string
	fault *Failure
}

func (e *documentFault) Error() string { return e.text }

func (e *documentFault) Unwrap() error { return e.fault }

// wrapFault puts what was wanted before the text of a fault.
func wrapFault(what string, err error) error {
	if e, ok := errors.AsType[*documentFault](err); ok {
		return &documentFault{what + ": " + e.text, e.fault}
	}
	return fmt.Errorf("%s: %w", what, err)
}

// refusedDocument is the fault of a document that was read and cannot be used:
// a matter of configuration, the app's or the provider's.
func refusedDocument(what, where string, reason error) error {
	return &documentFault{
		fmt.Sprintf("msauth: %s at %s: %v", what, where, reason),
		&Failure{Class: Misconfigured, StatusCode: http.StatusOK, Err: reason},
	}
}

// getJSON reads a document of at most maxDocument bytes, a JSON object. Its
// error is a documentFault.
func getJSON(ctx context.Context, client *http.Client, url string) (claims, error) {
	fault := func(e *Failure) (claims, error) {
		text := "GET " + url + ": "
		switch {
		case e.Code != "":
			text += fmt.Sprintf("HTTP status %d: %s: %s", e.StatusCode, e.Code, e.Description)
		case e.Err != nil:
			text += e.Err.Error()
		default:
			text += fmt.Sprintf("HTTP status %d", e.StatusCode)
		}
		return nil, &documentFault{text + remedy(e.Numbers), e}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, &documentFault{err.Error(), &Failure{Class: Misconfigured, Err: err}}
	}
	req.Header.Set("Accept", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return nil, &documentFault{err.Error(), &Failure{Class: Retry, Err: err}}
	}
	defer res.Body.Close()
	body, err := ReadAtMost(res.Body, maxDocument)
	var c claims
	isObject := err == nil && json.Unmarshal(body, &c) == nil && c != nil
	if res.StatusCode != http.StatusOK {
		return fault(documentRefusal(res, c))
	}
	if err != nil {
		return fault(&Failure{Class: Retry, StatusCode: res.StatusCode, Err: err})
	}
	if !isObject {
		return fault(&Failure{Class: Retry, StatusCode: res.StatusCode, Err: notJSON(res, body)})
	}
	return c, nil
}

// documentRefusal is an answer with another status than 200. Entra refuses
// discovery of a tenant that is not there with the body of an OAuth error.
func documentRefusal(res *http.Response, body claims) *Failure {
	e := authErrorFrom(res, body)
	switch status := res.StatusCode; {
	case status == http.StatusTooManyRequests, status == http.StatusRequestTimeout, status >= 500:
		e.Class = Retry
	case redirects(res) && e.Code == "":
		e.Class, e.Err = Misconfigured, fmt.Errorf("HTTP status %d: %w", status, errRedirects)
	default:
		e.Class = Misconfigured
	}
	return e
}

// notJSON says what came in place of JSON: what answers so is seldom the
// provider.
func notJSON(res *http.Response, body []byte) error {
	const who = "not JSON: does a proxy or a captive portal stand between this server and the provider?"
	if len(bytes.TrimSpace(body)) == 0 {
		return errors.New("nothing, " + who)
	}
	kind := web.OneLine(res.Header.Get("Content-Type"), 100)
	if kind == "" {
		kind = "no content type"
	}
	if json.Valid(body) {
		return fmt.Errorf("%s, not JSON of the kind that is wanted, an object", kind)
	}
	return fmt.Errorf("%s, %s", kind, who)
}

func ReadAtMost(r io.Reader, limit int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(body)) > limit {
		return nil, errReplyTooLarge
	}
	return body, nil
}

// RecoverInto turns a panic into an error.
func RecoverInto(err *error) {
	if p := recover(); p != nil {
		*err = &Failure{Class: Retry, Err: fmt.Errorf("panic: %v", p)}
	}
}
