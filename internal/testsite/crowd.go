//go:build !race

package testsite

// How many people, and how many requests, the large tests have.
const (
	Crowd        = 1000
	Flood        = 100_000
	ManySessions = 10_000
)
