package msauthtest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/msauth/msauthtest"
)

func TestUploadRefusesPartsOutOfOrder(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	drive, token := a.writer(msauthtest.Ada)
	address := a.beginUpload(drive+"/root:/big.bin:", token, "")
	size, part := len(uploaded), uploaded[:uploadUnit]
	at := func(first int) string { return fmt.Sprintf("bytes %d-%d/%d", first, first+uploadUnit-1, size) }

	a.refusedBy(416, "invalidRange", "fragmentOutOfOrder", "PUT", address, "", part, "Content-Range", at(uploadUnit))
	if status, text := a.put(address, 0, uploadUnit-1, size); status != 202 {
		t.Fatalf("first part: %d %s", status, text)
	}
	a.refusedBy(416, "invalidRange", "fragmentOverlap", "PUT", address, "", part, "Content-Range", at(0))
	a.refusedBy(400, "invalidRequest", "fragmentLengthMismatch", "PUT", address, "", part, "Content-Range", fmt.Sprintf("bytes %d-%d/%d", uploadUnit, 2*uploadUnit-1, size+1))
	a.refused(400, "invalidRequest", "PUT", address, "", part, "Content-Range", "bytes 0-0/*")
	a.refused(400, "invalidRequest", "PUT", address, "", "", "Content-Range", "bytes 0-0/0")
	a.refused(404, "itemNotFound", "PUT", address+"x", "", part, "Content-Range", at(uploadUnit))
	if res, text := a.graph(address, ""); res.StatusCode != 200 || ranges(t, text) != fmt.Sprintf("%d-", uploadUnit) {
		t.Errorf("status: %d %s", res.StatusCode, text)
	}
	if res, text := a.stream("PUT", address, "", &pattern{0, 61 << 20}, 61<<20, "Content-Range", fmt.Sprintf("bytes %d-%d/%d", uploadUnit, uploadUnit+61<<20-1, 1<<30)); res.StatusCode != 413 {
		t.Errorf("61 MiB: %d %s", res.StatusCode, text)
	}
}

func TestUploadSizeIsThatOfTheSession(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	drive, token := a.writer(msauthtest.Mia)
	address := a.beginUpload(drive+"/root:/ten.bin:", token, `{"item":{"fileSize":10}}`)
	a.refusedBy(400, "invalidRequest", "fragmentLengthMismatch", "PUT", address, "", "12345", "Content-Range", "bytes 0-4/5")
	if status, text := a.put(address, 0, 9, 10); status != 201 {
		t.Errorf("ten bytes: %d %s", status, text)
	}
	a.refused(507, "quotaLimitReached", "POST", drive+"/root:/much.bin:/createUploadSession", token, `{"item":{"fileSize":6000000000}}`)
	a.refused(400, "invalidRequest", "POST", drive+"/root:/x.bin:/createUploadSession", token, `{"item":{"fileSize":-1}}`)
	a.refused(400, "invalidRequest", "POST", drive+"/root:/x.bin:/createUploadSession", token, `{"item":{"name":"y.bin"}}`)

	a.ms.Set(func(b *msauthtest.Behavior) { b.RefuseFileSize = true })
	a.refused(400, "invalidRequest", "POST", drive+"/root:/x.bin:/createUploadSession", token, `{"item":{"fileSize":10}}`)
	a.beginUpload(drive+"/root:/x.bin:", token, "")
}

func TestUploadExpires(t *testing.T) {
	t.Parallel()
	ms := newServer(t)
	a := newApp(t, ms)
	drive, token := a.writer(msauthtest.Ada)
	address := a.beginUpload(drive+"/root:/a.bin:", token, "")
	ms.ExpireUploads()
	for _, method := range []string{"GET", "PUT", "DELETE", "POST"} {
		a.refused(404, "itemNotFound", method, address, "", uploaded[:10], "Content-Range", "bytes 0-9/10")
	}

	ms.Set(func(b *msauthtest.Behavior) { b.UploadExpires = time.Nanosecond })
	res, text := a.send("POST", drive+"/root:/b.bin:/createUploadSession", token, "")
	var session struct {
		UploadURL          string
		ExpirationDateTime time.Time
	}
	if err := json.Unmarshal([]byte(text), &session); err != nil || time.Since(session.ExpirationDateTime) > time.Minute {
		t.Fatalf("createUploadSession: %d %s", res.StatusCode, text)
	}
	a.refused(404, "itemNotFound", "PUT", session.UploadURL, "", uploaded[:10], "Content-Range", "bytes 0-9/10")
	ms.Set(func(b *msauthtest.Behavior) { b.UploadExpires = 0 })
	a.beginUpload(drive+"/root:/b.bin:", token, "") // its name is free again
}

