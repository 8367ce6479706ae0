package msauthtest

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"time"
)

// backdate is how far Microsoft dates tokens back, so that slow clocks accept
// them.
const backdate = 5 * time.Minute

// groupLimit is the number of groups from which on tokens carry overage claims
// in their place.
const groupLimit = 200

// idToken returns a signed ID token.
func (e *exchange) idToken(g *grant, u User, scopes []string, accessToken string) (string, error) {
	var claims map[string]any
	optional := true // include the optional claims
	switch e.tenant.family {
	case b2c:
		claims = e.b2cClaims(g, u, accessToken)
	case plain:
		claims = e.plainClaims(g, u, scopes, accessToken)
	default:
		optional = !u.personal() || e.behavior.PersonalClaims
		claims = e.entraClaims(g, u, scopes, optional)
	}
	if optional && !e.behavior.OmitAuthTime {
		claims["auth_time"] = g.authTime.Unix()
	}
	if optional && len(g.acrs) > 0 {
		claims["acrs"] = g.acrs
	}
	// OpenID Connect Core section 12.2: a renewed ID token should have no nonce.
	if e.kind == TokenCode {
		claims["nonce"] = g.nonce
	}
	if e.behavior.IDToken != nil {
		e.behavior.IDToken(e.kind, claims)
	}
	return e.signIDToken(u, claims)
}

// entraClaims returns the claims of Microsoft's "ID token claims reference". If
// optional is set, they include those of an app that is registered for sid,
// login_hint, email, xms_edov and groups.
func (e *exchange) entraClaims(g *grant, u User, scopes []string, optional bool) map[string]any {
	now := time.Now()
	life := time.Hour
	if u.personal() {
		life = 24 * time.Hour
	}
	claims := map[string]any{
		"aud": e.ClientID,
		"iss": e.tenant.issuerFor(e.origin, u),
		"iat": now.Add(-backdate).Unix(),
		"nbf": now.Add(-backdate).Unix(),
		"exp": now.Add(life).Unix(),
		"sub": e.subjectAt(e.tenant, u),
		"tid": u.TenantID,
		"ver": "2.0",
		"aio": opaqueAIO(u),
	}
	if has(scopes, "profile") {
		claims["oid"] = u.ObjectID
		claims["name"] = u.Name
		claims["preferred_username"] = u.SignInName
	}
	if has(scopes, "email") && u.Email != "" {
		claims["email"] = u.Email
	}
	if !u.personal() {
		claims["rh"] = opaqueRH()
		claims["uti"] = randomText(22)
	}
	if optional {
		claims["sid"] = g.sid
		claims["login_hint"] = e.hint(u)
		if claims["email"] != nil {
			claims["xms_edov"] = true
		}
		if len(u.Roles) > 0 {
			claims["roles"] = u.Roles
		}
		e.addGroups(claims, u)
	}
	return claims
}

// halfHash returns the claim at_hash (OpenID Connect Core section 3.1.3.6).
func halfHash(accessToken string) string {
	sum := sha256.Sum256([]byte(accessToken))
	return b64(sum[:16])
}

// addGroups adds the groups, or the overage claims if there are too many.
func (e *exchange) addGroups(claims map[string]any, u User) {
	switch {
	case len(u.Groups) == 0:
	case len(u.Groups) < groupLimit || e.behavior.GroupClaims:
		claims["groups"] = u.Groups
	default:
		claims["_claim_names"] = map[string]string{"groups": "src1"}
		claims["_claim_sources"] = map[string]any{"src1": map[string]string{
			"endpoint": "https://graph.windows.net/" + u.TenantID + "/users/" + u.ObjectID + "/getMemberObjects",
		}}
	}
}

// accessTokenFor returns an access token. For an API that was added it is a JWT
// that the API can verify. Otherwise, for work accounts it is a JWT that
// clients must not look into, and for personal accounts and the plain provider
// an opaque text.
func (e *exchange) accessTokenFor(g *grant, u User, p plan, life time.Duration) (string, error) {
	if e.tenant.family == plain {
		return randomText(43), nil
	}
	if e.tenant.family == b2c {
		return e.b2cAccessToken(u, p, life)
	}
	if p.api != nil {
		return e.ownToken(g, u, p, life)
	}
	if u.personal() {
		// 1604 characters of standard base64, beginning with EwB.
		return base64.StdEncoding.EncodeToString(append([]byte{0x13, 0x00, 0x68}, randomBytes(1200)...)), nil
	}
	now := time.Now()
	key := e.signingKey(e.tenant.class(false))
	amr := []string{"pwd"}
	if g.mfa {
		amr = append(amr, "mfa")
	}
	claims := map[string]any{
		"aud":             p.aud,
		"iss":             "https://sts.windows.net/" + u.TenantID + "/",
		"iat":             now.Add(-backdate).Unix(),
		"nbf":             now.Add(-backdate).Unix(),
		"exp":             now.Add(life).Unix(),
		"acct":            0,
		"acr":             "1",
		"aio":             randomText(168),
		"amr":             amr,
		"app_displayname": appName,
		"appid":           e.ClientID,
		"appidacr":        "1",
		"family_name":     u.FamilyName,
		"given_name":      u.GivenName,
		"idtyp":           "user",
		"ipaddr":          "203.0.113.24",
		"name":            u.Name,
		"oid":             u.ObjectID,
		"onprem_sid":      "S-1-5-21-" + digits(10) + "-" + digits(10) + "-" + digits(10) + "-" + digits(6),
		"platf":           "5",
		"puid":            "10032" + strings.ToUpper(strings.ReplaceAll(derivedGUID("puid "+u.ObjectID), "-", ""))[:11],
		"rh":              opaqueRH(),
		"scp":             strings.Join(p.scp, " "),
		"sid":             g.sid,
		"signin_state":    []string{"kmsi"},
		"sub":             b64(randomBytes(32)),
		"tid":             u.TenantID,
		"unique_name":     u.SignInName,
		"upn":             u.SignInName,
		"uti":             randomText(22),
		"ver":             "1.0",
		"wids":            []string{"b79fbf4d-3ef9-4689-8143-76b194e85509"},
		"xms_act_fct":     "3 9",
		"xms_ftd":         randomText(43),
		"xms_idrel":       "1 24",
		"xms_sub_fct":     "3 12",
		"xms_tnt_fct":     "3 8",
		"xms_st":          map[string]string{"sub": e.subjectAt(e.tenant, u)},
		"xms_tcdt":        1589353200,
	}
	if p.aud == graphAudience {
		claims["tenant_region_scope"] = "EU"
	}
	addDemanded(claims, g, p)
	e.addGroups(claims, u)
	payload, err := marshalClaims(claims)
	if err != nil {
		return "", err
	}
	header := `{"typ":"JWT","nonce":"` + b64(randomBytes(32)) + `","alg":"RS256","x5t":"` + key.kid + `","kid":"` + key.kid + `"}`
	return key.signRS256([]byte(header), payload), nil
}

