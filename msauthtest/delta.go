package msauthtest

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
)

// maxGone is the number of deletions and moves that a drive remembers for delta
// at least. A token from before them is answered with 410.
const maxGone = 2500

// A gone is an item that was deleted, or that was moved out of folders.
type gone struct {
	serial uint64
	id     string
	name   string
	size   int64
	folder bool
	parent string   // id
	above  []string // ids of the folders that it is not in any longer
}

// changed notes a change of an item, and of the folders above, whose sizes
// follow. Folders have lower numbers than what is in them.
func (d *drive) changed(it *item) {
	if it.parent != nil {
		d.changed(it.parent)
	}
	d.serial++
	it.changed = d.serial
}

// changedBelow notes a change of an item and of everything below it.
func (d *drive) changedBelow(it *item) {
	d.changed(it)
	var below func(*item)
	below = func(it *item) {
		for _, c := range it.children {
			d.serial++
			c.changed = d.serial
			below(c)
		}
	}
	below(it)
}

// leaves notes that an item and everything below it leaves its folder, for
// another or for the recycle bin. The item comes before what is in it.
func (d *drive) leaves(it *item) {
	d.serial++
	g := gone{serial: d.serial, id: it.id, name: it.name, size: it.size(), folder: it.folder}
	if it.parent != nil {
		g.parent = it.parent.id
	}
	for up := it.parent; up != nil; up = up.parent {
		g.above = append(g.above, up.id)
	}
	d.gone = append(d.gone, g)
	if len(d.gone) > 2*maxGone {
		d.forgot = d.gone[len(d.gone)-maxGone-1].serial
		d.gone = slices.Clone(d.gone[len(d.gone)-maxGone:])
	}
	for _, c := range it.children {
		d.leaves(c)
	}
}

// A deltaToken is a position in the changes of a drive below an item.
type deltaToken struct {
	era   uint64 // see Server.ExpireDeltaTokens
	from  uint64 // the round is about changes after this one
	next  uint64 // of the round, this one is the last that was on a page
	to    uint64 // and this one its last
	ended bool   // the round has ended: the token is that of a deltaLink
}

func (c *driveCall) sealToken(t deltaToken, it *item) string {
	text := fmt.Sprintf("%d.%d.%d.%d.%t", t.era, t.from, t.next, t.to, t.ended)
	return b64(append([]byte(text+"."), c.tokenMAC(text, it)[:16]...))
}

func (c *driveCall) tokenMAC(text string, it *item) []byte {
	h := hmac.New(sha256.New, c.signer)
	h.Write([]byte("delta\x00" + text + "\x00" + c.user.ObjectID + "\x00" + it.id))
	return h.Sum(nil)
}

// openToken opens a token of sealToken. It returns false if it is not one of
// this drive and item, or too old.
func (c *driveCall) openToken(sealed string, it *item) (t deltaToken, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil || len(b) < 17 {
		return t, false
	}
	text, mac := string(b[:len(b)-17]), b[len(b)-16:]
	if !hmac.Equal(mac, c.tokenMAC(text, it)[:16]) {
		return t, false
	}
	if _, err := fmt.Sscanf(text, "%d.%d.%d.%d.%t", &t.era, &t.from, &t.next, &t.to, &t.ended); err != nil {
		return t, false
	}
	fresh := t.from == 0 && !t.ended // a full enumeration does not need what was forgotten
	return t, t.era == c.deltaEra.Load() && (fresh || t.from >= c.drive.forgot)
}

// ExpireDeltaTokens expires all tokens of delta requests: those of the links to
// next pages too. Requests with them are answered with 410 resyncRequired.
func (s *Server) ExpireDeltaTokens() { s.deltaEra.Add(1) }

var tokenArgument = regexp.MustCompile(`^token='([^']*)'$`)

// A difference is an item that a delta is about: one that is there or one that is
// gone.
type difference struct {
	serial uint64
	item   *item
	gone   *gone
}

