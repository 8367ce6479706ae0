package msauth

import (
	"encoding/binary"
	"strings"
	"time"
)

// appendDemand and readDemand carry a demand in a sealed link.
func appendDemand(e *encoder, d demand) {
	e.text(strings.Join(d.scopes, " "))
	e.text(d.claims)
	e.b = binary.AppendUvarint(e.b, uint64(d.maxAge/time.Second))
	e.b = append(e.b, flag(d.again, 1))
}

func readDemand(d *decoder) demand {
	return demand{
		scopes: strings.Fields(d.text()),
		claims: d.text(),
		maxAge: time.Duration(min(d.uvarint(), uint64(longestMaxAge/time.Second))) * time.Second,
		again:  d.flags() == 1,
	}
}
