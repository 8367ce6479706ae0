//go:build race

package msauth

const raceDetector = true
