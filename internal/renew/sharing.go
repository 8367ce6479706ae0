package renew

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/session"
	"example.com/msauth/internal/shared"
)

// longestDoubt is how long a refusal is doubted at most, from the first one on: see
// [flight.doubts].
const longestDoubt = 5 * time.Minute

// sharingTime limits what is asked of other processes for one token request.
const sharingTime = 10 * time.Second

// Sharing is what several processes of an app share of renewals: for one refresh
// token there is one token request over all of them.
type Sharing struct {
	Hub *shared.Hub
	// Newer reports whether a session's tokens were renewed after those of rec, by
	// whichever process.
	Newer func(ctx context.Context, rec *session.Record) (bool, error)
	// End ends a session in all processes.
	End func(ctx context.Context, rec *session.Record)
}

// What stands under the name of a refresh token once its lease is over.
type sharedOutcome struct {
	Tokens  *provider.TokenSet `json:",omitempty"` // what it gave; the texts of it are below
	Access  string             `json:",omitempty"`
	Refresh string             `json:",omitempty"` // that of Tokens, or the one that followed
	Refused bool               `json:",omitempty"` // it gives nothing any more
}

// Format implements [fmt.Formatter]. It prints no token.
func (sharedOutcome) Format(f fmt.State, _ rune) { fmt.Fprint(f, seal.Hidden) }

// encode returns an outcome in bytes. The tokens are written apart: their type hides
// them from encoding/json.
func (o sharedOutcome) encode() []byte {
	if o.Tokens != nil {
		tokens := *o.Tokens
		o.Access, o.Refresh = string(tokens.Access), string(tokens.Refresh)
		tokens.Access, tokens.Refresh = "", ""
		if tokens.Identity != nil {
			id := *tokens.Identity
			id.User.Claims = nil // Extra has them
			tokens.Identity = &id
		}
		o.Tokens = &tokens
	}
	b, _ := json.Marshal(o) // nothing in it can fail
	return b
}

func decodeOutcome(value []byte) (o sharedOutcome, ok bool) {
	if json.Unmarshal(value, &o) != nil {
		return o, false
	}
	if o.Tokens != nil {
		o.Tokens.Access, o.Tokens.Refresh = seal.Secret(o.Access), seal.Secret(o.Refresh)
	}
	return o, o.Refused || o.Refresh != ""
}

// sharedName is where the outcome of a refresh token stands, or the tokens of a
// request for other scopes.
func sharedName(kind string, key Key) string {
	return kind + base64.RawURLEncoding.EncodeToString(key[:])
}

// A turn is the right to make a token request.
type turn struct {
	f     *flight
	lease *shared.Lease // nil if this process is alone; nobody knows who has it where Claim failed
}

// takeTurn waits until nobody else uses the refresh token, and until there is a
// slot. If it turns out that another process has used the token, ok is false: then
// it is known here too what came of it, or failed says so.
func (f *flight) takeTurn() (t turn, failed *provider.Failure, ok bool) {
	t.f = f
	ctx, cancel := context.WithTimeout(f.asker, 2*shared.LeaseTime)
	defer cancel()
	for {
		// A provider that accepts connections and stays silent must not collect a
		// request from everybody before the first one fails.
		f.r.slots <- struct{}{}
		if f.r.Shared == nil {
			return t, nil, true
		}
		c, err := f.r.Shared.Hub.Claim(ctx, sharedName("r:", f.key), f.settles)
		if err != nil || c.Lease != nil {
			t.lease = c.Lease
			return t, nil, true
		}
		<-f.r.slots
		if c.Held() {
			// The error says that nobody can tell, as above.
			c.Value, _ = f.r.Shared.Hub.Await(ctx, c, f.settles)
		}
		if c.Value != nil {
			return t, f.learn(c.Value), false
		}
	}
}

// end gives the slot back.
func (t turn) end() { <-t.f.r.slots }

// giveUp lets others have the refresh token: nothing was asked.
func (t turn) giveUp() {
	if t.lease != nil {
		t.lease.Release(t.f.asker)
	}
}

// settles reports whether what another process has left is an answer to this
// flight: there is another refresh token, or none, or tokens that are new enough.
func (f *flight) settles(value []byte) bool {
	o, ok := decodeOutcome(value)
	return ok && (o.Refused || o.Refresh != string(f.refresh) || f.want.Wanted == (TokenRequest{}) && o.Tokens != nil && !f.want.Due(o.Tokens))
}

// learn remembers what another process has left.
func (f *flight) learn(value []byte) *provider.Failure {
	o, _ := decodeOutcome(value)
	switch {
	case o.Refused:
		failed := &provider.Failure{Class: provider.SignIn, Err: errRefusedElsewhere}
		f.r.outcomes.refused.Remember(f.key, failed, refusalGrace)
		return failed
	case o.Tokens != nil:
		f.r.outcomes.renewed.Put(f.key, o.Tokens, time.Now().Add(outcomeGrace))
	default:
		f.moveOn(seal.Secret(o.Refresh))
	}
	return nil
}

var errRefusedElsewhere = errors.New("the provider has refused the refresh token")

