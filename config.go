package msauth

import (
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/gorilla/sessions"
)

// Config says who the app is at Microsoft, who may sign in, and how sessions
// are kept. ClientID, ClientSecret, BaseURL and Keys have no defaults; the zero
// value of every other field is a good choice. [New] copies what it needs.
type Config struct {
	// ClientID and ClientSecret are the "Application (client) ID" and the
	// value (not the id) of a client secret of the app registration.
	ClientID     string
	ClientSecret string

	// Tenant says whose accounts are asked to sign in: "common" (work, school
	// and personal), "organizations" (work and school), "consumers"
	// (personal), a tenant id, or a domain name of a tenant. Default
	// "common".
	Tenant string

	// AllowedTenants narrows "common" or "organizations" to the tenants with
	// these ids. Personal accounts are tenant
	// 9188040d-6c67-4c5b-b112-36a304b66dad. Anybody else is told so after
	// signing in, and existing sessions of others end. Default: all.
	AllowedTenants []string

	// Authority is the origin of the Microsoft cloud, without a path. Default
	// "https://login.microsoftonline.com"; others are
	// "https://login.microsoftonline.us" and
	// "https://login.partner.microsoftonline.cn". Plain http is accepted on
	// loopback hosts, for package msauthtest.
	Authority string

	// Issuer selects any other OpenID provider (Entra External ID and Azure AD
	// B2C among them) in place of Authority and Tenant: the URL below which
	// /.well-known/openid-configuration is found, exactly as the provider
	// names itself. The issuers of External ID and B2C are other URLs by
	// design: theirs is the one that discovery is read below, such as
	// "https://fabrikam.b2clogin.com/fabrikam.onmicrosoft.com/B2C_1_susi/v2.0"
	// or "https://fabrikam.ciamlogin.com/<tenant id>/v2.0".
	Issuer string

	// MicrosoftIssuer is the issuer that discovery below Issuer publishes,
	// where that is another: a custom domain of Entra External ID or Azure AD
	// B2C. It says that the provider is Microsoft's, and has the form
	// "https://<tenant id>.ciamlogin.com/<tenant id>/v2.0" or
	// "https://login.example.com/<tenant id>/v2.0/". Discovery must publish
	// exactly this; where it is missing, the error names the one that it
	// publishes. Issuers of B2C with /tfp/ in them are not supported. Default:
	// none is needed at ciamlogin.com and b2clogin.com.
	MicrosoftIssuer string

	// BaseURL is where people reach this Middleware, such as
	// "https://app.example.com/auth". BaseURL + "/callback" is the redirect
	// URI to register at Microsoft, and BaseURL + "/signed-out" a second one.
	// It is never guessed from a request, because the Host header is the
	// visitor's to choose. It must be https except on loopback hosts, where
	// http is for development: cookies then go without "Secure".
	BaseURL string

	// Scopes are what the app wants to do in the person's name, such as
	// "Files.Read", all of one API: the first access token is for that one.
	// openid, profile, email and offline_access are always asked for. Default
	// "User.Read" at Microsoft, nothing more elsewhere.
	Scopes []string

	// Keys seal the cookies: 32 random bytes each, for example from
	// "openssl rand -base64 32". The first seals, all open, so that keys can
	// be rotated: add the new key in second place on every server, then move
	// it to first place, and drop the old one MaxAge later (see Tokens).
	Keys [][]byte

	// Store keeps sessions on the server, for when cookies of 3 KB are not
	// wanted. Any gorilla store will do; what it keeps is sealed with Keys
	// all the same, each record for its place: a sign-in saves twice, because
	// most stores give the name of a record at its first save. Lift the store's
	// limit on the length of a record, which is 4096 bytes with most. Default:
	// sessions live in cookies.
	Store sessions.Store

	// Tokens keeps refresh tokens for the app's own users, so that it can act
	// for them with [Middleware.Offline] while they are away; the cookies of
	// these sign-ins carry none. [SignIn.UserKey] is the user. What is kept is sealed with
	// Keys: before an old key is dropped, [Middleware.Reseal] has to be called
	// for every user. It is sealed for this app too: what was kept is lost when
	// Authority, Tenant, ClientID or BaseURL change. Default: none are kept but
	// in sessions.
	Tokens TokenStore

	// User tells who is signed in to the app by the app's own means, as a key
	// of at most 255 bytes, not beginning with "msauth:", or "". [Middleware.Connect] needs it; it is asked
	// again when the person comes back from Microsoft: the app's own cookie has
	// to get to BaseURL, and cannot be SameSite=Strict.
	User func(r *http.Request) (key string)

	// CookieName is the session cookie's name after the "__Host-" prefix,
	// which every cookie of this package gets where BaseURL is https. Default "msauth-" and six
	// letters that differ between registrations, because apps on several
	// ports of one host share cookies.
	CookieName string

	// CookieBudget limits the bytes of all Set-Cookie lines of a session,
	// from 1024 to 7168. Raise it together with the header limits of the
	// proxies in front, of which nginx's 4 KB is the lowest in wide use. A
	// session over budget leaves out, in this order: the ID token for signing
	// out (kept at providers that are not Microsoft), the access token (it is
	// then fetched when asked for), the groups, the claims named by Claims.
	// Default 3300, which leaves room for the other lines of an answer.
	CookieBudget int

	// Claims names further claims of the ID token to keep in [User.Claims].
	// Default none.
	Claims []string

	// MaxAge ends a session this long after sign-in, at most 400 days,
	// whatever happens: a further sign-in of the same person puts the end off
	// only if credentials were entered anew (claim auth_time). Default 7 days.
	MaxAge time.Duration

	// IdleTimeout ends a session that was not used for this long. Use is
	// noted in steps of IdleTimeout/24, so it may end one step early, never
	// late. A value of MaxAge or more switches it off. Default 24 hours.
	IdleTimeout time.Duration

	// SessionCookie makes browsers forget the session when they are closed,
	// for shared computers. Default: it stays until it ends.
	SessionCookie bool

	// RecheckAfter renews the tokens when they were issued this long ago,
	// even if they are valid for longer, so that a person who was disabled
	// or signed out everywhere by an administrator is out after at most this
	// time. A session without a refresh token ends then. At least one minute.
	// Default: when the access token is due, after about an hour; never where
	// a provider at Issuer gave no refresh token.
	RecheckAfter time.Duration

	// PostLogoutURL is where Microsoft sends people after they signed out:
	// an absolute URL that is registered as a redirect URI. Do not name a
	// page under Require: it would sign them straight in again. Default
	// BaseURL + "/signed-out".
	PostLogoutURL string

	// Home is the path of the site's home page, such as "/expenses/", with or
	// without a query: where pages of this package link to, and where people
	// come to after signing in if nothing else was wanted. Default: the parent
	// of BaseURL's path, "/expenses/" for "https://corp.example/expenses/auth"
	// and "/" for "https://app.example.com/auth".
	Home string

	// TokenHosts are further hosts, such as "api.example.com" or
	// "localhost:8081", to which [Session.Client] sends an access token: one
	// with the scopes that are named, such as "api://orders/.default", all of
	// one API, or the session's own where there are none. Default: Microsoft
	// Graph of the Authority's cloud only.
	TokenHosts map[string][]string

	// ContinuousAccess declares to Microsoft that the app handles claims
	// challenges (client capability "cp1"): handlers use [Session.Client], or
	// hand the errors of APIs to [Middleware.Challenge]. Access tokens then
	// live up to 28 hours, and are refused within minutes when a person is
	// disabled or changes their password. See "Continuous access evaluation"
	// of the Microsoft identity platform. Default: not declared.
	ContinuousAccess bool

	// OnSignIn is called once per sign-in, after all checks and before the
	// session is made. It may refuse the person by returning an error, link
	// them to the app's own user, set cookies of the app's own on w, and
	// change AppData and ReturnTo. It must not write a response. A refusal
	// is shown as a page with status 403 that does not show the error's text;
	// Config.Page sees it. Default: everybody whom Microsoft vouches for and
	// AllowedTenants admits.
	OnSignIn func(w http.ResponseWriter, r *http.Request, s *SignIn) error

	// Page replaces the HTML of every page that this package shows: errors,
	// "signed out", "confirm sign-out". The strict headers are set before
	// it is called and may be changed by it; it writes status and body.
	// Default: plain, accessible English pages.
	Page func(w http.ResponseWriter, r *http.Request, p Page)

	// HTTPClient reaches Microsoft. Redirects are never followed with it,
	// replies are bounded in bytes. Default: a client with a timeout of 15
	// seconds that honours HTTPS_PROXY.
	HTTPClient *http.Client

	// Logger receives what happens, never a token, code, key or cookie. Where
	// its handler panics, the line is lost, and nothing else.
	// Default [slog.Default] at the time of New.
	Logger *slog.Logger

	// InsecureCookies permits a BaseURL of plain http on other hosts than
	// loopback. As on loopback, cookies then have neither "Secure" nor the
	// "__Host-" prefix: anybody on the network can take sessions over. For
	// development networks only.
	InsecureCookies bool
}

