package msauthtest_test

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/msauth/msauthtest"
)

// Signing out at the plain provider tells apps, with a logout token for each session
// that ends; signing out at Microsoft does not.
func TestBackChannelLogout(t *testing.T) {
	t.Parallel()
	got := make(chan string, 10)
	listener := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- r.Method + " " + r.FormValue("logout_token")
		w.WriteHeader(http.StatusBadRequest)
	}))
	defer listener.Close()
	a := newPlain(t, func(b *msauthtest.Behavior) {
		b.BackChannelLogout = []string{"http://127.0.0.1:1/", "://", listener.URL + "/out"}
	})
	a.signIn(msauthtest.Ada)
	if res, _ := a.get(a.ms.URL + "/common/oauth2/v2.0/logout"); res.StatusCode != http.StatusOK || len(got) != 0 {
		t.Errorf("at Microsoft: status %d, %d calls", res.StatusCode, len(got))
	}
	id := a.claims(a.signIn(msauthtest.Ada).IDToken)
	if res, _ := a.get(a.endpoint("oauth2/v2.0/logout")); res.StatusCode != http.StatusOK || len(got) != 1 {
		t.Fatalf("status %d, %d calls", res.StatusCode, len(got))
	}
	token, ok := strings.CutPrefix(<-got, "POST ")
	claims := a.claims(token)
	if !ok || claims["sid"] != id["sid"] || claims["sub"] != id["sub"] || claims["iss"] != id["iss"] || claims["aud"] != a.ms.ClientID {
		t.Errorf("%v, want those of %v", claims, id)
	}
	if events, _ := claims["events"].(map[string]any); len(events) != 1 || events["http://schemas.openid.net/event/backchannel-logout"] == nil {
		t.Errorf("events %v", claims["events"])
	}
	if names := slices.Sorted(maps.Keys(claims)); strings.Join(names, " ") != "aud events exp iat iss jti sid sub" {
		t.Errorf("claims %q", names)
	}
	if !slices.Contains(a.ms.Secrets(), token) {
		t.Error("the token is not among the secrets")
	}
	a.get(a.endpoint("oauth2/v2.0/logout"))
	if len(got) != 0 {
		t.Error("a call without a session")
	}
}

func TestLogoutToken(t *testing.T) {
	t.Parallel()
	a := newPlain(t, nil)
	one, two := a.claims(a.ms.LogoutToken(msauthtest.Ada, "", nil)), a.claims(a.ms.LogoutToken(msauthtest.Ada, "s", map[string]any{"sub": nil, "nonce": "n", "exp": 1}))
	if one["sid"] != nil || one["sub"] == nil || one["exp"].(float64) != one["iat"].(float64)+120 || one["iat"].(float64) > float64(time.Now().Unix()) {
		t.Errorf("%v", one)
	}
	if two["sid"] != "s" || two["nonce"] != "n" || two["exp"] != 1.0 || two["jti"] == one["jti"] {
		t.Errorf("%v", two)
	}
	if _, there := two["sub"]; there {
		t.Error("sub is not removed")
	}
	a.ms.Set(func(b *msauthtest.Behavior) { b.Signing = msauthtest.SignUnknownKey })
	if _, err := a.verify(a.ms.LogoutToken(msauthtest.Ada, "", nil)); err == nil {
		t.Error("Behavior.Signing does not count")
	}
	defer func() {
		if recover() == nil {
			t.Error("nobody's token")
		}
	}()
	a.ms.LogoutToken("nobody@contoso.example", "", nil)
}
