package provider

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"example.com/msauth/internal/web"
)

// ScopeForm matches a scope: scope-token of RFC 6749 section 3.3.
var ScopeForm = regexp.MustCompile(`^[\x21\x23-\x5B\x5D-\x7E]+$`)

const (
	maxScopes     = 20  // of one request
	maxScopeBytes = 400 // of them all: Entra refuses long queries (AADSTS90015)
)

// SignInScopes are asked for at every sign-in, except at Live Connect. They belong to
// no API.
var SignInScopes = []string{"openid", "profile", "email", "offline_access"}

// DefaultScope asks for all scopes of an API that were granted ("Scopes and
// permissions in the Microsoft identity platform").
const DefaultScope = ".default"

// ErrAlone means that DefaultScope was asked for together with other scopes.
var ErrAlone = errors.New("msauth: " + DefaultScope + " cannot be combined with other scopes")

// ErrManyAPIs means that a token was asked for with scopes of several APIs. It is a
// mistake of the caller.
var ErrManyAPIs = errors.New("msauth: the scopes are of several APIs, an access token is for one")

// Scopes are the rules by which scopes are compared and sorted by API. At Microsoft
// an access token is for one API, and "User.Read" is short for
// "https://graph.microsoft.com/User.Read". Elsewhere a scope is only a name, and one
// access token serves all.
type Scopes struct {
	// Apart means that an access token is for one API.
	Apart bool
	// Graph are the prefixes that mean Microsoft Graph, in lower case and without
	// the slash at the end; nil for Azure AD B2C and other providers.
	Graph []string
	// Own is the API of the session's own access token, in lower case; "" for
	// Graph, and at providers where Apart is false.
	Own string
	// SignIn are the scopes of every sign-in. They belong to no API.
	SignIn []string
	// fold means that the case of a scope does not matter, though APIs are not told
	// apart.
	fold bool
}

// NewScopes returns the rules for a provider, where origin is Settings.Origin and
// scopes are those that the app configured. The first one that is not in
// SignInScopes says which API is the session's own.
func NewScopes(kind Kind, origin string, scopes []string) Scopes {
	if kind == LiveConnect {
		return Scopes{SignIn: liveSignInScopes, fold: true}
	}
	rules := Scopes{Apart: kind != OtherProvider, SignIn: SignInScopes}
	if kind == Entra || kind == ExternalID {
		for _, host := range GraphHosts(origin) {
			if name, _, _ := strings.Cut(host, ":"); !web.IsLoopback(name) {
				rules.Graph = append(rules.Graph, "https://"+name) // this cloud's first
			}
		}
		rules.Graph = append(rules.Graph, "https://graph.microsoft.com", "00000003-0000-0000-c000-000000000000")
	}
	for _, scope := range scopes {
		if !slices.Contains(rules.SignIn, scope) {
			rules.Own = rules.api(scope)
			break
		}
	}
	return rules
}

// api returns the API of a scope: what stands before its name, in lower case. It is
// "" for Graph and where APIs are not told apart.
func (s Scopes) api(scope string) string {
	i := strings.LastIndexByte(scope, '/')
	if !s.Apart || i < 0 {
		return ""
	}
	api := strings.ToLower(strings.TrimSuffix(scope[:i], "/"))
	if guid, ok := strings.CutPrefix(api, "api://"); ok && GUIDForm.MatchString(guid) {
		api = guid // Microsoft's proposal for the URI of the API with this client ID
	}
	if slices.Contains(s.Graph, api) || !strings.Contains(api, "://") && !GUIDForm.MatchString(api) {
		return ""
	}
	return api
}

// key is the form in which scopes are compared. Microsoft ignores case, and its
// replies name scopes of Graph with and without the prefix.
func (s Scopes) key(scope string) string {
	switch {
	case s.fold:
		return strings.ToLower(scope)
	case !s.Apart:
		return scope
	}
	i := strings.LastIndexByte(scope, '/')
	if i < 0 {
		return strings.ToLower(scope)
	}
	if api := s.api(scope); api != "" {
		return api + strings.ToLower(scope[i:])
	}
	if api := strings.ToLower(strings.TrimSuffix(scope[:i], "/")); slices.Contains(s.Graph, api) {
		return strings.ToLower(scope[i+1:])
	}
	return strings.ToLower(scope)
}

// Order returns the scopes in an order that depends on nothing else: sorted by API,
// each once, without those of SignIn.
func (s Scopes) Order(scopes []string) []string {
	list := slices.DeleteFunc(slices.Clone(scopes), func(scope string) bool { return slices.Contains(s.SignIn, scope) })
	slices.SortFunc(list, func(a, b string) int { return cmp.Compare(s.key(a), s.key(b)) })
	return slices.CompactFunc(list, func(a, b string) bool { return s.key(a) == s.key(b) })
}

