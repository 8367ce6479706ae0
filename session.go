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
	"example.com/msauth/internal/device"
	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/renew"
	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/session"
	"golang.org/x/oauth2"
)

// A heldSession is a session and its tokens in a single allocation.
type heldSession struct {
	session Session
	tokens  heldTokens
}

// of initializes h from rec and returns the Session for a handler.
func (h *heldSession) of(m *Middleware, rec *session.Record, reload func() (*session.Record, error)) *Session {
	h.tokens.m, h.tokens.rec, h.tokens.reload = m, rec, reload
	h.session = Session{User: User(rec.Give()), AppData: rec.AppData, tokens: &h.tokens}
	return &h.session
}

// heldTokens are the tokens of one request's session. If a handler outlasts
// them, they are renewed in memory, where the next request finds the result.
type heldTokens struct {
	m      *Middleware
	reload func() (*session.Record, error)

	mu     sync.Mutex
	rec    *session.Record // never changed, only replaced
	access *seal.Secret    // access token of rec, nil until first used
}

// token implements the interface tokens.
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
	if n, ok := h.m.renewals.Pending(rec); ok && n.StepUp {
		return nil, &provider.Failure{Class: provider.StepUp, Claims: n.Claims}
	}
	if w == (renew.TokenRequest{}) && access != "" && now.Unix() < rec.Expiry && !h.m.scopes.Foreign(rec.Scopes) {
		return oauthToken(access, rec.Expiry), nil
	}
	if w == (renew.TokenRequest{}) && access == "" && !rec.Shed && now.Unix() < rec.RefreshAt {
		// The provider gave none: another request would not change that.
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

// tokenRequest returns the request for a token with the given scopes. It is the
// zero TokenRequest if the session's own token has them.
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
		return false // stored tokens belong to no browser session
	}
	return h.m.ended.Has(rec) || !time.Now().Before(rec.Ends(h.m.cfg.MaxAge))
}

// renew makes the token request want for this session. If it fails, an older
// token set is still used if willDo accepts it.
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
	if h.rec.UserKey == rec.UserKey { // else handOver was called meanwhile
		h.rec, h.access = renewed, &renewed.Access
	}
	h.mu.Unlock()
	return oauthToken(renewed.Access, renewed.Expiry), nil
}

// moveOn switches to the refresh token that a request for another API returned.
func (h *heldTokens) moveOn(rec *session.Record) {
	if _, _, newest := h.m.renewals.Known(rec.Refresh); newest != rec.Refresh {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.rec.UserKey == rec.UserKey && h.rec.Renewed <= rec.Renewed {
			h.rec = rec.MovedTo(newest)
		}
	}
}

// bearerOf returns the access token for another API, or an error if it lacks
// some of the requested scopes.
func (h *heldTokens) bearerOf(g *provider.TokenSet, w renew.TokenRequest) (*oauth2.Token, error) {
	if missing := h.m.scopes.Missing(g.Scopes, strings.Fields(w.Scopes)); len(missing) > 0 {
		return nil, &provider.Failure{Class: provider.StepUp, Scopes: missing, Err: errNotGranted}
	}
	return oauthToken(g.Access, g.Expiry), nil
}

var errNotGranted = errors.New("msauth: fewer scopes were granted")

// forScopes adds the requested scopes to an error that consent can resolve.
func (h *heldTokens) forScopes(err error, w renew.TokenRequest) error {
	failure, ok := errors.AsType[*provider.Failure](err)
	if !ok || failure.Class != provider.StepUp || w.Scopes == "" {
		return err
	}
	withScopes := *failure
	withScopes.Scopes = strings.Fields(w.Scopes)
	return &withScopes
}

const (
	// replaceAfter is the minimum age of a token that is replaced because an
	// API refused it without a reason: a younger one is not the problem.
	replaceAfter = 1 * time.Minute
	// challengeRest is how long after a token request for a claims challenge
	// another challenge is not answered with one more.
	challengeRest = 1 * time.Minute
)

