package msauthtest_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"example.com/msauth/msauthtest"
)

// send makes a request with a body.
func (a *app) send(method, url, token, content string, headers ...string) (*http.Response, string) {
	a.t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(content))
	if err != nil {
		a.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := a.browser.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	return res, body(a.t, res)
}

// A driveItem has the properties that tests check.
type driveItem struct {
	item
	ETag            string
	ParentReference struct{ ID, Path, DriveID string }
}

// do requires a status and returns the item in the answer.
func (a *app) do(status int, method, url, token, content string, headers ...string) driveItem {
	a.t.Helper()
	res, text := a.send(method, url, token, content, headers...)
	if res.StatusCode != status {
		a.t.Fatalf("%s %s: %d %s, want %d", method, url, res.StatusCode, text, status)
	}
	var it driveItem
	if text != "" {
		if err := json.Unmarshal([]byte(text), &it); err != nil {
			a.t.Fatal(err)
		}
	}
	return it
}

// refused requires an error document.
func (a *app) refused(status int, code, method, url, token, content string, headers ...string) {
	a.t.Helper()
	a.refusedBy(status, code, "", method, url, token, content, headers...)
}

// refusedBy requires an error document with a code of innerError.
func (a *app) refusedBy(status int, code, inner, method, url, token, content string, headers ...string) {
	a.t.Helper()
	res, text := a.send(method, url, token, content, headers...)
	var doc struct {
		Error struct {
			Code, Message string
			InnerError    struct{ Code string }
		}
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		a.t.Fatalf("%s %s: %d %q", method, url, res.StatusCode, text)
	}
	if res.StatusCode != status || doc.Error.Code != code || doc.Error.Message == "" || inner != "" && doc.Error.InnerError.Code != inner {
		a.t.Errorf("%s %s: %d %s %s (%s), want %d %s %s", method, url, res.StatusCode, doc.Error.Code, doc.Error.InnerError.Code, doc.Error.Message, status, code, inner)
	}
}

func (a *app) writer(user string) (drive, token string) {
	a.t.Helper()
	rep := a.signIn(user, "scope", "openid User.Read Files.ReadWrite")
	var about struct{ ID string }
	a.json2(a.ms.URL+"/v1.0/me/drive", rep.AccessToken, &about)
	return a.ms.URL + "/v1.0/drives/" + url.PathEscape(about.ID), rep.AccessToken
}

func (a *app) text(drive, id, token string) string {
	a.t.Helper()
	res, _ := a.graph(drive+"/items/"+url.PathEscape(id)+"/content", token)
	if res.StatusCode != 302 {
		a.t.Fatalf("content: %d", res.StatusCode)
	}
	res, text := a.graph(res.Header.Get("Location"), "")
	if res.StatusCode != 200 {
		a.t.Fatalf("download: %d %s", res.StatusCode, text)
	}
	return text
}

func names(l listing) (all []string) {
	for _, it := range l.Value {
		all = append(all, it.Name)
	}
	return all
}

// checkRoot reads the root folder and the list of drives.
func checkRoot(t *testing.T, a *app, drive, token string) driveItem {
	t.Helper()
	root := a.do(200, "GET", drive+"/root", token, "")
	if again := a.do(200, "GET", drive+"/items/root", token, ""); again.ID != root.ID {
		t.Errorf("items/root: %s", again.ID)
	}
	var drives struct{ Value []struct{ ID string } }
	a.json2(a.ms.URL+"/v1.0/me/drives", token, &drives)
	if len(drives.Value) != 1 || drives.Value[0].ID != root.ParentReference.DriveID {
		t.Errorf("me/drives: %+v", drives)
	}
	return root
}

// checkListing lists a folder of three items in several orders, in pages of two.
func checkListing(t *testing.T, a *app, drive, token string) {
	t.Helper()
	for order, want := range map[string][]string{
		"name":      {"House", "second 1.csv", "second.csv"},
		"name desc": {"second.csv", "second 1.csv", "House"},
		"size desc": {"second.csv", "House", "second 1.csv"},
	} {
		var got []string
		for next := drive + "/root:/Plans:/children?$select=name&$top=2&$orderby=" + url.QueryEscape(order); next != ""; {
			var page listing
			a.json2(next, token, &page)
			got = append(got, names(page)...)
			if page.Value[0].ID != "" {
				t.Error("$select: there is an id")
			}
			next = page.Next
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q", order, got)
		}
	}
}

// A copyState is what a monitor says about a copy.
type copyState struct {
	code               int // of the answer
	location           string
	Status, ResourceID string
	PercentageComplete float64
	Error              struct{ Code string }
}

