package livesdk

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The guide has the same tables: every line agrees with the functions, and
// nothing that they know is missing.
const guide = "../docs/live-sdk.md"

// table returns the lines of the tables in a section, and of each line the code in
// each cell.
func table(t *testing.T, section string) (lines [][][]string) {
	t.Helper()
	text, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(text), "\n## "+section+"\n")
	body, _, _ = strings.Cut(body, "\n## ")
	code := regexp.MustCompile("`([^`]*)`")
	for line := range strings.Lines(body) {
		if !strings.HasPrefix(line, "| `") { // of a table, but neither its head nor the rule below
			continue
		}
		var cells [][]string
		for cell := range strings.SplitSeq(strings.Trim(strings.TrimSpace(line), "|"), "|") {
			cells = append(cells, nil)
			n := len(cells) - 1
			for _, m := range code.FindAllStringSubmatch(cell, -1) {
				cells[n] = append(cells[n], m[1])
			}
			if len(cells[n]) == 0 {
				cells[n] = []string{strings.TrimSpace(cell)}
			}
		}
		lines = append(lines, cells)
	}
	if len(lines) < 15 {
		t.Fatalf("%s: %d lines found", section, len(lines))
	}
	return lines
}

func TestGuideHasTheScopes(t *testing.T) {
	t.Parallel()
	found := map[string]bool{}
	for _, cells := range table(t, "Scopes") {
		for _, scope := range cells[0] {
			if found[scope] {
				t.Errorf("%s is there twice", scope)
			}
			found[scope] = true
			got, err := Scopes(scope)
			switch want := cells[1]; {
			case want[0] == "none":
				if err == nil || len(got) > 0 || strings.Contains(err.Error(), "is not a scope") {
					t.Errorf("%s: %q, %v", scope, got, err)
				}
			case err != nil || !slices.Equal(got, want):
				t.Errorf("%s: %q, %v; the guide has %q", scope, got, err, want)
			}
		}
	}
	for _, row := range scopeTable {
		if !found[row.wl] {
			t.Errorf("the guide does not have %s", row.wl)
		}
		for _, s := range row.today {
			if !slices.Contains(scopeOrder, s) {
				t.Errorf("%s has no place in the order", s)
			}
		}
	}
}

func TestGuideHasThePaths(t *testing.T) {
	t.Parallel()
	const (
		folder = "folder.8c8ce076ca27823f.8C8CE076CA27823F!126"
		file   = "file.8c8ce076ca27823f.8C8CE076CA27823F!126"
	)
	words := strings.NewReplacer("{item}", file, "{id}", "8C8CE076CA27823F!126", "{name}", "a.txt", "{q}", "b")
	folders := map[string]string{} // Graph's by Live Connect's
	listed := map[string]bool{}
	check := func(live, want string) {
		live, want = words.Replace(live), words.Replace(want)
		method, path, _ := strings.Cut(live, " ")
		listed[strings.TrimSuffix(live, "?q=b")] = true
		got, err := Path(method, path)
		switch {
		case want == "none":
			if err == nil || strings.Contains(err.Error(), "is not a path") || strings.Contains(err.Error(), "with this method") {
				t.Errorf("%s: %v, %v", live, got, err)
			}
		case err != nil || got.Method+" "+got.Path != want || len(got.Dropped) > 0:
			t.Errorf("%s: %v, %v; the guide has %s", live, got, err, want)
		}
	}
	for _, cells := range table(t, "Paths") {
		if len(cells) == 2 { // the first table
			folders[cells[0][0]] = cells[1][0]
			continue
		}
		for _, live := range cells[0] {
			want := cells[1][0]
			if want == "the same" {
				want = live
			}
			if !strings.Contains(live, "{folder}") {
				check(live, want)
				continue
			}
			for from, to := range folders {
				check(strings.ReplaceAll(live, "{folder}", from), strings.ReplaceAll(want, "{folder}", to))
			}
		}
	}
	if len(folders) != len(places) {
		t.Errorf("the guide has the folders %q", slices.Sorted(maps.Keys(folders)))
	}
	for _, r := range rules {
		live := r.method + " " + words.Replace(strings.ReplaceAll(r.live, "{folder}", folder))
		if !listed[live] {
			t.Errorf("the guide does not have %s", live)
		}
	}
}

// No rule hides another, and no gap is one of a rule.
func TestTheTableIsConsistent(t *testing.T) {
	t.Parallel()
	words := strings.NewReplacer("{item}", "file.1.1!1", "{folder}", "folder.1.1!1", "{name}", "x", "...", "x")
	taken := map[string]bool{}
	for _, r := range rules {
		key := r.method + " " + words.Replace(r.live)
		if taken[key] {
			t.Errorf("%s is there twice", key)
		}
		taken[key] = true
	}
	for _, g := range gaps {
		for _, method := range methods {
			if (g.method == "" || g.method == method) && taken[method+" "+words.Replace(g.live)] {
				t.Errorf("%s %s has an equivalent", method, g.live)
			}
		}
	}
}
