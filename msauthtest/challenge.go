package msauthtest

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Challenge is a resource's demand for another access token: status 401 with
// error="insufficient_claims" and a claims document to send with the next
// sign-in or renewal. See "Claims challenges, claims requests and client
// capabilities" and "Continuous access evaluation".
type Challenge struct {
	// SignInName names the person whose access tokens are challenged. If empty,
	// everybody's are.
	SignInName string

	// Audience is the one resource that challenges: an [API.ID] or
	// "https://graph.microsoft.com". If empty, Graph and all handlers of
	// [Server.Protect] do.
	Audience string

	// ACRS is an authentication context, such as "c1", that must be in the
	// token's claim acrs. A stronger sign-in puts it there. If empty, the token
	// must have been issued after the call of Server.Challenge, as after an
	// event of continuous access evaluation; after [Server.Revoke] that takes a
	// new sign-in.
	ACRS string

	// Requests limits the number of challenged requests. Zero means no limit.
	Requests int

	// Forever challenges even tokens that satisfy the demand.
	Forever bool

	// CapableOnly challenges only tokens whose claim xms_cc contains cp1, as
	// Graph does. By default all tokens are challenged.
	CapableOnly bool

	// Form is the form of the WWW-Authenticate header. The zero value is
	// ChallengeBearer.
	Form ChallengeForm
}

// maxChallenges is the number of challenges that are kept, the newest ones.
const maxChallenges = 1000

type challenge struct {
	Challenge
	serial uint64
	claims string // JSON
}

// Challenge makes Graph and protected APIs challenge access tokens. Calling
// withdraw ends the challenge; calling it again has no effect.
func (s *Server) Challenge(c Challenge) (withdraw func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serial++
	held := &challenge{Challenge: c, serial: s.serial}
	want := map[string]any{"nbf": map[string]any{"essential": true, "value": strconv.FormatInt(time.Now().Unix(), 10)}}
	if c.ACRS != "" {
		want = map[string]any{"acrs": map[string]any{"essential": true, "value": c.ACRS}}
	}
	if c.Form == ChallengeCAEError {
		want["xms_caeerror"] = map[string]any{"value": "10012"}
	}
	text, _ := json.Marshal(map[string]any{"access_token": want}) // strings and bools cannot fail
	held.claims = string(text)
	s.challenges = append(s.challenges, held)
	if len(s.challenges) > maxChallenges {
		s.challenges = slices.Clone(s.challenges[1:])
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.challenges = slices.DeleteFunc(slices.Clone(s.challenges), func(other *challenge) bool { return other == held })
	}
}

// challenged returns the claims that t is challenged for, or "".
func (s *Server) challenged(t accessToken) (claims string, form ChallengeForm) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.challenges {
		met := t.serial > c.serial
		if c.ACRS != "" {
			met = slices.Contains(t.acrs, c.ACRS)
		}
		switch {
		case c.SignInName != "" && !strings.EqualFold(c.SignInName, t.user):
		case c.Audience != "" && c.Audience != t.resource && c.Audience != t.audience:
		case c.CapableOnly && !slices.Contains(t.capabilities, "cp1"):
		case met && !c.Forever:
		default:
			if c.Requests > 0 {
				if c.Requests--; c.Requests == 0 {
					s.challenges = slices.DeleteFunc(slices.Clone(s.challenges), func(other *challenge) bool { return other == c })
				}
			}
			return c.claims, c.Form
		}
	}
	return "", ""
}

// accessToken looks up an access token that is valid for one of the audiences.
// If there is none, problem is Graph's message.
func (s *Server) accessToken(text string, audiences ...string) (t accessToken, u User, problem string) {
	s.mu.Lock()
	t, ok := s.access[sha256.Sum256([]byte(text))]
	s.mu.Unlock()
	switch {
	case !ok:
		return t, u, "Invalid access token."
	case time.Now().After(t.expires):
		return t, u, "Lifetime validation failed, the token is expired."
	case !slices.Contains(audiences, t.audience) && !slices.Contains(audiences, t.resource):
		return t, u, "Access token validation failure. Invalid audience."
	}
	if u, ok = s.user(t.user); !ok {
		return t, u, "The user of the token does not exist."
	}
	return t, u, ""
}

