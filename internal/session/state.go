package session

import (
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"example.com/msauth/internal/compact"
)

const (
	maxState    = 1024 // characters: Entra refuses long queries (AADSTS90015)
	maxAppState = 256  // bytes

	// stateFormat is the first byte of a state. A state of another format was made
	// by another version during a deployment, and is refused.
	stateFormat = 3
)

// Flags in the byte of the rounds.
const (
	flagChallenged = 1 << 7
	flagRetried    = 1 << 6
	flagCut        = 1 << 5
	flagDeclined   = 1 << 4 // ReturnDeclined
	maskRounds     = 1<<4 - 1
)

// ErrState means that a state is not one that Seal has made for this registration.
var ErrState = errors.New("msauth: state is missing, altered or of another app")

// ErrStateExpired means that the attempt began more than AttemptLifetime ago.
var ErrStateExpired = errors.New("msauth: sign-in took too long")

var errAppState = errors.New("msauth: LoginOptions.AppState is too long, alone or with the scopes")

// Seal returns the state parameter. If it has no room for all of ReturnTo, it has
// the path, or nothing, and Seal sets Cut.
func (s *Attempts) Seal(a *Attempt) (string, error) {
	if len(a.AppState) > maxAppState {
		return "", errAppState
	}
	path, _, _ := strings.Cut(a.ReturnTo, "?")
	for _, returnTo := range []string{a.ReturnTo, path, ""} {
		a.Cut = returnTo != a.ReturnTo
		if state := s.stateKeys.Seal(a.encode(returnTo), s.stateData); len(state) <= maxState {
			return state, nil
		}
	}
	return "", errAppState
}

// Open undoes Seal. An expired attempt is returned with ErrStateExpired, for its
// address to return to; any other error is ErrState.
func (s *Attempts) Open(state string) (*Attempt, error) {
	if state == "" || len(state) > maxState {
		return nil, ErrState
	}
	plain, err := s.stateKeys.Open(state, s.stateData)
	if err != nil {
		return nil, ErrState
	}
	a, ok := decodeAttempt(plain)
	if !ok {
		return nil, ErrState
	}
	if a.ReturnTo == "" {
		a.ReturnTo = s.home
	}
	if age := time.Since(a.ID.started()); age > AttemptLifetime || age < -time.Minute {
		return a, ErrStateExpired
	}
	return a, nil
}

// encode returns what is sealed in state, with an address to return to.
func (a *Attempt) encode(returnTo string) []byte {
	e := compact.Encoder{B: []byte{stateFormat}}
	e.B = append(e.B, a.ID[:]...)
	e.B = append(e.B, a.seed[:]...)
	e.B = append(e.B, a.Binding[:]...)
	e.B = append(e.B, a.Rounds|flag(a.Challenged, flagChallenged)|flag(a.Retried, flagRetried)|flag(a.Cut, flagCut)|flag(a.ReturnDeclined, flagDeclined))
	e.B = append(e.B, a.Asked[:]...)
	e.B = binary.AppendUvarint(e.B, uint64(a.MaxAge/time.Second))
	e.Text(returnTo)
	e.Text(a.Host)
	e.Text(a.AppState)
	e.Text(a.Scopes)
	e.Text(a.User)
	e.Text(strings.Join(a.Contexts, " "))
	if a.First != 0 {
		e.B = binary.AppendVarint(e.B, a.First)
	}
	return e.B
}

func decodeAttempt(plain []byte) (a *Attempt, ok bool) {
	a = &Attempt{}
	d := compact.Decoder{B: plain}
	if format := d.Bytes(1); len(format) != 1 || format[0] != stateFormat {
		return nil, false
	}
	copy(a.ID[:], d.Bytes(len(a.ID)))
	copy(a.seed[:], d.Bytes(len(a.seed)))
	copy(a.Binding[:], d.Bytes(len(a.Binding)))
	flags := d.Flags()
	a.Rounds, a.Challenged = flags&maskRounds, flags&flagChallenged != 0
	a.Retried, a.Cut, a.ReturnDeclined = flags&flagRetried != 0, flags&flagCut != 0, flags&flagDeclined != 0
	copy(a.Asked[:], d.Bytes(len(a.Asked)))
	a.MaxAge = decodeMaxAge(&d)
	a.ReturnTo, a.Host, a.AppState, a.Scopes, a.User = d.Text(), d.Text(), d.Text(), d.Text(), d.Text()
	a.Contexts = strings.Fields(d.Text())
	if !d.Bad && d.At < len(plain) {
		a.First = d.Varint()
	}
	return a, d.Done()
}
