package provider

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/web"
)

const (
	TokenTimeout  = 15 * time.Second
	maxTokenReply = 1 << 20 // bytes

	// assumedLifetime is that of an access token whose reply does not say, or
	// says nonsense; maxLifetime is beyond any that Microsoft issues (28 h).
	assumedLifetime = 1 * time.Hour
	maxLifetime     = 48 * time.Hour

	MaxRetryAfter = 1 * time.Hour
)

// A TokenSet is what the token endpoint gave.
type TokenSet struct {
	Access, Refresh seal.Secret
	Issued          int64
	Expiry          int64 // Unix seconds
	RefreshAt       int64
	Scopes          string // "" if the reply names none: as asked for (RFC 6749 section 5.1)
	IDToken         string
	Identity        *Identity // of idToken, once verified
}

func (g *TokenSet) Due(now time.Time) bool { return now.Unix() >= g.RefreshAt }

func (g *TokenSet) Usable(now time.Time) bool { return g.Access != "" && now.Unix() < g.Expiry }

// MovedTo is the grant with another refresh token.
func (g *TokenSet) MovedTo(refresh seal.Secret) *TokenSet {
	c := *g
	c.Refresh = refresh
	return &c
}

// TokenEndpoint asks for tokens. x/oauth2 would do it, but posts a one-time
// code twice when it guesses how to authenticate, drops what a renewal needs
// to tell failures apart, and reads replies of any length.
type TokenEndpoint struct {
	Authority    *Authority
	ClientID     string
	ClientSecret func() seal.Secret // package fmt would show a field
	RedirectURI  string
	Capability   string // claims that every request makes
	RecheckAfter time.Duration
	Client       *http.Client

	byGUID      atomic.Bool // the app's own API goes by its GUID
	atConsumers atomic.Bool // personal accounts are renewed at /consumers, not /common
}

// Redeem exchanges an authorization code, once (RFC 6749 section 4.1.3; RFC
// 7636 section 4.5). scopes name the API that the token is for where consent
// was asked for several; "" where that is not in question.
func (t *TokenEndpoint) Redeem(ctx context.Context, code, verifier seal.Secret, scopes string) (*TokenSet, *Failure) {
	form := url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {string(code)},
		"redirect_uri":  {t.RedirectURI},
		"code_verifier": {string(verifier)},
	}
	if scopes != "" {
		form.Set("scope", t.inGUIDForm(scopes)) // a code cannot be tried twice
	}
	return t.post(ctx, grantCode, false, form)
}

// A RefreshRequest says what a refresh token is used for.
type RefreshRequest struct {
	Asks   GrantType
	Scopes string // "" to name none: as granted (RFC 6749 section 6)
	// Fewer are scopes to do with where these were refused for want of consent.
	// It is the same where there are none to leave out.
	Fewer    string
	Claims   string
	Personal bool // the account is a personal one
}

// Refresh renews, or gets a token for other scopes (RFC 6749 section 6). What
// Microsoft refuses in one form and gives in another is asked for again, at most
// once in each form.
func (t *TokenEndpoint) Refresh(ctx context.Context, refresh seal.Secret, q RefreshRequest) (*TokenSet, *Failure) {
	scopes, byGUID, atConsumers := q.Scopes, t.byGUID.Load(), q.Personal && t.atConsumers.Load()
	var first *Failure
	for {
		form := url.Values{
			"grant_type":    {"refresh_token"},
			"refresh_token": {string(refresh)},
		}
		if q.Claims != "" {
			form.Set("claims", q.Claims)
		}
		named := scopes
		if byGUID {
			named = t.inGUIDForm(scopes)
		}
		if named != "" {
			form.Set("scope", named)
		}
		g, err := t.post(ctx, q.Asks, atConsumers, form)
		if err == nil {
			// Other sessions need not find out for themselves.
			if byGUID && named != scopes {
				t.byGUID.Store(true)
			}
			if atConsumers {
				t.atConsumers.Store(true)
			}
			if g.Refresh == "" {
				g.Refresh = refresh
			}
			return g, nil
		}
		switch {
		case !byGUID && err.Class == Misconfigured && err.Code != "invalid_client" && err.Code != "unauthorized_client" &&
			t.inGUIDForm(scopes) != scopes:
			// Microsoft takes the GUID where it does not take the URI made from it
			// (AADSTS90009).
			byGUID = true
		case !atConsumers && q.Personal && t.Authority.Tenant == "common" && strings.EqualFold(err.Suberror, "bad_token"):
			atConsumers = true // reported by users in June 2026
		case scopes != q.Fewer && (lacksConsent(err) || err.Class == Misconfigured):
			scopes = q.Fewer // one that was taken back, or that the API no longer has
		case first != nil && err.Class == Misconfigured:
			return nil, first // the other form was no help
		default:
			return g, err
		}
		first = err
	}
}

// ErrNoAccessToken is what becomes of a wish for a token where none is given.
var ErrNoAccessToken = errors.New("msauth: the provider gives no access token for these scopes: add to Config.Scopes one of the API that the token is for, " +
	"at Azure AD B2C an API's scope or the client ID itself")

