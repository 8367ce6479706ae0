package msauth

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"
)

// sessionStore is where sessions live between requests: in cookies, or on the
// server.
type sessionStore interface {
	// load reads the request's session. sent says that the request carried
	// something that was meant to be one. An error means that the store is
	// broken, not the cookie.
	load(r *http.Request) (rec *record, sent bool, err error)
	// create writes the session of a new sign-in under a new name.
	create(w http.ResponseWriter, r *http.Request, rec *record) error
	// update writes a session that load has read. gone means that somebody
	// deleted it in between.
	update(w http.ResponseWriter, r *http.Request, rec *record) (gone bool, err error)
	// remove ends what the request carries, readable or not.
	remove(w http.ResponseWriter, r *http.Request) error
	// reload reads a record of load's again, nil when it is gone; the func is
	// nil where there is nothing to read again.
	reload(r *http.Request) func() (*record, error)
	// changed reports whether somebody has written a record since load read it.
	changed(r *http.Request, rec *record) bool
}

// storeTerms are what both kinds of stores have to know of the app.
type storeTerms struct {
	cookies       *cookieFormat
	layout        *layout
	registration  registration
	ended         endedSet
	maxAge        time.Duration
	sessionCookie bool // browsers are to forget it when they end
	log           *slog.Logger
	// keep holds on to tokens that a cookie has no room for.
	keep func(refresh secret, g *grant, until time.Time)
	// leadsTo reports whether a refresh token is another one, or is known to
	// have followed it.
	leadsTo func(refresh, other secret) bool
}

// newSessionStore makes the store of an app: cookies, where it has no store of its
// own.
func newSessionStore(terms storeTerms, own sessions.Store, ring keyring) sessionStore {
	if own == nil {
		return &cookieSessions{terms}
	}
	return &storedSessions{terms, own, sealer{ring.derive("msauth stored session v1")}, &turns{}}
}

// cookieAge is the Max-Age of a session's cookies.
func (t *storeTerms) cookieAge(rec *record) time.Duration {
	if t.sessionCookie {
		return 0
	}
	return max(time.Until(rec.ends(t.maxAge)), time.Second)
}

// cookieSessions keeps sessions in cookies.
type cookieSessions struct{ storeTerms }

func (s *cookieSessions) load(r *http.Request) (*record, bool, error) {
	got := s.cookies.read(r.Header)
	if got.head == nil {
		return nil, got.sent != 0, nil
	}
	rec, err := decodeRecord(got.head, s.layout)
	if err != nil {
		return nil, true, nil
	}
	rec.sealed, rec.cookies = got.tail, s.cookies
	rec.surplus = got.surplus
	return rec, true, nil
}

func (s *cookieSessions) create(w http.ResponseWriter, r *http.Request, rec *record) error {
	return s.write(w, r, rec, true)
}

func (s *cookieSessions) update(w http.ResponseWriter, r *http.Request, rec *record) (bool, error) {
	return false, s.write(w, r, rec, false)
}

// write leaves out what the budget has no room for.
func (s *cookieSessions) write(w http.ResponseWriter, r *http.Request, rec *record, log bool) error {
	age := s.cookieAge(rec)
	if err := rec.open(); err != nil {
		return err // rather than write a session without its tokens
	}
	lean := rec
	var without []string
	for {
		identity, tokens := lean.encode()
		_, _, total := s.cookies.lines(len(identity), len(tokens), age)
		if total <= s.cookies.budget {
			if log && len(without) > 0 {
				s.log.InfoContext(r.Context(), "msauth: session over its cookie budget", "user", rec.user.key(),
					"budget", s.cookies.budget, "left_out", strings.Join(without, ", "))
			}
			if lean.shed && lean.access != "" {
				s.keep(lean.refresh, lean.grant(), time.Unix(rec.expiry, 0))
			}
			return s.cookies.write(w.Header(), s.cookies.scan(r.Header).sent, identity, tokens, age)
		}
		if lean == rec {
			lean = rec.clone()
		}
		what := lean.shrink()
		if what == "" {
			return fmt.Errorf("%w: %d bytes of cookies, %d of them the refresh token, where Config.CookieBudget is %d; Config.Store keeps sessions on the server",
				errTooLarge, total, len(rec.refresh), s.cookies.budget)
		}
		without = append(without, what)
	}
}

func (s *cookieSessions) remove(w http.ResponseWriter, r *http.Request) error {
	// Load around a handler that signs out may have set cookies already.
	s.cookies.clear(w.Header(), s.cookies.scan(r.Header).sent|s.cookies.set(w.Header()))
	return nil
}

func (s *cookieSessions) reload(*http.Request) func() (*record, error) { return nil }

func (s *cookieSessions) changed(*http.Request, *record) bool { return false }

// storedSessions keeps sessions in a gorilla store. It uses New and Save only:
// Get rewrites the request in place, under whoever else reads it.
type storedSessions struct {
	storeTerms
	store sessions.Store
	codec securecookie.Codec
	turns *turns // by the store's ids, of who writes
}

// storedKey is the one value of our sessions: a text, which every store's
// serializer leaves as it is.
const storedKey = "msauth"

func (s *storedSessions) name() string { return s.cookies.name }

