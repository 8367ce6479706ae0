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
				for _, asked := range []GrantType{grantCode, GrantRenewal, GrantScopes} {
					got := classify(status, code, suberror, asked)
					over := slices.Contains([]string{"bad_token", "token_expired"}, strings.ToLower(suberror))
					trouble := status >= 500 || status == 429 || status == 408
					switch {
					case got == Declined || got == NotAllowed || got == "":
						t.Fatalf("%d %q %q: class %q", status, code, suberror, got)
					case trouble && got != Retry:
						t.Fatalf("%d %q %q: class %q, want %q", status, code, suberror, got, Retry)
					case got == SignIn && asked == grantCode:
						t.Fatalf("%d %q %q: a code ends a session", status, code, suberror)
					case got == SignIn && !over && (code != "invalid_grant" || asked == GrantScopes):
						t.Fatalf("%d %q %q: ends a session", status, code, suberror)
					case got == Replay && asked != grantCode:
						t.Fatalf("%d %q %q: a renewal is no replay", status, code, suberror)
					case classify(status, code, strings.ToUpper(suberror), asked) != got:
						t.Fatalf("%d %q %q: another class in upper case", status, code, suberror)
					}
				}
			}
		}
	}
}
