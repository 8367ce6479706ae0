package renew

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/session"
)

// An answer is how one token request ended. Tokens that come with a failure have
// nothing to use but their refresh token, which is new.
type answer struct {
	tokens *provider.TokenSet
	failed *provider.Failure
	took   time.Duration
}

// request asks the provider. Its context has the values of whoever began the flight
// and is not canceled with them: they may go away, those who wait do not. A panic, of
// the app's transport for example, is a failure like any other: it is remembered, and
// not repeated at once.
func (f *flight) request() (a answer) {
	began, ctx, end := time.Now(), f.asker, func(error) {}
	if f.r.Trace != nil {
		ctx, end = f.r.Trace(ctx, f.want.Wanted.Scopes != "")
	}
	defer func() {
		if p := recover(); p != nil {
			a = answer{failed: &provider.Failure{Class: provider.Retry, Err: fmt.Errorf("panic: %v", p)}}
		}
		a.took = time.Since(began)
		if a.failed != nil {
			end(a.failed)
		} else {
			end(nil)
		}
	}()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), provider.TokenTimeout)
	defer cancel()
	tokens, failed := f.r.Endpoint.Refresh(ctx, f.refresh, f.form())
	if failed == nil {
		tokens.Scopes = f.granted(tokens.Scopes)
		failed = f.check(ctx, tokens)
	}
	if failed == nil && !f.rec.Layout.KeepsIDToken {
		tokens.IDToken = "" // Identity has what it says
	}
	if failed != nil && (tokens == nil || failed.Class != provider.Retry || tokens.Refresh == f.refresh) {
		tokens = nil
	}
	return answer{tokens: tokens, failed: failed}
}

// form is what to ask for. Other providers than Microsoft give one access token
// for all scopes, and a renewal brings none that were not granted: there it names
// none.
func (f *flight) form() provider.RefreshRequest {
	r, w := f.r, f.want.Wanted
	q := provider.RefreshRequest{Purpose: provider.PurposeRenewal, Claims: w.Claims, Personal: f.rec.User.Personal()}
	switch {
	case w.Scopes != "":
		q.Purpose = provider.PurposeScopes
		// With profile the ID token names the person (oid), who must be the same.
		q.Scopes = "openid profile offline_access " + w.Scopes
		q.Fewer = q.Scopes
	case r.Rules.Apart:
		all, fewer := r.Rules.Renewed(r.Scopes, f.rec.ScopeList())
		q.Scopes = strings.Join(slices.Concat(r.Rules.SignIn, all), " ")
		q.Fewer = strings.Join(slices.Concat(r.Rules.SignIn, fewer), " ")
	}
	return q
}

// granted returns the scopes of new tokens, given those that the reply names: ""
// stands for what was asked for (RFC 6749 section 5.1).
func (f *flight) granted(named string) string {
	r, w := f.r, f.want.Wanted
	switch {
	case w.Scopes != "":
		return cmp.Or(named, w.Scopes)
	case named == "" && r.Rules.Foreign(f.rec.Scopes):
		return strings.Join(r.Scopes, " ")
	}
	return r.Rules.Asked(r.Scopes, named)
}

// check refuses tokens that are of no use to the session.
func (f *flight) check(ctx context.Context, tokens *provider.TokenSet) *provider.Failure {
	if tokens.IDToken != "" {
		if failed := f.r.Identify(ctx, f.rec, tokens); failed != nil {
			return failed
		}
	}
	if tokens.Access == "" && (f.rec.Access != "" || f.rec.Shed) {
		return &provider.Failure{Class: provider.Retry, Err: unusableReply{errors.New("msauth: the renewal brought no access token, where there was one")}}
	}
	return nil
}

// Identify verifies the ID token of a renewal (OpenID Connect Core section 12.2):
// it names the same person, and no other nonce than the first. If it is good,
// tokens.Identity has its claims. If the provider's keys cannot be read, the
// tokens are good without it: a renewal need not bring an ID token at all.
func (r *Renewals) Identify(ctx context.Context, rec *session.Record, tokens *provider.TokenSet) *provider.Failure {
	id, err := r.Endpoint.Authority.Verify(ctx, tokens.IDToken, provider.IDTokenCheck{
		Access: tokens.Access,
		NonceFits: func(nonce string, present bool) bool {
			return !present || session.NonceDigest(nonce) == rec.Nonce
		},
		Person:   &rec.User,
		AuthTime: rec.AuthTime,
	})
	if err == nil {
		tokens.Identity = id
		return nil
	}
	if errors.Is(err, provider.ErrOtherNonce) {
		return &provider.Failure{Class: provider.SignIn, Err: err}
	}
	// A token that is not even meant for this person and this app ends the
	// session, whatever else is wrong with it.
	meant, unreadable := r.Endpoint.Meant(tokens.IDToken, &rec.User)
	if errors.Is(err, provider.ErrAnotherPerson) || unreadable == nil && !meant {
		return &provider.Failure{Class: provider.SignIn, Err: provider.ErrAnotherPerson}
	}
	if _, ok := errors.AsType[provider.KeysUnavailableError](err); ok && unreadable == nil {
		return nil // the claims from before stay
	}
	return &provider.Failure{Class: provider.Retry, Err: unusableReply{err}}
}

// unusableReply is the fault of a reply whose ID token, or missing access token,
// makes it useless to one person. The provider answers, and answers others well.
type unusableReply struct{ error }

// Unwrap returns the reason.
func (e unusableReply) Unwrap() error { return e.error }
