package msauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"example.com/msauth/internal/bearer"
	"example.com/msauth/internal/provider"
	"golang.org/x/oauth2"
)

// FromContext returns the live session of the request that ctx belongs to. If
// nobody is signed in, or the handler is wrapped in neither [Middleware.Load]
// nor [Middleware.Require], s is nil and ok is false.
//
// If several Middlewares wrap the handler, FromContext returns the session of
// the innermost [Middleware.Require] that admitted the request or, if there is
// none, of the innermost [Middleware.Load]. See also [Middleware.FromContext].
func FromContext(ctx context.Context) (s *Session, ok bool) {
	innermost := attachedTo(ctx)
	if innermost == nil {
		return nil, false
	}
	s = innermost.session
	for a := innermost; a != nil && innermost.by != nil; a = a.outer {
		if a.admitted.Load() {
			s = a.session
			break
		}
	}
	return s, s != nil
}

// FromContext is like the function [FromContext], but returns only the session
// of m, for handlers that several Middlewares wrap. A session from [NewContext]
// is returned only if m does not wrap the handler.
func (m *Middleware) FromContext(ctx context.Context) (s *Session, ok bool) {
	a := attachedBy(ctx, m)
	if a == nil {
		a = attachedBy(ctx, nil)
	}
	if a != nil {
		s = a.session
	}
	return s, s != nil
}

// A Session is the session of a signed-in user, as a handler sees it. It is
// safe for concurrent use. Printing or logging it reveals no token.
type Session struct {
	// User is the signed-in user, as of the start of the request.
	User User

	// AppData is what [Config.OnSignIn] stored in [SignIn.AppData], such as the
	// app's own ID for the user.
	AppData string

	tokens tokens
}

// Token returns an access token that has not expired, renewing it first if
// necessary. Its RefreshToken field is always empty.
//
// Without scopes, the token is for the API of the first of [Config.Scopes],
// usually Microsoft Graph. Otherwise, it has the given scopes, which must be at
// most 20 and belong to one API: "api://orders/Orders.Read" for another API, or
// "Calendars.Read" for more of Graph. If the user has granted the scopes, such
// a token takes one request to Microsoft and is kept in memory until it
// expires.
//
// The error matches [ErrSignInRequired] if only the user can help, for example
// by granting the scopes: [Middleware.Challenge] asks them to. It matches
// [ErrTokenUnavailable] if trying again later may succeed. In both cases, its
// chain usually contains an [AuthError] with the details.
func (s *Session) Token(ctx context.Context, scopes ...string) (*oauth2.Token, error) {
	if s == nil || s.tokens == nil {
		return nil, ErrNoSession
	}
	return s.tokens.token(ctx, scopes)
}

// TokenSource returns an [oauth2.TokenSource] whose Token method calls
// [Session.Token] with the given scopes, for libraries that accept one. ctx
// bounds all renewals that the source starts.
func (s *Session) TokenSource(ctx context.Context, scopes ...string) oauth2.TokenSource {
	return tokenSourceFunc(func() (*oauth2.Token, error) { return s.Token(ctx, scopes...) })
}

type tokenSourceFunc func() (*oauth2.Token, error)

func (f tokenSourceFunc) Token() (*oauth2.Token, error) { return f() }

// Client returns an HTTP client that adds an access token to requests for
// Microsoft Graph and the hosts in [Config.TokenHosts]. Each host gets a token
// of its own, and only over https, or over http to a loopback host. Requests to
// any other host carry no token; neither do redirects there, such as those to
// OneDrive downloads. A request that already has an Authorization header is
// sent unchanged. ctx bounds the renewals that the client starts; each request
// has its own context.
//
// If an API refuses a token with status 401 or a claims challenge, such as
// those of continuous access evaluation, the client gets another token and
// sends the request once more. If only the user can help, the error matches
// [ErrSignInRequired].
//
// After a response with status 429 or 503 and a Retry-After header, the client
// waits and repeats the request if it is idempotent (RFC 9110 section 9.2.2):
// at most twice, and waiting at most 10 seconds in total. A request whose body
// cannot be read again ([http.Request.GetBody]) is sent only once.
func (s *Session) Client(ctx context.Context) *http.Client {
	if s == nil || s.tokens == nil {
		return &http.Client{Transport: failingTransport{ErrNoSession}}
	}
	return &http.Client{Transport: s.tokens.transport(ctx)}
}

// Expiry returns the time at which the current access token expires, or the
// zero Time if it is unknown.
func (s *Session) Expiry() time.Time { return s.info().expiry }

// Renewed returns the time at which the tokens were last issued, at sign-in or
// at the latest renewal.
func (s *Session) Renewed() time.Time { return s.info().renewed }

// SignedIn returns the time at which the user signed in to the app.
func (s *Session) SignedIn() time.Time { return s.info().signedIn }