// progress requests a monitor.
func (a *app) progress(monitor string) copyState {
	a.t.Helper()
	res, text := a.graph(monitor, "")
	state := copyState{code: res.StatusCode, location: res.Header.Get("Location")}
	if err := json.Unmarshal([]byte(text), &state); err != nil {
		a.t.Fatalf("monitor: %d %s", res.StatusCode, text)
	}
	return state
}

// checkCopies copies a folder and checks the outcomes.
func checkCopies(t *testing.T, a *app, drive, token string, root, folder driveItem) {
	t.Helper()
	copied := func(ask string) (status, id string) {
		t.Helper()
		res, text := a.send("POST", drive+"/items/"+url.PathEscape(folder.ID)+"/copy", token, ask)
		if res.StatusCode != 202 || text != "" {
			t.Fatalf("copy: %d %s", res.StatusCode, text)
		}
		where := res.Header.Get("Location")
		if res, _ := a.graph(where, token); res.StatusCode != 401 {
			t.Errorf("monitor with a token: %d", res.StatusCode)
		}
		doc := a.progress(where)
		return doc.Status + doc.Error.Code, doc.ResourceID
	}
	status, id := copied(`{"name":"Plans of last year","parentReference":{"driveId":"` + root.ParentReference.DriveID + `","id":"` + root.ID + `"}}`)
	if twin := a.do(200, "GET", drive+"/items/"+url.PathEscape(id), token, ""); status != "completed" || twin.Folder == nil || twin.Folder.ChildCount != 4 {
		t.Errorf("copy: %s %+v", status, twin)
	}
	if status, _ := copied(`{}`); status != "failednameAlreadyExists" {
		t.Errorf("copy onto itself: %s", status)
	}
	a.refused(400, "invalidRequest", "POST", drive+"/items/"+url.PathEscape(folder.ID)+"/copy", token, `{"parentReference":{"path":"/drive/root:/Plans/House"}}`)
}

