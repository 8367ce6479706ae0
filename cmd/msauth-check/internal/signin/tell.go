package signin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"example.com/msauth/cmd/msauth-check/internal/outside"
	"example.com/msauth/cmd/msauth-check/internal/report"
	"example.com/msauth/internal/credential"
	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/web"
)

// optional are the claims that an app registration can ask for and that msauth, or an
// app, makes use of.
var optional = []string{"email", "login_hint", "sid", "auth_time", "xms_edov", "groups", "roles"}

// wanted are those that every app registration for work accounts should ask for
// (docs/registration.md).
var wanted = []string{"email", "login_hint", "sid", "auth_time", "xms_edov"}

// tell reports what was seen.
func (v *visit) tell(ctx context.Context) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.failure != nil {
		v.tellFailure()
		return
	}
	seen := v.wire.first()
	if seen == nil {
		if v.set.Provider.Kind != provider.LiveConnect {
			v.found.Found("sign-in-failed", "The token reply had no ID token.")
			return
		}
		v.found.Fact("Signed in with " + v.person + ".")
		v.found.Checked("sign-in")
		return
	}
	v.found.Fact("Signed in with " + v.person + ".")
	v.tellClaims(seen)
	v.tellSizes(seen)
	v.tellScopes(seen)
	v.tellRenewal(ctx, seen)
	v.found.Checked("sign-in")
}

// tellFailure reports the page that the sign-in has ended on.
func (v *visit) tellFailure() {
	what := web.OneLine(strings.TrimPrefix(v.failure.err.Error(), "msauth: "), 600)
	what, _, _ = strings.Cut(what, " Trace ID")
	what, _, _ = strings.Cut(what, ". What helps: ")
	numbers := provider.AADSTSNumbers(v.failure.err.Error())
	id := "sign-in-failed"
	for _, n := range numbers {
		if known := report.ByNumber(n); known != "" {
			id = known
			break
		}
	}
	v.found.Found(id, fmt.Sprintf("The sign-in ended on the page %q: %s.", v.failure.kind, strings.TrimRight(what, ". ")), numbers...)
}

func (v *visit) tellClaims(r *reply) {
	var came, missing []string
	for _, name := range optional {
		raw, ok := r.claims[name]
		switch {
		case !ok && name == "groups" && r.claims["_claim_names"] != nil, !ok && r.claims["hasgroups"] != nil && name == "groups":
			came = append(came, "groups (too many to list)")
		case !ok:
			missing = append(missing, name)
		default:
			var list []any
			if json.Unmarshal(raw, &list) == nil {
				name += fmt.Sprintf(" (%d)", len(list))
			}
			came = append(came, name)
		}
	}
	if len(came) == 0 {
		came = []string{"none"}
	}
	v.found.Fact("Optional claims that came: " + strings.Join(came, ", ") + ".")
	if len(missing) > 0 {
		v.found.Fact("Optional claims that did not: " + strings.Join(missing, ", ") + ".")
	}
	lacks := slices.DeleteFunc(missing, func(name string) bool { return !slices.Contains(wanted, name) })
	if v.set.Provider.Kind == provider.Entra && v.person != personal && len(lacks) > 0 { // no personal account has any
		v.found.Found("claims-missing", "The ID token lacks "+strings.Join(lacks, ", ")+".")
	}
}

const (
	// nginxHeaders is how many bytes of response headers nginx accepts by default.
	nginxHeaders = 4096
	// secureBytes is how much longer a cookie is over https: "__Host-" and "; Secure".
	secureBytes = len("__Host-") + len("; Secure")
)

func (v *visit) tellSizes(r *reply) {
	v.found.Fact(fmt.Sprintf("Tokens: ID token %d bytes, access token %d, refresh token %d.", r.id, r.access, r.refreshed))
	cookies, headers := v.cookies+v.count*secureBytes, v.headers+(v.count+2)*secureBytes
	v.found.Fact(fmt.Sprintf("Session cookies: %d bytes in %d over https; the response that sets them has %d bytes of headers. "+
		"nginx accepts %d by default (proxy_buffer_size), and 8192 of cookies in a request (large_client_header_buffers).", cookies, v.count, headers, nginxHeaders))
}

func (v *visit) tellScopes(r *reply) {
	p := v.set.Provider
	rules := provider.NewScopes(p.Kind, p.Origin, v.set.Config.Scopes)
	granted := web.OneLine(r.scope, 500)
	if granted == "" { // RFC 6749 section 5.1: those that were asked for
		granted = strings.Join(v.set.Config.Scopes, " ")
	}
	v.found.Fact("Granted: " + granted + ".")
	if missing := rules.Missing(granted, v.set.Config.Scopes); len(missing) > 0 {
		v.found.Found("scopes-not-granted", "Asked for and not granted: "+strings.Join(missing, " ")+".")
	}
	if p.Kind == provider.Entra && v.person != personal {
		v.found.Fact("Whether that is granted for the whole tenant or by this account alone is in no token. This lists what is granted for all: az ad app permission list-grants --id " +
			v.set.ClientID + ` --query "[?consentType=='AllPrincipals'].scope" --output tsv`)
	}
}

// tellRenewal spends the refresh token once, as msauth does when an access token ends.
func (v *visit) tellRenewal(ctx context.Context, r *reply) {
	if r.refresh == "" {
		v.found.Found("renewal-missing", "The token reply has no refresh token.")
		return
	}
	p := *v.set.Provider
	p.ClientID, p.Client = v.set.ClientID, &http.Client{Transport: v.wire.base, CheckRedirect: web.FollowNothing}
	var sources []credential.Source
	for _, one := range v.set.Credentials {
		sources = append(sources, one.Source)
	}
	endpoint := provider.TokenEndpoint{
		Authority: provider.NewAuthority(p), ClientID: v.set.ClientID, Client: p.Client,
		Credentials: credential.NewRing(sources, 0, outside.NoObserver{}),
	}
	q := provider.RefreshRequest{Purpose: provider.PurposeRenewal, Personal: v.person == personal}
	if rules := provider.NewScopes(p.Kind, p.Origin, v.set.Config.Scopes); rules.Apart {
		all, fewer := rules.Renewed(v.set.Config.Scopes, strings.Fields(r.scope))
		q.Scopes, q.Fewer = strings.Join(slices.Concat(rules.SignIn, all), " "), strings.Join(slices.Concat(rules.SignIn, fewer), " ")
	}
	tokens, failure := endpoint.Refresh(ctx, r.refresh, q)
	if failure != nil {
		v.found.Found("renewal-failed", strings.TrimPrefix(web.OneLine(failure.Error(), 600), "msauth: "), failure.Numbers...)
		return
	}
	v.found.Hide(string(tokens.Access), string(tokens.Refresh), tokens.IDToken)
	v.found.Fact("A renewal works.")
}
