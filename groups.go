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

const maxGroupsAsked = 20 // the limit of checkMemberGroups

// MemberOf returns those of the given groups that the user is a member of,
// directly or through other groups, as of the latest renewal of the tokens. The
// groups are given by object ID, at most 20 of them. The error is one of those
// of [Session.Token].
//
// MemberOf consults [User.Groups], which requires the optional claim "groups" in
// the app registration. If there are too many ([User.GroupsOverage]), it asks
// Microsoft Graph, once per renewal, which requires the scope User.Read
// ("checkMemberGroups", Microsoft Graph). After a failure, it asks Graph again
// only after the response's Retry-After, of at most one hour, or else after one
// second, doubling with each failure up to 10 seconds.
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

// among returns those of the groups that are in list.
func among(list, groups []string) (found []string) {
	for _, id := range groups {
		if slices.ContainsFunc(list, func(other string) bool { return strings.EqualFold(id, other) }) {
			found = append(found, id)
		}
	}
	return found
}

const (
	graphTimeout = 15 * time.Second

	maxMemberships  = 10_000 // responses
	membershipGrace = 28 * time.Hour
)

// memberships caches Graph's responses for users who are in too many groups for
// their tokens.
type memberships struct {
	known   *ttl.Map[renew.Key, []string]
	refused *renew.Refusals // by user
	flights *singleflight.Group
}

func newMemberships(r *renew.Renewals) memberships {
	return memberships{ttl.New[renew.Key, []string](maxMemberships), r.NewRefusals(), new(singleflight.Group)}
}

func (h *heldTokens) memberOf(ctx context.Context, u *User, groups []string) ([]string, error) {
	if !u.GroupsOverage || len(groups) == 0 {
		return among(u.Groups, groups), nil
	}
	if h.m.graph == "" {
		return nil, fmt.Errorf("%w: too many groups for a token, and this provider has no Microsoft Graph", ErrTokenUnavailable)
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
	// Graph throttles by user, whatever the groups and the session.
	user := h.m.renewals.Key(seal.Secret("\x00groups " + rec.User.Key()))
	refused := h.m.memberships.refused
	if failure := refused.Find(user); failure != nil {
		return nil, public(failure)
	}
	flight := h.m.memberships.flights.DoChan(string(key[:]), func() (_ any, err error) {
		defer provider.RecoverInto(&err)
		// Other requests wait for this response too: it outlives the request.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), graphTimeout)
		defer cancel()
		if failure := refused.Find(user); failure != nil { // by an earlier flight
			return nil, failure
		}
		found, asking, err := h.askGraph(ctx, asked)
		if failure, ok := errors.AsType[*provider.Failure](err); ok && asking {
			refused.Remember(user, failure, failure.RetryAfter)
		}
		if err == nil {
			refused.Forget(user)
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

// askGraph calls checkMemberGroups. asked reports whether an error comes from
// Graph and not from the request for its token, which has a back-off of its own.
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

// graphFailure marks an error of Graph, in contrast to one of its token.
type graphFailure struct{ error }

func (e graphFailure) Unwrap() error { return e.error }

const maxGraphReply = 64 << 10 // bytes

// checkMemberGroups sends one request to Graph and reads its response.
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
	client := http.Client{Transport: h.transport(ctx), CheckRedirect: web.FollowNothing}
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
	wait := web.RetryAfter(res.Header.Get("Retry-After"), time.Now())
	reply, err := web.ReadAtMost(res.Body, maxGraphReply)
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
			Err: graphFailure{errors.New("the response of Microsoft Graph does not hold the user's groups")},
		}
	}
	return doc.Value, nil
}
