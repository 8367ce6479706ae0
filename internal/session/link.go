package session

import (
	"encoding/binary"
	"strings"
	"time"

	"example.com/msauth/internal/compact"
	"example.com/msauth/internal/provider"
)

// AppendRequirement and readDemand carry a demand in a sealed link.
func AppendRequirement(e *compact.Encoder, d provider.Requirement) {
	e.Text(strings.Join(d.Scopes, " "))
	e.Text(d.Claims)
	e.B = binary.AppendUvarint(e.B, uint64(d.MaxAge/time.Second))
	e.B = append(e.B, flag(d.Again, 1))
}

func ReadRequirement(d *compact.Decoder) provider.Requirement {
	return provider.Requirement{
		Scopes: strings.Fields(d.Text()),
		Claims: d.Text(),
		MaxAge: time.Duration(min(d.Uvarint(), uint64(LongestMaxAge/time.Second))) * time.Second,
		Again:  d.Flags() == 1,
	}
}
