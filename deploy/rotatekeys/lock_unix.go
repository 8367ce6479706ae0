//go:build unix

package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// lock has no other run of this program change files of a directory, until the returned
// function is called or this one ends in whatever way.
func lock(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		d.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: another run is changing keys there; the next one looks again", dir)
		}
		return nil, fmt.Errorf("%s: cannot be locked: %w", dir, err)
	}
	return func() { d.Close() }, nil
}
