package msauthtest_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"example.com/msauth/msauthtest"
)

type deltaItem struct {
	driveItem
	Deleted *struct{ State string }
	CTag    string
}

type deltaPage struct {
	Value []deltaItem
	Next  string `json:"@odata.nextLink"`
	Delta string `json:"@odata.deltaLink"`
}

// A mirror is a copy of a drive that follows its delta, as a client would keep
// it.
type mirror struct {
	*app
	token string
	link  string               // to the next round
	items map[string]deltaItem // by id
	seen  []string             // names in the latest round, in order; deleted ones with a minus
	pages int
}

// follow reads a round of delta to its end.
func (m *mirror) follow() {
	m.t.Helper()
	m.seen, m.pages = nil, 0
	for next := m.link; next != ""; {
		var page deltaPage
		m.json2(next, m.token, &page)
		m.pages++
		if (page.Next == "") == (page.Delta == "") {
			m.t.Fatalf("next %q, delta %q", page.Next, page.Delta)
		}
		for _, it := range page.Value {
			m.apply(it)
		}
		if next = page.Next; page.Delta != "" {
			m.link = page.Delta
		}
	}
}

func (m *mirror) apply(it deltaItem) {
	m.t.Helper()
	if it.Deleted != nil {
		m.seen = append(m.seen, "-"+m.items[it.ID].Name)
		delete(m.items, it.ID)
		return
	}
	_, known := m.items[it.ID]
	if _, ok := m.items[it.ParentReference.ID]; !ok && !known && it.ParentReference.ID != "" && len(m.items) > 0 {
		m.t.Errorf("%s comes before its folder", it.Name)
	}
	if it.ParentReference.Path != "" {
		m.t.Errorf("%s: the path of the parent is %q", it.Name, it.ParentReference.Path)
	}
	m.seen = append(m.seen, it.Name)
	m.items[it.ID] = it
}

// paths returns the paths of all items, in order.
func (m *mirror) paths() (all []string) {
	var path func(it deltaItem) string
	path = func(it deltaItem) string {
		parent, ok := m.items[it.ParentReference.ID]
		if !ok {
			return ""
		}
		return path(parent) + "/" + it.Name
	}
	for _, it := range m.items {
		all = append(all, path(it))
	}
	slices.Sort(all)
	return all
}

// walk returns the paths of all items by listing the folders.
func (m *mirror) walk(drive string) (all []string) {
	var below func(id, path string)
	below = func(id, path string) {
		all = append(all, path)
		var page listing
		m.json2(drive+"/items/"+url.PathEscape(id)+"/children", m.token, &page)
		for _, it := range page.Value {
			if it.Folder != nil {
				below(it.ID, path+"/"+it.Name)
			} else {
				all = append(all, path+"/"+it.Name)
			}
		}
	}
	below(m.do(200, "GET", drive+"/root", m.token, "").ID, "")
	slices.Sort(all)
	return all
}

func TestDelta(t *testing.T) {
	t.Parallel()
	for _, user := range []string{msauthtest.Ada, msauthtest.Mia} {
		t.Run(user, func(t *testing.T) {
			t.Parallel()
			a := newApp(t, newServer(t))
			drive, token := a.writer(user)
			m := &mirror{app: a, token: token, link: drive + "/root/delta?$top=3", items: map[string]deltaItem{}}
			check := func(what string) {
				t.Helper()
				if got, want := m.paths(), m.walk(drive); !slices.Equal(got, want) {
					t.Errorf("%s: the copy has\n%q, want\n%q", what, got, want)
				}
			}
			m.follow()
			check("all")
			if m.pages < 5 {
				t.Errorf("%d pages", m.pages)
			}
			if m.follow(); len(m.seen) != 0 {
				t.Errorf("without a change: %q", m.seen)
			}

			it := a.do(201, "PUT", drive+"/root:/Documents/New/a.txt:/content", token, "a")
			m.follow()
			check("new items")
			if !slices.Equal(m.seen, []string{"root", "Documents", "New", "root", "Documents", "New", "a.txt"}) { // folders are on each page
				t.Errorf("new items: %q", m.seen)
			}
			a.do(200, "PATCH", drive+"/items/"+url.PathEscape(it.ID), token, `{"name":"b.txt","parentReference":{"path":"/drive/root:/Pictures"}}`)
			a.do(200, "PATCH", drive+"/root:/Documents/Reports", token, `{"parentReference":{"path":"/drive/root:/Attachments"}}`)
			a.do(200, "PUT", drive+"/root:/Measurements.csv:/content", token, "short")
			m.follow()
			check("moves")
			if slices.Contains(m.seen, "-Reports") || !slices.Contains(m.seen, "Measurements.csv") {
				t.Errorf("moves: %q", m.seen)
			}
			a.do(204, "DELETE", drive+"/root:/Attachments", token, "")
			m.follow()
			check("deletions")
			if i, j := slices.Index(m.seen, "-Attachments"), slices.Index(m.seen, "-測定結果.csv"); i < 0 || j < i {
				t.Errorf("deletions: %q", m.seen) // the folder comes before what was in it
			}
			a.copied(drive, a.do(200, "GET", drive+"/root:/Documents", token, "").ID, token, `{"name":"Twin"}`)
			m.follow()
			check("a copy")
		})
	}
}