// A work account's session keeps its name until it ends.
func TestOneUploadSessionPerName(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	drive, token := a.writer(msauthtest.Ada)
	address := a.beginUpload(drive+"/root:/new/a.bin:", token, "")
	a.refused(409, "nameAlreadyExists", "POST", drive+"/root:/new/A.bin:/createUploadSession", token, "")
	a.beginUpload(drive+"/root:/new/b.bin:", token, "")
	a.do(204, "DELETE", address, "", "")
	a.beginUpload(drive+"/root:/new/a.bin:", token, "")

	drive, token = a.writer(msauthtest.Mia)
	a.beginUpload(drive+"/root:/a.bin:", token, "")
	a.beginUpload(drive+"/root:/a.bin:", token, "")
}

// The name is taken by the time the last part is here.
func TestUploadWhoseNameIsTaken(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	begin := func(drive, token string) string {
		address := a.beginUpload(drive+"/root:/late.bin:", token, `{"item":{"@microsoft.graph.conflictBehavior":"fail"}}`)
		a.do(201, "PUT", drive+"/root:/late.bin:/content", token, "faster")
		a.refused(409, "nameAlreadyExists", "PUT", address, "", uploaded[:10], "Content-Range", "bytes 0-9/10")
		if res, text := a.graph(address, ""); res.StatusCode != 200 || ranges(t, text) != "" {
			t.Errorf("after the conflict: %d %s", res.StatusCode, text)
		}
		return address
	}
	source := func(address, name, behavior string) string {
		return `{"name":"` + name + `","@microsoft.graph.conflictBehavior":"` + behavior + `","@microsoft.graph.sourceUrl":"` + address + `"}`
	}

	drive, token := a.writer(msauthtest.Mia)
	address := begin(drive, token)
	a.refused(405, "notSupported", "POST", address, "", "")
	a.refused(409, "nameAlreadyExists", "PUT", drive+"/root:/late.bin:", token, source(address, "late.bin", "fail"))
	it := a.do(201, "PUT", drive+"/root:/later.bin:", token, source(address, "later.bin", "fail"))
	if got := a.text(drive, it.ID, token); it.Name != "later.bin" || got != uploaded[:10] {
		t.Errorf("finished: %+v %q", it, got)
	}
	a.refused(404, "itemNotFound", "GET", address, "", "")
	a.refused(404, "itemNotFound", "PUT", drive+"/root:/again.bin:", token, source(address, "again.bin", "fail"))
	address = begin2(a, drive, token)
	if it := a.do(201, "PUT", drive+"/root", token, source(address, "late.bin", "rename")); it.Name != "late 1.bin" {
		t.Errorf("renamed: %+v", it)
	}
	a.refused(400, "invalidRequest", "PUT", drive+"/root:/x.bin", token, `{"name":"x.bin"}`)
	open := a.beginUpload(drive+"/root:/open.bin:", token, "")
	a.refusedBy(400, "invalidRequest", "uploadSessionIncomplete", "PUT", drive+"/root:/open.bin", token, source(open, "open.bin", "fail"))

	// Work accounts cannot give it another name. The session can be cancelled, or
	// finished when the name is free.
	drive, token = a.writer(msauthtest.Ada)
	address = begin(drive, token)
	a.refused(400, "notSupported", "PUT", drive+"/root:/later.bin:", token, source(address, "later.bin", "fail"))
	a.refused(409, "nameAlreadyExists", "POST", address, "", "")
	a.do(204, "DELETE", drive+"/root:/late.bin", token, "")
	res, text := a.send("POST", address, "", "")
	if res.StatusCode != 201 || !strings.Contains(text, `"@content.downloadUrl"`) || strings.Contains(text, `"@microsoft.graph.downloadUrl"`) {
		t.Errorf("finished: %d %s", res.StatusCode, text)
	}
}

