package credential_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth/internal/credential"
	"example.com/msauth/internal/reload"
	"example.com/msauth/internal/seal"
)

// plain is a credential whose proof is its name.
type plain struct {
	name        string
	from, until time.Time
	expires     bool
	fail        error
	hang        bool
}

func (p *plain) Prove(ctx context.Context, _ credential.Recipient) (credential.Proof, error) {
	if p.hang {
		<-ctx.Done()
		return credential.Proof{}, ctx.Err()
	}
	return credential.Proof{Secret: seal.Secret(p.name)}, p.fail
}
func (p *plain) Valid() (from, until time.Time) { return p.from, p.until }
func (p *plain) Expires() bool                  { return p.expires }
func (p *plain) Name() string                   { return p.name }

// A file is a source that changes.
type file struct {
	mu      sync.Mutex
	now     *plain
	version int
	fault   error
}

func (f *file) Look() (credential.Credential, int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now, f.version, f.fault
}

func (f *file) put(p *plain) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now, f.version, f.fault = p, f.version+1, nil
}

func (f *file) spoil(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = err
}

// A site is an app with credentials, and a provider that accepts some of them.
type site struct {
	t    *testing.T
	ring *credential.Ring

	mu      sync.Mutex
	good    map[string]bool
	down    map[string]bool // the answer says nothing
	carried []string        // by token requests, in their order
	told    []string        // what the observer heard
}

func newSite(t *testing.T, good string, sources ...credential.Source) *site {
	s := &site{t: t, good: map[string]bool{}, down: map[string]bool{}}
	s.accept(good)
	s.ring = credential.NewRing(sources, 30*24*time.Hour, s)
	return s
}

// accept says which credentials are accepted from now on, by name.
func (s *site) accept(names string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.good)
	for name := range strings.FieldsSeq(names) {
		s.good[name] = true
	}
}

func (s *site) CredentialRefused(_ context.Context, name string, until time.Time, now string, why error) {
	s.tell("%s refused: %v; now %q", name, why, now)
}
func (s *site) CredentialFault(_ context.Context, err error) { s.tell("fault: %v", err) }
func (s *site) CredentialChanged(_ context.Context, name string, _ time.Time) {
	s.tell("changed: %s", name)
}
func (s *site) CredentialEnds(_ context.Context, name string, _ time.Time) { s.tell("ends: %s", name) }

func (s *site) tell(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = append(s.told, fmt.Sprintf(format, args...))
}

// answer is what the provider says to one request.
func (s *site) answer(p credential.Proof) (credential.Verdict, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := string(p.Secret)
	s.carried = append(s.carried, name)
	switch {
	case s.down[name]:
		return credential.Unknown, nil
	case s.good[name]:
		return credential.Accepted, nil
	}
	return credential.Refused, errors.New(name + " is wrong")
}

// request makes one token request, and checks which credentials it carried.
func (s *site) request(when, want string) {
	s.t.Helper()
	s.use(when, false, want)
}

func (s *site) use(when string, byVisitor bool, want string) error {
	s.t.Helper()
	s.mu.Lock()
	s.carried = nil
	s.mu.Unlock()
	err := s.ring.Use(context.Background(), credential.Recipient{}, byVisitor, s.answer)
	if got := strings.Join(s.carried, " "); got != want {
		s.t.Errorf("%s: the request carried %q, want %q", when, got, want)
	}
	return err
}

// heard checks what an operator was told since the last call.
func (s *site) heard(when string, want ...string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.told, want) {
		s.t.Errorf("%s: told\n%q, want\n%q", when, s.told, want)
	}
	s.told = nil
}

func fixed(names ...string) (sources []credential.Source) {
	for _, name := range names {
		sources = append(sources, credential.Fixed(&plain{name: name}))
	}
	return sources
}

func TestTheNextCredentialTakesOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "A B", fixed("A", "B")...)
		s.request("at first", "A")
		s.accept("B")
		s.request("A is over", "A B")
		s.heard("then", `A refused: A is wrong; now "B"`)
		s.request("from then on", "B")
		time.Sleep(time.Hour)
		s.request("A is left alone while B works", "B")
		s.accept("A")
		s.request("B is over, and A works again", "B A")
		s.heard("then", `B refused: B is wrong; now "A"`)
		s.request("from then on", "A")
	})
}

func TestRefusedCredentialIsTriedOnceAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "", fixed("A", "B", "C")...)
		if err := s.use("all are refused", false, "A B C"); err == nil || err.Error() != "A is wrong" {
			t.Errorf("error %v, want that of the first", err)
		}
		s.heard("then", `A refused: A is wrong; now ""`, `B refused: B is wrong; now ""`, `C refused: C is wrong; now ""`)
		for range 3 {
			s.request("a request still has one", "A")
		}
		s.heard("and nothing more is said")
		time.Sleep(time.Minute)
		s.request("after a minute", "A B C")
		s.request("and only once", "A")
		s.accept("C")
		time.Sleep(30 * time.Second)
		s.request("C works again, which nobody knows", "A")
		time.Sleep(30 * time.Second)
		s.request("a minute after the last attempt", "B C")
		s.request("from then on", "C")
	})
}

// Whoever signs in can bring a code that is refused as if the credential were.
func TestRefusedCodeProvesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "", fixed("A", "B")...)
		for range 3 {
			if err := s.use("a code that is at fault itself", true, "A B"); err == nil {
				t.Error("no error")
			}
		}
		s.accept("A B")
		s.request("afterwards", "A")
		s.accept("B")
		s.use("a code when A is over", true, "A B")
		s.heard("only now is anything known", `A refused: A is wrong; now "B"`)
		s.request("from then on", "B")
	})
}

// Nor does it make a credential that has come since look better.
func TestRefusedCodeLeavesNoSuspicion(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &file{}
		f.put(&plain{name: "F1"})
		s := newSite(t, "", append(fixed("A"), f)...)
		s.use("a code that is at fault itself", true, "A F1")
		f.put(&plain{name: "F2"})
		s.accept("A F2")
		s.request("afterwards", "A")
	})
}

// Requests that begin while it is not yet known whether A is refused need not find
// out by themselves.
func TestSuspectedCredentialIsAvoided(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "B", fixed("A", "B")...)
		first := true
		err := s.ring.Use(t.Context(), credential.Recipient{}, true, func(p credential.Proof) (credential.Verdict, error) {
			if p.Secret == "B" && first {
				first = false
				s.request("while the first request is under way", "B")
				s.heard("nothing is decided")
				s.accept("")
				s.use("and if B is refused as well, A is tried", true, "B A")
				s.accept("A B")
			}
			return s.answer(p)
		})
		if err != nil {
			t.Error(err)
		}
		s.heard("the first request has decided", `A refused: A is wrong; now "B"`)
	})
}

// An answer that says nothing, such as a timeout, acquits nobody.
func TestSuspicionLastsAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "A", fixed("A", "B")...)
		s.accept("")
		s.down["B"] = true
		s.request("A is refused, and B not answered", "A B")
		s.heard("nothing is decided")
		s.request("B is preferred", "B")
		time.Sleep(time.Minute)
		s.accept("A")
		s.request("after a minute A is again", "A")
	})
}

func TestChangedFileIsANewCredential(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &file{}
		f.put(&plain{name: "F1"})
		s := newSite(t, "F1 B", append([]credential.Source{f}, fixed("B")...)...)
		s.request("at first", "F1")
		f.put(&plain{name: "F2"})
		s.request("a change that the provider does not know yet", "F2 F1")
		s.heard("then", "changed: F2", `F2 refused: F2 is wrong; now "F1, as it was before it changed"`)
		s.request("the last good one stays", "F1")
		s.accept("F2 B")
		time.Sleep(time.Minute)
		s.request("the old one is over; the other credential comes before a refused one", "F1 B")
		s.heard("then", `F1, as it was before it changed refused: F1 is wrong; now "B"`)
		f.put(&plain{name: "F3"})
		s.accept("F3 B")
		s.request("another change: the file is preferred again", "F3")
		s.heard("then", "changed: F3")
		s.accept("B F1 F2")
		s.request("what was before it is forgotten once it has worked", "F3 B")
	})
}

// An answer that was on its way when the credential ended does not bring it back.
func TestLateAnswerProvesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "A B", fixed("A", "B")...)
		err := s.ring.Use(t.Context(), credential.Recipient{}, false, func(p credential.Proof) (credential.Verdict, error) {
			time.Sleep(time.Second)
			s.accept("B")
			s.request("A is over meanwhile", "A B")
			time.Sleep(time.Second)
			return credential.Accepted, nil
		})
		if err != nil {
			t.Error(err)
		}
		s.heard("once", `A refused: A is wrong; now "B"`)
		s.request("afterwards", "B")
	})
}

// Nor does it end a suspicion: requests that begin afterwards would be refused.
func TestLateAnswerLeavesASuspicion(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "", fixed("A", "B")...)
		var all sync.WaitGroup
		all.Go(func() { // answered well, but late
			s.ring.Use(t.Context(), credential.Recipient{}, false, func(credential.Proof) (credential.Verdict, error) {
				time.Sleep(2 * time.Second)
				return credential.Accepted, nil
			})
		})
		all.Go(func() { // refused before, and not yet answered with the next
			s.ring.Use(t.Context(), credential.Recipient{}, false, func(p credential.Proof) (credential.Verdict, error) {
				if time.Sleep(time.Second); p.Secret == "A" {
					return credential.Refused, errors.New("A is wrong")
				}
				time.Sleep(time.Minute / 2)
				return credential.Accepted, nil
			})
		})
		time.Sleep(3 * time.Second)
		s.accept("B")
		s.request("meanwhile", "B")
		all.Wait()
	})
}