// inGUIDForm writes the scopes of the app's own API, if they go by the
// Application ID URI that Microsoft proposes, by its GUID.
func (t *TokenEndpoint) inGUIDForm(scopes string) string {
	list := strings.Fields(scopes)
	for i, scope := range list {
		if uri := "api://" + t.ClientID + "/"; len(scope) > len(uri) && strings.EqualFold(scope[:len(uri)], uri) {
			list[i] = scope[len("api://"):]
		}
	}
	return strings.Join(list, " ")
}

// lacksConsent reports whether a refusal may be for want of consent, as far as
// can be told: see classify.
func lacksConsent(err *Failure) bool {
	return strings.EqualFold(err.Suberror, "consent_required") || err.Code == "consent_required" ||
		err.Code == "invalid_grant" && err.Suberror == "" && err.Class != Retry
}

// Meant tells from unverified claims whether an ID token speaks of a person, to
// this app. It is an error that it is no JWT.
func (t *TokenEndpoint) Meant(raw string, u *Account) (bool, error) {
	c, err := peek(raw)
	if err != nil {
		return false, err
	}
	return c.text("iss") == u.Issuer && c.text("sub") == u.Subject && slices.Contains(c.texts("aud"), t.ClientID) &&
		(u.TenantID == "" || c["tid"] == nil || strings.EqualFold(c.text("tid"), u.TenantID)) &&
		(u.ObjectID == "" || strings.EqualFold(c.text("oid"), u.ObjectID)), nil
}

// Probe asks whether the provider takes the app's secret, with a refresh token
// that is none: where the secret is good it refuses the token.
func (t *TokenEndpoint) Probe(ctx context.Context) *Failure {
	_, failure := t.post(ctx, GrantRenewal, false, url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {"msauth-asks-whether-the-client-secret-is-good"},
	})
	if failure == nil { // it takes anything
		failure = &Failure{Class: SignIn, Code: "invalid_grant"}
	}
	return failure
}

