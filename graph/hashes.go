package graph

import (
	"bytes"
	"crypto/fips140"
	"crypto/sha1" // #nosec G505 -- what the drive has
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"hash"
	"io"
)

// ErrCorrupt means that content is not what its hash says.
var ErrCorrupt = errors.New("graph: the content does not have the file's hash")

// A hasher computes a hash of a file's content, and knows what it should be.
type hasher struct {
	hash.Hash
	want []byte
}

// hasher returns the hash that can be relied on most, or nil if there is none:
// QuickXorHash is the only one that all kinds of accounts have ("hashes resource
// type").
func (h *Hashes) hasher() *hasher {
	if h == nil {
		return nil
	}
	if quick := h.quickXor(); quick != nil {
		return quick
	}
	if want, err := hex.DecodeString(h.SHA256); err == nil && len(want) == sha256.Size {
		return &hasher{sha256.New(), want}
	}
	if want, err := hex.DecodeString(h.SHA1); err == nil && len(want) == sha1.Size && !fips140.Enforced() {
		return &hasher{sha1.New(), want} // #nosec G401 -- what the drive has
	}
	return nil
}

// quickXor returns the QuickXorHash, or nil if there is none.
func (h *Hashes) quickXor() *hasher {
	if h == nil {
		return nil
	}
	if want, err := base64.StdEncoding.DecodeString(h.QuickXor); err == nil && len(want) == quickXorSize {
		return &hasher{NewQuickXorHash(), want}
	}
	return nil
}

// matches reports whether what was written is the content.
func (h *hasher) matches() bool { return bytes.Equal(h.Sum(nil), h.want) }

// Verify reads content to its end and returns [ErrCorrupt] if it is not that of
// the file, which must have a hash. It is for files that were put together from
// several downloads.
func Verify(file DriveItem, content io.Reader) error {
	if file.File == nil {
		return &InvalidError{Field: "item", Value: file.Name, Reason: "is not a file"}
	}
	h := file.File.Hashes.hasher()
	if h == nil {
		return &InvalidError{Field: "item", Value: file.Name, Reason: "has no hash"}
	}
	n, err := io.Copy(h, content)
	switch {
	case err != nil:
		return err
	case n != file.Size || !h.matches():
		return ErrCorrupt
	}
	return nil
}
