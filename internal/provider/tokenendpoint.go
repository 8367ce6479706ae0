package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"example.com/msauth/internal/credential"
	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/web"
)

// TokenTimeout limits one token request, discovery included.
const TokenTimeout = 15 * time.Second

// maxTokenReply limits the reply to a token request, in bytes.
const maxTokenReply = 1 << 20

// A TokenEndpoint sends token requests. It may be used by many goroutines at once.
//
// golang.org/x/oauth2 would send them too, but it posts a code twice when it guesses
// how to authenticate, drops what tells failures apart, and reads replies of any
// length.
type TokenEndpoint struct {
	// Authority says where the endpoint is.
	Authority *Authority
	// ClientID is the id of the app registration.
	ClientID string
	// Credentials prove that requests are the app's.
	Credentials *credential.Ring
	// RedirectURI is that of the authorization request.
	RedirectURI string
	// Capability is a claims request that is part of every token request; "" for
	// none.
	Capability string
	// RecheckAfter is when to renew at the latest, counted from the reply; 0 for
	// no such limit.
	RecheckAfter time.Duration
	// Client makes the requests. It must not follow redirects: see web.FollowNothing.
	Client *http.Client

	// Found out by one session, used for all.
	byGUID      atomic.Bool // scopes of the app's own API are named by its GUID
	atConsumers atomic.Bool // personal accounts are renewed at /consumers, not /common
}

// Redeem exchanges an authorization code for tokens, with a single request (RFC 6749
// section 4.1.3; RFC 7636 section 4.5). scopes, separated by spaces, name the API
// that the token is for if consent was asked for several; "" otherwise.
func (t *TokenEndpoint) Redeem(ctx context.Context, code, verifier seal.Secret, scopes string) (*TokenSet, *Failure) {
	form := url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {string(code)},
		"redirect_uri":  {t.RedirectURI},
		"code_verifier": {string(verifier)},
	}
	if scopes != "" {
		form.Set("scope", t.inGUIDForm(scopes)) // here at once: a code cannot be tried twice
	}
	return t.post(ctx, purposeRedeem, false, form)
}

// A RefreshRequest says what a refresh token is used for.
type RefreshRequest struct {
	// Purpose is PurposeRenewal or PurposeScopes.
	Purpose Purpose
	// Scopes are the scopes to name, separated by spaces; "" to name none, which
	// means those that were granted (RFC 6749 section 6).
	Scopes string
	// Fewer are the scopes to name if Scopes are refused, perhaps because consent
	// was withdrawn. It equals Scopes if there is nothing to leave out.
	Fewer string
	// Claims is a claims request, JSON; "" for none.
	Claims string
	// Personal means that the account is a personal Microsoft account.
	Personal bool
}

// Refresh exchanges a refresh token for new tokens (RFC 6749 section 6). Some
// requests are refused in one form and accepted in another: Refresh tries the
// forms that may help, each at most once. The result has a refresh token in any case.
func (t *TokenEndpoint) Refresh(ctx context.Context, refresh seal.Secret, q RefreshRequest) (*TokenSet, *Failure) {
	scopes, byGUID, atConsumers := q.Scopes, t.byGUID.Load(), q.Personal && t.atConsumers.Load()
	var first *Failure
	for {
		form := t.refreshForm(refresh)
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
		tokens, err := t.post(ctx, q.Purpose, atConsumers, form)
		if err == nil {
			// Other sessions need not try the first form again.
			if byGUID && named != scopes {
				t.byGUID.Store(true)
			}
			if atConsumers {
				t.atConsumers.Store(true)
			}
			if tokens.Refresh == "" {
				tokens.Refresh = refresh
			}
			return tokens, nil
		}
		switch {
		case !byGUID && err.Class == Misconfigured && err.Code != "invalid_client" && err.Code != "unauthorized_client" &&
			t.inGUIDForm(scopes) != scopes:
			// For its own API an app must use the GUID where the URI made from it is
			// refused (AADSTS90009).
			byGUID = true
		case !atConsumers && q.Personal && t.Authority.Tenant == "common" && strings.EqualFold(err.Suberror, "bad_token"):
			atConsumers = true // /common refused such tokens, as users reported in June 2026
		case scopes != q.Fewer && (lacksConsent(err) || err.Class == Misconfigured):
			scopes = q.Fewer // without one that was withdrawn, or that the API no longer has
		case first != nil && err.Class == Misconfigured:
			return nil, first // the other form did not help
		default:
			return tokens, err
		}
		first = err
	}
}

