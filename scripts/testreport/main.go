// Testreport runs commands of the form "go test ...", adds -json to each, and
// prints what go test itself would print: a line for each package and, of tests
// that fail, all that they wrote. At the end it names the ten slowest tests. It
// fails when one of the commands or one of the tests does. A "--" stands between
// the commands:
//
//	go run ./scripts/testreport go test ./... -- go test -p 1 ./e2e/...
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

const slowest = 10

// An event is a line of go test -json ("go doc test2json") or, with an
// ImportPath, of go build -json.
type event struct {
	Action      string
	Package     string
	Test        string
	Elapsed     float64 // seconds
	Output      string
	ImportPath  string
	FailedBuild string
}

type test struct{ pkg, name string }

type report struct {
	out    io.Writer
	output map[test][]string // of tests that are not over
	failed bool
	tests  int // that have passed
	took   map[test]float64
}

func main() {
	r := &report{out: os.Stdout, output: map[test][]string{}, took: map[test]float64{}}
	began := time.Now()
	commands := split(os.Args[1:])
	if len(commands) == 0 {
		fmt.Fprintln(os.Stderr, "usage: testreport go test ... [-- go test ...]")
		os.Exit(2)
	}
	for _, words := range commands {
		if err := r.run(words); err != nil {
			fmt.Fprintf(r.out, "%s: %v\n", strings.Join(words, " "), err)
			r.failed = true
		}
	}
	r.summary(time.Since(began))
	if r.failed {
		os.Exit(1)
	}
}

// split takes the arguments apart into commands.
func split(words []string) (commands [][]string) {
	for len(words) > 0 {
		at := slices.Index(words, "--")
		if at < 0 {
			at = len(words)
		}
		if at > 0 {
			commands = append(commands, words[:at])
		}
		words = words[min(at+1, len(words)):]
	}
	return commands
}

func (r *report) run(words []string) error {
	if len(words) < 3 || words[0] != "go" || words[1] != "test" {
		return fmt.Errorf("is no go test with arguments")
	}
	fmt.Fprintln(r.out, strings.Join(words, " "))
	cmd := exec.Command(words[0], append([]string{"test", "-json"}, words[2:]...)...)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := r.read(stdout); err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		return err
	}
	return cmd.Wait()
}

// read follows the events of one go test.
func (r *report) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil || e.Action == "" {
				r.out.Write(line) // not from a test
			} else {
				r.event(e)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *report) event(e event) {
	key := test{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "build-fail":
		r.failed = true
	case "output":
		if e.Test == "" && (strings.HasPrefix(e.Output, "ok  \t") || strings.HasPrefix(e.Output, "FAIL\t")) {
			fmt.Fprint(r.out, e.Output) // the line for the package
			return
		}
		r.output[key] = append(r.output[key], e.Output)
	case "pass", "skip":
		delete(r.output, key)
		r.count(e)
		if e.Test != "" && !strings.Contains(e.Test, "/") {
			r.tests++
		}
	case "fail":
		r.failed = true
		if e.Test != "" {
			r.count(e)
			r.print(key)
			return
		}
		// What tests wrote that never ended: a panic, or a timeout.
		for _, key := range slices.SortedFunc(keysOf(r.output, e.Package), compare) {
			r.print(key)
		}
	}
}

// count notes how long a test took. What go test says of a test leaves out its
// parallel subtests: the longest of them counts.
func (r *report) count(e event) {
	if e.Test != "" {
		name, _, _ := strings.Cut(e.Test, "/")
		key := test{e.Package, name}
		r.took[key] = max(r.took[key], e.Elapsed)
	}
}

func (r *report) print(key test) {
	fmt.Fprint(r.out, strings.Join(r.output[key], ""))
	delete(r.output, key)
}

func keysOf(output map[test][]string, pkg string) func(yield func(test) bool) {
	return func(yield func(test) bool) {
		for key := range output {
			if key.pkg == pkg && !yield(key) {
				return
			}
		}
	}
}

func compare(a, b test) int { return cmp.Or(cmp.Compare(a.pkg, b.pkg), cmp.Compare(a.name, b.name)) }

func (r *report) summary(took time.Duration) {
	var all []test
	for key := range r.took {
		all = append(all, key)
	}
	slices.SortFunc(all, func(a, b test) int { return cmp.Or(cmp.Compare(r.took[b], r.took[a]), compare(a, b)) })
	if len(all) == 0 {
		return // all results are cached, or nothing ran
	}
	fmt.Fprintf(r.out, "%d tests passed in %v; the slowest:\n", r.tests, took.Round(time.Second))
	for _, key := range all[:min(slowest, len(all))] {
		fmt.Fprintf(r.out, "%8.1fs  %s %s\n", r.took[key], key.pkg, key.name)
	}
}
