package msauth

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

const (
	maxScopes     = 20  // that one call may ask for
	maxScopeBytes = 400 // of them all: Entra refuses long queries (AADSTS90015)
)

// signInScopes are asked for at every sign-in. They are of no API.
var signInScopes = []string{"openid", "profile", "email", "offline_access"}

// defaultScope asks for all scopes of an API that were granted
// ("Scopes and permissions in the Microsoft identity platform").
const defaultScope = ".default"

// scopeRules tell which API a scope is of and whether two scopes are the same.
// At Microsoft an access token is for one API, and "User.Read" is short for
// "https://graph.microsoft.com/User.Read"; elsewhere a scope is a name like any
// other, and one access token is for all.
type scopeRules struct {
	apart bool     // tokens are for one API
	graph []string // what stands before Graph's scopes, if anything does
	own   string   // the API of the app's own scopes: "" for Graph
}

func newScopeRules(kind providerKind, origin string, scopes []string) scopeRules {
	rules := scopeRules{apart: kind != otherProvider}
	if kind == entra || kind == externalID {
		for _, host := range graphHosts(origin) {
			if name, _, _ := strings.Cut(host, ":"); !isLoopback(name) {
				rules.graph = append(rules.graph, "https://"+name) // this cloud's first
			}
		}
		rules.graph = append(rules.graph, "https://graph.microsoft.com", "00000003-0000-0000-c000-000000000000")
	}
	for _, scope := range scopes {
		if !slices.Contains(signInScopes, scope) {
			rules.own = rules.api(scope)
			break
		}
	}
	return rules
}

// api is the API that a scope is of: what stands before its name, "" for Graph
// and where it does not matter.
func (s scopeRules) api(scope string) string {
	i := strings.LastIndexByte(scope, '/')
	if !s.apart || i < 0 {
		return ""
	}
	api := strings.ToLower(strings.TrimSuffix(scope[:i], "/"))
	if guid, ok := strings.CutPrefix(api, "api://"); ok && guidForm.MatchString(guid) {
		api = guid // Microsoft's proposal for the URI of the API with this client ID
	}
	if slices.Contains(s.graph, api) || !strings.Contains(api, "://") && !guidForm.MatchString(api) {
		return ""
	}
	return api
}

// key is the form in which scopes are compared. Microsoft takes no notice of
// upper and lower case, and answers in either form.
func (s scopeRules) key(scope string) string {
	if !s.apart {
		return scope
	}
	i := strings.LastIndexByte(scope, '/')
	if i < 0 {
		return strings.ToLower(scope)
	}
	if api := s.api(scope); api != "" {
		return api + strings.ToLower(scope[i:])
	}
	if api := strings.ToLower(strings.TrimSuffix(scope[:i], "/")); slices.Contains(s.graph, api) {
		return strings.ToLower(scope[i+1:])
	}
	return strings.ToLower(scope)
}

// order puts scopes into order, each once and without those of every sign-in.
func (s scopeRules) order(scopes []string) []string {
	list := slices.DeleteFunc(slices.Clone(scopes), func(scope string) bool { return slices.Contains(signInScopes, scope) })
	slices.SortFunc(list, func(a, b string) int { return cmp.Compare(s.key(a), s.key(b)) })
	return slices.CompactFunc(list, func(a, b string) bool { return s.key(a) == s.key(b) })
}

var errAlone = errors.New("msauth: " + defaultScope + " cannot be combined with other scopes")

// check refuses scopes that cannot be asked for, and puts the others into order.
func (s scopeRules) check(scopes []string) ([]string, error) {
	for _, scope := range scopes {
		if !scopeForm.MatchString(scope) {
			return nil, fmt.Errorf("msauth: %q is not a scope: want one per argument, without spaces", scope)
		}
	}
	list := s.order(scopes)
	if len(list) > 1 && slices.ContainsFunc(list, s.all) {
		return nil, errAlone
	}
	if len(list) > maxScopes || len(strings.Join(list, " ")) > maxScopeBytes {
		return nil, fmt.Errorf("msauth: more than %d scopes or %d bytes of them", maxScopes, maxScopeBytes)
	}
	return list, nil
}

// all reports whether a scope stands for all of an API that were granted.
// Microsoft does not combine it with other scopes, of other APIs neither
// (AADSTS70011).
func (s scopeRules) all(scope string) bool {
	return s.apart && (scope == defaultScope || strings.HasSuffix(scope, "/"+defaultScope))
}

// byAPI parts scopes, which are in order, by what API they are of.
func (s scopeRules) byAPI(scopes []string) (own []string, others [][]string) {
	last := s.own
	for _, scope := range scopes {
		switch api := s.api(scope); {
		case api == s.own:
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

// renewed are the scopes that a renewal names at Microsoft, where none would mean
// an API of Microsoft's choice: those of the session's own API that were granted,
// in the form in which they are configured. fewer are those of them that are
// configured. /.default goes with no other scope, and replies list it beside
// what it stands for.
func (s scopeRules) renewed(configured, granted []string) (all, fewer []string) {
	own, _ := s.byAPI(s.order(configured))
	if slices.ContainsFunc(own, s.all) {
		return own, own
	}
	prefix := ""
	if len(own) > 0 {
		prefix = own[0][:strings.LastIndexByte(own[0], '/')+1]
	}
	have, others := s.byAPI(s.order(granted))
	for _, scope := range have {
		if s.all(scope) {
			continue
		}
		i := slices.IndexFunc(own, func(o string) bool { return s.key(o) == s.key(scope) })
		if i >= 0 {
			all, fewer = append(all, own[i]), append(fewer, own[i])
		} else {
			all = append(all, prefix+scope[strings.LastIndexByte(scope, '/')+1:])
		}
	}
	if len(all) == 0 && (s.own != "" || len(others) > 0 || len(s.graph) == 0) {
		return own, own // the app asks for another API since, or for one at all
	}
	if len(fewer) == 0 && s.own != "" {
		fewer = own // without, the token would be for Graph
	}
	return all, fewer
}

// foreign reports whether a session's token, with the scopes that were granted,
// is for another API than that of Config.Scopes: these have changed since. It is
// asked at every request.
func (s scopeRules) foreign(granted string) bool {
	if !s.apart {
		return false
	}
	others := false
	for scope := range strings.FieldsSeq(granted) {
		if slices.Contains(signInScopes, scope) {
			continue
		}
		if s.api(scope) == s.own {
			return false
		}
		others = true
	}
	return others
}

// asked is what was granted where scopes of the session's own API alone were
// asked for, and the reply may name them in a form that is not known to be
// theirs. What is added stands for no scope by itself.
func (s scopeRules) asked(configured []string, granted string) string {
	if !s.foreign(granted) {
		return granted
	}
	all := defaultScope
	own, _ := s.byAPI(s.order(configured))
	if len(own) > 0 {
		all = own[0][:strings.LastIndexByte(own[0], '/')+1] + defaultScope
	}
	return granted + " " + all
}

// errManyAPIs is a mistake of the caller.
var errManyAPIs = errors.New("msauth: the scopes are of several APIs, an access token is for one")

// missing are the scopes that were not granted, of those that were wanted.
func (s scopeRules) missing(granted string, wanted []string) (missing []string) {
	have := strings.Fields(granted)
	for i, scope := range have {
		have[i] = s.key(scope)
	}
	for _, scope := range wanted {
		if !s.all(scope) && !slices.Contains(have, s.key(scope)) {
			missing = append(missing, scope)
		}
	}
	return missing
}
