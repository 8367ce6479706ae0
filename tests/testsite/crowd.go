package testsite

import "os"

// Long says that tests take as long as they may: MSAUTH_TEST_LONG is set, as
// make test-long does. What looks for rare races, or for memory that is lost
// drop by drop, is then repeated far more often.
var Long = os.Getenv("MSAUTH_TEST_LONG") != ""

// How many people, and how many requests, the large tests have.
var (
	// Crowd is a number of people.
	Crowd = Times(100, 1000)
	// Flood is a number of requests.
	Flood = Times(5_000, 100_000)
	// ManySessions is a number of sessions.
	ManySessions = Times(500, 10_000)
)

// Times is how often something is tried: usually, and in long tests.
func Times(usual, long int) int {
	if Long {
		return long
	}
	return usual
}
