package session

import (
	"encoding/binary"
	"strings"
	"time"

	"example.com/msauth/internal/compact"
	"example.com/msauth/internal/provider"
)

// AppendRequirement writes a requirement into a sealed link. MaxAge is written
// in whole seconds.
func AppendRequirement(e *compact.Encoder, d provider.Requirement) {
	e.Text(strings.Join(d.Scopes, " "))
	e.Text(d.Claims)
	e.B = binary.AppendUvarint(e.B, uint64(d.MaxAge/time.Second))
	e.B = append(e.B, flag(d.Again, 1))
}

// ReadRequirement reads what AppendRequirement has written. d says whether that
// was well-formed.
func ReadRequirement(d *compact.Decoder) provider.Requirement {
	return provider.Requirement{
		Scopes: strings.Fields(d.Text()),
		Claims: d.Text(),
		MaxAge: decodeMaxAge(d),
		Again:  d.Flags() == 1,
	}
}

// decodeMaxAge reads a number of seconds, at most those of LongestMaxAge.
func decodeMaxAge(d *compact.Decoder) time.Duration {
	return time.Duration(min(d.Uvarint(), uint64(LongestMaxAge/time.Second))) * time.Second
}