// AuthTime returns the time at which the user last entered credentials at
// Microsoft, which signing in to the app does not always require. It comes from
// the claim auth_time, which the app registration must request, and is the zero
// Time if unknown.
func (s *Session) AuthTime() time.Time { return s.info().auth }

// Ends returns the time at which the session ends at the latest; see
// [Config.MaxAge]. It is the zero Time for a session from [Middleware.Offline],
// which does not end by itself.
func (s *Session) Ends() time.Time { return s.info().ends }

// Scopes returns the granted scopes in the order in which Microsoft listed
// them. There may be fewer or more of them than were requested.
func (s *Session) Scopes() []string {
	return append([]string(nil), s.info().scopes...)
}

// HasScope reports whether scope was granted: Microsoft may grant fewer scopes
// than were requested. It covers only the API that [Config.Scopes] belong to.
func (s *Session) HasScope(scope string) bool {
	info := s.info()
	return len(info.rules.Missing(strings.Join(info.scopes, " "), []string{scope})) == 0
}

func (s *Session) info() tokenInfo {
	if s == nil || s.tokens == nil {
		return tokenInfo{}
	}
	return s.tokens.info()
}

// Format implements [fmt.Formatter]. It prints no token, whatever the verb.
func (s *Session) Format(f fmt.State, verb rune) {
	if s == nil {
		fmt.Fprint(f, "msauth.Session(nil)")
		return
	}
	fmt.Fprintf(f, "msauth.Session(%s)", s.User.Key())
}

// LogValue implements [slog.LogValuer]. The value is the [User.Key] of the
// session's user.
func (s *Session) LogValue() slog.Value {
	if s == nil {
		return slog.StringValue("")
	}
	return slog.StringValue(s.User.Key())
}

// User is a user's identity, as the identity provider asserted it at sign-in or
// at the latest renewal. Only [User.Key] identifies a user: names and e-mail
// addresses change, may be chosen by others, and are for display only.
type User struct {
	// Issuer and Subject identify the user, but only to this app (OpenID
	// Connect Core section 2). At Live Connect they are "https://login.live.com" and
	// the uid of the authentication token, in lower case.
	Issuer, Subject string

	// TenantID is the user's directory (claim tid) and ObjectID the user's ID
	// in it (claim oid). Both are GUIDs in lower case, and empty for Live Connect
	// and for providers other than Microsoft. Tokens of Azure AD B2C have no tid: TenantID is
	// then empty too, unless sub is the sentence that B2C sends for every user;
	// in that case, it is the directory that the issuer names.
	TenantID, ObjectID string

	// Name is the name to greet the user by. It is not unique, and the user can
	// change it.
	Name string
	// Username is what the user types to sign in (claim preferred_username). It
	// may be reassigned to another user: never use it as a key.
	Username string
	// Email is for display and may be empty. Unless EmailVerified is set, the
	// administrator of the user's tenant can set it to any address; see "Claims
	// validation" at the Microsoft identity platform.
	Email         string
	EmailVerified bool

	// Roles are the app roles assigned to the user in this app.
	Roles []string
	// Groups are the IDs of the user's groups, if the app registration requests
	// that claim. If there are too many for a token (over 200) or for the
	// cookie, Groups is empty and GroupsOverage is set.
	Groups        []string
	GroupsOverage bool

	// Claims are the claims of the ID token named by [Config.Claims], as
	// decoded by encoding/json. Like Roles and Groups, they belong to this
	// request: changes to them affect no other request.
	Claims map[string]any
}

// Key returns the stable key of the account, for use in the app's own database.
// For Microsoft accounts, it is the tenant and object ID ("tid.oid") in lower
// case; for all others, and for Azure AD B2C where TenantID is empty, it is
// issuer + "#" + subject. It is empty for the zero User.
//
// No two users have the same key, because a token that does not tell them apart
// is refused, and the key of an account never changes between versions of this
// package.
func (u User) Key() string {
	a := provider.Account(u)
	return a.Key()
}

// Personal reports whether the user has a personal Microsoft account
// (Outlook.com, Xbox, ...) rather than one of a company or school.
func (u User) Personal() bool {
	a := provider.Account(u)
	return a.Personal()
}

// HasRole reports whether the user has been assigned the app role.
func (u User) HasRole(role string) bool {
	for _, r := range u.Roles {
		if r == role {
			return true
		}
	}
	return false
}

// tokens provides the access tokens of a Session.
type tokens interface {
	// token returns a token that has not expired. It has the given scopes, or
	// the session's own if there are none.
	token(ctx context.Context, scopes []string) (*oauth2.Token, error)
	// memberOf returns those of the groups that the user is in.
	memberOf(ctx context.Context, u *User, groups []string) ([]string, error)
	// authenticationToken returns the authentication token of Live Connect.
	authenticationToken() (string, error)
	// info describes the newest token without a request to Microsoft.
	info() tokenInfo
	// transport adds tokens to requests for the hosts that may receive them.
	transport(context.Context) http.RoundTripper
}

