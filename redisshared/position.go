package redisshared

import (
	"fmt"
	"strconv"
	"strings"
)

// seqBits are how many bits of a position count the entries within a millisecond.
// The other 43 are the time, until the year 2248.
const seqBits = 21

// positionOf returns the position of the entry with an id, "milliseconds-number".
func positionOf(id string) (uint64, error) {
	left, right, _ := strings.Cut(id, "-")
	ms, err := strconv.ParseUint(left, 10, 64-seqBits)
	if err == nil {
		var seq uint64
		if seq, err = strconv.ParseUint(right, 10, seqBits); err == nil {
			return ms<<seqBits | seq, nil
		}
	}
	return 0, fmt.Errorf("id %q of a stream is none, or has no position: %w", id, err)
}

// idOf returns the id that positionOf has made a position of.
func idOf(position uint64) string {
	return fmt.Sprintf("%d-%d", position>>seqBits, position&(1<<seqBits-1))
}