// refreshForm returns the parameters of every request with a refresh token. Live
// Connect requires the redirect URI too ("OAuth 2.0", Live SDK).
func (t *TokenEndpoint) refreshForm(refresh seal.Secret) url.Values {
	form := url.Values{
		"grant_type":    {"refresh_token"},
		"refresh_token": {string(refresh)},
	}
	if t.Authority.Kind == LiveConnect {
		form.Set("redirect_uri", t.RedirectURI)
	}
	return form
}

// Probe reports whether the provider accepts the app's credential. It sends an invalid
// refresh token: if the credential is accepted, the Failure is about the token. It is
// never nil.
func (t *TokenEndpoint) Probe(ctx context.Context) *Failure {
	_, failure := t.post(ctx, PurposeRenewal, false, t.refreshForm("msauth-asks-whether-the-credential-is-good"))
	if failure == nil { // a provider that accepts any refresh token
		failure = &Failure{Class: SignIn, Code: "invalid_grant"}
	}
	return failure
}

// Meant reports whether an ID token is about the account and issued to this app. The
// claims are not verified: it only tells which mistake a failed verification is. The
// error says that the token is not a JWT.
func (t *TokenEndpoint) Meant(raw string, u *Account) (bool, error) {
	if t.Authority.Kind == LiveConnect {
		return t.Authority.liveMeant(raw, u)
	}
	c, err := unverifiedClaims(raw)
	if err != nil {
		return false, err
	}
	return c.text("iss") == u.Issuer && c.text("sub") == u.Subject && slices.Contains(c.texts("aud"), t.ClientID) &&
		(u.TenantID == "" || c["tid"] == nil || strings.EqualFold(c.text("tid"), u.TenantID)) &&
		(u.ObjectID == "" || strings.EqualFold(c.text("oid"), u.ObjectID)), nil
}

// post makes a token request, and once more with another credential if the provider
// refuses the first for what it is.
func (t *TokenEndpoint) post(ctx context.Context, purpose Purpose, atConsumers bool, form url.Values) (*TokenSet, *Failure) {
	ctx, cancel := context.WithTimeout(ctx, TokenTimeout)
	defer cancel()
	m, err := t.Authority.Discover(ctx)
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
	endpoint := m.Token
	if atConsumers {
		endpoint = strings.Replace(endpoint, t.Authority.Origin+"/common/", t.Authority.Origin+"/consumers/", 1)
	}
	var tokens *TokenSet
	var failure *Failure
	err = t.Credentials.Use(ctx, t.recipient(m, endpoint), purpose == purposeRedeem, func(proof credential.Proof) (credential.Verdict, error) {
		req, sent, err := t.newRequest(ctx, m, endpoint, proof, form)
		if err != nil {
			failure = &Failure{Class: Retry, Err: err}
			return credential.Unknown, nil
		}
		tokens, failure = t.send(req, sent, purpose)
		if verdict := judge(failure, purpose); verdict != credential.Refused {
			return verdict, nil
		}
		return credential.Refused, failure
	})
	if err == nil {
		return tokens, failure
	}
	if refusal, ok := errors.AsType[*Failure](err); ok {
		return nil, refusal
	}
	return nil, &Failure{Class: Retry, Err: err}
}

// recipient says for whom the proof is.
func (t *TokenEndpoint) recipient(m *Metadata, endpoint string) credential.Recipient {
	to := credential.Recipient{ClientID: t.ClientID, Endpoint: endpoint, Exchange: tokenExchange(t.Authority.Origin)}
	if t.Authority.Kind == OtherProvider {
		to.Issuer, to.Exchange, to.Algorithms = m.Issuer, m.Issuer, m.AuthAlgorithms
	}
	return to
}

// judge returns what the answer to a token request says of the credential. An
// answer about a refresh token means that the provider has accepted the credential:
// it authenticates the client first (RFC 6749 section 3.2.1). One about a code says
// nothing, because a visitor may have brought a code that is refused as invalid_client
// at first, and otherwise when it is sent again.
func judge(failure *Failure, purpose Purpose) credential.Verdict {
	switch {
	case failure == nil:
		return credential.Accepted
	case failure.Class == Misconfigured && failure.Code == "invalid_client":
		return credential.Refused
	case purpose == purposeRedeem:
		return credential.Unknown
	case failure.Class == SignIn, failure.Class == StepUp, failure.Class == Replay:
		return credential.Accepted
	}
	return credential.Unknown
}

