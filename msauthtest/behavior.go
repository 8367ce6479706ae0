package msauthtest

import (
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"time"
)

// Behavior describes how a [Server] differs from Microsoft. With the zero value
// it does not. Use [Server.Set] to change it.
type Behavior struct {
	// AutoSignIn is the sign-in name of a person whom every authorize request
	// signs in at once, as if they had been picked on the page. With
	// prompt=none, the browser must still be signed in already. If the person
	// does not exist, the page is shown with an error. The person grants all
	// scopes and passes every stronger sign-in, unless the fields below say
	// otherwise.
	AutoSignIn string

	// RedirectURIs are the registered redirect URIs, compared byte for byte, but
	// for the port of http://localhost, which Microsoft ignores. They apply to post_logout_redirect_uri as well. Live Connect compares the
	// scheme and the host only. If empty, any https URI and any http URI of a
	// loopback host is accepted.
	RedirectURIs []string

	// SPARedirectURIs are redirect URIs that are registered for a single-page
	// application, next to RedirectURIs: a request without a PKCE challenge is
	// refused with AADSTS9002325, and the app's token requests with AADSTS9002327,
	// because only a browser may redeem such a code.
	SPARedirectURIs []string

	// AccessTokenLifetime is the value of expires_in and how long Graph accepts
	// an access token. Zero means 60 to 90 minutes at random, as with
	// Microsoft, and an hour at Live Connect. For tokens of work accounts for
	// Graph it means 20 to 28 hours if the claims parameter declares the client
	// capability cp1 ("Continuous access evaluation").
	AccessTokenLifetime time.Duration

	// RefreshIn is the value of refresh_in, truncated to seconds. If zero,
	// token replies do not have that field.
	RefreshIn time.Duration

	// ExpiresIn, if not nil, replaces expires_in in token replies by the JSON
	// it marshals to: -1, "3599", 1e300, 3599.5,
	// json.RawMessage("99999999999999999999"). [Omit] leaves the field out. The
	// actual lifetime of the token does not change.
	ExpiresIn any

	// Rotation is what happens to a refresh token when it is used.
	Rotation Rotation

	// OmitRefreshToken answers renewals without a refresh token. The one that
	// was used stays valid.
	OmitRefreshToken bool

	// OmitIDTokenOnRefresh answers renewals without an ID token, or without Live
	// Connect's authentication token.
	OmitIDTokenOnRefresh bool

	// RefreshAs is the sign-in name of another person. Renewals are answered
	// with tokens of that person.
	RefreshAs string

	// RequireMFA refuses renewals with invalid_grant, suberror basic_action and
	// a claims challenge, until the person has signed in again while it is set.
	// A stronger sign-in that the claims parameter requested counts as MFA.
	// RequireConsent likewise refuses renewals with invalid_grant and suberror
	// consent_required. Independently of both, the person must have granted
	// each scope.
	RequireMFA     bool
	RequireConsent bool

	// RequireMFAForCode refuses the code of a sign-in without MFA in the same
	// way, like a policy that takes effect at the token endpoint only. A
	// sign-in whose claims parameter contains the challenge is accepted.
	RequireMFAForCode bool

	// V1Errors gives errors of the token endpoint the form of the older version
	// 1 endpoints: interaction_required in place of invalid_grant if the person
	// must act (50076, 53003), and AADSTS65001 without a suberror.
	V1Errors bool

	// RefuseOwnURI refuses token requests that name the app's own API by its
	// application ID URI, api://{client id}/x, with AADSTS90009. Only {client
	// id}/x is accepted. Renewals for the app's own API without the parameter
	// scope are always refused with that number.
	RefuseOwnURI bool

	// PersonalClaims adds the optional claims to ID tokens of personal
	// accounts: sid, login_hint, auth_time, xms_edov, acrs, groups, roles.
	// Microsoft's have none of them.
	PersonalClaims bool

	// RefusePersonalAtCommon refuses renewals of personal accounts at /common
	// with invalid_grant and suberror bad_token, as users report of some apps.
	// The same refresh token is accepted at /consumers.
	RefusePersonalAtCommon bool

	// AdminScopes require the consent of an administrator. A person who is
	// asked for one of them sees "Need admin approval", and the app gets
	// access_denied with AADSTS90094. Use [Server.Consent] to grant them.
	AdminScopes []string

	// RefuseScopes are scopes that people refuse. A sign-in that requests one
	// of them is answered with access_denied, error_subcode cancel and
	// AADSTS65004, unless the person granted it before.
	RefuseScopes []string

	// WithholdScopes are not granted even if they are requested: the scope of
	// the token reply does not contain them (RFC 6749 section 3.3).
	WithholdScopes []string

	// IgnoreClaims ignores the claims parameter. Sign-ins and renewals succeed,
	// but their tokens do not satisfy any challenge, so the resource challenges
	// again.
	IgnoreClaims bool

	// RefuseMFA fails every stronger sign-in, whether the claims parameter or
	// RequireMFA demands it, with access_denied, error_subcode cancel and
	// AADSTS500121.
	RefuseMFA bool

	// OmitAuthTime leaves auth_time, an optional claim at Microsoft, out of ID
	// tokens.
	OmitAuthTime bool

	// FrontChannelLogout are the front-channel logout URLs of apps: signing out
	// shows a page that loads them in hidden frames, each with the sid of the
	// session that ends, and goes on after two seconds. Providers other than
	// Microsoft add iss (OpenID Connect Front-Channel Logout 1.0).
	FrontChannelLogout []string

	// BackChannelLogout are the back-channel logout URLs of apps: signing out at
	// the plain provider, at [Server.Plain], posts a logout token to each before
	// it answers (OpenID Connect Back-Channel Logout 1.0). BackChannelClient
	// posts it; the default knows no private certificates.
	BackChannelLogout []string
	BackChannelClient *http.Client

	// Revoked is the answer to renewals after [Server.Revoke]. The zero value
	// means invalid_grant with AADSTS50173.
	Revoked Failure

	// SecretExpired refuses [Server.ClientSecret] with AADSTS7000222, as
	// [Credential.Expire] does.
	SecretExpired bool

	// OldFederatedErrors refuses tokens of other issuers that match no federated
	// credential with status 400, invalid_request and AADSTS70021, as in
	// captures of 2022. The captures of 2023 to 2025 have status 401,
	// invalid_client and AADSTS700211 (issuer), 700212 (audience) or 700213
	// (subject).
	OldFederatedErrors bool

	// GroupClaims lists all groups of a person in tokens, even 200 or more.
	// Grace's ID token then has 12 KB and her access token 13 KB.
	GroupClaims bool

	// B2CPolicyInQuery makes B2C's discovery document list endpoints with the
	// policy in the query, as its older documents do:
	// .../oauth2/v2.0/token?p=b2c_1_susi. Endpoints of both forms are always
	// served.
	B2CPolicyInQuery bool

	// B2CSharedSubject sets the claim sub of B2C's ID tokens to "Not supported
	// currently. Use oid claim." for everybody.
	B2CSharedSubject bool

	// The next fields concern the plain provider only: see [Server.Plain].

	// PlainAuthMethods is the value of token_endpoint_auth_methods_supported,
	// and what the token endpoint accepts: client_secret_post,
	// client_secret_basic, private_key_jwt (see [Server.AddKey]). Nil means client_secret_post. A request that
	// authenticates in another way is refused with invalid_client, one that
	// authenticates in two ways with invalid_request.
	PlainAuthMethods []string

	// PlainNoAuthMethods leaves token_endpoint_auth_methods_supported out of
	// discovery, which means that only client_secret_basic is accepted.
	PlainNoAuthMethods bool

	// PlainAuthAlgorithms is the value of
	// token_endpoint_auth_signing_alg_values_supported, if PlainAuthMethods
	// lists private_key_jwt, and the algorithms that are accepted. Nil means
	// PS256, RS256 and ES256. An empty list that is not nil leaves the value out
	// of discovery, and the three are accepted.
	PlainAuthAlgorithms []string

	// PlainScopes is the value of scopes_supported. Nil means openid, profile,
	// email and offline_access. If it lacks offline_access, requests for that
	// scope are refused with invalid_scope.
	PlainScopes []string

	// PlainNoScopes leaves scopes_supported out of discovery. Every scope is
	// then accepted.
	PlainNoScopes bool

	// PlainBareIDToken leaves name, preferred_username, email and related
	// claims out of ID tokens. The userinfo endpoint has them.
	PlainBareIDToken bool

	// OmitRefreshTokenAtCode answers codes without a refresh token, even if
	// offline_access was requested.
	OmitRefreshTokenAtCode bool

	// RequireIDTokenHint refuses to sign out without an id_token_hint that is
	// an ID token of the provider for this client. The token may have expired.
	RequireIDTokenHint bool

	// UserInfo modifies the document of the userinfo endpoint, at all
	// providers.
	UserInfo func(doc map[string]any)

	// AnswerIssuer adds the parameter iss of RFC 9207 to answers of the
	// authorize endpoint and announces it in discovery. Microsoft does not send
	// it.
	AnswerIssuer bool

	// Signing is the way ID tokens are signed.
	Signing Signing

	// AlternateKeys leaves the current signing key out of every second answer
	// of the keys endpoint, as Microsoft's front ends differ for a while when a
	// key is added or removed. Keys from before [Server.RollKeys] are always
	// listed.
	AlternateKeys bool

	// AppKey signs ID tokens of work accounts as Microsoft does for an app with
	// claims mapping: with a key that only
	// {tid}/discovery/v2.0/keys?appid={client id} lists, a different one for
	// each tenant. The discovery document of {tid} refers to that address if it
	// is requested with ?appid={client id}.
	AppKey bool

	// IDToken modifies the claims of an ID token, or of Live Connect's
	// authentication token, before it is signed. grant is TokenCode or
	// TokenRefresh.
	IDToken func(grant Kind, claims map[string]any)

	// TokenReply modifies a successful reply of the token endpoint.
	TokenReply func(grant Kind, reply map[string]any)

	// LiveReply, if not nil, sends the replies of Live Connect's token endpoint,
	// successful or not, in place of JSON: as text/plain, as a form, with another
	// status. It is called after TokenReply, and not for answers from Fail and
	// FailAlways that have a Body or no Error.
	LiveReply func(w http.ResponseWriter, grant Kind, status int, reply map[string]any)

	// LivePKCE makes Live Connect's token endpoint check the code_verifier of a
	// sign-in that had a code_challenge. It ignores both otherwise: whether
	// Microsoft's honors them is not known.
	LivePKCE bool

	// Discovery modifies the discovery document. It may set another issuer or
	// endpoint, or call delete(doc, "end_session_endpoint").
	Discovery func(doc map[string]any)

	// KeySet replaces the published keys, each a JSON Web Key (RFC 7517).
	KeySet func(keys []map[string]any) []map[string]any

	// AuthorizeAnswer modifies the parameters that are sent to the redirect
	// URI: a wrong iss, a second code, no state.
	AuthorizeAnswer func(answer url.Values)

	// CopyTime is how long copies in a OneDrive take. Until then their monitor
	// answers 202, and the copy does not exist.
	CopyTime time.Duration

	// UploadExpires is how long an upload session lasts after its latest
	// request. Zero means 15 minutes for work accounts and a week for personal
	// ones. See also [Server.ExpireUploads].
	UploadExpires time.Duration

	// DownloadExpires is how long pre-signed URLs of files and thumbnails are
	// valid. Zero means an hour. See also [Server.ExpireDownloads].
	DownloadExpires time.Duration

	// UploadNoCORS refuses the preflights of upload URLs, so that pages of other
	// origins cannot send files to them.
	UploadNoCORS bool

	// RefuseFileSize refuses upload sessions that announce fileSize with 400
	// invalidRequest, as users report of work accounts.
	RefuseFileSize bool

	// Delay is how long requests of a kind wait before they are processed. If
	// the client disconnects during that time, they are not processed.
	Delay map[Kind]time.Duration

	// Fail holds the next answers by kind. Each request consumes one; the zero
	// Failure means the usual answer. When Fail has run out, every request of a
	// kind gets FailAlways. Inside [Server.Set], neither map is nil.
	Fail       map[Kind][]Failure
	FailAlways map[Kind]Failure
}

