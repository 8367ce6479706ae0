package provider

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"example.com/msauth/internal/credential"
	"example.com/msauth/internal/seal"
	"github.com/go-jose/go-jose/v4"
)

const (
	liveClient = "000000001C1175CD"
	liveUID    = "aebe3ba54e18d3a4f33886d235fd7b46"
)

// liveProvider is Live Connect for an app with these secrets.
func liveProvider(secrets ...credential.NumberedSecret) *Authority {
	return NewAuthority(Settings{
		Kind: LiveConnect, Origin: LiveIssuer, ClientID: liveClient, Host: "sitename.azurewebsites.net",
		Secrets: func(context.Context) []credential.NumberedSecret { return secrets },
	})
}

func numbered(value string, version int) credential.NumberedSecret {
	return credential.NumberedSecret{Value: seal.Secret(value), Version: version}
}

type object = map[string]any

// liveClaims are those of a published token of App Service's pages, with another exp.
func liveClaims() object {
	return object{
		"ver": 1, "iss": "urn:windows:liveid", "exp": time.Now().Add(time.Hour).Unix(), "uid": liveUID, "aud": "sitename.azurewebsites.net",
		"urn:microsoft:appuri": "appid://" + liveClient, "urn:microsoft:appid": liveClient,
	}
}

func liveHeaders() object { return object{"typ": "JWT", "alg": "HS256", "kid": "0"} }

// liveToken signs a token the way the Live SDK's JsonWebToken verifies it.
func liveToken(header, claims object, secret string) string {
	h, _ := json.Marshal(header)
	c, _ := json.Marshal(claims)
	return signLive(string(h), string(c), secret)
}

func signLive(header, claims, secret string) string {
	signed := seal.Base64url.EncodeToString([]byte(header)) + "." + seal.Base64url.EncodeToString([]byte(claims))
	key := sha256.Sum256([]byte(secret + "JWTSig"))
	mac := hmac.New(sha256.New, key[:])
	mac.Write([]byte(signed))
	return signed + "." + seal.Base64url.EncodeToString(mac.Sum(nil))
}

func TestAuthenticationTokenNamesAnAccount(t *testing.T) {
	t.Parallel()
	a := liveProvider(numbered("the secret", credential.NoVersion))
	a.Claims = []string{"urn:microsoft:appuri"}
	claims := liveClaims()
	claims["uid"] = strings.ToUpper(liveUID)
	id, err := a.VerifyAuthenticationToken(t.Context(), liveToken(liveHeaders(), claims, "the secret"))
	if err != nil {
		t.Fatal(err)
	}
	u := id.User
	if u.Key() != "https://login.live.com#"+liveUID || u.Issuer != "https://login.live.com" || u.Subject != liveUID || !u.Personal() || u.TenantID != "" || u.ObjectID != "" {
		t.Errorf("account %+v, key %s", u, u.Key())
	}
	if u.Claims["urn:microsoft:appuri"] != "appid://"+liveClient {
		t.Errorf("claims %v", u.Claims)
	}
	if m, err := a.Discover(t.Context()); err != nil || m.Token != "https://login.live.com/oauth20_token.srf" {
		t.Errorf("metadata %+v, %v", m, err)
	}
	if err := a.Ready(t.Context()); err != nil {
		t.Error(err)
	}
}

