//go:build race

package msauth_test

// The race detector makes everything about ten times slower. The large tests
// are as large as they must be without it.
const (
	crowd        = 100
	flood        = 5_000
	manySessions = 500
)
