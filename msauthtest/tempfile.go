package msauthtest

import (
	"errors"
	"maps"
	"os"
	"runtime"
	"slices"
	"sync"
)

// errStorage is a failure of the temporary directory, not of the client.
type errStorage struct{ error }

func (e errStorage) Unwrap() error { return e.error }

var errClosed = errors.New("msauthtest: the server is closed")

// tempFiles are the temporary files of a server. Each is closed when nothing
// refers to it any longer, and all are when the server is closed.
type tempFiles struct {
	mu     sync.Mutex
	closed bool
	serial int
	open   map[int]*os.File
	names  map[int]string // of those that could not be removed while they are open
}

// A tempFile is a temporary file. It has no name where the system allows that.
type tempFile struct{ *os.File }

func (t *tempFiles) create() (*tempFile, error) {
	f, err := os.CreateTemp("", "msauthtest-")
	if err != nil {
		return nil, errStorage{err}
	}
	removed := os.Remove(f.Name()) == nil
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		f.Close()
		os.Remove(f.Name())
		return nil, errStorage{errClosed}
	}
	if t.open == nil {
		t.open, t.names = map[int]*os.File{}, map[int]string{}
	}
	t.serial++
	t.open[t.serial] = f
	if !removed {
		t.names[t.serial] = f.Name()
	}
	file := &tempFile{f}
	runtime.AddCleanup(file, func(serial int) {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.forget(serial)
	}, t.serial)
	return file, nil
}

// forget closes and removes a file. t.mu is held.
func (t *tempFiles) forget(serial int) {
	if f, ok := t.open[serial]; ok {
		f.Close()
	}
	if name, ok := t.names[serial]; ok {
		os.Remove(name)
	}
	delete(t.open, serial)
	delete(t.names, serial)
}

// close closes and removes all files.
func (t *tempFiles) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for _, serial := range slices.Collect(maps.Keys(t.open)) {
		t.forget(serial)
	}
}
