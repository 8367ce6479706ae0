package testsite

import (
	"bytes"
	"strings"
	"sync"
)

// Reset forgets what was written so far.
func (l *LogBuffer) Reset() {
	l.Mu.Lock()
	defer l.Mu.Unlock()
	l.B.Reset()
}

// LogBuffer is a log that a test can read while the site writes it.
type LogBuffer struct {
	Mu sync.Mutex
	B  bytes.Buffer
}

// Write appends to the log; it never fails.
func (l *LogBuffer) Write(p []byte) (int, error) {
	l.Mu.Lock()
	defer l.Mu.Unlock()
	return l.B.Write(p)
}

// String is all that was written since the last Reset.
func (l *LogBuffer) String() string {
	l.Mu.Lock()
	defer l.Mu.Unlock()
	return l.B.String()
}

// With returns the lines that contain a text.
func (l *LogBuffer) With(text string) (lines []string) {
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, text) {
			lines = append(lines, line)
		}
	}
	return lines
}
