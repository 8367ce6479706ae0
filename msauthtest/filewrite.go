package msauthtest

import (
	"cmp"
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// room reports a problem if the drive has no room for more.
func (c *driveCall) room(items int, size int64) *problem {
	pending := int64(0)
	for _, up := range c.uploads {
		if up.owner == c.user.ObjectID {
			pending += up.got
		}
	}
	if c.drive.root.count()+items > maxItems || c.drive.root.size()+pending+size > maxDriveSize {
		return problemQuota
	}
	c.drive.emptyBin(maxDriveSize - c.drive.root.size() - pending - size)
	return nil
}

// add adds a new item to a folder.
func (c *driveCall) add(folder *item, it *item) {
	now := time.Now()
	it.id, it.parent, it.version = c.newID(), folder, 1
	it.created, it.modified = now, now
	folder.children = append(folder.children, it)
	folder.touch(now)
	c.drive.changed(it)
}

func (it *item) touch(now time.Time) { it.version, it.modified = it.version+1, now }

// take removes an item from its folder.
func (d *drive) take(it *item) {
	it.parent.children = without(it.parent.children, func(other *item) bool { return other == it })
	it.parent.touch(time.Now())
	d.changed(it.parent)
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

// createFolder serves POST children. With the behavior replace, a folder of that
// name stays as it is.
func (c *driveCall) createFolder(w http.ResponseWriter, r *http.Request, p place) {
	folder := p.item
	ask := struct {
		Name     string          `json:"name"`
		Folder   json.RawMessage `json:"folder"`
		Conflict conflict        `json:"@microsoft.graph.conflictBehavior"`
	}{Conflict: "fail"}
	bad := readDocument(c.body, &ask)
	switch {
	case bad != nil:
	case ask.Folder == nil:
		bad = badRequest("The property folder is missing: only folders can be created here.")
	case !folder.folder:
		bad = badRequest("The parent is not a folder.")
	default:
		bad = ask.Conflict.check()
	}
	if bad == nil {
		bad = c.room(1, 0)
	}
	status := http.StatusOK
	var name string
	var there *item
	if bad == nil {
		name, there, bad = c.settle(folder, ask.Name, true, ask.Conflict, nil)
	}
	switch {
	case bad == nil && there != nil && !there.folder:
		bad = problemExists
	case bad == nil && there == nil:
		there, status = &item{name: name, folder: true}, http.StatusCreated
		c.add(folder, there)
	}
	if bad != nil {
		bad.write(w, r)
		return
	}
	writeJSON(w, status, c.itemDoc(c.user, there))
}

// put serves PUT content: a new file, or new content of a file.
func (c *driveCall) put(w http.ResponseWriter, r *http.Request, p place) {
	behavior := conflict(cmp.Or(r.URL.Query().Get("@microsoft.graph.conflictBehavior"), "replace"))
	bad := behavior.check()
	if bad == nil {
		bad = c.room(1+len(p.missing), c.content.size)
	}
	var it *item
	created := false
	if bad == nil {
		it, created, bad = c.store(p, behavior, c.content)
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

// store writes content to a place. It makes the folders on the way that are
// missing.
func (c *driveCall) store(p place, behavior conflict, content *content) (it *item, created bool, bad *problem) {
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
		p.item.content, p.item.times = content, fileTimes{}
		p.item.touch(time.Now())
		c.drive.changed(p.item)
		return p.item, false, nil
	}
	if !p.base.folder {
		return nil, false, badRequest("The parent is not a folder.")
	}
	if bad := c.placeProblem(p.base, false, p.missing...); bad != nil {
		return nil, false, bad
	}
	folder := p.base
	for _, name := range p.missing[:len(p.missing)-1] {
		next := &item{name: name, folder: true}
		c.add(folder, next)
		folder = next
	}
	return c.storeNamed(folder, p.missing[len(p.missing)-1], behavior, content)
}

func (c *driveCall) storeNamed(folder *item, name string, behavior conflict, content *content) (it *item, created bool, bad *problem) {
	name, there, bad := c.settle(folder, name, false, behavior, nil)
	if bad != nil {
		return nil, false, bad
	}
	if there != nil {
		return c.store(place{item: there}, "replace", content)
	}
	it = &item{name: name, mime: typeOf(name), content: content}
	c.add(folder, it)
	return it, true, nil
}

// A reference refers to a folder.
type reference struct {
	DriveID string `json:"driveId"`
	ID      string `json:"id"`
	Path    string `json:"path"`
}

// resolve returns the folder of a reference.
func (c *driveCall) resolve(ref reference) (*item, *problem) {
	if ref.DriveID != "" && !strings.EqualFold(ref.DriveID, driveID(c.user)) {
		return nil, problemMissing
	}
	path := "items/" + ref.ID
	if ref.ID == "" {
		text, err := url.PathUnescape(ref.Path)
		if err != nil {
			return nil, badRequest("The path of parentReference is not valid.")
		}
		text = strings.TrimPrefix(text, "/drives/"+driveID(c.user))
		path = strings.TrimPrefix(strings.TrimPrefix(text, "/drive"), "/")
	}
	t, ok := parseTarget(path)
	if !ok {
		return nil, problemMissing
	}
	p, ok := t.locate(c.drive.root)
	switch {
	case !ok || p.item == nil || p.action != "":
		return nil, problemMissing
	case !p.item.folder:
		return nil, badRequest("The parent is not a folder.")
	}
	return p.item, nil
}

// parentFor returns the folder that a request names for an item. By default it
// is the one that contains the item.
func (c *driveCall) parentFor(it *item, ref *reference) (*item, *problem) {
	if ref == nil || ref.ID == "" && ref.Path == "" {
		return it.parent, nil
	}
	return c.resolve(*ref)
}

// update serves PATCH: another name, another folder, other times.
func (c *driveCall) update(w http.ResponseWriter, r *http.Request, p place) {
	it := p.item
	ask := struct {
		Name     *string    `json:"name"`
		Parent   *reference `json:"parentReference"`
		Times    *fileTimes `json:"fileSystemInfo"`
		Conflict conflict   `json:"@microsoft.graph.conflictBehavior"`
	}{Conflict: "fail"}
	bad := readDocument(c.body, &ask)
	folder, name := it.parent, it.name
	if bad == nil {
		bad = ask.Conflict.check()
	}
	if bad == nil {
		bad = ask.Times.check()
	}
	if bad == nil && it == c.drive.root {
		bad = forbidden("The root folder cannot be changed.")
	}
	if bad == nil {
		folder, bad = c.parentFor(it, ask.Parent)
	}
	if bad == nil && folder.within(it) {
		bad = badRequest("An item cannot be moved into itself.")
	}
	if ask.Name != nil {
		name = *ask.Name
	}
	var there *item
	if bad == nil {
		name, there, bad = c.settle(folder, name, it.folder, ask.Conflict, it)
	}
	if bad == nil && there != nil && (there.folder || it.within(there)) { // only files are replaced
		bad = problemExists
	}
	if bad != nil {
		bad.write(w, r)
		return
	}
	if there != nil {
		c.recycle(there)
	}
	if folder != it.parent {
		c.drive.leaves(it)
		c.drive.take(it)
		it.parent = folder
		folder.children = append(folder.children, it)
		folder.touch(time.Now())
		c.drive.changedBelow(it)
	}
	it.name = name
	it.times.set(ask.Times)
	if !it.folder {
		it.mime = typeOf(name)
	}
	it.touch(time.Now())
	c.drive.changed(it)
	writeJSON(w, http.StatusOK, c.itemDoc(c.user, it))
}
