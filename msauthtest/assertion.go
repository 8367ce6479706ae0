package msauthtest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"time"
)

// jwtBearer is the only client_assertion_type (RFC 7523 section 2.2).
const jwtBearer = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// maxAssertion is the longest client assertion, in bytes. Microsoft's limit is
// not known.
const maxAssertion = 64 << 10

// clockSkew is how far the clock of a client may be ahead.
const clockSkew = 5 * time.Minute

// An assertion is a compact JWS (RFC 7515) whose payload is a set of claims.
type assertion struct {
	header, claims map[string]any // numbers are json.Number
	input          string         // what is signed
	signature      []byte
}

// parseAssertion does not check the signature.
func parseAssertion(text string) (a assertion, ok bool) {
	parts := strings.Split(text, ".")
	if len(text) > maxAssertion || len(parts) != 3 || strings.ContainsAny(text, "\r\n") { // package base64 skips line breaks
		return a, false
	}
	var err error
	if a.signature, err = base64.RawURLEncoding.Strict().DecodeString(parts[2]); err != nil {
		return a, false
	}
	a.input = parts[0] + "." + parts[1]
	a.header, a.claims = jsonObject(parts[0]), jsonObject(parts[1])
	_, critical := a.header["crit"] // RFC 7515 section 4.1.11: none is understood
	return a, a.header != nil && a.claims != nil && !critical
}

// jsonObject decodes a part of a JWS, or returns nil.
func jsonObject(part string) map[string]any {
	text, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil || !json.Valid(text) {
		return nil
	}
	var object map[string]any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if d.Decode(&object) != nil {
		return nil
	}
	return object
}

// verifies reports whether a public key made the signature, with the algorithm
// of the header.
func (a assertion) verifies(key crypto.PublicKey) bool {
	sum := sha256.Sum256([]byte(a.input))
	switch key := key.(type) {
	case *rsa.PublicKey:
		switch a.header["alg"] {
		case "RS256":
			return rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], a.signature) == nil
		case "PS256": // RFC 7518 section 3.5: the salt is as long as the hash
			return rsa.VerifyPSS(key, crypto.SHA256, sum[:], a.signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		}
	case *ecdsa.PublicKey:
		if a.header["alg"] != "ES256" || len(a.signature) != 64 {
			return false
		}
		r, s := new(big.Int).SetBytes(a.signature[:32]), new(big.Int).SetBytes(a.signature[32:])
		return ecdsa.Verify(key, sum[:], r, s)
	}
	return false
}

// textOf returns a text of the header or the claims, or "".
func textOf(object map[string]any, name string) string {
	s, _ := object[name].(string)
	return s
}

// date returns a NumericDate (RFC 7519 section 2).
func (a assertion) date(name string) (t time.Time, present, ok bool) {
	value, present := a.claims[name]
	if !present {
		return time.Time{}, false, true
	}
	n, isNumber := value.(json.Number)
	if !isNumber {
		return time.Time{}, true, false
	}
	seconds, err := n.Float64()
	if err != nil || seconds < -1e11 || seconds > 1e11 {
		return time.Time{}, true, false
	}
	return time.UnixMilli(int64(seconds * 1000)), true, true
}

// inTime reports whether an assertion with these claims nbf and exp is valid
// now. Microsoft tolerates clocks that differ by five minutes; the server is
// stricter with exp.
func inTime(nbf, exp time.Time) bool {
	now := time.Now()
	return exp.After(now) && !nbf.After(now.Add(clockSkew))
}

// unused records an assertion by its audience and jti (RFC 7523 section 3), and
// reports whether it is the first with them.
func (e *exchange) unused(audience, jti string, exp time.Time) bool {
	key := audience + "\n" + jti
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	if old, ok := e.assertions[key]; ok && old.After(now) {
		return false
	}
	if len(e.assertions) >= keep {
		for key, exp := range e.assertions {
			if !exp.After(now) {
				delete(e.assertions, key)
			}
		}
	}
	e.assertions[key] = exp
	return true
}

