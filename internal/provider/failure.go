package provider

import (
	"fmt"
	"strings"
	"time"

	"example.com/msauth/internal/web"
)

// A Class says what a Failure means for the session. The values are those of Class
// in package msauth.
type Class string

const (
	// SignIn: the refresh token is no longer valid; the session ends.
	SignIn Class = "sign in again"
	// StepUp: the person must do more at the sign-in page, such as give consent
	// or another factor; the session is kept until then.
	StepUp Class = "step up"
	// Retry: a temporary fault; nothing is lost.
	Retry Class = "retry"
	// Misconfigured: the provider refuses the app, not the person.
	Misconfigured Class = "app misconfigured"
	// Declined: the person canceled or refused consent.
	Declined Class = "declined"
	// NotAllowed: the account may not use this app. This package never uses it.
	NotAllowed Class = "not allowed"
	// Replay: the authorization code was used before, or belongs to another
	// attempt; the person must start again.
	Replay Class = "replay"
)

// MaxRetryAfter is the longest wait that a Failure names.
const MaxRetryAfter = web.MaxRetryAfter

// A Failure is a refusal or a failure at the provider. Its fields are those of
// AuthError in package msauth. It holds no token, code or secret. It may be shared:
// whoever needs another one changes a copy.
type Failure struct {
	// Class says what the failure means for the session.
	Class Class
	// StatusCode is the HTTP status of the reply; 0 if there was none.
	StatusCode int
	// Code is the OAuth error code (RFC 6749 section 5.2); "" if the reply had
	// none. This and the provider's other texts are one line each.
	Code string
	// Suberror refines Code at Microsoft, for example "bad_token".
	Suberror string
	// Description is the provider's text for developers, at most 500 bytes.
	Description string
	// Numbers are the AADSTS numbers.
	Numbers []int
	// Claims is the claims challenge that the next sign-in must carry, JSON; "" if
	// there is none.
	Claims string
	// Scopes are those that the person has not granted, if that is the reason.
	Scopes []string
	// TraceID and CorrelationID identify the request at Microsoft's support.
	TraceID, CorrelationID string
	// RetryAfter is how long the provider asks to wait, at most MaxRetryAfter; 0
	// if it does not say.
	RetryAfter time.Duration
	// Err is the cause, if any.
	Err error
}

// Error describes the failure in one line, with advice to the operator if the app is
// misconfigured and the AADSTS number is known.
func (e *Failure) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "msauth: %s", e.Class)
	if e.Code != "" {
		fmt.Fprintf(&b, ": %s", e.Code)
		if e.Suberror != "" {
			fmt.Fprintf(&b, " (%s)", e.Suberror)
		}
	} else if e.StatusCode != 0 {
		fmt.Fprintf(&b, ": HTTP status %d", e.StatusCode)
	}
	if e.Description != "" {
		fmt.Fprintf(&b, ": %s", e.Description)
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	if e.Class == Misconfigured {
		b.WriteString(remedy(e.Numbers))
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Failure) Unwrap() error { return e.Err }

// RecoverInto, when deferred, turns a panic into a Failure of class Retry in *err. It
// is for goroutines of our own, in which a panic would end the process.
func RecoverInto(err *error) {
	if p := recover(); p != nil {
		*err = &Failure{Class: Retry, Err: fmt.Errorf("panic: %v", p)}
	}
}
