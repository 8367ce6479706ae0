package graph

import (
	"crypto/subtle"
	"encoding/binary"
	"hash"
)

// NewQuickXorHash returns the hash that all kinds of accounts have for files ("Code Snippets: QuickXorHash Algorithm"): 20 bytes, base64 in [Hashes]. It
// finds mistakes of a transfer, not those that somebody makes on purpose.
func NewQuickXorHash() hash.Hash { return new(quickXor) }

const (
	quickXorSize  = 20
	quickXorBits  = 8 * quickXorSize
	quickXorShift = 11
	// After quickXorBlock bytes the shifts begin again at the first bit, because
	// 11 and 160 have no common divisor.
	quickXorBlock = quickXorBits
)

// A quickXor adds each byte, without carry, to 160 bits in a ring, each byte 11
// bits further than the one before. It keeps the bytes themselves, one above the
// other, and does the shifting at the end.
type quickXor struct {
	cells [quickXorBlock]byte
	next  int
	total uint64
}

func (q *quickXor) Size() int      { return quickXorSize }
func (q *quickXor) BlockSize() int { return quickXorBlock }
func (q *quickXor) Reset()         { *q = quickXor{} }

func (q *quickXor) Write(p []byte) (int, error) {
	n := len(p)
	q.total += uint64(n)
	for len(p) > 0 {
		cells := q.cells[q.next:]
		done := subtle.XORBytes(cells, cells, p) // as many as the shorter one has
		p = p[done:]
		q.next = (q.next + done) % quickXorBlock
	}
	return n, nil
}

func (q *quickXor) Sum(b []byte) []byte {
	var ring [quickXorSize]byte
	for i, cell := range q.cells {
		bit := i * quickXorShift % quickXorBits
		at, shifted := bit/8, uint16(cell)<<(bit%8)
		ring[at] ^= byte(shifted)
		if at == quickXorSize-1 {
			ring[0] ^= byte(shifted >> 8)
		} else {
			ring[at+1] ^= byte(shifted >> 8)
		}
	}
	var length [8]byte
	binary.LittleEndian.PutUint64(length[:], q.total)
	for i, b := range length {
		ring[quickXorSize-8+i] ^= b
	}
	return append(b, ring[:]...)
}
