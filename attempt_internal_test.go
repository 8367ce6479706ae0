package msauth

import "testing"

// What goes through Microsoft and through logs of URLs must not be enough to
// finish a sign-in, not even for somebody who has the keys.
func TestVerifierAndNonceTakeStateAndCookie(t *testing.T) {
	t.Parallel()
	a, cookie := newAttempt()
	b, other := newAttempt()
	withSeedOf := func(a, b *attempt) *attempt { c := *a; c.seed = b.seed; return &c }
	same := a.verifier(cookie)
	tests := []struct {
		name string
		got  secret
		want bool // the same verifier
	}{
		{"again", a.verifier(cookie), true},
		{"other cookie", a.verifier(other), false},
		{"no cookie", a.verifier(""), false},
		{"other seed", withSeedOf(a, b).verifier(cookie), false},
		{"the nonce", secret(a.nonce(cookie)), false},
		{"the nonce's beginning", secret(a.nonce(cookie)) + same[22:], false},
	}
	for _, test := range tests {
		if got := test.got == same; got != test.want {
			t.Errorf("%s: the same verifier %v, want %v", test.name, got, test.want)
		}
	}
	if len(same) != 43 || len(a.nonce(cookie)) != 22 || a.nonce(cookie) == a.nonce(other) || a.nonce(cookie) == withSeedOf(a, b).nonce(cookie) {
		t.Errorf("verifier of %d and nonce of %d characters, or a nonce that does not take both", len(same), len(a.nonce(cookie)))
	}
	if a.bind(cookie) == a.bind(other) || a.bind(cookie) == b.bind(cookie) {
		t.Error("an attempt is bound to any cookie, or a cookie to any attempt")
	}
}
