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

// A Session is what a handler sees of the person who is signed in. It is safe
// for concurrent use. Printing or logging it shows no token.
type Session struct {
	// User says who is signed in, as of the request's start.
	User User

	// AppData is what [Config.OnSignIn] left in [SignIn.AppData], such as the
	// app's own id for this person.
	AppData string

	tokens tokens
}

// tokens is where a Session gets its access tokens from and what is known
// about them.
type tokens interface {
	// token returns a token that has not expired, with these scopes or, if
	// there are none, the session's own.
	token(ctx context.Context, scopes []string) (*oauth2.Token, error)
	// memberOf returns those of the groups that the person is in.
	memberOf(ctx context.Context, u *User, groups []string) ([]string, error)
	// info describes the newest token without asking anybody.
	info() tokenInfo
	// transport adds tokens to requests for the hosts that may have them.
	transport(context.Context) http.RoundTripper
}

type tokenInfo struct {
	expiry, renewed, signedIn, ends, auth time.Time
	scopes                                []string
	rules                                 provider.Scopes
}

// User is a person's identity as Microsoft asserted it at sign-in or at the
// latest renewal. Only [User.Key] identifies: names and addresses change, may
// be chosen by others, and are for display only.
type User struct {
	// Issuer and Subject identify the person towards this app only (OpenID
	// Connect Core section 2).
	Issuer, Subject string

	// TenantID is the directory (tid) and ObjectID the person in it (oid),
	// both GUIDs in lower case; empty at providers that are not Microsoft. At
	// Azure AD B2C, whose tokens have no tid, TenantID is empty too, unless sub
	// is the sentence that is the same for everybody: then it is the directory
	// that the issuer names.
	TenantID, ObjectID string

	// Name is for greeting people. Not unique, changeable by the person.
	Name string
	// Username is preferred_username: what the person types to sign in. It
	// may be given to another person later; never a key.
	Username string
	// Email is for display and may be empty. Unless EmailVerified is set,
	// whoever administers the person's tenant can choose it freely; see
	// "Claims validation" at the Microsoft identity platform.
	Email         string
	EmailVerified bool

	// Roles are the app roles assigned to the person in this app.
	Roles []string
	// Groups are the ids of the person's groups, when the app registration
	// asks for that claim. GroupsOverage means that there are too many for a
	// token (over 200) or for the cookie, and that Groups is empty for that
	// reason.
	Groups        []string
	GroupsOverage bool

	// Claims are the further claims of the ID token that [Config.Claims]
	// names, as encoding/json decodes them. Like Roles and Groups they are this
	// request's own: changing them changes nothing elsewhere.
	Claims map[string]any
}

// Key is the stable key of the account, for the app's own database: tenant
// and object id ("tid.oid") in lower case for Microsoft accounts, and
// issuer + "#" + subject otherwise. At Azure AD B2C that is issuer + "#" +
// subject too, where TenantID is empty. It never changes between versions of
// this package, and no two people have the same: a token that does not tell
// them apart is refused. It is empty for the zero User.
func (u User) Key() string {
	a := provider.Account(u)
	return a.Key()
}

// Personal reports whether this is a personal Microsoft account (Outlook.com,
// Xbox, ...) and not one of a company or school.
func (u User) Personal() bool { return u.TenantID == provider.PersonalTenant }

// HasRole reports whether the person has been assigned the app role.
func (u User) HasRole(role string) bool {
	for _, r := range u.Roles {
		if r == role {
			return true
		}
	}
	return false
}

// Token returns an access token that has not expired, renewing it first when it
// has. Without scopes it is for Microsoft Graph, or whatever API the first of
// [Config.Scopes] belongs to. With scopes, of one API and at most 20, it has
// these: "api://orders/Orders.Read" for another API, or "Calendars.Read" for
// more of Graph. Such a token costs a request to Microsoft, if the person has
// granted the scopes, and is kept in memory until it expires. Its RefreshToken
// is always empty.
//
// The error is [ErrSignInRequired] when only the person can help, for example
// by granting the scopes: [Middleware.Challenge] asks them. It is
// [ErrTokenUnavailable] when waiting may help; both usually wrap an
// [AuthError].
func (s *Session) Token(ctx context.Context, scopes ...string) (*oauth2.Token, error) {
	if s == nil || s.tokens == nil {
		return nil, ErrNoSession
	}
	return s.tokens.token(ctx, scopes)
}

// TokenSource adapts [Session.Token] to libraries that take an
// [oauth2.TokenSource]. ctx bounds every renewal that it starts.
func (s *Session) TokenSource(ctx context.Context, scopes ...string) oauth2.TokenSource {
	return tokenSourceFunc(func() (*oauth2.Token, error) { return s.Token(ctx, scopes...) })
}

type tokenSourceFunc func() (*oauth2.Token, error)

func (f tokenSourceFunc) Token() (*oauth2.Token, error) { return f() }

// Client returns an HTTP client that adds an access token to requests for
// Microsoft Graph and for [Config.TokenHosts], each its own, over https (or to a
// loopback host), and to no others: a redirect to another host, such as a
// OneDrive download, is followed without the token. A request that comes with
// an Authorization header of its own is left alone. ctx bounds the renewals
// that the client starts; the requests have contexts of their own.
//
// A token that is refused with status 401 is replaced, and the request sent
// once more; so is one that does not meet a claims challenge, such as those of
// continuous access evaluation. Where only the person can help, the error is
// [ErrSignInRequired]. A response of status 429 or 503 to a request that may
// be repeated (RFC 9110 section 9.2.2) is waited out if it says Retry-After, at
// most twice and 10 seconds in all. Bodies that cannot be read again
// ([http.Request.GetBody]) are sent once.
func (s *Session) Client(ctx context.Context) *http.Client {
	if s == nil || s.tokens == nil {
		return &http.Client{Transport: failingTransport{ErrNoSession}}
	}
	return &http.Client{Transport: s.tokens.transport(ctx)}
}

