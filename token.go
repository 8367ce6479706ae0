package msauth

import (
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
	"time"
)

const (
	tokenTimeout  = 15 * time.Second
	maxTokenReply = 1 << 20 // bytes

	// assumedLifetime is that of an access token whose reply does not say, or
	// says nonsense; maxLifetime is beyond any that Microsoft issues (28 h).
	assumedLifetime = 1 * time.Hour
	maxLifetime     = 48 * time.Hour

	maxRetryAfter = 1 * time.Hour
)

// A grant is what the token endpoint gave.
type grant struct {
	access, refresh secret
	issued          int64
	expiry          int64 // Unix seconds
	refreshAt       int64
	scopes          string // "" if the reply names none: as asked for (RFC 6749 section 5.1)
	idToken         string
	identity        *identity // of idToken, once verified
}

func (g *grant) due(now time.Time) bool    { return now.Unix() >= g.refreshAt }
func (g *grant) usable(now time.Time) bool { return g.access != "" && now.Unix() < g.expiry }

// movedTo is the grant with another refresh token.
func (g *grant) movedTo(refresh secret) *grant {
	c := *g
	c.refresh = refresh
	return &c
}

// tokenEndpoint asks for tokens. x/oauth2 would do it, but posts a one-time
// code twice when it guesses how to authenticate, drops what a renewal needs
// to tell failures apart, and reads replies of any length.
type tokenEndpoint struct {
	authority    *authority
	clientID     string
	clientSecret func() secret // package fmt would show a field
	redirectURI  string
	capability   string // claims that every request makes
	recheckAfter time.Duration
	client       *http.Client
}

// redeem exchanges an authorization code, once (RFC 6749 section 4.1.3; RFC
// 7636 section 4.5). scopes name the API that the token is for where consent
// was asked for several; "" where that is not in question.
func (t *tokenEndpoint) redeem(ctx context.Context, code, verifier secret, scopes string) (*grant, *AuthError) {
	form := url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {string(code)},
		"redirect_uri":  {t.redirectURI},
		"code_verifier": {string(verifier)},
	}
	if scopes != "" {
		form.Set("scope", scopes)
	}
	return t.post(ctx, true, form)
}

// refresh renews (RFC 6749 section 6), or makes a wish come true. A renewal
// sends no scope: that means as granted.
func (t *tokenEndpoint) refresh(ctx context.Context, refresh secret, w wish) (*grant, *AuthError) {
	form := url.Values{
		"grant_type":    {"refresh_token"},
		"refresh_token": {string(refresh)},
	}
	if w.scopes != "" {
		// With profile the ID token names the person (oid), who must be the same.
		form.Set("scope", "openid profile offline_access "+w.scopes)
	}
	if w.claims != "" {
		form.Set("claims", w.claims)
	}
	g, err := t.post(ctx, false, form)
	if err == nil && g.scopes == "" {
		g.scopes = w.scopes
	}
	if err == nil && g.refresh == "" {
		g.refresh = refresh
	}
	return g, err
}

// meant tells from unverified claims whether an ID token speaks of the person
// of a session, to this app.
func (t *tokenEndpoint) meant(c claims, rec *record) bool {
	u := &rec.user
	return c.text("iss") == u.Issuer && c.text("sub") == u.Subject && slices.Contains(c.texts("aud"), t.clientID) &&
		(u.TenantID == "" || strings.EqualFold(c.text("tid"), u.TenantID)) &&
		(u.ObjectID == "" || strings.EqualFold(c.text("oid"), u.ObjectID))
}