// owner is what a record is sealed under: a copy in another's place opens
// nothing. id is what the store calls it, "" at stores that keep nothing.
func (s *storedSessions) owner(id string) string {
	return "v2\x00" + s.name() + "\x00" + string(s.registration[:]) + id
}

// oldOwner is what records were sealed under before. They open until they are
// written anew.
func (s *storedSessions) oldOwner() string {
	return s.name() + "\x00" + string(s.registration[:])
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

func (s *storedSessions) load(r *http.Request) (*record, bool, error) {
	cookies := s.cookies.scan(r.Header)
	sent := cookies.sent != 0
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
func (s *storedSessions) decode(session *sessions.Session) *record {
	text, _ := session.Values[storedKey].(string)
	var payload []byte
	if s.codec.Decode(s.owner(session.ID), text, &payload) != nil && s.codec.Decode(s.oldOwner(), text, &payload) != nil {
		return nil
	}
	identity, tokens, err := splitParts(payload)
	if err != nil {
		return nil
	}
	rec, err := decodeRecord(identity, s.layout)
	if err != nil {
		return nil
	}
	rec.packed, rec.text = tokens, text
	return rec
}

func (s *storedSessions) create(w http.ResponseWriter, r *http.Request, rec *record) error {
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
		s.log.ErrorContext(r.Context(), "msauth: deleting the session before", "user", rec.user.key(), "err", err)
	}
	return nil
}

func (s *storedSessions) update(w http.ResponseWriter, r *http.Request, rec *record) (bool, error) {
	session, err := s.open(r)
	if err != nil || session == nil {
		return err == nil, err
	}
	// One after the other, and each looks at what the one before has left. What
	// another process does between the look and the save goes unnoticed.
	defer s.turns.take(session.ID)()
	if s.ended.has(rec.id) {
		return true, nil // signed out meanwhile
	}
	if session, err = s.open(r); err != nil || session == nil {
		return err == nil, err
	}
	if text, _ := session.Values[storedKey].(string); text != rec.text {
		now := s.decode(session)
		if now == nil || now.id != rec.id {
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
func (s *storedSessions) follows(rec, now *record) bool {
	if rec.packed != nil || now.unpack() != nil { // its tokens are those of before
		return false
	}
	if now.refresh == rec.refresh {
		return now.renewed <= rec.renewed
	}
	return s.leadsTo(now.refresh, rec.refresh)
}

func (s *storedSessions) changed(r *http.Request, rec *record) bool {
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

func (s *storedSessions) save(w http.ResponseWriter, r *http.Request, session *sessions.Session, rec *record) error {
	payload, before := joinParts(rec.encode()), session.ID
	// Never 0: stores take it for "delete".
	session.Options = s.options(seconds(max(time.Until(rec.ends(s.maxAge)), time.Second)))
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
				return fmt.Errorf("%w: Config.Store refuses a record of %d bytes: raise its limit (MaxLength(0) of gorilla's FilesystemStore, SetMaxLength(0) of others, lifts it): %w", errStoreLimit, len(text), err)
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

// errTooLarge means that a session does not fit what keeps it, even without all
// that it can do without.
var errTooLarge = errors.New("msauth: session too large")

// errStoreLimit is the app's to mend: no account is too large for a store.
var errStoreLimit = fmt.Errorf("%w for Config.Store", errTooLarge)

// joinParts makes one text of the two parts of a record: the length of the
// first, and both.
func joinParts(identity, tokens []byte) []byte {
	joined := binary.AppendUvarint(make([]byte, 0, len(identity)+len(tokens)+2), uint64(len(identity)))
	return append(append(joined, identity...), tokens...)
}

// splitParts undoes joinParts.
func splitParts(joined []byte) (identity, tokens []byte, err error) {
	size, width := binary.Uvarint(joined)
	if width <= 0 || size > uint64(len(joined)-width) {
		return nil, nil, errCompact
	}
	joined = joined[width:]
	return joined[:size], joined[size:], nil
}

func (s *storedSessions) options(maxAge int) *sessions.Options {
	c := s.cookies.cookie(s.name(), "", maxAge)
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
		if s.sessionCookie && c.MaxAge > 0 {
			c.MaxAge = 0
		}
		setCookie(w.Header(), s.cookies.cookie(c.Name, c.Value, c.MaxAge))
	}
}

// sent is the store's session that the request's cookie names, if any.
func (s *storedSessions) sent(r *http.Request) (*sessions.Session, error) {
	if s.cookies.scan(r.Header).sent == 0 {
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

func (s *storedSessions) remove(w http.ResponseWriter, r *http.Request) error {
	s.cookies.clear(w.Header(), s.cookies.scan(r.Header).sent)
	session, err := s.sent(r)
	if err != nil || session == nil {
		return err
	}
	defer s.turns.take(session.ID)()
	return s.erase(r, session)
}

func (s *storedSessions) reload(r *http.Request) func() (*record, error) {
	r = r.Clone(context.WithoutCancel(r.Context()))
	return func() (*record, error) {
		rec, _, err := s.load(r)
		if err != nil || rec == nil {
			return nil, err
		}
		return rec, rec.unpack()
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

func (d discarded) Header() http.Header         { return d.header }
func (d discarded) Write(b []byte) (int, error) { return len(b), nil }
func (d discarded) WriteHeader(int)             {}