// replace returns another token for one that an API rejected, meeting the claims
// challenge of the API, if any. again reports that the rejected token was itself
// a replacement: a further challenge is then for the user to resolve.
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
			withClaims := *failure
			withClaims.Claims = claims
			failure = &withClaims
		}
		err = failure
	}
	h.note(rec, w, rejected, failure)
	return token, err
}

// errNotReplaced means that the rejected token is too new to be replaced.
var errNotReplaced = errors.New("msauth: no other token")

// note records for the next request what this one learned about the session's
// own token. A step-up required by the token endpoint blocks the whole session.
// One required by an API does not, and neither does an authentication context,
// which only some pages require.
func (h *heldTokens) note(rec *session.Record, w renew.TokenRequest, rejected string, failure *provider.Failure) {
	n := renew.PendingUpdate{Of: rec.Renewed}
	switch {
	case rec.Stored && (failure == nil || failure.Class == provider.SignIn):
		return // there is no cookie to write, and the stored entry has it
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
	until := h.m.comesUntil(rec)
	h.m.renewals.Note(rec.ID, n, until)
	if data, worth := renew.EncodeUpdate(rec.ID, n, until); worth && h.m.shared != nil {
		h.m.shared.Later(func(ctx context.Context) { _ = h.m.publish(ctx, data) })
	}
}

func (h *heldTokens) record() *session.Record {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rec
}

// handOver switches to rec, whose tokens are stored for the app's own user.
func (h *heldTokens) handOver(rec *session.Record) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.rec, h.access = rec, nil
}

// current returns the record and its access token.
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

// keepUndelivered keeps a token set that was not written to the browser's
// cookie. As long as the browser may send the older refresh token, it must lead
// to the newer one: a strict provider treats its reuse as theft.
func (m *Middleware) keepUndelivered(rec *session.Record, g *provider.TokenSet) {
	m.renewals.Keep(rec.Refresh, g, m.comesUntil(rec))
}

// comesUntil returns until when a browser may send its current cookie, or a
// worker use its stored entry.
func (m *Middleware) comesUntil(rec *session.Record) time.Time {
	if rec.Stored {
		return time.Now().Add(renew.RefreshExpiry)
	}
	until := rec.Ends(m.cfg.MaxAge)
	if m.cfg.IdleTimeout < m.cfg.MaxAge {
		// A slower response may still write a later time of use than rec has.
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
		bound:    rec.Device != device.Digest{},
	}
	if rec.AuthTime != 0 {
		info.auth = time.Unix(rec.AuthTime, 0)
	}
	if !rec.Stored {
		info.ends, info.idle = rec.Ends(h.m.cfg.MaxAge), h.m.idleEnds(rec)
	}
	return info
}

func (h *heldTokens) transport(ctx context.Context) http.RoundTripper {
	return &bearer.Transport{
		Ctx: ctx, Token: h.token, Replace: h.replace, Final: forPerson,
		Hosts: h.m.tokenHosts, Base: h.m.tokenBase, Trace: h.m.trace.apiRequests(),
	}
}

// forPerson reports whether only the user can resolve err, or nobody can.
func forPerson(err error) bool {
	return errors.Is(err, ErrSignInRequired) || errors.Is(err, ErrNoSession) || rejection(err) != nil
}

// rejection returns the WWW-Authenticate fields of an API's answer with status 401
// if the chain of err has one, and nil otherwise. errors.As would stop at the first
// answer of any status.
func rejection(err error) []string {
	if api, ok := err.(interface{ WWWAuthenticate() []string }); ok {
		if fields := api.WWWAuthenticate(); fields != nil {
			return fields
		}
	}
	switch err := err.(type) {
	case interface{ Unwrap() error }:
		return rejection(err.Unwrap())
	case interface{ Unwrap() []error }:
		for _, err := range err.Unwrap() {
			if fields := rejection(err); fields != nil {
				return fields
			}
		}
	}
	return nil
}
