// Command api compares the public API of the modules with the files in api, one for
// each package, a line for each thing that a program can use:
//
//	go run ./scripts/api                        # fails when they differ
//	go run ./scripts/api -write                 # adds what is new
//	go run ./scripts/api -write -incompatible   # accepts changes that break programs, too
//
// Public are the packages of the workspace that are not commands, not internal,
// and not in the list private. A new one is found by itself.
//
// A line that is gone or has changed is an incompatible change, and so is a line
// that is added to an interface, since there may be other implementations. Every
// other line that is added is compatible. Not seen are changes that Go 1's own
// promise of compatibility leaves out too: literals of structs without field names,
// and methods that collide with those of a type that embeds them. See
// https://go.dev/doc/go1compat.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Directories with packages that only this repository uses.
var private = []string{"bench", "deploy", "e2e", "example", "scripts", "tests", "redisshared/redistest"}

func main() {
	write := flag.Bool("write", false, "write the files, if all changes are compatible")
	incompatible := flag.Bool("incompatible", false, "with -write: also if some are not")
	flag.Parse()
	ok, err := run(os.Stdout, ".", private, *write, *incompatible)
	if err != nil {
		fmt.Fprintln(os.Stderr, "api:", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}

// run is false when the API differs from its files and they are not written.
func run(out io.Writer, root string, private []string, write, incompatible bool) (ok bool, err error) {
	now, err := load(root, private)
	if err != nil {
		return false, err
	}
	before, err := read(filepath.Join(root, "api"))
	if err != nil {
		return false, err
	}
	broken, added := compare(before, now)
	switch {
	case len(broken) > 0 && !(write && incompatible):
		fmt.Fprintln(out, "These changes of the API break programs that use it:")
		list(out, broken)
		fmt.Fprintln(out, "If they have to be, say so in CHANGELOG.md and run: go run ./scripts/api -write -incompatible")
		return false, nil
	case len(broken) == 0 && len(added) > 0 && !write:
		fmt.Fprintln(out, "These parts of the API are new, and missing in the directory api:")
		list(out, added)
		fmt.Fprintln(out, "If they are meant for users, run: make api")
		return false, nil
	case !write:
		return true, nil
	}
	list(out, slices.Concat(broken, added))
	return true, save(filepath.Join(root, "api"), now)
}

func list(out io.Writer, changes []string) {
	for _, change := range changes {
		fmt.Fprintln(out, "    "+change)
	}
}

// read is what the files of a directory say: lines by package.
func read(dir string) (map[string][]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		return nil, err
	}
	api := map[string][]string{}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		lines := strings.Split(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n")
		lines = slices.DeleteFunc(lines, func(line string) bool { return strings.TrimSpace(line) == "" })
		api[strings.TrimSuffix(filepath.Base(name), ".txt")] = lines
	}
	return api, nil
}

func save(dir string, api map[string][]string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	before, err := read(dir)
	if err != nil {
		return err
	}
	for name := range before {
		if _, there := api[name]; !there {
			if err := os.Remove(filepath.Join(dir, name+".txt")); err != nil {
				return err
			}
		}
	}
	for name, lines := range api {
		if err := os.WriteFile(filepath.Join(dir, name+".txt"), []byte(strings.Join(lines, "\n")+"\n"), 0o666); err != nil {
			return err
		}
	}
	return nil
}