type tokenInfo struct {
	expiry, renewed, signedIn, ends, idle, auth time.Time
	scopes                                      []string
	rules                                       provider.Scopes
	bound                                       bool
}

type contextKey struct{}

// attached is a context with what a Middleware found out about the request.
// Require trusts only what its own Middleware attached.
type attached struct {
	context.Context
	session *Session    // nil if nobody is signed in
	by      *Middleware // nil for NewContext
	visit   *visit
	outer   *attached // from the context around this one
	// admitted is set once Require has let the request through.
	admitted atomic.Bool
}

func (a *attached) Value(key any) any {
	if key == (contextKey{}) {
		return a
	}
	return a.Context.Value(key)
}

// Format implements [fmt.Formatter], because apps print contexts.
func (a *attached) Format(f fmt.State, verb rune) {
	fmt.Fprintf(f, "%v.msauth(%v)", a.Context, a.session)
}

// attachedTo returns the innermost attached in ctx, or nil.
func attachedTo(ctx context.Context) *attached {
	a, _ := ctx.Value(contextKey{}).(*attached)
	return a
}

// attachedBy returns the innermost attached of m in ctx, or nil.
func attachedBy(ctx context.Context, m *Middleware) *attached {
	a := attachedTo(ctx)
	for a != nil && a.by != m {
		a = a.outer
	}
	return a
}

// NewContext returns a copy of ctx that carries s, for testing handlers that
// call [FromContext]. [Middleware.Require] does not accept s: it lets a request
// through only with a session that it read from that request itself.
func NewContext(ctx context.Context, s *Session) context.Context {
	return &attached{Context: ctx, session: s, outer: attachedTo(ctx)}
}

// NewSession returns a session of u with tokens from src, which may be nil. It
// is a short form of [NewSessionFrom].
func NewSession(u User, src oauth2.TokenSource) *Session {
	return NewSessionFrom(SessionParts{User: u, TokenSource: src})
}

// NewSessionFrom returns a session made of the given parts, for testing
// handlers and for programs that got their tokens elsewhere. Its Client sends
// the token to Microsoft Graph and to loopback hosts.
func NewSessionFrom(p SessionParts) *Session {
	return &Session{User: p.User, AppData: p.AppData, tokens: givenTokens{p.TokenSource, tokenInfo{
		expiry: p.Expiry, renewed: p.Renewed, signedIn: p.SignedIn, ends: p.Ends, auth: p.AuthTime,
		scopes: slices.Clone(p.Scopes),
		rules:  provider.NewScopes(provider.Entra, defaultAuthority, p.Scopes),
	}}}
}

// SessionParts are the parts of a session for [NewSessionFrom].
type SessionParts struct {
	User User
	// TokenSource supplies the only token, whatever scopes are requested. If
	// it is nil, [Session.Token] fails with [ErrTokenUnavailable].
	TokenSource oauth2.TokenSource
	// AppData becomes [Session.AppData].
	AppData string
	// Scopes are the granted scopes, for [Session.Scopes] and
	// [Session.HasScope]. Default none.
	Scopes []string
	// SignedIn, Renewed, Expiry, AuthTime and Ends are returned by the methods
	// of [Session] with these names. Default the zero Time.
	SignedIn, Renewed, Expiry, AuthTime, Ends time.Time
}

// givenTokens are the tokens of a session made by NewSessionFrom.
type givenTokens struct {
	src   oauth2.TokenSource
	about tokenInfo
}

func (g givenTokens) token(context.Context, []string) (*oauth2.Token, error) {
	if g.src == nil {
		return nil, ErrTokenUnavailable
	}
	t, err := g.src.Token()
	if err != nil {
		if errors.Is(err, ErrSignInRequired) || errors.Is(err, ErrTokenUnavailable) {
			return nil, err
		}
		return nil, fmt.Errorf("%w: %w", ErrTokenUnavailable, err)
	}
	return t, nil
}

func (g givenTokens) info() tokenInfo { return g.about }

func (g givenTokens) memberOf(_ context.Context, u *User, groups []string) ([]string, error) {
	if u.GroupsOverage {
		return nil, ErrTokenUnavailable
	}
	return among(u.Groups, groups), nil
}

func (g givenTokens) transport(ctx context.Context) http.RoundTripper {
	hosts := map[string][]string{}
	for _, host := range provider.GraphHosts(defaultAuthority) {
		hosts[host] = nil
	}
	return &bearer.Transport{
		Ctx:   ctx,
		Token: g.token,
		Hosts: hosts,
		Local: true,
		Base:  http.DefaultTransport,
	}
}

// failingTransport fails every request, for a client without a session.
type failingTransport struct{ err error }

func (t failingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		r.Body.Close()
	}
	return nil, t.err
}
