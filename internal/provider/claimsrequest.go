package provider

import (
	"encoding/json"
	"maps"
)

const (
	maxClaims   = 1024 // bytes of a claims request that was merged
	maxContexts = 10   // that ContextsIn returns
)

// Capability is the claims request by which an app declares that it handles claims
// challenges ("Claims challenges, claims requests and client capabilities").
const Capability = `{"access_token":{"xms_cc":{"values":["cp1"]}}}`

// ContextClaims returns the claims request for a sign-in that satisfies one of the
// authentication contexts ("Developer guide to Conditional Access authentication
// context"); "" for none.
func ContextClaims(contexts []string) string {
	if len(contexts) == 0 {
		return ""
	}
	want := map[string]any{"essential": true, "value": contexts[0]}
	if len(contexts) > 1 {
		want = map[string]any{"essential": true, "values": contexts}
	}
	text, _ := json.Marshal(map[string]any{"id_token": map[string]any{"acrs": want}}) // strings and a bool cannot fail
	return string(text)
}

// ContextsIn returns the authentication contexts that a claims request asks for, at
// most ten.
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

// members are the members of a JSON object. Those of a claims request say what is
// asked of the ID token, of the access token and so on, and are objects themselves;
// others are passed on as they are.
type members map[string]json.RawMessage

// readMembers reports whether text is a JSON object, and returns its members.
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

// MergeClaims joins two claims requests into one. A text that is not a JSON object is
// left out, and so is b if the result would be longer than 1024 bytes.
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
			part, _ = json.Marshal(have) // cannot fail: it was read as JSON
		}
		first[name] = part
	}
	text, err := json.Marshal(first)
	if err != nil || len(text) > maxClaims {
		return a
	}
	return string(text)
}