// checkAssertion returns the credential that a client assertion was made with,
// if it is known, and why the request is refused, if it is.
func (e *exchange) checkAssertion(r *http.Request) (*Credential, Failure) {
	switch kind := r.PostForm.Get("client_assertion_type"); kind {
	case jwtBearer:
	case "":
		return nil, refusal(900144, "'client_assertion_type'")
	default:
		return nil, refusal(90011, "")
	}
	a, ok := parseAssertion(r.PostForm.Get("client_assertion"))
	if e.tenant.family == plain {
		if !ok {
			return nil, unauthenticated("The client assertion is not a signed JWT.")
		}
		return e.checkKey(a)
	}
	if !ok {
		return nil, refusal(50027, "")
	}
	if typ, present := a.header["typ"]; present && typ != "JWT" && typ != "http://openid.net/specs/jwt/1.0" {
		return nil, refusal(5002727, "")
	}
	for _, name := range []string{"iss", "sub"} {
		if f := a.requireText(name); !f.isZero() {
			return nil, f
		}
	}
	if strings.Contains(textOf(a.claims, "iss"), "://") {
		return e.checkFederated(r, a)
	}
	return e.checkCertificate(r, a)
}

// requireText refuses an assertion without a claim that must be a text.
func (a assertion) requireText(name string) Failure {
	value, present := a.claims[name]
	switch s, ok := value.(string); {
	case !present || ok && s == "":
		return refusal(90014, "'"+name+"'")
	case !ok:
		return refusal(50027, "")
	}
	return Failure{}
}

// checkCertificate checks an assertion that was signed with the key of a
// certificate.
func (e *exchange) checkCertificate(r *http.Request, a assertion) (*Credential, Failure) {
	// What identifies the certificate in the documented form, and in the older
	// one.
	algorithm := textOf(a.header, "alg")
	name, ok := map[string]string{"PS256": "x5t#S256", "RS256": "x5t"}[algorithm]
	switch {
	case a.header["typ"] == nil:
		return nil, refusal(5002727, "")
	case !ok:
		return nil, unsupported(algorithm, "PS256, RS256")
	case textOf(a.claims, "iss") != textOf(a.claims, "sub"):
		return nil, refusal(50048, "")
	case !strings.EqualFold(textOf(a.claims, "iss"), e.ClientID):
		return nil, refusal(700021, "")
	case textOf(a.header, "x5t") == "" && textOf(a.header, "x5t#S256") == "":
		return nil, refusal(5002723, "")
	}
	thumb := textOf(a.header, name)
	c, standing := e.find(certificateCredential, func(c *Credential) bool {
		return thumb != "" && thumb == map[string]string{"x5t#S256": c.sha256, "x5t": c.sha1}[name]
	})
	var cert *x509.Certificate
	if c != nil {
		cert = c.cert
	}
	if standing == removed {
		if chain := a.chain(name, thumb); chain != nil {
			trusted, s := e.find(trustedIssuer, func(c *Credential) bool { return c.issued(chain) })
			if trusted != nil {
				c, standing, cert = trusted, s, chain[0]
			}
		}
	}
	now := time.Now()
	switch {
	case standing == removed:
		return c, e.keyFailure("The certificate with identifier used to sign the client assertion is not registered on application.", "The key was not found.", thumb, "")
	case standing == revoked:
		return c, refusal(7000214, "")
	case now.Before(cert.NotBefore) || now.After(cert.NotAfter), standing == outdated && c.kind == trustedIssuer:
		return c, refusal(1000502, "")
	case standing == outdated:
		return c, e.keyFailure(invalidSignature, "The key used is expired.", thumb, c.found())
	case !a.verifies(cert.PublicKey):
		found := ""
		if c.kind == certificateCredential {
			found = c.found()
		}
		return c, e.keyFailure(invalidSignature, "The provided signature value did not match the expected signature value.", thumb, found)
	}
	return c, e.checkClaims(r, a)
}

// chain returns the certificates of the header x5c (RFC 7515 section 4.1.6), if
// the first one has the thumbprint that the header names.
func (a assertion) chain(name, thumb string) []*x509.Certificate {
	list, _ := a.header["x5c"].([]any)
	if len(list) == 0 || len(list) > 10 {
		return nil
	}
	var chain []*x509.Certificate
	for _, entry := range list {
		s, _ := entry.(string)
		der, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			return nil
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil
		}
		chain = append(chain, cert)
	}
	sum := sha256.Sum256(chain[0].Raw)
	if thumb != map[string]string{"x5t#S256": b64(sum[:]), "x5t": thumbprint(chain[0].Raw)}[name] {
		return nil
	}
	return chain
}