// differences returns what has changed below an item in a round after a position of
// it, in order.
func (d *drive) differences(top *item, t deltaToken) (list []difference) {
	here := map[string]bool{}
	var walk func(it *item)
	walk = func(it *item) {
		here[it.id] = true
		if it.changed > max(t.from, t.next) && it.changed <= t.to {
			list = append(list, difference{serial: it.changed, item: it})
		}
		for _, c := range it.children {
			walk(c)
		}
	}
	walk(top)
	if t.from > 0 {
		for i := range d.gone {
			g := &d.gone[i]
			if g.serial <= max(t.from, t.next) || g.serial > t.to || here[g.id] || !slices.Contains(g.above, top.id) {
				continue
			}
			list = append(list, difference{serial: g.serial, gone: g})
		}
	}
	slices.SortFunc(list, func(a, b difference) int { return cmp.Compare(a.serial, b.serial) })
	return list
}

// delta serves "driveItem: delta". Folders other than the root have it in
// personal accounts only.
func (c *driveCall) delta(w http.ResponseWriter, r *http.Request, p place) {
	top, q := p.item, r.URL.Query()
	if !top.folder || top != c.drive.root && !c.user.personal() {
		notSupported(http.StatusBadRequest, "Delta is supported on the root folder only.").write(w, r)
		return
	}
	page, _, bad := drivePaging(url.Values{"$top": q["$top"]})
	if bad != nil {
		bad.write(w, r)
		return
	}
	base := c.URL + "/v1.0/drives/" + url.PathEscape(driveID(c.user)) + "/items/" + url.PathEscape(top.id) + "/delta"
	link := func(t deltaToken) string {
		for _, name := range []string{"token", "$skiptoken", "$deltatoken"} {
			q.Del(name)
		}
		q.Set("token", c.sealToken(t, top))
		return base + "?" + q.Encode()
	}
	t := deltaToken{era: c.deltaEra.Load(), to: c.drive.serial}
	text := q.Get("token")
	if call := tokenArgument.FindStringSubmatch(p.argument); call != nil {
		text = call[1]
	}
	switch {
	case text == "latest":
		t.from, t.next = t.to, t.to
	case text != "":
		old, ok := c.openToken(text, top)
		if !ok {
			w.Header().Set("Location", base)
			(&problem{http.StatusGone, "resyncRequired", "Resync required. Replace any local items with the server's version.", "resyncApplyDifferences"}).write(w, r)
			return
		}
		if t = old; old.ended {
			t = deltaToken{era: old.era, from: old.to, to: c.drive.serial}
		}
	}
	c.deltaPage(w, top, t, page, q.Get("$select"), link)
}

// deltaPage answers with a page of a round. As in Microsoft's pages, the folders
// above an item come before it on the same page.
func (c *driveCall) deltaPage(w http.ResponseWriter, top *item, t deltaToken, size int, properties string, link func(deltaToken) string) {
	changes := c.drive.differences(top, t)
	list := []map[string]any{}
	shown := map[*item]bool{}
	var show func(it *item)
	show = func(it *item) {
		if shown[it] || !it.within(top) {
			return
		}
		if it.parent != nil {
			show(it.parent)
		}
		shown[it] = true
		list = append(list, selected(c.deltaDoc(it), properties))
	}
	doc := map[string]any{"@odata.context": c.URL + "/v1.0/$metadata#Collection(driveItem)"}
	for _, change := range changes[:min(size, len(changes))] {
		if t.next = change.serial; change.item != nil {
			show(change.item)
			continue
		}
		list = append(list, selected(c.goneDoc(change.gone), properties))
	}
	if len(changes) > size {
		doc["@odata.nextLink"] = link(t)
	} else {
		t.ended = true
		doc["@odata.deltaLink"] = link(t)
	}
	doc["value"] = list
	writeJSON(w, http.StatusOK, doc)
}

// deltaDoc returns an item as it is in a delta: its parent is named by ID only.
func (c *driveCall) deltaDoc(it *item) map[string]any {
	doc := c.itemDoc(c.user, it)
	delete(doc["parentReference"].(map[string]any), "path")
	return doc
}

func (c *driveCall) goneDoc(g *gone) map[string]any {
	doc := map[string]any{
		"id":              g.id,
		"deleted":         map[string]any{"state": "deleted"},
		"parentReference": map[string]any{"driveId": driveID(c.user), "driveType": driveType(c.user), "id": g.parent},
	}
	if c.user.personal() { // without size, others without name
		doc["name"] = g.name
	} else {
		doc["size"] = g.size
	}
	if g.folder {
		doc["folder"] = map[string]any{}
	} else {
		doc["file"] = map[string]any{}
	}
	return doc
}
