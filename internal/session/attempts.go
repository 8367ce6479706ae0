package session

import (
	"net/http"
	"slices"
	"strings"

	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/ttl"
)

const (
	// maxAttempts is how many unfinished attempts one browser may have. Their
	// cookies take about 1.1 KB.
	maxAttempts = 16
	// maxSent bounds how many attempts of one request are looked at.
	maxSent = 200
	// maxFinished bounds the memory of finished attempts.
	maxFinished = 10_000
)

// Attempts makes and finds the attempts of one registration.
type Attempts struct {
	cookies *Cookies
	home    string // where "" as the address to return to leads

	stateKeys *seal.DailyKeys
	stateData []byte // authenticated with state

	addressKeys *seal.DailyKeys
	addressData []byte // authenticated with the cookie of an address

	// finished are attempts that ended in this process, so that none is finished
	// twice.
	finished *ttl.Map[AttemptID, struct{}]
}

// NewAttempts returns the attempts of a registration. home is the address to
// return to where an attempt has none.
func NewAttempts(ring *seal.Keyring, reg Registration, cookies *Cookies, home string) *Attempts {
	return &Attempts{
		cookies: cookies,
		home:    home,

		stateKeys: ring.Daily("msauth state v1"),
		stateData: append([]byte("msauth state v1\x00"), reg[:]...),

		addressKeys: ring.Daily("msauth return address v1"),
		addressData: append([]byte("msauth return address v1\x00"), reg[:]...),

		finished: ttl.New[AttemptID, struct{}](maxFinished),
	}
}

// Over reports whether an attempt was finished in this process.
func (s *Attempts) Over(id AttemptID) bool {
	_, over := s.finished.Get(id)
	return over
}

// Finish records that an attempt is over. It reports false if it was over
// already.
func (s *Attempts) Finish(id AttemptID) bool {
	return s.finished.Add(id, struct{}{}, id.started().Add(AttemptLifetime))
}

// cookiePrefix begins the names of all attempts' cookies; the rest is the id.
func (s *Attempts) cookiePrefix() string { return s.cookies.Name + "-login-" }

// Sent returns the ids of the attempts whose cookies came in, oldest first, and
// the value of the cookie of the wanted one, "" if that did not come in.
func (s *Attempts) Sent(h http.Header, wanted string) (ids []string, value string) {
	prefix := s.cookiePrefix()
	for _, line := range h["Cookie"] {
		for len(line) > 0 {
			var part string
			part, line, _ = strings.Cut(line, ";")
			rest, ours := strings.CutPrefix(strings.Trim(part, " \t"), prefix)
			if !ours {
				continue
			}
			id, v, ok := strings.Cut(rest, "=")
			if !ok || !isAttemptID(id) {
				continue
			}
			if id == wanted && value == "" {
				value = v
			}
			if len(ids) < maxSent && !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	slices.Sort(ids)
	return ids, value
}

func isAttemptID(text string) bool {
	if len(text) != 2*len(AttemptID{}) {
		return false
	}
	for _, c := range []byte(text) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Set sets the cookie of a new attempt. If the browser has too many, the oldest
// are deleted, a few at a time, so that the answer stays short. There is more
// than one too many only if several attempts began at once.
func (s *Attempts) Set(w http.ResponseWriter, r *http.Request, id AttemptID, value string) {
	ids, _ := s.Sent(r.Header, "")
	for range 3 {
		if len(ids) < maxAttempts {
			break
		}
		s.Clear(w, ids[0])
		ids = ids[1:]
	}
	SetCookie(w.Header(), s.cookies.Cookie(s.cookiePrefix()+id.String(), value, Seconds(AttemptLifetime)))
}

// Clear deletes the cookie of an attempt.
func (s *Attempts) Clear(w http.ResponseWriter, id string) {
	SetCookie(w.Header(), s.cookies.Cookie(s.cookiePrefix()+id, "", -1))
}