// issued reports whether a trusted issuer issued a certificate for its subject.
// It does not look at the certificate's dates.
func (c *Credential) issued(chain []*x509.Certificate) bool {
	leaf := chain[0]
	if leaf.Subject.CommonName != c.subject && !slices.Contains(leaf.DNSNames, c.subject) {
		return false
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(c.cert)
	for _, cert := range chain[1:] {
		between.AddCert(cert)
	}
	at := time.Now()
	if at.Before(leaf.NotBefore) {
		at = leaf.NotBefore
	}
	if at.After(leaf.NotAfter) {
		at = leaf.NotAfter
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	return err == nil
}

// checkClaims checks the documented claims of an assertion that the app has
// signed. Microsoft sets no limit to the time between nbf and exp.
func (e *exchange) checkClaims(r *http.Request, a assertion) Failure {
	endpoint := e.origin + r.URL.EscapedPath()
	if f := a.requireText("aud"); !f.isZero() {
		return f
	}
	if textOf(a.claims, "aud") != endpoint {
		return refusal(700023, "")
	}
	dates := map[string]time.Time{}
	for _, name := range []string{"nbf", "iat", "exp"} {
		t, present, ok := a.date(name)
		if !present {
			return refusal(90014, "'"+name+"'")
		}
		if !ok {
			return refusal(50027, "")
		}
		dates[name] = t
	}
	if !inTime(dates["nbf"], dates["exp"]) {
		return outOfTime(dates["nbf"], dates["exp"])
	}
	if f := a.requireText("jti"); !f.isZero() {
		return f
	}
	if !e.unused(endpoint, textOf(a.claims, "jti"), dates["exp"]) {
		return refusal(reusedAssertion, "")
	}
	return Failure{}
}

// checkKey checks an assertion at the plain provider (OpenID Connect Core
// section 9). The audience is the issuer alone, as the update of RFC 7523
// requires.
func (e *exchange) checkKey(a assertion) (*Credential, Failure) {
	algorithms, _ := e.plainAlgorithms()
	switch typ, present := a.header["typ"]; {
	case present && typ != "JWT" && typ != "client-authentication+jwt":
		return nil, unauthenticated("The header typ of the client assertion is not JWT.")
	case !has(algorithms, textOf(a.header, "alg")):
		return nil, unauthenticated("The client assertion's algorithm is not supported.")
	}
	kid := textOf(a.header, "kid")
	c, standing := e.find(keyCredential, func(c *Credential) bool { return kid != "" && kid == c.kid })
	switch {
	case standing == outdated:
		return c, unauthenticated("The key of the client assertion is not valid now.")
	case standing != valid:
		return c, unauthenticated("No key with the kid of the client assertion is registered.")
	case !a.verifies(c.key):
		return c, unauthenticated("The client assertion's signature is wrong.")
	}
	issuer := e.tenant.issuer(e.origin)
	nbf, _, ok1 := a.date("nbf")
	_, _, ok2 := a.date("iat")
	exp, present, ok3 := a.date("exp")
	jti := textOf(a.claims, "jti")
	switch {
	case textOf(a.claims, "iss") != e.ClientID || textOf(a.claims, "sub") != e.ClientID:
		return c, unauthenticated("The claims iss and sub of the client assertion are not the client ID.")
	case a.claims["aud"] != any(issuer):
		return c, unauthenticated("The claim aud of the client assertion is not the issuer alone.")
	case !ok1 || !ok2 || !ok3 || !present:
		return c, unauthenticated("The client assertion has no exp, or a date that is not a number.")
	case !inTime(nbf, exp):
		return c, unauthenticated("The client assertion is not valid now.")
	case jti == "":
		return c, unauthenticated("The client assertion has no jti.")
	case !e.unused(issuer, jti, exp):
		return c, unauthenticated("The client assertion was used before.")
	}
	return c, Failure{}
}

// fingerprint returns a thumbprint as Microsoft prints it, or "".
func fingerprint(thumb string) string {
	sum, err := base64.RawURLEncoding.DecodeString(thumb)
	if err != nil {
		return ""
	}
	return strings.ToUpper(hex.EncodeToString(sum))
}
