package msauth

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/renew"
	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/ttl"
	"example.com/msauth/internal/web"
	"golang.org/x/sync/singleflight"
)

const (
	maxGroupsAsked  = 20 // that Graph takes at once
	graphTimeout    = 15 * time.Second
	maxGraphReply   = 64 << 10 // bytes
	maxMemberships  = 10_000   // answers that are remembered
	membershipGrace = 28 * time.Hour
)

// memberships remembers what Graph has said about the groups of people who are
// in too many for their tokens.
type memberships struct {
	known   *ttl.Map[renew.Key, []string]
	refused *ttl.Map[renew.Key, renew.Refusal] // by person
	flights *singleflight.Group
}

func newMemberships() memberships {
	return memberships{
		ttl.New[renew.Key, []string](maxMemberships), ttl.New[renew.Key, renew.Refusal](renew.MaxOutcomes), new(singleflight.Group),
	}
}

// MemberOf returns those of the groups (object ids, at most 20) that the person
// is in, directly or by way of other groups, as of the latest renewal of the
// tokens. It is known from [User.Groups], which needs the optional claim
// "groups" in the app registration; where these are too many
// ([User.GroupsOverage]), Microsoft Graph is asked, once for each renewal. That
// needs the scope User.Read ("checkMemberGroups", Microsoft Graph). What Graph
// refuses is not asked again before its Retry-After, of an hour at most, is over,
// or else a second, then twice as long each time, up to 10 seconds. Errors are
// those of [Session.Token].
func (s *Session) MemberOf(ctx context.Context, groups ...string) ([]string, error) {
	if s == nil || s.tokens == nil {
		return nil, ErrNoSession
	}
	if len(groups) > maxGroupsAsked {
		return nil, fmt.Errorf("msauth: MemberOf takes at most %d groups", maxGroupsAsked)
	}
	for _, id := range groups {
		if !provider.GUIDForm.MatchString(id) {
			return nil, fmt.Errorf("msauth: %q is not the object id of a group", id)
		}
	}
	return s.tokens.memberOf(ctx, &s.User, groups)
}

// among returns those of the groups that are in a list.
func among(list, groups []string) (found []string) {
	for _, id := range groups {
		if slices.ContainsFunc(list, func(other string) bool { return strings.EqualFold(id, other) }) {
			found = append(found, id)
		}
	}
	return found
}

func (h *heldTokens) memberOf(ctx context.Context, u *User, groups []string) ([]string, error) {
	if !u.GroupsOverage || len(groups) == 0 {
		return among(u.Groups, groups), nil
	}
	if h.m.graph == "" {
		return nil, fmt.Errorf("%w: too many groups for a token, and no Graph to ask", ErrTokenUnavailable)
	}
	asked := make([]string, len(groups))
	for i, id := range groups {
		asked[i] = strings.ToLower(id)
	}
	slices.Sort(asked)
	rec := h.record()
	digest := sha256.New()
	digest.Write(rec.ID[:])
	binary.Write(digest, binary.BigEndian, rec.Renewed)
	for _, id := range asked {
		digest.Write([]byte(id))
	}
	key := renew.Key(digest.Sum(nil))
	if known, ok := h.m.memberships.known.Get(key); ok {
		return among(known, groups), nil
	}
	// Graph's limits are by person: other groups, or another session, fare no
	// better.
	person := h.m.renewals.Key(seal.Secret("\x00groups " + rec.User.Key()))
	refused := func() *provider.Failure { return h.m.renewals.RefusalIn(h.m.memberships.refused, person) }
	if failure := refused(); failure != nil {
		return nil, public(failure)
	}
	flight := h.m.memberships.flights.DoChan(string(key[:]), func() (_ any, err error) {
		defer provider.RecoverInto(&err)
		// Others wait for this answer too, whoever goes away.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), graphTimeout)
		defer cancel()
		if failure := refused(); failure != nil { // by what was asked before this
			return nil, failure
		}
		found, asking, err := h.askGraph(ctx, asked)
		if failure, ok := errors.AsType[*provider.Failure](err); ok && asking {
			h.m.renewals.RefuseIn(h.m.memberships.refused, person, failure, failure.RetryAfter)
		}
		if err == nil {
			h.m.memberships.refused.Drop(person)
			h.m.memberships.known.Put(key, found, time.Now().Add(membershipGrace))
		}
		return found, err
	})
	select {
	case result := <-flight:
		found, _ := result.Val.([]string)
		return among(found, groups), public(result.Err)
	case <-ctx.Done():
		return nil, public(&provider.Failure{Class: provider.Retry, Err: ctx.Err()})
	}
}

// askGraph is checkMemberGroups, and reports whether a failure is that of Graph
// and not of the token for it, which is remembered elsewhere.
func (h *heldTokens) askGraph(ctx context.Context, groups []string) (found []string, asked bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			asked, err = true, &provider.Failure{Class: provider.Retry, Err: fmt.Errorf("panic: %v", p)}
		}
	}()
	found, err = h.checkMemberGroups(ctx, groups)
	_, asked = errors.AsType[graphFailure](err)
	return found, asked, err
}

// graphFailure is what an [AuthError] wraps that is not about a token.
type graphFailure struct{ error }

func (e graphFailure) Unwrap() error { return e.error }

// checkMemberGroups asks Graph.
func (h *heldTokens) checkMemberGroups(ctx context.Context, groups []string) ([]string, error) {
	body, err := json.Marshal(map[string]any{"groupIds": groups})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.m.graph+"/me/checkMemberGroups", bytes.NewReader(body)) // #nosec G704 -- Graph of Config.Authority
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	client := http.Client{Transport: h.transport(ctx), CheckRedirect: provider.FollowNothing}
	res, err := client.Do(req) // #nosec G704 -- see above
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		if errors.Is(err, ErrSignInRequired) || errors.Is(err, ErrTokenUnavailable) || errors.Is(err, ErrNoSession) {
			return nil, err
		}
		return nil, &provider.Failure{Class: provider.Retry, Err: graphFailure{err}}
	}
	defer res.Body.Close()
	wait := provider.RetryAfter(res.Header.Get("Retry-After"), time.Now())
	reply, err := provider.ReadAtMost(res.Body, maxGraphReply)
	if err != nil {
		return nil, &provider.Failure{Class: provider.Retry, StatusCode: res.StatusCode, RetryAfter: wait, Err: graphFailure{err}}
	}
	var doc struct {
		Value []string
		Error struct{ Code string }
	}
	err = json.Unmarshal(reply, &doc)
	if res.StatusCode != http.StatusOK || err != nil || doc.Value == nil {
		return nil, &provider.Failure{
			Class: provider.Retry, StatusCode: res.StatusCode, Code: web.OneLine(doc.Error.Code, 100), RetryAfter: wait,
			Err: graphFailure{errors.New("the answer of Graph does not tell the person's groups")},
		}
	}
	return doc.Value, nil
}
