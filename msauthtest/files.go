package msauthtest

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds of a drive, which is kept in memory. What goes beyond is refused with
// 507 quotaLimitReached.
const (
	maxItems     = 10_000
	maxDriveSize = 256 << 20 // bytes
	maxFragment  = 60 << 20  // bytes of one request, as documented for upload sessions
	maxDocument  = 64 << 10  // bytes of a JSON body
)

// A problem is a refusal in Graph's form. The zero value is none.
type problem struct {
	status        int
	code, message string
}

func (p *problem) write(w http.ResponseWriter, r *http.Request) {
	graphError(w, r, p.status, p.code, p.message)
}

func badRequest(message string) *problem {
	return &problem{http.StatusBadRequest, "invalidRequest", message}
}

var (
	problemMissing  = &problem{http.StatusNotFound, "itemNotFound", "The resource could not be found."}
	problemExists   = &problem{http.StatusConflict, "nameAlreadyExists", "An item with the same name already exists under the parent."}
	problemQuota    = &problem{http.StatusInsufficientStorage, "quotaLimitReached", "The user has reached their quota limit."}
	problemChanged  = &problem{http.StatusPreconditionFailed, "resourceModified", "ETag does not match current item's value."}
	problemTooLarge = &problem{http.StatusRequestEntityTooLarge, "invalidRequest", "The request body is too large."}
)

// A driveCall is one request to a drive: whose it is, and the body that came
// with it. e.files is held.
type driveCall struct {
	*exchange
	user  User
	drive *drive
	body  []byte
}

// drive answers below /v1.0/me/drive and /v1.0/drives/{id}.
func (e *exchange) drive(w http.ResponseWriter, r *http.Request, full string) {
	need := readNeed
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		need = writeNeed
	}
	u, ok := e.bearer(w, r, need)
	if !ok {
		return
	}
	rest, mine := strings.CutPrefix(full, "me/drive")
	if !mine {
		id, below, _ := strings.Cut(strings.TrimPrefix(full, "drives/"), "/")
		if !strings.EqualFold(id, driveID(u)) {
			problemMissing.write(w, r)
			return
		}
		rest = below
	}
	limit := int64(maxDocument)
	if r.Method == http.MethodPut {
		limit = maxFragment
	}
	body, bad := readBody(r, limit)
	if bad != nil {
		bad.write(w, r)
		return
	}
	// The answer is written when the lock has been given back.
	var rec recorder
	func() {
		e.files.Lock()
		defer e.files.Unlock()
		c := &driveCall{exchange: e, user: u, drive: e.driveOf(u), body: body}
		if full == "me/drives" {
			if readOnly(&rec, r) {
				writeJSON(&rec, http.StatusOK, map[string]any{"value": []any{e.driveDoc(u, c.drive.root)}})
			}
			return
		}
		c.answer(&rec, r, strings.Trim(rest, "/"))
	}()
	rec.replay(w)
}

// replay writes what was recorded.
func (r *recorder) replay(w http.ResponseWriter) {
	r.WriteHeader(http.StatusOK)
	for name, values := range r.sent {
		w.Header()[name] = values
	}
	w.WriteHeader(r.status)
	w.Write(r.body.Bytes())
}

// readBody reads a body, which clients of Graph may compress.
func readBody(r *http.Request, limit int64) ([]byte, *problem) {
	var from io.Reader = r.Body
	switch r.Header.Get("Content-Encoding") {
	case "", "identity":
	case "gzip":
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, badRequest("The body is not gzip.")
		}
		from = z
	default:
		return nil, &problem{http.StatusUnsupportedMediaType, "invalidRequest", "The content encoding is not supported."}
	}
	body, err := io.ReadAll(io.LimitReader(from, limit+1))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge) || int64(len(body)) > limit:
		return nil, problemTooLarge
	case err != nil:
		return nil, badRequest("The body cannot be read.")
	}
	return body, nil
}