// Omit, as a value of [Behavior.ExpiresIn], leaves the field out of token replies.
const Omit = omitted("omit")

type omitted string

// A Rotation is what happens to refresh tokens when they are used.
type Rotation string

const (
	// RotateKeepOld is what Microsoft does: every use returns a new refresh
	// token, and the old one stays valid.
	RotateKeepOld Rotation = ""

	// RotateStrict makes a refresh token valid for one use. A second use is
	// refused with invalid_grant and revokes every token of its sign-in (RFC
	// 9700 section 4.14.2).
	RotateStrict Rotation = "strict"

	// RotateSame returns the same refresh token again.
	RotateSame Rotation = "same"
)

// A Signing is a way to sign ID tokens, valid or invalid.
type Signing string

const (
	SignRS256        Signing = ""              // as Microsoft does
	SignPS256        Signing = "PS256"         // RSASSA-PSS with the published RSA key
	SignES256        Signing = "ES256"         // an elliptic curve key, published while this is set
	SignNone         Signing = "none"          // alg none, empty signature
	SignHS256Secret  Signing = "HS256 secret"  // HMAC with the client secret
	SignHS256Public  Signing = "HS256 public"  // HMAC with the PEM text of the published RSA key (RFC 8725 section 2.1)
	SignUnknownKey   Signing = "unknown key"   // an unpublished key, under the kid of a published one
	SignUnpublished  Signing = "unpublished"   // an unpublished key, under its own kid
	SignWithoutKeyID Signing = "no kid"        // a valid signature, without kid in the header
	SignWrongKeyID   Signing = "wrong kid"     // a valid signature, under an unpublished kid
	SignFlippedBit   Signing = "flipped bit"   // a valid signature with one bit changed
	SignTruncated    Signing = "truncated"     // a valid signature without its last byte
	SignForeignCloud Signing = "foreign cloud" // the key of another cloud, which common publishes too
	SignOtherClass   Signing = "other class"   // the published key of the other class of accounts (work or personal)
)

