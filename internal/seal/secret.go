package seal

import (
	"fmt"
	"log/slog"
)

// A Secret is a token, code or the like. Whatever prints or encodes it shows
// that it is there and nothing of it.
type Secret string

// Hide keeps a secret where package fmt does not look: in unexported fields it
// takes no notice of the methods below.
func Hide(s string) func() Secret { return func() Secret { return Secret(s) } }

const Hidden = "[hidden]"

func (Secret) String() string { return Hidden }

func (Secret) GoString() string { return Hidden }

func (Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, Hidden) }

func (Secret) LogValue() slog.Value { return slog.StringValue(Hidden) }

func (Secret) MarshalText() ([]byte, error) { return []byte(Hidden), nil }
