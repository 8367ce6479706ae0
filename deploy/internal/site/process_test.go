//go:build unix

package site

import (
	"strings"
	"testing"
	"time"

	"example.com/msauth/tests/testsite"
)

// What a program prints gets to the log, also long lines and one without an end, and the
// program is not stopped by them.
func TestOutput(t *testing.T) {
	t.Parallel()
	var log testsite.LogBuffer
	s := &Site{log: &lines{out: &log}}
	seen := make(chan string, 10)
	p, err := s.run("long", nil, func(line string) { seen <- line }, "/bin/sh", "-c", `head -c 300000 /dev/zero | tr '\0' x; echo; echo; printf end`)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.ended:
	case <-time.After(20 * time.Second):
		p.kill()
		t.Error("the program stands still")
	}
	close(seen)
	var got []string
	for line := range seen {
		got = append(got, line)
	}
	if len(got) != 3 || len(got[0]) != 300_000 || got[1] != "" || got[2] != "end" {
		t.Errorf("%d lines", len(got))
	}
	if text := log.String(); !strings.HasSuffix(text, "x\nlong     | \nlong     | end\n") {
		t.Errorf("the log ends with %q", text[max(0, len(text)-50):])
	}
}
