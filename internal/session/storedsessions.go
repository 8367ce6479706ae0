package session

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"example.com/msauth/internal/seal"
	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"
)

// storedSessions keeps sessions in a gorilla store. It calls New and Save only:
// Get changes the request in place, while others may be reading it.
type storedSessions struct {
	StoreSettings
	store sessions.Store
	codec seal.Codec
	turns *turns // of those who write, by the store's ids
}

var _ Store = (*storedSessions)(nil)

// storedKey is the key of the one value that our sessions have. The value is a
// text, which every store's serializer leaves as it is.
const storedKey = "msauth"

func (s *storedSessions) name() string { return s.Cookies.Name }

// owner returns what a record is sealed under, so that a copy under another id
// does not open. id is what the store calls the session, "" at stores that keep
// sessions in cookies.
func (s *storedSessions) owner(id string) string {
	return "v2\x00" + s.name() + "\x00" + string(s.Registration[:]) + id
}

// oldOwner returns what earlier versions sealed a record under. Such a record
// opens until it is written anew.
func (s *storedSessions) oldOwner() string {
	return s.name() + "\x00" + string(s.Registration[:])
}

// open returns the store's session, nil if the request has none. Stores report
// that as an error too: open returns only errors which mean that the store
// failed.
func (s *storedSessions) open(r *http.Request) (*sessions.Session, error) {
	session, err := s.store.New(r, s.name())
	if err != nil {
		unreadable := errors.Is(err, fs.ErrNotExist) || errors.Is(err, http.ErrNoCookie)
		if cookieErr, ok := errors.AsType[securecookie.Error](err); ok {
			unreadable = unreadable || cookieErr.IsDecode()
		}
		if many, ok := errors.AsType[securecookie.MultiError](err); ok {
			unreadable = unreadable || many.IsDecode()
		}
		if !unreadable {
			return nil, fmt.Errorf("msauth: Config.Store: %w", err)
		}
	}
	if err != nil || session == nil || session.IsNew {
		return nil, nil
	}
	return session, nil
}

// Load implements Store. It does not use the caller's memory.
func (s *storedSessions) Load(r *http.Request, _ *Record) (Loaded, error) {
	cookies := s.Cookies.Scan(r.Header)
	l := Loaded{Sent: cookies.Sent != 0, Marker: cookies.Marker, Device: cookies.Device}
	if !l.Sent {
		return l, nil
	}
	for _, other := range cookies.first[1:max(cookies.firsts, 1)] {
		if other != cookies.first[0] {
			return l, nil // one of them was planted, and nothing shows which
		}
	}
	session, err := s.open(r)
	if err == nil && session != nil {
		l.Rec = s.decode(session)
	}
	return l, err
}

// decode returns the record of a store's session, nil if there is none or it does
// not open.
func (s *storedSessions) decode(session *sessions.Session) *Record {
	text, _ := session.Values[storedKey].(string)
	payload, err := s.unseal(session.ID, text)
	if err != nil && seal.LooksSealed(text) && s.codec.Keys.Again() {
		payload, err = s.unseal(session.ID, text)
	}
	if err != nil {
		return nil
	}
	identity, tokens, err := SplitParts(payload)
	if err != nil {
		return nil
	}
	rec, err := DecodeRecord(identity, s.Layout)
	if err != nil {
		return nil
	}
	rec.Packed, rec.text = tokens, text
	return rec
}

// unseal opens a record that is stored under an id.
func (s *storedSessions) unseal(id, text string) (payload []byte, err error) {
	if err = s.codec.Decode(s.owner(id), text, &payload); err != nil {
		err = s.codec.Decode(s.oldOwner(), text, &payload)
	}
	return payload, err
}

// Create implements Store. It deletes the session that the request carries once the
// new one is saved. If this process ends within the grace period, that one is left.
func (s *storedSessions) Create(w http.ResponseWriter, r *http.Request, rec *Record, grace time.Duration) error {
	old, err := s.sent(r)
	if err != nil {
		return err
	}
	session, err := s.store.New(r, s.name())
	if session == nil {
		return fmt.Errorf("msauth: Config.Store: %w", err)
	}
	session.ID = "" // for a new id: whoever knows the old one must not get the new session
	session.IsNew = true
	session.Values = map[any]any{}
	if err := s.save(w, r, session, rec); err != nil {
		return err // and the old session stays
	}
	if old == nil || grace == Stays {
		return nil
	}
	erase := func(r *http.Request) {
		defer s.turns.take(old.ID)()
		if err := s.erase(r, old); err != nil {
			s.Log.ErrorContext(r.Context(), "msauth: deleting the session before", "user", rec.User.Key(), "err", err)
		}
	}
	if grace == 0 {
		erase(r)
		return nil
	}
	r = r.Clone(context.WithoutCancel(r.Context()))
	time.AfterFunc(grace, func() { erase(r) })
	return nil
}

// Update implements Store. It leaves the session as it is if what somebody has
// written in the meantime is newer: see follows.
func (s *storedSessions) Update(w http.ResponseWriter, r *http.Request, rec *Record) (bool, error) {
	session, err := s.open(r)
	if err != nil || session == nil {
		return err == nil, err
	}
	// Requests of this process write one after the other, and each looks at what
	// the store has by then. What another process writes between that look and
	// the save is overwritten.
	defer s.turns.take(session.ID)()
	if s.Ended.Has(rec) {
		return true, nil // signed out in the meantime
	}
	if session, err = s.open(r); err != nil || session == nil {
		return err == nil, err
	}
	if text, _ := session.Values[storedKey].(string); text != rec.text {
		now := s.decode(session)
		if now == nil || now.ID != rec.ID {
			return true, nil
		}
		if !s.follows(rec, now) {
			return false, nil
		}
	}
	return false, s.save(w, r, session, rec)
}

