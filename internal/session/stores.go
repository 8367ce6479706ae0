package session

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/seal"
	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"
)

// Store is where sessions live between requests: in cookies, or on the
// server.
type Store interface {
	// Load reads the request's session. sent says that the request carried
	// something that was meant to be one. An error means that the store is
	// broken, not the cookie.
	Load(r *http.Request) (rec *Record, sent bool, err error)
	// Create writes the session of a new sign-in under a new name.
	Create(w http.ResponseWriter, r *http.Request, rec *Record) error
	// Update writes a session that load has read. gone means that somebody
	// deleted it in between.
	Update(w http.ResponseWriter, r *http.Request, rec *Record) (gone bool, err error)
	// Remove ends what the request carries, readable or not.
	Remove(w http.ResponseWriter, r *http.Request) error
	// Reload reads a record of load's again, nil when it is gone; the func is
	// nil where there is nothing to read again.
	Reload(r *http.Request) func() (*Record, error)
	// Changed reports whether somebody has written a record since load read it.
	Changed(r *http.Request, rec *Record) bool
}

// StoreSettings are what both kinds of stores have to know of the app.
type StoreSettings struct {
	Cookies       *Cookies
	Layout        *Layout
	Registration  Registration
	Ended         Revoked
	MaxAge        time.Duration
	SessionCookie bool // browsers are to forget it when they end
	Log           *slog.Logger
	// Keep holds on to tokens that a cookie has no room for.
	Keep func(refresh seal.Secret, g *provider.TokenSet, until time.Time)
	// LeadsTo reports whether a refresh token is another one, or is known to
	// have followed it.
	LeadsTo func(refresh, other seal.Secret) bool
}

// NewStore makes the store of an app: cookies, where it has no store of its
// own.
func NewStore(terms StoreSettings, own sessions.Store, ring seal.Keyring) Store {
	if own == nil {
		return &cookieSessions{terms}
	}
	return &storedSessions{terms, own, seal.Codec{Keys: ring.Derive("msauth stored session v1")}, &turns{}}
}

// cookieAge is the Max-Age of a session's cookies.
func (t *StoreSettings) cookieAge(rec *Record) time.Duration {
	if t.SessionCookie {
		return 0
	}
	return max(time.Until(rec.Ends(t.MaxAge)), time.Second)
}

// cookieSessions keeps sessions in cookies.
type cookieSessions struct{ StoreSettings }

func (s *cookieSessions) Load(r *http.Request) (*Record, bool, error) {
	got := s.Cookies.Read(r.Header)
	if got.Head == nil {
		return nil, got.sent != 0, nil
	}
	rec, err := DecodeRecord(got.Head, s.Layout)
	if err != nil {
		return nil, true, nil
	}
	rec.sealed, rec.cookies = got.tail, s.Cookies
	rec.Surplus = got.surplus
	return rec, true, nil
}

func (s *cookieSessions) Create(w http.ResponseWriter, r *http.Request, rec *Record) error {
	return s.write(w, r, rec, true)
}

func (s *cookieSessions) Update(w http.ResponseWriter, r *http.Request, rec *Record) (bool, error) {
	return false, s.write(w, r, rec, false)
}

// write leaves out what the budget has no room for.
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

func (s *cookieSessions) Remove(w http.ResponseWriter, r *http.Request) error {
	// Load around a handler that signs out may have set cookies already.
	s.Cookies.Clear(w.Header(), s.Cookies.Scan(r.Header).Sent|s.Cookies.Set(w.Header()))
	return nil
}

func (s *cookieSessions) Reload(*http.Request) func() (*Record, error) { return nil }

func (s *cookieSessions) Changed(*http.Request, *Record) bool { return false }

// storedSessions keeps sessions in a gorilla store. It uses New and Save only:
// Get rewrites the request in place, under whoever else reads it.
type storedSessions struct {
	StoreSettings
	store sessions.Store
	codec securecookie.Codec
	turns *turns // by the store's ids, of who writes
}

// storedKey is the one value of our sessions: a text, which every store's
// serializer leaves as it is.
const storedKey = "msauth"

func (s *storedSessions) name() string { return s.Cookies.Name }

// owner is what a record is sealed under: a copy in another's place opens
// nothing. id is what the store calls it, "" at stores that keep nothing.
func (s *storedSessions) owner(id string) string {
	return "v2\x00" + s.name() + "\x00" + string(s.Registration[:]) + id
}

// oldOwner is what records were sealed under before. They open until they are
// written anew.
func (s *storedSessions) oldOwner() string {
	return s.name() + "\x00" + string(s.Registration[:])
}

// open separates "no session" from "the store is broken".
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

func (s *storedSessions) Load(r *http.Request) (*Record, bool, error) {
	cookies := s.Cookies.Scan(r.Header)
	sent := cookies.Sent != 0
	if !sent {
		return nil, false, nil
	}
	for _, other := range cookies.first[1:max(cookies.firsts, 1)] {
		if other != cookies.first[0] {
			return nil, true, nil // one of them was planted, and nothing tells which
		}
	}
	session, err := s.open(r)
	if err != nil || session == nil {
		return nil, sent, err
	}
	return s.decode(session), sent, nil
}

