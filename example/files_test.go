package main

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"example.com/msauth/msauthtest"
)

// submit sends a form of the app, as a browser does.
func (b *browser) submit(path string, form url.Values, headers ...string) *answer {
	b.site.t.Helper()
	return b.body(path, "application/x-www-form-urlencoded", strings.NewReader(form.Encode()), headers...)
}

// writer is a browser in which somebody has signed in and allowed changes.
func (s *site) writer(who string) *browser {
	s.t.Helper()
	s.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = who })
	b := s.signedIn()
	b.get("/files/new-folder").want(http.StatusOK, "<h1>New folder</h1>")
	return b
}

// id returns the ID of an item in the list.
func (a *answer) id(name string) string {
	a.t.Helper()
	return strings.Split(a.link(name), "/")[2]
}

// The permission for changes is asked for when a page first leads to one.
func TestPermissionForChanges(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.signedIn()
	b.get("/files").want(http.StatusOK)
	b.get("/session").lack("Files.ReadWrite")

	// A form that arrives without it changes nothing.
	list := b.get("/files")
	remove := "/files/" + list.id("Shopping list.txt") + "/delete"
	list.want(http.StatusOK, `<a href="`+remove+`">Delete</a>`)
	b.submit(remove, nil).want(http.StatusUnauthorized)
	b.get("/files").want(http.StatusOK, "Shopping list.txt")

	a := b.get("/files/new-folder?in=").want(http.StatusOK, "<h1>New folder</h1>")
	if a.Request.URL.Path != "/files/new-folder" {
		t.Errorf("the way to Microsoft and back leads to %s", a.Request.URL)
	}
	b.get("/session").want(http.StatusOK, "Files.ReadWrite")
	b.get("/files").want(http.StatusOK, `<form method="post" action="`+remove+`"><button>Delete</button></form>`)
	b.get(remove).want(http.StatusOK, "Delete “Shopping list.txt”?", "The item goes to the recycle bin", `method="post" action="`+remove+`"`)
}

// A script learns where to allow changes.
func TestPermissionForChangesByScript(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.signedIn()
	account := ""
	start := func() *answer {
		return b.body("/files/upload-session", "application/json", strings.NewReader(`{"account":"`+account+`","name":"x","size":1}`), s.script()...)
	}
	b.get(start().loginURL()).want(http.StatusOK, "Files.ReadWrite")
	start().want(http.StatusForbidden, "Another account has signed in")
	account = b.account()
	start().want(http.StatusOK, `"url"`)
}

func TestNewFolder(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.writer(msauthtest.Ada)
	in := b.get("/files").id("Documents")
	add := func(name string) *answer {
		return b.submit("/files/new-folder", url.Values{"in": {in}, "name": {name}})
	}
	a := add(" Süß & scharf ").want(http.StatusOK, "Created the folder “Süß &amp; scharf”.", "<h1>Documents</h1>")
	if a.Request.URL.Path != "/files/"+in {
		t.Errorf("the form leads to %s", a.Request.URL)
	}
	a.link("Süß &amp; scharf")
	b.get("/files/" + in).want(http.StatusOK).lack("Created the folder")

	add("süss").want(http.StatusOK)
	add("SÜß & Scharf").want(http.StatusConflict, "There is already an item called “SÜß &amp; Scharf”", `value="SÜß &amp; Scharf (2)"`, `aria-invalid="true"`)
	for name, reason := range map[string]string{
		"": "is empty", "a/b": "contains one of", "CON": "is reserved", "a.": "ends with a period", strings.Repeat("x", 256): "is longer than 255 characters", "a\x01b": "contains a control character",
	} {
		add(name).want(http.StatusBadRequest, "This name "+reason)
	}
	b.submit("/files/new-folder", url.Values{"in": {"NOSUCHFOLDER"}, "name": {"x"}}).want(http.StatusNotFound, "Not found")
	b.submit("/files/new-folder", url.Values{"in": {"../x"}, "name": {"x"}}).want(http.StatusNotFound, "Not found")
}

func TestRename(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.writer(msauthtest.Ada)
	list := b.get("/files")
	path := "/files/" + list.id("Shopping list.txt") + "/rename"
	b.get(path).want(http.StatusOK, `value="Shopping list.txt"`)
	b.submit(path, url.Values{"name": {"Groceries?.txt"}}).want(http.StatusBadRequest, "This name contains one of", `value="Groceries?.txt"`)
	b.submit(path, url.Values{"name": {"measurements.csv"}}).want(http.StatusConflict, `value="measurements (2).csv"`)
	b.submit(path, url.Values{"name": {"Groceries.txt"}}).want(http.StatusOK, "The new name is “Groceries.txt”.").lack("Shopping list.txt")
	b.get("/files/NOSUCHID/rename").want(http.StatusNotFound, "Not found")
	b.submit("/files/NOSUCHID/rename", url.Values{"name": {"x"}}).want(http.StatusNotFound, "Not found")
}