// newRequest makes a request of a form and a proof. sent is what it carries, to be
// hidden where the reply repeats it.
func (t *TokenEndpoint) newRequest(ctx context.Context, m *Metadata, endpoint string, proof credential.Proof, form url.Values) (req *http.Request, sent url.Values, err error) {
	form = maps.Clone(form)
	basic := proof.Secret != "" && t.Authority.basicAuth(m)
	if !basic {
		form.Set("client_id", t.ClientID)
	}
	switch {
	case proof.Assertion != "":
		form.Set("client_assertion_type", credential.AssertionType)
		form.Set("client_assertion", string(proof.Assertion))
	case !basic:
		form.Set("client_secret", string(proof.Secret))
	}
	req, err = http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, nil, err
	}
	if basic { // RFC 6749 section 2.3.1
		req.SetBasicAuth(url.QueryEscape(t.ClientID), url.QueryEscape(string(proof.Secret)))
		form.Set("client_secret", string(proof.Secret))
		form.Set("code_basic", strings.TrimPrefix(req.Header.Get("Authorization"), "Basic "))
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	return req, form, nil
}

// send makes one request. Whether it may be sent again if the connection broke
// before it was read (RFC 9110 section 9.2.2) is decided by net/http.
func (t *TokenEndpoint) send(req *http.Request, sent url.Values, purpose Purpose) (*TokenSet, *Failure) {
	res, err := t.Client.Do(req)
	if err != nil {
		return nil, &Failure{Class: Retry, Err: err}
	}
	defer res.Body.Close()
	reply, failure := t.readTokenReply(res)
	if failure != nil {
		return nil, failure
	}
	if res.StatusCode != http.StatusOK || reply.text("error") != "" {
		reply.redact(sent)
		return nil, t.failure(res, reply, purpose)
	}
	if failure := checkTokenReply(res.StatusCode, reply, purpose); failure != nil {
		return nil, failure
	}
	return t.tokenSetFrom(reply, time.Now()), nil
}

// readTokenReply reads a reply, which may be an error reply.
func (t *TokenEndpoint) readTokenReply(res *http.Response) (claims, *Failure) {
	body, err := web.ReadAtMost(res.Body, maxTokenReply)
	if err != nil {
		return nil, &Failure{Class: Retry, StatusCode: res.StatusCode, Err: fmt.Errorf("reading the token reply: %w", err)}
	}
	var reply claims
	if err := json.Unmarshal(body, &reply); err != nil || reply == nil {
		reply = nil
	}
	if t.Authority.Kind == LiveConnect {
		reply = liveReply(reply, body)
	}
	if reply == nil || redirects(res) {
		failure := &Failure{Class: Retry, StatusCode: res.StatusCode, RetryAfter: web.RetryAfter(res.Header.Get("Retry-After"), time.Now())}
		if failure.Err = fmt.Errorf("the token endpoint answered with %w", notJSON(res, body)); redirects(res) {
			failure.Err = errRedirects
		}
		return nil, failure
	}
	return reply, nil
}

// checkTokenReply refuses a reply without a token that was asked for.
func checkTokenReply(status int, reply claims, purpose Purpose) *Failure {
	access := reply.text("access_token")
	switch none := access == "" && slices.Contains([]string{"", "null", `""`}, string(reply["access_token"])); {
	case none && reply.text("id_token") != "" && purpose == PurposeScopes:
		return &Failure{Class: Misconfigured, Err: ErrNoAccessToken}
	case none && reply.text("id_token") != "":
		// If only scopes of a sign-in are asked for, Azure AD B2C sends an ID
		// token alone.
	case access == "" || !strings.EqualFold(reply.text("token_type"), "Bearer"):
		return &Failure{Class: Retry, StatusCode: status, Err: errors.New("the token reply holds no bearer token")}
	}
	return nil
}

// ErrNoAccessToken means that the provider sends no access token for the scopes that
// were asked for.
var ErrNoAccessToken = errors.New("msauth: the provider gives no access token for these scopes: add to Config.Scopes one of the API that the token is for, " +
	"at Azure AD B2C an API's scope or the client ID itself")

// inGUIDForm names the scopes of the app's own API by its GUID, if they are named by
// the Application ID URI that Microsoft proposes, api://<client id>.
func (t *TokenEndpoint) inGUIDForm(scopes string) string {
	list := strings.Fields(scopes)
	for i, scope := range list {
		if uri := "api://" + t.ClientID + "/"; len(scope) > len(uri) && strings.EqualFold(scope[:len(uri)], uri) {
			list[i] = scope[len("api://"):]
		}
	}
	return strings.Join(list, " ")
}

// lacksConsent reports whether consent may be missing, as far as a refusal tells: see
// classify.
func lacksConsent(err *Failure) bool {
	return err.Class != Retry && (strings.EqualFold(err.Suberror, "consent_required") || err.Code == "consent_required" ||
		err.Code == "invalid_grant" && err.Suberror == "")
}
