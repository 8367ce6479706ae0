// Package reload reads what an operator keeps in files, such as certificates and
// keys, and reads it again when a file changes.
//
// A [Source] keeps the last good content: a file that is missing, half written or
// wrong changes nothing but [Source.Look]'s fault. It starts no goroutine and
// watches nothing: whoever needs the content looks, which costs one stat a file.
// A [Pace] says when that is, for content that every request needs.
//
// The package imports the standard library alone, and does not know what it reads.
package reload

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// MaxSize limits a file, in bytes.
const MaxSize = 1 << 20

// settleTime is how old a modification must be to count as the last one: file
// systems count time in steps, so two changes can have the same time.
const settleTime = 2 * time.Second

// ErrBusy means that a file changed while it was read.
var ErrBusy = errors.New("the file is being written")

// A Source is what one or several files hold together. It may be used by many
// goroutines at once.
type Source[T any] struct {
	paths []string
	parse func(contents [][]byte) (T, error)

	mu      sync.Mutex
	files   []os.FileInfo // when they were last read; nil if that must be done again
	seen    digest        // of the content that was last judged
	value   T             // the last good one
	good    digest        // of its content
	version int
	judged  error // why what was seen is not good; nil if it is
}

// Open reads the files and returns a Source. parse is called with the content of
// each, in the order of the paths, whenever one has changed; an error that it
// returns should say what is wrong and what to do.
func Open[T any](parse func(contents [][]byte) (T, error), paths ...string) (*Source[T], error) {
	if slices.Contains(paths, "") {
		return nil, errors.New("cannot be used: the path is empty")
	}
	s := &Source[T]{paths: paths, parse: parse}
	_, _, err := s.Look()
	for range 20 {
		if !errors.Is(err, ErrBusy) {
			break
		}
		time.Sleep(5 * time.Millisecond)
		_, _, err = s.Look()
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Look returns the last good value, after reading the files again if one of them
// has changed. The version counts the values, from 1. fault is why the files as
// they are now give no value; it names them.
func (s *Source[T]) Look() (value T, version int, fault error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refresh(); err != nil {
		s.files = nil
		return s.value, s.version, err
	}
	return s.value, s.version, s.judged
}

// Settled reports whether the files had not changed for a while when they were
// last looked at: nobody is in the middle of writing them.
func (s *Source[T]) Settled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.files != nil
}

// Name returns the paths, for logs and errors.
func (s *Source[T]) Name() string { return strings.Join(s.paths, ", ") }

// refresh reads the files if they have changed, and judges them if their content
// has. The error says that they cannot be read. It needs the lock.
func (s *Source[T]) refresh() error {
	before, err := s.stat()
	if err != nil {
		return err
	}
	if s.files != nil && same(s.files, before) {
		return nil
	}
	contents := make([][]byte, len(s.paths))
	for i, path := range s.paths {
		if contents[i], err = read(path); err != nil {
			return fmt.Errorf("%s: %w", path, cause(err))
		}
	}
	after, err := s.stat()
	if err != nil {
		return err
	}
	if !same(before, after) {
		return fmt.Errorf("%s: %w", s.Name(), ErrBusy)
	}
	if s.files = after; !settled(after) {
		s.files = nil
	}
	seen := digestOf(contents)
	if seen == s.seen {
		return nil
	}
	s.seen, s.judged = seen, nil
	if s.version > 0 && seen == s.good {
		return nil
	}
	value, err := s.parse(contents)
	if err != nil {
		s.judged = fmt.Errorf("%s: %w", s.Name(), err)
		return nil // to be judged again when a file changes
	}
	s.value, s.good = value, seen
	s.version++
	return nil
}

type digest [sha256.Size]byte

func digestOf(contents [][]byte) (d digest) {
	h := sha256.New()
	for _, content := range contents {
		one := sha256.Sum256(content)
		h.Write(one[:])
	}
	h.Sum(d[:0])
	return d
}

func (s *Source[T]) stat() ([]os.FileInfo, error) {
	files := make([]os.FileInfo, len(s.paths))
	for i, path := range s.paths {
		info, err := os.Stat(path)
		if err == nil && !info.Mode().IsRegular() {
			err = errors.New("is not a regular file")
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, cause(err))
		}
		files[i] = info
	}
	return files, nil
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path) // #nosec G304 -- the operator names the file
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err == nil && len(content) > MaxSize {
		err = fmt.Errorf("has more than %d bytes", MaxSize)
	}
	return content, err
}

// cause returns why a file operation failed, without the path.
func cause(err error) error {
	if fault, ok := errors.AsType[*os.PathError](err); ok {
		return fault.Err
	}
	return err
}

func same(a, b []os.FileInfo) bool {
	for i := range a {
		if !os.SameFile(a[i], b[i]) || !a[i].ModTime().Equal(b[i].ModTime()) || a[i].Size() != b[i].Size() {
			return false
		}
	}
	return true
}

// settled reports whether a change after this one would have another time.
func settled(files []os.FileInfo) bool {
	for _, info := range files {
		if time.Since(info.ModTime()) < settleTime {
			return false
		}
	}
	return true
}