func TestDriveWrites(t *testing.T) {
	t.Parallel()
	for _, user := range []string{msauthtest.Ada, msauthtest.Mia} {
		t.Run(user, func(t *testing.T) {
			t.Parallel()
			a := newApp(t, newServer(t))
			drive, token := a.writer(user)
			me := a.ms.URL + "/v1.0/me/drive"
			root := checkRoot(t, a, drive, token)

			// Folders.
			folder := a.do(201, "POST", drive+"/items/"+url.PathEscape(root.ID)+"/children", token, `{"name":"Plans","folder":{}}`)
			if folder.Folder == nil || folder.ParentReference.ID != root.ID {
				t.Errorf("new folder: %+v", folder)
			}
			a.refused(409, "nameAlreadyExists", "POST", me+"/root/children", token, `{"name":"plans","folder":{}}`)
			if other := a.do(201, "POST", me+"/root/children", token, `{"name":"Plans","folder":{},"@microsoft.graph.conflictBehavior":"rename"}`); other.Name != "Plans 1" || other.ID == folder.ID {
				t.Errorf("renamed: %+v", other)
			}
			if same := a.do(200, "POST", me+"/root/children", token, `{"name":"Plans","folder":{},"@microsoft.graph.conflictBehavior":"replace"}`); same.ID != folder.ID {
				t.Errorf("replaced: %+v", same)
			}

			// Files: by path, by parent and name, by id; as the SDK escapes them.
			file := a.do(201, "PUT", me+"/root:/Plans/House/ground%20floor.txt:/content", token, "one", "Content-Type", "application/octet-stream")
			if file.Name != "ground floor.txt" || file.Size != 3 || file.File.MimeType != "text/plain" || file.ParentReference.Path != "/drive/root:/Plans/House" {
				t.Errorf("new file: %+v", file)
			}
			if again := a.do(200, "PUT", drive+"/items/root%3A%2FPlans%2FHouse%2Fground%20floor.txt%3A/content", token, "twice"); again.ID != file.ID || again.Size != 5 || again.ETag == file.ETag {
				t.Errorf("new content: %+v", again)
			}
			if got := a.text(drive, file.ID, token); got != "twice" {
				t.Errorf("content: %q", got)
			}
			second := a.do(201, "PUT", drive+"/items/"+url.PathEscape(folder.ID)+":/second.csv:/content?@microsoft.graph.conflictBehavior=rename", token, "a,b")
			if third := a.do(201, "PUT", drive+"/items/"+url.PathEscape(folder.ID)+":/second.csv:/content?@microsoft.graph.conflictBehavior=rename", token, "c,d"); third.Name != "second 1.csv" || third.ID == second.ID {
				t.Errorf("renamed file: %+v", third)
			}
			a.refused(409, "nameAlreadyExists", "PUT", drive+"/items/"+url.PathEscape(folder.ID)+":/second.csv:/content?@microsoft.graph.conflictBehavior=fail", token, "")
			a.refused(409, "nameAlreadyExists", "PUT", me+"/root:/Plans:/content", token, "a folder is there")
			var z bytes.Buffer
			gz := gzip.NewWriter(&z)
			gz.Write([]byte("compressed on the way"))
			gz.Close()
			a.do(200, "PUT", drive+"/items/"+url.PathEscape(second.ID)+"/content", token, z.String(), "Content-Encoding", "gzip")
			if got := a.text(drive, second.ID, token); got != "compressed on the way" {
				t.Errorf("content: %q", got)
			}

			checkListing(t, a, drive, token)
			a.refused(400, "invalidRequest", "GET", me+"/root/children?$orderby=colour", token, "")

			// Names and places.
			moved := a.do(200, "PATCH", drive+"/items/"+url.PathEscape(file.ID), token, `{"name":"cellar.md","parentReference":{"id":"`+root.ID+`"}}`)
			if moved.ID != file.ID || moved.Name != "cellar.md" || moved.ParentReference.ID != root.ID || moved.File.MimeType != "text/markdown" {
				t.Errorf("moved: %+v", moved)
			}
			a.do(404, "GET", me+"/root:/Plans/House/ground%20floor.txt", token, "")
			a.do(200, "PATCH", me+"/root:/cellar.md", token, `{"parentReference":{"path":"/drive/root:/Plans"}}`)
			a.do(200, "GET", me+"/root:/Plans/cellar.md", token, "")
			a.refused(409, "nameAlreadyExists", "PATCH", drive+"/items/"+url.PathEscape(file.ID), token, `{"name":"Second.csv"}`)
			a.refused(400, "invalidRequest", "PATCH", drive+"/items/"+url.PathEscape(folder.ID), token, `{"parentReference":{"path":"/drive/root:/Plans/House"}}`)
			a.refused(404, "itemNotFound", "PATCH", drive+"/items/"+url.PathEscape(file.ID), token, `{"parentReference":{"id":"nothing"}}`)
			a.refused(412, "resourceModified", "PATCH", drive+"/items/"+url.PathEscape(file.ID), token, `{"name":"x"}`, "If-Match", file.ETag)
			a.refused(403, "accessDenied", "PATCH", me+"/root", token, `{"name":"x"}`)
			a.refused(403, "accessDenied", "DELETE", me+"/root", token, "")

			checkCopies(t, a, drive, token, root, folder)

			a.do(204, "DELETE", drive+"/items/"+url.PathEscape(folder.ID), token, "")
			a.refused(404, "itemNotFound", "GET", drive+"/items/"+url.PathEscape(file.ID), token, "")
			a.refused(404, "itemNotFound", "DELETE", drive+"/items/"+url.PathEscape(folder.ID), token, "")
		})
	}
}

