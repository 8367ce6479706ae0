package msauth

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"
	"golang.org/x/oauth2"
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

func (m *Middleware) newSessionStore(ring keyring) sessionStore {
	if m.cfg.Store == nil {
		return cookieSessions{m}
	}
	return storedSessions{m, m.cfg.Store, sealer{ring.derive("msauth stored session v1")}, &turns{}}
}

// cookieAge is the Max-Age of a session's cookies.
func (m *Middleware) cookieAge(rec *record) time.Duration {
	if m.cfg.SessionCookie {
		return 0
	}
	return max(time.Until(rec.ends(m.cfg.MaxAge)), time.Second)
}

// cookieSessions keeps sessions in cookies.
type cookieSessions struct{ m *Middleware }

func (s cookieSessions) load(r *http.Request) (*record, bool, error) {
	got := s.m.cookies.read(r.Header)
	if got.head == nil {
		return nil, got.sent != 0, nil
	}
	rec, err := decodeRecord(got.head, &s.m.layout)
	if err != nil {
		return nil, true, nil
	}
	rec.sealed, rec.cookies = got.tail, s.m.cookies
	rec.surplus = got.surplus
	return rec, true, nil
}

func (s cookieSessions) create(w http.ResponseWriter, r *http.Request, rec *record) error {
	return s.write(w, r, rec, true)
}

func (s cookieSessions) update(w http.ResponseWriter, r *http.Request, rec *record) (bool, error) {
	return false, s.write(w, r, rec, false)
}

// write leaves out what the budget has no room for.
func (s cookieSessions) write(w http.ResponseWriter, r *http.Request, rec *record, log bool) error {
	age := s.m.cookieAge(rec)
	if err := rec.open(); err != nil {
		return err // rather than write a session without its tokens
	}
	lean := rec
	var without []string
	for {
		identity, tokens := lean.encode()
		_, _, total := s.m.cookies.lines(len(identity), len(tokens), age)
		if total <= s.m.cookies.budget {
			if log && len(without) > 0 {
				s.m.log.InfoContext(r.Context(), "msauth: session over its cookie budget", "user", rec.user.Key(),
					"budget", s.m.cookies.budget, "left_out", strings.Join(without, ", "))
			}
			if lean.shed && lean.access != "" {
				s.m.renewals.keep(lean.refresh, lean.grant(), time.Unix(rec.expiry, 0))
			}
			return s.m.cookies.write(w.Header(), s.m.cookies.scan(r.Header).sent, identity, tokens, age)
		}
		if lean == rec {
			lean = rec.clone()
		}
		what := lean.shrink()
		if what == "" {
			return fmt.Errorf("%w: %d bytes of cookies, %d of them the refresh token, where Config.CookieBudget is %d; Config.Store keeps sessions on the server",
				ErrCookieTooLarge, total, len(rec.refresh), s.m.cookies.budget)
		}
		without = append(without, what)
	}
}

func (s cookieSessions) remove(w http.ResponseWriter, r *http.Request) error {
	// Load around a handler that signs out may have set cookies already.
	s.m.cookies.clear(w.Header(), s.m.cookies.scan(r.Header).sent|s.m.cookies.set(w.Header()))
	return nil
}

func (s cookieSessions) reload(*http.Request) func() (*record, error) { return nil }

func (s cookieSessions) changed(*http.Request, *record) bool { return false }

// storedSessions keeps sessions in a gorilla store. It uses New and Save only:
// Get rewrites the request in place, under whoever else reads it.
type storedSessions struct {
	m     *Middleware
	store sessions.Store
	codec securecookie.Codec
	turns *turns // by the store's ids, of who writes
}

// storedKey is the one value of our sessions: a text, which every store's
// serializer leaves as it is.
const storedKey = "msauth"

func (s storedSessions) name() string { return s.m.cookies.name }

// owner is what a record is sealed under: a copy in another's place opens
// nothing. id is what the store calls it, "" at stores that keep nothing.
func (s storedSessions) owner(id string) string {
	return "v2\x00" + s.name() + "\x00" + string(s.m.registration[:]) + id
}

// oldOwner is what records were sealed under before. They open until they are
// written anew.
func (s storedSessions) oldOwner() string {
	return s.name() + "\x00" + string(s.m.registration[:])
}

