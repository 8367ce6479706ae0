package msauth

import (
	"fmt"
	"log/slog"
)

// A secret is a token, code or the like. Whatever prints or encodes it shows
// that it is there and nothing of it.
type secret string

// hide keeps a secret where package fmt does not look: in unexported fields it
// takes no notice of the methods below.
func hide(s string) func() secret { return func() secret { return secret(s) } }

const hidden = "[hidden]"

func (secret) String() string               { return hidden }
func (secret) GoString() string             { return hidden }
func (secret) Format(f fmt.State, _ rune)   { fmt.Fprint(f, hidden) }
func (secret) LogValue() slog.Value         { return slog.StringValue(hidden) }
func (secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }
