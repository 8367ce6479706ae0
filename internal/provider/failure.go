package provider

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Class says what a Failure means for the session: see Class of the root
// package, whose values these are.
type Class string

const (
	SignIn        Class = "sign in again"
	StepUp        Class = "step up"
	Retry         Class = "retry"
	Misconfigured Class = "app misconfigured"
	Declined      Class = "declined"
	NotAllowed    Class = "not allowed"
	Replay        Class = "replay"
)

// A Failure is a refusal or failure at the provider. The fields are explained at
// AuthError of the root package, which is this one in public. Many may hold the
// same one: it is never changed.
type Failure struct {
	Class                  Class
	StatusCode             int
	Code                   string
	Suberror               string
	Description            string
	Numbers                []int
	Claims                 string
	Scopes                 []string
	TraceID, CorrelationID string
	RetryAfter             time.Duration
	Err                    error
}

// Error describes the failure in one line.
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

// needsPerson reports whether nothing but the person at Microsoft's sign-in page
// helps.
func (e *Failure) needsPerson() bool { return e.Class == SignIn || e.Class == StepUp }

// remedy is what an operator can do about AADSTS numbers, as the end of a text.
func remedy(numbers []int) string {
	for _, number := range numbers {
		if remedy := remedies[number]; remedy != "" {
			return ". What helps: " + remedy
		}
	}
	return ""
}

// A GrantType is what a token request asks for. The same refusal means
// different things: a bare invalid_grant is a code that was used before, the
// end of a session, or a scope that the person has not granted.
type GrantType int

const (
	grantCode    GrantType = iota // a session, for an authorization code
	GrantRenewal                  // newer tokens for a session
	GrantScopes                   // a token for other scopes than the session's own
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
func classify(status int, code, suberror string, asked GrantType) Class {
	suberror = strings.ToLower(suberror)
	switch {
	case status == http.StatusTooManyRequests || status == http.StatusRequestTimeout || status >= 500:
		return Retry // whatever the body says: a server in trouble ends nobody's session
	case code == "":
		return Retry // not an OAuth reply: a proxy, a captive portal, a broken front end
	case slices.Contains(personErrors, suberror):
		return StepUp
	case slices.Contains(deadErrors, suberror) && asked == grantCode:
		return Replay
	case slices.Contains(deadErrors, suberror):
		return SignIn
	case suberror == "client_mismatch":
		return Misconfigured
	case slices.Contains(personErrors, code):
		return StepUp
	}
	switch code {
	case "invalid_grant":
		switch asked {
		case grantCode:
			return Replay
		case GrantScopes:
			// Personal accounts say no more of a scope that was not granted
			// (AADSTS70000), and work accounts did not always (AADSTS65001).
			return StepUp
		}
		return SignIn
	case "temporarily_unavailable", "server_error", "slow_down", "rate_limit":
		return Retry
	}
	return Misconfigured
}

const (
	loopDetected = 50196 // AADSTS: too many requests alike, whoever makes them
	// loopPatience is how long to wait then, if Microsoft does not say.
	loopPatience = 1 * time.Minute
	// SpaPlatform is AADSTS9002327: a code that only a browser may redeem.
	SpaPlatform = 9002327
)

// remedies say what an operator has to change, by AADSTS number ("Microsoft
// Entra authentication and authorization error codes").
var remedies = map[int]string{
	50011:       `register BaseURL + "/callback" as a redirect URI of the platform Web (Authentication)`,
	500112:      `register BaseURL + "/callback" as a redirect URI of the platform Web (Authentication)`,
	SpaPlatform: `BaseURL + "/callback" is registered for a single-page application: remove it there and register it on the platform Web (Authentication)`,
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

// ClassifyAnswer sorts an error that came back from the authorization
// endpoint (RFC 6749 section 4.1.2.1; OpenID Connect Core section 3.1.2.6).
func ClassifyAnswer(code, subcode string) Class {
	switch {
	case code == "access_denied", subcode == "cancel":
		return Declined
	case code == "temporarily_unavailable", code == "server_error":
		return Retry
	case code == "login_required", code == "interaction_required", code == "consent_required",
		code == "account_selection_required":
		return Replay
	}
	return Misconfigured
}

// AADSTSNumbers reads the numbers out of texts such as "AADSTS50011: The redirect
// URI ...".
func AADSTSNumbers(description string) []int {
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
