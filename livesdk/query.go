package livesdk

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// parameters are those of a query, by name in lower case. The first of a name
// counts.
type parameters map[string]string

func (p parameters) get(name string) string { return p[name] }

// parse reads a query. What could be an access token is not in the result.
func parse(raw string) parameters {
	p := parameters{}
	for pair := range strings.SplitSeq(raw, "&") {
		rawName, rawValue, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(rawName)
		value, err2 := url.QueryUnescape(rawValue)
		if name == "" || err != nil || err2 != nil || mentionsToken(name+"=") || mentionsToken(value) {
			continue
		}
		name = strings.ToLower(name)
		if _, twice := p[name]; !twice {
			p[name] = value
		}
	}
	return p
}

// formal are parameters about the form of an answer, or how it is fetched, which
// Graph does not need.
var formal = []string{
	"callback", "download", "interface_method", "method", "pretty", "return_ssl_resources",
	"suppress_redirects", "suppress_response_codes", "x_http_live_library",
}

// A converted is a query on its way to Graph.
type converted struct {
	parts   []string
	dropped []string
}

// text returns the query, to be written behind a pattern.
func (c *converted) text(pattern string) string {
	if len(c.parts) == 0 {
		return ""
	}
	separator := "?"
	if strings.Contains(pattern, "?") {
		separator = "&"
	}
	return separator + strings.Join(c.parts, "&")
}

func (c *converted) droppedNames() []string {
	slices.Sort(c.dropped)
	return slices.Compact(c.dropped)
}

// orders are the values of sort_by.
var orders = map[string]string{"name": "name", "size": "size", "updated": "lastModifiedDateTime"}

// conflicts are the values of overwrite.
var conflicts = map[string]string{"true": "replace", "false": "fail", "choosenewname": "rename", "rename": "rename"}

// sizes are the values of a picture's type, and the sizes that are nearest to them
// ("thumbnailSet resource type", Microsoft: 96, 176 and 800 pixels).
var sizes = map[string]string{"small": "small", "thumbnail": "medium", "album": "medium", "normal": "large"}

// plain is what the name of a parameter looks like. Others could be anything.
var plain = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)

// convert returns the query for a rule, and adds what it has for the path to
// values.
func (r rule) convert(p parameters, values map[string]string) *converted {
	c := &converted{}
	if r.query == picturing {
		values["size"] = "large"
	}
	for name, value := range p {
		if slices.Contains(formal, name) || c.take(r.query, name, value, p, values) {
			continue
		}
		if !plain.MatchString(name) {
			name = "?"
		}
		c.dropped = append(c.dropped, name)
	}
	slices.Sort(c.parts)
	return c
}

// take reports whether a parameter has an equivalent, or no effect.
func (c *converted) take(q query, name, value string, p parameters, values map[string]string) bool {
	lower := strings.ToLower(value)
	switch name {
	case "limit":
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > 999 || q != fileList && q != outlookList && q != searching {
			return false
		}
		c.parts = append(c.parts, "$top="+strconv.Itoa(n))
	case "offset":
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 || n > 0 && q != outlookList {
			return false
		}
		if n > 0 {
			c.parts = append(c.parts, "$skip="+strconv.Itoa(n))
		}
	case "sort_by":
		by, ok := orders[lower]
		if q != fileList || !ok {
			return lower == "default"
		}
		if strings.EqualFold(p.get("sort_order"), "descending") {
			by += "%20desc"
		}
		c.parts = append(c.parts, "$orderby="+by)
	case "sort_order":
		_, ok := orders[strings.ToLower(p.get("sort_by"))]
		return q == fileList && ok && (lower == "ascending" || lower == "descending")
	case "overwrite":
		behavior, ok := conflicts[lower]
		if q != uploading || !ok {
			return false
		}
		c.parts = append(c.parts, "@microsoft.graph.conflictBehavior="+behavior)
	case "downsize_photo_uploads":
		return lower == "false"
	case "q":
		// An apostrophe within quotes is written twice (OData URL Conventions section
		// 5.1.1.14.1). A slash parts words, as a space does, and paths cannot have it.
		text := strings.NewReplacer("'", "''", "/", " ", `\`, " ").Replace(strings.TrimSpace(value))
		if q != searching || text == "" || len(text) > 1000 || strings.ContainsFunc(text, isControl) {
			return false
		}
		values["q"] = strings.ToValidUTF8(text, "")
	case "type":
		size, ok := sizes[lower]
		if q != picturing || !ok {
			return false
		}
		values["size"] = size
	default:
		return false
	}
	return true
}
