package report

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// JSON writes the report for a program.
func (r *Report) JSON(out io.Writer) error {
	findings := r.Findings()
	if findings == nil {
		findings = []Finding{}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(struct {
		Findings []Finding `json:"findings"`
		Checked  []string  `json:"checked"`
		// NotChecked are the checks that were not made, or not to their end.
		NotChecked []string `json:"not_checked"`
		Facts      []string `json:"facts,omitempty"`
	}{findings, append([]string{}, r.checked...), r.notChecked(), r.facts})
}

// Text writes the report for a person.
func (r *Report) Text(out io.Writer) error {
	findings := r.Findings()
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "msauth-check: %s. Checked: %s.\n", summary(findings), strings.Join(r.checked, ", "))
	if open := r.notChecked(); len(open) > 0 {
		paragraph(&b, "Not checked, or not to the end: "+strings.Join(open, ", ")+".")
	}
	for _, fact := range r.facts {
		fmt.Fprintf(&b, "  %s\n", fact)
	}
	for _, f := range findings {
		fmt.Fprintf(&b, "\n%s: %s", f.Severity, f.ID)
		if len(f.Numbers) > 0 {
			var numbers []string
			for _, n := range f.Numbers {
				numbers = append(numbers, fmt.Sprint("AADSTS", n))
			}
			fmt.Fprintf(&b, " (%s)", strings.Join(numbers, ", "))
		}
		b.WriteByte('\n')
		paragraph(&b, f.What)
		paragraph(&b, "Why it matters: "+f.Why)
		paragraph(&b, "What to do: "+f.Remedy)
		if f.Command != "" {
			fmt.Fprintf(&b, "\n      %s\n", strings.ReplaceAll(f.Command, "\n", "\n      "))
		}
	}
	if r.subject.Local && slices.ContainsFunc(findings, func(f Finding) bool {
		return strings.Contains(f.Remedy+f.Command, "App registrations") || strings.HasPrefix(f.Command, "az ")
	}) {
		b.WriteByte('\n')
		paragraph(&b, localProvider)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// localProvider is for whoever tries things with msauthtest.
const localProvider = "The provider is on this computer: Microsoft's portal and the az commands do not know it. If it is msauthtest, copy the settings again that it printed when it started."

// summary says how many findings there are of each severity.
func summary(findings []Finding) string {
	n := map[Severity]int{}
	for _, f := range findings {
		n[f.Severity]++
	}
	var parts []string
	for _, s := range []Severity{Error, Warning, Note} {
		switch n[s] {
		case 0:
		case 1:
			parts = append(parts, "1 "+string(s))
		default:
			parts = append(parts, fmt.Sprint(n[s], " ", s, "s"))
		}
	}
	if n[Error]+n[Warning] == 0 {
		parts = append([]string{"OK", "no errors"}, parts...)
	}
	return strings.Join(parts, ", ")
}

// width is the length of a line of text, in characters.
const width = 100

// paragraph writes a text in lines.
func paragraph(b *strings.Builder, text string) {
	line := "  "
	for word := range strings.FieldsSeq(text) {
		if utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width && line != "  " {
			fmt.Fprintln(b, line)
			line = "  "
		}
		if line != "  " {
			line += " "
		}
		line += word
	}
	fmt.Fprintln(b, line)
}
