package msauthtest

import (
	"cmp"
	"slices"
	"strings"
)

// An API is a resource other than Graph that access tokens can be issued for:
// an API of the app's own, registered under "Expose an API".
type API struct {
	// ID is the application ID URI, such as "api://orders". A scope is
	// requested as ID + "/" + name, all of them as ID + "/.default".
	ID string

	// ClientID is the client ID of the API's own registration, a GUID. It is
	// the claim aud of access tokens, which are of version 2.0 ("Access token
	// claims reference"). The default is ID.
	ClientID string

	// Scopes are the names of its delegated permissions, such as "Orders.Read".
	// Any other is refused with AADSTS650053. If the list is empty, every scope
	// is accepted.
	Scopes []string
}

// audience returns the claim aud of access tokens for the API.
func (a API) audience() string { return cmp.Or(a.ClientID, a.ID) }

// AddAPI registers an API, or replaces the one with the same ID. Until the
// first API is added, scopes of any resource are accepted, and their access
// tokens are of version 1.0. After that, a resource that is neither Graph nor a
// registered API is refused with AADSTS500011. AddAPI panics if api.ID is empty
// or contains a space.
func (s *Server) AddAPI(api API) {
	api.ID = strings.TrimSuffix(api.ID, "/")
	if api.ID == "" || strings.ContainsAny(api.ID, " \t\r\n") {
		panic("msauthtest: AddAPI: API.ID is empty or contains a space")
	}
	api.Scopes = slices.Clone(api.Scopes)
	s.mu.Lock()
	defer s.mu.Unlock()
	// A new list: requests in progress keep theirs.
	s.apis = append(slices.DeleteFunc(slices.Clone(s.apis), func(a API) bool { return a.ID == api.ID }), api)
}

// graphAudience is the resource of scopes without a prefix. graphClientID is
// Graph's client ID.
const (
	graphAudience = "https://graph.microsoft.com"
	graphClientID = "00000003-0000-0000-c000-000000000000"
)

// A permission is a scope, split into its resource and its name there. Scopes
// of OpenID Connect have no resource, and those of Live Connect are full names.
// Names are case-insensitive.
type permission struct{ resource, name string }

func (p permission) same(q permission) bool {
	return p.resource == q.resource && strings.EqualFold(p.name, q.name)
}

// text returns the full name of the scope.
func (p permission) text() string {
	if p.resource == "" || p.resource == liveHost {
		return p.name
	}
	return p.resource + "/" + p.name
}

// defaultScope requests every permission that the app is registered for.
const defaultScope = ".default"

// A registry is the list of APIs that were added.
type registry []API

func (r registry) find(resource string) (API, bool) {
	i := slices.IndexFunc(r, func(a API) bool {
		guid := strings.TrimPrefix(resource, "api://") // with or without that prefix
		return a.ID == resource || a.ClientID != "" && strings.EqualFold(a.ClientID, guid) || strings.EqualFold(a.ID, "api://"+resource)
	})
	if i < 0 {
		return API{}, false
	}
	return r[i], true
}

// permission parses a scope.
func (r registry) permission(scope string) permission {
	switch scope {
	case "openid", "profile", "email", "offline_access":
		return permission{"", scope}
	}
	if liveScope.MatchString(scope) {
		return permission{liveHost, scope}
	}
	i := strings.LastIndexByte(scope, '/')
	if i < 0 {
		return permission{graphAudience, scope}
	}
	resource, name := strings.TrimSuffix(scope[:i], "/"), scope[i+1:]
	if api, ok := r.find(resource); ok {
		return permission{api.ID, name}
	}
	if resource == graphClientID {
		return permission{graphAudience, name}
	}
	if !strings.Contains(scope, "://") {
		return permission{graphAudience, scope}
	}
	return permission{resource, name}
}

func (r registry) permissions(scopes []string) []permission {
	all := make([]permission, len(scopes))
	for i, s := range scopes {
		all[i] = r.permission(s)
	}
	return all
}

// listed reports whether scopes contains p.
func (r registry) listed(scopes []string, p permission) bool {
	return slices.ContainsFunc(scopes, func(s string) bool { return p.same(r.permission(s)) })
}

// check refuses scopes that do not exist, and combinations that Microsoft does
// not accept.
func (e *exchange) check(scopes []string) Failure {
	switch e.tenant.family {
	case b2c:
		return e.checkB2C(scopes)
	case plain:
		if f := e.checkPlain(scopes); !f.isZero() {
			return f
		}
	}
	count, byDefault := 0, false
	for _, p := range e.apis.permissions(scopes) {
		if p.resource == "" {
			continue
		}
		count++
		byDefault = byDefault || p.name == defaultScope
		if byDefault && count > 1 { // even scopes of other resources
			return refusal(70011, "The scope "+strings.Join(scopes, " ")+" is not valid: .default can't be combined with resource-specific scopes.")
		}
		if p.resource == graphAudience || p.resource == e.URL || len(e.apis) == 0 {
			continue
		}
		api, ok := e.apis.find(p.resource)
		if !ok {
			return refusal(500011, "'"+p.resource+"'")
		}
		known := func(name string) bool { return strings.EqualFold(name, p.name) }
		if p.name != defaultScope && len(api.Scopes) > 0 && !slices.ContainsFunc(api.Scopes, known) {
			return refusal(650053, "'"+p.name+"' that doesn't exist on the resource '"+p.resource+"'")
		}
	}
	return Failure{}
}

