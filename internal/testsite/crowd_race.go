//go:build race

package testsite

// The race detector makes everything about ten times slower. The large tests
// are as large as they must be without it.
const (
	Crowd        = 100
	Flood        = 5_000
	ManySessions = 500
)