func TestDeltaOfRestoredItems(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	drive, token := a.writer(msauthtest.Mia)
	m := &mirror{app: a, token: token, link: drive + "/root/delta", items: map[string]deltaItem{}}
	m.follow()
	folder := a.do(200, "GET", drive+"/root:/Documents", token, "")
	a.do(204, "DELETE", drive+"/items/"+url.PathEscape(folder.ID), token, "")
	m.follow()
	a.do(200, "POST", drive+"/items/"+url.PathEscape(folder.ID)+"/restore", token, "")
	m.follow()
	if got, want := m.paths(), m.walk(drive); !slices.Equal(got, want) {
		t.Errorf("the copy has\n%q, want\n%q", got, want)
	}
	a.do(204, "DELETE", drive+"/items/"+url.PathEscape(folder.ID), token, "")
	a.do(200, "POST", drive+"/items/"+url.PathEscape(folder.ID)+"/restore", token, "")
	if m.follow(); slices.Contains(m.seen, "-Documents") {
		t.Errorf("deleted and restored: %q", m.seen)
	}
}

// Changes between the pages of a round come in the next round at the latest.
func TestDeltaWhileThingsChange(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	drive, token := a.writer(msauthtest.Ada)
	m := &mirror{app: a, token: token, items: map[string]deltaItem{}}
	next := drive + "/root/delta?$top=2"
	for n := 0; next != ""; n++ {
		var page deltaPage
		a.json2(next, token, &page)
		for _, it := range page.Value {
			m.items[it.ID] = it
		}
		switch n {
		case 1:
			a.do(204, "DELETE", drive+"/root:/Attachments", token, "")
			a.do(200, "PATCH", drive+"/root:/Pictures", token, `{"name":"Images","parentReference":{"path":"/drive/root:/Documents"}}`)
		case 2:
			a.do(201, "PUT", drive+"/root:/Documents/late.txt:/content", token, "late")
		}
		if next = page.Next; next == "" {
			m.link = page.Delta
		}
	}
	m.follow()
	if got, want := m.paths(), m.walk(drive); !slices.Equal(got, want) {
		t.Errorf("the copy has\n%q, want\n%q", got, want)
	}
}

func TestDeltaFromNow(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	drive, token := a.writer(msauthtest.Ada)
	for _, path := range []string{"/root/delta?token=latest", "/root/delta(token='latest')", "/root/microsoft.graph.delta(token='latest')"} {
		m := &mirror{app: a, token: token, link: drive + path, items: map[string]deltaItem{}}
		if m.follow(); len(m.seen) != 0 {
			t.Errorf("%s: %q", path, m.seen)
		}
		a.do(204, "DELETE", a.anyFile(drive, token), token, "")
		if m.follow(); !slices.Equal(m.seen, []string{"-", "root"}) {
			t.Errorf("%s: after a deletion: %q", path, m.seen)
		}
	}
}

// anyFile makes a file and returns its address.
func (a *app) anyFile(drive, token string) string {
	a.t.Helper()
	it := a.do(201, "PUT", drive+"/root:/any.txt:/content?@microsoft.graph.conflictBehavior=rename", token, "any")
	return drive + "/items/" + url.PathEscape(it.ID)
}

