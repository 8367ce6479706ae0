// Package dirlock has one program at a time use a directory.
package dirlock

import "errors"

// ErrLocked means that another program holds the lock.
var ErrLocked = errors.New("another run holds it")
