package msauthtest

import (
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
)

// quickXorCells is how many bytes of a file the hash tells apart by their
// position: byte n is rotated by 11n bits, and 11*160 is a multiple of the
// hash's 160 bits.
const quickXorCells = 160

// A quickXor computes quickXorHash ("Code Snippets: QuickXorHash Algorithm").
// The zero value is that of an empty file. A copy goes on independently.
type quickXor struct {
	cells [quickXorCells]byte // the XOR of all bytes whose positions are equal modulo 160
	size  uint64
}

// Write implements io.Writer. It never fails.
func (q *quickXor) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		cells := q.cells[q.size%quickXorCells:]
		done := subtle.XORBytes(cells, cells, p)
		q.size += uint64(done)
		p = p[done:]
	}
	return n, nil
}

// sum returns the hash in base64, the form of the property quickXorHash.
func (q *quickXor) sum() string {
	var out [20]byte
	for i, b := range q.cells {
		bit := i * 11 % quickXorCells
		at, shift := bit/8, bit%8
		out[at] ^= b << shift
		out[(at+1)%len(out)] ^= byte(uint16(b) >> (8 - shift))
	}
	var size [8]byte
	binary.LittleEndian.PutUint64(size[:], q.size)
	subtle.XORBytes(out[12:], out[12:], size[:])
	return base64.StdEncoding.EncodeToString(out[:])
}
