package report

import (
	"slices"
	"strings"
)

// A Kind is something that can be found.
type Kind struct {
	// ID names it. It does not change.
	ID       string
	Severity Severity
	// Why says what comes of it.
	Why string
	// Remedy says what to do, with the way through Microsoft's portal where that is the
	// place. {client_id} and the like stand for the values of a [Subject].
	Remedy string
	// Command is a command of the Azure CLI, or of a shell; "" if there is none. The
	// values in it are quoted.
	Command string
	// Numbers are the AADSTS numbers that lead to it.
	Numbers []int
}

// Catalogue is all that can be found, in the order in which it is reported.
func Catalogue() []Kind {
	return slices.Concat(settingKinds, networkKinds, appKinds, signInPageKinds, siteKinds, sessionKinds)
}

// ByNumber returns the ID of what an AADSTS number means; "" if no kind has it.
func ByNumber(number int) string {
	for _, k := range Catalogue() {
		if slices.Contains(k.Numbers, number) {
			return k.ID
		}
	}
	return ""
}

func byID(id string) Kind {
	if i := place(id); i >= 0 {
		return Catalogue()[i]
	}
	return Kind{ID: id, Severity: Error} // a mistake of ours, which a test finds
}

func place(id string) int {
	return slices.IndexFunc(Catalogue(), func(k Kind) bool { return k.ID == id })
}

func (k Kind) remedy(s Subject) string  { return s.fill(k.Remedy, func(v string) string { return v }) }
func (k Kind) command(s Subject) string { return s.fill(k.Command, quote) }

// fill puts the values into a text.
func (s Subject) fill(text string, quote func(string) string) string {
	value := func(v, none string) string {
		if v == "" {
			return none
		}
		return quote(v)
	}
	callback := ""
	if s.BaseURL != "" {
		callback = s.BaseURL + "/callback"
	}
	return strings.NewReplacer(
		"{client_id}", value(s.ClientID, "CLIENT_ID"),
		"{tenant}", value(s.Tenant, "TENANT_ID"),
		"{base_url}", value(s.BaseURL, "BASE_URL"),
		"{callback}", value(callback, "REDIRECT_URI"),
		"{callback_in_query}", inQuery(callback),
		"{signed_out}", value(s.SignedOut, "SIGNED_OUT_URL"),
		"{application}", quote(s.Graph+"/v1.0/applications(appId='"+s.ClientID+"')"),
	).Replace(text)
}

// quote makes a text one word of a POSIX shell.
func quote(s string) string {
	plain := func(c rune) bool {
		return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.ContainsRune("-_./:@,=+", c)
	}
	if s != "" && !strings.ContainsFunc(s, func(c rune) bool { return !plain(c) }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// inQuery makes a text the inside of a raw string of JMESPath that is inside double quotes
// of a POSIX shell.
func inQuery(s string) string {
	s = strings.ReplaceAll(s, "'", `\'`)
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`").Replace(s)
}