// begin2 uploads ten bytes under a name that is taken.
func begin2(a *app, drive, token string) string {
	a.do(204, "DELETE", drive+"/root:/late.bin", token, "")
	address := a.beginUpload(drive+"/root:/late.bin:", token, `{"item":{"@microsoft.graph.conflictBehavior":"fail"}}`)
	a.do(201, "PUT", drive+"/root:/late.bin:/content", token, "faster")
	a.refused(409, "nameAlreadyExists", "PUT", address, "", uploaded[:10], "Content-Range", "bytes 0-9/10")
	return address
}

// preflight sends a browser's question whether a page may send a request.
func (a *app) preflight(address, method, headers string) *http.Response {
	a.t.Helper()
	res, _ := a.send("OPTIONS", address, "", "", "Origin", "https://app.example", "Access-Control-Request-Method", method, "Access-Control-Request-Headers", headers)
	return res
}

func TestPagesOfOtherOrigins(t *testing.T) {
	t.Parallel()
	for _, user := range []string{msauthtest.Ada, msauthtest.Mia} {
		t.Run(user, func(t *testing.T) {
			t.Parallel()
			ms := newServer(t)
			a := newApp(t, ms)
			drive, token := a.writer(user)
			personal := user == msauthtest.Mia
			address := a.beginUpload(drive+"/root:/page.bin:", token, "")

			// An upload is possible, but for headers that are not expected there.
			res := a.preflight(address, "PUT", "content-range,content-type,client-request-id")
			allowed := strings.ToLower(res.Header.Get("Access-Control-Allow-Headers"))
			if res.StatusCode != 200 || res.Header.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(res.Header.Get("Access-Control-Allow-Methods"), "PUT") ||
				!strings.Contains(allowed, "content-range") || strings.Contains(allowed, "client-request-id") == personal {
				t.Errorf("preflight of an upload: %d %v", res.StatusCode, res.Header)
			}
			res, text := a.send("PUT", address, "", uploaded[:10], "Origin", "https://app.example", "Content-Range", "bytes 0-9/10")
			if res.StatusCode != 201 || res.Header.Get("Access-Control-Allow-Origin") != "*" || res.Header.Get("Access-Control-Expose-Headers") != "" {
				t.Errorf("upload: %d %v %s", res.StatusCode, res.Header, text)
			}

			// So is a download; with a range, from personal accounts only.
			it := a.do(200, "GET", drive+"/root:/page.bin", token, "")
			if res, _ := a.graph(it.DownloadURL, "", "Origin", "https://app.example"); res.StatusCode != 200 || res.Header.Get("Access-Control-Allow-Origin") != "*" {
				t.Errorf("download: %d %v", res.StatusCode, res.Header)
			}
			if res := a.preflight(it.DownloadURL, "GET", "range"); (res.Header.Get("Access-Control-Allow-Origin") == "*") != personal {
				t.Errorf("preflight of a download: %d %v", res.StatusCode, res.Header)
			}
			if got := ms.Count(msauthtest.Preflight); got != 2 {
				t.Errorf("Count(Preflight) = %d, want 2", got)
			}

			ms.Set(func(b *msauthtest.Behavior) { b.UploadNoCORS = true })
			address = a.beginUpload(drive+"/root:/page2.bin:", token, "")
			if res := a.preflight(address, "PUT", "content-range"); res.Header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("UploadNoCORS: %v", res.Header)
			}
			res, _ = a.send("PUT", address, "", uploaded[:10], "Origin", "https://app.example", "Content-Range", "bytes 0-9/10")
			if res.StatusCode != 201 || res.Header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("UploadNoCORS: upload: %d %v", res.StatusCode, res.Header)
			}
		})
	}
}