// decode is the record of a store's session, nil if it is none of ours.
func (s *storedSessions) decode(session *sessions.Session) *Record {
	text, _ := session.Values[storedKey].(string)
	var payload []byte
	if s.codec.Decode(s.owner(session.ID), text, &payload) != nil && s.codec.Decode(s.oldOwner(), text, &payload) != nil {
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

func (s *storedSessions) Create(w http.ResponseWriter, r *http.Request, rec *Record) error {
	old, err := s.sent(r)
	if err != nil {
		return err
	}
	session, err := s.store.New(r, s.name())
	if session == nil {
		return fmt.Errorf("msauth: Config.Store: %w", err)
	}
	session.ID = "" // a name of its own: whoever knew the old one knows nothing
	session.IsNew = true
	session.Values = map[any]any{}
	if err := s.save(w, r, session, rec); err != nil {
		return err // and the session before goes on
	}
	if old != nil {
		defer s.turns.take(old.ID)()
	}
	if err := s.erase(r, old); err != nil {
		s.Log.ErrorContext(r.Context(), "msauth: deleting the session before", "user", rec.User.Key(), "err", err)
	}
	return nil
}

func (s *storedSessions) Update(w http.ResponseWriter, r *http.Request, rec *Record) (bool, error) {
	session, err := s.open(r)
	if err != nil || session == nil {
		return err == nil, err
	}
	// One after the other, and each looks at what the one before has left. What
	// another process does between the look and the save goes unnoticed.
	defer s.turns.take(session.ID)()
	if s.Ended.Has(rec.ID) {
		return true, nil // signed out meanwhile
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

// follows reports whether a record may take the place of one that somebody has
// written since it was read. That has newer tokens, or says that the session
// was used just now.
func (s *storedSessions) follows(rec, now *Record) bool {
	if rec.Packed != nil || now.Unpack() != nil { // its tokens are those of before
		return false
	}
	if now.Refresh == rec.Refresh {
		return now.Renewed <= rec.Renewed
	}
	return s.LeadsTo(now.Refresh, rec.Refresh)
}

func (s *storedSessions) Changed(r *http.Request, rec *Record) bool {
	session, err := s.open(r)
	if err != nil || session == nil {
		return false
	}
	text, _ := session.Values[storedKey].(string)
	return text != rec.text
}

// mostNames is how often a record is saved until its store calls it what it is
// sealed for: a store gives its ids at the first save.
const mostNames = 3

func (s *storedSessions) save(w http.ResponseWriter, r *http.Request, session *sessions.Session, rec *Record) error {
	payload, before := JoinParts(rec.Encode()), session.ID
	// Never 0: stores take it for "delete".
	session.Options = s.options(Seconds(max(time.Until(rec.Ends(s.MaxAge)), time.Second)))
	for range mostNames {
		id := session.ID
		text, err := s.codec.Encode(s.owner(id), payload)
		if err != nil {
			return err
		}
		session.Values[storedKey] = text
		answer := discarded{http.Header{}}
		if err := s.store.Save(r, answer, session); err != nil {
			if id != before {
				_ = s.erase(r, session) // nobody will know its name
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

// ErrStoreLimit is the app's to mend: no account is too large for a store.
var ErrStoreLimit = fmt.Errorf("%w for Config.Store", ErrTooLarge)

func (s *storedSessions) options(maxAge int) *sessions.Options {
	c := s.Cookies.Cookie(s.name(), "", maxAge)
	return &sessions.Options{Path: c.Path, MaxAge: c.MaxAge, Secure: c.Secure, HttpOnly: c.HttpOnly, SameSite: c.SameSite}
}

// restate puts the cookie that the store has set under our own rules: no age
// where the browser is to forget it, and no cache.
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

// sent is the store's session that the request's cookie names, if any.
func (s *storedSessions) sent(r *http.Request) (*sessions.Session, error) {
	if s.Cookies.Scan(r.Header).Sent == 0 {
		return nil, nil
	}
	return s.open(r)
}

// erase deletes a record.
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

func (s *storedSessions) Remove(w http.ResponseWriter, r *http.Request) error {
	s.Cookies.Clear(w.Header(), s.Cookies.Scan(r.Header).Sent)
	session, err := s.sent(r)
	if err != nil || session == nil {
		return err
	}
	defer s.turns.take(session.ID)()
	return s.erase(r, session)
}

func (s *storedSessions) Reload(r *http.Request) func() (*Record, error) {
	r = r.Clone(context.WithoutCancel(r.Context()))
	return func() (*Record, error) {
		rec, _, err := s.Load(r)
		if err != nil || rec == nil {
			return nil, err
		}
		return rec, rec.Unpack()
	}
}

// turns have one goroutine at a time do something, by a name.
type turns struct {
	mu sync.Mutex
	by map[string]*turn
}

type turn struct {
	busy  chan struct{}
	wants int
}

// take waits for the turn; the func ends it. There is no waiting for "".
func (t *turns) take(name string) (done func()) {
	if name == "" {
		return func() {}
	}
	t.mu.Lock()
	mine := t.by[name]
	if mine == nil {
		if t.by == nil {
			t.by = map[string]*turn{}
		}
		mine = &turn{busy: make(chan struct{}, 1)}
		t.by[name] = mine
	}
	mine.wants++
	t.mu.Unlock()
	mine.busy <- struct{}{}
	return func() {
		<-mine.busy
		t.mu.Lock()
		defer t.mu.Unlock()
		if mine.wants--; mine.wants == 0 {
			delete(t.by, name)
		}
	}
}

// discarded is a ResponseWriter for a Set-Cookie line that is not wanted.
type discarded struct{ header http.Header }

func (d discarded) Header() http.Header { return d.header }

func (d discarded) Write(b []byte) (int, error) { return len(b), nil }

func (d discarded) WriteHeader(int) {}
