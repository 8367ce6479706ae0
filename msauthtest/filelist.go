package msauthtest

import (
	"cmp"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// pageSize is the number of children in an answer without $top.
const pageSize = 200

// drivePaging is paging for lists of items. It accepts a larger $top, as
// OneDrive does, but pages are no larger.
func drivePaging(q url.Values) (top, skip int, bad *problem) {
	if n, err := strconv.Atoi(q.Get("$top")); err == nil && n > 999 {
		q = url.Values{"$top": {"999"}, "$skiptoken": q["$skiptoken"]}
	}
	return paging(q, pageSize)
}

// paging parses $top, between 1 and 999, and $skiptoken.
func paging(q url.Values, standard int) (top, skip int, bad *problem) {
	top = standard
	if text := q.Get("$top"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 999 {
			return 0, 0, badRequest("Invalid value specified for '$top'.")
		}
		top = n
	}
	if text := q.Get("$skiptoken"); text != "" {
		b, err := base64.RawURLEncoding.DecodeString(text)
		n, err2 := strconv.Atoi(string(b))
		if err != nil || err2 != nil || n < 0 {
			return 0, 0, badRequest("The $skiptoken is not valid.")
		}
		skip = n
	}
	return top, skip, nil
}

// cut returns the part of a list that is on the page, and the link to the next
// page.
func cut[T any](e *exchange, r *http.Request, list []T, top, skip int) (part []T, next string) {
	skip = min(skip, len(list))
	end := min(skip+top, len(list))
	if end < len(list) {
		q := r.URL.Query()
		q.Set("$skiptoken", b64([]byte(strconv.Itoa(end))))
		next = e.URL + r.URL.EscapedPath() + "?" + q.Encode()
	}
	return list[skip:end], next
}

// orders maps properties to the orders of children by them.
var orders = map[string]func(a, b *item) int{
	"name":                 func(a, b *item) int { return cmp.Compare(strings.ToLower(a.name), strings.ToLower(b.name)) },
	"size":                 func(a, b *item) int { return cmp.Compare(a.size(), b.size()) },
	"lastmodifieddatetime": func(a, b *item) int { return a.modified.Compare(b.modified) },
	"createddatetime":      func(a, b *item) int { return a.created.Compare(b.created) },
}

// children serves GET children.
func (c *driveCall) children(w http.ResponseWriter, r *http.Request, p place) {
	if !p.item.folder {
		badRequest("The item is not a folder.").write(w, r)
		return
	}
	c.list(w, r, p.item.children, c.metadata()+"/items('"+url.PathEscape(p.item.id)+"')/children")
}

// list answers with a page of items, in the order of $orderby.
func (c *driveCall) list(w http.ResponseWriter, r *http.Request, items []*item, metadata string) {
	q := r.URL.Query()
	top, skip, bad := drivePaging(q)
	if bad != nil {
		bad.write(w, r)
		return
	}
	all := slices.Clone(items)
	if text := q.Get("$orderby"); text != "" {
		fields := strings.Fields(strings.ToLower(text))
		var order func(a, b *item) int
		if len(fields) > 0 {
			order = orders[fields[0]]
		}
		if order == nil || len(fields) > 2 || len(fields) == 2 && fields[1] != "asc" && fields[1] != "desc" {
			badRequest("Invalid value specified for '$orderby'.").write(w, r)
			return
		}
		slices.SortStableFunc(all, func(a, b *item) int {
			if len(fields) == 2 && fields[1] == "desc" {
				return order(b, a)
			}
			return order(a, b)
		})
	}
	part, next := cut(c.exchange, r, all, top, skip)
	list := []map[string]any{}
	for _, it := range part {
		doc := selected(c.itemDoc(c.user, it), q.Get("$select"))
		c.expand(doc, it, q)
		list = append(list, doc)
	}
	doc := map[string]any{"@odata.context": c.URL + "/v1.0/$metadata#" + metadata, "value": list}
	if next != "" {
		doc["@odata.nextLink"] = next
	}
	writeJSON(w, http.StatusOK, doc)
}
