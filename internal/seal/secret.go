package seal

import (
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"log/slog"
)

// A Secret is a token, a code or the like. Printing, logging or encoding it
// shows [Hidden]; only a conversion to string gives the text. It must not be the
// key of a map, which encoding/json writes without asking.
type Secret string

// Hidden is what is shown in place of a secret.
const Hidden = "[hidden]"

// Hide returns a function that returns s. It is for unexported struct fields:
// package fmt prints those without calling their methods, and of a function it
// prints an address.
func Hide(s string) func() Secret { return func() Secret { return Secret(s) } }

// String implements [fmt.Stringer] and returns [Hidden].
func (Secret) String() string { return Hidden }

// GoString implements [fmt.GoStringer] and returns [Hidden].
func (Secret) GoString() string { return Hidden }

// Format implements [fmt.Formatter] and writes [Hidden] whatever the verb is.
func (Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, Hidden) }

// LogValue implements [slog.LogValuer] and returns [Hidden].
func (Secret) LogValue() slog.Value { return slog.StringValue(Hidden) }

// MarshalText implements [encoding.TextMarshaler], which encoding/json calls
// too, and returns [Hidden].
func (Secret) MarshalText() ([]byte, error) { return []byte(Hidden), nil }

// RandomBytes fills b with random bytes, fit for keys and ids. It always
// succeeds: crypto/rand ends the program if it cannot.
func RandomBytes(b []byte) { rand.Read(b) }

// SameText reports whether a and b are equal. For texts of one length the time
// it takes does not depend on where they differ.
func SameText(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
