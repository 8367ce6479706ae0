package msauthtest

import (
	"cmp"
	"slices"
	"strings"
)

// An API is a resource beside Graph that access tokens can be for: an API of
// the app's own, as "Expose an API" of its registration describes it.
type API struct {
	// ID is the application ID URI, such as "api://orders". Its scopes are
	// asked for as ID + "/" + name, or all of them as ID + "/.default".
	ID string

	// ClientID is the client ID of the API's own registration, a GUID. It is
	// the claim aud of access tokens, which are of version 2.0 ("Access token
	// claims reference"). When empty, ID is.
	ClientID string

	// Scopes are the names of its delegated permissions, such as
	// "Orders.Read". Others are refused with AADSTS650053. When empty, it has
	// every scope that is asked for.
	Scopes []string
}

// audience is the claim aud of its access tokens.
func (a API) audience() string { return cmp.Or(a.ClientID, a.ID) }

// AddAPI registers an API, or replaces the one with the same ID. As long as
// none has been added, scopes of any resource may be asked for, and access
// tokens for those are of version 1.0; from then on a resource that is neither
// Graph nor added is refused with AADSTS500011. AddAPI panics when api.ID is
// empty or has a space in it.
func (s *Server) AddAPI(api API) {
	api.ID = strings.TrimSuffix(api.ID, "/")
	if api.ID == "" || strings.ContainsAny(api.ID, " \t\r\n") {
		panic("msauthtest: AddAPI: API.ID is empty or has a space in it")
	}
	api.Scopes = slices.Clone(api.Scopes)
	s.mu.Lock()
	defer s.mu.Unlock()
	// Requests under way keep the list that they began with.
	s.apis = append(slices.DeleteFunc(slices.Clone(s.apis), func(a API) bool { return a.ID == api.ID }), api)
}

// graphAudience is the resource of scopes without a prefix; graphClientID is
// the client ID of Graph.
const (
	graphAudience = "https://graph.microsoft.com"
	graphClientID = "00000003-0000-0000-c000-000000000000"
)

// A permission is a scope: the resource it is of and its name there. Scopes of
// OpenID Connect are of no resource. Upper and lower case of names are alike.
type permission struct{ resource, name string }

func (p permission) same(q permission) bool {
	return p.resource == q.resource && strings.EqualFold(p.name, q.name)
}

// text is the scope in full.
func (p permission) text() string {
	if p.resource == "" {
		return p.name
	}
	return p.resource + "/" + p.name
}

// defaultScope asks for everything that the app has been registered for.
const defaultScope = ".default"

// registry are the APIs that were added.
type registry []API

func (r registry) find(resource string) (API, bool) {
	i := slices.IndexFunc(r, func(a API) bool {
		guid := strings.TrimPrefix(resource, "api://") // of the registration: with or without
		return a.ID == resource || a.ClientID != "" && strings.EqualFold(a.ClientID, guid) || strings.EqualFold(a.ID, "api://"+resource)
	})
	if i < 0 {
		return API{}, false
	}
	return r[i], true
}

// permission reads a scope.
func (r registry) permission(scope string) permission {
	switch scope {
	case "openid", "profile", "email", "offline_access":
		return permission{"", scope}
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

// listed tells whether a permission is among scopes.
func (r registry) listed(scopes []string, p permission) bool {
	return slices.ContainsFunc(scopes, func(s string) bool { return p.same(r.permission(s)) })
}

// check refuses scopes that do not exist, and the mixtures that Microsoft does
// not take.
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
		if byDefault && count > 1 { // of other resources neither
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

// maxConsents is how many permissions of one person are remembered.
const maxConsents = 1000

// Consent grants scopes to the app in a person's name, as an administrator does
// for them, or as they did at an earlier sign-in.
func (s *Server) Consent(signInName string, scopes ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.grantConsent(signInName, registry(s.apis).permissions(scopes))
}

// Withdraw takes back what a person has granted to the app: these scopes, or
// everything when there are none. Renewals that ask for them are refused with
// AADSTS65001,
// of personal accounts with AADSTS70000. Access tokens stay good until they expire, as with Microsoft.
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

// Consented lists what a person has granted to the app, in the order of
// granting. Scopes of an API, Graph too, are written in full.
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

// consented returns a list that does not change.
func (s *Server) consented(signInName string) []permission {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.consents[strings.ToLower(signInName)]
}

// lacking are the permissions that a person would have to grant. .default
// stands for all scopes of an API, and at Graph, whose list is not kept here,
// for what was granted before, or else for User.Read, with which every
// registration begins.
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

// needsConsent are the permissions that a person has to be asked for: those of
// OpenID Connect come with the sign-in.
func needsConsent(lacks []permission) []permission {
	return slices.DeleteFunc(slices.Clone(lacks), func(p permission) bool { return p.resource == "" })
}

// unauthorizedScopes is the text of AADSTS70000 when a personal account has not
// granted a scope.
const unauthorizedScopes = "The request was denied because one or more scopes requested are unauthorized or expired. The user must first sign in and grant the client application access to the requested scope."

// own tells whether an API is that of the app's own registration.
func (a API) own(clientID string) bool {
	return strings.EqualFold(a.ClientID, clientID) || strings.EqualFold(a.ID, "api://"+clientID)
}

// checkOwn refuses the forms in which an app cannot ask for a token for itself.
// asked are the scopes of the request, api is what the token would be for.
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
