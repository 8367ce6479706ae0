package msauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"example.com/msauth/internal/bearer"
	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/renew"
	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/session"
	"golang.org/x/oauth2"
)

// heldTokens are the tokens of one request's session. They are renewed in
// memory when a handler outlasts them; the next request finds the outcome.
type heldTokens struct {
	m      *Middleware
	reload func() (*session.Record, error)

	mu     sync.Mutex
	rec    *session.Record // never changed, only replaced
	access *seal.Secret    // that of rec, once somebody has asked for it
}

func (h *heldTokens) token(ctx context.Context, scopes []string) (*oauth2.Token, error) {
	token, err := h.find(ctx, scopes)
	return token, public(err)
}

func (h *heldTokens) find(ctx context.Context, scopes []string) (*oauth2.Token, error) {
	w, err := h.tokenRequest(scopes)
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
	case rec.StepUp:
		return nil, &provider.Failure{Class: provider.StepUp, Claims: rec.Claims}
	}
	if n, ok := h.m.renewals.PendingUpdate(rec); ok && n.StepUp {
		return nil, &provider.Failure{Class: provider.StepUp, Claims: n.Claims}
	}
	if w == (renew.TokenRequest{}) && access != "" && now.Unix() < rec.Expiry && !h.m.scopes.Foreign(rec.Scopes) {
		return oauthToken(access, rec.Expiry), nil
	}
	if w == (renew.TokenRequest{}) && access == "" && !rec.Shed && now.Unix() < rec.RefreshAt {
		// Asking again would bring none either.
		return nil, &provider.Failure{Class: provider.Misconfigured, Err: provider.ErrNoAccessToken}
	}
	usable := func(g *provider.TokenSet) bool {
		return g.Usable(time.Now()) && (w.Scopes != "" || !h.m.scopes.Foreign(g.Scopes))
	}
	if w.Scopes == "" {
		return h.renew(ctx, rec, renew.Request{Reason: "asked", Due: func(g *provider.TokenSet) bool { return !usable(g) }}, usable)
	}
	due := func(g *provider.TokenSet) bool { return g.Due(time.Now()) || !usable(g) }
	if g := h.m.renewals.Other(rec.ID, w); g != nil && !due(g) {
		return h.bearerOf(g, w)
	}
	return h.renew(ctx, rec, renew.Request{Wanted: w, Reason: "other scopes", Due: due}, usable)
}

// wishFor is the wish for a token with scopes: the zero one where the session's
// own has them.
func (h *heldTokens) tokenRequest(scopes []string) (renew.TokenRequest, error) {
	if len(scopes) == 0 {
		return renew.TokenRequest{}, nil
	}
	scopes, err := h.m.scopes.Check(scopes)
	if err != nil {
		return renew.TokenRequest{}, &provider.Failure{Class: provider.Misconfigured, Err: err}
	}
	own, others := h.m.scopes.ByAPI(scopes)
	missing := h.m.scopes.Missing(h.record().Scopes, own)
	switch {
	case len(others) == 0 && len(missing) == 0:
		return renew.TokenRequest{}, nil
	case !h.m.scopes.Apart: // a renewal brings no scope that was not granted (RFC 6749 section 6)
		return renew.TokenRequest{}, &provider.Failure{Class: provider.StepUp, Scopes: missing, Err: errNotGranted}
	case len(others) > 1, len(others) == 1 && len(own) > 0:
		return renew.TokenRequest{}, &provider.Failure{Class: provider.Misconfigured, Err: provider.ErrManyAPIs}
	}
	return renew.TokenRequest{Scopes: strings.Join(scopes, " ")}, nil
}

// over reports whether the session has ended since the request began.
func (h *heldTokens) over(rec *session.Record) bool {
	if rec.Stored {
		return false // it is nobody's visit that could end
	}
	return h.m.ended.Has(rec.ID) || !time.Now().Before(rec.Ends(h.m.cfg.MaxAge))
}

