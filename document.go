package msauth

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	documentStale   = 12 * time.Hour  // then it is fetched anew beside its use
	documentOld     = 24 * time.Hour  // then its users wait for the new one
	documentPause   = 5 * time.Second // after a failure
	documentTimeout = 15 * time.Second
	maxDocument     = 1 << 20 // bytes
)

// A document is something the provider publishes, discovery metadata or keys:
// fetched when first needed, by one request at a time whoever needs it, kept
// for a day, and kept longer when the provider is out of reach.
type document[T any] struct {
	fetch func(context.Context) (T, error)

	flight singleflight.Group
	mu     sync.Mutex
	have   bool
	value  T
	at     time.Time // of the last good fetch
	forced time.Time // when again last fetched
	failed time.Time // of the last failure since
	err    error
}

// get returns the document, at most a day old where that is possible.
func (d *document[T]) get(ctx context.Context) (T, error) {
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
func (d *document[T]) again(ctx context.Context, every time.Duration) (T, error) {
	d.mu.Lock()
	value, lately := d.value, d.have && !d.forced.IsZero() && time.Since(d.forced) < every
	if !lately {
		d.forced = time.Now()
	}
	d.mu.Unlock()
	if lately {
		return value, nil
	}
	return d.renew(ctx)
}

// renew waits for a fetch, its own or the one under way.
func (d *document[T]) renew(ctx context.Context) (T, error) {
	select {
	case r := <-d.start():
		value, _ := r.Val.(T)
		return value, r.Err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

func (d *document[T]) start() <-chan singleflight.Result {
	return d.flight.DoChan("", func() (_ any, err error) {
		defer recoverInto(&err)
		d.mu.Lock()
		failed, last := d.failed, d.err
		d.mu.Unlock()
		if last != nil && time.Since(failed) < documentPause {
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

// getJSON reads a document of at most maxDocument bytes into v.
func getJSON(ctx context.Context, client *http.Client, url string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: HTTP status %d", url, res.StatusCode)
	}
	body, err := readAtMost(res.Body, maxDocument)
	if err != nil {
		return fmt.Errorf("GET %s: %w", url, err)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("GET %s: %w", url, err)
	}
	return nil
}

func readAtMost(r io.Reader, limit int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(body)) > limit {
		return nil, errReplyTooLarge
	}
	return body, nil
}
