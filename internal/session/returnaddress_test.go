package session

import (
	"bytes"
	"net/http"
	"testing"

	"example.com/msauth/internal/seal"
)

func TestAddressInItsCookie(t *testing.T) {
	t.Parallel()
	key, other := bytes.Repeat([]byte{1, 2, 3, 4}, 8), bytes.Repeat([]byte{5, 6, 7, 8}, 8)
	attempts := func(reg Registration, key []byte) *Attempts {
		ring, err := seal.NewKeyring([][]byte{key})
		if err != nil {
			t.Fatal(err)
		}
		return NewAttempts(ring, reg, testCookies(t), "/")
	}
	s := attempts(Registration{1}, key)
	a, _ := NewAttempt()
	a.ReturnTo = "/reports?" + string(random(2000))
	h := http.Header{}
	s.KeepAddress(h, a)
	kept := request(h).Header
	planted := http.Header{"Cookie": {s.AddressName() + "=planted; " + kept.Get("Cookie")}}
	s.ClearAddress(h)
	for _, test := range []struct {
		name string
		at   *Attempts
		h    http.Header
		want bool
	}{
		{"its own", s, kept, true},
		{"behind a planted one", s, planted, true},
		{"another registration", attempts(Registration{2}, key), kept, false},
		{"another key", attempts(Registration{1}, other), kept, false},
		{"deleted", s, request(h).Header, false},
		{"none", s, http.Header{}, false},
	} {
		id, address, ok := test.at.Address(test.h)
		if ok != test.want || ok && (id != a.ID || address != a.ReturnTo) {
			t.Errorf("%s: %v, %q, %v", test.name, id, address, ok)
		}
	}
}
