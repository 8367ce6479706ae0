package msauth

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/gorilla/sessions"
)

// Config configures a [Middleware]: who the app is at Microsoft, who may sign
// in, and how sessions are kept. ClientID, ClientSecret (or Credentials), BaseURL
// and Keys (or KeyFiles) are required; for every other field, the zero value is a
// good choice. [New] copies what it needs.
type Config struct {
	// ClientID and ClientSecret are the "Application (client) ID" of the app
	// registration and the value (not the ID) of one of its client secrets.
	ClientID     string
	ClientSecret string

	// Credentials are the ways in which the app proves itself, the most preferred
	// first, in place of ClientSecret: certificates, federated credentials and
	// secrets. If Microsoft refuses one, the same request goes on with the next,
	// and the one that works is used from then on. A refused credential is tried
	// again once a minute at most, if the others are refused too, and when its file
	// has changed. Default: ClientSecret alone.
	Credentials []Credential

	// ExpiryWarning is how long before its end a certificate of Credentials is
	// logged, once a day. Default 30 days.
	ExpiryWarning time.Duration

	// Tenant selects the accounts that can sign in: "common" (work, school and
	// personal), "organizations" (work and school), "consumers" (personal), a
	// tenant ID, or a domain name of a tenant. Default "common".
	Tenant string

	// AllowedTenants narrows "common" or "organizations" to the tenants with
	// these IDs. Personal accounts are in tenant
	// 9188040d-6c67-4c5b-b112-36a304b66dad. Users of other tenants are refused
	// with a page after signing in, and their existing sessions end. Default:
	// all tenants.
	AllowedTenants []string

	// Authority is the origin of the Microsoft cloud, without a path. Default
	// "https://login.microsoftonline.com"; others are
	// "https://login.microsoftonline.us" and
	// "https://login.partner.microsoftonline.cn". Plain http is accepted on
	// loopback hosts, for package msauthtest.
	//
	// "https://login.live.com" is Live Connect, the older service for personal
	// accounts only, for sites that still have scopes such as "wl.basic" and users
	// known by its ids. Its sign-ins prove less: see SECURITY.md, and
	// docs/live-sdk.md for the way to Microsoft Graph. Its credentials are client
	// secrets, it has no tenants, and nothing of it is Microsoft Graph.
	Authority string

	// Issuer selects another OpenID provider (including Entra External ID and
	// Azure AD B2C) and replaces Authority and Tenant. It is the URL that
	// precedes /.well-known/openid-configuration, exactly as the provider
	// publishes its issuer. External ID and B2C publish a different issuer by
	// design: for these, set the URL that precedes the discovery document, such
	// as "https://fabrikam.b2clogin.com/fabrikam.onmicrosoft.com/B2C_1_susi/v2.0"
	// or "https://fabrikam.ciamlogin.com/<tenant id>/v2.0".
	Issuer string

	// MicrosoftIssuer is the issuer in the discovery document of Issuer, if
	// Issuer is a custom domain of Entra External ID or Azure AD B2C. It marks
	// the provider as Microsoft's, and has the form
	// "https://<tenant id>.ciamlogin.com/<tenant id>/v2.0" or
	// "https://login.example.com/<tenant id>/v2.0/". It must be exactly what
	// discovery publishes; if it is missing, the error names the published one.
	// B2C issuers that contain /tfp/ are not supported. Default: none, which is
	// right for ciamlogin.com and b2clogin.com.
	MicrosoftIssuer string

	// BaseURL is the URL at which browsers reach the Middleware, such as
	// "https://app.example.com/auth". Register BaseURL + "/callback" at
	// Microsoft as a redirect URI, and BaseURL + "/signed-out" as another. It is
	// never derived from a request, because visitors control the Host header.
	// It must be https, except on loopback hosts, where http is allowed for
	// development: cookies are then not Secure.
	BaseURL string

	// Scopes are the permissions that the app requests at sign-in, such as
	// "Files.Read". All must belong to one API, which the first access token is
	// for. openid, profile, email and offline_access are always requested, at Live
	// Connect wl.signin and wl.offline_access. Default "User.Read" at Microsoft,
	// "wl.basic" at Live Connect, and nothing more elsewhere.
	Scopes []string

	// Keys encrypt the cookies: 32 random bytes each, for example from
	// "openssl rand -base64 32". The first key seals, and all of them open. To
	// rotate keys, add the new key in second place on every server, then move
	// it to first place, and drop the old key MaxAge later (see Tokens).
	Keys [][]byte

	// KeyFiles are files with the keys, in place of Keys, which can be changed
	// while the app runs. Each line has one key in base64, as "openssl rand
	// -base64 32" prints it, standard or URL-safe; empty lines and lines that
	// begin with # are ignored. The keys of all files count one after the
	// other, at most 32.
	//
	// The files are read again if they have changed, every 5 seconds while
	// there are requests, and at once, but at most once a second, if something
	// does not open with any key. Files that are missing or wrong change
	// nothing: the last good keys stay in use, [Stats.Degraded] and the log say
	// so. A file that is replaced by renaming another is never seen half
	// written. Default: Keys.
	KeyFiles []string

	// Store keeps sessions on the server, for apps that do not want cookies of
	// 3 KB. Any gorilla store will do, but raise its limit on the length of a
	// record, which is usually 4096 bytes. Records are sealed with Keys, each
	// for its own name; a sign-in saves twice, because most stores assign the
	// name at the first save. Default: sessions live in cookies.
	Store sessions.Store

	// Tokens keeps refresh tokens for the app's own users, so that the app can
	// act for them with [Middleware.Offline] while they are away. The cookies
	// of these sessions then carry no refresh token. [SignIn.UserKey] names the
	// user.
	//
	// Entries are sealed with Keys: before you drop an old key, call
	// [Middleware.Reseal] for every user. They are also sealed for this app:
	// they are lost if Authority, Tenant, ClientID or BaseURL changes. Default:
	// refresh tokens are kept only in sessions.
	Tokens TokenStore

	// Shared lets all processes of the app know together which sessions have ended
	// and who renews which tokens, for example by Redis. Then a sign-out, also a
	// copied cookie's, and [Middleware.SignOutUser] hold everywhere within a second
	// and after restarts, and one refresh token is used by one process at a time. A
	// request asks it nothing: see docs/scale.md. If it fails, sessions go on, and
	// each process knows only its own; see [Stats.Degraded]. With it, call
	// [Middleware.Close] at the end. Default: each process is alone.
	Shared Shared

	// User returns the key of the app's own user who is signed in by the app's
	// own means, or "" if there is none. A key has at most 255 bytes and does
	// not begin with "msauth:". [Middleware.Connect] requires User, and calls
	// it again when the user comes back from Microsoft: the app's own cookie
	// must reach BaseURL and cannot be SameSite=Strict.
	User func(r *http.Request) (key string)

	// CookieName is the name of the session cookie after the "__Host-" prefix,
	// which all cookies of this package have if BaseURL is https. Default
	// "msauth-" and six letters that depend on the registration, because apps
	// on several ports of one host share cookies.
	CookieName string

	// CookieBudget limits the total size of all Set-Cookie lines of a session,
	// from 1024 to 7168 bytes. If you raise it, raise the header limits of the
	// proxies in front too: nginx's 4 KB is the lowest in wide use. A session
	// over budget leaves out, in this order, the ID token for signing out (kept
	// for providers other than Microsoft) or the authentication token (Live
	// Connect), the access token (which is then
	// requested when needed), the groups, and the claims named by Claims.
	// Default 3300, which leaves room for the other lines of a response.
	CookieBudget int

	// Claims names further claims of the ID token to keep in [User.Claims].
	// Default none.
	Claims []string

	// MaxAge is the time from sign-in to the end of the session, at most 400
	// days. Signing in again as the same user extends the session only if the
	// user entered credentials again (claim auth_time). Default 7 days.
	MaxAge time.Duration

	// IdleTimeout is the time after which an unused session ends. Use is
	// recorded in steps of IdleTimeout/24, so a session may end one step early,
	// but never late. A value of MaxAge or more disables the timeout. Default
	// 24 hours.
	IdleTimeout time.Duration

	// SessionCookie makes browsers drop the session when they are closed, for
	// shared computers. Default: the session stays until it ends.
	SessionCookie bool

	// Reauthenticate has people enter their credentials again when a session
	// begins: after IdleTimeout or MaxAge they do not come back with one click
	// because they are still signed in at Microsoft. It holds for every sign-in,
	// whatever cookies the browser has, unless the browser comes back from
	// Microsoft with a valid session of the same account: giving consent, a
	// step-up and the like ask for nothing more. The account picker
	// ([LoginOptions].Prompt) is replaced by the sign-in page.
	//
	// These sign-ins are sent with prompt=login and max_age (OpenID Connect Core
	// section 3.1.2.1). The proof is the claim auth_time, which must not be before
	// the sign-in began: otherwise the sign-in ends on a page. The app
	// registration must ask for the claim, as for
	// [Middleware.RequireFreshSignIn], and other providers must send it: without
	// it nobody can sign in. Only personal Microsoft accounts can, because
	// Microsoft is not known to send it for them: they are asked for credentials,
	// but whoever takes prompt out of the address comes back with one click.
	// Default: Microsoft decides.
	Reauthenticate bool

	// DeviceBinding binds sessions to the device that they began on, so that a copy of
	// the cookies is worthless elsewhere within 10 minutes: DeviceBindingOffered where
	// the browser can do it, DeviceBindingRequired for bound sessions only. It needs
	// https. All servers must have this version before it is set. Default:
	// DeviceBindingOff.
	DeviceBinding DeviceBinding

	// RecheckAfter renews tokens that were issued this long ago, even if they
	// are valid for longer, so that a user who was disabled or signed out
	// everywhere by an administrator loses access within this time. A session
	// without a refresh token ends then. At least one minute. Default: tokens
	// are renewed when the access token is due, after about an hour, and never
	// if a provider set by Issuer gave no refresh token.
	RecheckAfter time.Duration

	// PostLogoutURL is where Microsoft sends users after signing out: an
	// absolute URL that is registered as a redirect URI. It should not be a
	// page under Require, which would sign them in again at once. Default
	// BaseURL + "/signed-out".
	PostLogoutURL string

	// Home is the path of the site's home page, such as "/expenses/", with or
	// without a query. The pages of this package link to it, and signing in
	// leads there if no other page was requested. Default: the parent of
	// BaseURL's path, which is "/expenses/" for
	// "https://corp.example/expenses/auth" and "/" for
	// "https://app.example.com/auth".
	Home string

	// KeepFragments brings people back to the fragment of the address that they asked
	// for, such as "/app#/orders/7". Servers never see it: a page with one small script
	// takes the place of the redirect to Microsoft, with status 401 and a policy that
	// allows this script alone. Without script the page goes on as a redirect does, and
	// the fragment is lost. Default: a redirect.
	KeepFragments bool

	// TokenHosts are further hosts, such as "api.example.com" or
	// "localhost:8081", to which [Session.Client] sends an access token. The
	// token has the scopes listed for the host, all of one API, such as
	// "api://orders/.default"; if there are none, it is the session's own.
	// Default: Microsoft Graph in the cloud of Authority only, and none at Live
	// Connect.
	TokenHosts map[string][]string

	// ContinuousAccess declares to Microsoft that the app handles claims
	// challenges (client capability "cp1"): its handlers use [Session.Client],
	// or pass the errors of APIs to [Middleware.Challenge]. Access tokens then
	// last up to 28 hours, but are refused within minutes of the user being
	// disabled or changing their password. See "Continuous access evaluation"
	// of the Microsoft identity platform. Default: not declared.
	ContinuousAccess bool

	// OnSignIn is called once per sign-in, after all checks and before the
	// session is made. It may refuse the user by returning an error, link the
	// account to the app's own user, set cookies of the app on w, and change
	// AppData and ReturnTo. It must not write a response. A refusal leads to a
	// page with status 403 that does not show the text of the error; Page
	// receives the error. Default: all users who pass the checks and
	// AllowedTenants are accepted.
	OnSignIn func(w http.ResponseWriter, r *http.Request, s *SignIn) error

	// Page replaces the HTML of every page of this package: errors, "signed
	// out", "confirm sign-out". It writes the status and the body. Strict
	// security headers are set before the call, and Page may change them. To
	// change some pages only, call p.ServeHTTP for the rest. Default:
	// [Page.ServeHTTP], plain and accessible.
	Page func(w http.ResponseWriter, r *http.Request, p Page)

	// Language returns the language, a tag such as "de" or "pt-BR" (BCP 47), in
	// which the person reads this site, if the site lets them choose one; Microsoft
	// is asked for the same, by ui_locales and mkt. Pages and problem documents are in
	// English, German, French, Spanish, Italian, Portuguese, Dutch, Polish, Swedish,
	// Czech, Turkish, Japanese, Korean, Chinese (in both scripts) or Arabic; for
	// other languages see [Page.TextID]. "" or no tag means: as if Language were
	// nil. Default: by the header Accept-Language, which Microsoft has too.
	Language func(r *http.Request) (tag string)

	// KeepForm reports whether the form that a request posts may be kept in the page
	// that says that nobody is signed in, or that more is needed. The person signs in
	// in another tab, comes back, and sends the form again from there: nothing of it
	// is stored, on the server or in cookies. It is called, before the body is read,
	// for forms that a page of this site has sent in the top window: at most 64 KB and
	// 1000 fields, without files, to an address of at most 500 bytes. Decide by the
	// path, and return false for forms with passwords or card numbers, which should
	// not be in another page, and for those that are answered with a redirect to
	// another site, which the page does not allow. The body of r is empty here. All
	// other forms get a page that says that nothing was submitted. Default: every such
	// form is kept.
	KeepForm func(r *http.Request) bool

	// HTTPClient sends the requests to Microsoft. Redirects are never followed,
	// and the size of responses is limited. The context of a request has the values of
	// the page's for which it is made, and may outlast that page: others wait for the
	// response too. Default: a client with a timeout of 15 seconds that honors
	// HTTPS_PROXY.
	HTTPClient *http.Client

	// Logger receives the log lines, which never contain a token, code, key or
	// cookie. If its handler panics, only that line is lost. Default
	// [slog.Default] at the time of New.
	Logger *slog.Logger

	// Trace is called when an operation at Microsoft, or at an API, begins. It returns
	// the context with which the operation goes on, and a function that is called at
	// its end, once, with the error as apps see it: nil if it succeeded. So an
	// OpenTelemetry span, for example, has below it those of an instrumented
	// HTTPClient. Module example.com/msauth/otelmsauth does that. The names are
	//
	//	msauth.sign_in      from Microsoft's answer to the session, for answers to
	//	                    sign-ins that began in this browser. A refusal, whatever
	//	                    its page, is an error
	//	msauth.renewal      a token request for the session's own API, which
	//	                    [Stats] counts too
	//	msauth.token        a token request for another API, or for other scopes
	//	msauth.api_request  a request of [Session.Client] that carries a token, with
	//	                    the waits for tokens, until the header of the response.
	//	                    A response of any status is not an error
	//
	// More names may be added. ctx is that of the request that the operation belongs
	// to. For msauth.renewal and msauth.token it is never canceled, because several
	// requests may wait for them; for msauth.api_request it has the values of the
	// context that Session.Client was called with, too. Do not cancel the returned
	// context at the end: the body of a response is read afterwards. Errors contain no
	// token, code or secret, but texts of Microsoft and of the app. Other requests, such
	// as those to pages of users who are signed in, call nothing. Both functions must
	// return at once, because the operation waits for them. If Trace panics or returns
	// nil, the operation goes on. Default: nothing is called.
	Trace func(ctx context.Context, name string) (_ context.Context, end func(err error))

	// InsecureCookies permits a BaseURL of plain http on hosts other than
	// loopback. As on loopback, cookies then have neither Secure nor the
	// "__Host-" prefix: anyone on the network can take over sessions. For
	// development networks only.
	InsecureCookies bool
}

