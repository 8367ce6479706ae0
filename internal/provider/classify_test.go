package provider

import (
	"slices"
	"strings"
	"testing"
)

// Whatever a reply says, there is a class, and only certain codes end a session.
func TestClassesAreTotal(t *testing.T) {
	t.Parallel()
	words := []string{"", "invalid_grant", "interaction_required", "consent_required", "login_required", "invalid_client",
		"unauthorized_client", "temporarily_unavailable", "server_error", "access_denied", "user_password_expired", "INVALID_GRANT", "x"}
	suberrors := []string{"", "bad_token", "BAD_TOKEN", "token_expired", "basic_action", "Basic_Action", "additional_action", "message_only", "consent_required",
		"user_password_expired", "protection_policy_required", "device_authentication_failed", "client_mismatch", "x"}
	for status := 0; status < 600; status++ {
		for _, code := range words {
			for _, suberror := range suberrors {
				for _, purpose := range []Purpose{purposeRedeem, PurposeRenewal, PurposeScopes} {
					got := classify(status, code, suberror, purpose)
					over := slices.Contains([]string{"bad_token", "token_expired"}, strings.ToLower(suberror))
					trouble := status >= 500 || status == 429 || status == 408
					switch {
					case got == Declined || got == NotAllowed || got == "":
						t.Fatalf("%d %q %q: class %q", status, code, suberror, got)
					case trouble && got != Retry:
						t.Fatalf("%d %q %q: class %q, want %q", status, code, suberror, got, Retry)
					case got == SignIn && purpose == purposeRedeem:
						t.Fatalf("%d %q %q: a code ends a session", status, code, suberror)
					case got == SignIn && !over && (code != "invalid_grant" || purpose == PurposeScopes):
						t.Fatalf("%d %q %q: ends a session", status, code, suberror)
					case got == Replay && purpose != purposeRedeem:
						t.Fatalf("%d %q %q: a renewal is no replay", status, code, suberror)
					case classify(status, code, strings.ToUpper(suberror), purpose) != got:
						t.Fatalf("%d %q %q: another class in upper case", status, code, suberror)
					}
				}
			}
		}
	}
}

func TestClassOfRefusals(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name           string
		status         int
		code, suberror string
		redeemed       Class // of a code
		renewal, other Class
	}{
		{"a bare invalid_grant", 400, "invalid_grant", "", Replay, SignIn, StepUp},
		{"revoked", 400, "invalid_grant", "bad_token", Replay, SignIn, SignIn},
		{"consent", 400, "invalid_grant", "consent_required", StepUp, StepUp, StepUp},
		{"another factor", 400, "interaction_required", "basic_action", StepUp, StepUp, StepUp},
		{"another client", 400, "invalid_grant", "client_mismatch", Misconfigured, Misconfigured, Misconfigured},
		{"the secret", 401, "invalid_client", "", Misconfigured, Misconfigured, Misconfigured},
		{"throttled", 429, "invalid_grant", "", Retry, Retry, Retry},
		{"an outage", 500, "invalid_grant", "bad_token", Retry, Retry, Retry},
		{"busy", 400, "temporarily_unavailable", "", Retry, Retry, Retry},
		{"a proxy", 403, "", "", Retry, Retry, Retry},
		{"unknown", 400, "new_error", "", Misconfigured, Misconfigured, Misconfigured},
	} {
		for purpose, want := range map[Purpose]Class{purposeRedeem: test.redeemed, PurposeRenewal: test.renewal, PurposeScopes: test.other} {
			if got := classify(test.status, test.code, test.suberror, purpose); got != want {
				t.Errorf("%s, purpose %d: class %q, want %q", test.name, purpose, got, want)
			}
		}
	}
}

func TestClassifyAnswer(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		code, subcode string
		want          Class
	}{
		{"access_denied", "", Declined},
		{"server_error", "cancel", Declined},
		{"server_error", "", Retry},
		{"temporarily_unavailable", "", Retry},
		{"login_required", "", Replay},
		{"interaction_required", "", Replay},
		{"consent_required", "", Replay},
		{"account_selection_required", "", Replay},
		{"invalid_request", "", Misconfigured},
		{"unauthorized_client", "", Misconfigured},
		{"", "", Misconfigured},
	} {
		if got := ClassifyAnswer(test.code, test.subcode); got != test.want {
			t.Errorf("%q, %q: class %q, want %q", test.code, test.subcode, got, test.want)
		}
	}
}
