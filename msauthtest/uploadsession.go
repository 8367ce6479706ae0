package msauthtest

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	uploadLife = 15 * time.Minute // of a work account's upload session without requests
	uploadUnit = 320 << 10        // bytes; the size of each part but the last is a multiple
	maxUploads = 1000             // upload sessions, and copies, that are kept
)

// An upload is an upload session ("driveItem: createUploadSession").
type upload struct {
	owner    string // object id
	at       place
	behavior conflict
	size     int64 // of the file; -1 until the first part, if it was not announced
	fixed    bool  // a part has said the size
	deferred bool  // the file is added on request
	times    fileTimes
	expires  time.Time

	got    int64 // bytes that are here
	sum    *sums // of them
	small  []byte
	file   *tempFile // where the bytes are, if they are not in small
	end    int64     // of what parts have reserved in file
	places []extent
}

// uploadExpiry returns when a session expires that had a request now. Those of
// personal accounts last for a week.
func (c *driveCall) uploadExpiry() time.Time {
	life := uploadLife
	switch {
	case c.behavior.UploadExpires > 0:
		life = c.behavior.UploadExpires
	case c.user.personal():
		life = 7 * 24 * time.Hour
	}
	return time.Now().Add(life)
}

// uploading reports whether another upload session of a work account is open for
// the same name: it keeps the name until it ends.
func (c *driveCall) uploading(p place) bool {
	for _, up := range c.uploads {
		if up.owner == c.user.ObjectID && time.Now().Before(up.expires) && up.at.item == p.item &&
			(p.item != nil || up.at.base == p.base && strings.EqualFold(strings.Join(up.at.missing, "/"), strings.Join(p.missing, "/"))) {
			return !c.user.personal()
		}
	}
	return false
}

// ExpireUploads expires all upload sessions. Requests to their URLs are
// answered with 404, as after their time.
func (s *Server) ExpireUploads() {
	s.files.Lock()
	defer s.files.Unlock()
	clear(s.uploads)
}

// An uploadRequest is the body of createUploadSession.
type uploadRequest struct {
	Item *struct {
		Name     string     `json:"name"`
		FileSize *int64     `json:"fileSize"`
		Times    *fileTimes `json:"fileSystemInfo"`
		Conflict conflict   `json:"@microsoft.graph.conflictBehavior"`
	} `json:"item"`
	Defer bool `json:"deferCommit"`
}

// readUpload decodes the body of createUploadSession.
func readUpload(body []byte) (name string, up *upload, bad *problem) {
	var ask uploadRequest
	bad = readDocument(body, &ask)
	up = &upload{size: -1, behavior: "replace", deferred: ask.Defer, sum: newSums()}
	if ask.Item != nil {
		name = ask.Item.Name
		if ask.Item.FileSize != nil {
			if up.size = *ask.Item.FileSize; up.size < 0 && bad == nil {
				bad = badRequest("The value of fileSize is not valid.")
			}
		}
		if bad == nil {
			bad = ask.Item.Times.check()
		}
		up.times.set(ask.Item.Times)
		up.behavior = cmp.Or(ask.Item.Conflict, up.behavior)
	}
	if bad == nil {
		bad = up.behavior.check()
	}
	return name, up, bad
}

// createUpload starts an upload session.
func (c *driveCall) createUpload(w http.ResponseWriter, r *http.Request, p place) {
	name, up, bad := readUpload(c.body)
	if bad == nil && p.item == nil {
		bad = c.placeProblem(p.base, false, p.missing...)
	}
	switch {
	case bad != nil:
	case name != "" && len(p.names) > 0 && !strings.EqualFold(name, p.names[len(p.names)-1]):
		bad = badRequest("The name in the path does not match the name in the body.")
	case up.size >= 0 && c.behavior.RefuseFileSize:
		bad = badRequest("The property 'fileSize' is not supported here.")
	case p.item != nil && p.item.folder, p.item == nil && !p.base.folder:
		bad = badRequest("An upload session is for files only.")
	case p.item != nil && up.behavior == "fail", c.uploading(p):
		bad = problemExists
	default:
		bad = c.room(1+len(p.missing), max(up.size, 0))
	}
	if bad != nil {
		bad.write(w, r)
		return
	}
	now := time.Now()
	for id, old := range c.uploads {
		if len(c.uploads) >= maxUploads || now.After(old.expires) {
			delete(c.uploads, id)
		}
	}
	id := randomText(43)
	up.owner, up.at, up.expires = c.user.ObjectID, p, c.uploadExpiry()
	c.uploads[id] = up
	doc := up.status()
	address := c.otherURL + "/upload/" + id
	doc["uploadUrl"] = address
	c.addSecrets(address)
	writeJSON(w, http.StatusOK, doc)
}

