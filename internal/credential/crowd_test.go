package credential_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth/internal/credential"
	"example.com/msauth/internal/seal"
)

// slow takes its time for a proof.
type slow struct {
	plain
	takes time.Duration
}

func (s *slow) Prove(ctx context.Context, to credential.Recipient) (credential.Proof, error) {
	select {
	case <-time.After(s.takes):
		return credential.Proof{Secret: seal.Secret(s.name)}, nil
	case <-ctx.Done():
		return credential.Proof{}, ctx.Err()
	}
}

// A crowd in front of a slow device does not make it a device that fails.
func TestCrowdAtASlowDevice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "A B", credential.Fixed(&slow{plain{name: "A"}, 500 * time.Millisecond}), fixed("B")[0])
		var all sync.WaitGroup
		var failed atomic.Int32
		for range 500 {
			all.Go(func() {
				if s.ring.Use(t.Context(), credential.Recipient{}, true, s.answer) != nil {
					failed.Add(1)
				}
			})
		}
		all.Wait()
		if n := failed.Load(); n != 0 {
			t.Errorf("%d requests failed", n)
		}
		s.heard("it works")
		s.carried = nil
		s.request("afterwards", "A")
	})
}

// now names a credential that is used, not one that was refused as well.
func TestNobodyIsLeftIsSaid(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &plain{name: "B"}
		s := newSite(t, "B", fixed("A")[0], credential.Fixed(b))
		s.request("A is refused", "A B")
		s.heard("A", `A refused: A is wrong; now "B"`)
		b.fail = errors.New("no device")
		s.ring.Use(t.Context(), credential.Recipient{}, false, s.answer)
		s.heard("B too", fmt.Sprintf("B refused: msauth: B: no device; now %q", ""))
	})
	synctest.Test(t, func(t *testing.T) {
		end := func(d time.Duration) credential.Source {
			return credential.Fixed(&plain{name: d.String(), until: time.Now().Add(d), expires: true})
		}
		s := newSite(t, "1h0m0s 2h0m0s", end(time.Hour), end(2*time.Hour))
		s.ring = credential.NewRing([]credential.Source{end(time.Hour), end(2 * time.Hour)}, 0, s)
		time.Sleep(time.Hour)
		s.ring.Use(t.Context(), credential.Recipient{}, false, s.answer)
		s.heard("first", fmt.Sprintf("1h0m0s refused: %v; now %q", credential.ErrOutOfTime, "2h0m0s"))
		time.Sleep(time.Hour)
		s.ring.Use(t.Context(), credential.Recipient{}, false, s.answer)
		s.heard("second", fmt.Sprintf("2h0m0s refused: %v; now %q", credential.ErrOutOfTime, ""))
	})
}

// A refusal from before a credential worked is late.
func TestLateRefusalProvesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "B", fixed("A", "B")...)
		first := true
		s.ring.Use(t.Context(), credential.Recipient{}, false, func(p credential.Proof) (credential.Verdict, error) {
			if p.Secret == "B" && first { // it takes ten seconds; meanwhile A is registered
				first = false
				s.accept("A B")
				s.down["B"] = true
				time.Sleep(5 * time.Second)
				s.request("meanwhile", "B") // not answered
				time.Sleep(56 * time.Second)
				s.request("A works again", "A")
				s.down["B"] = false
			}
			return s.answer(p)
		})
		s.request("afterwards", "A")
	})
}

// stuck is a file whose file system hangs.
type stuck struct {
	file
	hang atomic.Bool
	free chan struct{}
}

func (f *stuck) Look() (credential.Credential, int, error) {
	if f.hang.Load() {
		<-f.free
	}
	return f.file.Look()
}

// A file system that hangs stops no token request.
func TestFileThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &stuck{free: make(chan struct{})}
		f.put(&plain{name: "A"})
		s := newSite(t, "A B", append(fixed("B"), f)...)
		f.hang.Store(true)
		began := time.Now()
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.request("B needs no file", "B")
			s.request("and later ones do not wait", "B")
		}()
		select {
		case <-done:
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
		case <-time.After(10 * time.Minute):
			t.Error("token requests hang")
		}
		f.hang.Store(false)
		close(f.free)
		<-done
	})
}

// A version that was never tried, because its time is over, does not take the place
// of the last good one.
func TestVersionsThatWereNeverTried(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &file{}
		f.put(&plain{name: "F1"})
		s := newSite(t, "F1", f)
		s.request("at first", "F1")
		f.put(&plain{name: "F2", until: time.Now().Add(-time.Hour), expires: true})
		s.request("F2 is over", "F1")
		f.put(&plain{name: "F3"})
		s.request("F3 is not registered", "F3 F1")
		s.request("from then on", "F1")
	})
}

// serial makes one proof at a time, as a TPM does.
type serial struct {
	plain
	turn  chan struct{}
	takes time.Duration
}

func (s *serial) Prove(ctx context.Context, _ credential.Recipient) (credential.Proof, error) {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	time.Sleep(s.takes)
	return credential.Proof{Secret: seal.Secret(s.name)}, nil
}

// Nor does it if the device makes one proof after the other.
func TestCrowdAtASerialDevice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "A B", credential.Fixed(&serial{plain{name: "A"}, make(chan struct{}, 1), 300 * time.Millisecond}), fixed("B")[0])
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() { s.ring.Use(t.Context(), credential.Recipient{}, true, s.answer) })
		}
		all.Wait()
		s.heard("it works")
		time.Sleep(30 * time.Second) // the device has done what nobody waits for any more
		s.request("afterwards", "A")
	})
}
