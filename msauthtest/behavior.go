package msauthtest

import (
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"time"
)

// Behavior says how a [Server] differs from Microsoft. The zero value differs
// in nothing. Change it with [Server.Set].
type Behavior struct {
	// AutoSignIn is the sign-in name of a person who is signed in by every
	// authorize request at once, as if they had been picked on the page.
	// prompt=none still asks whether the browser is signed in already. A name
	// that nobody has gets the page with an error. The person grants all
	// scopes and passes every stronger sign-in, unless the fields below say
	// otherwise.
	AutoSignIn string

	// RedirectURIs are the registered redirect URIs, compared byte for byte;
	// they also bind post_logout_redirect_uri. When empty, any https URI and
	// any http URI on a loopback host is taken as registered.
	RedirectURIs []string

	// AccessTokenLifetime is what expires_in says and how long Graph accepts
	// the token. Zero means 60 to 90 minutes at random, as with Microsoft,
	// and 20 to 28 hours for work accounts' tokens for Graph when the claims
	// parameter declares the client capability cp1 ("Continuous access
	// evaluation").
	AccessTokenLifetime time.Duration

	// RefreshIn is reported as refresh_in, in seconds. Zero reports none.
	RefreshIn time.Duration

	// ExpiresIn, when not nil, is put in place of expires_in in the token
	// reply as the JSON it marshals to: -1, "3599", 1e300, 3599.5,
	// json.RawMessage("99999999999999999999"). [Omit] leaves the field out.
	// How long the token is good for does not change.
	ExpiresIn any

	// Rotation says what becomes of a refresh token once it has been used.
	Rotation Rotation

	// OmitRefreshToken answers renewals without a refresh token: the one
	// that was used goes on.
	OmitRefreshToken bool

	// OmitIDTokenOnRefresh answers renewals without an ID token.
	OmitIDTokenOnRefresh bool

	// RefreshAs is the sign-in name of another person, whose tokens renewals
	// are answered with.
	RefreshAs string

	// RequireMFA refuses renewals with invalid_grant, suberror basic_action
	// and a claims challenge, until the person signs in again while it is set. RequireConsent refuses them with invalid_grant and
	// suberror consent_required in the same way. A stronger sign-in that the
	// claims parameter asked for counts as MFA. What single scopes need is
	// always told apart, by what the person has granted.
	RequireMFA     bool
	RequireConsent bool

	// RequireMFAForCode refuses the code of a sign-in without MFA in the same
	// way, as a policy does that is found out at the token endpoint. A sign-in
	// whose claims parameter carries the challenge passes.
	RequireMFAForCode bool

	// V1Errors gives refusals of the token endpoint the form of the older
	// version 1 endpoints: interaction_required in place of invalid_grant
	// where a person must do something (50076, 53003), AADSTS65001 without a
	// suberror.
	V1Errors bool

	// RefuseOwnURI refuses token requests that name the app's own API by its
	// application ID URI, api://{client id}/x, with AADSTS90009: only the GUID
	// form {client id}/x works. A renewal without scope for the own API is
	// always refused so.
	RefuseOwnURI bool

	// PersonalClaims gives ID tokens of personal accounts the optional claims
	// too: sid, login_hint, auth_time, xms_edov, acrs, groups, roles.
	// Microsoft's have none of them.
	PersonalClaims bool

	// RefusePersonalAtCommon refuses renewals of personal accounts at /common
	// with invalid_grant, suberror bad_token, as users report of some apps. At
	// /consumers the same refresh token works.
	RefusePersonalAtCommon bool

	// AdminScopes need an administrator's consent: a person who is asked for
	// one of them sees "Need admin approval", and the app gets access_denied
	// with AADSTS90094. [Server.Consent] is the administrator.
	AdminScopes []string

	// RefuseScopes are refused by the person: a sign-in that asks for one of
	// them that they have not granted before is answered with access_denied,
	// error_subcode cancel and AADSTS65004.
	RefuseScopes []string

	// WithholdScopes are left out of what is granted although they were asked
	// for: the scope of the token reply names fewer (RFC 6749 section 3.3).
	WithholdScopes []string

	// IgnoreClaims lets the claims parameter ask for nothing: sign-ins and
	// renewals succeed, but their tokens satisfy no challenge, and whoever
	// challenged does it again.
	IgnoreClaims bool

	// RefuseMFA fails every stronger sign-in, whether the claims parameter
	// asks for it or RequireMFA: access_denied, error_subcode cancel and
	// AADSTS500121.
	RefuseMFA bool

	// OmitAuthTime leaves the claim auth_time, which is optional at
	// Microsoft, out of ID tokens.
	OmitAuthTime bool

	// Revoked is the answer to renewals after [Server.Revoke]. The zero value
	// is invalid_grant with AADSTS50173.
	Revoked Failure

	// SecretExpired refuses the client secret with AADSTS7000222.
	SecretExpired bool

	// GroupClaims lists the groups of a person in tokens even from 200 groups
	// on: an ID token of 12 KB and an access token of 13 KB for Grace.
	GroupClaims bool

	// B2CPolicyInQuery lists B2C's endpoints with the policy in the query, as
	// its older documents do: .../oauth2/v2.0/token?p=b2c_1_susi. Both forms
	// are always served.
	B2CPolicyInQuery bool

	// B2CSharedSubject puts the sentence "Not supported currently. Use oid
	// claim." into the claim sub of B2C's ID tokens, for everybody.
	B2CSharedSubject bool

	// The next fields are habits of the plain provider, see [Server.Plain], and
	// change nothing at the others.

	// PlainAuthMethods is token_endpoint_auth_methods_supported, and what the
	// token endpoint accepts: client_secret_post, client_secret_basic. Nil
	// means client_secret_post. A request that authenticates in another way
	// is refused with invalid_client, one that does in two ways with
	// invalid_request.
	PlainAuthMethods []string

	// PlainNoAuthMethods leaves that list out of discovery, which means
	// client_secret_basic alone.
	PlainNoAuthMethods bool

	// PlainScopes is scopes_supported. Nil means openid, profile, email and
	// offline_access. Where it lacks offline_access, asking for that is
	// refused with invalid_scope.
	PlainScopes []string

	// PlainNoScopes leaves scopes_supported out of discovery. Every scope is
	// taken.
	PlainNoScopes bool

	// PlainBareIDToken leaves name, preferred_username and email, and what
	// goes with them, out of ID tokens: they are at the userinfo endpoint.
	PlainBareIDToken bool

	// OmitRefreshTokenAtCode gives no refresh token, although offline_access
	// was asked for.
	OmitRefreshTokenAtCode bool

	// RequireIDTokenHint refuses a sign-out without an id_token_hint that is
	// an ID token of the provider for this client. It may have expired.
	RequireIDTokenHint bool

	// UserInfo changes the document of the userinfo endpoint, at all
	// providers.
	UserInfo func(doc map[string]any)

	// AnswerIssuer adds the parameter iss of RFC 9207 to answers of the
	// authorize endpoint and announces it in discovery. Microsoft sends none.
	AnswerIssuer bool

	// Signing says how ID tokens are signed.
	Signing Signing

	// AlternateKeys leaves the key that signs now out of every second answer
	// of the keys endpoint, as the front ends of Microsoft differ for a while
	// at the edges of a key's life. The keys before [Server.RollKeys] stay.
	AlternateKeys bool

	// AppKey signs ID tokens of work accounts as those of an app with claims
	// mapping: with a key that only {tid}/discovery/v2.0/keys?appid={client
	// id} publishes, another one in each tenant. The discovery document of
	// {tid} names that address when it is read with ?appid={client id}.
	AppKey bool

	// IDToken changes the claims of an ID token before it is signed. grant is
	// TokenCode or TokenRefresh.
	IDToken func(grant Kind, claims map[string]any)

	// TokenReply changes a successful reply of the token endpoint.
	TokenReply func(grant Kind, reply map[string]any)

	// Discovery changes the discovery document: another issuer, another
	// endpoint, or delete(doc, "end_session_endpoint").
	Discovery func(doc map[string]any)

	// KeySet changes the published keys, each a JSON Web Key (RFC 7517).
	KeySet func(keys []map[string]any) []map[string]any

	// AuthorizeAnswer changes the parameters that are sent back to the
	// redirect URI: a wrong iss, a second code, no state.
	AuthorizeAnswer func(answer url.Values)

	// Delay is how long requests of a kind wait before any work is done. A
	// client that goes away ends the wait, and no work is done for it.
	Delay map[Kind]time.Duration

	// Fail holds the next answers by kind, consumed in order; an element
	// without any field set means that this request is answered as usual.
	// FailAlways is what every request of a kind gets once Fail has run out.
	// Both maps are never nil inside [Server.Set].
	Fail       map[Kind][]Failure
	FailAlways map[Kind]Failure
}

