package provider

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestTokenSet(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_000_000, 0)
	for _, test := range []struct {
		name        string
		tokens      TokenSet
		due, usable bool
	}{
		{"new", TokenSet{Access: "a", RefreshAt: 1_000_001, Expiry: 1_000_002}, false, true},
		{"due", TokenSet{Access: "a", RefreshAt: 1_000_000, Expiry: 1_000_001}, true, true},
		{"expired", TokenSet{Access: "a", RefreshAt: 999_999, Expiry: 1_000_000}, true, false},
		{"without an access token", TokenSet{RefreshAt: 1_000_001, Expiry: 1_000_002}, false, false},
	} {
		if got := test.tokens.Due(now); got != test.due {
			t.Errorf("%s: due %t, want %t", test.name, got, test.due)
		}
		if got := test.tokens.Usable(now); got != test.usable {
			t.Errorf("%s: usable %t, want %t", test.name, got, test.usable)
		}
	}
	first := &TokenSet{Access: "a", Refresh: "old", Scopes: "openid"}
	if second := first.MovedTo("new"); first.Refresh != "old" || *second != (TokenSet{Access: "a", Refresh: "new", Scopes: "openid"}) {
		t.Error("MovedTo changes more than the refresh token of a copy")
	}
}

// The times of a token set follow from the reply, within bounds.
func TestLifetimes(t *testing.T) {
	t.Parallel()
	const hour = 3600
	for _, test := range []struct {
		name             string
		reply            map[string]any
		recheck          time.Duration
		expires          int64 // seconds from now
		earliest, latest int64 // bounds of RefreshAt
	}{
		{"an hour", map[string]any{"expires_in": hour}, 0, hour, hour - 450, hour - 300},
		{"a number in a text", map[string]any{"expires_in": "3600"}, 0, hour, hour - 450, hour - 300},
		{"not said", nil, 0, hour, hour - 450, hour - 300},
		{"nonsense", map[string]any{"expires_in": "soon"}, 0, hour, hour - 450, hour - 300},
		{"negative", map[string]any{"expires_in": -5}, 0, hour, hour - 450, hour - 300},
		{"a minute", map[string]any{"expires_in": 60}, 0, 60, 51, 54},
		{"a year", map[string]any{"expires_in": 365 * 24 * hour}, 0, 48 * hour, 48*hour - 450, 48*hour - 300},
		{"refresh_in", map[string]any{"expires_in": 24 * hour, "refresh_in": 12 * hour}, 0, 24 * hour, 12 * hour, 12 * hour},
		{"refresh_in after the end", map[string]any{"expires_in": hour, "refresh_in": 2 * hour}, 0, hour, hour - 450, hour - 300},
		{"rechecked sooner", map[string]any{"expires_in": hour}, time.Minute, hour, 60, 60},
		{"rechecked later", map[string]any{"expires_in": 60}, time.Hour, 60, 51, 54},
		{"an ID token alone", map[string]any{"access_token": nil, "id_token": "x.y.z", "id_token_expires_in": 600}, 0, 600, 510, 540},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				endpoint, web := plainEndpoint(t)
				endpoint.RecheckAfter = test.recheck
				body := map[string]any{"access_token": "a", "token_type": "Bearer", "refresh_token": "r"}
				for name, value := range test.reply {
					body[name] = value
				}
				web.set(otherBase+"/token", body)
				tokens, failure := endpoint.Redeem(t.Context(), "code", "verifier", "")
				if failure != nil {
					t.Fatal(failure)
				}
				now := time.Now().Unix()
				if tokens.Issued != now || tokens.Expiry != now+test.expires {
					t.Errorf("issued %d seconds ago, expires in %d, want %d", now-tokens.Issued, tokens.Expiry-now, test.expires)
				}
				if at := tokens.RefreshAt - now; at < test.earliest || at > test.latest {
					t.Errorf("renewed after %d seconds, want %d to %d", at, test.earliest, test.latest)
				}
			})
		})
	}
}
