package schemas

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// root is the repository.
const root = "../.."

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// program returns the path of one that scripts/setup installs.
func program(t *testing.T, name string) string {
	t.Helper()
	for _, candidate := range []string{name, "/usr/sbin/" + name} {
		if path, err := exec.LookPath(candidate); err == nil {
			return path
		}
	}
	t.Fatalf("%s is missing. On Debian and Ubuntu: scripts/setup", name)
	return ""
}

// decoys are files that people have beside those of the repository, and that must not
// get into an image.
var decoys = []string{
	"deploy/compose/.env", "deploy/compose/secrets/client-secret", "deploy/compose/secrets/keys/keys",
	".env", "example/replicas/.env", "app.pem", "example/offline/digests.db", "deploy/rotatekeys/.keys.swp",
}

// buildContext copies what .dockerignore lets through, of the repository with decoys, to
// a directory, as a builder gets it.
func buildContext(t *testing.T) string {
	t.Helper()
	from, to := t.TempDir(), t.TempDir()
	list := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = root
	files, err := list.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	for path := range strings.SplitSeq(strings.TrimRight(string(files), "\x00"), "\x00") {
		content, err := os.ReadFile(filepath.Join(root, path))
		if os.IsNotExist(err) {
			continue // deleted, and not committed yet
		}
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(from, path), content)
	}
	for _, path := range decoys {
		write(t, filepath.Join(from, path), []byte("a secret"))
	}
	write(t, filepath.Join(from, ".git", "config"), []byte("a secret"))
	patterns, err := ignorefile.ReadAll(strings.NewReader(read(t, ".dockerignore")))
	if err != nil {
		t.Fatal(err)
	}
	ignored, err := patternmatcher.New(patterns)
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		ignore, err := ignored.MatchesOrParentMatches(name)
		if err != nil || ignore {
			return err
		}
		content, err := os.ReadFile(path)
		write(t, filepath.Join(to, name), content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// Nothing gets to a builder but code, whatever lies in the directory.
func TestBuildContext(t *testing.T) {
	t.Parallel()
	files := 0
	err := filepath.WalkDir(buildContext(t), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		content, err := os.ReadFile(path)
		if bytes.Equal(content, []byte("a secret")) || strings.Contains(path, "/.git/") || strings.HasSuffix(path, "_test.go") {
			t.Errorf("%s is let through", path)
		}
		return err
	})
	if err != nil || files < 100 {
		t.Errorf("%d files, %v", files, err)
	}
}