func TestMove(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.writer(msauthtest.Ada)
	list := b.get("/files")
	file, documents := list.id("Shopping list.txt"), list.id("Documents")
	path := "/files/" + file + "/move"

	here := b.get(path).want(http.StatusOK, "Move “Shopping list.txt”", `id="move-here" disabled`, "Documents", "Pictures")
	there := b.get(here.href(`href="(/files/`+file+`/move\?to=`+documents+`)"`)).want(http.StatusOK, "Reports", `<span aria-current="true">Documents</span>`).lack("disabled")
	if to := there.href(`name="to" value="([^"]*)"`); to != documents {
		t.Errorf("would move to %q, want %q", to, documents)
	}
	b.get("/files/"+documents+"/move?to=").want(http.StatusOK, "Pictures").lack("?to=" + documents)

	b.submit(path, url.Values{"to": {documents}}).want(http.StatusOK, "Moved “Shopping list.txt” here.", "<h1>Documents</h1>").link("Shopping list.txt")
	b.get("/files").lack("Shopping list.txt")

	// Another of the same name is in the way.
	b.submit("/files/new-folder", url.Values{"in": {""}, "name": {"Shopping list.txt"}}).want(http.StatusOK)
	taken := b.submit(path, url.Values{"to": {""}}).want(http.StatusConflict, `value="Shopping list (2).txt"`, `name="to" value=""`)
	b.submit(taken.href(`method="post" action="([^"]+)"`), url.Values{"to": {""}, "name": {"Shopping list (2).txt"}}).want(http.StatusOK, "Moved “Shopping list (2).txt” here.")

	reports := b.get("/files/" + documents).id("Reports")
	b.submit("/files/"+documents+"/move", url.Values{"to": {reports}}).want(http.StatusBadRequest, "OneDrive does not accept this")
	b.submit(path, url.Values{"to": {"NOSUCHID"}}).want(http.StatusNotFound, "Not found")
	b.get("/files/"+documents+"/move?to="+file).want(http.StatusNotFound, "Not found")
}

func TestCopy(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(set *settings, _ *msauthtest.Server) { set.AnswerTime = 3 * time.Second })
	b := s.writer(msauthtest.Mia)
	path := "/files/" + b.get("/files").id("Documents") + "/copy"
	b.get(path).want(http.StatusOK, `value="Documents (2)"`)
	b.submit(path, url.Values{"name": {"Documents (2)"}}).want(http.StatusOK, "The copy is called “Documents (2)”.").link("Documents (2)")
	b.submit(path, url.Values{"name": {"documents (2)"}}).want(http.StatusConflict, `value="documents (3)"`)
	b.submit(path, url.Values{"name": {"a?"}}).want(http.StatusBadRequest, "This name contains one of")

	s.ms.Set(func(b *msauthtest.Behavior) { b.CopyTime = time.Minute })
	b.submit(path, url.Values{"name": {"Later"}}).want(http.StatusOK, "OneDrive is still making the copy “Later”.")
	b.submit("/files/root/copy", url.Values{"name": {"x"}}).want(http.StatusNotFound)
}

func TestDeleteAndRestore(t *testing.T) {
	t.Parallel()
	t.Run("personal", func(t *testing.T) {
		t.Parallel()
		s := newSite(t)
		b := s.writer(msauthtest.Mia)
		id := b.get("/files").id("Shopping list.txt")
		a := b.submit("/files/"+id+"/delete", nil).want(http.StatusOK, "Deleted “Shopping list.txt”.", `id="undo"`)
		b.get("/files").want(http.StatusOK).lack(`<span class="name">Shopping list.txt`, `id="undo"`)
		b.submit("/files/"+id+"/delete", nil).want(http.StatusNotFound, "Not found")

		undo := url.Values{"id": {a.href(`name="id" value="([^"]+)"`)}, "was": {a.href(`name="was" value="([^"]+)"`)}}
		b.submit("/files/new-folder", url.Values{"name": {"Shopping list.txt"}}).want(http.StatusOK)
		b.submit("/files/restore", undo).want(http.StatusConflict, `value="Shopping list (2).txt"`)
		again := url.Values{"id": undo["id"], "name": {"Documents"}} // as the form on that page sends it
		b.submit("/files/restore", again).want(http.StatusConflict, "an item called “Documents”", `value="Documents (2)"`)
		again.Set("name", "a?b")
		b.submit("/files/restore", again).want(http.StatusBadRequest, "This name contains one of", `value="a?b"`)
		undo.Set("name", "Shopping list (2).txt")
		b.submit("/files/restore", undo).want(http.StatusOK, "“Shopping list (2).txt” is back.").link("Shopping list (2).txt")
		b.submit("/files/restore", undo).want(http.StatusNotFound)
	})
	t.Run("work", func(t *testing.T) {
		t.Parallel()
		s := newSite(t)
		b := s.writer(msauthtest.Ada)
		id := b.get("/files").id("Shopping list.txt")
		b.submit("/files/"+id+"/delete", nil).want(http.StatusOK, "Deleted “Shopping list.txt”.", `href="/files/recycle-bin"`).lack(`id="undo"`)
		b.submit("/files/restore", url.Values{"id": {id}}).want(http.StatusOK, "This OneDrive does not let apps restore items.", `href="/files/recycle-bin"`)

		b.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		a := b.get("/files/recycle-bin").want(http.StatusSeeOther)
		if to := a.Header.Get("Location"); !strings.HasPrefix(to, "https://") {
			t.Errorf("the recycle bin is at %q", to)
		}
	})
}

