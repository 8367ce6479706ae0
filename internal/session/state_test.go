package session

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth/internal/compact"
	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/seal"
)

// Nobody can make a state without the keys.
func FuzzState(f *testing.F) {
	s := testAttempts(f)
	a, _ := NewAttempt()
	a.ReturnTo = "/a?b=c"
	state, err := s.Seal(a)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(state)
	f.Add(state[1:])
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := s.Open(text)
		// Seeds may come from another process with the same key.
		if err == nil && got.ReturnTo != a.ReturnTo {
			t.Errorf("the forged state %q opens", text)
		}
	})
}

// During a deployment the earlier version seals states that mean something else.
func TestStatesOfAnotherFormatAreRefused(t *testing.T) {
	t.Parallel()
	s := testAttempts(t)
	var a Attempt
	binary.BigEndian.PutUint32(a.ID[:4], uint32(time.Now().Unix()))
	for format := range byte(4) {
		e := compact.Encoder{B: []byte{format}}
		e.B = append(append(append(append(e.B, a.ID[:]...), a.seed[:]...), a.Binding[:]...), 0)
		e.Text("/home")
		e.Text("")
		e.Text("state")
		if got, err := s.Open(s.stateKeys.Seal(e.B, s.stateData)); err == nil {
			t.Errorf("format %d: read as %+v", format, got.ReturnTo)
		}
	}
}

// fullAttempt has something in every field that travels in state.
func fullAttempt() *Attempt {
	a, _ := NewAttempt()
	a.ReturnTo, a.Host, a.AppState, a.Rounds = "/a?b=c", "localhost:8080", "some text", 15
	a.Challenged, a.Retried, a.First = true, true, 1_700_000_000
	a.Scopes, a.Asked, a.User = "Files.Read Mail.Read", provider.RequirementDigest{1, 2, 3}, "user-1"
	a.Contexts, a.MaxAge = []string{"c1", "c2"}, 5*time.Minute
	return a
}

func TestStateBringsBackTheAttempt(t *testing.T) {
	t.Parallel()
	s := testAttempts(t)
	for name, a := range map[string]*Attempt{"full": fullAttempt(), "rounds only": {ID: fullAttempt().ID, ReturnTo: "/", Rounds: 15, Contexts: []string{}}} {
		state, err := s.Seal(a)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.Open(state); err != nil || !reflect.DeepEqual(got, a) {
			t.Errorf("%s: %+v came back as %+v, %v", name, a, got, err)
		}
	}
	none := &Attempt{ID: fullAttempt().ID}
	state, err := s.Seal(none)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Open(state); err != nil || got.ReturnTo != "/" || got.Cut {
		t.Errorf("an attempt without an address returns to %+v, %v, want home", got, err)
	}
}

func TestStateOpensOnlyForItsRegistration(t *testing.T) {
	t.Parallel()
	key, other := bytes.Repeat([]byte{1, 2, 3, 4}, 8), bytes.Repeat([]byte{5, 6, 7, 8}, 8)
	attempts := func(reg Registration, keys ...[]byte) *Attempts {
		ring, err := seal.NewKeyring(keys)
		if err != nil {
			t.Fatal(err)
		}
		return NewAttempts(ring, reg, testCookies(t), "/")
	}
	state, err := attempts(Registration{1}, key).Seal(fullAttempt())
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		at    *Attempts
		state string
		want  error
	}{
		{"its own", attempts(Registration{1}, key), state, nil},
		{"a new key in front", attempts(Registration{1}, other, key), state, nil},
		{"another registration", attempts(Registration{2}, key), state, ErrState},
		{"the key dropped", attempts(Registration{1}, other), state, ErrState},
		{"cut short", attempts(Registration{1}, key), state[:len(state)-1], ErrState},
		{"with more", attempts(Registration{1}, key), state + "A", ErrState},
		{"missing", attempts(Registration{1}, key), "", ErrState},
		{"too long", attempts(Registration{1}, key), strings.Repeat("A", 1025), ErrState},
	} {
		if _, err := test.at.Open(test.state); err != test.want {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
}

// An expired attempt still says where it was to return to.
func TestStateExpires(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, a := testAttempts(t), fullAttempt()
		state, err := s.Seal(a)
		if err != nil {
			t.Fatal(err)
		}
		future := fullAttempt()
		binary.BigEndian.PutUint32(future.ID[:4], uint32(time.Now().Add(2*time.Minute).Unix()))
		ahead, err := s.Seal(future)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.Open(ahead); err != ErrStateExpired {
			t.Errorf("from the future: %+v, %v", got, err)
		}
		time.Sleep(AttemptLifetime)
		if _, err := s.Open(state); err != nil {
			t.Errorf("at its last moment: %v", err)
		}
		time.Sleep(time.Nanosecond)
		if got, err := s.Open(state); err != ErrStateExpired || got == nil || got.ReturnTo != a.ReturnTo {
			t.Errorf("afterwards: %+v, %v", got, err)
		}
		time.Sleep(48 * time.Hour)
		if got, err := s.Open(state); err != ErrState || got != nil {
			t.Errorf("when its key is gone: %+v, %v", got, err)
		}
	})
}

// Entra refuses long queries: state leaves out the query of a long address, then
// all of it, but nothing that the app or the sign-in needs.
func TestStateHasRoomForSoMuch(t *testing.T) {
	t.Parallel()
	s := testAttempts(t)
	for _, test := range []struct {
		name, returnTo, appState, scopes string
		wantReturnTo                     string
		wantCut                          bool
		wantErr                          string
	}{
		{name: "short", returnTo: "/a?b=c", wantReturnTo: "/a?b=c"},
		{name: "a long query", returnTo: "/a?" + string(random(900)), wantReturnTo: "/a", wantCut: true},
		{name: "a long path", returnTo: "/" + string(random(900)) + "?b=c", wantReturnTo: "/", wantCut: true},
		{name: "the longest text of the app", returnTo: "/a", appState: strings.Repeat("ab ", 85) + "x", wantReturnTo: "/a"},
		{name: "a longer one", appState: strings.Repeat("ab ", 85) + "xy", wantErr: "AppState is too long"},
		{name: "too many scopes", returnTo: "/a", scopes: string(random(2000)), wantErr: "with the scopes"},
	} {
		a := fullAttempt()
		a.ReturnTo, a.AppState, a.Scopes = test.returnTo, test.appState, test.scopes
		state, err := s.Seal(a)
		if err != nil || test.wantErr != "" {
			if err == nil || test.wantErr == "" || !strings.Contains(err.Error(), test.wantErr) {
				t.Errorf("%s: %v, want %q", test.name, err, test.wantErr)
			}
			continue
		}
		got, err := s.Open(state)
		if err != nil || got.ReturnTo != test.wantReturnTo || got.Cut != test.wantCut || a.Cut != test.wantCut || len(state) > 1024 {
			t.Errorf("%s: %d characters return to %q, cut %v and %v, %v", test.name, len(state), got.ReturnTo, a.Cut, got.Cut, err)
		}
	}
}
