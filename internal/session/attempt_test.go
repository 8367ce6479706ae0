package session

import (
	"testing"

	"example.com/msauth/internal/seal"
)

// What goes through Microsoft and through logs of URLs must not be enough to
// finish a sign-in, not even for somebody who has the keys.
func TestVerifierAndNonceTakeStateAndCookie(t *testing.T) {
	t.Parallel()
	a, cookie := NewAttempt()
	b, other := NewAttempt()
	withSeedOf := func(a, b *Attempt) *Attempt { c := *a; c.seed = b.seed; return &c }
	same := a.Verifier(cookie)
	tests := []struct {
		name string
		got  seal.Secret
		want bool // the same verifier
	}{
		{"again", a.Verifier(cookie), true},
		{"other cookie", a.Verifier(other), false},
		{"no cookie", a.Verifier(""), false},
		{"other seed", withSeedOf(a, b).Verifier(cookie), false},
		{"the nonce", seal.Secret(a.Nonce(cookie)), false},
		{"the nonce's beginning", seal.Secret(a.Nonce(cookie)) + same[22:], false},
	}
	for _, test := range tests {
		if got := test.got == same; got != test.want {
			t.Errorf("%s: the same verifier %v, want %v", test.name, got, test.want)
		}
	}
	if len(same) != 43 || len(a.Nonce(cookie)) != 22 || a.Nonce(cookie) == a.Nonce(other) || a.Nonce(cookie) == withSeedOf(a, b).Nonce(cookie) {
		t.Errorf("verifier of %d and nonce of %d characters, or a nonce that does not take both", len(same), len(a.Nonce(cookie)))
	}
	if a.Bind(cookie) == a.Bind(other) || a.Bind(cookie) == b.Bind(cookie) {
		t.Error("an attempt is bound to any cookie, or a cookie to any attempt")
	}
}