// post makes one token request. Whether it may be sent again on a connection that
// broke before it was read (RFC 9110 section 9.2.2) is for net/http to say.
func (t *TokenEndpoint) post(ctx context.Context, asks GrantType, atConsumers bool, form url.Values) (*TokenSet, *Failure) {
	ctx, cancel := context.WithTimeout(ctx, TokenTimeout)
	defer cancel()
	m, err := t.Authority.Metadata.Get(ctx)
	if err != nil {
		failure := Failure{Class: Retry}
		if fault, ok := errors.AsType[*Failure](err); ok {
			failure = *fault
		}
		failure.Err = err
		return nil, &failure
	}
	if t.Capability != "" {
		form.Set("claims", MergeClaims(form.Get("claims"), t.Capability))
	}
	endpoint, basic, clientSecret := m.Token, t.Authority.basicAuth(m), string(t.ClientSecret())
	if atConsumers {
		endpoint = strings.Replace(endpoint, t.Authority.Origin+"/common/", t.Authority.Origin+"/consumers/", 1)
	}
	if !basic {
		form.Set("client_id", t.ClientID)
		form.Set("client_secret", clientSecret)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, &Failure{Class: Retry, Err: err}
	}
	if basic { // RFC 6749 section 2.3.1
		req.SetBasicAuth(url.QueryEscape(t.ClientID), url.QueryEscape(clientSecret))
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	res, err := t.Client.Do(req)
	if err != nil {
		return nil, &Failure{Class: Retry, Err: err}
	}
	defer res.Body.Close()
	body, err := ReadAtMost(res.Body, maxTokenReply)
	if err != nil {
		return nil, &Failure{Class: Retry, StatusCode: res.StatusCode, Err: fmt.Errorf("reading the token reply: %w", err)}
	}
	var reply claims
	if json.Unmarshal(body, &reply) != nil || reply == nil || redirects(res) {
		failure := &Failure{Class: Retry, StatusCode: res.StatusCode, RetryAfter: RetryAfter(res.Header.Get("Retry-After"), time.Now())}
		if failure.Err = fmt.Errorf("the token endpoint answered with %w", notJSON(res, body)); redirects(res) {
			failure.Err = errRedirects
		}
		return nil, failure
	}
	if res.StatusCode != http.StatusOK || reply.text("error") != "" {
		form.Set("client_secret", clientSecret)
		if basic {
			form.Set("code_basic", strings.TrimPrefix(req.Header.Get("Authorization"), "Basic "))
		}
		reply.hide(form)
		return nil, t.failure(res, reply, asks)
	}
	access := reply.text("access_token")
	switch none := access == "" && slices.Contains([]string{"", "null", `""`}, string(reply["access_token"])); {
	case none && reply.text("id_token") != "" && asks == GrantScopes:
		return nil, &Failure{Class: Misconfigured, Err: ErrNoAccessToken}
	case none && reply.text("id_token") != "":
		// With no scope but those of a sign-in Azure AD B2C sends an ID token
		// alone.
	case access == "" || !strings.EqualFold(reply.text("token_type"), "Bearer"):
		return nil, &Failure{Class: Retry, StatusCode: res.StatusCode, Err: errors.New("the token reply holds no bearer token")}
	}
	return t.grantFrom(reply, time.Now()), nil
}

func (t *TokenEndpoint) grantFrom(reply claims, now time.Time) *TokenSet {
	lifetime := reply.duration("expires_in")
	if reply.text("access_token") == "" { // the person is asked about as often all the same
		lifetime = reply.duration("id_token_expires_in")
	}
	if lifetime <= 0 {
		lifetime = assumedLifetime
	}
	lifetime = min(max(lifetime, time.Second), maxLifetime)
	early := reply.duration("refresh_in")
	if early <= 0 || early >= lifetime {
		// A margin of a tenth, five minutes at most. The jitter keeps people
		// who signed in together from renewing together.
		margin := min(lifetime/10, 5*time.Minute)
		early = lifetime - margin - rand.N(margin/2+1) // #nosec G404 -- jitter, no secret
	}
	if t.RecheckAfter > 0 {
		early = min(early, t.RecheckAfter)
	}
	return &TokenSet{
		Access:    seal.Secret(reply.text("access_token")),
		Refresh:   seal.Secret(reply.text("refresh_token")),
		Issued:    now.Unix(),
		Expiry:    now.Add(lifetime).Unix(),
		RefreshAt: now.Add(max(early, time.Second)).Unix(),
		Scopes:    strings.Join(strings.Fields(reply.text("scope")), " "),
		IDToken:   reply.text("id_token"),
	}
}

// duration reads seconds as a number, or as a text with a number in it; 0 when
// it is absent or neither.
func (c claims) duration(name string) time.Duration {
	f, err := strconv.ParseFloat(strings.Trim(string(c[name]), `" `), 64)
	if err != nil || math.IsNaN(f) || f <= 0 {
		return 0
	}
	return time.Duration(min(f, maxLifetime.Seconds()) * float64(time.Second))
}

// hide takes out of an error reply what was sent: a proxy or a firewall may
// repeat the whole request in it, and the reply is logged.
func (c claims) hide(form url.Values) {
	var secrets []string
	for _, name := range [...]string{"client_secret", "code", "code_verifier", "refresh_token", "code_basic"} {
		if s := form.Get(name); len(s) >= 8 {
			secrets = append(secrets, s, seal.Hidden, url.QueryEscape(s), seal.Hidden)
		}
	}
	hide := strings.NewReplacer(secrets...)
	for name := range c {
		if text := c.text(name); text != "" && name != "claims" {
			c[name], _ = json.Marshal(tokenLike.ReplaceAllLiteralString(hide.Replace(text), seal.Hidden))
		}
	}
}

// tokenLike is what a token, or a good part of one, looks like. No word of an
// error text is as long; a GUID has 36 characters.
var tokenLike = regexp.MustCompile(`[A-Za-z0-9_.~+=*!$-]{41,}`)

// failure is what an error reply says.
func (t *TokenEndpoint) failure(res *http.Response, reply claims, asks GrantType) *Failure {
	e := authErrorFrom(res, reply)
	e.Claims = CheckChallenge(reply.text("claims"))
	e.Class = classify(e.StatusCode, e.Code, e.Suberror, asks)
	if e.Claims != "" && (e.Class == SignIn || e.Class == Replay) {
		e.Class = StepUp
	}
	if t.Authority.MicrosoftIssuer() && len(e.Numbers) > 0 && e.Numbers[0] == loopDetected {
		e.Class, e.RetryAfter = Retry, cmp.Or(e.RetryAfter, loopPatience)
	}
	return e
}

// redirects reports whether an answer leads elsewhere: nothing that carries a
// secret goes along.
func redirects(res *http.Response) bool { return res.StatusCode >= 300 && res.StatusCode < 400 }

var errRedirects = errors.New("redirects, which is not followed")

// authErrorFrom reads an error reply; its class is the caller's to say.
func authErrorFrom(res *http.Response, reply claims) *Failure {
	e := &Failure{
		StatusCode:    res.StatusCode,
		Code:          web.OneLine(reply.text("error"), 100),
		Suberror:      web.OneLine(reply.text("suberror"), 100),
		Description:   web.OneLine(reply.text("error_description"), 500),
		TraceID:       web.OneLine(reply.text("trace_id"), 100),
		CorrelationID: web.OneLine(reply.text("correlation_id"), 100),
		RetryAfter:    RetryAfter(res.Header.Get("Retry-After"), time.Now()),
	}
	json.Unmarshal(reply["error_codes"], &e.Numbers)
	if len(e.Numbers) == 0 {
		e.Numbers = AADSTSNumbers(e.Description)
	}
	return e
}

// RetryAfter reads the header of RFC 9110 section 10.2.3, bounded.
func RetryAfter(value string, now time.Time) time.Duration {
	if value == "" {
		return 0
	}
	if n, err := strconv.ParseFloat(value, 64); err == nil && !math.IsNaN(n) {
		if n <= 0 {
			return 0
		}
		return time.Duration(min(n, MaxRetryAfter.Seconds()) * float64(time.Second))
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), MaxRetryAfter)
}
