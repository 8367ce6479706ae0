package msauthtest

import (
	"net/http"
	"slices"
	"time"
)

// maxBinned is the number of deletions that a recycle bin keeps.
const maxBinned = 1000

// A binned is an item in a recycle bin. What was in a folder stays in it.
type binned struct {
	item *item
	from *item // the folder that it was deleted from
}

// recycle moves an item to the recycle bin.
func (c *driveCall) recycle(it *item) {
	d := c.drive
	d.leaves(it)
	from := it.parent
	d.take(it)
	it.parent = nil
	d.bin = append(d.bin, &binned{it, from})
	if len(d.bin) > maxBinned {
		d.bin = slices.Clone(d.bin[len(d.bin)-maxBinned:])
	}
}

// binSize returns the number of bytes in the recycle bin.
func (d *drive) binSize() int64 {
	n := int64(0)
	for _, b := range d.bin {
		n += b.item.size()
	}
	return n
}

// emptyBin drops the oldest deletions until no more than size bytes are left.
func (d *drive) emptyBin(size int64) {
	for len(d.bin) > 0 && d.binSize() > size {
		d.bin = slices.Clone(d.bin[1:])
	}
}

// deleted returns what was deleted under an ID, or nil.
func (d *drive) deleted(id string) *binned {
	for _, b := range d.bin {
		if b.item.id == id {
			return b
		}
	}
	return nil
}

// delete serves DELETE of an item.
func (c *driveCall) delete(w http.ResponseWriter, r *http.Request, p place) {
	if p.item == c.drive.root {
		forbidden("The root folder cannot be deleted.").write(w, r)
		return
	}
	c.recycle(p.item)
	w.WriteHeader(http.StatusNoContent)
}

// permanentDelete serves "driveItem: permanentDelete": the item does not go to
// the recycle bin. Personal accounts refuse it, though the page names them.
func (c *driveCall) permanentDelete(w http.ResponseWriter, r *http.Request, p place) {
	if c.user.personal() {
		notSupported(http.StatusMethodNotAllowed, "The method is not allowed here.").write(w, r)
		return
	}
	if p.item == c.drive.root {
		forbidden("The root folder cannot be deleted.").write(w, r)
		return
	}
	c.recycle(p.item)
	c.drive.bin = slices.Delete(c.drive.bin, len(c.drive.bin)-1, len(c.drive.bin))
	w.WriteHeader(http.StatusNoContent)
}

// restore serves "driveItem: restore". It is for personal accounts only; how
// Microsoft refuses it to others is not known. What was deleted with a folder
// comes back with it, under the same IDs.
func (c *driveCall) restore(w http.ResponseWriter, r *http.Request, b *binned) {
	var ask struct {
		Name   string     `json:"name"`
		Parent *reference `json:"parentReference"`
	}
	bad := readDocument(c.body, &ask)
	if bad == nil && !c.user.personal() {
		bad = notSupported(http.StatusBadRequest, "Only items of personal accounts can be restored.")
	}
	if bad != nil {
		bad.write(w, r)
		return
	}
	it, folder, name := b.item, b.from, b.item.name
	if ask.Name != "" {
		name = ask.Name
	}
	if ask.Parent != nil && (ask.Parent.ID != "" || ask.Parent.Path != "") {
		folder, bad = c.resolve(*ask.Parent)
	} else if !folder.within(c.drive.root) {
		bad = problemMissing
	}
	if bad == nil {
		bad = c.room(it.count(), 0)
	}
	if bad == nil {
		name, _, bad = c.settle(folder, name, it.folder, "fail", nil)
	}
	if bad != nil {
		bad.write(w, r)
		return
	}
	c.drive.bin = without(c.drive.bin, func(other *binned) bool { return other == b })
	it.name, it.parent = name, folder
	if !it.folder {
		it.mime = typeOf(name)
	}
	folder.children = append(folder.children, it)
	folder.touch(time.Now())
	it.touch(time.Now())
	c.drive.changedBelow(it)
	writeJSON(w, http.StatusOK, c.itemDoc(c.user, it))
}

// notDeleted answers requests to restore an item that is not in the recycle
// bin.
func (c *driveCall) notDeleted(w http.ResponseWriter, r *http.Request, _ place) {
	problemMissing.write(w, r)
}
