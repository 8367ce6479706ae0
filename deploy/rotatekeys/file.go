package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"example.com/msauth/deploy/internal/dirlock"
)

// fileStore is a file. The new text is written beside it and takes its place, so that
// nobody sees half of it, whenever the program or the machine stops. Of two runs at the
// same time one fails.
type fileStore struct {
	path string
	// at is called before each step, by tests.
	at func(step string)
}

func (s fileStore) step(name string) {
	if s.at != nil {
		s.at(name)
	}
}

func (s fileStore) change(_ context.Context, f func([]byte) ([]byte, error)) error {
	path, err := filepath.EvalSymlinks(s.path) // a link stays one
	if errors.Is(err, fs.ErrNotExist) {
		path, err = s.path, nil
	}
	if err != nil {
		return err
	}
	unlock, err := dirlock.Lock(filepath.Dir(path))
	switch {
	case errors.Is(err, dirlock.ErrLocked):
		return fmt.Errorf("%s: another run is changing keys there; the next one looks again", filepath.Dir(path))
	case err != nil:
		return err
	}
	defer unlock()
	mode := fs.FileMode(0o600)
	text, err := os.ReadFile(path)
	switch info, failed := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		text = nil
	case err != nil:
		return err
	case failed != nil:
		return failed
	default:
		mode = info.Mode().Perm()
		if text == nil {
			text = []byte{}
		}
	}
	changed, err := f(text)
	if err != nil || changed == nil {
		return err
	}
	s.step("write")
	next := path + ".new"
	_ = os.Remove(next) // of a run that was interrupted
	file, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(changed[:len(changed)/2])
	s.step("write on")
	_, rest := file.Write(changed[len(changed)/2:])
	s.step("keep")
	err = errors.Join(err, rest, file.Chmod(mode), keepOwner(file, path), file.Sync(), file.Close())
	s.step("rename")
	if err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		_ = os.Remove(next)
		return err
	}
	s.step("end")
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
