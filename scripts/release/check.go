package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// The path of the trial. Go takes what stands before ".git" for a repository, and
// git is told that it is on this disk.
const trial = "trial.example/msauth.git"

// check publishes HEAD as another module path, and uses it as anybody would: in
// directories outside, with a module cache of their own.
func check(root string) error {
	work, err := os.MkdirTemp("", "msauth-release")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	root, err = filepath.Abs(root)
	if err != nil {
		return err
	}
	if changes, err := command(root, "git", "status", "--porcelain"); err != nil {
		return err
	} else if changes != "" {
		fmt.Println("release: HEAD is tried, without what is not committed:")
		fmt.Println(changes)
	}
	r := &rehearsal{work: work, repo: filepath.Join(work, "repo")}
	if r.version, err = nextVersion(root); err != nil {
		return err
	}
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"the steps of CONTRIBUTING.md to another path", func() error { return r.rename(root) }},
		{"prepare and tag", r.release},
		{"the program of the README, by go get", r.program},
		{"every published module, by go get", r.everyModule},
		{"commands, by go install", r.commands},
		{"the same binary from two directories", r.reproduce},
	} {
		began := time.Now()
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
		fmt.Printf("ok  %s (%.1f s)\n", step.what, time.Since(began).Seconds())
	}
	return nil
}

// nextVersion is that of the first section of CHANGELOG.md.
func nextVersion(root string) (string, error) {
	text, err := os.ReadFile(filepath.Join(root, "CHANGELOG.md"))
	if err != nil {
		return "", err
	}
	m := regexp.MustCompile(`(?m)^## \[([^\]]+)\] - unreleased$`).FindSubmatch(text)
	if m == nil {
		return "", errors.New("CHANGELOG.md has no section \"## [VERSION] - unreleased\"")
	}
	return "v" + string(m[1]), nil
}

type rehearsal struct {
	work    string
	repo    string // the clone under the other path
	version string
}

// user runs a command as somebody does who has nothing of this repository.
func (r *rehearsal) user(dir string, words ...string) (string, error) {
	cache, err := command(r.work, "go", "env", "GOMODCACHE")
	if err != nil {
		return "", err
	}
	proxy, err := command(r.work, "go", "env", "GOPROXY")
	if err != nil {
		return "", err
	}
	return command(dir, append([]string{
		"GOWORK=off",
		"GOFLAGS=-trimpath -modcacherw",
		"GOMODCACHE=" + filepath.Join(r.work, "modcache"),
		// What this machine has of other modules need not be downloaded again.
		"GOPROXY=file://" + filepath.ToSlash(filepath.Join(cache, "cache", "download")) + "," + proxy,
		"GOPRIVATE=" + strings.Split(trial, "/")[0],
		"GOBIN=" + filepath.Join(r.work, "bin"),
		"GIT_CONFIG_COUNT=1",
		"GIT_CONFIG_KEY_0=url.file://" + filepath.ToSlash(r.repo) + ".insteadOf",
		"GIT_CONFIG_VALUE_0=https://" + strings.TrimSuffix(trial, ".git"),
	}, words...)...)
}