func TestDriveRefuses(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	drive, token := a.writer(msauthtest.Ada)
	me := a.ms.URL + "/v1.0/me/drive"
	for _, tt := range []struct {
		name, method, url, content string
		headers                    []string
		status                     int
		code                       string
	}{
		{"another drive", "GET", a.ms.URL + "/v1.0/drives/b!x/root", "", nil, 404, "itemNotFound"},
		{"no folder property", "POST", me + "/root/children", `{"name":"x"}`, nil, 400, "invalidRequest"},
		{"a bad name", "POST", me + "/root/children", `{"name":"a?b","folder":{}}`, nil, 400, "invalidRequest"},
		{"no name", "POST", me + "/root/children", `{"folder":{}}`, nil, 400, "invalidRequest"},
		{"a bad behaviour", "POST", me + "/root/children", `{"name":"x","folder":{},"@microsoft.graph.conflictBehavior":"ask"}`, nil, 400, "invalidRequest"},
		{"no JSON", "POST", me + "/root/children", `{`, nil, 400, "BadRequest"},
		{"a long document", "POST", me + "/root/children", `{"name":"` + strings.Repeat("x", 70_000) + `"}`, nil, 413, "invalidRequest"},
		{"a folder in a file", "POST", me + "/root:/Measurements.csv:/children", `{"name":"x","folder":{}}`, nil, 400, "invalidRequest"},
		{"a file in a file", "PUT", me + "/root:/Measurements.csv/x.txt:/content", "x", nil, 400, "invalidRequest"},
		{"a file over a folder's name", "POST", me + "/root/children", `{"name":"Measurements.csv","folder":{},"@microsoft.graph.conflictBehavior":"replace"}`, nil, 409, "nameAlreadyExists"},
		{"an encoding", "PUT", me + "/root:/x.txt:/content", "x", []string{"Content-Encoding", "br"}, 415, "invalidRequest"},
		{"gzip that is none", "PUT", me + "/root:/x.txt:/content", "x", []string{"Content-Encoding", "gzip"}, 400, "invalidRequest"},
		{"a method", "POST", me + "/root:/Measurements.csv:/content", "", nil, 405, "notSupported"},
		{"an upload session for a folder", "POST", me + "/root:/Documents:/createUploadSession", "", nil, 400, "invalidRequest"},
		{"an upload session that must not replace", "POST", me + "/root:/Measurements.csv:/createUploadSession", `{"item":{"@microsoft.graph.conflictBehavior":"fail"}}`, nil, 409, "nameAlreadyExists"},
		{"an upload session for too much", "POST", me + "/root:/x.bin:/createUploadSession", `{"item":{"fileSize":6000000000}}`, nil, 507, "quotaLimitReached"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := *a
			a.t = t
			a.refused(tt.status, tt.code, tt.method, tt.url, token, tt.content, tt.headers...)
		})
	}

	// A scope for reading does not permit writing.
	reader := a.signIn(msauthtest.Bruno, "scope", "openid Files.Read").AccessToken
	nobody := a.signIn(msauthtest.Grace, "scope", "openid User.Read").AccessToken
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
		a.refused(403, "accessDenied", method, me+"/root:/x.txt:/content", reader, "")
		a.refused(401, "InvalidAuthenticationToken", method, me+"/root:/x.txt:/content", "", "")
	}
	a.refused(403, "accessDenied", "GET", drive+"/root", nobody, "")
	a.refused(404, "itemNotFound", "GET", drive+"/root", reader, "") // Ada's
}

// uploadUnit is what the parts of an upload are multiples of, in bytes.
const uploadUnit = 320 << 10

// uploaded is what tests upload: two units and a rest.
var uploaded = strings.Repeat("0123456789abcdef", 2*uploadUnit/16) + "the end"

