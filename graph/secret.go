package graph

import (
	"fmt"
	"log/slog"
)

// A SecretURL is a pre-authenticated URL: whoever has it can do what it is for,
// without a token. It does not print, neither in JSON nor in templates; convert it to
// a string to use it. It does print where fmt cannot call its methods: as a field
// that is not exported.
type SecretURL string

const hidden = "[hidden]"

// String implements [fmt.Stringer] and returns "[hidden]".
func (SecretURL) String() string { return hidden }

// GoString implements [fmt.GoStringer] and returns "[hidden]".
func (SecretURL) GoString() string { return hidden }

// Format implements [fmt.Formatter] and writes "[hidden]" whatever the verb is.
func (SecretURL) Format(f fmt.State, _ rune) { fmt.Fprint(f, hidden) }

// LogValue implements [slog.LogValuer] and returns "[hidden]".
func (SecretURL) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText implements [encoding.TextMarshaler], which encoding/json calls too,
// and returns "[hidden]".
func (SecretURL) MarshalText() ([]byte, error) { return []byte(hidden), nil }
