package msauthtest

import (
	"context"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"time"
)

// checkFederated checks a token of another issuer. The same token may be used
// many times.
func (e *exchange) checkFederated(r *http.Request, a assertion) (*Credential, Failure) {
	c, f := e.matchFederated(a)
	if !f.isZero() {
		return c, f
	}
	// "Considerations and restrictions for federated identity credentials": only
	// RS256 is supported.
	algorithm, kid := textOf(a.header, "alg"), textOf(a.header, "kid")
	if algorithm != "RS256" {
		return c, unsupported(algorithm, "RS256")
	}
	if kid == "" {
		return c, refusal(5002723, "")
	}
	keys, err := issuerKeys(r.Context(), c.issuer)
	if err != nil {
		return c, refusal(501661, "")
	}
	key := keys[kid]
	if key == nil {
		return c, Failure{Codes: []int{7000272}, Description: fmt.Sprintf("The certificate with identifier %.100s used to sign the federated credential could not be found in the metadata of identity provider %s. Please validate that your Identity Provider's metadata exposes the key used to sign the incoming token.", kid, c.issuer)}
	}
	if !a.verifies(key) {
		return c, e.keyFailure(invalidSignature, "The provided signature value did not match the expected signature value.", "", "")
	}
	nbf, _, ok := a.date("nbf")
	exp, present, ok2 := a.date("exp")
	switch {
	case !ok || !ok2:
		return c, refusal(50027, "")
	case !present:
		return c, refusal(90014, "'exp'")
	case !inTime(nbf, exp):
		return c, outOfTime(nbf, exp)
	}
	return c, Failure{}
}

// matchFederated returns the federated credential that a token is for, and why
// it is refused. All comparisons are exact.
func (e *exchange) matchFederated(a assertion) (*Credential, Failure) {
	issuer, subject := textOf(a.claims, "iss"), textOf(a.claims, "sub")
	var audiences []string
	switch aud := a.claims["aud"].(type) {
	case nil:
		return nil, refusal(90014, "'aud'")
	case string:
		audiences = []string{aud}
	case []any: // as Kubernetes does
		for _, entry := range aud {
			s, ok := entry.(string)
			if !ok {
				return nil, refusal(50027, "")
			}
			audiences = append(audiences, s)
		}
	default:
		return nil, refusal(50027, "")
	}
	_, byIssuer := e.find(federatedCredential, func(c *Credential) bool { return c.issuer == issuer })
	same := func(c *Credential) bool { return c.issuer == issuer && c.subject == subject }
	named, bySubject := e.find(federatedCredential, same)
	full, byAll := e.find(federatedCredential, func(c *Credential) bool { return same(c) && has(audiences, c.audience) })
	if full != nil {
		named = full
	}
	switch {
	case byAll == valid:
		return full, Failure{}
	case e.behavior.OldFederatedErrors:
		return named, unmatchedOld(issuer, subject, strings.Join(audiences, ", "))
	case byIssuer != valid:
		return named, unmatched(700211, issuer)
	case bySubject != valid:
		return named, unmatched(700213, subject)
	}
	return named, unmatched(700212, strings.Join(audiences, ", "))
}

// maxKeys is the largest document of an issuer, in bytes.
const maxKeys = 1 << 20

// issuerClient is for requests to issuers and apps. It leaves no connections behind.
var issuerClient = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// issuerKeys fetches the RSA keys of an issuer, by kid.
func issuerKeys(ctx context.Context, issuer string) (map[string]*rsa.PublicKey, error) {
	var doc struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := issuerJSON(ctx, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration", &doc); err != nil {
		return nil, err
	}
	if doc.Issuer != issuer {
		return nil, errors.New("the discovery document is of another issuer")
	}
	var set struct {
		Keys []struct{ Kty, Kid, N, E string }
	}
	if err := issuerJSON(ctx, doc.Keys, &set); err != nil {
		return nil, err
	}
	keys := map[string]*rsa.PublicKey{}
	for _, k := range set.Keys {
		n, err := base64.RawURLEncoding.DecodeString(k.N)
		e, err2 := base64.RawURLEncoding.DecodeString(k.E)
		if k.Kty != "RSA" || err != nil || err2 != nil || len(e) > 4 {
			continue
		}
		keys[k.Kid] = &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
	}
	return keys, nil
}

// issuerJSON fetches a document. In process it calls an [Issuer] directly.
func issuerJSON(ctx context.Context, url string, v any) error {
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return err
	}
	if i := issuerAt(url); i != nil && ctx.Value(directKey{}) != nil {
		var rec recorder
		i.ServeHTTP(&rec, req)
		if rec.status != http.StatusOK {
			return errors.New("status " + http.StatusText(rec.status))
		}
		return json.Unmarshal(rec.body.Bytes(), v)
	}
	res, err := issuerClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return errors.New("status " + res.Status)
	}
	return json.NewDecoder(io.LimitReader(res.Body, maxKeys)).Decode(v)
}
