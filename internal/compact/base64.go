package compact

import (
	"encoding/base64"
	"strings"

	"example.com/msauth/internal/seal"
)

var (
	base64Std    = base64.StdEncoding.Strict()
	base64Legacy = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789*!").WithPadding('$').Strict()
	// encodings are what kindURL, kindStd and kindLegacy undo.
	encodings = [...]*base64.Encoding{kindURL: seal.Base64url, kindStd: base64Std, kindLegacy: base64Legacy}
)

// base64Kind returns the kind of base64 that a text can be, judged by its
// characters, or kindPlain if it can be none.
func base64Kind(s string) byte {
	kind := byte(kindURL)
	for i := range len(s) {
		var now byte
		switch c := s[i]; {
		case c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z':
			continue
		case c == '-' || c == '_':
			now = kindURL
		case c == '+' || c == '/' || c == '=':
			now = kindStd
		case c == '*' || c == '!' || c == '$':
			now = kindLegacy
		}
		if now == kindPlain || kind != now && kind != kindURL {
			return kindPlain
		}
		kind = now
	}
	return kind
}

// base64Head splits a text that is base64 but for a leading dash or an
// incomplete last group, as some refresh tokens are.
func base64Head(s string) (head, tail string) {
	if rest, ok := strings.CutPrefix(s, "-"); ok && len(rest)%4 == 0 && len(rest) > 0 {
		return "-", rest
	}
	if len(s) < 12 || len(s)%4 == 0 {
		return "", ""
	}
	return s[:len(s)/4*4], s[len(s)/4*4:]
}