// ownToken returns an access token of version 2.0 ("Access token claims
// reference") for an API that was added. Its signature is valid whatever
// [Behavior.Signing] says.
func (e *exchange) ownToken(g *grant, u User, p plan, life time.Duration) (string, error) {
	now := time.Now()
	key := e.signingKey(e.tenant.class(u.personal()))
	claims := map[string]any{
		"aud":                p.aud,
		"iss":                e.tenant.issuerFor(e.origin, u),
		"iat":                now.Add(-backdate).Unix(),
		"nbf":                now.Add(-backdate).Unix(),
		"exp":                now.Add(life).Unix(),
		"aio":                opaqueAIO(u),
		"azp":                e.ClientID,
		"azpacr":             "1",
		"name":               u.Name,
		"oid":                u.ObjectID,
		"preferred_username": u.SignInName,
		"rh":                 opaqueRH(),
		"scp":                strings.Join(p.scp, " "),
		"sid":                g.sid,
		"sub":                e.subjectFor(p.aud, u),
		"tid":                u.TenantID,
		"uti":                randomText(22),
		"ver":                "2.0",
	}
	if roles := u.APIRoles[p.api.ID]; len(roles) > 0 {
		claims["roles"] = roles
	}
	addDemanded(claims, g, p)
	e.addGroups(claims, u)
	payload, err := marshalClaims(claims)
	if err != nil {
		return "", err
	}
	return key.signRS256([]byte(`{"typ":"JWT","alg":"RS256","kid":"`+key.kid+`"}`), payload), nil
}

// addDemanded adds the claims that a claims parameter requested.
func addDemanded(claims map[string]any, g *grant, p plan) {
	if len(g.acrs) > 0 {
		claims["acrs"] = g.acrs
	}
	if len(p.demand.capabilities) > 0 {
		claims["xms_cc"] = p.demand.capabilities
	}
}

// newRefreshToken returns an opaque refresh token that looks like those of the
// account's kind.
func newRefreshToken(u User, t tenant) string {
	switch {
	case t.family == plain:
		return randomText(64)
	case t.family == live:
		return newLiveRefreshToken()
	case t.family == b2c:
		return b2cEnvelope()
	case u.personal():
		// Standard base64 with some characters replaced.
		text := base64.StdEncoding.EncodeToString(append([]byte{0x0a}, randomBytes(325)...))
		swap := strings.NewReplacer("+", "*", "/", "!", "=", "$")
		return "M.C5" + digits(2) + "_BAY.0.U.-" + swap.Replace(text)
	default:
		return twoPart(86, 886)
	}
}

// newCode returns an authorization code that looks like those of the account's
// kind.
func newCode(u User, t tenant) string {
	switch {
	case t.family == plain:
		return randomText(43)
	case t.family == live:
		return "M" + newGUID()
	case t.family == b2c:
		return b2cEnvelope()
	case u.personal():
		return "M.C5" + digits(2) + "_BAY.2.U." + newGUID()
	default:
		return twoPart(86, 480)
	}
}

// twoPart returns a random text in the form of Microsoft's for work accounts:
// "1.AXoA...", two parts in base64url of n and m bytes.
func twoPart(n, m int) string {
	return "1." + b64(append([]byte{0x01, 0x7a, 0x00}, randomBytes(n-3)...)) +
		"." + b64(append([]byte{0x02, 0x00, 0x01, 0x00}, randomBytes(m-4)...))
}

func opaqueAIO(u User) string {
	if u.personal() {
		swap := strings.NewReplacer("+", "*", "/", "!")
		return "D" + swap.Replace(base64.RawStdEncoding.EncodeToString(randomBytes(26)))
	}
	return randomText(52)
}

func opaqueRH() string {
	return "1." + b64(append([]byte{0x01, 0x7a, 0x00}, randomBytes(24)...)) + "."
}

func digits(n int) string {
	b := randomBytes(n)
	for i := range b {
		b[i] = '0' + b[i]%10
	}
	return string(b)
}

func setText(claims map[string]any, name, value string) {
	if value != "" {
		claims[name] = value
	}
}

// hint is like loginHint but locks s.mu.
func (s *Server) hint(u User) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loginHint(u.SignInName)
}