// beginUpload begins an upload session and returns its URL.
func (a *app) beginUpload(item, token, ask string) (address string) {
	a.t.Helper()
	res, text := a.send("POST", item+"/createUploadSession", token, ask, "Content-Type", "application/json")
	var doc struct {
		UploadURL, ExpirationDateTime string
		NextExpectedRanges            []string
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil || res.StatusCode != 200 || doc.ExpirationDateTime == "" || !slices.Equal(doc.NextExpectedRanges, []string{"0-"}) {
		a.t.Fatalf("createUploadSession: %d %s", res.StatusCode, text)
	}
	return doc.UploadURL
}

// put sends a part of uploaded, as one of a file of size bytes.
func (a *app) put(address string, first, last, size int) (int, string) {
	a.t.Helper()
	res, text := a.send("PUT", address, "", uploaded[first:last+1], "Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, size))
	return res.StatusCode, text
}

// ranges returns the ranges that an upload still expects.
func ranges(t *testing.T, text string) string {
	t.Helper()
	var doc struct{ NextExpectedRanges []string }
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return strings.Join(doc.NextExpectedRanges, ",")
}

func TestUploadSession(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	drive, token := a.writer(msauthtest.Ada)
	begin := func(path, ask string) string { return a.beginUpload(drive+path, token, ask) }
	content := uploaded
	const unit = uploadUnit
	size := len(content)

	address := begin("/root:/Uploads/big.bin:", `{"item":{"@microsoft.graph.conflictBehavior":"rename","name":"big.bin"}}`)
	if !slices.Contains(a.ms.Secrets(), address) || strings.HasPrefix(address, a.ms.URL) {
		t.Errorf("upload URL: %s", address)
	}
	a.refused(401, "unauthenticated", "PUT", address, token, "x", "Content-Range", "bytes 0-0/1")
	a.refused(400, "invalidRequest", "PUT", address, "", "x")
	a.refused(400, "invalidRequest", "PUT", address, "", "x", "Content-Range", "bytes 0-1/2")
	a.refused(400, "invalidRequest", "PUT", address, "", content[:1000], "Content-Range", fmt.Sprintf("bytes 0-999/%d", size)) // not 320 KiB
	if status, text := a.put(address, 0, unit-1, size); status != 202 || ranges(t, text) != fmt.Sprintf("%d-", unit) {
		t.Fatalf("first part: %d %s", status, text)
	}
	a.refused(416, "invalidRange", "PUT", address, "", content[:unit], "Content-Range", fmt.Sprintf("bytes 0-%d/%d", unit-1, size))
	a.refused(400, "invalidRequest", "PUT", address, "", content[:unit], "Content-Range", fmt.Sprintf("bytes %d-%d/%d", unit, 2*unit-1, size+1))
	if res, text := a.graph(address, ""); res.StatusCode != 200 || ranges(t, text) != fmt.Sprintf("%d-", unit) {
		t.Errorf("status: %d %s", res.StatusCode, text)
	}
	a.refused(404, "itemNotFound", "GET", drive+"/root:/Uploads/big.bin", token, "")
	if status, text := a.put(address, unit, 2*unit-1, size); status != 202 || ranges(t, text) != fmt.Sprintf("%d-", 2*unit) {
		t.Fatalf("second part: %d %s", status, text)
	}
	status, text := a.put(address, 2*unit, size-1, size)
	var it driveItem
	if err := json.Unmarshal([]byte(text), &it); err != nil || status != 201 || it.Name != "big.bin" || it.Size != int64(size) {
		t.Fatalf("last part: %d %s", status, text)
	}
	if a.text(drive, it.ID, token) != content {
		t.Error("the content is another")
	}
	a.refused(404, "itemNotFound", "GET", address, "", "")

	// An existing file: 200, or another name.
	if status, text := a.put(begin("/items/"+it.ID, ""), 0, 9, 10); status != 200 || !strings.Contains(text, it.ID) {
		t.Errorf("replaced: %d %s", status, text)
	}
	if status, text := a.put(begin("/root:/Uploads/big.bin:", `{"item":{"@microsoft.graph.conflictBehavior":"rename"}}`), 0, 9, 10); status != 201 || !strings.Contains(text, `"big 1.bin"`) {
		t.Errorf("renamed: %d %s", status, text)
	}
	// A name that is taken in the meantime.
	address = begin("/root:/Uploads/late.bin:", `{"item":{"@microsoft.graph.conflictBehavior":"fail"}}`)
	a.do(201, "PUT", drive+"/root:/Uploads/late.bin:/content", token, "faster")
	a.refused(409, "nameAlreadyExists", "PUT", address, "", "x", "Content-Range", "bytes 0-0/1")

	// Cancelled, and committed at the end.
	address = begin("/root:/Uploads/never.bin:", "")
	if res, _ := a.send("DELETE", address, "", ""); res.StatusCode != 204 {
		t.Errorf("cancel: %d", res.StatusCode)
	}
	a.refused(404, "itemNotFound", "PUT", address, "", "x", "Content-Range", "bytes 0-0/1")
	address = begin("/root:/Uploads/later.bin:", `{"deferCommit":true}`)
	a.refused(400, "invalidRequest", "POST", address, "", "")
	if status, text := a.put(address, 0, 9, 10); status != 202 || ranges(t, text) != "" {
		t.Errorf("deferred: %d %s", status, text)
	}
	a.do(201, "POST", address, "", "")

	// Failures by kind.
	address = begin("/root:/Uploads/hard.bin:", "")
	a.ms.Set(func(b *msauthtest.Behavior) {
		b.Fail[msauthtest.Upload] = []msauthtest.Failure{{Status: 503, Header: http.Header{"Retry-After": {"2"}}}}
	})
	a.refused(503, "serviceNotAvailable", "PUT", address, "", "x", "Content-Range", "bytes 0-0/1")
	if status, _ := a.put(address, 0, 0, 1); status != 201 {
		t.Errorf("after the failure: %d", status)
	}
	if a.ms.Count(msauthtest.Upload) < 10 {
		t.Errorf("Count(Upload) = %d", a.ms.Count(msauthtest.Upload))
	}
}

// Many writers at once.
func TestDriveHerd(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	drive, token := a.writer(msauthtest.Ada)
	done := make(chan error)
	for i := range 8 {
		go func() {
			for j := range 10 {
				req, _ := http.NewRequest("PUT", fmt.Sprintf("%s/root:/herd/%d/%d.txt:/content", drive, i%3, j), strings.NewReader("x"))
				req.Header.Set("Authorization", "Bearer "+token)
				res, err := a.browser.Do(req)
				if err == nil {
					res.Body.Close()
					if res.StatusCode/100 != 2 {
						err = fmt.Errorf("status %d", res.StatusCode)
					}
				}
				if err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	for i := range 3 {
		var page listing
		a.json2(fmt.Sprintf("%s/root:/herd/%d:/children", drive, i), token, &page)
		if len(page.Value) != 10 {
			t.Errorf("folder %d: %q", i, names(page))
		}
	}
}
