package provider

import (
	"crypto"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth/internal/seal"
)

// logoutClaims are the claims of a valid logout token.
func logoutClaims() map[string]any {
	now := time.Now().Unix()
	return map[string]any{
		"iss": otherBase, "aud": testClient, "sub": "AAAA", "sid": "S", "jti": "J", "iat": now, "exp": now + 120,
		"events": map[string]any{logoutEvent: map[string]any{}},
	}
}

// logoutOf is a signed logout token.
func logoutOf(changes ...any) string {
	return signJWT(0, with(headerOf("one"), "typ", "logout+jwt"), with(logoutClaims(), changes...))
}

// at is seconds from now as a NumericDate.
func at(d time.Duration) int64 { return time.Now().Add(d).Unix() }

func TestLogoutTokens(t *testing.T) {
	t.Parallel()
	event := map[string]any{logoutEvent: map[string]any{}}
	for _, test := range []struct {
		name    string
		changes []any
		want    string // "" if it is accepted
	}{
		{"with sid and sub", nil, ""},
		{"sid alone", []any{"sub", nil}, ""},
		{"sub alone", []any{"sid", nil}, ""},
		{"neither", []any{"sid", nil, "sub", nil}, "sid and sub are missing"},
		{"sid is empty", []any{"sid", ""}, "sid is not a text of 1 to 200 bytes"},
		{"sid is a number", []any{"sid", 7}, "sid is not a text"},
		{"sid is null", []any{"sid", json.RawMessage("null")}, "sid is not a text"},
		{"sid of 200 bytes", []any{"sid", strings.Repeat("s", 200)}, ""},
		{"sid of 201 bytes", []any{"sid", strings.Repeat("s", 201)}, "sid is not a text of 1 to 200 bytes"},
		{"sub is empty", []any{"sub", ""}, "sub is not a text of 1 to 255 bytes"},
		{"sub of 255 bytes", []any{"sub", strings.Repeat("s", 255)}, ""},
		{"sub of 256 bytes", []any{"sub", strings.Repeat("s", 256)}, "sub is not a text of 1 to 255 bytes"},
		{"jti is missing", []any{"jti", nil}, "jti is missing"},
		{"jti is empty", []any{"jti", ""}, "jti is not a text of 1 to 200 bytes"},
		{"jti of 201 bytes", []any{"jti", strings.Repeat("j", 201)}, "jti is not a text of 1 to 200 bytes"},
		{"another issuer", []any{"iss", otherBase + "/"}, "iss is not the provider's issuer"},
		{"no issuer", []any{"iss", nil}, "iss is not the provider's issuer"},
		{"another audience", []any{"aud", "x"}, "aud is not this app"},
		{"no audience", []any{"aud", nil}, "aud is not this app"},
		{"an empty audience", []any{"aud", ""}, "aud is not this app"},
		{"a list without the app", []any{"aud", []string{"x", "y"}}, "aud is not this app"},
		{"a list with the app", []any{"aud", []string{"x", testClient}}, ""},
		{"a list with the app and a number", []any{"aud", []any{1, testClient}}, "aud is not this app"},
		{"no events", []any{"events", nil}, "events has no back-channel logout"},
		{"events is a list", []any{"events", []string{logoutEvent}}, "events has no back-channel logout"},
		{"events is a text", []any{"events", logoutEvent}, "events has no back-channel logout"},
		{"another event", []any{"events", map[string]any{"http://schemas.openid.net/event/x": map[string]any{}}}, "events has no back-channel logout"},
		{"the event is null", []any{"events", map[string]any{logoutEvent: nil}}, "events has no back-channel logout"},
		{"the event is true", []any{"events", map[string]any{logoutEvent: true}}, "events has no back-channel logout"},
		{"the event is a list", []any{"events", map[string]any{logoutEvent: []int{}}}, "events has no back-channel logout"},
		{"the event has members", []any{"events", map[string]any{logoutEvent: map[string]any{"reason": "x"}}}, ""},
		{"a nonce", []any{"nonce", "n"}, "nonce is there"},
		{"an empty nonce", []any{"nonce", ""}, "nonce is there"},
		{"nonce is null", []any{"nonce", json.RawMessage("null")}, "nonce is there"},
		{"no iat", []any{"iat", nil}, "iat is missing"},
		{"iat is a text", []any{"iat", "now"}, "iat is missing"},
		{"iat is null", []any{"iat", json.RawMessage("null")}, "iat is missing"},
		{"iat ahead", []any{"iat", at(FutureLeeway)}, ""},
		{"iat too far ahead", []any{"iat", at(FutureLeeway + time.Minute)}, "issued "},
		{"exp is a text", []any{"exp", "soon"}, "exp is not a time"},
		{"exp is null", []any{"exp", json.RawMessage("null")}, "exp is not a time"},
		{"just expired", []any{"exp", at(-ExpLeeway + 10*time.Second)}, ""},
		{"expired", []any{"exp", at(-ExpLeeway - 10*time.Second)}, "expired 1"},
		{"an hour old with a late exp", []any{"iat", at(-maxTokenAge - 10*time.Second), "exp", at(time.Hour)}, "expired 1"},
		{"almost an hour old with a late exp", []any{"iat", at(-maxTokenAge + 10*time.Second), "exp", at(time.Hour)}, ""},
		{"no exp", []any{"exp", nil}, ""},
		{"no exp, almost too old", []any{"exp", nil, "iat", at(-maxLogoutAge + 10*time.Second)}, ""},
		{"no exp, too old", []any{"exp", nil, "iat", at(-maxLogoutAge - 10*time.Second)}, "expired 1"},
		{"nbf ahead", []any{"nbf", at(FutureLeeway)}, ""},
		{"nbf too far ahead", []any{"nbf", at(FutureLeeway + time.Minute)}, "nbf is in the future"},
		{"nbf is a text", []any{"nbf", "x"}, "nbf is in the future, or not a time"},
		{"more claims and events", []any{"typ", "Logout", "x", 1, "events", map[string]any{logoutEvent: event, "revoke_offline_access": true}}, ""},
		{"too long", []any{"x", strings.Repeat("x", maxLogoutToken)}, "more than 16384 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			a, web := plainProvider(t)
			c := with(logoutClaims(), test.changes...)
			l, err := a.VerifyLogout(t.Context(), signJWT(0, with(headerOf("one"), "typ", "logout+jwt"), c))
			if test.want != "" {
				wantFault(t, err, "msauth: logout token: "+test.want)
				if l != nil && err == nil || web.count("") != 0 {
					t.Errorf("%d requests to the provider", web.count(""))
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			text := func(name string) string { s, _ := c[name].(string); return s }
			if l.SID != text("sid") || l.Subject != text("sub") || l.Issuer != otherBase || l.JTI != text("jti") || l.IssuedAt.Unix() != c["iat"] {
				t.Errorf("%+v, want %v", l, c)
			}
		})
	}
}

// What matters is that the token is refused from then on, and not before.
func TestLogoutTokenIsValidUntilExpires(t *testing.T) {
	t.Parallel()
	for name, changes := range map[string][]any{
		"exp": nil, "late exp": {"exp", int64(1e10)}, "no exp": {"exp", nil}, "iat ahead": {"iat", at(FutureLeeway)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a, _ := plainProvider(t)
				if name == "iat ahead" {
					changes = []any{"iat", at(FutureLeeway), "exp", nil}
				}
				token := logoutOf(changes...)
				l, err := a.VerifyLogout(t.Context(), token)
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Until(l.Expires) - time.Nanosecond)
				if _, err := a.VerifyLogout(t.Context(), token); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Nanosecond)
				_, err = a.VerifyLogout(t.Context(), token)
				wantFault(t, err, "expired 0s ago")
			})
		})
	}
}

