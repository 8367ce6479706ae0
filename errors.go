package msauth

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/renew"
	"example.com/msauth/internal/session"
)

// Errors to test for with [errors.Is].
var (
	// ErrNoSession means that nobody is signed in: there is no session, or it
	// ended while the caller was still using it.
	ErrNoSession = errors.New("msauth: nobody is signed in")

	// ErrSignInRequired means that the access token is not available until the
	// user returns to Microsoft's sign-in page: the grant was revoked, or
	// Microsoft or an API requires another factor or consent.
	// [Middleware.Challenge] sends the user there; so does the next navigation
	// to a handler under [Middleware.Require] if the session has no token at
	// all.
	ErrSignInRequired = errors.New("msauth: the user must sign in again")

	// ErrTokenUnavailable means that there is no access token at the moment,
	// because Microsoft cannot be reached, throttles requests, or refuses the
	// app itself. The session continues, and trying again later may succeed.
	ErrTokenUnavailable = errors.New("msauth: no access token available right now")

	// ErrCookieTooLarge means that a session does not fit into its cookies (or
	// its record in a store), even without everything that can be left out.
	ErrCookieTooLarge = errors.New("msauth: session too large")
)

// A Class says what an [AuthError] means for the session. Every failure at
// Microsoft has exactly one class, determined by HTTP status, suberror and
// error, in this order. AADSTS numbers are only for texts and logs, because
// Microsoft may change them at any time ("Handling errors and exceptions",
// Microsoft identity platform). The exception is AADSTS50196: Microsoft reports
// a loop in the same way as a revoked token, and only the number tells that
// waiting helps.
type Class string

const (
	// ClassSignIn: the grant is no longer valid; the session ends.
	ClassSignIn Class = "sign in again"
	// ClassStepUp: Microsoft or an API requires more of the user (another
	// factor, consent, a compliant device); the session is kept meanwhile.
	ClassStepUp Class = "step up"
	// ClassRetry: a temporary failure; the session is unaffected.
	ClassRetry Class = "retry"
	// ClassMisconfigured: Microsoft refuses the app, not the user, for example
	// because the client secret has expired.
	ClassMisconfigured Class = "app misconfigured"
	// ClassDeclined: the user pressed Cancel or declined consent.
	ClassDeclined Class = "declined"
	// ClassNotAllowed: the account is not allowed to use this app.
	ClassNotAllowed Class = "not allowed"
	// ClassReplay: the authorization code was used before, or belongs to
	// another sign-in; the user must start again.
	ClassReplay Class = "replay"
)

// An AuthError is a refusal by, or a failure at, the identity provider. Find it
// in an error chain with [errors.AsType]. It contains no token, code or secret.
// Its texts come from the provider and must be escaped before they are shown.
type AuthError struct {
	Class Class

	// StatusCode is the HTTP status of the response, or 0 if there was none or
	// the error arrived in the query of the callback.
	StatusCode int

	// Code is the OAuth error code, such as "invalid_grant" (RFC 6749 section
	// 5.2), or empty if the response had none.
	Code string
	// Suberror refines Code, for example "bad_token".
	Suberror string
	// Description is Microsoft's text for developers: one line of at most 500
	// bytes.
	Description string
	// Numbers are the AADSTS numbers, for texts and logs only.
	Numbers []int
	// Claims is the claims challenge, in JSON, that the next sign-in must
	// carry.
	Claims string
	// Scopes are the scopes that the user has not granted, if these are what is
	// missing. [Middleware.Challenge] asks for them: a handler that got a 403
	// from an API can pass it an AuthError of ClassStepUp with Scopes.
	Scopes []string
	// TraceID and CorrelationID identify the request to Microsoft's support.
	TraceID, CorrelationID string
	// RetryAfter is how long Microsoft asks to wait, at most one hour, or 0 if
	// it does not say.
	RetryAfter time.Duration

	// Err is the underlying error, if any: a network error, or the reason why
	// a response could not be used.
	Err error
}

// Error returns a description of the failure in one line.
func (e *AuthError) Error() string { return e.failure().Error() }

// Unwrap returns e.Err.
func (e *AuthError) Unwrap() error { return e.Err }