func TestDeltaBelowAFolder(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	drive, token := a.writer(msauthtest.Ada)
	a.refused(400, "notSupported", "GET", drive+"/root:/Documents:/delta", token, "")
	a.refused(400, "notSupported", "GET", drive+"/root:/Measurements.csv:/delta", token, "")

	drive, token = a.writer(msauthtest.Mia)
	m := &mirror{app: a, token: token, link: drive + "/root:/Documents:/delta", items: map[string]deltaItem{}}
	m.follow()
	if len(m.items) != 9 {
		t.Errorf("below Documents: %q", m.seen)
	}
	a.do(200, "PATCH", drive+"/root:/Documents/Reports", token, `{"parentReference":{"path":"/drive/root:"}}`)
	a.do(201, "PUT", drive+"/root:/Pictures/x.txt:/content", token, "elsewhere")
	m.follow()
	if len(m.items) != 3 || !slices.Contains(m.seen, "-Reports") || slices.Contains(m.seen, "x.txt") {
		t.Errorf("after a move out of the folder: %q", m.seen)
	}
	a.do(200, "PATCH", drive+"/root:/Reports", token, `{"parentReference":{"path":"/drive/root:/Documents"}}`)
	m.follow()
	if len(m.items) != 9 || slices.Contains(m.seen, "-Reports") {
		t.Errorf("after a move back: %q", m.seen)
	}
}

func TestDeltaTokensThatAreRefused(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	drive, token := a.writer(msauthtest.Ada)
	link := func() string {
		m := &mirror{app: a, token: token, link: drive + "/root/delta?token=latest", items: map[string]deltaItem{}}
		m.follow()
		return m.link
	}
	refused := func(what, address string) {
		t.Helper()
		res, text := a.graph(address, token)
		var doc struct {
			Error struct {
				Code       string
				InnerError struct{ Code string }
			}
		}
		if err := json.Unmarshal([]byte(text), &doc); err != nil || res.StatusCode != 410 || doc.Error.Code != "resyncRequired" || doc.Error.InnerError.Code != "resyncApplyDifferences" {
			t.Errorf("%s: %d %s", what, res.StatusCode, text)
			return
		}
		m := &mirror{app: a, token: token, link: res.Header.Get("Location"), items: map[string]deltaItem{}}
		if m.follow(); !slices.Equal(m.paths(), m.walk(drive)) {
			t.Errorf("%s: the fresh enumeration has %q", what, m.paths())
		}
	}
	old := link()
	a.json2(old, token, &deltaPage{})
	a.ms.ExpireDeltaTokens()
	refused("expired", old)
	fresh := link()
	a.json2(fresh, token, &deltaPage{})
	refused("changed", fresh[:len(fresh)-2]+"xx")
	refused("none", drive+"/root/delta?token=none")
	other, otherToken := a.writer(msauthtest.Bruno)
	var page deltaPage
	a.json2(other+"/root/delta", otherToken, &page)
	_, foreign, _ := strings.Cut(page.Delta, "token=")
	refused("of another drive", drive+"/root/delta?token="+foreign)
	a.refused(400, "invalidRequest", "GET", drive+"/root/delta?$top=0", token, "")
}

// A drive forgets old deletions. Tokens from before them are refused.
func TestDeltaForgetsOldDeletions(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	drive, token := a.writer(msauthtest.Mia)
	m := &mirror{app: a, token: token, link: drive + "/root/delta?token=latest", items: map[string]deltaItem{}}
	m.follow()
	old := m.link
	for range 100 {
		a.do(201, "PUT", drive+"/root:/many/x:/content?@microsoft.graph.conflictBehavior=rename", token, "x")
	}
	m.follow()
	many := a.do(200, "GET", drive+"/root:/many", token, "")
	for i := range 52 {
		folder := []string{"Pictures", "Documents"}[i%2]
		a.do(200, "PATCH", drive+"/items/"+url.PathEscape(many.ID), token, fmt.Sprintf(`{"parentReference":{"path":"/drive/root:/%s"}}`, folder))
	}
	a.refused(410, "resyncRequired", "GET", old, token, "")
	m.link = drive + "/root/delta"
	m.items = map[string]deltaItem{}
	m.follow()
	if got, want := m.paths(), m.walk(drive); !slices.Equal(got, want) {
		t.Errorf("the copy has %d items, want %d", len(got), len(want))
	}
}