// follows reports whether rec may replace now, which somebody has written since
// rec was read. It may if its tokens are newer than those of now. If rec has not
// been renewed, all that it adds is that the session was used, which now says as
// well.
func (s *storedSessions) follows(rec, now *Record) bool {
	if rec.Packed != nil || now.Unpack() != nil { // rec has not been renewed
		return false
	}
	if now.Refresh == rec.Refresh {
		return now.Renewed <= rec.Renewed
	}
	return s.LeadsTo(now.Refresh, rec.Refresh)
}

// Changed implements Store.
func (s *storedSessions) Changed(r *http.Request, rec *Record) bool {
	session, err := s.open(r)
	if err != nil || session == nil {
		return false
	}
	text, _ := session.Values[storedKey].(string)
	return text != rec.text
}

// maxSaves is how often a record is saved until it is sealed for the id that its
// store has given it: stores give a new session its id at the first save.
const maxSaves = 3

// save writes a record into a session of the store, and sets its cookie.
func (s *storedSessions) save(w http.ResponseWriter, r *http.Request, session *sessions.Session, rec *Record) error {
	payload, before := JoinParts(rec.Encode()), session.ID
	session.Options = s.options(Seconds(s.lasts(rec)))
	for range maxSaves {
		id := session.ID
		text, err := s.codec.Encode(s.owner(id), payload)
		if err != nil {
			return err
		}
		session.Values[storedKey] = text
		answer := discarded{http.Header{}}
		if err := s.store.Save(r, answer, session); err != nil {
			if id != before {
				_ = s.erase(r, session) // no cookie names it
			}
			if strings.Contains(err.Error(), "too long") || strings.Contains(err.Error(), "too big") {
				return fmt.Errorf("%w: Config.Store refuses a record of %d bytes: raise its limit (MaxLength(0) of gorilla's FilesystemStore, SetMaxLength(0) of others, lifts it): %w", ErrStoreLimit, len(text), err)
			}
			return fmt.Errorf("msauth: Config.Store: %w", err)
		}
		if session.ID == id {
			rec.text = text
			s.restate(w, answer.header)
			return nil
		}
	}
	_ = s.erase(r, session)
	return errors.New("msauth: Config.Store gives a session another ID at each Save")
}

// options returns a session's options for the store, which may set the cookie
// from them.
func (s *storedSessions) options(maxAge int) *sessions.Options {
	c := s.Cookies.Cookie(s.name(), "", maxAge)
	return &sessions.Options{Path: c.Path, MaxAge: c.MaxAge, Secure: c.Secure, HttpOnly: c.HttpOnly, SameSite: c.SameSite}
}

// restate sets the cookie that the store has set, under our own rules: without an
// age where the browser is to forget it, and in no cache. Other cookies of the
// store are passed on as they are.
func (s *storedSessions) restate(w http.ResponseWriter, answer http.Header) {
	for _, line := range answer["Set-Cookie"] {
		c, err := http.ParseSetCookie(line)
		if err != nil || c.Name != s.name() {
			w.Header().Add("Set-Cookie", line)
			continue
		}
		if s.SessionCookie && c.MaxAge > 0 {
			c.MaxAge = 0
		}
		SetCookie(w.Header(), s.Cookies.Cookie(c.Name, c.Value, c.MaxAge))
	}
}

// sent returns the store's session that the request's cookie names, nil if there
// is none.
func (s *storedSessions) sent(r *http.Request) (*sessions.Session, error) {
	if s.Cookies.Scan(r.Header).Sent == 0 {
		return nil, nil
	}
	return s.open(r)
}

// erase deletes a session from the store; nil is no session.
func (s *storedSessions) erase(r *http.Request, session *sessions.Session) error {
	if session == nil {
		return nil
	}
	session.Options = s.options(-1)
	if err := s.store.Save(r, discarded{http.Header{}}, session); err != nil {
		return fmt.Errorf("msauth: Config.Store: %w", err)
	}
	return nil
}

// Remove implements Store. The cookie is deleted even if the store fails.
func (s *storedSessions) Remove(w http.ResponseWriter, r *http.Request) error {
	s.Cookies.Clear(w.Header(), s.Cookies.Scan(r.Header).Sent)
	session, err := s.sent(r)
	if err != nil || session == nil {
		return err
	}
	defer s.turns.take(session.ID)()
	return s.erase(r, session)
}

// Reload implements Store.
func (s *storedSessions) Reload(r *http.Request) func() (*Record, error) {
	r = r.Clone(context.WithoutCancel(r.Context()))
	return func() (*Record, error) {
		l, err := s.Load(r, nil)
		if err != nil || l.Rec == nil {
			return nil, err
		}
		return l.Rec, l.Rec.Unpack()
	}
}

// discarded is a ResponseWriter that keeps headers to itself and writes nothing.
type discarded struct{ header http.Header }

// Header implements http.ResponseWriter.
func (d discarded) Header() http.Header { return d.header }

// Write implements http.ResponseWriter.
func (d discarded) Write(b []byte) (int, error) { return len(b), nil }

// WriteHeader implements http.ResponseWriter.
func (d discarded) WriteHeader(int) {}
