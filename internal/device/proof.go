package device

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// maxProof limits a proof, in bytes: with an RSA key of 4096 bits it has about 2,000.
const maxProof = 4 << 10

// algorithms are those that a registration offers.
var algorithms = []jose.SignatureAlgorithm{jose.ES256, jose.RS256}

// proofType is the typ of the JWT.
const proofType = "dbsc+jwt"

// A header is the part of a proof's header that is read. Names are exact: a member that
// differs from one of them by case only is refused.
type header struct {
	typ string
	jwk json.RawMessage
}

// ReadRegistration reads the proof that registers a key, and returns the key and the
// challenge that is signed. The signature is that of the key itself.
func ReadRegistration(proof string) (*Key, string, error) {
	h, err := readHeader(proof)
	if err != nil {
		return nil, "", err
	}
	if h.jwk == nil {
		return nil, "", errors.New("msauth: device: the proof brings no key (jwk)")
	}
	var jwk jose.JSONWebKey
	if err := jwk.UnmarshalJSON(h.jwk); err != nil || !jwk.Valid() {
		return nil, "", errors.New("msauth: device: jwk is no key")
	}
	if !jwk.IsPublic() {
		return nil, "", errors.New("msauth: device: jwk has private members")
	}
	key, err := newKey(jwk.Key)
	if err != nil {
		return nil, "", err
	}
	challenge, err := key.verify(proof)
	return key, challenge, err
}

// Check checks a proof of a key that was registered before, and returns the challenge
// that is signed. The proof brings no key.
func (k *Key) Check(proof string) (challenge string, err error) {
	h, err := readHeader(proof)
	if err != nil {
		return "", err
	}
	if h.jwk != nil {
		return "", errors.New("msauth: device: the proof brings a key, and should be of the one that is registered")
	}
	return k.verify(proof)
}

// readHeader reads the header of a proof whose signature was not checked.
func readHeader(proof string) (h header, err error) {
	if len(proof) > maxProof {
		return h, fmt.Errorf("msauth: device: the proof has more than %d bytes", maxProof)
	}
	encoded, _, _ := strings.Cut(proof, ".")
	text, err := decode(encoded)
	if err != nil {
		return h, errForm
	}
	members, err := object(text)
	if err != nil {
		return h, err
	}
	_ = json.Unmarshal(members["typ"], &h.typ)
	if h.typ != proofType {
		return h, errors.New("msauth: device: typ is not " + proofType)
	}
	h.jwk = members["jwk"]
	return h, nil
}

// errForm means that a proof is no JWT.
var errForm = errors.New("msauth: device: the proof is no JWT")

// verify checks the signature and returns the challenge: jti is all that browsers send.
func (k *Key) verify(proof string) (challenge string, err error) {
	jws, err := jose.ParseSignedCompact(proof, algorithms)
	if err != nil {
		return "", errors.New("msauth: device: the proof is no JWT that is signed with ES256 or RS256")
	}
	if len(jws.Signatures) != 1 || jws.Signatures[0].Header.Algorithm != string(k.algorithm) {
		return "", errors.New("msauth: device: alg does not fit the key")
	}
	payload, err := jws.Verify(k.public)
	if err != nil {
		return "", errors.New("msauth: device: signed with another key")
	}
	members, err := object(payload)
	if err != nil {
		return "", err
	}
	if json.Unmarshal(members["jti"], &challenge) != nil || challenge == "" {
		return "", errors.New("msauth: device: jti is missing")
	}
	return challenge, nil
}
