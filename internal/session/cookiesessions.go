package session

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"example.com/msauth/internal/compact"
)

// cookieSessions keeps sessions in cookies.
type cookieSessions struct{ StoreSettings }

var _ Store = (*cookieSessions)(nil)

// Load implements Store. It opens the head only; the tail waits in the record.
func (s *cookieSessions) Load(r *http.Request, into *Record) (Loaded, error) {
	buffer := compact.Buffer()
	defer compact.Release(buffer)
	got := s.Cookies.Read(r.Header, buffer)
	l := Loaded{Sent: got.sent != 0, Marker: got.Marker, Device: got.Device}
	if got.Head == nil || into.decode(got.Head, s.Layout) != nil {
		return l, nil
	}
	l.Rec = into
	into.sealed, into.cookies = got.tail, s.Cookies
	into.Surplus = got.surplus
	return l, nil
}

// Create implements Store: a cookie is replaced, and nothing else is there to delete.
// It logs what the session leaves out, which Update does not repeat at every renewal.
func (s *cookieSessions) Create(w http.ResponseWriter, r *http.Request, rec *Record, _ time.Duration) error {
	return s.write(w, r, rec, true)
}

// Update implements Store. Here no session is ever gone.
func (s *cookieSessions) Update(w http.ResponseWriter, r *http.Request, rec *Record) (bool, error) {
	return false, s.write(w, r, rec, false)
}

// write sets the session's cookies, without what the budget has no room for. log
// says whether to log what was left out.
func (s *cookieSessions) write(w http.ResponseWriter, r *http.Request, rec *Record, log bool) error {
	age := s.cookieAge(rec)
	if err := rec.open(); err != nil {
		return err // rather than write a session without its tokens
	}
	lean := rec
	var without []string
	for {
		identity, tokens := lean.Encode()
		_, _, total := s.Cookies.lines(len(identity), len(tokens), age)
		if total <= s.Cookies.Budget {
			if log && len(without) > 0 {
				s.Log.InfoContext(r.Context(), "msauth: session over its cookie budget", "user", rec.User.Key(),
					"budget", s.Cookies.Budget, "left_out", strings.Join(without, ", "))
			}
			if lean.Shed && lean.Access != "" {
				s.Keep(lean.Refresh, lean.TokenSet(), time.Unix(rec.Expiry, 0))
			}
			return s.Cookies.Write(w.Header(), s.Cookies.Scan(r.Header).Sent, identity, tokens, age)
		}
		if lean == rec {
			lean = rec.Clone()
		}
		what := lean.Shrink()
		if what == "" {
			return fmt.Errorf("%w: %d bytes of cookies, %d of them the refresh token, where Config.CookieBudget is %d; Config.Store keeps sessions on the server",
				ErrTooLarge, total, len(rec.Refresh), s.Cookies.Budget)
		}
		without = append(without, what)
	}
}

// cookieAge returns the Max-Age of the session's cookies.
func (s *cookieSessions) cookieAge(rec *Record) time.Duration {
	if s.SessionCookie {
		return 0
	}
	return s.lasts(rec)
}

// Remove implements Store.
func (s *cookieSessions) Remove(w http.ResponseWriter, r *http.Request) error {
	// Cookies may have been set already before the handler that signs out was called.
	s.Cookies.Clear(w.Header(), s.Cookies.Scan(r.Header).Sent|s.Cookies.Set(w.Header()))
	return nil
}

// Reload implements Store: there is nothing to read but the request.
func (s *cookieSessions) Reload(*http.Request) func() (*Record, error) { return nil }

// Changed implements Store.
func (s *cookieSessions) Changed(*http.Request, *Record) bool { return false }