// SignIn is one sign-in as [Config.OnSignIn] sees it.
type SignIn struct {
	// Session is the session to be, usable for calls to Microsoft already.
	Session *Session
	// AppState is what [LoginOptions.AppState] held when the sign-in began.
	AppState string
	// AppData becomes [Session.AppData]: at most 512 bytes.
	AppData string
	// ReturnTo is the local path that the person will come to. Anything that
	// is not a path on this site is replaced by [Config.Home].
	ReturnTo string

	// UserKey is the app's user under whom [Config.Tokens] keeps the tokens, at
	// most 255 bytes, not beginning with "msauth:"; "" keeps nothing. Where Connect began this it is the user
	// who connects; else the [User.Key] of the account or, where [Config.User]
	// is set, nobody: an app with users of its own puts theirs here. They are
	// kept after OnSignIn has returned: that it was called does not mean that
	// they are.
	UserKey string
	// Connecting is set when [Middleware.Connect] began this for UserKey, who
	// [Config.User] says is still there. No session is made then, unless
	// MakeSession is set.
	Connecting  bool
	MakeSession bool
	// ReplaceAccount allows this account where UserKey has connected another,
	// whose tokens are then forgotten; ShareAccount allows one that another
	// user has connected. Otherwise the sign-in ends on a page with status 403.
	ReplaceAccount, ShareAccount bool
}

const (
	defaultAuthority   = "https://login.microsoftonline.com"
	defaultMaxAge      = 7 * 24 * time.Hour
	defaultIdleTimeout = 24 * time.Hour

	defaultCookieBudget = 3300
	largestCookieBudget = 7168
	maxAppData          = 512
	maxHome             = 200
)

// Format implements [fmt.Formatter]: whatever the verb, ClientSecret and Keys
// are not shown. Package fmt takes no notice of that for a Config in an
// unexported field of another struct: do not print such a struct.
func (c Config) Format(f fmt.State, verb rune) {
	fmt.Fprintf(f, "msauth.Config{ClientID:%q BaseURL:%q}", c.ClientID, c.BaseURL)
}

// LogValue implements [slog.LogValuer], without secrets.
func (c Config) LogValue() slog.Value {
	return slog.GroupValue(slog.String("client_id", c.ClientID), slog.String("base_url", c.BaseURL))
}
