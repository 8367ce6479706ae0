package provider

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/web"
)

// A tokenKind is what a token is called in errors, and the types that it may have.
type tokenKind struct {
	name  string
	types []string // without "application/"
	quiet bool     // errors have no text of the token
}

var (
	idTokens             = tokenKind{"ID token", []string{"JWT"}, false}
	logoutTokens         = tokenKind{"logout token", []string{"logout+jwt", "JWT"}, true}
	authenticationTokens = tokenKind{"authentication token", []string{"JWT"}, true}
)

// errorf returns an error about a token of this kind.
func (k tokenKind) errorf(format string, args ...any) error {
	return fmt.Errorf("msauth: "+k.name+": "+format, args...)
}

// quote returns a text of the token for an error, or what stands in its place.
func (k tokenKind) quote(text, instead string) string {
	if k.quiet {
		return instead
	}
	return web.OneLine(text, 100)
}

// unverifiedClaims returns the claims of an ID token whose signature was not checked.
func unverifiedClaims(raw string) (claims, error) { return idTokens.unverified(raw) }

// unverified returns the claims of a JWT whose signature was not checked.
func (k tokenKind) unverified(raw string) (claims, error) {
	parts := strings.Split(raw, ".")
	if len(parts) == 3 {
		if payload, err := seal.Base64url.DecodeString(parts[1]); err == nil {
			var c claims
			if json.Unmarshal(payload, &c) == nil && c != nil {
				return c, nil
			}
		}
	}
	return nil, k.errorf("not a JWT")
}

// checkForm refuses tokens that a valid signature does not make acceptable: those
// of another type (RFC 8725 section 3.11), and those that have a member twice, of
// which two readers may take different ones.
func (k tokenKind) checkForm(raw string) error {
	parts := strings.Split(raw, ".") // three: unverified has checked that
	for i, part := range parts[:2] {
		data, err := seal.Base64url.DecodeString(part)
		if err != nil {
			return k.errorf("not a JWT")
		}
		name, twice, err := repeatedMember(data)
		if err != nil {
			return k.errorf("not a JWT")
		}
		if twice {
			return k.errorf("%s is twice in its %s", k.quote(strconv.Quote(web.OneLine(name, 96)), "a member"), [...]string{"header", "claims"}[i])
		}
		if i > 0 {
			break
		}
		var header claims
		if json.Unmarshal(data, &header) != nil {
			return k.errorf("not a JWT")
		}
		if typ, there := header["typ"]; there && !k.hasType(header.text("typ")) {
			return k.errorf("its typ is %s and not %s: it is a token of another kind", k.quote(string(typ), "another"), strings.Join(k.types, " or "))
		}
	}
	return nil
}

// hasType reports whether tokens of the kind have a type. "application/" may be left
// out, and case does not matter (RFC 7515 section 4.1.9).
func (k tokenKind) hasType(typ string) bool {
	if len(typ) > len("application/") && strings.EqualFold(typ[:len("application/")], "application/") {
		typ = typ[len("application/"):]
	}
	return slices.ContainsFunc(k.types, func(t string) bool { return strings.EqualFold(t, typ) })
}

// repeatedMember returns the name of a member that some object in data has twice, if
// there is one. encoding/json, on which go-oidc builds, ignores case when it
// fills a struct; so does this function for the names in tokenMembers.
func repeatedMember(data []byte) (name string, twice bool, err error) {
	type level struct {
		names map[string]bool // nil in a list
		value bool            // the next token is the value of a member
	}
	var open []level
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	for {
		token, err := decoder.Token()
		if err == io.EOF {
			return "", false, nil
		}
		if err != nil {
			return "", false, err
		}
		if n := len(open); n > 0 && open[n-1].names != nil && !open[n-1].value && token != json.Delim('}') {
			name, _ := token.(string) // no other token can be here
			key := name
			if i := slices.IndexFunc(tokenMembers, func(m string) bool { return strings.EqualFold(m, name) }); n == 1 && i >= 0 {
				key = tokenMembers[i]
			}
			if open[n-1].names[key] {
				return name, true, nil
			}
			open[n-1].names[key], open[n-1].value = true, true
			continue
		}
		switch token {
		case json.Delim('{'):
			open = append(open, level{names: map[string]bool{}})
			continue
		case json.Delim('['):
			open = append(open, level{})
			continue
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
		}
		if n := len(open); n > 0 {
			open[n-1].value = false
		}
	}
}

// tokenMembers are the members of header and claims that decide whether a token is
// accepted.
var tokenMembers = []string{"iss", "sub", "aud", "exp", "iat", "nbf", "nonce", "azp", "at_hash", "tid", "oid", "typ", "alg", "kid", "crit", "ver", "uid", liveAppID}
