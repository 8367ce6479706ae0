package msauthtest

import (
	"cmp"
	"slices"
	"strings"
)

// A plan is the content of the answer to a token request.
type plan struct {
	api    *API     // nil for Graph and unregistered resources
	scopes []string // of the request, or else of the sign-in
	reply  []string // scope of the reply
	scp    []string // claim of the access token
	aud    string
	demand demand
}

// plan decides how to answer a token request.
func (e *exchange) plan(g *grant, u User, form func(string) string) (plan, Failure) {
	if e.tenant.family == b2c {
		return e.planB2C(g, form)
	}
	if e.tenant.family == live {
		return e.planLive(g, u, form)
	}
	p := plan{scopes: g.scopes}
	asked := strings.Fields(form("scope"))
	if len(asked) > 0 {
		p.scopes = asked
	}
	if f := e.check(p.scopes); !f.isZero() {
		return p, f
	}
	if e.tenant.family == plain {
		if f := checkGranted(asked, g.scopes); !f.isZero() {
			return p, f
		}
	}
	resource, ok := e.resourceOf(p.scopes, len(asked) > 0)
	if !ok {
		return p, refusal(28000, strings.Join(p.scopes, " "))
	}
	p.aud = resource
	if api, ok := e.apis.find(resource); ok && e.tenant.family != plain {
		p.api, p.aud = &api, api.audience()
	}
	if f := e.checkOwn(asked, p.api); !f.isZero() && e.tenant.family != plain {
		return p, f
	}

	if p.demand, ok = parseDemand(form("claims")); !ok {
		return p, refusal(9002313, "'claims' is not a claims request")
	}
	if e.behavior.IgnoreClaims {
		p.demand = demand{}
	}
	if !p.demand.met(g.mfa, g.acrs) {
		f := refusal(50076, "'"+resource+"'")
		f.Claims = form("claims")
		return p, f
	}
	f := e.fill(&p, u, resource, e.consented(g.user))
	return p, f
}

// resourceOf returns the resource of a token with these scopes, Graph if they
// name none. With onlyOne, it returns false if they name several. Otherwise the
// token is for the first: a sign-in may request consent for several resources.
func (e *exchange) resourceOf(scopes []string, onlyOne bool) (resource string, ok bool) {
	for _, q := range e.apis.permissions(scopes) {
		switch {
		case q.resource == "" || q.resource == resource:
		case resource == "":
			resource = q.resource
		case onlyOne:
			return "", false
		}
	}
	return cmp.Or(resource, graphAudience), true
}

// missingConsent returns the failure for a scope that was not granted.
func (e *exchange) missingConsent(u User) Failure {
	if u.personal() { // Microsoft sends no suberror for them
		f := refusal(70000, "")
		f.Description = unauthorizedScopes
		return f
	}
	return refusal(65001, "'"+e.ClientID+"'")
}

// fill sets reply and scp to the scopes that were granted: those of the
// request, and those of the same resource from before.
func (e *exchange) fill(p *plan, u User, resource string, granted []permission) Failure {
	isGranted := func(q permission) bool {
		return e.tenant.family == plain || q.resource == "" || slices.ContainsFunc(granted, q.same)
	}
	var given, standard []permission
	var echo []string // X/.default
	byDefault, full, withheld := false, resource != graphAudience, false
	for _, scope := range p.scopes {
		q := e.apis.permission(scope)
		switch {
		case q.resource == "" && q.name == "offline_access": // Microsoft's reply does not name it
			continue
		case q.resource == "":
			standard = append(standard, q)
		case q.resource != resource:
			continue
		case q.name == defaultScope && e.tenant.family != plain && !isGranted(q):
			byDefault = true
		case !isGranted(q) && e.apis.listed(e.behavior.WithholdScopes, q):
			withheld = true
			continue
		case !isGranted(q):
			return e.missingConsent(u)
		default:
			given = append(given, q)
		}
		full = full || q.resource != "" && strings.Contains(scope, "/")
		if q.name == defaultScope && byDefault {
			echo = append(echo, scope)
			continue
		}
		p.reply = append(p.reply, scope)
	}
	if e.tenant.family != plain {
		// Add what was granted before.
		for _, q := range granted {
			switch {
			case slices.ContainsFunc(given, q.same) || slices.ContainsFunc(standard, q.same):
				continue
			case q.resource == "" && q.name != "offline_access" && resource == graphAudience:
				standard = append(standard, q)
			case q.resource == resource:
				given = append(given, q)
			default:
				continue
			}
			text := q.name
			if full {
				text = q.text()
			}
			p.reply = append(p.reply, text)
		}
		p.reply = append(p.reply, echo...) // last, as in Microsoft's replies
		if len(given) == 0 && (byDefault || withheld) {
			return e.missingConsent(u)
		}
	}
	p.scp = []string{}
	for _, q := range given {
		p.scp = append(p.scp, q.name)
	}
	if p.api == nil {
		for _, q := range standard {
			p.scp = append(p.scp, q.name)
		}
	}
	return Failure{}
}
