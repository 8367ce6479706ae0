//go:build !unix

package dirlock

// Lock does nothing: do not run two programs on one directory at a time.
func Lock(string) (unlock func(), err error) { return func() {}, nil }