// renew fulfils want in this request's name. A grant that will do is taken even
// if asking for a newer one has failed.
func (h *heldTokens) renew(ctx context.Context, rec *session.Record, want renew.Request, willDo func(*provider.TokenSet) bool) (*oauth2.Token, error) {
	rec = rec.Clone()
	if err := rec.Unpack(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTokenUnavailable, err)
	}
	want.Rec, want.Reload, want.KeepUntil = rec, h.reload, h.m.comesUntil(rec)
	g, err := h.m.renewals.Renew(ctx, want)
	if g == nil || !willDo(g) {
		if err == nil {
			err = ErrTokenUnavailable
		}
		return nil, h.forScopes(err, want.Wanted)
	}
	if h.over(rec) { // signed out while the renewal was under way
		return nil, ErrNoSession
	}
	if want.Wanted.Scopes != "" {
		h.moveOn(rec)
		return h.bearerOf(g, want.Wanted)
	}
	renewed := rec.RenewedBy(g)
	if !rec.Stored && (g.Refresh != rec.Refresh || g.Issued > rec.Renewed) {
		h.m.keepUndelivered(rec, g)
	}
	h.mu.Lock()
	if h.rec.UserKey == rec.UserKey { // else it was handed over meanwhile
		h.rec, h.access = renewed, &renewed.Access
	}
	h.mu.Unlock()
	return oauthToken(renewed.Access, renewed.Expiry), nil
}

// moveOn goes on with the refresh token that is left after a request for another
// API.
func (h *heldTokens) moveOn(rec *session.Record) {
	if _, _, newest := h.m.renewals.Known(rec.Refresh); newest != rec.Refresh {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.rec.UserKey == rec.UserKey && h.rec.Renewed <= rec.Renewed {
			h.rec = rec.MovedTo(newest)
		}
	}
}

// bearerOf is the token of a grant for another API, if it has all the scopes.
func (h *heldTokens) bearerOf(g *provider.TokenSet, w renew.TokenRequest) (*oauth2.Token, error) {
	if missing := h.m.scopes.Missing(g.Scopes, strings.Fields(w.Scopes)); len(missing) > 0 {
		return nil, &provider.Failure{Class: provider.StepUp, Scopes: missing, Err: errNotGranted}
	}
	return oauthToken(g.Access, g.Expiry), nil
}

var errNotGranted = errors.New("msauth: fewer scopes were granted")

