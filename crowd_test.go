//go:build !race

package msauth_test

// How many people, and how many requests, the large tests have.
const (
	crowd        = 1000
	flood        = 100_000
	manySessions = 10_000
)
