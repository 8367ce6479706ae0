package session

import (
	"strings"
	"testing"
)

// The names of entries in Config.Tokens are in databases: they must not change.
func TestPrefix(t *testing.T) {
	t.Parallel()
	if got, want := (Registration{1, 2, 3, 4, 5, 6, 7, 0xF8}).Prefix(), "msauth:01020304050607f8:"; got != want || !strings.HasPrefix(got, StoredPrefix) {
		t.Errorf("%q, want %q", got, want)
	}
}
