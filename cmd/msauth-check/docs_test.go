package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"example.com/msauth/cmd/msauth-check/internal/report"
	"example.com/msauth/cmd/msauth-check/internal/settings"
)

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// docs/check.md lists what can be found, in the order of the catalogue, with severity and
// numbers.
func TestDocsListAllFindings(t *testing.T) {
	t.Parallel()
	doc := read(t, "../../docs/check.md")
	rows := regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\| (error|warning|note) \\| ([0-9, ]*) ?\\| .+ \\|$").FindAllStringSubmatch(doc, -1)
	var documented, known []string
	for _, row := range rows {
		documented = append(documented, strings.Join([]string{row[1], row[2], strings.TrimSpace(row[3])}, " | "))
	}
	for _, k := range report.Catalogue() {
		var numbers []string
		for _, n := range k.Numbers {
			numbers = append(numbers, fmt.Sprint(n))
		}
		known = append(known, strings.Join([]string{k.ID, string(k.Severity), strings.Join(numbers, ", ")}, " | "))
	}
	for _, line := range known {
		if !slices.Contains(documented, line) {
			t.Errorf("not in docs/check.md: %s", line)
		}
	}
	for _, line := range documented {
		if !slices.Contains(known, line) {
			t.Errorf("in docs/check.md only: %s", line)
		}
	}
	if slices.Equal(documented, known) == false && !t.Failed() {
		t.Error("docs/check.md has another order than the catalogue")
	}
	for _, v := range settings.Variables {
		if v.Flag != "" && !strings.Contains(doc, "`-"+v.Flag+"`") {
			t.Errorf("docs/check.md lacks the flag -%s", v.Flag)
		}
	}
}

func TestCatalogue(t *testing.T) {
	t.Parallel()
	ids, numbers := map[string]bool{}, map[int]string{}
	for _, k := range report.Catalogue() {
		if ids[k.ID] {
			t.Errorf("%s is there twice", k.ID)
		}
		ids[k.ID] = true
		for _, n := range k.Numbers {
			if numbers[n] != "" {
				t.Errorf("AADSTS%d is of %s and of %s", n, numbers[n], k.ID)
			}
			numbers[n] = k.ID
		}
		if !strings.HasSuffix(k.Why, ".") || !strings.HasSuffix(k.Remedy, ".") {
			t.Errorf("%s: why and remedy must be sentences", k.ID)
		}
		if strings.Contains(k.Command, "'{") && !strings.Contains(k.Command, "'{\"") && !strings.Contains(k.Command, "'{callback_in_query}'") {
			t.Errorf("%s: values are quoted by the report, not by the command: %s", k.ID, k.Command)
		}
	}
}

// The variables are those that the examples read, and no others.
func TestVariablesAreThoseOfTheExamples(t *testing.T) {
	t.Parallel()
	source := read(t, "../../example/env.go") + read(t, "../../example/internal/webapp/settings.go") + read(t, "../../example/internal/webapp/credentials.go") + read(t, "../../example/replicas/env.go")
	read := map[string]bool{}
	for _, name := range regexp.MustCompile(`"((?:AZURE|MSAUTH)_[A-Z_]+|PORT)"`).FindAllStringSubmatch(source, -1) {
		read[name[1]] = true
	}
	for _, v := range settings.Variables {
		if strings.HasPrefix(v.Name, "(") {
			continue // a flag only
		}
		if !read[v.Name] {
			t.Errorf("the examples do not read %s", v.Name)
		}
		delete(read, v.Name)
	}
	for name := range read {
		t.Errorf("the examples read %s, and msauth-check does not", name)
	}
}
