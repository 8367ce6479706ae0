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

var ScopeForm = regexp.MustCompile(`^[\x21\x23-\x5B\x5D-\x7E]+$`) // scope-token of RFC 6749 section 3.3

const (
	maxScopes     = 20  // that one call may ask for
	maxScopeBytes = 400 // of them all: Entra refuses long queries (AADSTS90015)
)

// SignInScopes are asked for at every sign-in. They are of no API.
var SignInScopes = []string{"openid", "profile", "email", "offline_access"}

// DefaultScope asks for all scopes of an API that were granted
// ("Scopes and permissions in the Microsoft identity platform").
const DefaultScope = ".default"

// Scopes tell which API a scope is of and whether two scopes are the same.
// At Microsoft an access token is for one API, and "User.Read" is short for
// "https://graph.microsoft.com/User.Read"; elsewhere a scope is a name like any
// other, and one access token is for all.
type Scopes struct {
	Apart bool     // tokens are for one API
	Graph []string // what stands before Graph's scopes, if anything does
	Own   string   // the API of the app's own scopes: "" for Graph
}

func NewScopes(kind Kind, origin string, scopes []string) Scopes {
	rules := Scopes{Apart: kind != OtherProvider}
	if kind == Entra || kind == ExternalID {
		for _, host := range GraphHosts(origin) {
			if name, _, _ := strings.Cut(host, ":"); !web.IsLoopback(name) {
				rules.Graph = append(rules.Graph, "https://"+name) // this cloud's first
			}
		}
		rules.Graph = append(rules.Graph, "https://graph.microsoft.com", "00000003-0000-0000-c000-000000000000")
	}
	for _, scope := range scopes {
		if !slices.Contains(SignInScopes, scope) {
			rules.Own = rules.api(scope)
			break
		}
	}
	return rules
}

// api is the API that a scope is of: what stands before its name, "" for Graph
// and where it does not matter.
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

// key is the form in which scopes are compared. Microsoft takes no notice of
// upper and lower case, and answers in either form.
func (s Scopes) key(scope string) string {
	if !s.Apart {
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

// Order puts scopes into order, each once and without those of every sign-in.
func (s Scopes) Order(scopes []string) []string {
	list := slices.DeleteFunc(slices.Clone(scopes), func(scope string) bool { return slices.Contains(SignInScopes, scope) })
	slices.SortFunc(list, func(a, b string) int { return cmp.Compare(s.key(a), s.key(b)) })
	return slices.CompactFunc(list, func(a, b string) bool { return s.key(a) == s.key(b) })
}

var ErrAlone = errors.New("msauth: " + DefaultScope + " cannot be combined with other scopes")

// Check refuses scopes that cannot be asked for, and puts the others into order.
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

// All reports whether a scope stands for all of an API that were granted.
// Microsoft does not combine it with other scopes, of other APIs neither
// (AADSTS70011).
func (s Scopes) All(scope string) bool {
	return s.Apart && (scope == DefaultScope || strings.HasSuffix(scope, "/"+DefaultScope))
}

// ByAPI parts scopes, which are in order, by what API they are of.
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

// Renewed are the scopes that a renewal names at Microsoft, where none would mean
// an API of Microsoft's choice: those of the session's own API that were granted,
// in the form in which they are configured. fewer are those of them that are
// configured. /.default goes with no other scope, and replies list it beside
// what it stands for.
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
		return own, own // the app asks for another API since, or for one at all
	}
	if len(fewer) == 0 && s.Own != "" {
		fewer = own // without, the token would be for Graph
	}
	return all, fewer
}

// Foreign reports whether a session's token, with the scopes that were granted,
// is for another API than that of Config.Scopes: these have changed since. It is
// asked at every request.
func (s Scopes) Foreign(granted string) bool {
	if !s.Apart {
		return false
	}
	others := false
	for scope := range strings.FieldsSeq(granted) {
		if slices.Contains(SignInScopes, scope) {
			continue
		}
		if s.api(scope) == s.Own {
			return false
		}
		others = true
	}
	return others
}

// Asked is what was granted where scopes of the session's own API alone were
// asked for, and the reply may name them in a form that is not known to be
// theirs. What is added stands for no scope by itself.
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

// ErrManyAPIs is a mistake of the caller.
var ErrManyAPIs = errors.New("msauth: the scopes are of several APIs, an access token is for one")

// Missing are the scopes that were not granted, of those that were wanted.
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
