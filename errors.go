package msauth

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
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
func (e *AuthError) Error() string {
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
	if e.Class == ClassMisconfigured {
		b.WriteString(remedy(e.Numbers))
	}
	return b.String()
}

// remedy is what an operator can do about AADSTS numbers, as the end of a text.
func remedy(numbers []int) string {
	for _, number := range numbers {
		if remedy := remedies[number]; remedy != "" {
			return ". What helps: " + remedy
		}
	}
	return ""
}

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

// A grantType is what a token request asks for. The same refusal means
// different things: a bare invalid_grant is a code that was used before, the
// end of a session, or a scope that the person has not granted.
type grantType int

const (
	grantCode    grantType = iota // a session, for an authorization code
	grantRenewal                  // newer tokens for a session
	grantScopes                   // a token for other scopes than the session's own
)

// personErrors are the values of suberror, or of error, that only the person can
// mend at Microsoft's sign-in page ("suberror" in the sources of MSAL, whose
// libraries compare it without regard to case).
var personErrors = []string{
	"basic_action", "additional_action", "message_only", "consent_required", "user_password_expired",
	"protection_policy_required", "device_authentication_failed", "insufficient_device_strength",
	"interaction_required", "login_required", "account_selection_required", "access_denied",
}

// deadErrors are the values of suberror that say that a refresh token is over.
var deadErrors = []string{"bad_token", "token_expired", "user_account_deleted"}

// classify sorts a failed token request.
func classify(status int, code, suberror string, asked grantType) Class {
	suberror = strings.ToLower(suberror)
	switch {
	case status == http.StatusTooManyRequests || status == http.StatusRequestTimeout || status >= 500:
		return ClassRetry // whatever the body says: a server in trouble ends nobody's session
	case code == "":
		return ClassRetry // not an OAuth reply: a proxy, a captive portal, a broken front end
	case slices.Contains(personErrors, suberror):
		return ClassStepUp
	case slices.Contains(deadErrors, suberror) && asked == grantCode:
		return ClassReplay
	case slices.Contains(deadErrors, suberror):
		return ClassSignIn
	case suberror == "client_mismatch":
		return ClassMisconfigured
	case slices.Contains(personErrors, code):
		return ClassStepUp
	}
	switch code {
	case "invalid_grant":
		switch asked {
		case grantCode:
			return ClassReplay
		case grantScopes:
			// Personal accounts say no more of a scope that was not granted
			// (AADSTS70000), and work accounts did not always (AADSTS65001).
			return ClassStepUp
		}
		return ClassSignIn
	case "temporarily_unavailable", "server_error", "slow_down", "rate_limit":
		return ClassRetry
	}
	return ClassMisconfigured
}

const (
	loopDetected = 50196 // AADSTS: too many requests alike, whoever makes them
	// loopPatience is how long to wait then, if Microsoft does not say.
	loopPatience = 1 * time.Minute
	// spaPlatform is AADSTS9002327: a code that only a browser may redeem.
	spaPlatform = 9002327
)

// remedies say what an operator has to change, by AADSTS number ("Microsoft
// Entra authentication and authorization error codes").
var remedies = map[int]string{
	50011:       `register BaseURL + "/callback" as a redirect URI of the platform Web (Authentication)`,
	500112:      `register BaseURL + "/callback" as a redirect URI of the platform Web (Authentication)`,
	spaPlatform: `BaseURL + "/callback" is registered for a single-page application: remove it there and register it on the platform Web (Authentication)`,
	700025:      `BaseURL + "/callback" is registered for a public client: remove it there and register it on the platform Web (Authentication)`,
	7000215:     `set Config.ClientSecret to the value of a client secret, not its ID (Certificates & secrets)`,
	7000222:     `create a new client secret (Certificates & secrets) and set Config.ClientSecret to its value`,
	7000112:     `enable the application for sign-in (Enterprise applications, Properties)`,
	700016:      `compare Config.ClientID, Tenant and Authority with the app registration; another organization's administrator may have to consent first`,
	90002:       `compare Config.Tenant and Authority with the app registration`,
	900023:      `set Config.Tenant to common, organizations, consumers, a tenant id or a domain of the tenant`,
	50194:       `set Config.Tenant to the tenant of the app registration, or make that multitenant (Authentication)`,
	9002331:     `set Config.Tenant to consumers: the app registration is for personal accounts only`,
	9002346:     `set Config.Tenant to consumers: the app registration is for personal accounts only`,
	500011:      `Config.Scopes names an API that does not exist in this tenant: compare it with the API's Application ID URI`,
	650052:      `an administrator of the tenant has to add the API (its service principal) first`,
	650053:      `compare the scopes with those that the API defines (Expose an API)`,
	70011:       `compare the scopes with those that the API defines; "/.default" goes with no other scope`,
	90009:       `name the scopes of the app's own API by its GUID: <client id>/name in place of api://<client id>/name`,
}

// classifyAnswer sorts an error that came back from the authorization
// endpoint (RFC 6749 section 4.1.2.1; OpenID Connect Core section 3.1.2.6).
func classifyAnswer(code, subcode string) Class {
	switch {
	case code == "access_denied", subcode == "cancel":
		return ClassDeclined
	case code == "temporarily_unavailable", code == "server_error":
		return ClassRetry
	case code == "login_required", code == "interaction_required", code == "consent_required",
		code == "account_selection_required":
		return ClassReplay
	}
	return ClassMisconfigured
}

// aadsts reads the numbers out of texts such as "AADSTS50011: The redirect
// URI ...".
func aadsts(description string) []int {
	var numbers []int
	for rest := description; len(numbers) < 8; {
		_, after, found := strings.Cut(rest, "AADSTS")
		if !found {
			break
		}
		end := 0
		for end < len(after) && end < 9 && after[end] >= '0' && after[end] <= '9' {
			end++
		}
		if n, err := strconv.Atoi(after[:end]); err == nil {
			numbers = append(numbers, n)
		}
		rest = after[end:]
	}
	return numbers
}

// oneLine makes a foreign text fit for a log line: printable, without line
// breaks or direction marks, at most limit bytes.
func oneLine(s string, limit int) string {
	if len(s) > 4*limit {
		s = s[:4*limit]
	}
	s = strings.ReplaceAll(s, "\r\n", "\n")
	s = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' || r == '\t' {
			return ' '
		}
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return -1
		}
		return r
	}, s)
	if len(s) <= limit {
		return s
	}
	cut := limit
	for cut > 0 && s[cut]&0xC0 == 0x80 {
		cut--
	}
	return s[:cut] + "..."
}

// fieldError is how [New] names what is wrong.
func fieldError(field, format string, args ...any) error {
	return fmt.Errorf("msauth: Config.%s %s", field, fmt.Sprintf(format, args...))
}
