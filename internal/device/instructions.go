package device

import (
	"encoding/json"
	"strings"
)

// Instructions returns the answer to a registration or a refresh ("JSON Session
// Instructions"): what the browser has to know of a binding. refreshURL is a path on
// origin, cookie the name of the bound cookie.
func Instructions(identifier, origin, refreshURL, cookie string, scope []Rule) []byte {
	type scopeOf struct {
		Origin      string `json:"origin"`
		IncludeSite bool   `json:"include_site"`
		Rules       []Rule `json:"scope_specification,omitempty"`
	}
	type credential struct {
		Type       string `json:"type"`
		Name       string `json:"name"`
		Attributes string `json:"attributes"`
	}
	return encoded(struct {
		Identifier  string       `json:"session_identifier"`
		RefreshURL  string       `json:"refresh_url"`
		Scope       scopeOf      `json:"scope"`
		Credentials []credential `json:"credentials"`
		Initiators  []string     `json:"allowed_refresh_initiators"`
	}{
		identifier, refreshURL, scopeOf{Origin: origin, Rules: scope},
		[]credential{{"cookie", cookie, "Path=/; Secure; HttpOnly; SameSite=None"}},
		[]string{"*"}, // a link on any site may lead here when the bound cookie has expired
	})
}

// End returns the answer that ends a binding. Chromium takes one without the identifier
// for a mistake of the site's.
func End(identifier string) []byte {
	return encoded(struct {
		Identifier string `json:"session_identifier"`
		Continue   bool   `json:"continue"`
	}{identifier, false})
}

func encoded(v any) []byte {
	text, _ := json.Marshal(v) // does not fail for strings and booleans
	return text
}

// A Rule says whether the browser holds requests below a path back until the device is
// proved. Of several that match, the last one counts.
type Rule struct {
	Type   string `json:"type"`
	Domain string `json:"domain"`
	Path   string `json:"path"`
}

// Scope returns the rules for the app's pages, nil if they are all of the host: below the
// parent of base, the path of BaseURL, which is where Home is by default, and below home.
func Scope(base, home string) []Rule {
	pages := base[:strings.LastIndexByte(base, '/')+1]
	home, _, _ = strings.Cut(home, "?")
	if pages == "" || pages == "/" || home == "/" {
		return nil
	}
	rules := []Rule{{"exclude", "*", "/"}, {"include", "*", pages}}
	if !strings.HasPrefix(home, pages) {
		rules = append(rules, Rule{"include", "*", home})
	}
	return rules
}
