package msauthtest

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// A drive is a person's OneDrive. Server.files guards it and its items.
type drive struct {
	root   *item
	next   int         // number of the next item of a personal account
	serial uint64      // counts changes: see changed
	gone   []gone      // items that were deleted or moved, oldest first
	forgot uint64      // serial of the newest entry that gone has lost
	bin    []*binned   // the recycle bin, oldest first
	copies []*slowCopy // that are not finished
}

// An item is a folder or a file of a drive. Its content is never modified, only
// replaced.
type item struct {
	id       string
	name     string
	folder   bool
	mime     string
	content  *content // nil for a folder
	version  int
	children []*item
	parent   *item
	created  time.Time
	modified time.Time
	times    fileTimes
	changed  uint64 // serial of the latest change
	links    []*link
}

func (it *item) size() int64 {
	n := int64(0)
	if it.content != nil {
		n = it.content.size
	}
	for _, c := range it.children {
		n += c.size()
	}
	return n
}

// child returns the child of that name, or nil. As in OneDrive, names are
// case-insensitive.
func (it *item) child(name string) *item {
	for _, c := range it.children {
		if strings.EqualFold(c.name, name) {
			return c
		}
	}
	return nil
}

// count returns the number of items, including this one.
func (it *item) count() int {
	n := 1
	for _, c := range it.children {
		n += c.count()
	}
	return n
}

// within reports whether the item is top or below it.
func (it *item) within(top *item) bool {
	for ; it != nil; it = it.parent {
		if it == top {
			return true
		}
	}
	return false
}

func (it *item) eTag() string {
	return fmt.Sprintf(`"{%s},%d"`, strings.ToUpper(derivedGUID("etag "+it.id)), it.version)
}

func (it *item) find(id string) *item {
	if it.id == id {
		return it
	}
	for _, c := range it.children {
		if found := c.find(id); found != nil {
			return found
		}
	}
	return nil
}

// urlPath returns the escaped path below the root, or "" for the root.
func (it *item) urlPath() string {
	if it.parent == nil {
		return ""
	}
	return it.parent.urlPath() + "/" + url.PathEscape(it.name)
}

// driveOf returns the drive of a person and makes it at the first call. s.files
// is held.
func (s *Server) driveOf(u User) *drive {
	d, ok := s.drives[u.ObjectID]
	if !ok {
		d = newDrive(u)
		s.drives[u.ObjectID] = d
	}
	return d
}

// itemID returns an ID in the form of the kind of drive.
func itemID(u User, path string, n int) string {
	if u.personal() {
		return fmt.Sprintf("%s!%d", driveID(u), 101+n)
	}
	sum := sha256.Sum256([]byte("item " + u.ObjectID + path))
	return "01" + base32.StdEncoding.EncodeToString(sum[:20])
}