// What tokens may lack, and how far clocks may differ.
func TestAuthenticationTokensThatAreAccepted(t *testing.T) {
	t.Parallel()
	a := liveProvider(numbered("the secret", 0))
	now := time.Now()
	for name, changes := range map[string]object{
		"no version":         {"ver": nil},
		"version as text":    {"ver": "1"},
		"app in small":       {"urn:microsoft:appid": strings.ToLower(liveClient)},
		"site in capitals":   {"aud": "SITENAME.azurewebsites.net"},
		"just expired":       {"exp": now.Add(-50 * time.Second).Unix()},
		"in a moment":        {"nbf": now.Add(4 * time.Minute).Unix()},
		"the longest uid":    {"uid": strings.Repeat("a", 100)},
		"what is not known":  {"x": []any{1, object{"y": nil}}},
		"another appuri":     {"urn:microsoft:appuri": 7},
		"exp has a fraction": {"exp": float64(now.Unix()) + 60.5},
	} {
		claims := liveClaims()
		for name, value := range changes {
			if claims[name] = value; value == nil {
				delete(claims, name)
			}
		}
		if _, err := a.VerifyAuthenticationToken(t.Context(), liveToken(liveHeaders(), claims, "the secret")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A known answer, made with openssl:
//
//	key=$(printf '%s' 716a2df99a61d879a0d6fc25c8c3733fJWTSig | openssl dgst -sha256 -hex | cut -d' ' -f2)
//	printf '%s' "$header.$claims" | openssl dgst -sha256 -mac HMAC -macopt hexkey:$key -binary | basenc --base64url | tr -d =
func TestAuthenticationTokenKnownAnswer(t *testing.T) {
	t.Parallel()
	const token = knownAnswer
	a := liveProvider(numbered("716a2df99a61d879a0d6fc25c8c3733f", 0))
	if err := a.checkLiveSignature(t.Context(), token); err != nil {
		t.Error(err)
	}
	_, err := a.VerifyAuthenticationToken(t.Context(), token)
	wantFault(t, err, "expired")
}

func TestAuthenticationTokenRefusals(t *testing.T) {
	t.Parallel()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rs256 := func() string {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: rsaKey}, (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", "1"))
		if err != nil {
			t.Fatal(err)
		}
		c, _ := json.Marshal(liveClaims())
		signed, err := signer.Sign(c)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := signed.CompactSerialize()
		return text
	}
	with := func(changes object) string {
		c := liveClaims()
		maps.Copy(c, changes)
		return liveToken(liveHeaders(), c, "old")
	}
	header := func(changes object) string {
		h := liveHeaders()
		maps.Copy(h, changes)
		for name, value := range h {
			if value == nil {
				delete(h, name)
			}
		}
		return liveToken(h, liveClaims(), "old")
	}
	good := with(nil)
	parts := strings.Split(good, ".")
	now := time.Now()
	for _, test := range []struct{ name, token, want string }{
		{"another secret", liveToken(liveHeaders(), liveClaims(), "stolen"), "signed with another client secret"},
		{"the secret itself as key", func() string {
			signed := parts[0] + "." + parts[1]
			mac := hmac.New(sha256.New, []byte("old"))
			mac.Write([]byte(signed))
			return signed + "." + seal.Base64url.EncodeToString(mac.Sum(nil))
		}(), "signed with another client secret"},
		{"the secret of another version than kid says", liveToken(object{"typ": "JWT", "alg": "HS256", "kid": 1}, liveClaims(), "old"), "signed with another client secret"},
		{"a version that the app does not have", header(object{"kid": 2}), "signed with version 2 of the client secret, which the app does not have"},
		{"no kid", header(object{"kid": nil}), "kid is missing"},
		{"a kid that is no number", header(object{"kid": "first"}), "kid is not the number"},
		{"a kid with a sign", header(object{"kid": "+0"}), "kid is not the number"},
		{"a kid with zeros", header(object{"kid": "00"}), "kid is not the number"},
		{"a kid below 0", header(object{"kid": -1}), "kid is not the number"},
		{"alg none", parts[0] + "." + parts[1] + ".", "signed with another client secret"},
		{"alg none in the header", header(object{"alg": "none"}), "alg is none and not HS256"},
		{"alg None", header(object{"alg": "None"}), "alg is not HS256"},
		{"RS256", rs256(), "alg is RS256 and not HS256"},
		{"HS512", header(object{"alg": "HS512"}), "alg is HS512 and not HS256"},
		{"no alg", header(object{"alg": nil}), "alg is not HS256"},
		{"no type", header(object{"typ": nil}), "typ is missing"},
		{"another type", header(object{"typ": "at+jwt"}), "its typ is another"},
		{"extensions", header(object{"crit": []string{"exp"}}), "crit"},
		{"another app's", with(object{"urn:microsoft:appid": "000000001C1175CE"}), `for the app "000000001C1175CE" (urn:microsoft:appid)`},
		{"no app", with(object{"urn:microsoft:appid": 1}), `for the app ""`},
		{"another site's", with(object{"aud": "other.example"}), `for the site "other.example" (aud), and not for sitename.azurewebsites.net`},
		{"a site whose name begins so", with(object{"aud": "sitename.azurewebsites.net.example"}), `for the site "sitename.azurewebsites.net.example"`},
		{"the site with a port", with(object{"aud": "sitename.azurewebsites.net:443"}), `for the site "sitename.azurewebsites.net:443"`},
		{"an app whose ID begins so", with(object{"urn:microsoft:appid": liveClient + "0"}), "and not for this one"},
		{"several sites", with(object{"aud": []string{"sitename.azurewebsites.net", "other.example"}}), `for the site ""`},
		{"another issuer", with(object{"iss": "https://login.live.com"}), "iss is \"https://login.live.com\""},
		{"another version", with(object{"ver": 2}), "has another version than 1"},
		{"expired", with(object{"exp": now.Add(-2 * time.Minute).Unix()}), "expired 2m"},
		{"no exp", with(object{"exp": nil}), "exp is missing"},
		{"exp is text", with(object{"exp": "1470793861"}), "exp is missing"},
		{"not yet", with(object{"nbf": now.Add(time.Hour).Unix()}), "not valid for another"},
		{"nbf is text", with(object{"nbf": "soon"}), "nbf is not a time"},
		{"nbf is no time", with(object{"nbf": 1e12}), "nbf is not a time"},
		{"nobody", with(object{"uid": ""}), "uid is missing"},
		{"uid is no text", with(object{"uid": 7}), "uid is missing"},
		{"uid with a space", with(object{"uid": "a b"}), "uid is missing"},
		{"a long uid", with(object{"uid": strings.Repeat("a", 101)}), "uid is missing"},
		{"uid twice", signLive(`{"typ":"JWT","alg":"HS256","kid":"0"}`, `{"uid":"a","UID":"b"}`, "old"), "is twice"},
		{"ver twice", signLive(`{"typ":"JWT","alg":"HS256","kid":"0"}`, `{"ver":1,"VER":2}`, "old"), "is twice"},
		{"the app twice", signLive(`{"typ":"JWT","alg":"HS256","kid":"0"}`, `{"urn:microsoft:appid":"a","URN:microsoft:appid":"b"}`, "old"), "is twice"},
		{"kid twice", signLive(`{"typ":"JWT","alg":"HS256","kid":"0","kid":"1"}`, `{}`, "old"), "is twice"},
		{"a changed claim", parts[0] + "." + seal.Base64url.EncodeToString([]byte(`{"uid":"x"}`)) + "." + parts[2], "signed with another client secret"},
		{"another token's signature", parts[0] + "." + parts[1] + "." + strings.Split(with(object{"uid": "x"}), ".")[2], "signed with another client secret"},
		{"cut", good[:len(good)-3], "signed with another client secret"},
		{"padded", good + "=", "not a JWT"},
		{"with a line break in its signature", good[:len(good)-5] + "\n" + good[len(good)-5:], "not a JWT"},
		{"with a line break behind it", good + "\r\n", "not a JWT"},
		{"empty", "", "not a JWT"},
		{"two parts", parts[0] + "." + parts[1], "not a JWT"},
		{"four parts", good + ".x", "not a JWT"},
		{"huge", with(object{"x": strings.Repeat("a", 8<<10)}), "has more than 8192 bytes"},
	} {
		a := liveProvider(numbered("new", 1), numbered("old", 0))
		id, err := a.VerifyAuthenticationToken(t.Context(), test.token)
		if id != nil && err != nil {
			t.Errorf("%s: an account comes with the error", test.name)
		}
		t.Run(test.name, func(t *testing.T) { wantFault(t, err, test.want) })
		if err != nil && (strings.Contains(err.Error(), "old") || len(parts[2]) > 8 && strings.Contains(err.Error(), parts[2])) {
			t.Errorf("%s: the error shows a secret: %v", test.name, err)
		}
	}
}

func TestAuthenticationTokensDuringARollover(t *testing.T) {
	t.Parallel()
	for _, kid := range []any{0, "0", 1, "1"} {
		secret := map[any]string{0: "old", "0": "old", 1: "new", "1": "new"}[kid]
		token := liveToken(object{"typ": "JWT", "alg": "HS256", "kid": kid}, liveClaims(), secret)
		for name, secrets := range map[string][]credential.NumberedSecret{
			"with versions":    {numbered("new", 1), numbered("old", 0)},
			"without versions": {numbered("new", credential.NoVersion), numbered("old", credential.NoVersion)},
		} {
			if _, err := liveProvider(secrets...).VerifyAuthenticationToken(t.Context(), token); err != nil {
				t.Errorf("%s, kid %v: %v", name, kid, err)
			}
		}
	}
	// Without a version the kid decides nothing: the signature does.
	token := liveToken(object{"typ": "JWT", "alg": "HS256"}, liveClaims(), "only")
	if _, err := liveProvider(numbered("only", credential.NoVersion)).VerifyAuthenticationToken(t.Context(), token); err != nil {
		t.Error(err)
	}
	if _, err := liveProvider().VerifyAuthenticationToken(t.Context(), token); err == nil {
		t.Error("accepted without any secret")
	}
}

func TestMeantAtLiveConnect(t *testing.T) {
	t.Parallel()
	a := liveProvider(numbered("the secret", 0))
	e := &TokenEndpoint{Authority: a, ClientID: liveClient}
	u := &Account{Issuer: LiveIssuer, Subject: liveUID}
	other := liveClaims()
	other["uid"] = liveUID + "0"
	app := liveClaims()
	app["urn:microsoft:appid"] = "another"
	for _, test := range []struct {
		token string
		want  bool
	}{
		{liveToken(liveHeaders(), liveClaims(), "a secret that this server does not have yet"), true},
		{liveToken(liveHeaders(), other, "the secret"), false},
		{liveToken(liveHeaders(), app, "the secret"), false},
	} {
		if got, err := e.Meant(test.token, u); err != nil || got != test.want {
			t.Errorf("meant %v, %v, want %v", got, err, test.want)
		}
	}
	if _, err := a.Verify(t.Context(), liveToken(liveHeaders(), other, "the secret"), IDTokenCheck{Person: u}); err != ErrAnotherPerson {
		t.Errorf("another person: %v", err)
	}
}

// Accounts of another service, as a session of another configuration could have, are
// nobody here.
func TestPersonAtLiveConnect(t *testing.T) {
	t.Parallel()
	a := liveProvider()
	for _, test := range []struct {
		account Account
		want    bool
	}{
		{Account{Issuer: LiveIssuer, Subject: liveUID}, true},
		{Account{Issuer: LiveIssuer}, false},
		{Account{Issuer: otherBase, Subject: liveUID}, false},
		{Account{Subject: liveUID, TenantID: PersonalTenant, ObjectID: testPerson}, false},
	} {
		if err := a.CheckPerson(&test.account); (err == nil) != test.want {
			t.Errorf("%+v: %v", test.account, err)
		}
	}
}

func FuzzAuthenticationToken(f *testing.F) {
	f.Add(liveToken(liveHeaders(), liveClaims(), "the secret"), "the secret")
	f.Add(signLive(`{"typ":"JWT","alg":"HS256","kid":0}`, `{"uid":"a","uid":"b"}`, "s"), "s")
	f.Add("..", "")
	f.Fuzz(func(t *testing.T, token, secret string) {
		id, err := liveProvider(numbered(secret, credential.NoVersion)).VerifyAuthenticationToken(t.Context(), token)
		switch {
		case err == nil && (id.User.Key() == "" || id.User.Subject == ""):
			t.Errorf("nobody is signed in by %q", token)
		case err == nil && signAgain(token, secret) != token:
			t.Errorf("accepted without the secret: %q", token)
		case err != nil && !strings.HasPrefix(err.Error(), "msauth: authentication token: "):
			t.Errorf("error %v", err)
		}
		if claims, err := json.Marshal(object{"uid": token, "exp": secret}); err == nil { // whatever it says, if the signature is good
			_, _ = liveProvider(numbered(secret, 0)).VerifyAuthenticationToken(t.Context(), signLive(`{"typ":"JWT","alg":"HS256","kid":"0"}`, string(claims), secret))
		}
		_, _ = liveProvider(numbered(secret, 0)).VerifyAuthenticationToken(t.Context(), signLive(token, secret, secret))
	})
}

func signAgain(token, secret string) string {
	signed := token[:strings.LastIndexByte(token, '.')]
	key := sha256.Sum256([]byte(secret + "JWTSig"))
	mac := hmac.New(sha256.New, key[:])
	mac.Write([]byte(signed))
	return signed + "." + seal.Base64url.EncodeToString(mac.Sum(nil))
}

// knownAnswer has the claims of the token that App Service's pages show.
const knownAnswer = "eyJhbGciOiJIUzI1NiIsImtpZCI6IjAiLCJ0eXAiOiJKV1QifQ." +
	"eyJ2ZXIiOjEsImlzcyI6InVybjp3aW5kb3dzOmxpdmVpZCIsImV4cCI6MTQ3MDc5Mzg2MSwidWlkIjoiYWViZTNiYTU0ZTE4ZDNhNGYzMzg4NmQyMzVmZDdiNDYiLCJhdWQiOiJzaXRlbmFtZS5henVyZXdlYnNpdGVzLm5ldCIsInVybjptaWNyb3NvZnQ6YXBwdXJpIjoiYXBwaWQ6Ly8wMDAwMDAwMDFDMTE3NUNEIiwidXJuOm1pY3Jvc29mdDphcHBpZCI6IjAwMDAwMDAwMUMxMTc1Q0QifQ." +
	"T7gVZECdIsbi8aoBS2-x7AL-yEP2LWWyEfEaxb6__0c"
