package msauthtest

import (
	"regexp"
	"strings"
)

// A target is what a path below a drive asks for: an item, by ID ("items/ID",
// "root"), by path ("root:/Documents/a.txt:"), or by both
// ("items/ID:/a.txt:"), and what to do with it.
type target struct {
	id       string   // of the item that the path starts at, or "root"
	names    []string // the path below it
	action   string   // the next segment: children, content, thumbnails
	rest     string   // what follows it: "0/small"
	argument string   // of a function, as in search(q='x'), with its quotes
}

// functionCall is a function with its arguments at the end of a path.
var functionCall = regexp.MustCompile(`(?s)^(.*?)(?:^|/)(?:microsoft\.graph\.)?(search|delta)\((.*)\)$`)

// parseTarget parses a path below a drive. It returns false if the path is that
// of no item.
func parseTarget(path string) (t target, ok bool) {
	call := functionCall.FindStringSubmatch(path)
	if call != nil && strings.Count(call[1], ":")%2 != 0 {
		call = nil // it is the name of a file
	}
	if call != nil {
		path = call[1]
		t.action, t.argument = call[2], call[3]
		if path == "" {
			path = "root"
		}
	}
	head, names, action := path, "", ""
	if before, after, byPath := strings.Cut(path, ":"); byPath {
		head = before
		names, action, _ = strings.Cut(after, ":")
		if after != "" && !strings.HasPrefix(names, "/") { // "root:" is the root itself
			return t, false
		}
	}
	id, below, _ := strings.Cut(strings.TrimPrefix(head, "items/"), "/")
	if head != path && below != "" {
		return t, false
	}
	if id != "root" && !strings.HasPrefix(head, "items/") {
		switch id {
		case "search", "delta": // of the drive, that is of its root
			id, below = "root", head
		default:
			return t, false
		}
	}
	t.id = id
	t.names = without(strings.Split(names, "/"), func(name string) bool { return name == "" })
	if call == nil {
		action, rest, _ := strings.Cut(strings.Trim(below+action, "/"), "/")
		t.action, t.rest = strings.TrimPrefix(action, "microsoft.graph."), rest
	}
	return t, true
}

// A place is what a target refers to in a drive.
type place struct {
	target
	item    *item    // nil if there is none
	base    *item    // the deepest item on the path that exists
	missing []string // the names below base that do not exist
}

// locate finds the item of a target. It returns false if the item that its path
// starts at does not exist.
func (t target) locate(root *item) (p place, ok bool) {
	p.target = t
	if p.base = root; t.id != "root" {
		p.base = root.find(t.id)
	}
	if p.base == nil {
		return p, false
	}
	p.descend(t.names)
	return p, true
}

// descend follows names from p.base as far as they exist.
func (p *place) descend(names []string) {
	p.item, p.missing = p.base, nil
	for _, name := range names {
		if p.item != nil {
			if p.item = p.item.child(name); p.item != nil {
				p.base = p.item
				continue
			}
		}
		p.missing = append(p.missing, name)
	}
}
