package report

import (
	"cmp"
	"html"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"
)

// A Severity says what a finding means for the exit code.
type Severity string

const (
	// Error: people cannot sign in, or soon cannot.
	Error Severity = "error"
	// Warning: it works, and somebody will be surprised.
	Warning Severity = "warning"
	// Note: something could not be judged. It does not count as a finding.
	Note Severity = "note"
)

// A Finding is one thing that was found.
type Finding struct {
	ID       string   `json:"id"`
	Severity Severity `json:"severity"`
	What     string   `json:"what"`
	Why      string   `json:"why"`
	Remedy   string   `json:"remedy"`
	// Command is for a shell; "" if there is none.
	Command string `json:"command,omitempty"`
	// Numbers are the AADSTS numbers that Microsoft has answered with.
	Numbers []int `json:"aadsts,omitempty"`
}

// A Subject has the values that remedies name.
type Subject struct {
	ClientID  string
	Tenant    string
	BaseURL   string // without a slash at the end
	SignedOut string // where people land after signing out
	Graph     string // base URL of Microsoft Graph, without the version
}

// shown is the subject with values that can be shown. The words around them are the
// catalogue's, and stay even if somebody's secret is one of them.
func (s Subject) shown(show func(string) string) Subject {
	return Subject{show(s.ClientID), show(s.Tenant), show(s.BaseURL), show(s.SignedOut), show(s.Graph)}
}

// A Report collects findings. It may be used by many goroutines at once.
type Report struct {
	mu       sync.Mutex
	subject  Subject
	findings []Finding
	checked  []string
	facts    []string
	secrets  []string // longest first
}

// About sets what the remedies name. It is called before the first finding.
func (r *Report) About(s Subject) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.subject = s
}

// leastSecret is the length from which a text can be a secret that is worth hiding:
// of a shorter one too many words would be a part.
const leastSecret = 8

// Hide makes secrets appear in no text of the report: not in the form that they have in
// URLs, HTML or quotes, and not where a text was cut in the middle of one.
func (r *Report) Hide(secrets ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range secrets {
		if s = strings.TrimSpace(s); len(s) >= leastSecret {
			quoted := strconv.Quote(s)
			r.secrets = append(r.secrets, s, url.QueryEscape(s), url.PathEscape(s), html.EscapeString(s), quoted[1:len(quoted)-1])
		}
	}
	slices.SortFunc(r.secrets, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	r.secrets = slices.Compact(r.secrets)
}

// longest is how long a text may be, in bytes.
const longest = 1500

// hidden makes a text fit to be shown: without secrets, without what moves the cursor of
// a terminal, and not too long.
func (r *Report) hidden(text string) string {
	text = cut(printable(text), 2*longest) // may cut a secret, as whoever wrote the text may have
	for _, s := range r.secrets {
		text = strings.ReplaceAll(text, s, hiddenText)
	}
	for _, s := range r.secrets {
		text = hideBeginning(text, s)
	}
	return cut(text, longest)
}

const hiddenText = "[hidden]"

// leastBeginning is the length from which the beginning of a secret is hidden where a
// text was cut.
const leastBeginning = 12

// hideBeginning hides the beginning of a secret at the end of a text, and where a text was
// cut, which "..." marks.
func hideBeginning(text, secret string) string {
	const mark = "..."
	parts := strings.Split(text, mark)
	for i, part := range parts {
		end := strings.TrimRight(part, ".")
		for n := min(len(secret), len(end)); n >= leastBeginning; n-- {
			if strings.HasSuffix(end, secret[:n]) {
				parts[i] = end[:len(end)-n] + hiddenText + part[len(end):]
				break
			}
		}
	}
	return strings.Join(parts, mark)
}

// printable takes out what moves the cursor of a terminal.
func printable(text string) string {
	return strings.Map(func(c rune) rune {
		if c != '\n' && !unicode.IsPrint(c) {
			return -1
		}
		return c
	}, text)
}

func cut(text string, most int) string {
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "..."
	}
	return text
}

// Found adds a finding. what says in a sentence what was seen. Of one ID and what, only
// the first counts.
func (r *Report) Found(id, what string, numbers ...int) {
	kind := byID(id)
	r.mu.Lock()
	defer r.mu.Unlock()
	about := r.subject.shown(r.hidden)
	f := Finding{
		ID: kind.ID, Severity: kind.Severity, What: r.hidden(what), Why: kind.Why, Numbers: numbers,
		Remedy: printable(kind.remedy(about)), Command: printable(kind.command(about)),
	}
	if !slices.ContainsFunc(r.findings, func(other Finding) bool { return other.ID == f.ID && other.What == f.What }) {
		r.findings = append(r.findings, f)
	}
}

// Has reports whether there is a finding with one of the IDs.
func (r *Report) Has(ids ...string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.findings, func(f Finding) bool { return slices.Contains(ids, f.ID) })
}

// checkOrder is the order in which checks are listed.
var checkOrder = []string{"settings", "network", "clock", "discovery", "signing keys", "app", "credentials", "redirect URIs", "scopes", "site", "sign-in"}

// Blocked reports whether something was found that stops every sign-in, wherever the site
// is.
func (r *Report) Blocked() bool {
	return slices.ContainsFunc(r.Findings(), func(f Finding) bool { return f.Severity == Error && !strings.HasPrefix(f.ID, "site-") })
}

// Checked says that a check was made to its end.
func (r *Report) Checked(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Contains(r.checked, what) {
		r.checked = append(r.checked, what)
	}
	slices.SortFunc(r.checked, func(a, b string) int {
		return cmp.Compare(slices.Index(checkOrder, a), slices.Index(checkOrder, b))
	})
}

// Fact adds a line that is worth knowing and no finding.
func (r *Report) Fact(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.facts = append(r.facts, r.hidden(text))
}

// Findings are all findings, in the order of the catalogue.
func (r *Report) Findings() []Finding {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := slices.Clone(r.findings)
	slices.SortStableFunc(list, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(place(a.ID), place(b.ID)), cmp.Compare(a.What, b.What))
	})
	return list
}

// Faults is the number of findings that are not notes.
func (r *Report) Faults() (n int) {
	for _, f := range r.Findings() {
		if f.Severity != Note {
			n++
		}
	}
	return n
}
