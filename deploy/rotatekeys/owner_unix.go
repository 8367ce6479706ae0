//go:build unix

package main

import (
	"os"
	"syscall"
)

// keepOwner gives the file the owner of the one whose place it takes: the app must be
// able to read it.
func keepOwner(file *os.File, old string) error {
	info, err := os.Stat(old)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && (int(owner.Uid) != os.Getuid() || int(owner.Gid) != os.Getgid()) {
		return file.Chown(int(owner.Uid), int(owner.Gid))
	}
	return nil
}
