package msauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
)

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
	return token, public(err)
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
		return nil, &Failure{Class: kindStepUp, Claims: rec.claims}
	}
	if n, ok := h.m.renewals.noticeOf(rec); ok && n.stepUp {
		return nil, &Failure{Class: kindStepUp, Claims: n.claims}
	}
	if w == (wish{}) && access != "" && now.Unix() < rec.expiry && !h.m.scopes.foreign(rec.scopes) {
		return bearer(access, rec.expiry), nil
	}
	if w == (wish{}) && access == "" && !rec.shed && now.Unix() < rec.refreshAt {
		// Asking again would bring none either.
		return nil, &Failure{Class: kindMisconfigured, Err: errNoAccessToken}
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
		return wish{}, &Failure{Class: kindMisconfigured, Err: err}
	}
	own, others := h.m.scopes.byAPI(scopes)
	missing := h.m.scopes.missing(h.record().scopes, own)
	switch {
	case len(others) == 0 && len(missing) == 0:
		return wish{}, nil
	case !h.m.scopes.apart: // a renewal brings no scope that was not granted (RFC 6749 section 6)
		return wish{}, &Failure{Class: kindStepUp, Scopes: missing, Err: errNotGranted}
	case len(others) > 1, len(others) == 1 && len(own) > 0:
		return wish{}, &Failure{Class: kindMisconfigured, Err: errManyAPIs}
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
		return nil, &Failure{Class: kindStepUp, Scopes: missing, Err: errNotGranted}
	}
	return bearer(g.access, g.expiry), nil
}

var errNotGranted = errors.New("msauth: fewer scopes were granted")

// forScopes adds what was wished for to an error that consent can mend.
func (h *heldTokens) forScopes(err error, w wish) error {
	failure, ok := errors.AsType[*Failure](err)
	if !ok || failure.Class != kindStepUp || w.scopes == "" {
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
	token, err := h.replaced(ctx, scopes, rejected, claims, again)
	return token, public(err)
}

func (h *heldTokens) replaced(ctx context.Context, scopes []string, rejected, claims string, again bool) (*oauth2.Token, error) {
	w, err := h.wishFor(scopes)
	if err != nil {
		return nil, err
	}
	w.claims = claims
	rec := h.record().clone()
	if err := rec.unpack(); err != nil {
		return nil, err
	}
	unmet := &Failure{
		Class: kindStepUp, StatusCode: http.StatusUnauthorized, Code: insufficientClaims,
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
	var failure *Failure
	if err != nil {
		var ok bool
		if failure, ok = errors.AsType[*Failure](err); !ok || failure.Class != kindSignIn && failure.Class != kindStepUp {
			return nil, err
		}
		if failure.Class == kindStepUp && failure.Claims == "" {
			mended := *failure
			mended.Claims = claims
			failure = &mended
		}
		err = failure
	}
	h.note(rec, w, rejected, failure)
	return token, err
}

// errNotReplaced means that there is no other token to be had.
var errNotReplaced = errors.New("msauth: no other token")

// note lets the next request know what this one has learned of the session's
// own token. What the token endpoint wants of the person keeps the session from
// every page; what an API wants does not, nor does an authentication context,
// which single pages ask for.
func (h *heldTokens) note(rec *record, w wish, rejected string, failure *Failure) {
	n := notice{of: rec.renewed}
	switch {
	case rec.stored && (failure == nil || failure.Class == kindSignIn):
		return // no cookie is to be written, and the entry says it
	case failure == nil && w.scopes != "":
		return
	case failure == nil:
		n.deliver = true
	case w.scopes != "" && failure.Class == kindSignIn:
		return
	case failure.Class == kindSignIn:
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
	h.session = Session{User: User(rec.give()), AppData: rec.appData, tokens: &h.tokens}
	return &h.session
}