func TestHeadersOfLogoutTokens(t *testing.T) {
	t.Parallel()
	a, web := plainProvider(t)
	for _, test := range []struct {
		name    string
		changes []any
		want    string
	}{
		{"logout+jwt", nil, ""},
		{"the long form", []any{"typ", "application/logout+jwt"}, ""},
		{"in capitals", []any{"typ", "Logout+JWT"}, ""},
		{"JWT", []any{"typ", "JWT"}, ""},
		{"none", []any{"typ", nil}, ""},
		{"an access token's", []any{"typ", "at+jwt"}, "its typ is another and not logout+jwt or JWT: it is a token of another kind"},
		{"half a type", []any{"typ", "application/"}, `its typ is`},
		{"another event's", []any{"typ", "secevent+jwt"}, "its typ is"},
		{"null", []any{"typ", json.RawMessage("null")}, "its typ is"},
		{"alg none", []any{"alg", "none"}, "its alg is not one that the provider"},
		{"no alg", []any{"alg", nil}, "its alg is not one that the provider"},
		{"a secret's alg", []any{"alg", "HS256"}, "its alg is not one that the provider"},
		{"an alg that is not announced", []any{"alg", "PS256"}, "its alg is not one that the provider"},
		{"another key's id", []any{"kid", "two"}, "signed by no key that the provider publishes"},
		{"no key's id", []any{"kid", nil}, ""},
		{"crit", []any{"crit", []string{"b64"}, "b64", true}, "its header has crit"},
		{"crit of one that is unknown", []any{"crit", []string{"x"}, "x", 1}, "its header has crit"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := a.VerifyLogout(t.Context(), signJWT(0, with(with(headerOf("one"), "typ", "logout+jwt"), test.changes...), logoutClaims()))
			if test.want != "" {
				wantFault(t, err, test.want)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
	if n := web.count("/keys"); n != 2 { // at first, and once for an id that is unknown
		t.Errorf("%d requests for keys, want 2", n)
	}
}

func TestForgedLogoutTokens(t *testing.T) {
	t.Parallel()
	a, _ := plainProvider(t)
	good := logoutOf()
	parts := strings.Split(good, ".")
	header, _ := json.Marshal(with(headerOf("one"), "alg", "HS256"))
	der, err := x509.MarshalPKIXPublicKey(&testKeys()[0].PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	signed := seal.Base64url.EncodeToString(header) + "." + parts[1]
	mac.Write([]byte(signed))
	for _, test := range []struct{ name, token, want string }{
		{"by another key", signJWT(1, headerOf("one"), logoutClaims()), "signed by no key"},
		{"a claim changed", parts[0] + "." + strings.Split(logoutOf("sid", "other"), ".")[1] + "." + parts[2], "signed by no key"},
		{"without its signature", parts[0] + "." + parts[1] + ".", "signed by no key"},
		{"alg none", signJWT(0, map[string]any{"alg": "none"}, logoutClaims()), "its alg is not one that"},
		{"with the public key as a secret", signed + "." + seal.Base64url.EncodeToString(mac.Sum(nil)), "its alg is not one that"},
		{"an ID token", signJWT(0, headerOf("one"), someClaims(otherBase)), "events has no back-channel logout"},
		{"an ID token with the event", signJWT(0, headerOf("one"), with(logoutClaims(), "nonce", "n")), "nonce is there"},
		{"a member twice", signJWT(0, headerOf("one"), `{"sid":"a",`+mustJSON(logoutClaims())[1:]), "a member is twice in its claims"},
		{"an event twice", signJWT(0, headerOf("one"), strings.Replace(mustJSON(logoutClaims()), `"events":{`, `"events":{"`+logoutEvent+`":true,`, 1)), "a member is twice in its claims"},
		{"a header member twice", signJWT(0, `{"alg":"none",`+mustJSON(headerOf("one"))[1:], logoutClaims()), "a member is twice in its header"},
		{"nothing", "", "not a JWT"},
		{"two parts", parts[0] + "." + parts[1], "not a JWT"},
		{"five parts", good + ".x.y", "not a JWT"},
		{"a header that is no object", signJWT(0, `[]`, logoutClaims()), "not a JWT"},
		{"claims that are no object", signJWT(0, headerOf("one"), `[]`), "not a JWT"},
		{"no base64", parts[0] + ".=." + parts[2], "not a JWT"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := a.VerifyLogout(t.Context(), test.token)
			wantFault(t, err, "msauth: logout token: ")
			wantFault(t, err, test.want)
		})
	}
}

// The published forms of other providers, with their header types and claims.
func TestLogoutTokensOfOtherProviders(t *testing.T) {
	t.Parallel()
	a, _ := plainProvider(t)
	now := time.Now().Unix()
	for _, test := range []struct {
		name, typ, claims string
	}{
		{"Keycloak 23.0.3, without exp", "JWT", `{"iat":NOW,"jti":"a2836698-0b2b-4c5c-a21f-2f5e1c7e9a3c","iss":"ISS","aud":"AUD","sub":"f2f9b9a5","typ":"Logout","sid":"6a1e","events":{"http://schemas.openid.net/event/backchannel-logout":{}}}`},
		{"Keycloak, with offline sessions", "logout+jwt", `{"exp":LATER,"iat":NOW,"jti":"b","iss":"ISS","aud":"AUD","sub":"f2f9b9a5","typ":"Logout","sid":"6a1e","events":{"http://schemas.openid.net/event/backchannel-logout":{},"revoke_offline_access":true}}`},
		{"Auth0", "logout+jwt", `{"iss":"ISS","sub":"auth0|602e93","aud":"AUD","iat":NOW,"exp":LATER,"jti":"c","events":{"http://schemas.openid.net/event/backchannel-logout":{}},"trace_id":"x","sid":"375UVwvKKxhZ4U"}`},
		{"Duende", "JWT", `{"iss":"ISS","nbf":NOW,"iat":NOW,"exp":LATER,"aud":"AUD","jti":"D","events":{"http://schemas.openid.net/event/backchannel-logout":{}},"sub":"84","sid":"5A2E"}`},
		{"the specification's example", "logout+jwt", `{"iss":"ISS","sub":"248289761001","aud":"AUD","iat":NOW,"exp":LATER,"jti":"bWJq","sid":"08a5019c-17e1-4977-8f42-65a12843ea02","events":{"http://schemas.openid.net/event/backchannel-logout":{}}}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			claims := strings.NewReplacer("NOW", mustJSON(now), "LATER", mustJSON(now+120), "ISS", otherBase, "AUD", testClient).Replace(test.claims)
			l, err := a.VerifyLogout(t.Context(), signJWT(0, with(headerOf("one"), "typ", test.typ), claims))
			if err != nil || l.SID == "" || l.Subject == "" {
				t.Errorf("%+v, %v", l, err)
			}
		})
	}
}

func TestMicrosoftSendsNoLogoutTokens(t *testing.T) {
	t.Parallel()
	for name, make := range map[string]func(*testing.T) (*Authority, *published){"Entra": entraProvider, "External ID": ciamProvider, "B2C": b2cProvider} {
		a, web := make(t)
		issuer := map[string]string{"Entra": entraBase, "External ID": ciamIssuer, "B2C": b2cIssuer}[name]
		_, err := a.VerifyLogout(t.Context(), logoutOf("iss", issuer))
		wantFault(t, err, "this provider sends none")
		if web.count("") != 0 {
			t.Errorf("%s: %d requests", name, web.count(""))
		}
	}
}

// Strangers can send any key id. They cause a request in five minutes, also while
// the provider is unavailable, and do not keep sign-ins from finding a new key.
func TestLogoutTokensCauseFewRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, web := plainProvider(t)
		stranger := func(kid string) error {
			t.Helper()
			_, err := a.VerifyLogout(t.Context(), signJWT(2, headerOf(kid), logoutClaims()))
			return err
		}
		keys := func(want int) {
			t.Helper()
			if n := web.count("/keys"); n != want {
				t.Errorf("%d requests for keys, want %d", n, want)
			}
		}
		if _, err := a.VerifyLogout(t.Context(), logoutOf()); err != nil {
			t.Fatal(err)
		}
		keys(1)
		for _, kid := range []string{"x", "y", "z", ""} {
			wantFault(t, stranger(kid), "signed by no key")
		}
		keys(2)
		web.set(otherBase+"/keys", keySet("one", "two"))
		if _, err := a.verified(signJWT(0, headerOf("two"), someClaims(otherBase))); err != nil {
			t.Errorf("a sign-in with a new key: %v", err)
		}
		keys(3)
		web.set(otherBase+"/keys", keySet("one", "two", "three"))
		three := signJWT(0, headerOf("three"), with(logoutClaims(), "exp", at(time.Hour)))
		if _, err := a.VerifyLogout(t.Context(), three); err == nil {
			t.Error("a new key was found at once, with a request that strangers can cause")
		}
		time.Sleep(keysRefetch - time.Second)
		_, err := a.VerifyLogout(t.Context(), three)
		wantFault(t, err, "signed by no key")
		keys(3)
		time.Sleep(time.Second)
		if _, err := a.VerifyLogout(t.Context(), three); err != nil {
			t.Error(err)
		}
		keys(4)

		web.set(otherBase+"/keys", unavailable)
		time.Sleep(keysRefetch)
		if _, ok := errors.AsType[KeysUnavailableError](stranger("x")); !ok {
			t.Error("no KeysUnavailableError")
		}
		for range 10 {
			time.Sleep(documentPause)
			wantFault(t, stranger("x"), "signed by no key")
		}
		keys(5)
	})
}

// Before the keys were ever read, a logout token can have them read.
func TestLogoutTokenWhileTheProviderIsDown(t *testing.T) {
	t.Parallel()
	for _, document := range []string{otherDiscovery, otherBase + "/keys"} {
		a, web := plainProvider(t)
		web.set(document, unavailable)
		if _, err := a.VerifyLogout(t.Context(), logoutOf()); err == nil {
			t.Error("accepted")
		} else if _, ok := errors.AsType[KeysUnavailableError](err); !ok {
			t.Errorf("%v is no KeysUnavailableError", err)
		}
	}
}

// Whatever somebody sends, it is refused, or the provider has signed it.
func FuzzLogoutToken(f *testing.F) {
	a, web := testProvider(f, otherBase, otherBase, issuerIs(otherBase))
	good := logoutOf("exp", nil)
	for _, token := range []string{
		good, logoutOf(), logoutOf("nonce", "n"), logoutOf("iss", "x"), signJWT(0, headerOf("one"), someClaims(otherBase)), signJWT(1, headerOf("two"), logoutClaims()),
		signJWT(0, `{"alg":"none"}`, logoutClaims()), good + ".", "..", signJWT(0, headerOf("one"), strings.Repeat("[", 5000)), signJWT(0, headerOf("one"), `{"sid":1,"sid":2}`),
	} {
		f.Add(token)
	}
	f.Fuzz(func(t *testing.T, token string) {
		l, err := a.VerifyLogout(t.Context(), token)
		if n := web.count("/keys"); n > 2 {
			t.Errorf("%d requests for keys", n)
		}
		if err != nil {
			if !strings.HasPrefix(err.Error(), "msauth: logout token: ") || len(err.Error()) > 400 || strings.ContainsAny(err.Error(), "\r\n") {
				t.Errorf("%q: %v", token, err)
			}
			return
		}
		if l.JTI == "" || l.Issuer != otherBase || l.SID == "" && l.Subject == "" || !time.Now().Before(l.Expires) || time.Until(l.Expires) > maxTokenAge+FutureLeeway {
			t.Errorf("%q gives %+v", token, l)
		}
		dot := strings.LastIndexByte(token, '.')
		digest := sha256.Sum256([]byte(token[:dot]))
		if signature, err := seal.Base64url.DecodeString(token[dot+1:]); err != nil || rsa.VerifyPKCS1v15(&testKeys()[0].PublicKey, crypto.SHA256, digest[:], signature) != nil {
			t.Errorf("%q was not signed", token)
		}
	})
}
