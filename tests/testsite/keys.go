package testsite

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.com/msauth"
)

// KeyLine is a key as it is in a file.
func KeyLine(key []byte) string { return base64.StdEncoding.EncodeToString(key) }

// A KeyFile is a file with keys, at its path.
type KeyFile string

// NewKeyFile makes a file with these keys, in a directory of the test's own.
func NewKeyFile(t *testing.T, keys ...[]byte) KeyFile {
	t.Helper()
	f := KeyFile(filepath.Join(t.TempDir(), "keys"))
	f.Write(t, keys...)
	return f
}

// Write puts another file with these keys in its place.
func (f KeyFile) Write(t *testing.T, keys ...[]byte) {
	t.Helper()
	var text strings.Builder
	text.WriteString("# the first seals\n")
	for _, key := range keys {
		text.WriteString(KeyLine(key) + "\n")
	}
	f.Fill(t, text.String())
}

// Fill puts another file with this text in its place.
func (f KeyFile) Fill(t *testing.T, text string) {
	t.Helper()
	next := string(f) + ".new"
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, string(f)); err != nil {
		t.Fatal(err)
	}
}

// Use makes a configuration take its keys from these files.
func (f KeyFile) Use(c *msauth.Config) { c.Keys, c.KeyFiles = nil, []string{string(f)} }