// A file that changes while a request is under way is of use to that request.
func TestFileThatChangesDuringARequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &file{}
		f.put(&plain{name: "F1"})
		s := newSite(t, "F2", append(fixed("A"), f)...)
		var carried []seal.Secret
		err := s.ring.Use(t.Context(), credential.Recipient{}, false, func(p credential.Proof) (credential.Verdict, error) {
			carried = append(carried, p.Secret)
			f.put(&plain{name: "F2"})
			return s.answer(p)
		})
		if err != nil || !slices.Equal(carried, []seal.Secret{"A", "F2"}) {
			t.Errorf("%v with %d credentials, want A and F2", err, len(carried))
		}
	})
}

// What a file held before is of use only until what it holds now has worked.
func TestVersionBeforeIsForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &file{}
		f.put(&plain{name: "F1"})
		s := newSite(t, "F1 F2", append([]credential.Source{f}, fixed("B")...)...)
		f.put(&plain{name: "F2"})
		s.request("it works", "F2")
		s.accept("F1 B")
		s.request("and is over later", "F2 B")
	})
}

// Of many requests only one finds out whether a refused credential works again.
func TestOneRequestTriesARefusedCredential(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "", fixed("A", "B")...)
		s.request("all are refused", "A B")
		time.Sleep(2 * time.Minute)
		var mu sync.Mutex
		count := map[string]int{}
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				s.ring.Use(t.Context(), credential.Recipient{}, false, func(p credential.Proof) (credential.Verdict, error) {
					mu.Lock()
					count[string(p.Secret)]++
					mu.Unlock()
					time.Sleep(time.Second)
					return credential.Refused, errors.New("wrong")
				})
			})
		}
		all.Wait()
		if count["B"] != 1 || count["A"] > 10 {
			t.Errorf("requests %v, want one with B", count)
		}
	})
}

// The version that works is kept, however often the file changes for the worse.
func TestLastGoodVersionIsKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &file{}
		f.put(&plain{name: "F1"})
		s := newSite(t, "F1", f)
		s.request("at first", "F1")
		for _, name := range []string{"F2", "F3", "F4"} {
			f.put(&plain{name: name})
			s.request("a change for the worse", name+" F1")
		}
		s.request("then", "F1")
	})
}

func TestFaultOfAFileIsToldOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &file{}
		f.put(&plain{name: "F"})
		s := newSite(t, "F", f)
		for range 3 {
			f.spoil(errors.New("half written"))
			s.request("with a fault", "F")
		}
		s.heard("once", "fault: half written")
		f.spoil(fmt.Errorf("file: %w", reload.ErrBusy))
		s.request("while it is written", "F")
		s.heard("that passes")
		f.spoil(errors.New("gone"))
		s.request("with another", "F")
		s.heard("again", "fault: gone")
		if got := s.ring.Status()[0]; got.Problem == nil || got.Problem.Error() != "gone" || !got.InUse || !got.Works {
			t.Errorf("status %+v", got)
		}
		f.spoil(nil)
		s.request("mended", "F")
		f.spoil(errors.New("gone"))
		s.request("gone once more", "F")
		s.heard("again", "fault: gone")
	})
}

func TestCredentialThatCannotProve(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &plain{name: "A", fail: errors.New("the device is locked")}
		s := newSite(t, "A B", credential.Fixed(a), fixed("B")[0])
		if err := s.use("the device fails", false, "B"); err != nil {
			t.Error(err)
		}
		s.heard("then", `A refused: msauth: A: the device is locked; now "B"`)
		a.fail = nil
		s.request("it is left alone for a while", "B")
		time.Sleep(time.Minute)
		s.down["A"] = true
		s.request("and used again as soon as it works", "A")
		s.request("even if the provider does not answer", "A")
		s.down["A"] = false
		a.fail = errors.New("the device is locked")
		s.request("it fails again", "B")
		s.heard("then", `A refused: msauth: A: the device is locked; now "B"`)
		if s.ring.Ready() != nil {
			t.Error(s.ring.Ready())
		}
	})
}