// forScopes adds what was wished for to an error that consent can mend.
func (h *heldTokens) forScopes(err error, w renew.TokenRequest) error {
	failure, ok := errors.AsType[*provider.Failure](err)
	if !ok || failure.Class != provider.StepUp || w.Scopes == "" {
		return err
	}
	mended := *failure
	mended.Scopes = strings.Fields(w.Scopes)
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
	w, err := h.tokenRequest(scopes)
	if err != nil {
		return nil, err
	}
	w.Claims = claims
	rec := h.record().Clone()
	if err := rec.Unpack(); err != nil {
		return nil, err
	}
	unmet := &provider.Failure{
		Class: provider.StepUp, StatusCode: http.StatusUnauthorized, Code: provider.InsufficientClaims,
		Claims: claims, Scopes: strings.Fields(w.Scopes),
	}
	var token *oauth2.Token
	switch latest := h.m.renewals.Latest(rec, w); {
	case h.over(rec):
		return nil, ErrNoSession
	case claims == "" && latest != nil && string(latest.Access) == rejected && time.Since(time.Unix(latest.Issued, 0)) < replaceAfter:
		return nil, errNotReplaced
	case claims != "" && (again || latest != nil && string(latest.Access) == rejected && h.m.renewals.Challenged(rec, w)):
		err = unmet
	default:
		other := func(g *provider.TokenSet) bool {
			return g.Usable(time.Now()) && string(g.Access) != rejected && (w.Scopes != "" || !h.m.scopes.Foreign(g.Scopes))
		}
		token, err = h.renew(ctx, rec, renew.Request{
			Wanted: w, Reason: "rejected", Due: func(g *provider.TokenSet) bool { return !other(g) },
		}, other)
		if err == nil && claims != "" {
			h.m.renewals.Challenges.Put(h.m.renewals.RequestKey(rec.ID, renew.TokenRequest{Scopes: w.Scopes}), struct{}{}, time.Now().Add(challengeRest))
		}
	}
	var failure *provider.Failure
	if err != nil {
		var ok bool
		if failure, ok = errors.AsType[*provider.Failure](err); !ok || failure.Class != provider.SignIn && failure.Class != provider.StepUp {
			return nil, err
		}
		if failure.Class == provider.StepUp && failure.Claims == "" {
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
func (h *heldTokens) note(rec *session.Record, w renew.TokenRequest, rejected string, failure *provider.Failure) {
	n := renew.PendingUpdate{Of: rec.Renewed}
	switch {
	case rec.Stored && (failure == nil || failure.Class == provider.SignIn):
		return // no cookie is to be written, and the entry says it
	case failure == nil && w.Scopes != "":
		return
	case failure == nil:
		n.Deliver = true
	case w.Scopes != "" && failure.Class == provider.SignIn:
		return
	case failure.Class == provider.SignIn:
		n.Rejected = h.m.renewals.Key(seal.Secret(rejected))
	default:
		n.Claims = failure.Claims
		n.StepUp = w.Scopes == "" && failure.Code != provider.InsufficientClaims && !provider.AsksFor(failure.Claims, "acrs")
	}
	h.m.renewals.Note(rec.ID, n, h.m.comesUntil(rec))
}

func (h *heldTokens) record() *session.Record {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rec
}

// handOver goes on with a record whose tokens are kept for the app's user.
func (h *heldTokens) handOver(rec *session.Record) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.rec, h.access = rec, nil
}

func (h *heldTokens) current() (*session.Record, seal.Secret, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.access == nil {
		access, err := h.rec.AccessToken()
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
func (m *Middleware) keepUndelivered(rec *session.Record, g *provider.TokenSet) {
	m.renewals.Keep(rec.Refresh, g, m.comesUntil(rec))
}

// comesUntil is how long a browser may come with the cookie that it has, or a
// worker with an entry.
func (m *Middleware) comesUntil(rec *session.Record) time.Time {
	if rec.Stored {
		return time.Now().Add(renew.RefreshExpiry)
	}
	until := rec.Ends(m.cfg.MaxAge)
	if m.cfg.IdleTimeout < m.cfg.MaxAge {
		// A slower answer may note a later use in it than it has now.
		if idle := time.Now().Add(m.cfg.IdleTimeout); idle.Before(until) {
			return idle
		}
	}
	return until
}

func oauthToken(access seal.Secret, expiry int64) *oauth2.Token {
	return &oauth2.Token{AccessToken: string(access), TokenType: "Bearer", Expiry: time.Unix(expiry, 0)}
}

func (h *heldTokens) info() tokenInfo {
	rec := h.record()
	info := tokenInfo{
		expiry:   time.Unix(rec.Expiry, 0),
		renewed:  time.Unix(rec.Renewed, 0),
		signedIn: time.Unix(rec.SignedIn, 0),
		scopes:   rec.ScopeList(),
		rules:    h.m.scopes,
	}
	if rec.AuthTime != 0 {
		info.auth = time.Unix(rec.AuthTime, 0)
	}
	if !rec.Stored {
		info.ends = rec.Ends(h.m.cfg.MaxAge)
	}
	return info
}

func (h *heldTokens) transport(ctx context.Context) http.RoundTripper {
	return &bearer.Transport{
		Ctx: ctx, Token: h.token, Replace: h.replace, Final: forPerson,
		Hosts: h.m.tokenHosts, Base: h.m.tokenBase,
	}
}

// forPerson reports whether an error is for the person to mend, or for nobody.
func forPerson(err error) bool {
	return errors.Is(err, ErrSignInRequired) || errors.Is(err, ErrNoSession)
}

// A heldSession is a session and its tokens, in one piece of memory.
type heldSession struct {
	session Session
	tokens  heldTokens
}

// of makes what a handler sees of a record.
func (h *heldSession) of(m *Middleware, rec *session.Record, reload func() (*session.Record, error)) *Session {
	h.tokens.m, h.tokens.rec, h.tokens.reload = m, rec, reload
	h.session = Session{User: User(rec.Give()), AppData: rec.AppData, tokens: &h.tokens}
	return &h.session
}
