package provider

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"example.com/msauth/internal/credential"
	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/web"
)

const (
	liveTokenIssuer = "urn:windows:liveid"  // claim iss
	liveAppID       = "urn:microsoft:appid" // the claim with the client ID

	maxAuthenticationToken = 8 << 10 // bytes
	maxUID                 = 100     // bytes
)

// VerifyAuthenticationToken checks an authentication token of Live Connect and returns
// what it says: that the account uid has signed in to this app. It is a JWT that is
// signed with the app's client secret, in the version that kid names ("Single sign-on
// for apps and websites", Live SDK). Its subject is in lower case, as the Live SDK
// compared it.
//
// Anybody may bring the token. No error has a part of it but short texts of a token
// whose signature is good.
func (a *Authority) VerifyAuthenticationToken(ctx context.Context, raw string) (*Identity, error) {
	k := authenticationTokens
	if len(raw) > maxAuthenticationToken {
		return nil, k.errorf("has more than %d bytes", maxAuthenticationToken)
	}
	c, err := k.unverified(raw)
	if err != nil {
		return nil, err
	}
	if err := k.checkForm(raw); err != nil {
		return nil, err
	}
	if err := a.checkLiveSignature(ctx, raw); err != nil {
		return nil, err
	}
	if err := a.checkLiveClaims(c, time.Now()); err != nil {
		return nil, err
	}
	id := &Identity{User: Account{Issuer: LiveIssuer, Subject: strings.ToLower(c.text("uid"))}}
	a.keepClaims(id, c)
	return id, nil
}

// liveHeader reads the header of a token that checkForm has passed: the number of the
// secret, credential.NoVersion if it names none.
func liveHeader(raw string) (version int, err error) {
	k := authenticationTokens
	encoded, _, _ := strings.Cut(raw, ".")
	text, err := seal.Base64url.DecodeString(encoded)
	var header claims
	if err != nil || json.Unmarshal(text, &header) != nil {
		return 0, k.errorf("not a JWT")
	}
	if header["typ"] == nil {
		return 0, k.errorf("typ is missing")
	}
	switch alg := header.text("alg"); alg {
	case "HS256":
	case "none", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "HS384", "HS512":
		return 0, k.errorf("alg is %s and not HS256", alg)
	default:
		return 0, k.errorf("alg is not HS256")
	}
	if header["crit"] != nil {
		return 0, k.errorf("has extensions that must be understood (crit)")
	}
	kid, there := header["kid"]
	if !there {
		return credential.NoVersion, nil
	}
	version, err = strconv.Atoi(strings.Trim(string(kid), `"`)) // a number, or one in a text
	if err != nil || version < 0 || strconv.Itoa(version) != strings.Trim(string(kid), `"`) {
		return 0, k.errorf("kid is not the number of a client secret")
	}
	return version, nil
}

// checkLiveSignature checks the signature: HMAC with SHA-256, whose key is the SHA-256
// of the secret and "JWTSig". It is the standard library's, because go-jose reads no kid
// that is a number, as that of Live Connect may be. It takes the same time for every
// wrong signature.
func (a *Authority) checkLiveSignature(ctx context.Context, raw string) error {
	k := authenticationTokens
	version, err := liveHeader(raw)
	if err != nil {
		return err
	}
	end := strings.LastIndexByte(raw, '.')
	signature, err := seal.DecodeText(raw[end+1:]) // one text only, so that a token can be told again
	if err != nil {
		return k.errorf("not a JWT")
	}
	var candidates int
	for _, secret := range a.Secrets(ctx) {
		if secret.Version != credential.NoVersion && secret.Version != version {
			continue
		}
		candidates++
		key := sha256.Sum256([]byte(string(secret.Value) + "JWTSig"))
		mac := hmac.New(sha256.New, key[:])
		mac.Write([]byte(raw[:end]))
		if hmac.Equal(mac.Sum(nil), signature) {
			return nil
		}
	}
	switch {
	case candidates > 0:
		return k.errorf("signed with another client secret than the app's")
	case version == credential.NoVersion:
		return k.errorf("kid is missing: it would say with which version of the client secret it is signed")
	}
	return k.errorf("signed with version %d of the client secret, which the app does not have: see Config.Credentials", version)
}

// checkLiveClaims checks the claims of a token whose signature is good.
func (a *Authority) checkLiveClaims(c claims, now time.Time) error {
	k := authenticationTokens
	quote := func(text string) string { return strconv.Quote(web.OneLine(text, 100)) }
	if iss := c.text("iss"); iss != liveTokenIssuer {
		return k.errorf("iss is %s and not %s", quote(iss), liveTokenIssuer)
	}
	if ver, there := c["ver"]; there && strings.Trim(string(ver), `"`) != "1" {
		return k.errorf("has another version than 1")
	}
	if id := c.text(liveAppID); !strings.EqualFold(id, a.ClientID) {
		return k.errorf("for the app %s (%s), and not for this one", quote(id), liveAppID)
	}
	if aud := c.text("aud"); !strings.EqualFold(aud, a.Host) {
		return k.errorf("for the site %s (aud), and not for %s", quote(aud), a.Host)
	}
	exp, ok := c.time("exp")
	switch {
	case !ok:
		return k.errorf("exp is missing")
	case now.Sub(exp) > ExpLeeway:
		return k.errorf("expired %v ago by the clock of this server", now.Sub(exp).Round(time.Second))
	}
	if _, there := c["nbf"]; there {
		nbf, ok := c.time("nbf")
		if !ok {
			return k.errorf("nbf is not a time")
		}
		if nbf.Sub(now) > FutureLeeway {
			return k.errorf("not valid for another %v by the clock of this server", nbf.Sub(now).Round(time.Second))
		}
	}
	if uid := c.text("uid"); uid == "" || len(uid) > maxUID || strings.ContainsFunc(uid, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return k.errorf("uid is missing, or is none")
	}
	return nil
}

// liveMeant is Meant for authentication tokens, which name no issuer that an Account has.
func (a *Authority) liveMeant(raw string, u *Account) (bool, error) {
	c, err := authenticationTokens.unverified(raw)
	if err != nil {
		return false, err
	}
	return strings.EqualFold(c.text("uid"), u.Subject) && strings.EqualFold(c.text(liveAppID), a.ClientID), nil
}

// AuthenticationTokenEnds returns when an authentication token ends. The token is one
// that was verified before.
func AuthenticationTokenEnds(raw string) (time.Time, error) {
	c, err := authenticationTokens.unverified(raw)
	if err != nil {
		return time.Time{}, err
	}
	exp, ok := c.time("exp")
	if !ok {
		return time.Time{}, errors.New("msauth: authentication token: exp is missing")
	}
	return exp, nil
}
