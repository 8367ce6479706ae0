package session

import (
	"net/http"

	"example.com/msauth/internal/compact"
)

// ShortReturnTo is the longest address to return to, in bytes, for which the
// callback's answer has room whatever the size of the session. Longer ones go
// into a cookie: see KeepAddress.
const ShortReturnTo = 160

const addressFormat = 1

// AddressName returns the name of the cookie that holds a long address to return
// to. There is one for all attempts, so that no site can fill up the request's
// header by opening many. Of several attempts with a long address the latest has
// the cookie; the others have what their state holds.
func (s *Attempts) AddressName() string { return s.cookies.Name + "-to" }

// KeepAddress puts the address of an attempt into the cookie. The address must
// be printable ASCII.
func (s *Attempts) KeepAddress(h http.Header, a *Attempt) {
	plain := append([]byte{addressFormat}, a.ID[:]...)
	value := s.addressKeys.Seal(compact.PackASCII(plain, a.ReturnTo), s.addressData)
	SetCookie(h, s.cookies.Cookie(s.AddressName(), value, Seconds(AttemptLifetime)))
}

// Address returns the address in the cookie, and the attempt that it belongs to.
func (s *Attempts) Address(h http.Header) (id AttemptID, address string, ok bool) {
	for _, value := range CookieValues(h, s.AddressName()) {
		plain, err := s.addressKeys.Open(value, s.addressData)
		if err != nil || len(plain) < 1+len(id) || plain[0] != addressFormat {
			continue
		}
		copy(id[:], plain[1:])
		if address, ok = compact.UnpackASCII(plain[1+len(id):]); ok {
			return id, address, true
		}
	}
	return id, "", false
}

// ClearAddress deletes the cookie.
func (s *Attempts) ClearAddress(h http.Header) {
	SetCookie(h, s.cookies.Cookie(s.AddressName(), "", -1))
}
