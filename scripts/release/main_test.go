package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var day = time.Date(2030, 2, 3, 4, 5, 6, 0, time.UTC)

// repository is one with a published module, an example of it and one outside.
func repository(t *testing.T, changelog string) (root string) {
	t.Helper()
	root = t.TempDir()
	for name, text := range map[string]string{
		"CHANGELOG.md": changelog,
		"go.mod":       "module m.example/thing\n\ngo 1.26.0\n\nrequire other.example/m v1.2.3\n",
		"store/go.mod": "module m.example/thing/store\n\ngo 1.26.0\n\nrequire m.example/thing v0.0.0\n\nreplace m.example/thing => ../\n",
		"example/app/go.mod": "module m.example/thing/example/app\n\ngo 1.26.0\n\nrequire (\n\tm.example/thing v0.0.0\n\tm.example/thing/store v0.0.0\n\tm.example/thingy v0.0.0\n" +
			"\tother.example/m v1.2.3 // indirect\n)\n\nreplace (\n\tm.example/thing => ../../\n\tm.example/thing/store => ../../store\n)\n",
	} {
		file := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for _, line := range []string{"init -q", "config user.name Ada", "config user.email ada@contoso.example", "config tag.gpgSign false", "add -A", "commit -q -m one"} {
		git(t, root, line)
	}
	return root
}

func git(t *testing.T, root, line string) string {
	t.Helper()
	out, err := command(root, append([]string{"git"}, strings.Fields(line)...)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestRelease(t *testing.T) {
	t.Parallel()
	root := repository(t, "# Changelog\n\n## [0.2.0] - unreleased\n\n- new\n\n## [0.1.0] - 2029-01-01\n\n- old\n")
	if version, err := nextVersion(root); err != nil || version != "v0.2.0" {
		t.Errorf("%s, %v", version, err)
	}
	if err := tag(root, "v0.2.0"); err == nil || !strings.Contains(err.Error(), "run prepare v0.2.0") {
		t.Errorf("a tag before prepare: %v", err)
	}
	if err := prepare(root, "v0.2.0", day); err != nil {
		t.Fatal(err)
	}
	if err := tag(root, "v0.2.0"); err == nil || !strings.Contains(err.Error(), "not committed") || !strings.Contains(err.Error(), "CHANGELOG.md") {
		t.Errorf("a tag before the commit: %v", err)
	}
	var changed []string
	for line := range strings.Lines(git(t, root, "diff -U0")) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "+") && !strings.HasPrefix(line, "+++") {
			changed = append(changed, strings.Join(strings.Fields(line[1:]), " "))
		}
	}
	if got, want := strings.Join(changed, "\n"), "## [0.2.0] - 2030-02-03\nm.example/thing v0.2.0\nm.example/thing/store v0.2.0\nrequire m.example/thing v0.2.0"; got != want {
		t.Errorf("changed\n%s\nwant\n%s", got, want)
	}

	git(t, root, "commit -q -a -m two")
	if err := tag(root, "v0.2.0"); err != nil {
		t.Fatal(err)
	}
	if got := git(t, root, "tag"); got != "store/v0.2.0\nv0.2.0" {
		t.Errorf("tags %q", got)
	}
	if got, want := git(t, root, "rev-parse store/v0.2.0^{commit}"), git(t, root, "rev-parse HEAD"); got != want {
		t.Errorf("the tag is of %s, want %s", got, want)
	}
	if err := tag(root, "v0.2.0"); err == nil || !strings.Contains(err.Error(), "already exists") {
		t.Errorf("the same tag again: %v", err)
	}
}

// A module that would require a version that nobody can fetch gets no tag.
func TestTagLooksAtEveryModule(t *testing.T) {
	t.Parallel()
	root := repository(t, "## [0.2.0] - 2030-02-03\n")
	err := tag(root, "v0.2.0")
	if err == nil || !strings.Contains(err.Error(), `store/go.mod has "require m.example/thing v0.0.0"`) {
		t.Errorf("error %v", err)
	}
	if tags := git(t, root, "tag"); tags != "" {
		t.Errorf("tags %q", tags)
	}
}

func TestWrongVersions(t *testing.T) {
	t.Parallel()
	root := repository(t, "## [0.2.0] - unreleased\n")
	for _, version := range []string{"", "0.2.0", "v0.2", "v0.2.0/x", "v0.2.0 ", "v0.3.0"} {
		if err := prepare(root, version, day); err == nil {
			t.Errorf("prepare %q", version)
		}
		if err := tag(root, version); err == nil {
			t.Errorf("tag %q", version)
		}
	}
	if changes := git(t, root, "status --porcelain"); changes != "" {
		t.Errorf("changed: %s", changes)
	}
}

// What check runs is what is written there.
func TestStepsOfTheDocument(t *testing.T) {
	t.Parallel()
	lines, err := steps("../../CONTRIBUTING.md", "Publishing under another path")
	if err != nil {
		t.Fatal(err)
	}
	if len(lines) < 5 || !strings.HasPrefix(lines[0], "NEW=") || !strings.HasPrefix(lines[len(lines)-1], "make fmt") {
		t.Errorf("steps %q", lines)
	}
	if _, err := steps("../../CONTRIBUTING.md", "No such heading"); err == nil {
		t.Error("steps without a heading")
	}
}

// Newer versions of dependencies are proposed for each module, and what is published is
// what docs/release.md says.
func TestEveryModuleIsKnown(t *testing.T) {
	t.Parallel()
	updates, err := os.ReadFile("../../.github/dependabot.yml")
	if err != nil {
		t.Fatal(err)
	}
	document, err := os.ReadFile("../../docs/release.md")
	if err != nil {
		t.Fatal(err)
	}
	all, err := modules("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if line := "\n      - /" + strings.TrimPrefix(m.dir, ".") + "\n"; !strings.Contains(string(updates), line) {
			t.Errorf(".github/dependabot.yml has no line for %s", m.dir)
		}
	}
	list, err := published("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list[1:] {
		if row, push := "| `"+m.dir+"` | `"+m.dir+"/v0.1.0` |", " "+m.dir+"/v0.1.0"; !strings.Contains(string(document), row) || strings.Count(string(document), push) < 1 {
			t.Errorf("docs/release.md does not name the tag of %s, in its table and in git push", m.dir)
		}
	}
}
