package msauthtest_test

import (
	"encoding/base64"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"example.com/msauth/msauthtest"
)

// The forms in which Graph and Azure Resource Manager have been seen to
// challenge.
func TestChallengeForms(t *testing.T) {
	t.Parallel()
	const claims = `claims="([A-Za-z0-9+/=]+)"`
	for _, tt := range []struct {
		form msauthtest.ChallengeForm
		want string // of WWW-Authenticate
		code string
		caes bool // xms_caeerror
	}{
		{msauthtest.ChallengeBearer, `^Bearer realm="", authorization_uri="[^"]+", client_id="[^"]+", error="insufficient_claims", ` + claims + `$`, "InvalidAuthenticationToken", false},
		{msauthtest.ChallengePoP, `^PoP realm="", authorization_uri="[^"]+", client_id="[^"]+", nonce="[^"]+", Bearer realm="", authorization_uri="[^"]+", client_id="[^"]+", error_description="Continuous [^"]+", error="insufficient_claims", ` + claims + `$`, "InvalidAuthenticationToken", false},
		{msauthtest.ChallengeUnquoted, `^Bearer realm="", authorization_uri=http[^"]+, client_id="[^"]+", error="insufficient_claims", ` + claims + `, errorDescription="[^"]+"$`, "InvalidAuthenticationToken", false},
		{msauthtest.ChallengeCAEError, `^Bearer realm="", authorization_uri="[^"]+", error="insufficient_claims", ` + claims + `$`, "InvalidAuthenticationToken", true},
		{msauthtest.ChallengeARM, `^Bearer authorization_uri="https://login.windows.net/", error="invalid_token", error_description="User session has been revoked", ` + claims + `$`, "AuthenticationFailed", false},
	} {
		a := newApp(t, newServer(t))
		rep := a.signIn(msauthtest.Ada)
		a.ms.Challenge(msauthtest.Challenge{Form: tt.form})
		res, text := a.graph(a.ms.URL+"/v1.0/me", rep.AccessToken)
		match := regexp.MustCompile(tt.want).FindStringSubmatch(res.Header.Get("WWW-Authenticate"))
		if res.StatusCode != 401 || match == nil || !strings.Contains(text, `"code":"`+tt.code+`"`) {
			t.Errorf("%q: %d %s %s", tt.form, res.StatusCode, res.Header.Get("WWW-Authenticate"), text)
			continue
		}
		doc, err := base64.StdEncoding.DecodeString(match[1])
		if err != nil || !strings.Contains(string(doc), `"nbf":{"essential":true`) || strings.Contains(string(doc), "xms_caeerror") != tt.caes {
			t.Errorf("%q: claims %s %v", tt.form, doc, err)
		}
		// The claims satisfy the challenge.
		again := a.renew(rep, "claims", string(doc))
		if res, _ := a.graph(a.ms.URL+"/v1.0/me", again.AccessToken); res.StatusCode != 200 {
			t.Errorf("%q: after a renewal with the claims: %d", tt.form, res.StatusCode)
		}
	}
}

func TestNoPhoto(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	rep := a.signIn(msauthtest.Ada)
	ada := a.ms.Users()[0]
	for _, without := range []bool{false, true} {
		ada.NoPhoto = without
		a.ms.SetUser(ada)
		for _, path := range []string{"/v1.0/me/photo", "/v1.0/me/photo/$value"} {
			res, text := a.graph(a.ms.URL+path, rep.AccessToken)
			if want := map[bool]int{false: 200, true: 404}[without]; res.StatusCode != want || without != strings.Contains(text, `"code":"ImageNotFound"`) {
				t.Errorf("%s, NoPhoto %v: %d %.200q", path, without, res.StatusCode, text)
			}
		}
	}
}

// A throttled OneDrive has its own error code.
func TestThrottledDrive(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	rep := a.signIn(msauthtest.Ada)
	a.ms.Set(func(b *msauthtest.Behavior) {
		b.FailAlways[msauthtest.Graph] = msauthtest.Failure{Status: 429, Header: http.Header{"Retry-After": {"10"}}}
	})
	for path, code := range map[string]string{
		"/v1.0/me": "TooManyRequests", "/v1.0/me/drive": "activityLimitReached", "/v1.0/me/drive/root/children": "activityLimitReached", "/v1.0/drives/x": "activityLimitReached",
	} {
		res, text := a.graph(a.ms.URL+path, rep.AccessToken)
		if res.StatusCode != 429 || res.Header.Get("Retry-After") != "10" || !strings.Contains(text, `"code":"`+code+`"`) {
			t.Errorf("%s: %d %q %s", path, res.StatusCode, res.Header.Get("Retry-After"), text)
		}
	}
}
