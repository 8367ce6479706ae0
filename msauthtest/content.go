package msauthtest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"strings"
	"sync"
)

// memoryLimit is the size, in bytes, up to which the content of a file is held
// in memory. A larger one is in a temporary file.
const memoryLimit = 256 << 10

// A content is what a file contains. It is never modified, and items that are
// copies of each other share it.
type content struct {
	size   int64
	small  []byte    // the bytes, unless file is set
	file   *tempFile // that has the bytes
	places []extent  // of the bytes in file, in order
	hashes hashes

	picture func() *picture // its size if it is one, or nil
}

// An extent is a part of a temporary file.
type extent struct{ offset, size int64 }

// newContent returns a content that is held in memory.
func newContent(data []byte) *content {
	s := newSums()
	s.Write(data)
	return s.content(data)
}

// reader returns a reader of the whole content.
func (c *content) reader() *io.SectionReader { return io.NewSectionReader(c, 0, c.size) }

// ReadAt implements io.ReaderAt.
func (c *content) ReadAt(p []byte, offset int64) (n int, err error) {
	if c.file == nil {
		return bytes.NewReader(c.small).ReadAt(p, offset)
	}
	for _, place := range c.places {
		if offset >= place.size {
			offset -= place.size
			continue
		}
		part := p[n:]
		part = part[:min(int64(len(part)), place.size-offset)]
		done, err := c.file.ReadAt(part, place.offset+offset)
		n += done
		if done < len(part) {
			return n, err
		}
		offset = 0
		if n == len(p) {
			return n, nil
		}
	}
	return n, io.EOF
}

// hashes are the hashes of a content, in the forms of the resource hashes.
// Microsoft's files have had no SHA-1 since July 2023.
type hashes struct{ quickXor, sha256 string }

// sums computes the hashes of a content while its bytes arrive.
type sums struct {
	quick  quickXor
	sha256 hash.Hash
}

func newSums() *sums { return &sums{sha256: sha256.New()} }

// Write implements io.Writer. It never fails.
func (s *sums) Write(p []byte) (int, error) {
	s.quick.Write(p)
	return s.sha256.Write(p)
}

// clone returns a copy that goes on independently.
func (s *sums) clone() *sums {
	twin, _ := s.sha256.(hash.Cloner).Clone() // never fails
	return &sums{quick: s.quick, sha256: twin}
}

// content returns the content of the bytes that were written so far. data is
// all of them, or nil if they are in a temporary file.
func (s *sums) content(data []byte) *content {
	c := &content{
		size: int64(s.quick.size), small: data,
		hashes: hashes{s.quick.sum(), strings.ToUpper(hex.EncodeToString(s.sha256.Sum(nil)))},
	}
	c.picture = sync.OnceValue(func() *picture { return measure(c) })
	return c
}

// collect reads a content to its end.
func (t *tempFiles) collect(from io.Reader) (*content, error) {
	sum := newSums()
	var head bytes.Buffer
	n, err := io.Copy(io.MultiWriter(&head, sum), io.LimitReader(from, memoryLimit+1))
	if err != nil {
		return nil, err
	}
	if n <= memoryLimit {
		return sum.content(head.Bytes()), nil
	}
	f, err := t.create()
	if err != nil {
		return nil, err
	}
	at := io.NewOffsetWriter(f, 0)
	if _, err := at.Write(head.Bytes()); err != nil {
		return nil, errStorage{err}
	}
	if err := copyTo(at, sum, from); err != nil {
		return nil, err
	}
	c := sum.content(nil)
	c.file, c.places = f, []extent{{0, c.size}}
	return c, nil
}

// copyTo copies from to a temporary file and to the hashes. It tells errors of
// the file from those of the reader.
func copyTo(file io.Writer, sum *sums, from io.Reader) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil && err != io.EOF {
			return err // what came with it may be more than was announced
		}
		sum.Write(buf[:n])
		if _, err := file.Write(buf[:n]); err != nil {
			return errStorage{err}
		}
		if err == io.EOF {
			return nil
		}
	}
}
