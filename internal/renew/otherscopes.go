package renew

import (
	"time"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/session"
)

// A TokenRequest is for a token that a renewal would not bring: one for another
// API, or one that meets a claims challenge. The zero value is for a renewal.
// Tokens for other APIs are kept in memory only, by session and scopes.
type TokenRequest struct {
	Scopes string // of one API, as provider.Scopes.Check orders them; "" for the session's own token
	Claims string // the challenge, as provider.CheckChallenge returns it; "" for none
}

// knownFor returns what is known of a token request: the tokens there are, and
// why no others can be had. own and failed are what is known of the session's own
// tokens.
func (r *Renewals) knownFor(rec *session.Record, w TokenRequest, own *provider.TokenSet, failed *provider.Failure) (*provider.TokenSet, *provider.Failure) {
	if w == (TokenRequest{}) {
		return own, failed
	}
	tokens := own
	if w.Scopes != "" {
		tokens = r.Other(rec.ID, w)
	}
	if failed == nil {
		failed = r.outcomes.refused.Find(r.RequestKey(rec.ID, w))
	}
	return tokens, failed
}

// Other returns the tokens that are kept for other scopes, nil if there are none.
func (r *Renewals) Other(id session.ID, w TokenRequest) *provider.TokenSet {
	tokens, _ := r.others.Get(r.RequestKey(id, TokenRequest{Scopes: w.Scopes}))
	return tokens
}

// Latest returns the newest tokens that there are for a token request, nil if
// there are none.
func (r *Renewals) Latest(rec *session.Record, w TokenRequest) *provider.TokenSet {
	own, _, _ := r.Own(rec)
	tokens, _ := r.knownFor(rec, w, own, nil)
	return tokens
}

// Challenged reports whether the newest token for these scopes was requested
// because of a claims challenge just now.
func (r *Renewals) Challenged(rec *session.Record, w TokenRequest) bool {
	_, ok := r.Challenges.Get(r.RequestKey(rec.ID, TokenRequest{Scopes: w.Scopes}))
	return ok
}

// keepOther remembers the tokens for other scopes. Where the refresh token was
// used up for them, the session's own go on with the new one.
func (f *flight) keepOther(tokens *provider.TokenSet) {
	key := f.r.RequestKey(f.rec.ID, TokenRequest{Scopes: f.want.Wanted.Scopes})
	f.r.others.Put(key, tokens, time.Unix(tokens.Expiry, 0))
	f.shareOther(key, tokens)
	if tokens.Refresh != f.refresh && f.rec.UserKey == "" {
		f.moveOn(tokens.Refresh)
	}
}

// moveOn remembers which refresh token has followed the session's, and has it
// delivered.
func (f *flight) moveOn(next seal.Secret) {
	own, _, _ := f.r.Own(f.rec)
	f.r.outcomes.moved.Put(f.r.Key(f.refresh), next, f.want.KeepUntil)
	f.r.Note(f.rec.ID, PendingUpdate{Of: max(f.rec.Renewed, own.Issued), Deliver: true}, f.want.KeepUntil)
}
