package msauthtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"slices"
	"strings"
)

// signRS256 returns a compact JWS (RFC 7515), signed as Microsoft signs its
// tokens.
func (k *signingKey) signRS256(header, payload []byte) string {
	input := b64(header) + "." + b64(payload)
	sum := sha256.Sum256([]byte(input))
	signature, err := rsa.SignPKCS1v15(rand.Reader, k.private, crypto.SHA256, sum[:])
	if err != nil {
		panic("msauthtest: " + err.Error())
	}
	return input + "." + b64(signature)
}

// verifies reports whether the key signed a compact JWS, with RS256.
func (k *signingKey) verifies(parts []string) bool {
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return false
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	return rsa.VerifyPKCS1v15(&k.private.PublicKey, crypto.SHA256, sum[:], signature) == nil
}

// signIDToken returns an ID token, signed as [Behavior.Signing] says.
func (e *exchange) signIDToken(u User, claims map[string]any) (string, error) {
	return e.sign("JWT", u, claims)
}

// sign returns a token of a type, signed as [Behavior.Signing] says.
func (e *exchange) sign(typ string, u User, claims map[string]any) (string, error) {
	payload, err := marshalClaims(claims)
	if err != nil {
		return "", err
	}
	key := e.idTokenKey(u)
	header := func(alg, kid string) []byte {
		text := `{"typ":"` + typ + `","alg":"` + alg + `"`
		if kid != "" {
			text += `,"kid":"` + kid + `"`
		}
		return []byte(text + "}")
	}
	input := func(alg, kid string) string { return b64(header(alg, kid)) + "." + b64(payload) }
	good := func() (input string, signature []byte) {
		token := key.signRS256(header("RS256", key.kid), payload)
		i := strings.LastIndexByte(token, '.')
		signature, _ = base64.RawURLEncoding.DecodeString(token[i+1:])
		return token[:i+1], signature
	}
	mac := func(secret []byte) string {
		input := input("HS256", key.kid)
		h := hmac.New(sha256.New, secret)
		h.Write([]byte(input))
		return input + "." + b64(h.Sum(nil))
	}
	switch e.behavior.Signing {
	case SignPS256:
		input := input("PS256", key.kid)
		sum := sha256.Sum256([]byte(input))
		signature, err := rsa.SignPSS(rand.Reader, key.private, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		return input + "." + b64(signature), err
	case SignES256:
		input := input("ES256", ecKeyID)
		signature, err := signES256(input)
		return input + "." + b64(signature), err
	case SignNone:
		return input("none", "") + ".", nil
	case SignHS256Secret:
		return mac([]byte(e.ClientSecret)), nil
	case SignHS256Public:
		der, err := x509.MarshalPKIXPublicKey(key.private.Public())
		if err != nil {
			return "", err
		}
		return mac(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), nil
	case SignUnknownKey:
		return strangerKey().signRS256(header("RS256", key.kid), payload), nil
	case SignUnpublished:
		return strangerKey().signRS256(header("RS256", strangerKey().kid), payload), nil
	case SignWithoutKeyID:
		return key.signRS256(header("RS256", ""), payload), nil
	case SignWrongKeyID:
		return key.signRS256(header("RS256", randomText(27)), payload), nil
	case SignFlippedBit:
		input, signature := good()
		signature[len(signature)/2] ^= 1
		return input + b64(signature), nil
	case SignTruncated:
		input, signature := good()
		return input + b64(signature[:len(signature)-1]), nil
	case SignForeignCloud:
		foreign := pooledKey(foreignKey, 0)
		return foreign.signRS256(header("RS256", foreign.kid), payload), nil
	case SignOtherClass:
		class := personalKey
		if e.tenant.class(u.personal()) == personalKey {
			class = workKey
		}
		other := e.signingKey(class)
		return other.signRS256(header("RS256", other.kid), payload), nil
	default:
		return key.signRS256(header("RS256", key.kid), payload), nil
	}
}

// signES256 signs with the elliptic curve key (RFC 7518 section 3.4).
func signES256(input string) ([]byte, error) {
	sum := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, ecKey(), sum[:])
	if err != nil {
		return nil, err
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return signature, nil
}

// marshalClaims encodes claims in Microsoft's order: aud, iss, iat, nbf and exp
// first, the others by name.
func marshalClaims(claims map[string]any) ([]byte, error) {
	return marshalOrdered(claims, "aud", "iss", "iat", "nbf", "exp")
}

// marshalOrdered encodes members, the named ones first, the others by name.
func marshalOrdered(claims map[string]any, first ...string) ([]byte, error) {
	var names []string
	for name := range claims {
		if !slices.Contains(first, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var b strings.Builder
	sep := "{"
	for _, name := range append(first, names...) {
		value, ok := claims[name]
		if !ok {
			continue
		}
		b.WriteString(sep)
		sep = ","
		for i, v := range []any{name, value} {
			var text strings.Builder
			enc := json.NewEncoder(&text)
			enc.SetEscapeHTML(false)
			if err := enc.Encode(v); err != nil {
				return nil, err
			}
			b.WriteString(strings.TrimSuffix(text.String(), "\n"))
			if i == 0 {
				b.WriteByte(':')
			}
		}
	}
	if sep == "{" {
		return []byte("{}"), nil
	}
	b.WriteByte('}')
	return []byte(b.String()), nil
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