// VerifyAccessToken checks that this server issued token for audience, an
// [API.ID] or [API.ClientID], and that it has not expired, and returns its
// claims. It does what an API would do with the published keys. The claims of
// an opaque token are aud, scp, oid, tid, sub, iat and exp. The error does not
// contain the token. VerifyAccessToken ignores challenges: see
// [Server.Protect].
func (s *Server) VerifyAccessToken(token, audience string) (claims map[string]any, err error) {
	t, u, problem := s.accessToken(token, audience)
	if problem != "" {
		return nil, errors.New("msauthtest: access token refused: " + problem)
	}
	if parts := strings.Split(token, "."); len(parts) == 3 {
		payload, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err != nil {
			return nil, fmt.Errorf("msauthtest: access token: %w", err)
		}
		if err := json.Unmarshal(payload, &claims); err != nil {
			return nil, fmt.Errorf("msauthtest: access token: %w", err)
		}
		return claims, nil
	}
	return map[string]any{
		"aud": t.audience, "scp": strings.Join(t.scopes, " "), "oid": u.ObjectID, "tid": u.TenantID,
		"sub": t.subject, "iat": float64(t.issued.Unix()), "exp": float64(t.expires.Unix()),
	}, nil
}

// Protect returns a handler that guards an API of the app's own, for use on a
// server of the test's own. It calls next for requests with an access token for
// audience (an [API.ID] or [API.ClientID]) that has one of the scopes, or any
// if none are given. It answers others as RFC 6750 section 3 describes: 401
// invalid_token, or 403 insufficient_scope; after [Server.Challenge], 401
// insufficient_claims. Requests count as [OwnAPI], and the maps of [Behavior]
// apply to them. next gets the claims from [Server.VerifyAccessToken].
func (s *Server) Protect(audience string, next http.Handler, scopes ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.serve(w, r, OwnAPI, func(e *exchange, w http.ResponseWriter, r *http.Request) {
			if _, ok := e.admit(w, r, need{scopes: scopes}, audience); ok {
				next.ServeHTTP(w, r)
			}
		})
	})
}

// A need is what a request to a resource requires: one of the scopes, if there
// are any. Graph reports a missing scope in several ways.
type need struct {
	scopes        []string
	code, message string // of Graph's 403
}

// met reports whether one of the scopes is sufficient.
func (n need) met(scopes []string) bool {
	return len(n.scopes) == 0 || slices.ContainsFunc(scopes, func(s string) bool {
		return slices.ContainsFunc(n.scopes, func(want string) bool { return strings.EqualFold(s, want) })
	})
}

// bearerOf returns the access token of a request, or "".
func bearerOf(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return token
}

// admit returns the person whose token a request carries, or answers 401 or
// 403.
func (e *exchange) admit(w http.ResponseWriter, r *http.Request, need need, audiences ...string) (User, bool) {
	deny := func(message string) (User, bool) {
		e.deny(w, r, message)
		return User{}, false
	}
	token := bearerOf(r)
	if token == "" {
		return deny("Access token is empty.")
	}
	t, u, problem := e.accessToken(token, audiences...)
	if problem != "" {
		return deny(problem)
	}
	if claims, form := e.challenged(t); claims != "" {
		e.challengeWith(w, r, form, claims, revokedText)
		return User{}, false
	}
	if !need.met(t.scopes) {
		if e.kind == OwnAPI {
			w.Header().Set("WWW-Authenticate", `Bearer realm="", error="insufficient_scope", scope="`+strings.Join(need.scopes, " ")+`"`)
			writeJSON(w, http.StatusForbidden, map[string]any{"error": "insufficient_scope", "error_description": "The access token has none of the scopes."})
		} else {
			graphError(w, r, http.StatusForbidden, need.code, need.message)
		}
		return User{}, false
	}
	return u, true
}