// readDocument reads a JSON body; an empty one says nothing.
func readDocument(body []byte, into any) *problem {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	if err := json.Unmarshal(body, into); err != nil {
		return &problem{http.StatusBadRequest, "BadRequest", "Unable to read JSON request payload."}
	}
	return nil
}

// A place is what a path of a drive names.
type place struct {
	item    *item    // the item; nil when there is none
	base    *item    // the deepest folder or file on the way that exists
	missing []string // the names below base that do not exist
	action  string   // what is asked of it
}

// locate finds an item by id ("items/ID", "root"), by path
// ("root:/Documents/a.txt:"), or by both ("items/ID:/a.txt:"). It answers false
// when the place to begin at does not exist.
func locate(root *item, path string) (p place, ok bool) {
	head, names, byPath := path, "", false
	if before, after, found := strings.Cut(path, ":"); found {
		head, byPath = before, true
		names, p.action, _ = strings.Cut(after, ":")
		if !strings.HasPrefix(names, "/") {
			return p, false
		}
	}
	id, below, _ := strings.Cut(strings.TrimPrefix(head, "items/"), "/")
	switch {
	case head == path && !byPath:
		p.action = below
	case below != "":
		return p, false
	}
	switch {
	case id == "root":
		p.base = root
	case strings.HasPrefix(head, "items/"):
		p.base = root.find(id)
	}
	if p.base == nil {
		return p, false
	}
	p.action = strings.TrimPrefix(strings.Trim(p.action, "/"), "microsoft.graph.")
	p.descend(without(strings.Split(names, "/"), func(name string) bool { return name == "" }))
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

// methods are what may be done with an item, by action.
var methods = map[string]string{
	"": "GET, HEAD, PATCH, DELETE", "children": "GET, HEAD, POST", "content": "GET, HEAD, PUT",
	"createUploadSession": "POST", "copy": "POST",
}

// answer does what a request asks of a drive.
func (c *driveCall) answer(w http.ResponseWriter, r *http.Request, path string) {
	u, root := c.user, c.drive.root
	metadata := "users('" + url.PathEscape(u.ObjectID) + "')/drive"
	if path == "" {
		if readOnly(w, r) {
			c.graphJSON(w, r, "drives/$entity", c.driveDoc(u, root))
		}
		return
	}
	p, ok := locate(root, path)
	creates := (r.Method == http.MethodPut && p.action == "content") || p.action == "createUploadSession"
	if !ok || p.item == nil && !creates {
		problemMissing.write(w, r)
		return
	}
	allow, known := methods[p.action]
	switch {
	case !known:
		graphError(w, r, http.StatusBadRequest, "BadRequest", "Resource not found for the segment '"+p.action+"'.")
		return
	case !slices.Contains(strings.Split(allow, ", "), r.Method):
		w.Header().Set("Allow", allow)
		graphError(w, r, http.StatusMethodNotAllowed, "notSupported", "The method is not allowed here.")
		return
	}
	if want := r.Header.Get("If-Match"); want != "" && want != "*" && p.item != nil && r.Method != http.MethodGet && r.Method != http.MethodHead && want != p.item.eTag() {
		problemChanged.write(w, r)
		return
	}
	switch r.Method + " " + p.action {
	case "POST children":
		c.createFolder(w, r, p.item)
	case "POST createUploadSession":
		c.createUpload(w, r, p)
	case "POST copy":
		c.copy(w, r, p.item)
	case "PUT content":
		c.put(w, r, p)
	case "PATCH ":
		c.update(w, r, p.item)
	case "DELETE ":
		if p.item == root {
			(&problem{http.StatusForbidden, "accessDenied", "The root folder cannot be deleted."}).write(w, r)
			return
		}
		p.item.remove()
		w.WriteHeader(http.StatusNoContent)
	default: // GET and HEAD
		switch p.action {
		case "":
			c.graphJSON(w, r, metadata+"/root/$entity", c.itemDoc(u, p.item))
		case "children":
			c.children(w, r, p.item, metadata)
		case "content":
			if p.item.folder {
				badRequest("Cannot get the content of a folder.").write(w, r)
				return
			}
			w.Header().Set("Location", c.presigned(u, p.item))
			w.WriteHeader(http.StatusFound)
		}
	}
}

// pageSize is how many children an answer lists when $top says nothing.
const pageSize = 200

// paging reads $top, between 1 and 999, and $skiptoken.
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

// cut takes the page out of a list, and makes the link to the next one.
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

// orders are the properties that children can be sorted by.
var orders = map[string]func(a, b *item) int{
	"name":                 func(a, b *item) int { return cmp.Compare(strings.ToLower(a.name), strings.ToLower(b.name)) },
	"size":                 func(a, b *item) int { return cmp.Compare(a.size(), b.size()) },
	"lastmodifieddatetime": func(a, b *item) int { return a.modified.Compare(b.modified) },
	"createddatetime":      func(a, b *item) int { return a.created.Compare(b.created) },
}

func (c *driveCall) children(w http.ResponseWriter, r *http.Request, it *item, metadata string) {
	q := r.URL.Query()
	top, skip, bad := paging(q, pageSize)
	if bad != nil {
		bad.write(w, r)
		return
	}
	all := slices.Clone(it.children)
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
	for _, child := range part {
		list = append(list, selected(c.itemDoc(c.user, child), q.Get("$select")))
	}
	doc := map[string]any{
		"@odata.context": c.URL + "/v1.0/$metadata#" + metadata + "/items('" + url.PathEscape(it.id) + "')/children",
		"value":          list,
	}
	if next != "" {
		doc["@odata.nextLink"] = next
	}
	writeJSON(w, http.StatusOK, doc)
}

// conflict is what @microsoft.graph.conflictBehavior says.
type conflict string

func (b conflict) check() *problem {
	switch b {
	case "fail", "rename", "replace":
		return nil
	}
	return badRequest("The value of @microsoft.graph.conflictBehavior is not valid.")
}

// nameProblem tells what is wrong with a name ("Restrictions and limitations in
// OneDrive and SharePoint").
func nameProblem(name string) *problem {
	if name == "" || len(name) > 255 || strings.TrimSpace(name) != name || strings.HasSuffix(name, ".") || strings.Map(fileRune, name) != name {
		return badRequest("The name provided is not valid.")
	}
	return nil
}

// settle finds the name that a new or moved item gets in a folder, or the item
// there that it takes the place of.
func settle(folder *item, name string, b conflict, self *item) (string, *item, *problem) {
	if bad := nameProblem(name); bad != nil {
		return "", nil, bad
	}
	there := folder.child(name)
	if there == nil || there == self {
		return name, nil, nil
	}
	switch b {
	case "replace":
		return there.name, there, nil
	case "rename":
		ext := path.Ext(name)
		for n := 1; ; n++ {
			other := strings.TrimSuffix(name, ext) + " " + strconv.Itoa(n) + ext
			if folder.child(other) == nil {
				return other, nil, nil
			}
		}
	}
	return "", nil, problemExists
}

// room tells whether a drive has room for more.
func (c *driveCall) room(items int, size int64) *problem {
	pending := int64(0)
	for _, up := range c.uploads {
		if up.owner == c.user.ObjectID {
			pending += int64(len(up.data))
		}
	}
	if c.drive.root.count()+items > maxItems || c.drive.root.size()+pending+size > maxDriveSize {
		return problemQuota
	}
	return nil
}

// add puts a new item into a folder.
func (c *driveCall) add(folder *item, it *item) {
	now := time.Now()
	it.id, it.parent, it.version = c.newID(), folder, 1
	it.created, it.modified = now, now
	folder.children = append(folder.children, it)
	folder.touch(now)
}

func (it *item) touch(now time.Time) { it.version, it.modified = it.version+1, now }

// remove takes an item out of its folder.
func (it *item) remove() {
	it.parent.children = without(it.parent.children, func(other *item) bool { return other == it })
	it.parent.touch(time.Now())
}

func (c *driveCall) newID() string {
	if c.user.personal() {
		c.drive.next++
		return driveID(c.user) + "!" + strconv.Itoa(101+c.drive.next)
	}
	b := make([]byte, 20)
	rand.Read(b) // never fails
	return "01" + base32.StdEncoding.EncodeToString(b)
}

// typeOf is the type of a file's content, by its name.
func typeOf(name string) string {
	switch strings.ToLower(path.Ext(name)) {
	case ".txt":
		return "text/plain"
	case ".csv":
		return "text/csv"
	case ".md":
		return "text/markdown"
	case ".json":
		return "application/json"
	case ".pdf":
		return "application/pdf"
	case ".png":
		return "image/png"
	case ".jpg", ".jpeg":
		return "image/jpeg"
	}
	return "application/octet-stream"
}

// createFolder is POST children.
func (c *driveCall) createFolder(w http.ResponseWriter, r *http.Request, folder *item) {
	ask := struct {
		Name     string          `json:"name"`
		Folder   json.RawMessage `json:"folder"`
		Conflict conflict        `json:"@microsoft.graph.conflictBehavior"`
	}{Conflict: "fail"}
	bad := readDocument(c.body, &ask)
	switch {
	case bad != nil:
	case ask.Folder == nil:
		bad = badRequest("Only folders can be created here: the property folder is missing.")
	case !folder.folder:
		bad = badRequest("The parent is not a folder.")
	default:
		bad = ask.Conflict.check()
	}
	if bad == nil {
		bad = c.room(1, 0)
	}
	var name string
	var there *item
	if bad == nil {
		name, there, bad = settle(folder, ask.Name, ask.Conflict, nil)
	}
	switch {
	case bad == nil && there != nil && !there.folder:
		bad = problemExists
	case bad == nil && there == nil:
		there = &item{name: name, folder: true}
		c.add(folder, there)
	}
	if bad != nil {
		bad.write(w, r)
		return
	}
	writeJSON(w, http.StatusCreated, c.itemDoc(c.user, there))
}

// put is PUT content: a new file, or new content for one.
func (c *driveCall) put(w http.ResponseWriter, r *http.Request, p place) {
	behavior := conflict(cmp.Or(r.URL.Query().Get("@microsoft.graph.conflictBehavior"), "replace"))
	bad := behavior.check()
	if bad == nil {
		bad = c.room(1+len(p.missing), int64(len(c.body)))
	}
	var it *item
	created := false
	if bad == nil {
		it, created, bad = c.store(p, behavior, c.body)
	}
	if bad != nil {
		bad.write(w, r)
		return
	}
	c.stored(w, it, created)
}

func (c *driveCall) stored(w http.ResponseWriter, it *item, created bool) {
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	writeJSON(w, status, c.itemDoc(c.user, it))
}

// store puts content at a place. Folders on the way are made.
func (c *driveCall) store(p place, behavior conflict, content []byte) (it *item, created bool, bad *problem) {
	if p.item != nil {
		switch {
		case p.item.folder:
			return nil, false, problemExists
		case behavior != "replace":
			if p.item.parent == nil {
				return nil, false, problemExists
			}
			return c.storeNamed(p.item.parent, p.item.name, behavior, content)
		}
		p.item.setContent(content)
		p.item.touch(time.Now())
		return p.item, false, nil
	}
	if !p.base.folder {
		return nil, false, badRequest("The parent is not a folder.")
	}
	for _, name := range p.missing {
		if bad := nameProblem(name); bad != nil {
			return nil, false, bad
		}
	}
	folder := p.base
	for _, name := range p.missing[:len(p.missing)-1] {
		next := &item{name: name, folder: true}
		c.add(folder, next)
		folder = next
	}
	return c.storeNamed(folder, p.missing[len(p.missing)-1], behavior, content)
}

func (c *driveCall) storeNamed(folder *item, name string, behavior conflict, content []byte) (it *item, created bool, bad *problem) {
	name, there, bad := settle(folder, name, behavior, nil)
	if bad != nil {
		return nil, false, bad
	}
	if there != nil {
		return c.store(place{item: there}, "replace", content)
	}
	it = file(name, typeOf(name), content)
	c.add(folder, it)
	return it, true, nil
}

// A reference names a folder.
type reference struct {
	DriveID string `json:"driveId"`
	ID      string `json:"id"`
	Path    string `json:"path"`
}

// resolve finds the folder that a reference names.
func (c *driveCall) resolve(ref reference) (*item, *problem) {
	if ref.DriveID != "" && !strings.EqualFold(ref.DriveID, driveID(c.user)) {
		return nil, problemMissing
	}
	target := "items/" + ref.ID
	if ref.ID == "" {
		text, err := url.PathUnescape(ref.Path)
		if err != nil {
			return nil, badRequest("The path of parentReference is not valid.")
		}
		text = strings.TrimPrefix(text, "/drives/"+driveID(c.user))
		target = strings.TrimPrefix(strings.TrimPrefix(text, "/drive"), "/")
	}
	p, ok := locate(c.drive.root, target)
	switch {
	case !ok || p.item == nil || p.action != "":
		return nil, problemMissing
	case !p.item.folder:
		return nil, badRequest("The parent is not a folder.")
	}
	return p.item, nil
}

// update is PATCH: another name, another folder.
func (c *driveCall) update(w http.ResponseWriter, r *http.Request, it *item) {
	ask := struct {
		Name     *string    `json:"name"`
		Parent   *reference `json:"parentReference"`
		Conflict conflict   `json:"@microsoft.graph.conflictBehavior"`
	}{Conflict: "fail"}
	bad := readDocument(c.body, &ask)
	folder, name := it.parent, it.name
	if bad == nil {
		bad = ask.Conflict.check()
	}
	if bad == nil && it == c.drive.root {
		bad = &problem{http.StatusForbidden, "accessDenied", "The root folder cannot be changed."}
	}
	if bad == nil && ask.Parent != nil && (ask.Parent.ID != "" || ask.Parent.Path != "") {
		folder, bad = c.resolve(*ask.Parent)
	}
	if bad == nil && folder.within(it) {
		bad = badRequest("An item cannot be moved into itself.")
	}
	if ask.Name != nil {
		name = *ask.Name
	}
	var there *item
	if bad == nil {
		name, there, bad = settle(folder, name, ask.Conflict, it)
	}
	if bad == nil && there != nil && it.within(there) {
		bad = problemExists
	}
	if bad != nil {
		bad.write(w, r)
		return
	}
	if there != nil {
		there.remove()
	}
	if folder != it.parent {
		it.remove()
		it.parent = folder
		folder.children = append(folder.children, it)
		folder.touch(time.Now())
	}
	it.name = name
	if !it.folder {
		it.mime = typeOf(name)
	}
	it.touch(time.Now())
	writeJSON(w, http.StatusOK, c.itemDoc(c.user, it))
}

// A monitor is the outcome of a copy ("Working with long running actions").
type monitor struct {
	resource string // id of the new item
	problem  *problem
	until    time.Time
}

// copy copies at once, and says so at a monitor URL.
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
	if bad == nil && ask.Parent != nil && (ask.Parent.ID != "" || ask.Parent.Path != "") {
		folder, bad = c.resolve(*ask.Parent)
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

// monitor tells how a copy went. It takes no token: whoever sends one has given
// it to a host that must not have it.
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
		"A pre-authenticated URL was asked for with an Authorization header: the access token has been sent to a host that is not Graph.")
	return false
}
