package script

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"strings"
)

//go:embed msauth.js
var source string

// Module is the text to serve.
var Module = withoutComments(source)

// Version is another text for another Module, fit for a query.
var Version = func() string {
	sum := sha256.Sum256([]byte(Module))
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}()

// withoutComments leaves out the lines that are comments, and nothing but comments, and
// the indentation: they are more than half of what browsers would load.
func withoutComments(source string) string {
	var b strings.Builder
	inside := false
	for line := range strings.Lines(source) {
		text := strings.TrimSpace(line)
		switch {
		case inside:
			inside = !strings.HasSuffix(text, "*/")
		case strings.HasPrefix(text, "/*"):
			inside = !strings.HasSuffix(text, "*/")
		case text == "" || strings.HasPrefix(text, "//"):
		default:
			b.WriteString(text + "\n")
		}
	}
	return b.String()
}