func (t *tokenEndpoint) post(ctx context.Context, redeeming bool, form url.Values) (*grant, *AuthError) {
	ctx, cancel := context.WithTimeout(ctx, tokenTimeout)
	defer cancel()
	m, err := t.authority.metadata.get(ctx)
	if err != nil {
		return nil, &AuthError{Class: ClassRetry, Err: err}
	}
	if t.capability != "" {
		form.Set("claims", mergeClaims(form.Get("claims"), t.capability))
	}
	form.Set("client_id", t.clientID)
	form.Set("client_secret", string(t.clientSecret()))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.Token, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, &AuthError{Class: ClassRetry, Err: err}
	}
	// A transport may send a request again whose connection broke, if it can
	// rewind the body. A code or a rotating refresh token is good for once.
	req.GetBody = nil
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	res, err := t.client.Do(req)
	if err != nil {
		return nil, &AuthError{Class: ClassRetry, Err: err}
	}
	defer res.Body.Close()
	body, err := readAtMost(res.Body, maxTokenReply)
	if err != nil {
		return nil, &AuthError{Class: ClassRetry, StatusCode: res.StatusCode, Err: fmt.Errorf("reading the token reply: %w", err)}
	}
	var reply claims
	if err := json.Unmarshal(body, &reply); err != nil {
		reply = nil // HTML, half a reply, nothing: judged by its status
	}
	if res.StatusCode != http.StatusOK || reply.text("error") != "" {
		reply.hide(form)
		return nil, authErrorFrom(res, reply, redeeming)
	}
	if reply.text("access_token") == "" || !strings.EqualFold(reply.text("token_type"), "Bearer") {
		return nil, &AuthError{Class: ClassRetry, StatusCode: res.StatusCode, Err: errors.New("the token reply holds no bearer token")}
	}
	return t.grantFrom(reply, time.Now()), nil
}

func (t *tokenEndpoint) grantFrom(reply claims, now time.Time) *grant {
	lifetime := reply.duration("expires_in")
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
	if t.recheckAfter > 0 {
		early = min(early, t.recheckAfter)
	}
	return &grant{
		access:    secret(reply.text("access_token")),
		refresh:   secret(reply.text("refresh_token")),
		issued:    now.Unix(),
		expiry:    now.Add(lifetime).Unix(),
		refreshAt: now.Add(max(early, time.Second)).Unix(),
		scopes:    strings.Join(strings.Fields(reply.text("scope")), " "),
		idToken:   reply.text("id_token"),
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
	for _, name := range [...]string{"client_secret", "code", "code_verifier", "refresh_token"} {
		if s := form.Get(name); len(s) >= 8 {
			secrets = append(secrets, s, hidden, url.QueryEscape(s), hidden)
		}
	}
	hide := strings.NewReplacer(secrets...)
	for name := range c {
		if text := c.text(name); text != "" && name != "claims" {
			c[name], _ = json.Marshal(tokenLike.ReplaceAllLiteralString(hide.Replace(text), hidden))
		}
	}
}

// tokenLike is what a token, or a good part of one, looks like. No word of an
// error text is as long; a GUID has 36 characters.
var tokenLike = regexp.MustCompile(`[A-Za-z0-9_.~+=*!$-]{41,}`)

func authErrorFrom(res *http.Response, reply claims, redeeming bool) *AuthError {
	e := &AuthError{
		StatusCode:    res.StatusCode,
		Code:          oneLine(reply.text("error"), 100),
		Suberror:      oneLine(reply.text("suberror"), 100),
		Description:   oneLine(reply.text("error_description"), 500),
		TraceID:       oneLine(reply.text("trace_id"), 100),
		CorrelationID: oneLine(reply.text("correlation_id"), 100),
		RetryAfter:    retryAfter(res.Header.Get("Retry-After"), time.Now()),
	}
	json.Unmarshal(reply["error_codes"], &e.Numbers)
	if len(e.Numbers) == 0 {
		e.Numbers = aadsts(e.Description)
	}
	e.Claims = checkChallenge(reply.text("claims"))
	if res.StatusCode >= 300 && res.StatusCode < 400 {
		e.Err = errors.New("the token endpoint redirects, which is not followed")
	}
	e.Class = classify(e.StatusCode, e.Code, e.Suberror, redeeming)
	if e.Claims != "" && e.Class == ClassSignIn {
		e.Class = ClassStepUp
	}
	return e
}

// retryAfter reads the header of RFC 9110 section 10.2.3, bounded.
func retryAfter(value string, now time.Time) time.Duration {
	if value == "" {
		return 0
	}
	if n, err := strconv.ParseFloat(value, 64); err == nil && !math.IsNaN(n) {
		if n <= 0 {
			return 0
		}
		return time.Duration(min(n, maxRetryAfter.Seconds()) * float64(time.Second))
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}
