package provider

import (
	"net/http"
	"slices"
	"strings"
)

// A Purpose says what a token request is for. The same refusal means different
// things: a bare invalid_grant is a code that was used before, the end of a
// session, or a scope that the person has not granted.
type Purpose int

const (
	purposeRedeem Purpose = iota // to redeem an authorization code
	// PurposeRenewal asks for new tokens of a session.
	PurposeRenewal
	// PurposeScopes asks for a token with other scopes than the session's own.
	PurposeScopes
)

// interactionErrors are the values of suberror, or of error, that the person can
// resolve at Microsoft's sign-in page, and nobody else. They are those that MSAL's
// libraries know, which compare suberror without regard to case.
var interactionErrors = []string{
	"basic_action", "additional_action", "message_only", "consent_required", "user_password_expired",
	"protection_policy_required", "device_authentication_failed", "insufficient_device_strength",
	"interaction_required", "login_required", "account_selection_required", "access_denied",
}

// endedErrors are the values of suberror that say that a refresh token is no longer
// valid.
var endedErrors = []string{"bad_token", "token_expired", "user_account_deleted"}

// classify returns the class of a failed token request. Status, suberror and error
// decide, in this order; the AADSTS numbers do not, because Microsoft may change
// them at any time.
func classify(status int, code, suberror string, purpose Purpose) Class {
	suberror = strings.ToLower(suberror)
	switch {
	case status == http.StatusTooManyRequests || status == http.StatusRequestTimeout || status >= 500:
		return Retry // whatever the body says: an outage must end no session
	case code == "":
		return Retry // not an OAuth reply: a proxy, a captive portal, a broken front end
	case slices.Contains(interactionErrors, suberror):
		return StepUp
	case slices.Contains(endedErrors, suberror) && purpose == purposeRedeem:
		return Replay
	case slices.Contains(endedErrors, suberror):
		return SignIn
	case suberror == "client_mismatch":
		return Misconfigured
	case slices.Contains(interactionErrors, code):
		return StepUp
	}
	switch code {
	case "invalid_grant":
		switch purpose {
		case purposeRedeem:
			return Replay
		case PurposeScopes:
			// A missing consent may come without a suberror, for personal accounts
			// (AADSTS70000) and sometimes for others (AADSTS65001).
			return StepUp
		}
		return SignIn
	case "temporarily_unavailable", "server_error", "slow_down", "rate_limit":
		return Retry
	}
	return Misconfigured
}

// ClassifyAnswer returns the class of an error that came back from the authorization
// endpoint (RFC 6749 section 4.1.2.1; OpenID Connect Core section 3.1.2.6). subcode
// is Microsoft's error_subcode.
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