// SignIn is a sign-in in progress, for [Config.OnSignIn].
type SignIn struct {
	// Session is the session about to be made. It can already be used to call
	// Microsoft.
	Session *Session
	// AppState is the value of [LoginOptions.AppState] when the sign-in began.
	AppState string
	// AppData becomes [Session.AppData]: at most 512 bytes.
	AppData string
	// ReturnTo is the local path to which the user returns. Anything that is
	// not a path on this site is replaced by [Config.Home].
	ReturnTo string

	// UserKey is the app's own user for whom [Config.Tokens] keeps the tokens:
	// at most 255 bytes, not beginning with "msauth:". If it is "", they are
	// not kept. It is initially the user who connects, if [Middleware.Connect]
	// began the sign-in; otherwise the [User.Key] of the account, or "" if
	// [Config.User] is set, and an app with users of its own sets it here.
	// Tokens are kept only after OnSignIn has returned, and a sign-in can still
	// fail then.
	UserKey string
	// Connecting is set if [Middleware.Connect] began the sign-in for UserKey,
	// and [Config.User] says that this user is still signed in. No session is
	// then made unless MakeSession is set. If [Config.Reauthenticate] is set too,
	// the sign-in is refused after OnSignIn, before anything is stored, unless
	// credentials were entered for it; Connect asks for them if the browser has
	// no valid session.
	Connecting  bool
	MakeSession bool
	// ReplaceAccount allows the account if UserKey has connected another one,
	// whose tokens are then deleted. ShareAccount allows it if another user has
	// connected it. Otherwise the sign-in ends on a page with status 403.
	ReplaceAccount, ShareAccount bool
}

const maxAppData = 512 // bytes

// Format implements [fmt.Formatter]. It prints no secret and no key,
// whatever the verb. Do not print a struct that has a Config in an unexported
// field: package fmt then ignores this method.
func (c Config) Format(f fmt.State, verb rune) {
	fmt.Fprintf(f, "msauth.Config{ClientID:%q BaseURL:%q}", c.ClientID, c.BaseURL)
}

// LogValue implements [slog.LogValuer]. The value contains no secrets.
func (c Config) LogValue() slog.Value {
	return slog.GroupValue(slog.String("client_id", c.ClientID), slog.String("base_url", c.BaseURL))
}