// A Failure is an answer other than the usual one. In [Behavior.Fail], the zero
// value means the usual answer.
type Failure struct {
	// Error is the OAuth error code, such as invalid_grant. The body is then
	// Microsoft's error document; at the authorize endpoint the error is sent
	// to the redirect URI, and at Graph it is Graph's error document.
	Error string

	// Suberror is the field suberror, or error_subcode at the authorize
	// endpoint.
	Suberror string

	// Claims is the field claims, a JSON text. At Graph and protected APIs it
	// makes the answer a claims challenge, 401 insufficient_claims.
	Claims string

	// Codes are AADSTS numbers. If empty, one that matches Error is used. If
	// Error is empty, the first number determines it and Suberror.
	Codes []int

	// Description replaces the text of the first of Codes.
	Description string

	// Status is the HTTP status. Zero means the one that matches Error, or 500
	// without Error. With status 200 and neither Error nor Body, the body is
	// empty. With 401, Graph and protected APIs send invalid_token in
	// WWW-Authenticate, unless Header has that field. If Status is set, the
	// authorize endpoint shows a page instead of redirecting.
	Status int

	// Header is added to the answer: Retry-After, Location, WWW-Authenticate.
	// Status 429 should come with Retry-After, as Graph's answers do. Their
	// error code is activityLimitReached for a OneDrive and TooManyRequests
	// otherwise.
	Header http.Header

	// Body, if not empty, is sent as is. Its type is application/json unless
	// Header sets another.
	Body string

	// Handler, if not nil, answers instead of all of the above. It can send
	// what they cannot: a slow reply, or an endless one.
	Handler http.HandlerFunc

	// Hang sends nothing until the client disconnects or the server is closed.
	Hang bool

	// Close closes the connection without an answer.
	Close bool

	// LoseReply processes the request, including rotation of the refresh token,
	// and then closes the connection without an answer.
	LoseReply bool
}

func (f Failure) isZero() bool { return reflect.ValueOf(f).IsZero() }

// Set changes the behavior for requests that arrive later. It calls f with the
// server's lock held, so f must not call methods of s. Set may be called while
// requests are being served.
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

// next returns what applies to one request of a kind: the behavior without its
// maps, which may be read under the lock only, and the delay and failure from
// them.
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
	for _, list := range []*[]string{&b.RedirectURIs, &b.SPARedirectURIs, &b.AdminScopes, &b.RefuseScopes, &b.WithholdScopes, &b.PlainAuthMethods, &b.PlainAuthAlgorithms, &b.PlainScopes, &b.FrontChannelLogout, &b.BackChannelLogout} {
		*list = slices.Clone(*list)
	}
	b.Delay, b.Fail, b.FailAlways = nil, nil, nil
	return b, s.apis, delay, f
}