func TestOnlyCredentialThatCannotProve(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &plain{name: "A", fail: errors.New("the device is locked")}
		s := newSite(t, "A", credential.Fixed(a))
		for range 3 {
			if err := s.use("the device fails", false, ""); err == nil || err.Error() != "msauth: A: the device is locked" {
				t.Errorf("error %v", err)
			}
		}
		s.heard("once", `A refused: msauth: A: the device is locked; now ""`)
		if err := s.ring.Ready(); err == nil || !strings.Contains(err.Error(), "locked") {
			t.Errorf("Ready: %v", err)
		}
		a.fail = nil
		s.request("at once when it works", "A")
		if err := s.ring.Ready(); err != nil {
			t.Error(err)
		}
	})
}

// A device that does not answer costs a request five seconds, not its whole time,
// and others none.
func TestCredentialThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &plain{name: "A", hang: true}
		s := newSite(t, "A B", credential.Fixed(a), fixed("B")[0])
		start := time.Now()
		s.request("the device hangs", "B")
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("took %s", took)
		}
		start = time.Now()
		s.request("others do not wait", "B")
		if took := time.Since(start); took != 0 {
			t.Errorf("took %s", took)
		}
		// A request that is over says nothing of the device.
		time.Sleep(time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		s.heard("before", `A refused: msauth: A: does not answer: context deadline exceeded; now "B"`)
		if err := s.ring.Use(ctx, credential.Recipient{}, false, s.answer); err == nil {
			t.Error("no error")
		}
		s.heard("of a request that is over")

		// Nor of one that was refused before.
		s.accept("")
		time.Sleep(time.Minute)
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		late := newSite(t, "", fixed("B")[0], credential.Fixed(a))
		if err := late.ring.Use(ctx, credential.Recipient{}, false, late.answer); err == nil || err.Error() != "B is wrong" {
			t.Errorf("error %v", err)
		}
		late.heard("B may be good for another request")
	})
}

func TestEndsAreTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const day = 24 * time.Hour
		a := &plain{name: "A", expires: true, until: time.Now().Add(40 * day)}
		token := &plain{name: "T", until: time.Now().Add(50 * day)} // renewed by others
		s := newSite(t, "A T", credential.Fixed(a), credential.Fixed(token))
		s.request("40 days before", "A")
		s.heard("nothing")
		time.Sleep(10*day + time.Second)
		for range 3 {
			s.request("30 days before", "A")
		}
		s.heard("once", "ends: A")
		time.Sleep(day)
		s.request("a day later", "A")
		s.heard("again", "ends: A")
		if got := s.ring.Status()[0]; !got.Until.Equal(a.until) || !got.InUse || got.Problem != nil {
			t.Errorf("status %+v", got)
		}
		time.Sleep(29 * day)
		for range 3 {
			s.request("it is over: no request is lost on it", "T")
		}
		s.heard("once", `A refused: msauth: the credential is not valid now; now "T"`)
		if got := s.ring.Status(); got[0].InUse || got[0].Works || !errors.Is(got[0].Problem, credential.ErrOutOfTime) || !got[1].InUse || !got[1].Until.IsZero() {
			t.Errorf("status %+v", got)
		}
		time.Sleep(10 * day)
		s.request("both are over: the provider decides, not this clock", "A")
		s.heard("then", `T refused: msauth: the credential is not valid now; now ""`)
		if err := s.ring.Ready(); !errors.Is(err, credential.ErrOutOfTime) {
			t.Errorf("Ready: %v", err)
		}
	})
}

// A certificate can be put in place before its time has come.
func TestNewVersionThatIsNotYetValid(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &file{}
		f.put(&plain{name: "F1"})
		s := newSite(t, "F1 F2", f)
		f.put(&plain{name: "F2", from: time.Now().Add(time.Hour)})
		s.request("before its time", "F1")
		time.Sleep(time.Hour)
		s.request("from then on", "F2")
	})
}

// Many requests at once: each that was under way when the first refusal came needs
// one more, and those that begin later none.
func TestManyRequestsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "B", fixed("A", "B")...)
		var mu sync.Mutex
		count := map[string]int{}
		send := func(p credential.Proof) (credential.Verdict, error) {
			time.Sleep(time.Second)
			mu.Lock()
			count[string(p.Secret)]++
			mu.Unlock()
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.good[string(p.Secret)] {
				return credential.Accepted, nil
			}
			return credential.Refused, errors.New("wrong")
		}
		var all sync.WaitGroup
		begin := func(n int) {
			for range n {
				all.Go(func() {
					if err := s.ring.Use(t.Context(), credential.Recipient{}, false, send); err != nil {
						t.Error(err)
					}
				})
			}
			synctest.Wait()
		}
		begin(100)
		time.Sleep(time.Second + time.Millisecond)
		begin(900)
		all.Wait()
		if count["A"] != 100 || count["B"] != 1000 {
			t.Errorf("requests %v, want 100 with A and 1000 with B", count)
		}
		s.heard("once", `A refused: wrong; now "B"`)
	})
}
