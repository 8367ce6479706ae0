package provider

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"

	"example.com/msauth/internal/seal"
)

// MaxChallenge limits a claims challenge, in bytes of JSON: it is carried to the
// provider in a URL.
const MaxChallenge = 512

// InsufficientClaims is the error code of an answer with a claims challenge.
const InsufficientClaims = "insufficient_claims"

// invalidToken is the code that Azure Resource Manager uses in its place.
const invalidToken = "invalid_token"

// CheckChallenge returns a claims challenge without white space; "" if it is not a
// JSON object or longer than MaxChallenge.
func CheckChallenge(text string) string {
	var short bytes.Buffer
	if _, ok := readMembers([]byte(text)); !ok || json.Compact(&short, []byte(text)) != nil || short.Len() > MaxChallenge {
		return ""
	}
	return short.String()
}

// ChallengeIn returns the claims challenge in an API's answer, "" if it has none that
// can be used. It looks for a Bearer challenge (RFC 9110 section 11.6.1, RFC 6750
// section 3) whose error is insufficient_claims or invalid_token and whose claims
// are in base64.
func ChallengeIn(h http.Header) string {
	for _, line := range h["Www-Authenticate"] {
		if len(line) > 16<<10 {
			continue
		}
		for challenge := range challenges(line) {
			if code := challenge.params["error"]; !strings.EqualFold(challenge.scheme, "Bearer") || code != InsufficientClaims && code != invalidToken {
				continue
			}
			// Microsoft's APIs use both alphabets, with and without padding.
			text := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(challenge.params["claims"], "="))
			if decoded, err := seal.DecodeBase64(base64.RawStdEncoding, text); err == nil {
				if claims := CheckChallenge(string(decoded)); claims != "" {
					return claims
				}
			}
		}
	}
	return ""
}

// An authChallenge is one challenge of a WWW-Authenticate line. A parameter that is
// there twice has no value.
type authChallenge struct {
	scheme string
	params map[string]string // by name in lower case
}

// challenges yields the challenges of a WWW-Authenticate line. It ends where the
// line is malformed.
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

// paramValue reads the value of a parameter: a quoted string (RFC 9110 section
// 5.6.4), or everything up to a comma or white space. The latter accepts more than a
// token, because Microsoft Graph has sent URLs without quotes.
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

// tokenLength returns how many bytes at the beginning of s are a token (RFC 9110
// section 5.6.2), or a token68 in the place after a scheme.
func tokenLength(s string) int {
	i := strings.IndexFunc(s, func(c rune) bool {
		return c <= ' ' || c > '~' || strings.ContainsRune(`"(),;<=>?@[\]{}`, c)
	})
	if i < 0 {
		return len(s)
	}
	return i
}