// share leaves for other processes what a token request has come to, and gives the
// lease back. It does not wait for that.
func (t turn) share(a answer) {
	if t.lease == nil {
		return
	}
	f := t.f
	o, life := sharedOutcome{}, outcomeGrace
	switch {
	case a.tokens == nil && a.failed.Class == provider.SignIn && f.want.Wanted.Scopes == "":
		o.Refused, life = true, refusalGrace
	case a.tokens == nil, f.want.Wanted.Scopes != "" && a.tokens.Refresh == f.refresh:
		f.later(t.giveUp)
		return
	case a.failed != nil, f.want.Wanted.Scopes != "":
		o.Refresh, life = string(a.tokens.Refresh), time.Until(f.want.KeepUntil)
	default:
		o.Tokens = a.tokens
		if a.tokens.Refresh != f.refresh {
			life = time.Until(f.want.KeepUntil) // until Taken
		}
	}
	value := o.encode()
	if len(value) > shared.MaxValue { // the others go on with what followed, and ask for themselves
		if a.tokens.Refresh == f.refresh {
			f.later(t.giveUp)
			return
		}
		value = sharedOutcome{Refresh: string(a.tokens.Refresh)}.encode()
	}
	f.later(func() {
		ctx, cancel := context.WithTimeout(f.asker, sharingTime)
		defer cancel()
		t.lease.Settle(ctx, value, max(life, outcomeGrace))
	})
}

// shorten has other processes remember what followed a refresh token for late
// requests only: a browser has got it.
func (r *Renewals) shorten(key Key, tokens *provider.TokenSet) {
	if r.Shared == nil {
		return
	}
	r.Shared.Hub.Later(func(ctx context.Context) {
		_ = r.Shared.Hub.Put(ctx, sharedName("r:", key), sharedOutcome{Tokens: tokens}.encode(), outcomeGrace)
	})
}

// judgeRefusal decides what it means that the provider has refused the refresh
// token. Where other processes may have used it, only one that had the lease, and
// that knows of nothing newer, can tell that the session is over; it tells all
// others. As long as nobody can tell, it counts as a failure that passes.
func (t turn) judgeRefusal(a *answer) {
	f, s := t.f, t.f.r.Shared
	if s == nil || a.failed == nil || a.failed.Class != provider.SignIn || f.want.Wanted.Scopes != "" {
		return
	}
	ctx, cancel := context.WithTimeout(f.asker, sharingTime)
	defer cancel()
	if t.lease != nil && s.Hub.Steady(ctx) {
		if newer, err := s.Newer(ctx, f.rec); err == nil {
			if !newer {
				s.End(ctx, f.rec)
			}
			return
		}
	}
	if f.doubts() {
		a.failed = &provider.Failure{Class: provider.Retry, Err: unusableReply{a.failed}}
	}
}

// doubts reports whether a refusal may be because of another process. It may for a
// while only, and not once more as long as somebody can come with the refresh token.
func (f *flight) doubts() bool {
	until := time.Now().Add(2 * longestDoubt)
	if f.want.KeepUntil.After(until) {
		until = f.want.KeepUntil
	}
	f.r.doubts.Add(f.key, time.Now(), until)
	first, ok := f.r.doubts.Get(f.key)
	return ok && time.Since(first) < longestDoubt
}

// fetchOther looks whether another process has tokens for other scopes.
func (f *flight) fetchOther() {
	if f.r.Shared == nil || f.want.Wanted.Scopes == "" {
		return
	}
	ctx, cancel := context.WithTimeout(f.asker, sharingTime)
	defer cancel()
	key := f.r.RequestKey(f.rec.ID, TokenRequest{Scopes: f.want.Wanted.Scopes})
	value, _ := f.r.Shared.Hub.Get(ctx, sharedName("o:", key))
	known, _ := f.r.others.Get(key)
	if o, ok := decodeOutcome(value); ok && o.Tokens != nil && (known == nil || known.Issued < o.Tokens.Issued) {
		f.r.others.Put(key, o.Tokens, time.Unix(o.Tokens.Expiry, 0))
	}
}

// shareOther leaves tokens for other scopes to other processes.
func (f *flight) shareOther(key Key, tokens *provider.TokenSet) {
	if s := f.r.Shared; s != nil {
		s.Hub.Later(func(ctx context.Context) {
			_ = s.Hub.Put(ctx, sharedName("o:", key), sharedOutcome{Tokens: tokens}.encode(), time.Until(time.Unix(tokens.Expiry, 0)))
		})
	}
}

// later does something behind the flight.
func (f *flight) later(do func()) {
	f.r.under.Add(1)
	go func() {
		defer f.r.under.Add(-1)
		do()
	}()
}

// Finish waits for token requests under way and for what is to be shared of them,
// as long as ctx lasts.
func (r *Renewals) Finish(ctx context.Context) error {
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for r.under.Load() > 0 {
		select {
		case <-poll.C:
		case <-ctx.Done():
			return fmt.Errorf("msauth: token requests are under way: %w", ctx.Err())
		}
	}
	return nil
}