// open separates "no session" from "the store is broken".
func (s storedSessions) open(r *http.Request) (*sessions.Session, error) {
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

func (s storedSessions) load(r *http.Request) (*record, bool, error) {
	cookies := s.m.cookies.scan(r.Header)
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
func (s storedSessions) decode(session *sessions.Session) *record {
	text, _ := session.Values[storedKey].(string)
	var payload []byte
	if s.codec.Decode(s.owner(session.ID), text, &payload) != nil && s.codec.Decode(s.oldOwner(), text, &payload) != nil {
		return nil
	}
	identity, tokens, err := splitParts(payload)
	if err != nil {
		return nil
	}
	rec, err := decodeRecord(identity, &s.m.layout)
	if err != nil {
		return nil
	}
	rec.packed, rec.text = tokens, text
	return rec
}

func (s storedSessions) create(w http.ResponseWriter, r *http.Request, rec *record) error {
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
		s.m.log.ErrorContext(r.Context(), "msauth: deleting the session before", "user", rec.user.Key(), "err", err)
	}
	return nil
}

func (s storedSessions) update(w http.ResponseWriter, r *http.Request, rec *record) (bool, error) {
	session, err := s.open(r)
	if err != nil || session == nil {
		return err == nil, err
	}
	// One after the other, and each looks at what the one before has left. What
	// another process does between the look and the save goes unnoticed.
	defer s.turns.take(session.ID)()
	if s.m.ended.has(rec.id) {
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
func (s storedSessions) follows(rec, now *record) bool {
	if rec.packed != nil || now.unpack() != nil { // its tokens are those of before
		return false
	}
	if now.refresh == rec.refresh {
		return now.renewed <= rec.renewed
	}
	return s.m.renewals.leadsTo(now.refresh, rec.refresh)
}

func (s storedSessions) changed(r *http.Request, rec *record) bool {
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

func (s storedSessions) save(w http.ResponseWriter, r *http.Request, session *sessions.Session, rec *record) error {
	payload, before := joinParts(rec.encode()), session.ID
	// Never 0: stores take it for "delete".
	session.Options = s.options(seconds(max(time.Until(rec.ends(s.m.cfg.MaxAge)), time.Second)))
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

// errStoreLimit is the app's to mend: no account is too large for a store.
var errStoreLimit = fmt.Errorf("%w for Config.Store", ErrCookieTooLarge)

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

func (s storedSessions) options(maxAge int) *sessions.Options {
	c := s.m.cookies.cookie(s.name(), "", maxAge)
	return &sessions.Options{Path: c.Path, MaxAge: c.MaxAge, Secure: c.Secure, HttpOnly: c.HttpOnly, SameSite: c.SameSite}
}

// restate puts the cookie that the store has set under our own rules: no age
// where the browser is to forget it, and no cache.
func (s storedSessions) restate(w http.ResponseWriter, answer http.Header) {
	for _, line := range answer["Set-Cookie"] {
		c, err := http.ParseSetCookie(line)
		if err != nil || c.Name != s.name() {
			w.Header().Add("Set-Cookie", line)
			continue
		}
		if s.m.cfg.SessionCookie && c.MaxAge > 0 {
			c.MaxAge = 0
		}
		setCookie(w.Header(), s.m.cookies.cookie(c.Name, c.Value, c.MaxAge))
	}
}

// sent is the store's session that the request's cookie names, if any.
func (s storedSessions) sent(r *http.Request) (*sessions.Session, error) {
	if s.m.cookies.scan(r.Header).sent == 0 {
		return nil, nil
	}
	return s.open(r)
}

// erase deletes a record.
func (s storedSessions) erase(r *http.Request, session *sessions.Session) error {
	if session == nil {
		return nil
	}
	session.Options = s.options(-1)
	if err := s.store.Save(r, discarded{http.Header{}}, session); err != nil {
		return fmt.Errorf("msauth: Config.Store: %w", err)
	}
	return nil
}

func (s storedSessions) remove(w http.ResponseWriter, r *http.Request) error {
	s.m.cookies.clear(w.Header(), s.m.cookies.scan(r.Header).sent)
	session, err := s.sent(r)
	if err != nil || session == nil {
		return err
	}
	defer s.turns.take(session.ID)()
	return s.erase(r, session)
}

func (s storedSessions) reload(r *http.Request) func() (*record, error) {
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

// heldTokens are the tokens of one request's session. They are renewed in
// memory when a handler outlasts them; the next request finds the outcome.
type heldTokens struct {
	m      *Middleware
	reload func() (*record, error)

	mu     sync.Mutex
	rec    *record // never changed, only replaced
	access *secret // that of rec, once somebody has asked for it
}

func (h *heldTokens) token(ctx context.Context, scopes []string) (*oauth2.Token, error) {
	token, err := h.find(ctx, scopes)
	return token, ownError(err)
}

// ownError is an error that its receiver may change: a failure is remembered,
// and answers others too.
func ownError(err error) error {
	failure, ok := err.(*AuthError)
	if !ok {
		return err
	}
	own := *failure
	own.Numbers, own.Scopes = slices.Clone(own.Numbers), slices.Clone(own.Scopes)
	return &own
}

func (h *heldTokens) find(ctx context.Context, scopes []string) (*oauth2.Token, error) {
	w, err := h.wishFor(scopes)
	if err != nil {
		return nil, err
	}
	rec, access, err := h.current()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTokenUnavailable, err)
	}
	now := time.Now()
	switch {
	case h.over(rec):
		return nil, ErrNoSession
	case rec.stepUp:
		return nil, &AuthError{Class: ClassStepUp, Claims: rec.claims}
	}
	if n, ok := h.m.renewals.noticeOf(rec); ok && n.stepUp {
		return nil, &AuthError{Class: ClassStepUp, Claims: n.claims}
	}
	if w == (wish{}) && access != "" && now.Unix() < rec.expiry && !h.m.scopes.foreign(rec.scopes) {
		return bearer(access, rec.expiry), nil
	}
	if w == (wish{}) && access == "" && !rec.shed && now.Unix() < rec.refreshAt {
		// Asking again would bring none either.
		return nil, &AuthError{Class: ClassMisconfigured, Err: errNoAccessToken}
	}
	usable := func(g *grant) bool {
		return g.usable(time.Now()) && (w.scopes != "" || !h.m.scopes.foreign(g.scopes))
	}
	if w.scopes == "" {
		return h.renew(ctx, rec, renewal{reason: "asked", due: func(g *grant) bool { return !usable(g) }}, usable)
	}
	due := func(g *grant) bool { return g.due(time.Now()) || !usable(g) }
	if g := h.m.renewals.other(rec.id, w); g != nil && !due(g) {
		return h.bearerOf(g, w)
	}
	return h.renew(ctx, rec, renewal{wish: w, reason: "other scopes", due: due}, usable)
}

// wishFor is the wish for a token with scopes: the zero one where the session's
// own has them.
func (h *heldTokens) wishFor(scopes []string) (wish, error) {
	if len(scopes) == 0 {
		return wish{}, nil
	}
	scopes, err := h.m.scopes.check(scopes)
	if err != nil {
		return wish{}, &AuthError{Class: ClassMisconfigured, Err: err}
	}
	own, others := h.m.scopes.byAPI(scopes)
	missing := h.m.scopes.missing(h.record().scopes, own)
	switch {
	case len(others) == 0 && len(missing) == 0:
		return wish{}, nil
	case !h.m.scopes.apart: // a renewal brings no scope that was not granted (RFC 6749 section 6)
		return wish{}, &AuthError{Class: ClassStepUp, Scopes: missing, Err: errNotGranted}
	case len(others) > 1, len(others) == 1 && len(own) > 0:
		return wish{}, &AuthError{Class: ClassMisconfigured, Err: errManyAPIs}
	}
	return wish{scopes: strings.Join(scopes, " ")}, nil
}

// over reports whether the session has ended since the request began.
func (h *heldTokens) over(rec *record) bool {
	if rec.stored {
		return false // it is nobody's visit that could end
	}
	return h.m.ended.has(rec.id) || !time.Now().Before(rec.ends(h.m.cfg.MaxAge))
}

// renew fulfils want in this request's name. A grant that will do is taken even
// if asking for a newer one has failed.
func (h *heldTokens) renew(ctx context.Context, rec *record, want renewal, willDo func(*grant) bool) (*oauth2.Token, error) {
	rec = rec.clone()
	if err := rec.unpack(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTokenUnavailable, err)
	}
	want.rec, want.reload, want.keepUntil = rec, h.reload, h.m.comesUntil(rec)
	g, err := h.m.renewals.renew(ctx, want)
	if g == nil || !willDo(g) {
		if err == nil {
			err = ErrTokenUnavailable
		}
		return nil, h.forScopes(err, want.wish)
	}
	if h.over(rec) { // signed out while the renewal was under way
		return nil, ErrNoSession
	}
	if want.wish.scopes != "" {
		h.moveOn(rec)
		return h.bearerOf(g, want.wish)
	}
	renewed := rec.renewedBy(g)
	if !rec.stored && (g.refresh != rec.refresh || g.issued > rec.renewed) {
		h.m.keepUndelivered(rec, g)
	}
	h.mu.Lock()
	if h.rec.userKey == rec.userKey { // else it was handed over meanwhile
		h.rec, h.access = renewed, &renewed.access
	}
	h.mu.Unlock()
	return bearer(renewed.access, renewed.expiry), nil
}

// moveOn goes on with the refresh token that is left after a request for another
// API.
func (h *heldTokens) moveOn(rec *record) {
	if _, _, newest := h.m.renewals.known(rec.refresh); newest != rec.refresh {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.rec.userKey == rec.userKey && h.rec.renewed <= rec.renewed {
			h.rec = rec.movedTo(newest)
		}
	}
}

// bearerOf is the token of a grant for another API, if it has all the scopes.
func (h *heldTokens) bearerOf(g *grant, w wish) (*oauth2.Token, error) {
	if missing := h.m.scopes.missing(g.scopes, strings.Fields(w.scopes)); len(missing) > 0 {
		return nil, &AuthError{Class: ClassStepUp, Scopes: missing, Err: errNotGranted}
	}
	return bearer(g.access, g.expiry), nil
}

var errNotGranted = errors.New("msauth: fewer scopes were granted")

// forScopes adds what was wished for to an error that consent can mend.
func (h *heldTokens) forScopes(err error, w wish) error {
	failure, ok := errors.AsType[*AuthError](err)
	if !ok || failure.Class != ClassStepUp || w.scopes == "" {
		return err
	}
	mended := *failure
	mended.Scopes = strings.Fields(w.scopes)
	return &mended
}

const (
	// replaceAfter is how old a token must be that is replaced because an API
	// does not take it, if the API does not say why: a new one would not
	// please it either.
	replaceAfter = 1 * time.Minute
	// challengeRest is how long no other token is asked for where one that was
	// got for a claims challenge meets with the next.
	challengeRest = 1 * time.Minute
)

// replace finds another token for one that an API does not take, with the
// claims that it asks for, if any. again says that the token was such another
// one already: then only the person can help.
func (h *heldTokens) replace(ctx context.Context, scopes []string, rejected, claims string, again bool) (*oauth2.Token, error) {
	w, err := h.wishFor(scopes)
	if err != nil {
		return nil, err
	}
	w.claims = claims
	rec := h.record().clone()
	if err := rec.unpack(); err != nil {
		return nil, err
	}
	unmet := &AuthError{
		Class: ClassStepUp, StatusCode: http.StatusUnauthorized, Code: insufficientClaims,
		Claims: claims, Scopes: strings.Fields(w.scopes),
	}
	var token *oauth2.Token
	switch latest := h.m.renewals.latest(rec, w); {
	case h.over(rec):
		return nil, ErrNoSession
	case claims == "" && latest != nil && string(latest.access) == rejected && time.Since(time.Unix(latest.issued, 0)) < replaceAfter:
		return nil, errNotReplaced
	case claims != "" && (again || latest != nil && string(latest.access) == rejected && h.m.renewals.challenged(rec, w)):
		err = unmet
	default:
		other := func(g *grant) bool {
			return g.usable(time.Now()) && string(g.access) != rejected && (w.scopes != "" || !h.m.scopes.foreign(g.scopes))
		}
		token, err = h.renew(ctx, rec, renewal{
			wish: w, reason: "rejected", due: func(g *grant) bool { return !other(g) },
		}, other)
		if err == nil && claims != "" {
			h.m.renewals.challenges.put(h.m.renewals.wishKey(rec.id, wish{scopes: w.scopes}), struct{}{}, time.Now().Add(challengeRest))
		}
	}
	var failure *AuthError
	if err != nil {
		var ok bool
		if failure, ok = errors.AsType[*AuthError](err); !ok || failure.Class != ClassSignIn && failure.Class != ClassStepUp {
			return nil, err
		}
		if failure.Class == ClassStepUp && failure.Claims == "" {
			mended := *failure
			mended.Claims = claims
			failure = &mended
		}
		err = failure
	}
	h.note(rec, w, rejected, failure)
	return token, ownError(err)
}

// errNotReplaced means that there is no other token to be had.
var errNotReplaced = errors.New("msauth: no other token")

// note lets the next request know what this one has learned of the session's
// own token. What the token endpoint wants of the person keeps the session from
// every page; what an API wants does not, nor does an authentication context,
// which single pages ask for.
func (h *heldTokens) note(rec *record, w wish, rejected string, failure *AuthError) {
	n := notice{of: rec.renewed}
	switch {
	case rec.stored && (failure == nil || failure.Class == ClassSignIn):
		return // no cookie is to be written, and the entry says it
	case failure == nil && w.scopes != "":
		return
	case failure == nil:
		n.deliver = true
	case w.scopes != "" && failure.Class == ClassSignIn:
		return
	case failure.Class == ClassSignIn:
		n.rejected = h.m.renewals.key(secret(rejected))
	default:
		n.claims = failure.Claims
		n.stepUp = w.scopes == "" && failure.Code != insufficientClaims && !asksFor(failure.Claims, "acrs")
	}
	h.m.renewals.note(rec.id, n, h.m.comesUntil(rec))
}

func (h *heldTokens) record() *record {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rec
}

func (h *heldTokens) current() (*record, secret, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.access == nil {
		access, err := h.rec.accessToken()
		if err != nil {
			return nil, "", err
		}
		h.access = &access
	}
	return h.rec, *h.access, nil
}

// keepUndelivered holds on to a grant that the browser has not been given. As
// long as the session may come back with the refresh token it has, which a
// strict provider takes for theft, it must lead to the newer one.
func (m *Middleware) keepUndelivered(rec *record, g *grant) {
	m.renewals.keep(rec.refresh, g, m.comesUntil(rec))
}

// comesUntil is how long a browser may come with the cookie that it has, or a
// worker with an entry.
func (m *Middleware) comesUntil(rec *record) time.Time {
	if rec.stored {
		return time.Now().Add(refreshExpiry)
	}
	until := rec.ends(m.cfg.MaxAge)
	if m.cfg.IdleTimeout < m.cfg.MaxAge {
		// A slower answer may note a later use in it than it has now.
		if idle := time.Now().Add(m.cfg.IdleTimeout); idle.Before(until) {
			return idle
		}
	}
	return until
}

func bearer(access secret, expiry int64) *oauth2.Token {
	return &oauth2.Token{AccessToken: string(access), TokenType: "Bearer", Expiry: time.Unix(expiry, 0)}
}

func (h *heldTokens) info() tokenInfo {
	rec := h.record()
	info := tokenInfo{
		expiry:   time.Unix(rec.expiry, 0),
		renewed:  time.Unix(rec.renewed, 0),
		signedIn: time.Unix(rec.signedIn, 0),
		scopes:   rec.scopeList(),
		rules:    h.m.scopes,
	}
	if rec.authTime != 0 {
		info.auth = time.Unix(rec.authTime, 0)
	}
	if !rec.stored {
		info.ends = rec.ends(h.m.cfg.MaxAge)
	}
	return info
}

func (h *heldTokens) transport(ctx context.Context) http.RoundTripper {
	return &bearerTransport{
		ctx: ctx, token: h.token, replace: h.replace,
		hosts: h.m.tokenHosts, base: h.m.tokenBase,
	}
}

// A heldSession is a session and its tokens, in one piece of memory.
type heldSession struct {
	session Session
	tokens  heldTokens
}

// of makes what a handler sees of a record.
func (h *heldSession) of(m *Middleware, rec *record, reload func() (*record, error)) *Session {
	h.tokens.m, h.tokens.rec, h.tokens.reload = m, rec, reload
	h.session = Session{User: rec.give(), AppData: rec.appData, tokens: &h.tokens}
	return &h.session
}
