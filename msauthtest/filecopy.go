package msauthtest

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A monitor is the outcome of a copy ("Working with long running actions").
type monitor struct {
	resource string // id of the new item
	problem  *problem
	until    time.Time
}

// copy copies an item at once. The answer refers to a monitor URL.
func (c *driveCall) copy(w http.ResponseWriter, r *http.Request, it *item) {
	ask := struct {
		Name   string     `json:"name"`
		Parent *reference `json:"parentReference"`
	}{Name: it.name}
	behavior := conflict(cmp.Or(r.URL.Query().Get("@microsoft.graph.conflictBehavior"), "fail"))
	bad := readDocument(c.body, &ask)
	folder := it.parent
	if bad == nil {
		bad = behavior.check()
	}
	if bad == nil {
		folder, bad = c.parentFor(it, ask.Parent)
	}
	if bad == nil && (it == c.drive.root || folder.within(it)) {
		bad = badRequest("An item cannot be copied into itself.")
	}
	if bad == nil {
		bad = c.room(it.count(), it.size())
	}
	if bad != nil {
		bad.write(w, r)
		return
	}
	m := monitor{until: time.Now().Add(presignedLife)}
	name, there, failed := settle(folder, cmp.Or(ask.Name, it.name), behavior, nil)
	if failed == nil && there != nil && it.within(there) {
		failed = problemExists
	}
	if m.problem = failed; failed == nil {
		if there != nil {
			there.remove()
		}
		m.resource = c.duplicate(it, folder, name).id
	}
	id := randomText(43)
	for old, m := range c.monitors {
		if len(c.monitors) >= maxUploads || time.Now().After(m.until) {
			delete(c.monitors, old)
		}
	}
	c.monitors[id] = m
	w.Header().Set("Location", c.otherURL+"/monitor/"+id)
	w.WriteHeader(http.StatusAccepted)
}

func (c *driveCall) duplicate(it, folder *item, name string) *item {
	twin := &item{name: name, folder: it.folder, mime: it.mime, content: it.content, hash: it.hash}
	children := slices.Clone(it.children)
	c.add(folder, twin)
	for _, child := range children {
		c.duplicate(child, twin, child.name)
	}
	return twin
}

// monitor serves the outcome of a copy. It refuses requests with a token: their
// client has sent it to a host that must not have it.
func (e *exchange) monitor(w http.ResponseWriter, r *http.Request) {
	if !readOnly(w, r) || !e.noToken(w, r) {
		return
	}
	e.files.Lock()
	m, ok := e.monitors[strings.TrimPrefix(r.URL.Path, "/monitor/")]
	e.files.Unlock()
	switch {
	case !ok || time.Now().After(m.until):
		problemMissing.write(w, r)
	case m.problem != nil:
		writeJSON(w, http.StatusOK, map[string]any{
			"operation": "ItemCopy", "percentageComplete": 0, "status": "failed",
			"error": map[string]any{"code": m.problem.code, "message": m.problem.message},
		})
	default:
		writeJSON(w, http.StatusOK, map[string]any{
			"operation": "ItemCopy", "percentageComplete": 100, "status": "completed", "resourceId": m.resource,
		})
	}
}

// noToken refuses a request to a pre-authenticated URL that carries an access
// token.
func (e *exchange) noToken(w http.ResponseWriter, r *http.Request) bool {
	if r.Header.Get("Authorization") == "" {
		return true
	}
	graphError(w, r, http.StatusUnauthorized, "unauthenticated",
		"A pre-authenticated URL must be requested without an Authorization header: the access token was sent to a host that is not Graph.")
	return false
}
