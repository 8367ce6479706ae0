package msauthtest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// liveIdentity is the lifetime of an authentication token. It is guessed, from
// the advice to keep a replaced secret for a day to verify tokens (SDK, the
// constructor of LiveAuthClient).
const liveIdentity = 24 * time.Hour

// Version returns the number of a client secret at Live Connect: 0 for
// [Server.ClientSecret], and then 1, 2 and so on, in the order of
// [Server.AddSecret]. Authentication tokens name it as kid. It panics if the
// credential is not a client secret.
func (c *Credential) Version() int {
	c.mustBeSecret("Version")
	return c.version
}

// Activate makes a client secret the active one at Live Connect: it signs
// authentication tokens from now on, and secrets of lower versions are refused
// there. Until then the secret before it signs, and both are accepted (SDK, the
// constructor of LiveAuthClient). Other providers have no active secret.
// Activate panics if the credential is not a client secret.
func (c *Credential) Activate() {
	c.mustBeSecret("Activate")
	c.change(func() { c.server.liveVersion = c.version })
}

func (c *Credential) mustBeSecret(method string) {
	if c.kind != secretCredential {
		panic("msauthtest: " + method + ": the credential is not a client secret")
	}
}

// activeVersion returns the version of the active client secret.
func (s *Server) activeVersion() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.liveVersion
}

// activeSecret returns the active client secret.
func (s *Server) activeSecret() (secret string, version int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.credentials {
		if c.kind == secretCredential && c.version == s.liveVersion {
			return c.value(), c.version
		}
	}
	panic("msauthtest: no active client secret") // there is always the first
}

// AuthenticationToken returns an authentication token of Live Connect, as a
// sign-in of a person returns it for a redirect URI on a host. change, if not
// nil, modifies its header and claims before it is signed: another kid, another
// urn:microsoft:appid, an exp in the past. The signature is that of the active
// client secret, whatever kid says; with alg "none" it is empty, and with alg
// "RS256" that of a key of this server. For tokens that a map cannot describe
// see [SignAuthenticationToken].
//
// AuthenticationToken panics if there is no such person, or if a value cannot be
// represented in JSON.
func (s *Server) AuthenticationToken(signInName, host string, change func(header, claims map[string]any)) string {
	u, ok := s.user(signInName)
	if !ok {
		panic("msauthtest: AuthenticationToken: no person " + strconv.Quote(signInName))
	}
	token, err := s.authenticationToken(u, host, change)
	if err != nil {
		panic("msauthtest: AuthenticationToken: " + err.Error())
	}
	return token
}

// SignAuthenticationToken returns an authentication token with a header and
// claims that are JSON texts, or any other texts, with the signature of a client
// secret: HMAC-SHA256 with the key SHA-256(secret + "JWTSig") (SDK,
// JsonWebToken).
//
//	msauthtest.SignAuthenticationToken(secret, `{"typ":"JWT","alg":"HS256","kid":"0"}`, `{"ver":1,"ver":1}`)
func SignAuthenticationToken(secret, header, claims string) string {
	key := sha256.Sum256([]byte(secret + "JWTSig"))
	input := b64([]byte(header)) + "." + b64([]byte(claims))
	h := hmac.New(sha256.New, key[:])
	h.Write([]byte(input))
	return input + "." + b64(h.Sum(nil))
}

// issuedAuthenticationToken returns the authentication token of a reply.
func (e *exchange) issuedAuthenticationToken(u User, redirect string) (string, error) {
	host := ""
	if v, err := url.Parse(redirect); err == nil {
		host = v.Hostname()
	}
	return e.authenticationToken(u, host, func(_, claims map[string]any) {
		if e.behavior.IDToken != nil {
			e.behavior.IDToken(e.kind, claims)
		}
	})
}

// authenticationToken returns a token with the header of SDK (JsonWebToken) and
// the claims of a public page on the tokens of App Service ("Microsoft Account
// Authentication Token"): there is no iat, no nbf, no name and no e-mail
// address. That aud is in lower case and without a port is guessed.
func (s *Server) authenticationToken(u User, host string, change func(header, claims map[string]any)) (string, error) {
	secret, version := s.activeSecret()
	header := map[string]any{"typ": "JWT", "alg": "HS256", "kid": version}
	claims := map[string]any{
		"ver":                  1,
		"iss":                  "urn:windows:liveid",
		"exp":                  time.Now().Add(liveIdentity).Unix(),
		"uid":                  s.liveUser(u),
		"aud":                  strings.ToLower(host),
		"urn:microsoft:appuri": "appid://" + s.ClientID,
		"urn:microsoft:appid":  s.ClientID,
	}
	if change != nil {
		change(header, claims)
	}
	head, err := marshalOrdered(header, "typ", "alg", "kid")
	if err != nil {
		return "", err
	}
	body, err := marshalOrdered(claims, "ver", "iss", "exp", "uid", "aud", "urn:microsoft:appuri", "urn:microsoft:appid")
	if err != nil {
		return "", err
	}
	token := ""
	switch header["alg"] {
	case "none":
		token = b64(head) + "." + b64(body) + "."
	case "RS256":
		token = pooledKey(personalKey, 0).signRS256(head, body)
	default:
		token = SignAuthenticationToken(secret, string(head), string(body))
	}
	s.addSecrets(token)
	return token, nil
}

// liveUser returns the claim uid: 32 hexadecimal digits that differ from app to
// app and from person to person.
func (s *Server) liveUser(u User) string {
	sum := sha256.Sum256([]byte("uid\x00" + strings.ToLower(s.ClientID) + "\x00" + u.ObjectID))
	return hex.EncodeToString(sum[:16])
}