// Is reports whether e matches target, which may be [ErrSignInRequired] (for
// [ClassSignIn] and [ClassStepUp]) or [ErrTokenUnavailable] (for [ClassRetry]
// and [ClassMisconfigured]).
func (e *AuthError) Is(target error) bool {
	switch target {
	case ErrSignInRequired:
		return e.Class == ClassSignIn || e.Class == ClassStepUp
	case ErrTokenUnavailable:
		return e.Class == ClassRetry || e.Class == ClassMisconfigured
	}
	return false
}

// failure returns e as the internal packages represent it.
func (e *AuthError) failure() *provider.Failure {
	return &provider.Failure{
		Class: provider.Class(e.Class), StatusCode: e.StatusCode, Code: e.Code, Suberror: e.Suberror, Description: e.Description,
		Numbers: e.Numbers, Claims: e.Claims, Scopes: e.Scopes, TraceID: e.TraceID, CorrelationID: e.CorrelationID,
		RetryAfter: e.RetryAfter, Err: e.Err,
	}
}

// public replaces the errors of the internal packages in the chain of err: a
// Failure becomes an [AuthError] that the app is free to modify, and a sentinel
// error becomes the exported one. Every error that leaves this package passes
// through here, including those in log lines.
func public(err error) error {
	seen, another := publicly(err)
	if e, ok := seen.(*AuthError); ok && !another { // others may hold it too
		own := *e
		own.Numbers, own.Scopes = slices.Clone(e.Numbers), slices.Clone(e.Scopes)
		return &own
	}
	return seen
}

// publicly is public, and also reports whether it replaced anything.
func publicly(err error) (seen error, another bool) {
	switch e := err.(type) {
	case nil:
		return nil, false
	case *provider.Failure:
		return &AuthError{
			Class: Class(e.Class), StatusCode: e.StatusCode, Code: e.Code, Suberror: e.Suberror, Description: e.Description,
			Numbers: slices.Clone(e.Numbers), Claims: e.Claims, Scopes: slices.Clone(e.Scopes), TraceID: e.TraceID, CorrelationID: e.CorrelationID,
			RetryAfter: e.RetryAfter, Err: public(e.Err),
		}, true
	case *AuthError:
		below, another := publicly(e.Err)
		if !another { // the app's own errors above it keep their types
			return err, false
		}
		own := *e
		own.Numbers, own.Scopes, own.Err = slices.Clone(e.Numbers), slices.Clone(e.Scopes), below
		return &own, true
	case *url.Error: // apps test for it: keep the type
		below, another := publicly(e.Err)
		if !another {
			return err, false
		}
		return &url.Error{Op: e.Op, URL: e.URL, Err: below}, true
	}
	for _, sentinel := range sentinels {
		if err == sentinel.below {
			return sentinel.public, true
		}
	}
	var causes []error
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		causes = []error{e.Unwrap()}
	case interface{ Unwrap() []error }:
		causes = slices.Clone(e.Unwrap())
	}
	for i, cause := range causes {
		var made bool
		causes[i], made = publicly(cause)
		another = another || made
	}
	if !another {
		return err, false
	}
	return &publicError{err.Error(), causes}, true
}

// A publicError has the text of an error and its causes as made by public.
type publicError struct {
	text   string
	causes []error
}

func (e *publicError) Error() string { return e.text }

func (e *publicError) Unwrap() []error { return e.causes }

// sentinels maps sentinel errors of the internal packages to exported ones.
var sentinels = []struct{ below, public error }{
	{renew.ErrSessionOver, ErrNoSession},
	{session.ErrTooLarge, ErrCookieTooLarge},
	{renew.ErrNoTokens, ErrNoTokens},
	{renew.ErrConflict, ErrConflict},
	{renew.ErrAccountTaken, ErrAccountTaken},
}

// fieldError is an error of [New] about a field of Config.
func fieldError(field, format string, args ...any) error {
	return fmt.Errorf("msauth: Config.%s %s", field, fmt.Sprintf(format, args...))
}

// emptyEntry is an error of [New] about an entry of a list in Config.
func emptyEntry(field string, i int, want string) error {
	return fieldError(fmt.Sprintf("%s[%d]", field, i), "is empty: %s", want)
}
