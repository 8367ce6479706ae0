package msauthtest

import (
	"cmp"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// A monitor is the progress of a copy ("Working with long running actions").
type monitor struct {
	owner    string // object id
	began    time.Time
	ends     time.Time
	done     bool
	resource string   // id of the new item
	problem  *problem // why there is none
	until    time.Time
}

// A slowCopy is a copy that is not finished.
type slowCopy struct {
	item, folder *item
	name         string
	behavior     conflict
	monitor      *monitor
}

// copy copies an item, at once or in [Behavior.CopyTime]. The answer refers to a
// monitor URL.
func (c *driveCall) copy(w http.ResponseWriter, r *http.Request, p place) {
	it := p.item
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
	now := time.Now()
	for old, m := range c.monitors {
		if len(c.monitors) >= maxUploads || now.After(m.until) {
			delete(c.monitors, old)
		}
	}
	ends := now.Add(c.behavior.CopyTime)
	m := &monitor{owner: c.user.ObjectID, began: now, ends: ends, until: ends.Add(presignedLife)}
	id := randomText(43)
	c.monitors[id] = m
	c.drive.copies = append(c.drive.copies, &slowCopy{it, folder, cmp.Or(ask.Name, it.name), behavior, m})
	c.finishCopies()
	w.Header().Set("Location", c.otherURL+"/monitor/"+id)
	w.WriteHeader(http.StatusAccepted)
}

// finishCopies finishes the copies of the drive whose time has come.
func (c *driveCall) finishCopies() {
	now := time.Now()
	for _, s := range slices.Clone(c.drive.copies) {
		if s.monitor.ends.After(now) {
			continue
		}
		c.drive.copies = without(c.drive.copies, func(other *slowCopy) bool { return other == s })
		s.monitor.done = true
		s.monitor.resource, s.monitor.problem = c.finish(s)
	}
}

// finish makes the items of a copy.
func (c *driveCall) finish(s *slowCopy) (id string, bad *problem) {
	if !s.item.within(c.drive.root) || !s.folder.within(c.drive.root) || s.folder.within(s.item) {
		return "", problemMissing // deleted or moved in the meantime
	}
	if bad := c.room(s.item.count(), s.item.size()); bad != nil {
		return "", bad
	}
	name, there, bad := c.settle(s.folder, s.name, s.item.folder, s.behavior, nil)
	if bad == nil && there != nil && s.item.within(there) {
		bad = problemExists
	}
	if bad != nil {
		return "", bad
	}
	if there != nil {
		c.recycle(there)
	}
	return c.duplicate(s.item, s.folder, name).id, nil
}

func (c *driveCall) duplicate(it, folder *item, name string) *item {
	twin := &item{name: name, folder: it.folder, mime: it.mime, content: it.content, times: it.times}
	children := slices.Clone(it.children)
	c.add(folder, twin)
	for _, child := range children {
		c.duplicate(child, twin, child.name)
	}
	return twin
}

// monitor serves the progress of a copy. It refuses requests with a token: their
// client has sent it to a host that must not have it.
func (e *exchange) monitor(w http.ResponseWriter, r *http.Request) {
	if !readOnly(w, r) || !e.noToken(w, r) {
		return
	}
	e.withFiles(w, func(w http.ResponseWriter) {
		m, ok := e.monitors[strings.TrimPrefix(r.URL.Path, "/monitor/")]
		now := time.Now()
		if !ok || now.After(m.until) {
			problemMissing.write(w, r)
			return
		}
		c := &driveCall{exchange: e, user: e.userWith(m.owner), drive: e.drives[m.owner]}
		c.finishCopies()
		doc := map[string]any{"operation": "ItemCopy", "percentageComplete": 100.0, "status": "completed"}
		switch {
		case !m.done:
			share := float64(now.Sub(m.began)) / float64(m.ends.Sub(m.began))
			doc["percentageComplete"], doc["status"] = math.Floor(share*1000)/10, "inProgress"
			if share < .1 {
				doc["percentageComplete"], doc["status"] = 0.0, "notStarted"
			}
			writeJSON(w, http.StatusAccepted, doc)
		case m.problem != nil:
			doc["percentageComplete"], doc["status"] = 0.0, "failed"
			doc["error"] = map[string]any{"code": m.problem.code, "message": m.problem.message}
			writeJSON(w, http.StatusOK, doc)
		case c.user.personal(): // it redirects to the item, which needs a token
			doc["resourceId"] = m.resource
			w.Header().Set("Location", e.URL+"/v1.0/drives/"+driveID(c.user)+"/items/"+url.PathEscape(m.resource))
			writeJSON(w, http.StatusSeeOther, doc)
		default:
			doc["resourceId"] = m.resource
			writeJSON(w, http.StatusOK, doc)
		}
	})
}

// userWith returns the person with an object ID.
func (s *Server) userWith(objectID string) User {
	for _, u := range s.Users() {
		if u.ObjectID == objectID {
			return u
		}
	}
	return User{}
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
