package msauth

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/msauth/internal/reload"
	"example.com/msauth/internal/seal"
)

// keyring returns the keys to seal with and, if they are in files, what keeps
// them in step with these.
func (c *Config) keyring(e *events) (*seal.Keyring, *keyFiles, error) {
	if len(c.KeyFiles) == 0 {
		ring, err := seal.NewKeyring(c.Keys)
		switch {
		case err != nil && len(c.Keys) == 0:
			err = fieldError("Keys", "%v, or set KeyFiles", err)
		case err != nil:
			err = fieldError("Keys", "%v", err)
		}
		return ring, nil, err
	}
	if len(c.Keys) > 0 {
		return nil, nil, fieldError("KeyFiles", "cannot be combined with Keys")
	}
	paths := slices.Clone(c.KeyFiles)
	if i := slices.Index(paths, ""); i >= 0 {
		return nil, nil, fieldError("KeyFiles", "cannot be used: KeyFiles[%d] is empty: want the path of a file", i)
	}
	source, err := reload.Open(func(contents [][]byte) ([][]byte, error) { return seal.ParseKeys(paths, contents) }, paths...)
	if err != nil {
		return nil, nil, fieldError("KeyFiles", "cannot be used: %v", err)
	}
	keys, _, _ := source.Look()
	ring, err := seal.NewKeyring(keys)
	if err != nil {
		return nil, nil, fieldError("KeyFiles", "%v", err)
	}
	f := &keyFiles{source: source, ring: ring, events: e, inUse: keys, wanted: keys}
	f.pace = reload.NewPace(func() { _ = f.look() })
	ring.Look = f.pace.Wanting
	return ring, f, nil
}

// keyFiles keeps a ring in step with [Config.KeyFiles].
type keyFiles struct {
	source *reload.Source[[][]byte]
	pace   *reload.Pace
	ring   *seal.Keyring
	events *events

	mu     sync.Mutex
	inUse  [][]byte  // the keys of the ring
	wanted [][]byte  // those of the files, when they were last good
	since  time.Time // when wanted was first seen
	fault  string    // the fault that was logged last; "" if it is mended
}

const (
	// faultTime is how long a new fault is given to pass, in steps: a file may
	// be in the middle of being written.
	faultTime, faultStep = 100 * time.Millisecond, 5 * time.Millisecond
	// keepDropped is how long a key stays in use that is no longer in the files,
	// for the same reason: half a file with whole lines looks like one.
	keepDropped = 2 * time.Second
)

// tick has the files looked at if that is due. It does nothing if there are none.
func (k *keyFiles) tick(now time.Time) {
	if k != nil {
		k.pace.Tick(now)
	}
}

// look looks at the files, and uses their keys if they are good. It returns the
// fault if they are not.
func (k *keyFiles) look() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	keys, _, fault := k.source.Look()
	for waited := time.Duration(0); fault != nil && fault.Error() != k.fault && waited < faultTime; waited += faultStep {
		time.Sleep(faultStep)
		keys, _, fault = k.source.Look()
	}
	k.report(fault)
	if fault == nil {
		k.use(keys)
	}
	return fault
}

// report logs a new fault, or that there is none any more.
func (k *keyFiles) report(fault error) {
	ctx := context.Background()
	switch {
	case fault == nil && k.fault != "":
		k.fault = ""
		k.events.Mend(ctx, weakKeys, "")
	case fault != nil && k.fault != fault.Error():
		k.fault = fault.Error()
		k.events.keyFilesFailed(ctx, fault)
		k.events.Weaken(ctx, weakKeys, "", untilMended, nil)
	}
}

// use replaces the keys of the ring by keys and, for a moment, those before them
// which are gone.
func (k *keyFiles) use(keys [][]byte) {
	if !sameKeys(keys, k.wanted) {
		k.wanted, k.since = keys, time.Now()
	}
	next := slices.Clone(keys)
	if !k.source.Settled() && time.Since(k.since) < keepDropped {
		for _, old := range k.inUse {
			if !slices.ContainsFunc(keys, func(key []byte) bool { return bytes.Equal(key, old) }) {
				next = append(next, old)
			}
		}
	}
	if sameKeys(next, k.inUse) || k.ring.Replace(next) != nil { // ParseKeys has checked them
		return
	}
	k.inUse = next
	k.events.keysChanged(context.Background(), k.ring.IDs())
}

func sameKeys(a, b [][]byte) bool { return slices.EqualFunc(a, b, bytes.Equal) }

// keysChanged reports other keys in [Config.KeyFiles].
func (e *events) keysChanged(ctx context.Context, ids []string) {
	e.count(func(s *Stats) { s.KeyIDs = ids })
	e.log.InfoContext(ctx, "msauth: keys changed", "event", "keys_changed", "key_ids", strings.Join(ids, " "))
}

// keyFilesFailed reports that [Config.KeyFiles] give no keys as they are now.
func (e *events) keyFilesFailed(ctx context.Context, fault error) {
	e.log.ErrorContext(ctx, "msauth: key files cannot be used; the last good keys stay in use", "event", "key_files_failed", "err", fault)
}

// CookieStore returns a [CookieStore] that encrypts with the keys of the
// Middleware, and follows [Config.KeyFiles]. It opens what one made by
// [NewCookieStore] with the same keys has sealed. InsecureCookies is set if
// BaseURL is plain http.
func (m *Middleware) CookieStore() *CookieStore {
	s := newCookieStore(m.storeCodec)
	s.InsecureCookies, s.files = m.base.Scheme == "http", m.keyFiles
	return s
}