// Omit, as a value of [Behavior.ExpiresIn], leaves the field out of the reply.
const Omit = omitted("omit")

type omitted string

// Rotation is what becomes of refresh tokens once they have been used.
type Rotation string

const (
	// RotateKeepOld is Microsoft's way: every use returns a new refresh
	// token, and the old one stays valid.
	RotateKeepOld Rotation = ""

	// RotateStrict makes a refresh token good for one use. A second use is
	// refused with invalid_grant and revokes every token of its sign-in
	// (RFC 9700 section 4.14.2).
	RotateStrict Rotation = "strict"

	// RotateSame returns the same refresh token again.
	RotateSame Rotation = "same"
)

// Signing is a way to sign ID tokens, right or wrong.
type Signing string

const (
	SignRS256        Signing = ""              // as Microsoft does
	SignPS256        Signing = "PS256"         // RSASSA-PSS with the published RSA key
	SignES256        Signing = "ES256"         // an elliptic curve key, which is published while this is set
	SignNone         Signing = "none"          // alg none, empty signature
	SignHS256Secret  Signing = "HS256 secret"  // HMAC with the client secret
	SignHS256Public  Signing = "HS256 public"  // HMAC with the PEM text of the published RSA key (RFC 8725 section 2.1)
	SignUnknownKey   Signing = "unknown key"   // a key that is not published, under the kid of one that is
	SignUnpublished  Signing = "unpublished"   // a key that is not published, under a kid of its own
	SignWithoutKeyID Signing = "no kid"        // a good signature, no kid in the header
	SignWrongKeyID   Signing = "wrong kid"     // a good signature, under a kid that is not published
	SignFlippedBit   Signing = "flipped bit"   // one bit of a good signature changed
	SignTruncated    Signing = "truncated"     // the last byte of a good signature missing
	SignForeignCloud Signing = "foreign cloud" // the key of another cloud, which common publishes
	SignOtherClass   Signing = "other class"   // the published key of the other class of accounts (work or personal)
)

