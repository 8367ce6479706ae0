package device

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth/internal/seal"
)

func newValues(t testing.TB, registration string) *Values {
	t.Helper()
	key := make([]byte, 32)
	rand.Read(key)
	ring, err := seal.NewKeyring([][]byte{key})
	if err != nil {
		t.Fatal(err)
	}
	return NewValues(ring, []byte(registration))
}

func TestBoundCookie(t *testing.T) { // not parallel: it counts allocations
	v := newValues(t, "app")
	b := Bound{ID: ID{1}, Before: ID{2}, Key: Digest{3}, Proved: 1795711020}
	text := v.Seal(b)
	if got, ok := v.Open(text); !ok || got != b || len(text) != 75 {
		t.Errorf("%+v, %t, %d characters", got, ok, len(text))
	}
	if got := b.Ends().Unix(); got != 1795711020+600 {
		t.Errorf("ends at %d", got)
	}
	for _, text := range []string{"", text[:74], text + "A", newValues(t, "app").Seal(b), v.Identify(Identifier{Key: &Key{}})} {
		if _, ok := v.Open(text); ok {
			t.Errorf("%q opens", text)
		}
	}
	if n := testing.AllocsPerRun(100, func() { v.Open(text) }); n > 2 {
		t.Errorf("%v allocations", n)
	}
}

func TestChallengesAreForOnePurposeAndSessionAndAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newValues(t, "app")
		c := v.Challenge(Refresh, ID{1})
		made := time.Now().Unix()
		time.Sleep(ChallengeLife)
		if at, err := v.AnsweredFor(c, Refresh, ID{1}); err != nil || at != made {
			t.Errorf("made at %d, %v, want %d", at, err, made)
		}
		for name, err := range map[string]error{
			"purpose": second(v.AnsweredFor(c, Register, ID{1})), "session": second(v.AnsweredFor(c, Refresh, ID{2})),
			"text": second(v.AnsweredFor(c[1:], Refresh, ID{1})), "app": second(newValues(t, "app").AnsweredFor(c, Refresh, ID{1})),
		} {
			if err == nil || errors.Is(err, ErrStale) {
				t.Errorf("another %s: %v", name, err)
			}
		}
		time.Sleep(time.Second)
		if _, err := v.AnsweredFor(c, Refresh, ID{1}); !errors.Is(err, ErrStale) {
			t.Errorf("after a minute: %v", err)
		}
		// Of another server, whose clock is ahead.
		for ahead, want := range map[time.Duration]error{ChallengeLife: nil, ChallengeLife + time.Second: ErrStale} {
			plain := append([]byte{byte(Refresh)}, make([]byte, 8)...)
			plain = binary.BigEndian.AppendUint64(plain, uint64(time.Now().Add(ahead).Unix()))
			if _, err := v.AnsweredFor(v.challenges.Seal(plain, v.data), Refresh, ID{}); !errors.Is(err, want) {
				t.Errorf("made %v later than now: %v, want %v", ahead, err, want)
			}
		}
	})
}

func second(_ int64, err error) error { return err }

// Apps may share keys.
func TestValuesAreOfOneApp(t *testing.T) {
	t.Parallel()
	ring, err := seal.NewKeyring([][]byte{bytes.Repeat([]byte("0123"), 8)})
	if err != nil {
		t.Fatal(err)
	}
	one, other := NewValues(ring, []byte("one")), NewValues(ring, []byte("other"))
	key, _, err := ReadRegistration(newP256(t).registration(t, "c"))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []*Values{one, other} {
		_, opened := v.Open(one.Seal(Bound{}))
		_, refused := v.Identified(one.Identify(Identifier{Key: key}))
		_, none := v.AnsweredFor(one.Challenge(Refresh, ID{}), Refresh, ID{})
		if own := v == one; opened != own || (refused == nil) != own || (none == nil) != own {
			t.Errorf("own %t: %t, %v, %v", own, opened, refused, none)
		}
	}
	if _, err := one.Identified(one.Seal(Bound{})); err == nil {
		t.Error("a bound cookie is an identifier")
	}
}

func TestIdentifier(t *testing.T) {
	t.Parallel()
	v := newValues(t, "app")
	for _, s := range []signer{newP256(t), newRSA(t)} {
		key, _, err := ReadRegistration(s.registration(t, "c"))
		if err != nil {
			t.Fatal(err)
		}
		text := v.Identify(Identifier{ID: ID{1}, Before: ID{2}, Key: key})
		got, err := v.Identified(text)
		if err != nil || got.ID != (ID{1}) || got.Before != (ID{2}) || got.Key.Digest() != key.Digest() || len(text) > maxIdentifier {
			t.Errorf("%+v, %v, %d characters", got, err, len(text))
		}
		for _, text := range []string{"", text[1:], newValues(t, "app").Identify(got), v.Seal(Bound{})} {
			if _, err := v.Identified(text); err == nil {
				t.Errorf("%q is an identifier", text)
			}
		}
	}
}

// Nothing opens but what was sealed here, and as what it was sealed.
func FuzzTexts(f *testing.F) {
	v, of := newValues(f, "app"), ID{1}
	key, _, err := ReadRegistration(newP256(f).registration(f, "c"))
	if err != nil {
		f.Fatal(err)
	}
	cookie, identifier, challenge := v.Seal(Bound{ID: of}), v.Identify(Identifier{ID: of, Key: key}), v.Challenge(Refresh, of)
	for _, text := range []string{"", cookie, identifier, challenge, newValues(f, "app").Seal(Bound{}), cookie[:74] + "=", identifier + "A"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if b, ok := v.Open(text); ok != (text == cookie) || ok && b.ID != of {
			t.Errorf("%q opens as a bound cookie: %t", text, ok)
		}
		if i, err := v.Identified(text); (err == nil) != (text == identifier) || err == nil && i.ID != of {
			t.Errorf("%q is an identifier: %v", text, err)
		}
		if _, _, err := v.Answered(text, Refresh); err == nil && text != challenge {
			t.Errorf("%q is a challenge", text)
		}
	})
}