// complete reports whether all parts are here.
func (up *upload) complete() bool { return up.fixed && up.got == up.size }

func (up *upload) status() map[string]any {
	next := []string{}
	if !up.complete() {
		next = append(next, strconv.FormatInt(up.got, 10)+"-")
	}
	return map[string]any{
		"expirationDateTime": up.expires.UTC().Format("2006-01-02T15:04:05.000Z"),
		"nextExpectedRanges": next,
	}
}

// content returns what was uploaded.
func (up *upload) content() *content {
	c := up.sum.content(up.small)
	c.file, c.places = up.file, up.places
	return c
}

// commit adds the file of a complete upload to the drive. If it cannot be
// added, because its name is taken by now, the session stays, so that it can be
// finished under another name or cancelled.
func (c *driveCall) commit(w http.ResponseWriter, r *http.Request, id string, p place, behavior conflict) {
	up := c.uploads[id]
	if p.item == nil { // missing items may exist by now
		if !p.base.within(c.drive.root) {
			problemMissing.write(w, r)
			return
		}
		p.descend(p.missing)
	} else if !p.item.within(c.drive.root) {
		problemMissing.write(w, r)
		return
	}
	it, created, bad := c.store(p, behavior, up.content())
	if bad != nil {
		bad.write(w, r)
		return
	}
	it.times.set(&up.times)
	delete(c.uploads, id)
	if c.user.personal() {
		c.stored(w, it, created)
		return
	}
	// The answer comes from SharePoint, where the property has another name.
	doc, status := c.itemDoc(c.user, it), http.StatusOK
	doc["@content.downloadUrl"] = doc["@microsoft.graph.downloadUrl"]
	delete(doc, "@microsoft.graph.downloadUrl")
	if created {
		status = http.StatusCreated
	}
	writeJSON(w, status, doc)
}

// adopt serves PUT of an item with @microsoft.graph.sourceUrl: it finishes a
// complete upload under another name. The path is that of the file, or that of
// its folder if the body has a name.
func (c *driveCall) adopt(w http.ResponseWriter, r *http.Request, p place) {
	var ask struct {
		Name     string   `json:"name"`
		Conflict conflict `json:"@microsoft.graph.conflictBehavior"`
		Source   string   `json:"@microsoft.graph.sourceUrl"`
	}
	bad := readDocument(c.body, &ask)
	if ask.Conflict == "" {
		ask.Conflict = "fail"
	}
	if bad == nil {
		bad = ask.Conflict.check()
	}
	id, here := strings.CutPrefix(ask.Source, c.otherURL+"/upload/")
	up := c.uploads[id]
	switch {
	case bad != nil:
	case !here:
		bad = badRequest("The property @microsoft.graph.sourceUrl is missing or not that of an upload session.")
	case up == nil || up.owner != c.user.ObjectID || time.Now().After(up.expires):
		bad = problemNoSession
	case !c.user.personal():
		bad = notSupported(http.StatusBadRequest, "Only personal accounts support @microsoft.graph.sourceUrl.")
	case !up.complete():
		bad = badRequest("The upload is not complete.").within("uploadSessionIncomplete")
	case ask.Name != "" && p.item != nil && p.item.folder:
		p.descend([]string{ask.Name})
	case ask.Name != "" && p.item == nil:
		p.missing = append(slices.Clone(p.missing[:len(p.missing)-1]), ask.Name)
	}
	if bad != nil {
		bad.write(w, r)
		return
	}
	c.commit(w, r, id, p, ask.Conflict)
}