// maxConsents is the number of permissions that are remembered for each person.
const maxConsents = 1000

// Consent grants scopes to the app on behalf of a person, as an administrator
// or an earlier sign-in would.
func (s *Server) Consent(signInName string, scopes ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.grantConsent(signInName, registry(s.apis).permissions(scopes))
}

// Withdraw revokes permissions that a person granted to the app: the given
// scopes, or all of them if there are none. Renewals that request one of them
// are refused with AADSTS65001, those of personal accounts with AADSTS70000. As
// with Microsoft, access tokens stay valid until they expire.
func (s *Server) Withdraw(signInName string, scopes ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := strings.ToLower(signInName)
	if len(scopes) == 0 {
		delete(s.consents, key)
		return
	}
	gone := registry(s.apis).permissions(scopes)
	s.consents[key] = slices.DeleteFunc(slices.Clone(s.consents[key]), func(p permission) bool {
		return slices.ContainsFunc(gone, p.same)
	})
}

// Consented returns the scopes that a person has granted to the app, in the
// order of granting. Scopes of an API, including Graph, have their full names.
func (s *Server) Consented(signInName string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var scopes []string
	for _, p := range s.consents[strings.ToLower(signInName)] {
		scopes = append(scopes, p.text())
	}
	return scopes
}

// grantConsent remembers permissions. s.mu is held.
func (s *Server) grantConsent(signInName string, permissions []permission) {
	key := strings.ToLower(signInName)
	all := slices.Clone(s.consents[key])
	for _, p := range permissions {
		if len(all) < maxConsents && !slices.ContainsFunc(all, p.same) {
			all = append(all, p)
		}
	}
	s.consents[key] = all
}

// consented returns the permissions that a person has granted. The list is
// never modified.
func (s *Server) consented(signInName string) []permission {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.consents[strings.ToLower(signInName)]
}

// lacking returns the permissions that a person would have to grant. At an API,
// .default stands for all of its scopes. At Graph, whose scopes are not listed
// here, it stands for those that were granted before, or else for User.Read,
// which every registration has from the start.
func (e *exchange) lacking(u User, scopes []string) []permission {
	if e.tenant.family == b2c { // an administrator has granted them to the app
		return nil
	}
	granted := e.consented(u.SignInName)
	var lacks []permission
	for _, p := range e.apis.permissions(scopes) {
		asked := []permission{p}
		if p.name == defaultScope {
			api, added := e.apis.find(p.resource)
			switch {
			case p.resource == graphAudience && slices.ContainsFunc(granted, func(g permission) bool { return g.resource == graphAudience }):
				asked = nil
			case p.resource == graphAudience:
				asked = []permission{{graphAudience, "User.Read"}}
			case added && len(api.Scopes) > 0:
				asked = nil
				for _, name := range api.Scopes {
					asked = append(asked, permission{api.ID, name})
				}
			}
		}
		for _, p := range asked {
			if !slices.ContainsFunc(granted, p.same) && !slices.ContainsFunc(lacks, p.same) && !e.apis.listed(e.behavior.WithholdScopes, p) {
				lacks = append(lacks, p)
			}
		}
	}
	return lacks
}

// needsConsent returns the permissions that a consent page asks for. Those of
// OpenID Connect come with the sign-in.
func needsConsent(lacks []permission) []permission {
	return slices.DeleteFunc(slices.Clone(lacks), func(p permission) bool { return p.resource == "" })
}

// unauthorizedScopes is the text of AADSTS70000 if a personal account has not
// granted a scope.
const unauthorizedScopes = "The request was denied because one or more scopes requested are unauthorized or expired. The user must first sign in and grant the client application access to the requested scope."

// own reports whether the API belongs to the app's own registration.
func (a API) own(clientID string) bool {
	return strings.EqualFold(a.ClientID, clientID) || strings.EqualFold(a.ID, "api://"+clientID)
}

// checkOwn refuses requests by which an app cannot get a token for itself.
// asked are the requested scopes; api is what the token would be for.
func (e *exchange) checkOwn(asked []string, api *API) Failure {
	uri := "api://" + e.ClientID
	refused := refusal(90009, "'"+e.ClientID+"'("+uri+")")
	if len(asked) == 0 && e.kind == TokenRefresh && api != nil && api.own(e.ClientID) {
		return refused
	}
	for _, scope := range asked {
		if e.behavior.RefuseOwnURI && len(scope) > len(uri) && strings.EqualFold(scope[:len(uri)+1], uri+"/") {
			return refused
		}
	}
	return Failure{}
}
