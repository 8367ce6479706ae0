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

// Errors a caller may want to branch on with [errors.Is].
var (
	// ErrNoSession means that nobody is signed in: there is no session, or it
	// has ended while the caller was still using it.
	ErrNoSession = errors.New("msauth: nobody is signed in")

	// ErrSignInRequired means that the session has no more tokens to give
	// until the person has been at Microsoft's sign-in page again: the grant
	// was revoked, or Microsoft or an API asks for another factor or for
	// consent. [Middleware.Challenge] leads there; so does the next navigation
	// to a handler under [Middleware.Require] where there is no token at all.
	ErrSignInRequired = errors.New("msauth: the person must sign in again")

	// ErrTokenUnavailable means that no access token can be had right now,
	// because Microsoft cannot be reached, throttles, or refuses the app
	// itself. The session lives on; asking again later may succeed.
	ErrTokenUnavailable = errors.New("msauth: no access token available right now")

	// ErrCookieTooLarge means that a session does not fit its cookies (or the
	// record of its store), even after everything that can be left out was.
	ErrCookieTooLarge = errors.New("msauth: session too large")
)

// A Class says what an [AuthError] means for the session. Every failure at
// Microsoft has exactly one, decided by HTTP status, suberror and error in this
// order. AADSTS numbers are for texts and logs, because Microsoft may change
// them at any time ("Handling errors and exceptions", Microsoft identity
// platform), but for AADSTS50196: Microsoft reports a loop as it reports a
// revoked token, and nothing but the number says that waiting helps.
type Class string

const (
	// ClassSignIn: the grant is gone; the session ends.
	ClassSignIn Class = "sign in again"
	// ClassStepUp: the person must do more (another factor, consent, a
	// compliant device); the session is kept until they have.
	ClassStepUp Class = "step up"
	// ClassRetry: a passing fault; nothing is lost.
	ClassRetry Class = "retry"
	// ClassMisconfigured: Microsoft refuses the app, not the person, for
	// example because its secret has expired.
	ClassMisconfigured Class = "app misconfigured"
	// ClassDeclined: the person pressed Cancel or refused consent.
	ClassDeclined Class = "declined"
	// ClassNotAllowed: the account is not one this app admits.
	ClassNotAllowed Class = "not allowed"
	// ClassReplay: the authorization code was used or does not belong to
	// this attempt; the person must start again.
	ClassReplay Class = "replay"
)

// AuthError is a refusal or failure at the identity provider. Find it in an
// error chain with [errors.AsType]. It holds no token, code or secret; its
// texts come from the provider and must be escaped before they are shown.
type AuthError struct {
	Class Class

	// StatusCode is the HTTP status of the reply, 0 when there was none or
	// when the error came back in the query of the callback.
	StatusCode int

	// Code is the OAuth error code such as "invalid_grant" (RFC 6749 section
	// 5.2), empty when the reply had none.
	Code string
	// Suberror refines Code, for example "bad_token".
	Suberror string
	// Description is Microsoft's text for developers: one line, at most 500
	// bytes.
	Description string
	// Numbers are the AADSTS numbers. For texts and logs only.
	Numbers []int
	// Claims is the claims challenge that the next sign-in must carry, JSON.
	Claims string
	// Scopes are those that the person has not granted, if that is what is
	// missing. [Middleware.Challenge] asks for them; so a handler to which an
	// API answers 403 can make an AuthError of ClassStepUp with Scopes.
	Scopes []string
	// TraceID and CorrelationID identify the request at Microsoft's support.
	TraceID, CorrelationID string
	// RetryAfter is how long Microsoft asks to wait, 0 when it does not say;
	// at most one hour.
	RetryAfter time.Duration

	// Err is the cause below, if any: a network error or the reason why a
	// reply could not be used.
	Err error
}

// Error describes the failure in one line.
func (e *AuthError) Error() string { return e.failure().Error() }

// Unwrap returns the cause.
func (e *AuthError) Unwrap() error { return e.Err }

// Is reports whether the failure amounts to [ErrSignInRequired] or
// [ErrTokenUnavailable].
func (e *AuthError) Is(target error) bool {
	switch target {
	case ErrSignInRequired:
		return e.Class == ClassSignIn || e.Class == ClassStepUp
	case ErrTokenUnavailable:
		return e.Class == ClassRetry || e.Class == ClassMisconfigured
	}
	return false
}

// failure is the error as the packages below have it.
func (e *AuthError) failure() *provider.Failure {
	return &provider.Failure{
		Class: provider.Class(e.Class), StatusCode: e.StatusCode, Code: e.Code, Suberror: e.Suberror, Description: e.Description,
		Numbers: e.Numbers, Claims: e.Claims, Scopes: e.Scopes, TraceID: e.TraceID, CorrelationID: e.CorrelationID,
		RetryAfter: e.RetryAfter, Err: e.Err,
	}
}

// public makes of an error of the packages below what an app sees: a Failure is
// an [AuthError], of which the app may change all, and their sentinel errors are
// this package's. Every error passes here where it leaves this package, and a
// log line's on its way to the app's log.
func public(err error) error {
	seen, _ := publicly(err)
	return seen
}

// publicly is public, and reports whether it made another error.
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
	case *AuthError: // some other request's too
		own := *e
		own.Numbers, own.Scopes, own.Err = slices.Clone(e.Numbers), slices.Clone(e.Scopes), public(e.Err)
		return &own, true
	case *url.Error: // which apps look for
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

// A publicError is the text of an error with the causes that an app may know of.
type publicError struct {
	text   string
	causes []error
}

func (e *publicError) Error() string { return e.text }

func (e *publicError) Unwrap() []error { return e.causes }

// sentinels are the errors of the packages below that have one of this package's
// in their place.
var sentinels = []struct{ below, public error }{
	{renew.ErrSessionOver, ErrNoSession},
	{session.ErrTooLarge, ErrCookieTooLarge},
	{renew.ErrNoTokens, ErrNoTokens},
	{renew.ErrConflict, ErrConflict},
	{renew.ErrAccountTaken, ErrAccountTaken},
}

// fieldError is how [New] names what is wrong.
func fieldError(field, format string, args ...any) error {
	return fmt.Errorf("msauth: Config.%s %s", field, fmt.Sprintf(format, args...))
}