// A Failure is an answer other than the usual one. The zero value is none: in
// [Behavior.Fail] it stands for a request that is answered as usual.
type Failure struct {
	// Error is the OAuth error code, such as invalid_grant. The body is then
	// Microsoft's error document; at the authorize endpoint the error is sent
	// to the redirect URI, and at Graph it is Graph's error document.
	Error string

	// Suberror is the field suberror; at the authorize endpoint it is
	// error_subcode.
	Suberror string

	// Claims is the field claims, a JSON text. At Graph and protected APIs it
	// makes the answer a claims challenge, 401 insufficient_claims.
	Claims string

	// Codes are AADSTS numbers. When empty, one that suits Error is chosen.
	// When Error is empty, it and Suberror are those that come with the first
	// number.
	Codes []int

	// Description replaces the text that goes with the first of Codes.
	Description string

	// Status is the HTTP status. Zero means the one that suits Error, and 500
	// without Error. 200 without Error and Body sends nothing. 401 of Graph and of protected APIs says invalid_token in
	// WWW-Authenticate, unless Header has one. With a Status the authorize endpoint shows a page in
	// place of the redirect.
	Status int

	// Header is added to the answer: Retry-After, Location, WWW-Authenticate.
	// With Status 429 it should have a Retry-After, as Graph's answers do: of
	// a OneDrive they say activityLimitReached, else TooManyRequests.
	Header http.Header

	// Body, when not empty, is sent as it is, as application/json unless
	// Header says otherwise.
	Body string

	// Handler, when not nil, answers in place of all of the above, for what
	// they cannot say: a reply that drips, or one without end.
	Handler http.HandlerFunc

	// Hang sends nothing until the client gives up or the server is closed.
	Hang bool

	// Close cuts the connection without an answer.
	Close bool

	// LoseReply does all the work of the request, rotation of the refresh
	// token included, and then cuts the connection without an answer.
	LoseReply bool
}

func (f Failure) isZero() bool { return reflect.ValueOf(f).IsZero() }

// Set changes the behavior. The change holds for requests that arrive later.
// f runs under the server's lock: it must not call methods of s. It is safe to
// call Set while requests are being served.
//
//	s.Set(func(b *msauthtest.Behavior) {
//		b.Fail[msauthtest.TokenRefresh] = []msauthtest.Failure{{Status: 503}, {}, {Hang: true}}
//	})
func (s *Server) Set(f func(*Behavior)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := &s.behavior
	b.makeMaps()
	f(b)
	b.makeMaps()
}

func (b *Behavior) makeMaps() {
	if b.Delay == nil {
		b.Delay = map[Kind]time.Duration{}
	}
	if b.Fail == nil {
		b.Fail = map[Kind][]Failure{}
	}
	if b.FailAlways == nil {
		b.FailAlways = map[Kind]Failure{}
	}
}

// next returns what one request of a kind meets: the behavior without its
// maps, which are only read under the lock, and the delay and failure that
// they hold for it.
func (s *Server) next(kind Kind) (b Behavior, apis registry, delay time.Duration, f Failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b = s.behavior
	delay = b.Delay[kind]
	if queue := b.Fail[kind]; len(queue) > 0 {
		f = queue[0]
		s.behavior.Fail[kind] = queue[1:]
	} else {
		f = b.FailAlways[kind]
	}
	for _, list := range []*[]string{&b.RedirectURIs, &b.AdminScopes, &b.RefuseScopes, &b.WithholdScopes, &b.PlainAuthMethods, &b.PlainScopes} {
		*list = slices.Clone(*list)
	}
	b.Delay, b.Fail, b.FailAlways = nil, nil, nil
	return b, s.apis, delay, f
}
