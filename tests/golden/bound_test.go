package golden_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"regexp"
)

var goldenOffer = regexp.MustCompile(`path="([^"]+)";challenge="([^"]+)"`)

// bind signs somebody in, and binds the session to a key, as browsers do.
func (a *goldenApp) bind() {
	a.t.Helper()
	answer := a.get(a.atMicrosoft(a.begin("/")))
	offer := goldenOffer.FindStringSubmatch(answer.header.Get("Secure-Session-Registration"))
	if offer == nil {
		a.t.Fatalf("nothing is offered: status %d", answer.status)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		a.t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	input := encode(fmt.Appendf(nil, `{"alg":"ES256","typ":"dbsc+jwt","jwk":{"kty":"EC","crv":"P-256","x":%q,"y":%q}}`, encode(point[1:33]), encode(point[33:]))) +
		"." + encode(fmt.Appendf(nil, `{"jti":%q}`, offer[2]))
	sum := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		a.t.Fatal(err)
	}
	proof := input + "." + encode(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
	if got := a.do(http.MethodPost, offer[1], "", "Sec-Fetch-Site", "same-origin", "Secure-Session-Response", proof); got.status != http.StatusOK {
		a.t.Fatalf("registration: status %d; log:\n%s", got.status, a.log)
	}
	a.get("/") // the mark of the sign-in is gone then
}
