package msauthtest_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"

	"example.com/msauth/msauthtest"
)

// signedWith reports whether an authentication token has the signature of a
// secret. It computes that by itself.
func signedWith(t *testing.T, token any, secret string) bool {
	t.Helper()
	text, _ := token.(string)
	input, signature, ok := cutLast(text)
	if !ok {
		t.Fatalf("not a token: %v", token)
	}
	key := sha256.Sum256([]byte(secret + "JWTSig"))
	h := hmac.New(sha256.New, key[:])
	h.Write([]byte(input))
	return signature == base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// headerText returns the header of a token as it is.
func headerText(t *testing.T, token any) string {
	t.Helper()
	text, _ := token.(string)
	first, _, _ := strings.Cut(text, ".")
	return string(decode(t, first))
}

func TestLiveAuthenticationToken(t *testing.T) {
	t.Parallel()
	a := newLive(t)
	before := time.Now()
	token := a.signIn(msauthtest.Mia)["authentication_token"]
	if got, want := headerText(t, token), `{"typ":"JWT","alg":"HS256","kid":0}`; got != want {
		t.Errorf("header %s, want %s", got, want)
	}
	if !signedWith(t, token, a.ms.ClientSecret) {
		t.Error("not signed with the client secret")
	}
	claims := payload(t, token.(string))
	for name, want := range map[string]any{
		"ver": 1.0, "iss": "urn:windows:liveid", "aud": "localhost",
		"urn:microsoft:appuri": "appid://" + a.ms.ClientID, "urn:microsoft:appid": a.ms.ClientID,
	} {
		if claims[name] != want {
			t.Errorf("claim %s = %v, want %v", name, claims[name], want)
		}
	}
	if uid, _ := claims["uid"].(string); !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(uid) {
		t.Errorf("uid: %q", uid)
	}
	if exp, _ := claims["exp"].(float64); exp < float64(before.Add(24*time.Hour).Unix()) || exp > float64(time.Now().Add(24*time.Hour).Unix()) {
		t.Errorf("exp: %v", exp)
	}
	if len(claims) != 7 {
		t.Errorf("claims: %v", claims)
	}
}

func TestLiveUserDiffersByAppAndPerson(t *testing.T) {
	t.Parallel()
	a, b := newLive(t), newLive(t)
	a.ms.SetUser(msauthtest.User{SignInName: "noa@outlook.example", TenantID: msauthtest.TenantPersonal})
	uid := func(a *liveApp, person string) any {
		return payload(t, a.ms.AuthenticationToken(person, "localhost", nil))["uid"]
	}
	mia := payload(t, a.signIn(msauthtest.Mia)["authentication_token"].(string))["uid"]
	if again := uid(a, msauthtest.Mia); again != mia {
		t.Errorf("uid %v, then %v", mia, again)
	}
	if noa := uid(a, "noa@outlook.example"); noa == mia {
		t.Errorf("uid of both: %v", noa)
	}
	if elsewhere := uid(b, msauthtest.Mia); elsewhere == mia {
		t.Errorf("uid at both apps: %v", elsewhere)
	}
}

func TestLiveSecretsHaveVersions(t *testing.T) {
	t.Parallel()
	a := newLive(t)
	first, second := a.ms.ClientSecret, "the second secret, of 32 characters"
	next := a.ms.AddSecret(second)
	if a.ms.Secret().Version() != 0 || next.Version() != 1 || a.ms.AddSecret("third").Version() != 2 {
		t.Error("versions are not 0, 1 and 2")
	}
	// Both are accepted, and the first signs.
	for _, secret := range []string{first, second} {
		token := a.want(a.codeForm(a.pick(msauthtest.Mia), "client_secret", secret), "")["authentication_token"]
		if !signedWith(t, token, first) || !strings.Contains(headerText(t, token), `"kid":0}`) {
			t.Errorf("before: header %s", headerText(t, token))
		}
	}
	next.Activate()
	a.want(a.codeForm(a.pick(msauthtest.Mia), "client_secret", first), "invalid_client")
	token := a.want(a.codeForm(a.pick(msauthtest.Mia), "client_secret", second), "")["authentication_token"]
	if !signedWith(t, token, second) || !strings.Contains(headerText(t, token), `"kid":1}`) {
		t.Errorf("after: header %s", headerText(t, token))
	}
	a.want(a.codeForm(a.pick(msauthtest.Mia), "client_secret", "third"), "")
	wantCounts(t, next, 2, 0)
	wantCounts(t, a.ms.Secret(), 1, 1)

	// Entra has no active secret.
	if rep := a.mustToken(a.app.codeForm(a.app.pick(msauthtest.Mia, "scope", "openid").Get("code"))); rep.Status != 200 {
		t.Errorf("at Entra: %+v", rep)
	}
}

func TestLivePanics(t *testing.T) {
	t.Parallel()
	ms := newServer(t)
	for name, f := range map[string]func(){
		"Version of another credential":  func() { ms.AddFederated("https://issuer.example", "sub", "").Version() },
		"Activate of another credential": func() { ms.AddFederated("https://issuer.example", "sub", "").Activate() },
		"nobody":                         func() { ms.AuthenticationToken("nobody", "localhost", nil) },
		"a value that JSON has not": func() {
			ms.AuthenticationToken(msauthtest.Mia, "localhost", func(_, claims map[string]any) { claims["x"] = math.Inf(1) })
		},
	} {
		func() {
			defer func() {
				if text, _ := recover().(string); !strings.HasPrefix(text, "msauthtest: ") {
					t.Errorf("%s: panic %q", name, text)
				}
			}()
			f()
		}()
	}
}

func TestLiveTokensToOrder(t *testing.T) {
	t.Parallel()
	a := newLive(t)
	const active = "the second secret"
	a.ms.AddSecret(active).Activate()
	edit := func(header, claims map[string]any) string {
		return a.ms.AuthenticationToken(msauthtest.Mia, "WWW.contoso.example", func(h, c map[string]any) {
			for name, value := range header {
				h[name] = value
			}
			for name, value := range claims {
				c[name] = value
			}
		})
	}
	token := edit(nil, nil)
	if payload(t, token)["aud"] != "www.contoso.example" || !signedWith(t, token, active) {
		t.Errorf("claims: %v", payload(t, token))
	}
	tests := []struct {
		name           string
		header, claims map[string]any
		wantHeader     string
		wantSigned     bool
	}{
		{"expired", nil, map[string]any{"exp": 1470793861}, `{"typ":"JWT","alg":"HS256","kid":1}`, true},
		{"another app", nil, map[string]any{"urn:microsoft:appid": "x"}, `{"typ":"JWT","alg":"HS256","kid":1}`, true},
		{"another version", map[string]any{"kid": 0}, nil, `{"typ":"JWT","alg":"HS256","kid":0}`, true},
		{"kid as text", map[string]any{"kid": "1"}, nil, `{"typ":"JWT","alg":"HS256","kid":"1"}`, true},
		{"none", map[string]any{"alg": "none"}, nil, `{"typ":"JWT","alg":"none","kid":1}`, false},
		{"RS256", map[string]any{"alg": "RS256"}, nil, `{"typ":"JWT","alg":"RS256","kid":1}`, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			token := edit(tt.header, tt.claims)
			if got := headerText(t, token); got != tt.wantHeader {
				t.Errorf("header %s, want %s", got, tt.wantHeader)
			}
			if got := signedWith(t, token, active); got != tt.wantSigned {
				t.Errorf("signed by the active secret: %t", got)
			}
			for name, want := range tt.claims {
				if got, _ := json.Marshal(payload(t, token)[name]); string(got) != jsonText(want) {
					t.Errorf("claim %s = %s, want %v", name, got, want)
				}
			}
		})
	}
	if token := edit(map[string]any{"alg": "none"}, nil); !strings.HasSuffix(token, ".") {
		t.Errorf("alg none with a signature: %s", token)
	}

	const header, claims = `{"alg":"HS256","alg":"none"}`, `{"ver":1,"ver":2}`
	token = msauthtest.SignAuthenticationToken("s", header, claims)
	if parts := strings.Split(token, "."); headerText(t, token) != header || string(decode(t, parts[1])) != claims || !signedWith(t, token, "s") {
		t.Errorf("SignAuthenticationToken: %s", token)
	}

	a.ms.Set(func(b *msauthtest.Behavior) {
		b.IDToken = func(grant msauthtest.Kind, claims map[string]any) { claims["uid"] = string(grant) }
	})
	doc := a.want(a.codeForm(a.pick(msauthtest.Mia), "client_secret", active), "")
	if uid := payload(t, doc["authentication_token"].(string))["uid"]; uid != "token:authorization_code" {
		t.Errorf("IDToken: uid %v", uid)
	}
}

func jsonText(v any) string { b, _ := json.Marshal(v); return string(b) }
