package provider

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	documentStale   = 12 * time.Hour   // from this age it is fetched in the background
	documentOld     = 24 * time.Hour   // from this age get waits for a new one
	documentPause   = 5 * time.Second  // after a failed fetch
	documentTimeout = 15 * time.Second // of one fetch
)

// A document is something that the provider publishes: discovery metadata or
// signing keys. It is fetched when it is first needed, with one request for all
// who wait. It is kept for a day, and longer while the provider is unavailable.
type document[T any] struct {
	fetch        func(context.Context) (T, error)
	refusalPause time.Duration // after the provider refuses; documentPause if that is longer

	flight      singleflight.Group
	mu          sync.Mutex
	have        bool
	value       T
	fetchedAt   time.Time // of the last successful fetch
	refetchedAt time.Time // when refetch last succeeded
	failedAt    time.Time // of the last failed fetch; meaningful while err is set
	err         error     // of the last fetch
}

// get returns the document, at most a day old if the provider can be reached. It
// fails only if there has never been one. The value is shared: do not
// change it.
func (d *document[T]) get(ctx context.Context) (T, error) {
	d.mu.Lock()
	value, have, age := d.value, d.have, time.Since(d.fetchedAt)
	d.mu.Unlock()
	switch {
	case have && age < documentStale:
		return value, nil
	case have && age < documentOld:
		d.startFetch(ctx)
		return value, nil
	}
	fresh, err := d.await(ctx)
	if err != nil && have {
		return value, nil
	}
	return fresh, err
}

// refetch fetches the document again, unless it did so less than interval ago: then
// it returns the one at hand.
func (d *document[T]) refetch(ctx context.Context, interval time.Duration) (T, error) {
	d.mu.Lock()
	value, lately := d.value, d.have && !d.refetchedAt.IsZero() && time.Since(d.refetchedAt) < interval
	d.mu.Unlock()
	if lately {
		return value, nil
	}
	fresh, err := d.await(ctx)
	if err == nil {
		d.mu.Lock()
		d.refetchedAt = time.Now()
		d.mu.Unlock()
	}
	return fresh, err
}

// last returns the document at hand without a request; the zero value if there is
// none.
func (d *document[T]) last() T {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.value
}

// age returns how long ago the document was last fetched.
func (d *document[T]) age() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Since(d.fetchedAt)
}

// await waits for a fetch: the one under way, or a new one.
func (d *document[T]) await(ctx context.Context) (T, error) {
	select {
	case r := <-d.startFetch(ctx):
		value, _ := r.Val.(T)
		return value, r.Err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// startFetch begins a fetch, or joins the one under way. Shortly after a failure it
// reports that failure again and sends nothing.
func (d *document[T]) startFetch(ctx context.Context) <-chan singleflight.Result {
	return d.flight.DoChan("", func() (_ any, err error) {
		defer RecoverInto(&err)
		d.mu.Lock()
		failed, last := d.failedAt, d.err
		d.mu.Unlock()
		pause := documentPause
		if refusal, ok := errors.AsType[*Failure](last); ok && refusal.Class == Misconfigured {
			pause = max(pause, d.refusalPause)
		}
		if last != nil && time.Since(failed) < pause {
			return d.value, last
		}
		// Not canceled with the visitor's context: others wait for the same answer.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), documentTimeout)
		defer cancel()
		value, err := d.fetch(ctx)
		d.mu.Lock()
		defer d.mu.Unlock()
		if err != nil {
			d.failedAt, d.err = time.Now(), err
			return value, err
		}
		d.have, d.value, d.fetchedAt, d.err = true, value, time.Now(), nil
		return value, nil
	})
}
