package session

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/seal"
	"github.com/gorilla/sessions"
)

// A Store keeps sessions between requests: in cookies, or on the server.
type Store interface {
	// Load reads the request's session, into memory of the caller's that is new.
	// An error means that the store failed, not that the cookie is bad.
	Load(r *http.Request, into *Record) (Loaded, error)
	// Create writes a new session, under a new name. The one that the request carries
	// is deleted after a grace period, 0 for at once, or stays if that is Stays.
	Create(w http.ResponseWriter, r *http.Request, rec *Record, grace time.Duration) error
	// Update writes a session that Load returned, or a copy of it with changes.
	// gone reports that it was deleted in the meantime, and was not written.
	Update(w http.ResponseWriter, r *http.Request, rec *Record) (gone bool, err error)
	// Remove deletes the session that the request carries, readable or not.
	Remove(w http.ResponseWriter, r *http.Request) error
	// Reload returns a function that reads the request's session anew, unpacked,
	// and returns nil for one that is gone. The function may be called after the
	// request has ended. Reload returns nil if nobody but the browser has the
	// session.
	Reload(r *http.Request) func() (*Record, error)
	// Changed reports whether the session was written since Load returned rec.
	Changed(r *http.Request, rec *Record) bool
}

// Stays is for a session that a request carries and has no right to delete.
const Stays = time.Duration(-1)

// Loaded is what a Store has found in a request.
type Loaded struct {
	// Rec is the session, nil if there is none that can be read.
	Rec *Record
	// Sent reports whether the request carried something that was meant to be one.
	Sent bool
	// Marker reports whether it carried a cookie of MarkerName.
	Marker bool
	// Device is the value of the cookie of DeviceName, "" if there was none.
	Device string
}

// ErrTooLarge means that a session has no room where it is kept, even without
// all that it can do without.
var ErrTooLarge = errors.New("msauth: session too large")

// ErrStoreLimit wraps ErrTooLarge where it is a setting of the app's gorilla
// store that leaves no room: the app has to raise it, whoever signs in.
var ErrStoreLimit = fmt.Errorf("%w for Config.Store", ErrTooLarge)

// StoreSettings are what both kinds of stores know of the app.
type StoreSettings struct {
	// Cookies is the format of the session's cookies.
	Cookies *Cookies
	// Layout is what all sessions of the app have in common.
	Layout *Layout
	// Registration is what stored sessions are sealed for.
	Registration Registration
	// Ended are the sessions that must not be written again.
	Ended *Revoked
	// MaxAge is how long a session lasts: see Record.Ends.
	MaxAge time.Duration
	// SessionCookie makes browsers forget the session when they are closed.
	SessionCookie bool
	// Log receives what the app's operator should know.
	Log *slog.Logger
	// Keep remembers, until a time, the tokens of a session whose cookies have no
	// room for the access token.
	Keep func(refresh seal.Secret, g *provider.TokenSet, until time.Time)
	// LeadsTo reports whether refresh is other, or is known to have been replaced
	// by other.
	LeadsTo func(refresh, other seal.Secret) bool
}

// NewStore returns the store of an app: one that keeps sessions in own, or in
// cookies if own is nil.
func NewStore(settings StoreSettings, own sessions.Store, ring *seal.Keyring) Store {
	if own == nil {
		return &cookieSessions{settings}
	}
	return &storedSessions{settings, own, seal.Codec{Keys: ring.Derive("msauth stored session v1")}, &turns{}}
}

// lasts returns how long the session may still be kept. It is never 0, which
// cookies and stores understand in ways of their own.
func (s *StoreSettings) lasts(rec *Record) time.Duration {
	return max(time.Until(rec.Ends(s.MaxAge)), time.Second)
}