// steps are the indented lines below a heading of a document.
func steps(file, heading string) (lines []string, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	_, section, found := strings.Cut(string(text), "\n## "+heading+"\n")
	if !found {
		return nil, fmt.Errorf("%s has no section %q", filepath.Base(file), heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	for line := range strings.Lines(section) {
		if step, ok := strings.CutPrefix(line, "    "); ok {
			lines = append(lines, strings.TrimSpace(step))
		}
	}
	return lines, nil
}

// rename runs what CONTRIBUTING.md tells those who publish under a path of their own,
// but for its tests, which are those of this repository.
func (r *rehearsal) rename(root string) error {
	if _, err := command(r.work, "git", "clone", "-q", "--no-local", root, r.repo); err != nil {
		return err
	}
	lines, err := steps(filepath.Join(r.repo, "CONTRIBUTING.md"), "Publishing under another path")
	if err != nil {
		return err
	}
	script, seen := []string{"set -eu"}, 0
	for _, line := range lines {
		switch {
		case strings.HasPrefix(line, "NEW="):
			line, seen = "NEW="+trial, seen+1
		case strings.HasPrefix(line, "make "):
			line, seen = "make fmt", seen+1
		}
		script = append(script, line)
	}
	if seen != 2 {
		return fmt.Errorf("the steps have to set NEW and to end with make fmt:\n%s", strings.Join(lines, "\n"))
	}
	before, err := command(r.repo, "GOWORK=off", "go", "list", "-m")
	if err != nil {
		return err
	}
	if _, err := command(r.repo, "sh", "-c", strings.Join(script, "\n")); err != nil {
		return err
	}
	if rest, err := command(r.repo, "git", "grep", "-F", before); err == nil {
		return fmt.Errorf("%s is still named:\n%s", before, rest)
	}
	if _, err := command(r.repo, "go", "vet", "work"); err != nil {
		return err
	}
	_, err = command(r.repo, "go", "run", "./scripts/api")
	return err
}

func (r *rehearsal) release() error {
	if err := prepare(r.repo, r.version, time.Now()); err != nil {
		return err
	}
	list, err := modules(r.repo)
	if err != nil {
		return err
	}
	for _, m := range list { // those outside go.work too: nothing is left to change
		if _, err := command(filepath.Join(r.repo, m.dir), "GOWORK=off", "go", "mod", "tidy", "-diff"); err != nil {
			return err
		}
	}
	for _, line := range []string{
		"config user.name release",
		"config user.email release@trial.example",
		"commit -q -a -m Release",
	} {
		if _, err := command(r.repo, append([]string{"git"}, strings.Fields(line)...)...); err != nil {
			return err
		}
	}
	return tag(r.repo, r.version)
}

// program signs in at the README's program, which has been fetched and built in a
// directory of its own.
func (r *rehearsal) program() error {
	readme, err := os.ReadFile(filepath.Join(r.repo, "README.md"))
	if err != nil {
		return err
	}
	m := regexp.MustCompile("(?ms)^```go\n(package main\n.*?)^```").FindSubmatch(readme)
	if m == nil {
		return errors.New("README.md has no program")
	}
	test, err := os.ReadFile(filepath.Join(r.repo, "scripts", "release", "testdata", "signin_test.go"))
	if err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	const address = "localhost:8080" // in both
	here := []byte("localhost:" + port)
	dir := filepath.Join(r.work, "program")
	if err := r.write(dir, map[string][]byte{
		"main.go":        bytes.ReplaceAll(m[1], []byte(address), here),
		"signin_test.go": bytes.ReplaceAll(test, []byte(address), here),
	}); err != nil {
		return err
	}
	for _, line := range []string{
		"go mod init user.example/program",
		"go get " + trial + "@" + r.version,
		"go mod tidy",
		"go mod verify",
		"go vet .",
		"go test -count=1 .",
	} {
		if _, err := r.user(dir, strings.Fields(line)...); err != nil {
			return err
		}
	}
	return nil
}

func freePort() (string, error) {
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	return port, err
}

// everyModule imports the packages of all modules, and looks at what came.
func (r *rehearsal) everyModule() error {
	list, err := published(r.repo)
	if err != nil {
		return err
	}
	dir := filepath.Join(r.work, "all")
	source := "package main\n\nimport (\n"
	for _, m := range list {
		source += fmt.Sprintf("\t_ %q\n", m.path)
	}
	if err := r.write(dir, map[string][]byte{"main.go": []byte(source + ")\n\nfunc main() {}\n")}); err != nil {
		return err
	}
	if _, err := r.user(dir, "go", "mod", "init", "user.example/all"); err != nil {
		return err
	}
	for _, m := range list {
		if _, err := r.user(dir, "go", "get", m.path+"@"+r.version); err != nil {
			return err
		}
	}
	if _, err := r.user(dir, "go", "build", "-o", os.DevNull, "."); err != nil {
		return err
	}
	for _, m := range list {
		line, err := r.user(dir, "go", "list", "-m", "-f", "{{.Version}} {{.Dir}}", m.path)
		if err != nil {
			return err
		}
		version, at, _ := strings.Cut(line, " ")
		if version != r.version {
			return fmt.Errorf("%s is %s, want %s", m.path, version, r.version)
		}
		// pkg.go.dev shows the documentation of modules that have one.
		if _, err := os.Stat(filepath.Join(at, "LICENSE")); err != nil {
			return err
		}
	}
	return nil
}

// commands installs those of the root module by their paths. Go refuses that if a
// go.mod has replace lines, so commands for users belong there.
func (r *rehearsal) commands() error {
	list, err := command(r.repo, "GOWORK=off", "go", "list", "-f", `{{if eq .Name "main"}}{{.ImportPath}}{{end}}`, "./...")
	if err != nil {
		return err
	}
	found := 0
	for path := range strings.FieldsSeq(list) {
		if !strings.Contains(path, "/cmd/") {
			continue
		}
		found++
		if _, err := r.user(r.work, "go", "install", path+"@"+r.version); err != nil {
			return err
		}
	}
	if found == 0 {
		return errors.New("there are no commands below cmd")
	}
	return nil
}

// reproduce builds the example as docs/release.md says, in two clones of the same
// commit.
func (r *rehearsal) reproduce() error {
	sums := map[[sha256.Size]byte]string{}
	for _, name := range []string{"here", "somewhere/else"} {
		dir := filepath.Join(r.work, filepath.FromSlash(name))
		if _, err := command(r.work, "git", "clone", "-q", "--no-local", r.repo, dir); err != nil {
			return err
		}
		if _, err := command(dir, "GOWORK=off", "GOFLAGS=-mod=readonly", "CGO_ENABLED=0", "go", "build", "-trimpath", "-buildvcs=true", "-o", "binary", "./example"); err != nil {
			return err
		}
		sum, err := sumOf(filepath.Join(dir, "binary"))
		if err != nil {
			return err
		}
		if sums[sum], err = command(dir, "go", "version", "-m", "binary"); err != nil {
			return err
		}
	}
	for sum, info := range sums {
		if len(sums) > 1 {
			return fmt.Errorf("the binaries differ:\n%s", info)
		}
		for _, want := range []string{"\tmod\t" + trial + "\t" + r.version, "vcs.modified=false", "-trimpath=true"} {
			if !strings.Contains(info, want) {
				return fmt.Errorf("no %q in what go version -m says:\n%s", want, info)
			}
		}
		fmt.Printf("    sha256 %x\n", sum)
	}
	return nil
}

func sumOf(name string) (sum [sha256.Size]byte, err error) {
	file, err := os.Open(name)
	if err != nil {
		return sum, err
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return sum, err
	}
	return [sha256.Size]byte(hash.Sum(nil)), nil
}

func (r *rehearsal) write(dir string, files map[string][]byte) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o666); err != nil {
			return err
		}
	}
	return nil
}
