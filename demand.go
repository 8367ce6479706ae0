package msauth

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	maxChallenge = 512  // bytes of a claims challenge, as JSON
	maxClaims    = 1024 // bytes of a claims parameter that is made of several
	maxContexts  = 10   // that a sign-in carries along, should its code be refused
)

// A demand is what a sign-in is to bring beyond telling who somebody is.
type demand struct {
	scopes []string      // consent to these, in the order of scopeRules.check
	claims string        // a claims request (OpenID Connect Core section 5.5), JSON
	maxAge time.Duration // credentials entered again, at most this long ago; 0 for whenever
	again  bool          // whatever it takes to have new tokens
}

func (d demand) empty() bool {
	return len(d.scopes) == 0 && d.claims == "" && d.maxAge == 0 && !d.again
}

// A demandDigest stands for a demand where there is no room for it; it is zero
// for the empty one.
type demandDigest [8]byte

// digest is the same for demands that ask for the same. Times in claims do not
// count: a resource that is never content names a later one each time.
func (d demand) digest() (digest demandDigest) {
	if d.empty() {
		return digest
	}
	h := sha256.New()
	fmt.Fprintf(h, "%q %t %t", d.scopes, d.maxAge > 0, d.again)
	parts, _ := readMembers([]byte(d.claims))
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

// capability declares that this app handles claims challenges ("Claims
// challenges, claims requests and client capabilities").
const capability = `{"access_token":{"xms_cc":{"values":["cp1"]}}}`

// contextClaims ask for a sign-in that satisfies authentication contexts
// ("Developer guide to Conditional Access authentication context").
func contextClaims(contexts []string) string {
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

// contextsIn are the contexts that such claims ask for.
func contextsIn(request string) (contexts []string) {
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
		if validContext(id) && len(contexts) < maxContexts {
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

// asksFor reports whether a claims request names a claim.
func asksFor(request, claim string) bool {
	parts, _ := readMembers([]byte(request))
	for _, part := range parts {
		if claims, _ := readMembers(part); claims[claim] != nil {
			return true
		}
	}
	return false
}

// mergeClaims puts two claims requests into one. What is none is left out, and
// so is the second where both would be too long.
func mergeClaims(a, b string) string {
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

// checkChallenge returns a claims challenge in its shortest form, or "" where
// that is no claims request or too long to be carried to Microsoft.
func checkChallenge(text string) string {
	var short bytes.Buffer
	if _, ok := readMembers([]byte(text)); !ok || json.Compact(&short, []byte(text)) != nil || short.Len() > maxChallenge {
		return ""
	}
	return short.String()
}

// insufficientClaims is the error of a claims challenge, and invalidToken what
// Azure Resource Manager says in its place. Without claims the latter is but a
// token that is not good.
const (
	insufficientClaims = "insufficient_claims"
	invalidToken       = "invalid_token"
)

// challengeIn finds the claims challenge in an API's answer, "" if there is
// none that can be used: a Bearer challenge (RFC 9110 section 11.6.1, RFC 6750
// section 3) with error="insufficient_claims", or invalid_token, and claims in
// base64.
func challengeIn(h http.Header) string {
	for _, line := range h["Www-Authenticate"] {
		if len(line) > 16<<10 {
			continue
		}
		for challenge := range challenges(line) {
			if code := challenge.params["error"]; !strings.EqualFold(challenge.scheme, "Bearer") || code != insufficientClaims && code != invalidToken {
				continue
			}
			// Microsoft's resources use both alphabets, with and without padding.
			text := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(challenge.params["claims"], "="))
			if decoded, err := decodeBase64(base64.RawStdEncoding, text); err == nil {
				if claims := checkChallenge(string(decoded)); claims != "" {
					return claims
				}
			}
		}
	}
	return ""
}

// An authChallenge is one of those in a WWW-Authenticate line. A parameter that
// is repeated has no value.
type authChallenge struct {
	scheme string
	params map[string]string
}

// challenges reads a WWW-Authenticate line up to where it is malformed.
func challenges(line string) func(yield func(authChallenge) bool) {
	return func(yield func(authChallenge) bool) {
		var current authChallenge
		for {
			line = strings.TrimLeft(line, " \t,")
			word := line[:tokenLength(line)]
			if word == "" {
				break
			}
			line = line[len(word):]
			rest := strings.TrimLeft(line, " \t")
			if !strings.HasPrefix(rest, "=") {
				if current.scheme != "" && !yield(current) {
					return
				}
				current = authChallenge{scheme: word, params: map[string]string{}}
				continue
			}
			value, after, ok := paramValue(strings.TrimLeft(rest[1:], " \t"))
			if !ok {
				break
			}
			line = after
			name := strings.ToLower(word)
			if _, repeated := current.params[name]; repeated {
				value = ""
			}
			if current.params != nil {
				current.params[name] = value
			}
		}
		if current.scheme != "" {
			yield(current)
		}
	}
}

// paramValue reads a quoted text (RFC 9110 section 5.6.4) or, in place of a
// token, whatever there is up to a comma or white space: Microsoft Graph has
// been seen to send URLs without quotes.
func paramValue(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		n := strings.IndexAny(s, ", \t\r\n")
		if n < 0 {
			n = len(s)
		}
		return s[:n], s[n:], true
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], true
		case '\\':
			if i++; i == len(s) {
				return "", "", false
			}
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}

// tokenLength is how many bytes of s are a token (RFC 9110 section 5.6.2) or,
// for the text after a scheme, a token68.
func tokenLength(s string) int {
	i := strings.IndexFunc(s, func(c rune) bool {
		return c <= ' ' || c > '~' || strings.ContainsRune(`"(),;<=>?@[\]{}`, c)
	})
	if i < 0 {
		return len(s)
	}
	return i
}