// Check returns the scopes in the order of Order, or the reason why they cannot be
// asked for: one is malformed, DefaultScope is not alone, or they are too many.
func (s Scopes) Check(scopes []string) ([]string, error) {
	for _, scope := range scopes {
		if !ScopeForm.MatchString(scope) {
			return nil, fmt.Errorf("msauth: %q is not a scope: want one per argument, without spaces", scope)
		}
	}
	list := s.Order(scopes)
	if len(list) > 1 && slices.ContainsFunc(list, s.All) {
		return nil, ErrAlone
	}
	if len(list) > maxScopes || len(strings.Join(list, " ")) > maxScopeBytes {
		return nil, fmt.Errorf("msauth: more than %d scopes or %d bytes of them", maxScopes, maxScopeBytes)
	}
	return list, nil
}

// All reports whether a scope stands for all scopes of an API that were granted.
// Microsoft does not combine it with other scopes, not even of other APIs
// (AADSTS70011).
func (s Scopes) All(scope string) bool {
	return s.Apart && (scope == DefaultScope || strings.HasSuffix(scope, "/"+DefaultScope))
}

// ByAPI splits scopes, which must be in order, by API: own are those of the session's
// own access token, others those of each other API.
func (s Scopes) ByAPI(scopes []string) (own []string, others [][]string) {
	last := s.Own
	for _, scope := range scopes {
		switch api := s.api(scope); {
		case api == s.Own:
			own = append(own, scope)
		case api == last:
			others[len(others)-1] = append(others[len(others)-1], scope)
		default:
			others = append(others, []string{scope})
			last = api
		}
	}
	return own, others
}

// Renewed returns the scopes that a renewal names at Microsoft: those of the
// session's own API that were granted, in the form in which they are configured. If
// it named none, Microsoft would choose the API. fewer are those of all that are
// configured. /.default goes with no other scope, and replies list it beside what it
// stands for.
func (s Scopes) Renewed(configured, granted []string) (all, fewer []string) {
	own, _ := s.ByAPI(s.Order(configured))
	if slices.ContainsFunc(own, s.All) {
		return own, own
	}
	prefix := ""
	if len(own) > 0 {
		prefix = own[0][:strings.LastIndexByte(own[0], '/')+1]
	}
	have, others := s.ByAPI(s.Order(granted))
	for _, scope := range have {
		if s.All(scope) {
			continue
		}
		i := slices.IndexFunc(own, func(o string) bool { return s.key(o) == s.key(scope) })
		if i >= 0 {
			all, fewer = append(all, own[i]), append(fewer, own[i])
		} else {
			all = append(all, prefix+scope[strings.LastIndexByte(scope, '/')+1:])
		}
	}
	if len(all) == 0 && (s.Own != "" || len(others) > 0 || len(s.Graph) == 0) {
		return own, own // the configuration names another API than before, or its first
	}
	if len(fewer) == 0 && s.Own != "" {
		fewer = own // with none, the token would be for Graph
	}
	return all, fewer
}

// Foreign reports whether an access token, with the scopes that were granted, is for
// another API than the session's own: the configuration has changed since. It is
// called with every request and allocates nothing.
func (s Scopes) Foreign(granted string) bool {
	if !s.Apart {
		return false
	}
	others := false
	for scope := ""; granted != ""; { // from the last on: the first are those for signing in
		i := strings.LastIndexByte(granted, ' ')
		scope, granted = granted[i+1:], granted[:max(i, 0)]
		if scope == "" || slices.Contains(s.SignIn, scope) {
			continue
		}
		if s.api(scope) == s.Own {
			return false
		}
		others = true
	}
	return others
}

// Asked returns the scopes that were granted to a request for scopes of the session's
// own API alone. The reply may name them in a form that is not recognized: then
// Asked adds /.default of that API, which Foreign recognizes and which grants
// nothing.
func (s Scopes) Asked(configured []string, granted string) string {
	if !s.Foreign(granted) {
		return granted
	}
	all := DefaultScope
	own, _ := s.ByAPI(s.Order(configured))
	if len(own) > 0 {
		all = own[0][:strings.LastIndexByte(own[0], '/')+1] + DefaultScope
	}
	return granted + " " + all
}

// Missing returns those of the wanted scopes that were not granted.
func (s Scopes) Missing(granted string, wanted []string) (missing []string) {
	have := strings.Fields(granted)
	for i, scope := range have {
		have[i] = s.key(scope)
	}
	for _, scope := range wanted {
		if !s.All(scope) && !slices.Contains(have, s.key(scope)) {
			missing = append(missing, scope)
		}
	}
	return missing
}
