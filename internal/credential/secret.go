package credential

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"
	"unicode"
	"unicode/utf8"

	"example.com/msauth/internal/reload"
	"example.com/msauth/internal/seal"
)

// maxSecret limits a client secret in a file, in bytes.
const maxSecret = 4096

// byteOrderMark is what some editors of Windows put before a text.
var byteOrderMark = []byte("\ufeff")

// secret is a client secret.
type secret struct {
	value func() seal.Secret // package fmt would show the text in a field
	name  string
}

// NewSecret returns a client secret. name describes where it comes from.
func NewSecret(value, name string) (Credential, error) {
	if value == "" {
		return nil, errors.New("is empty: create a client secret under \"Certificates & secrets\" of the app registration and copy its value")
	}
	return secret{seal.Hide(value), name}, nil
}

func (s secret) Prove(context.Context, Recipient) (Proof, error) {
	return Proof{Secret: s.value()}, nil
}

// Valid knows nothing: only the provider knows when a secret ends.
func (s secret) Valid() (from, until time.Time) { return from, until }
func (s secret) Expires() bool                  { return false }
func (s secret) Name() string                   { return s.name }

// SecretFile returns a source that reads a client secret from a file. White space
// around it does not count.
func SecretFile(path string) (Source, error) {
	return reload.Open(func(contents [][]byte) (Credential, error) {
		text := bytes.TrimSpace(bytes.TrimPrefix(contents[0], byteOrderMark))
		switch {
		case len(text) == 0:
			return nil, errors.New("is empty: it must hold the value of a client secret")
		case len(text) > maxSecret:
			return nil, fmt.Errorf("has more than %d bytes: it must hold the value of a client secret and nothing else", maxSecret)
		case !utf8.Valid(text) || bytes.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }):
			return nil, errors.New("holds several lines, or no text: it must hold the value of a client secret and nothing else")
		}
		return NewSecret(string(text), "client secret in "+path)
	}, path)
}
