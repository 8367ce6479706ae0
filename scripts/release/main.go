// Command release does the steps of docs/release.md that are easy to get wrong:
//
//	go run ./scripts/release prepare v0.1.0   # the version in every go.mod, the date in CHANGELOG.md
//	go run ./scripts/release tag v0.1.0       # a tag for each module that is published
//	go run ./scripts/release check            # a release under another path, and a program that uses it
//	go run ./scripts/release modules          # the paths and directories of those that are published
//
// Published are all modules but those that only serve this repository and its documents.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

func main() {
	var err error
	switch args := os.Args[1:]; {
	case len(args) == 2 && args[0] == "prepare":
		err = prepare(".", args[1], time.Now())
	case len(args) == 2 && args[0] == "tag":
		err = tag(".", args[1])
	case len(args) == 1 && args[0] == "check":
		err = check(".")
	case len(args) == 1 && args[0] == "modules":
		var list []module
		list, err = published(".")
		for _, m := range list {
			fmt.Println(m.path, m.dir)
		}
	default:
		err = errors.New("usage: go run ./scripts/release prepare VERSION | tag VERSION | check | modules")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// Directories whose modules nobody else uses.
var private = regexp.MustCompile(`^(bench|deploy|e2e|example|tests)(/|$)`)

var versions = regexp.MustCompile(`^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$`)

func checkVersion(version string) error {
	if !versions.MatchString(version) {
		return fmt.Errorf("%q is not a version such as v0.1.0", version)
	}
	return nil
}

// A module is one of the repository.
type module struct {
	dir  string // "." is the root
	path string
}

// modules are those whose go.mod is in the repository, those outside go.work too.
func modules(root string) (all []module, err error) {
	files, err := command(root, "git", "ls-files", "go.mod", "*/go.mod")
	if err != nil {
		return nil, err
	}
	for file := range strings.FieldsSeq(files) {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			return nil, err
		}
		line, _, _ := strings.Cut(string(text), "\n")
		path, found := strings.CutPrefix(strings.TrimSpace(line), "module ")
		if !found {
			return nil, fmt.Errorf("%s: the first line is %q, want module PATH", file, line)
		}
		all = append(all, module{dir: filepath.ToSlash(filepath.Dir(file)), path: path})
	}
	if len(all) == 0 {
		return nil, errors.New("no go.mod is found: run this in the root of the repository")
	}
	return all, nil
}

// published are the modules that get a tag, the root first.
func published(root string) (list []module, err error) {
	all, err := modules(root)
	if err != nil {
		return nil, err
	}
	for _, m := range all {
		switch {
		case m.dir == ".":
			list = append([]module{m}, list...)
		case !private.MatchString(m.dir):
			list = append(list, m)
		}
	}
	if list[0].dir != "." {
		return nil, errors.New("the root has no go.mod")
	}
	return list, nil
}

// prepare has every go.mod require the modules of this repository at the version that
// they are about to have, and dates the section of the version in CHANGELOG.md.
func prepare(root, version string, now time.Time) error {
	if err := checkVersion(version); err != nil {
		return err
	}
	changelog := filepath.Join(root, "CHANGELOG.md")
	text, err := os.ReadFile(changelog)
	if err != nil {
		return err
	}
	undated := heading(version) + " - unreleased\n"
	if !bytes.Contains(text, []byte(undated)) {
		return fmt.Errorf("CHANGELOG.md has no line %q", strings.TrimSpace(undated))
	}
	dated := heading(version) + " - " + now.UTC().Format(time.DateOnly) + "\n"
	all, err := modules(root)
	if err != nil {
		return err
	}
	own := map[string]bool{}
	for _, m := range all {
		own[m.path] = true
	}
	for _, m := range all {
		if err := require(filepath.Join(root, m.dir, "go.mod"), own, version); err != nil {
			return err
		}
	}
	return os.WriteFile(changelog, bytes.Replace(text, []byte(undated), []byte(dated), 1), 0o666)
}

var requirement = regexp.MustCompile(`(?m)^(require |\t)(\S+) v\S+`)

// require sets the versions of our own modules. The replace lines stay: they hold for
// whoever works in this repository, and Go ignores those of a dependency.
func require(file string, own map[string]bool, version string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	changed := requirement.ReplaceAllStringFunc(string(text), func(line string) string {
		if m := requirement.FindStringSubmatch(line); own[m[2]] {
			return m[1] + m[2] + " " + version
		}
		return line
	})
	return os.WriteFile(file, []byte(changed), 0o666)
}

func heading(version string) string { return "## [" + strings.TrimPrefix(version, "v") + "]" }

// tag names the commit of HEAD for each module that is published: v0.1.0,
// tokenstore/v0.1.0.
func tag(root, version string) error {
	if err := checkVersion(version); err != nil {
		return err
	}
	if changes, err := command(root, "git", "status", "--porcelain"); err != nil || changes != "" {
		return errors.Join(errors.New("there are changes that are not committed:\n"+changes), err)
	}
	text, err := os.ReadFile(filepath.Join(root, "CHANGELOG.md"))
	if err != nil {
		return err
	}
	if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(heading(version)) + ` - \d{4}-\d\d-\d\d$`).Match(text) {
		return fmt.Errorf("CHANGELOG.md has no dated section %s: run prepare %s and commit", heading(version), version)
	}
	list, err := published(root)
	if err != nil {
		return err
	}
	own := map[string]bool{}
	for _, m := range list {
		own[m.path] = true
	}
	for _, m := range list {
		text, err := os.ReadFile(filepath.Join(root, m.dir, "go.mod"))
		if err != nil {
			return err
		}
		for _, line := range requirement.FindAllStringSubmatch(string(text), -1) {
			if own[line[2]] && !strings.HasSuffix(line[0], " "+version) {
				return fmt.Errorf("%s/go.mod has %q: run prepare %s and commit", m.dir, strings.TrimSpace(line[0]), version)
			}
		}
	}
	for _, m := range list {
		name := version
		if m.dir != "." {
			name = m.dir + "/" + version
		}
		if _, err := command(root, "git", "tag", "-a", "-m", m.path+" "+version, name); err != nil {
			return err
		}
		fmt.Println(name)
	}
	return nil
}

// command is what a command prints, without the space around it. Further variables
// come first: NAME=value.
func command(dir string, words ...string) (string, error) {
	var env []string
	for strings.Contains(words[0], "=") {
		env, words = append(env, words[0]), words[1:]
	}
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s%s", strings.Join(words, " "), err, &stdout, &stderr)
	}
	return strings.TrimSpace(stdout.String()), nil
}
