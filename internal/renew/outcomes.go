package renew

import (
	"context"
	"time"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/session"
	"example.com/msauth/internal/ttl"
)

const (
	// MaxOutcomes is how many entries of each kind are remembered at most.
	MaxOutcomes = 10_000
	// outcomeGrace is how long the outcome of a renewal answers late requests.
	outcomeGrace = 2 * time.Minute
	// longestChain is how many refresh tokens, each from the one before, are
	// followed from the one that a cookie has.
	longestChain = MaxOutcomes
)

// outcomes is what is known of refresh tokens, by Key. The kinds are apart
// because they are kept for very different times: too many of one must not push
// out another.
type outcomes struct {
	renewed     *ttl.Map[Key, *provider.TokenSet] // what it gave, for late requests
	undelivered *ttl.Map[Key, *provider.TokenSet] // the same, until an answer takes it to the browser
	kept        *ttl.Map[Key, *provider.TokenSet] // what no cookie carries
	moved       *ttl.Map[Key, seal.Secret]        // the next one, where a request for other scopes brought it
	refused     *Refusals                         // why it gives nothing for now; also by RequestKey

	// lateAnswers are the sessions with an answer under way that sets a cookie
	// with the tokens they had before: such an answer only notes their last use.
	lateAnswers *ttl.Map[session.ID, struct{}]
}

func newOutcomes(b *breaker) outcomes {
	return outcomes{
		renewed:     ttl.New[Key, *provider.TokenSet](MaxOutcomes),
		undelivered: ttl.New[Key, *provider.TokenSet](MaxOutcomes),
		kept:        ttl.New[Key, *provider.TokenSet](MaxOutcomes),
		moved:       ttl.New[Key, seal.Secret](MaxOutcomes),
		refused:     newRefusals(b),
		lateAnswers: ttl.New[session.ID, struct{}](MaxOutcomes),
	}
}

// after returns what is known to have followed a refresh token: the tokens that
// came with the next one, nil if none did, and the next one, which is refresh
// itself where nothing followed or the provider gave the same one again.
func (o *outcomes) after(key Key, refresh seal.Secret) (tokens *provider.TokenSet, next seal.Secret) {
	tokens, found := o.kept.Get(key)
	for _, others := range [...]*ttl.Map[Key, *provider.TokenSet]{o.undelivered, o.renewed} {
		if other, ok := others.Get(key); ok && (!found || other.Issued >= tokens.Issued) {
			tokens, found = other, true
		}
	}
	next = refresh
	if found {
		next = tokens.Refresh
	}
	if moved, ok := o.moved.Get(key); ok && next == refresh {
		next = moved
	}
	return tokens, next
}

// Known follows a refresh token to the newest one that is known to have come of
// it. tokens are the newest there are, nil if none; err is why the newest refresh
// token gives nothing for now.
func (r *Renewals) Known(refresh seal.Secret) (tokens *provider.TokenSet, err *provider.Failure, newest seal.Secret) {
	if refresh == "" { // sessions without one have nothing in common
		return nil, nil, ""
	}
	newest = refresh
	for range longestChain {
		key := r.Key(newest)
		found, next := r.outcomes.after(key, newest)
		if found != nil {
			tokens = found
		}
		if next == newest {
			err = r.outcomes.refused.Find(key)
			break
		}
		newest = next
	}
	if tokens != nil && tokens.Refresh != newest {
		tokens = tokens.MovedTo(newest)
	}
	return tokens, err, newest
}

// Own returns what Known does for a session's own tokens: those of the record,
// which must be unpacked, if nothing followed them. Where the refresh token is
// stored for the app's user, newest is "".
func (r *Renewals) Own(rec *session.Record) (tokens *provider.TokenSet, err *provider.Failure, newest seal.Secret) {
	if rec.UserKey != "" {
		tokens, err = r.ownStored(rec)
		return tokens, err, ""
	}
	tokens, err, newest = r.Known(rec.Refresh)
	if tokens == nil {
		if tokens = rec.TokenSet(); tokens.Refresh != newest {
			tokens = tokens.MovedTo(newest)
		}
	}
	return tokens, err, newest
}

// LeadsTo reports whether other is the same refresh token, or the newest that is
// known to have come of it.
func (r *Renewals) LeadsTo(refresh, other seal.Secret) bool {
	_, _, newest := r.Known(refresh)
	return refresh == other || newest == other
}

// Keep remembers tokens that no cookie carries, for as long as the browser may
// come with the refresh token that it has. That is two minutes at least.
func (r *Renewals) Keep(refresh seal.Secret, tokens *provider.TokenSet, until time.Time) {
	if refresh == "" {
		return
	}
	if grace := time.Now().Add(outcomeGrace); until.Before(grace) {
		until = grace
	}
	r.outcomes.kept.Put(r.Key(refresh), tokens, until)
}

// Taken notes that an answer takes the tokens of fresh to a browser that came
// with those of rec. Late requests are still served from memory, for two minutes;
// who comes with the old tokens afterwards asks with them. That does not hold
// where an answer with the old tokens may arrive last, and be what the browser
// keeps: see Touches.
func (r *Renewals) Taken(rec, fresh *session.Record) {
	if _, late := r.outcomes.lateAnswers.Get(rec.ID); late {
		return
	}
	for refresh, n := rec.Refresh, 0; refresh != fresh.Refresh && n < mostRaces; n++ {
		key := r.Key(refresh)
		tokens, ok := r.outcomes.undelivered.Get(key)
		if !ok {
			return
		}
		r.outcomes.undelivered.Drop(key)
		r.shorten(key, tokens)
		refresh = tokens.Refresh
	}
}

// Touches notes that an answer sets a cookie with the tokens that rec has, only
// to note their last use. ctx ends with the request; the answer may be on its way
// for two minutes more. until is how long the browser may come with that cookie:
// what has followed its tokens meanwhile is kept as long.
func (r *Renewals) Touches(ctx context.Context, rec *session.Record, until time.Time) {
	if rec.UserKey != "" || rec.Unpack() != nil {
		return
	}
	r.outcomes.lateAnswers.Put(rec.ID, struct{}{}, until)
	id := rec.ID
	context.AfterFunc(ctx, func() {
		r.outcomes.lateAnswers.Put(id, struct{}{}, time.Now().Add(outcomeGrace))
	})
	if tokens, _, newest := r.Known(rec.Refresh); tokens != nil && newest != rec.Refresh {
		r.Keep(rec.Refresh, tokens, until)
	}
}