// Expiry is when the current access token expires. It is the zero Time when
// that is not known.
func (s *Session) Expiry() time.Time { return s.info().expiry }

// Renewed is when the tokens were last issued: at sign-in or at the latest
// renewal.
func (s *Session) Renewed() time.Time { return s.info().renewed }

// SignedIn is when the person signed in.
func (s *Session) SignedIn() time.Time { return s.info().signedIn }

// AuthTime is when the person last entered their credentials at Microsoft, of
// which signing in here may have been none (claim auth_time, which the app
// registration must ask for). It is the zero Time when that is not known.
func (s *Session) AuthTime() time.Time { return s.info().auth }

// Ends is when the session ends whatever happens; see [Config.MaxAge]. It is the
// zero Time for one of [Middleware.Offline], which does not end by itself.
func (s *Session) Ends() time.Time { return s.info().ends }

// Scopes are the scopes that were granted, in the order in which Microsoft
// named them. They may be fewer or more than those asked for.
func (s *Session) Scopes() []string {
	return append([]string(nil), s.info().scopes...)
}

// HasScope reports whether a scope was granted: Microsoft may grant fewer than
// were asked for. It tells nothing of other APIs than that of [Config.Scopes].
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

// Format implements [fmt.Formatter]: whatever the verb, no token is shown.
func (s *Session) Format(f fmt.State, verb rune) {
	if s == nil {
		fmt.Fprint(f, "msauth.Session(nil)")
		return
	}
	fmt.Fprintf(f, "msauth.Session(%s)", s.User.Key())
}

// LogValue implements [slog.LogValuer]: a session logs as its account key.
func (s *Session) LogValue() slog.Value {
	if s == nil {
		return slog.StringValue("")
	}
	return slog.StringValue(s.User.Key())
}

type contextKey struct{}

// attached is a context with a session, if anybody is signed in, and which
// Middleware found it. Require trusts only its own.
type attached struct {
	context.Context
	session *Session
	by      *Middleware // nil for that of NewContext
	visit   *visit
	outer   *attached // what the context carried before
	// admitted is set where Require has let the request through.
	admitted atomic.Bool
}

func (a *attached) Value(key any) any {
	if key == (contextKey{}) {
		return a
	}
	return a.Context.Value(key)
}

// Format implements [fmt.Formatter]: contexts get printed.
func (a *attached) Format(f fmt.State, verb rune) {
	fmt.Fprintf(f, "%v.msauth(%v)", a.Context, a.session)
}

// attachedTo finds what the context carries of ours, or nil.
func attachedTo(ctx context.Context) *attached {
	a, _ := ctx.Value(contextKey{}).(*attached)
	return a
}

// attachedBy finds what one Middleware has put there, or nil.
func attachedBy(ctx context.Context, m *Middleware) *attached {
	a := attachedTo(ctx)
	for a != nil && a.by != m {
		a = a.outer
	}
	return a
}

// FromContext returns the live session of the request that ctx belongs to: where
// several Middlewares are around the handler, the one that the innermost
// [Middleware.Require] has admitted; that of the innermost [Middleware.Load]
// counts where no Require is around. ok is false when nobody is signed in, or
// when neither is around the handler; the session is then nil. See also
// [Middleware.FromContext].
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

// FromContext is the function of this name for the session of this Middleware
// alone, where there are several. A session of [NewContext] counts where this
// Middleware is not around the handler.
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

// NewContext returns a context that carries the session, for tests of
// handlers that call [FromContext]. [Middleware.Require] does not accept it:
// only a session that it read from the request itself opens a protected
// handler.
func NewContext(ctx context.Context, s *Session) context.Context {
	return &attached{Context: ctx, session: s, outer: attachedTo(ctx)}
}

// SessionParts are what [NewSessionFrom] makes a session of.
type SessionParts struct {
	User User
	// TokenSource may be nil: Token then fails with [ErrTokenUnavailable].
	// There is one token, whatever scopes are asked for.
	TokenSource oauth2.TokenSource
	// AppData is what [Session.AppData] is to be.
	AppData string
	// Scopes are the granted ones, as [Session.Scopes] and [Session.HasScope]
	// know them. Default none.
	Scopes []string
	// SignedIn, Renewed, Expiry, AuthTime and Ends are what the methods of a
	// [Session] by these names return. Default the zero Time.
	SignedIn, Renewed, Expiry, AuthTime, Ends time.Time
}

// NewSessionFrom makes a session out of parts, for tests of handlers and for
// programs that got their tokens elsewhere. Its Client sends the token to
// Microsoft Graph and to loopback hosts.
func NewSessionFrom(p SessionParts) *Session {
	return &Session{User: p.User, AppData: p.AppData, tokens: givenTokens{p.TokenSource, tokenInfo{
		expiry: p.Expiry, renewed: p.Renewed, signedIn: p.SignedIn, ends: p.Ends, auth: p.AuthTime,
		scopes: slices.Clone(p.Scopes),
		rules:  provider.NewScopes(provider.Entra, defaultAuthority, p.Scopes),
	}}}
}

// NewSession is [NewSessionFrom] of a person and a source of tokens, which may
// be nil.
func NewSession(u User, src oauth2.TokenSource) *Session {
	return NewSessionFrom(SessionParts{User: u, TokenSource: src})
}

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

// failingTransport is the transport of a client without a session.
type failingTransport struct{ err error }

func (t failingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		r.Body.Close()
	}
	return nil, t.err
}
