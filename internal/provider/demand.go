package provider

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

const (
	maxClaims   = 1024 // bytes of a claims parameter that is made of several
	maxContexts = 10   // that a sign-in carries along, should its code be refused
)

// A Requirement is what a sign-in is to bring beyond telling who somebody is.
type Requirement struct {
	Scopes []string      // consent to these, in the order of scopeRules.check
	Claims string        // a claims request (OpenID Connect Core section 5.5), JSON
	MaxAge time.Duration // credentials entered again, at most this long ago; 0 for whenever
	Again  bool          // whatever it takes to have new tokens
}

func (d Requirement) Empty() bool {
	return len(d.Scopes) == 0 && d.Claims == "" && d.MaxAge == 0 && !d.Again
}

// A RequirementDigest stands for a demand where there is no room for it; it is zero
// for the empty one.
type RequirementDigest [8]byte

// Digest is the same for demands that ask for the same. Times in claims do not
// count: a resource that is never content names a later one each time.
func (d Requirement) Digest() (digest RequirementDigest) {
	if d.Empty() {
		return digest
	}
	h := sha256.New()
	fmt.Fprintf(h, "%q %t %t", d.Scopes, d.MaxAge > 0, d.Again)
	parts, _ := readMembers([]byte(d.Claims))
	for _, part := range slices.Sorted(maps.Keys(parts)) {
		claims, ok := readMembers(parts[part])
		if fmt.Fprintf(h, " %q", part); !ok {
			h.Write(parts[part])
		}
		for _, name := range slices.Sorted(maps.Keys(claims)) {
			if fmt.Fprintf(h, " %q", name); name != "nbf" {
				h.Write(claims[name])
			}
		}
	}
	copy(digest[:], h.Sum(nil))
	return digest
}

// Capability declares that this app handles claims challenges ("Claims
// challenges, claims requests and client capabilities").
const Capability = `{"access_token":{"xms_cc":{"values":["cp1"]}}}`

// ContextClaims ask for a sign-in that satisfies authentication contexts
// ("Developer guide to Conditional Access authentication context").
func ContextClaims(contexts []string) string {
	if len(contexts) == 0 {
		return ""
	}
	want := map[string]any{"essential": true, "value": contexts[0]}
	if len(contexts) > 1 {
		want = map[string]any{"essential": true, "values": contexts}
	}
	text, _ := json.Marshal(map[string]any{"id_token": map[string]any{"acrs": want}}) // texts and a bool
	return string(text)
}

// ContextsIn are the contexts that such claims ask for.
func ContextsIn(request string) (contexts []string) {
	var doc struct {
		IDToken struct {
			ACRS struct {
				Value  string
				Values []string
			}
		} `json:"id_token"`
	}
	if json.Unmarshal([]byte(request), &doc) != nil {
		return nil
	}
	for _, id := range append(doc.IDToken.ACRS.Values, doc.IDToken.ACRS.Value) {
		if ValidContext(id) && len(contexts) < maxContexts {
			contexts = append(contexts, id)
		}
	}
	return contexts
}

// members are those of a JSON object. The members of a claims request say what
// is asked of the access token, of the ID token and so on; they are objects,
// those that are none are nobody's business here.
type members map[string]json.RawMessage

func readMembers(text []byte) (m members, ok bool) {
	return m, json.Unmarshal(text, &m) == nil && m != nil
}

// AsksFor reports whether a claims request names a claim.
func AsksFor(request, claim string) bool {
	parts, _ := readMembers([]byte(request))
	for _, part := range parts {
		if claims, _ := readMembers(part); claims[claim] != nil {
			return true
		}
	}
	return false
}

// MergeClaims puts two claims requests into one. What is none is left out, and
// so is the second where both would be too long.
func MergeClaims(a, b string) string {
	first, okA := readMembers([]byte(a))
	second, okB := readMembers([]byte(b))
	switch {
	case !okA && !okB:
		return ""
	case !okA:
		return b
	case !okB:
		return a
	}
	for name, part := range second {
		have, okA := readMembers(first[name])
		more, okB := readMembers(part)
		if okA && okB {
			maps.Copy(have, more)
			part, _ = json.Marshal(have) // of JSON that was read
		}
		first[name] = part
	}
	text, err := json.Marshal(first)
	if err != nil || len(text) > maxClaims {
		return a
	}
	return string(text)
}