// A notice is for the page of its form, and for the person who has sent it.
func TestNoticeElsewhere(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.writer(msauthtest.Ada)
	list := b.get("/files")
	follow := b.CheckRedirect
	remove := func(name string) {
		b.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		b.submit("/files/"+list.id(name)+"/delete", nil).want(http.StatusSeeOther)
		b.CheckRedirect = follow
	}
	remove("Shopping list.txt")
	b.get("/files/" + list.id("Documents") + "/share").want(http.StatusOK).lack("no longer works")

	remove("Documents")
	s.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Mia })
	b.get(list.href(`id="switch-account" href="([^"]+)"`)).want(http.StatusOK, "Mia").lack("Deleted “Documents”", `id="notice"`)
}

func TestSearch(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.signedIn()
	found := b.get("/files/search?q=Budget").want(http.StatusOK, "Search for “Budget”", "OneDrive / Documents")
	b.get(found.link("Budget 2026.csv")).want(http.StatusOK, "Month,Planned,Spent")
	b.get("/files/search?q=no+such+file").want(http.StatusOK, "Nothing was found.")
	b.get("/files/search?q=%27%3Cb%3E").want(http.StatusOK, "Search for “&#39;&lt;b&gt;”")
	if a := b.get("/files/search?q=+"); a.Request.URL.Path != "/files" {
		t.Errorf("a search for nothing leads to %s", a.Request.URL)
	}
	b.get("/files/search?q=%00").want(http.StatusBadRequest)
}

func TestShare(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.writer(msauthtest.Ada)
	path := "/files/" + b.get("/files").id("Shopping list.txt")
	b.get(path+"/share").want(http.StatusOK, "Nobody has a link to it yet.", `id="make-link"`)
	a := b.submit(path+"/share", nil).want(http.StatusOK, "Link to view it, for people of your organization")
	link := a.href(`id="link-0" value="(https://[^"]+)"`)
	if again := b.get(path + "/share").href(`id="link-0" value="([^"]+)"`); again != link {
		t.Errorf("link %q, before %q", again, link)
	}
	b.submit(path+"/unshare", url.Values{"link": {a.href(`name="link" value="([^"]+)"`)}}).want(http.StatusOK, "The link no longer works.", "Nobody has a link to it yet.")

	s.ms.Set(func(b *msauthtest.Behavior) {
		b.Fail[msauthtest.Graph] = []msauthtest.Failure{{}, {Status: http.StatusForbidden}}
	})
	b.submit(path+"/share", nil).want(http.StatusForbidden, "Sharing is not allowed")
}

func TestPreview(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.signedIn()
	root := b.get("/files")
	pictures := b.get(root.link("Pictures"))
	page := b.get(pictures.href(`href="(/files/[^"]+/preview)"`)).want(http.StatusOK, "Harbour.png", `alt="Harbour.png"`)
	for _, path := range []string{page.href(`id="picture" src="([^"]+)"`), pictures.href(`class="thumb" src="([^"]+)"`)} {
		a := b.get(path).want(http.StatusOK)
		if kind := a.Header.Get("Content-Type"); kind != "image/jpeg" && kind != "image/png" || http.DetectContentType([]byte(a.body)) != kind {
			t.Errorf("%s: Content-Type %q", path, kind)
		}
		if a.Header.Get("X-Content-Type-Options") != "nosniff" || !strings.HasPrefix(a.Header.Get("Content-Security-Policy"), "sandbox") {
			t.Errorf("%s: headers %v", path, a.Header)
		}
	}
	b.get(strings.Replace(page.href(`src="([^"]+/thumbnail[^"]*)"`), "large", "c9999x9999", 1)).want(http.StatusNotFound)
	text := "/files/" + root.id("Shopping list.txt")
	b.get(text + "/preview").want(http.StatusNotFound)
	for _, call := range s.ms.Calls(msauthtest.Thumbnail) {
		if call.Header.Get("Authorization") != "" {
			t.Error("the host of thumbnails was given the access token")
		}
	}
}

