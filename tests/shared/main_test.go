package shared_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/sharedtest"
	"example.com/msauth/tests/testsite"
)

func TestMain(m *testing.M) { testsite.Main(m) }

// Replicas are several processes of one app that share what they know.
type replicas struct {
	*testsite.Office
	shared *backend
	auths  []*msauth.Middleware
	pages  []http.Handler
}

// with runs a test in a bubble with n replicas, whose sessions began more than Doubt
// after the backend did.
func with(t *testing.T, n int, f func(t *testing.T, r *replicas), changes ...func(*msauth.Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newBackend()
		changes := append(changes, func(c *msauth.Config) { c.Shared = b })
		r := &replicas{Office: testsite.RenewingOffice(t, changes...), shared: b}
		r.add(r.Auth, r.Handler)
		for range n - 1 {
			r.open()
		}
		time.Sleep(5 * time.Minute)
		f(t, r)
	})
}

func (r *replicas) open() int {
	r.add(r.Open())
	return len(r.pages) - 1
}

func (r *replicas) add(auth *msauth.Middleware, pages http.Handler) {
	r.auths, r.pages = append(r.auths, auth), append(r.pages, pages)
	r.T.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = auth.Close(ctx)
	})
}

// wantOn checks on all replicas who a visitor's cookies say is there.
func (r *replicas) wantOn(what string, v *testsite.Visitor, want string) {
	r.T.Helper()
	for i, pages := range r.pages {
		if got := v.Copy().At(pages).Get("/public/"); got.Body != want {
			r.T.Errorf("%s: replica %d says %q, want %q; log:\n%s", what, i, got.Body, want, r.Log)
		}
	}
}

// restart ends all replicas and starts as many.
func (r *replicas) restart() {
	n := len(r.pages)
	for _, auth := range r.auths {
		if err := auth.Close(r.T.Context()); err != nil {
			r.T.Error(err)
		}
	}
	r.auths, r.pages = nil, nil
	for range n {
		r.open()
	}
}

// key is the key of the account that a visitor is signed in as.
func (r *replicas) key(v *testsite.Visitor) (key string) {
	r.T.Helper()
	r.as(v, func(_ *http.Request, s *msauth.Session) { key = s.User.Key() })
	return key
}

// as calls f as a handler with a visitor's session, at the first replica.
func (r *replicas) as(v *testsite.Visitor, f func(*http.Request, *msauth.Session)) {
	r.T.Helper()
	called := false
	v.Copy().At(r.auths[0].Load(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		if s, ok := msauth.FromContext(req.Context()); ok {
			called = true
			f(req, s)
		}
	}))).Get("/public/")
	if !called {
		r.T.Fatalf("nobody is signed in; log:\n%s", r.Log)
	}
}

// A backend counts the calls of a Shared but for those that follow the log, and fails
// on demand.
type backend struct {
	of    atomic.Value // of msauth.Shared
	calls atomic.Int64
	down  atomic.Bool // calls fail at once
	hangs atomic.Bool // calls last until their context ends

	lost    atomic.Int64 // so many calls of Swap are done, and never answered
	full    atomic.Bool  // writes fail at once
	repeats atomic.Bool  // lists of sessions are repeated without end

	mu      sync.Mutex
	appends []append_ // to the log that is followed
}

type append_ struct {
	log   string
	entry []byte
}

func newBackend() *backend {
	b := &backend{}
	b.lose()
	return b
}

func (b *backend) shared() msauth.Shared { return b.of.Load().(msauth.Shared) }

var errDown = errors.New("connection refused by the backend")

func (b *backend) call(ctx context.Context, name string) error {
	if !strings.HasSuffix(name, ":log") && !strings.HasSuffix(name, ":epoch") {
		b.calls.Add(1)
	}
	return b.fault(ctx)
}

func (b *backend) fault(ctx context.Context) error {
	if b.hangs.Load() {
		<-ctx.Done()
		return ctx.Err()
	}
	if b.down.Load() {
		return errDown
	}
	return nil
}

func (b *backend) Append(ctx context.Context, log string, entry []byte, life time.Duration) (uint64, error) {
	b.calls.Add(1)
	if err := b.fault(ctx); err != nil {
		return 0, err
	}
	if b.full.Load() {
		return 0, errDown
	}
	if strings.HasSuffix(log, ":log") {
		b.mu.Lock()
		b.appends = append(b.appends, append_{log, entry})
		b.mu.Unlock()
	}
	return b.shared().Append(ctx, log, entry, life)
}

func (b *backend) Read(ctx context.Context, log string, after uint64, wait time.Duration) ([]msauth.SharedEntry, error) {
	if err := b.call(ctx, log); err != nil {
		return nil, err
	}
	if b.repeats.Load() && !strings.HasSuffix(log, ":log") {
		return []msauth.SharedEntry{{Position: 1, Entry: []byte("x")}}, nil
	}
	return b.shared().Read(ctx, log, after, wait)
}

func (b *backend) Get(ctx context.Context, key string) ([]byte, error) {
	if err := b.call(ctx, key); err != nil {
		return nil, err
	}
	return b.shared().Get(ctx, key)
}

func (b *backend) Put(ctx context.Context, key string, value []byte, life time.Duration) error {
	if err := b.call(ctx, key); err != nil {
		return err
	}
	if b.full.Load() {
		return errDown
	}
	return b.shared().Put(ctx, key, value, life)
}

func (b *backend) Swap(ctx context.Context, key string, old, value []byte, life time.Duration) ([]byte, error) {
	if err := b.call(ctx, key); err != nil {
		return nil, err
	}
	if b.full.Load() {
		return nil, errDown
	}
	before, err := b.shared().Swap(ctx, key, old, value, life)
	if b.lost.Load() > 0 && b.lost.Add(-1) >= 0 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return before, err
}

func (b *backend) Wait(ctx context.Context, key string, old []byte, wait time.Duration) ([]byte, error) {
	if err := b.call(ctx, key); err != nil {
		return nil, err
	}
	return b.shared().Wait(ctx, key, old, wait)
}

// lose puts an empty Shared in the place of the one that there was.
func (b *backend) lose() { b.of.Store(sharedtest.New()) }

// counted returns how many calls f makes, with what it leaves behind the request.
func (b *backend) counted(f func()) int64 {
	before := b.calls.Load()
	f()
	synctest.Wait()
	time.Sleep(10 * time.Millisecond)
	synctest.Wait()
	return b.calls.Load() - before
}

// strict makes the provider take each refresh token once.
func strict(r *replicas) {
	r.MS.Set(func(b *msauthtest.Behavior) { b.Rotation = msauthtest.RotateStrict })
}
