package msauthtest

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"
)

// searchText returns the text of an argument q='...', in which apostrophes are
// doubled. As Microsoft does, it refuses others and slashes.
func searchText(argument string) (string, *problem) {
	syntax := &problem{http.StatusBadRequest, "BadRequest", "Syntax error: character ''' is not valid in '" + argument + "'.", ""}
	text, ok := strings.CutPrefix(argument, "q='")
	if !ok {
		return "", syntax
	}
	if text, ok = strings.CutSuffix(text, "'"); !ok || strings.Contains(strings.ReplaceAll(text, "''", ""), "'") {
		return "", syntax
	}
	if strings.Contains(text, "/") {
		return "", &problem{http.StatusBadRequest, "BadRequest", "The search text must not contain a slash.", ""}
	}
	return strings.ReplaceAll(text, "''", "'"), nil
}

// search serves "driveItem: search": items below a folder whose name contains
// the text, and text files that contain it. Case does not matter. Unlike
// Microsoft's, the index is always up to date.
func (c *driveCall) search(w http.ResponseWriter, r *http.Request, p place) {
	text, bad := searchText(p.argument)
	if bad != nil {
		bad.write(w, r)
		return
	}
	text = strings.ToLower(text)
	var found []*item
	var walk func(it *item)
	walk = func(it *item) {
		for _, child := range it.children {
			if strings.Contains(strings.ToLower(child.name), text) || child.contains(text) {
				found = append(found, child)
			}
			walk(child)
		}
	}
	walk(p.item)
	c.list(w, r, found, "Collection(driveItem)")
}

// contains reports whether a file is a text that contains a text in lower case.
func (it *item) contains(text string) bool {
	return it.content != nil && strings.HasPrefix(it.mime, "text/") && it.content.file == nil &&
		bytes.Contains(bytes.ToLower(it.content.small), []byte(text))
}

// expand adds to the document of an item what $expand asks for.
func (c *driveCall) expand(doc map[string]any, it *item, q url.Values) {
	for name := range strings.SplitSeq(q.Get("$expand"), ",") {
		switch strings.TrimSpace(name) {
		case "thumbnails":
			doc["thumbnails"] = c.thumbnailSets(it)
		case "children":
			list := []any{}
			for _, child := range it.children[:min(pageSize, len(it.children))] {
				list = append(list, c.itemDoc(c.user, child))
			}
			doc["children"] = list
		}
	}
}