// Forms of other sites change nothing.
func TestFileFormsOfOtherSites(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.writer(msauthtest.Ada)
	id := b.get("/files").id("Shopping list.txt")
	before := s.ms.Count(msauthtest.Graph)
	for _, path := range []string{
		"/files/new-folder", "/files/" + id + "/rename", "/files/" + id + "/move", "/files/" + id + "/copy", "/files/" + id + "/share", "/files/" + id + "/unshare",
		"/files/" + id + "/delete", "/files/restore", "/files/upload", "/files/upload-session", "/files/upload-session/cancel",
	} {
		b.submit(path, url.Values{"id": {id}, "name": {"x"}, "to": {""}}, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example").want(http.StatusForbidden, "The form was posted by another site")
		b.submit(path, nil, "Sec-Fetch-Site", "", "Origin", "https://evil.example").want(http.StatusForbidden)
	}
	if n := s.ms.Count(msauthtest.Graph) - before; n != 0 {
		t.Errorf("%d requests to Graph", n)
	}
}

// What Microsoft refuses for a while, or for good, has a page of its own.
func TestRefusalsOfTheDrive(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		status int
		want   int
		text   string
	}{
		{http.StatusTooManyRequests, 503, "Microsoft is busy"},
		{http.StatusServiceUnavailable, 503, "Microsoft is busy"},
		{http.StatusInsufficientStorage, 507, "This OneDrive is full"},
		{http.StatusLocked, 423, "The item is in use"},
		{http.StatusForbidden, 403, "Access denied"},
		{http.StatusPreconditionFailed, 409, "The item has changed"},
		{http.StatusInternalServerError, 502, "Microsoft is not responding"},
	} {
		t.Run(http.StatusText(tt.status), func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			b := s.writer(msauthtest.Ada)
			id := b.get("/files").id("Shopping list.txt")
			s.ms.Set(func(b *msauthtest.Behavior) {
				b.FailAlways[msauthtest.Graph] = msauthtest.Failure{Status: tt.status, Header: http.Header{"Retry-After": {"40"}}}
			})
			b.submit("/files/new-folder", url.Values{"name": {"x"}}).want(tt.want, tt.text)
			b.submit("/files/"+id+"/delete", nil).want(tt.want, tt.text)
			s.ms.Set(func(b *msauthtest.Behavior) { delete(b.FailAlways, msauthtest.Graph) })
			b.get("/files").want(http.StatusOK, "Shopping list.txt")
		})
	}
}

func TestOtherName(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, want string }{
		{"a.txt", "a (2).txt"}, {"a (2).txt", "a (3).txt"}, {"a (b).txt", "a (b) (2).txt"}, {"a (1) (9)", "a (1) (10)"}, {"Makefile", "Makefile (2)"}, {"a (0).txt", "a (0) (2).txt"},
	} {
		if got := otherName(tt.name); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// Quotas of some drives are unknown.
func TestUnknownQuota(t *testing.T) {
	t.Parallel()
	for quota, want := range map[string]string{
		`{"total":0,"used":0}`:      "",
		`{"total":4096,"used":-1}`:  "0 bytes of 4 KB used",
		`{"total":0,"used":2048}`:   "2 KB used",
		`{"total":4096,"used":512}`: "512 bytes of 4 KB used",
		`null`:                      "",
	} {
		a, serve := stubbed(t, someToken, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/me/drive" {
				w.Write([]byte(`{"quota":` + quota + `}`))
				return
			}
			w.Write([]byte(`{"value":[]}`))
		})
		body := serve(a.page(a.files), "/files").Body.String()
		if !strings.Contains(body, want) || want == "" && strings.Contains(body, `class="quota"`) {
			t.Errorf("%s: want %q in\n%s", quota, want, body)
		}
	}
}

// A picture that breaks off is not shown as if it were whole.
func TestPictureCut(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.signedIn()
	pictures := b.get(b.get("/files").link("Pictures"))
	page := b.get(pictures.href(`href="(/files/[^"]+/preview)"`))
	picture := page.href(`src="([^"]+/thumbnail[^"]*)"`)
	s.ms.Set(func(b *msauthtest.Behavior) {
		b.Fail[msauthtest.Thumbnail] = []msauthtest.Failure{{Handler: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "image/jpeg")
			w.Header().Set("Content-Length", "100000")
			io.WriteString(w, strings.Repeat("x", 50_000))
			panic(http.ErrAbortHandler)
		}}}
	})
	res, err := b.Get(s.URL + picture)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if got, err := io.ReadAll(res.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%d bytes with error %v, want io.ErrUnexpectedEOF", len(got), err)
	}
}
