package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/msauth/graph"
	"example.com/msauth/msauthtest"
)

// uploadBody returns the form of the upload page as browsers send it: up to the
// file's content, and what follows it.
func uploadBody(account, in, conflict, name string) (head, tail, contentType string) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	w.WriteField("account", account)
	w.WriteField("in", in)
	w.WriteField("conflict", conflict)
	w.CreateFormFile("file", name)
	head = b.String()
	w.Close()
	return head, b.String()[len(head):], w.FormDataContentType()
}

// upload sends the form of the upload page.
func (b *browser) upload(in, conflict, name, content string, headers ...string) *answer {
	b.site.t.Helper()
	head, tail, contentType := uploadBody(b.account(), in, conflict, name)
	return b.body("/files/upload", contentType, strings.NewReader(head+content+tail), headers...)
}

// account is the key of the account, as the upload page has it.
func (b *browser) account() string {
	b.site.t.Helper()
	return b.get("/files/upload").href(`name="account" value="([^"]+)"`)
}

// A page that was opened before somebody else has signed in stores nothing with them.
func TestUploadOfAnotherAccount(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.writer(msauthtest.Ada)
	head, tail, contentType := uploadBody(b.account(), "", "ask", "Ada's.txt")
	document := `{"account":"` + b.account() + `","name":"Ada's.txt","size":5}`

	s.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Mia })
	b.get(b.get("/files").href(`id="switch-account" href="([^"]+)"`)).want(http.StatusOK, "Mia")
	b.get("/files/new-folder").want(http.StatusOK) // allows changes
	s.ms.ResetCalls()
	b.body("/files/upload", contentType, strings.NewReader(head+"secret"+tail)).want(http.StatusForbidden, "Another account has signed in", "Nothing was stored.")
	b.body("/files/upload", contentType, strings.NewReader(head+"secret"+tail), s.script()...).want(http.StatusForbidden, `"title":"Another account has signed in"`)
	b.body("/files/upload-session", "application/json", strings.NewReader(document), s.script()...).want(http.StatusForbidden, `"title":"Another account has signed in"`)
	if n := s.ms.Count(msauthtest.Graph) + s.ms.Count(msauthtest.Upload); n != 0 {
		t.Errorf("%d requests to Graph", n)
	}
	b.upload("", "ask", "Mia's.txt", "x").want(http.StatusOK, "Uploaded “Mia&#39;s.txt”.")
}

func TestUpload(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.writer(msauthtest.Ada)
	in := b.get("/files").id("Documents")
	b.get("/files/upload?in="+in).want(http.StatusOK, "<h1>Upload to Documents</h1>", `action="/files/upload"`, "At most 250 GB")
	b.get("/files/upload?in=" + b.get("/files").id("Shopping list.txt")).want(http.StatusNotFound)

	var large strings.Builder
	for large.Len() < 6<<20 {
		fmt.Fprintf(&large, "%x\r\n--\r\n", rand.Uint64())
	}
	for name, content := range map[string]string{
		"Empty.txt": "", "Ünï “x”.txt": "short", "CRLF.bin": "\r\n", "Like a frame.txt": "\r\n--x\r\nContent-Disposition: form-data; filename=\"a\"\r\n\r\n", "Large.txt": large.String(),
	} {
		a := b.upload(in, "ask", name, content).want(http.StatusOK, "Uploaded “"+name+"”.", "<h1>Documents</h1>")
		if got := b.get(a.link(name)).want(http.StatusOK).body; got != content {
			t.Errorf("%s: %d bytes are stored, want %d", name, len(got), len(content))
		}
	}

	b.upload(in, "ask", "large.txt", "x").want(http.StatusConflict, "There is already an item called “large.txt”", `value="rename" checked`)
	b.upload(in, "rename", "Large.txt", "other").want(http.StatusOK, "Uploaded “Large 1.txt”.")
	a := b.upload(in, "replace", "Large.txt", "new").want(http.StatusOK, "Uploaded “Large.txt”.")
	b.get(a.link("Large.txt")).want(http.StatusOK)
	if got := b.get(a.link("Large.txt")).body; got != "new" {
		t.Errorf("replaced by %.20q", got)
	}
	script := b.upload("", "ask", "By script.txt", "x", s.script()...).want(http.StatusOK, `{"name":"By script.txt"}`)
	if got := script.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type %q", got)
	}
	b.upload("", "ask", "By script.txt", "x", s.script()...).want(http.StatusConflict, `"title":"The name is taken"`)

	for _, call := range s.ms.Calls(msauthtest.Upload) {
		if call.Header.Get("Authorization") != "" {
			t.Error("the storage host was given the access token")
		}
	}
}

// Refused uploads store nothing.
func TestUploadRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.writer(msauthtest.Ada)
	before := b.get("/files").body
	head, tail, contentType := uploadBody(b.account(), "", "ask", "Refused.txt")
	boundary := strings.TrimPrefix(contentType, "multipart/form-data; boundary=")
	another := "\r\n--" + boundary + "\r\nContent-Disposition: form-data; name=\"file\"; filename=\"b.txt\"\r\n\r\nb"
	send := func(body string) *answer { return b.body("/files/upload", contentType, strings.NewReader(body)) }

	for name, body := range map[string]string{
		"several files":      head + "a" + another + tail,
		"a field at the end": head + "a\r\n--" + boundary + "\r\nContent-Disposition: form-data; name=\"conflict\"\r\n\r\nreplace" + tail,
		"epilogue":           head + "a" + tail + "more",
		"no end":             head + "a",
		"preamble only":      "x",
		"no file":            strings.Replace(head, `; filename="Refused.txt"`, "", 1) + "a" + tail,
		"endless head":       strings.Repeat("x", 70<<10),
		"endless fields":     endlessFields(boundary),
		"endless field":      strings.Replace(head, "\r\n\r\nask", "\r\n\r\n"+strings.Repeat("x\n", 4<<10), 1) + "a" + tail,
	} {
		t.Run(name, func(t *testing.T) {
			send(body).want(http.StatusBadRequest, "Upload not accepted", "Nothing was stored.")
		})
	}
	t.Run("chunked", func(t *testing.T) {
		b.body("/files/upload", contentType, io.MultiReader(strings.NewReader(head+"a"+tail))).want(http.StatusBadRequest, "its length has to be known")
	})
	t.Run("another type", func(t *testing.T) {
		b.body("/files/upload", "text/plain", strings.NewReader("a")).want(http.StatusBadRequest, "Upload not accepted")
		b.body("/files/upload", "multipart/form-data", strings.NewReader("a")).want(http.StatusBadRequest, "Upload not accepted")
	})
	t.Run("nothing chosen", func(t *testing.T) {
		b.upload("", "ask", "", "").want(http.StatusBadRequest, "Choose a file.")
	})
	t.Run("unknown choice", func(t *testing.T) {
		b.upload("", "overwrite", "a.txt", "a").want(http.StatusBadRequest, "Form not accepted")
	})
	for name, reason := range map[string]string{"a|b.txt": "contains one of", "~$a.docx": "begins with ~$", ".lock": "is reserved"} {
		b.upload("", "ask", name, "a").want(http.StatusBadRequest, "The name “"+name+"” "+reason)
		b.upload("", "ask", name, "a", s.script()...).want(http.StatusBadRequest, "The name is not allowed")
	}
	t.Run("no such folder", func(t *testing.T) {
		b.upload("NOSUCHID", "ask", "a.txt", "a").want(http.StatusNotFound, "Not found")
		b.upload("../me", "ask", "a.txt", "a").want(http.StatusNotFound, "Not found")
	})
	t.Run("no room", func(t *testing.T) {
		s.ms.Set(func(b *msauthtest.Behavior) {
			b.Fail[msauthtest.Upload] = []msauthtest.Failure{{Status: http.StatusInsufficientStorage}}
		})
		b.upload("", "ask", "Refused.txt", "a").want(http.StatusInsufficientStorage, "This OneDrive is full")
	})
	if after := b.get("/files").body; after != before {
		t.Errorf("something was stored:\n%s", after)
	}
}

// endlessFields is a form whose first field has a name that looks like a file's, and
// so its head ends there. What follows could go on for ever.
func endlessFields(boundary string) string {
	var b strings.Builder
	for i := range 10000 {
		fmt.Fprintf(&b, "--%s\r\nContent-Disposition: form-data; name=\"filename=%d\"\r\n\r\nx\r\n", boundary, i)
	}
	b.WriteString("--" + boundary + "--\r\n")
	return b.String()
}

// Of a form that has no file, only so many fields are kept.
func TestUploadFields(t *testing.T) {
	t.Parallel()
	body := &countingReader{Reader: strings.NewReader(endlessFields("x"))}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/files/upload", body)
	r.ContentLength = 1 << 30
	r.Header.Set("Content-Type", "multipart/form-data; boundary=x")
	form, err := readUpload(r)
	if !errors.Is(err, errFrame) || form != nil {
		t.Errorf("form %v, error %v", form, err)
	}
	if body.n > 2*maxHead {
		t.Errorf("%d bytes were read", body.n)
	}
}

// A countingReader counts the bytes that are read from it.
type countingReader struct {
	io.Reader
	n int
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

// A refused upload has its page even if Graph needs longer for that than the browser
// had for the rest of the form.
func TestUploadRefusedSlowly(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.writer(msauthtest.Ada)
	in := b.get("/files").id("Documents")
	head, tail, contentType := uploadBody(b.account(), in, "ask", "a?b")
	s.ms.Set(func(b *msauthtest.Behavior) {
		b.Delay = map[msauthtest.Kind]time.Duration{msauthtest.Graph: drainTime + time.Second}
	})
	b.body("/files/upload", contentType, strings.NewReader(head+"x"+tail)).want(http.StatusBadRequest, "Upload to Documents", "The name “a?b” contains one of")
}

// A form whose connection is cut stores nothing.
func TestUploadCut(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.writer(msauthtest.Ada)
	before := b.get("/files").body
	head, tail, contentType := uploadBody(b.account(), "", "ask", "Cut.bin")
	size := int64(12 << 20)
	broken := errors.New("cut")
	body := io.MultiReader(strings.NewReader(head), io.LimitReader(zeros{}, size-1), failingReader{broken})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/files/upload", body)
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = int64(len(head)+len(tail)) + size
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	if res, err := b.Do(req); err == nil {
		res.Body.Close()
		t.Fatalf("status %d of a request that was not sent", res.StatusCode)
	}
	deadline := time.Now().Add(10 * time.Second)
	for !strings.Contains(s.log.String(), "path=/files/upload status=400") && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	if after := b.get("/files").body; after != before {
		t.Errorf("something was stored:\n%s", after)
	}
	cancelled := false
	for _, call := range s.ms.Calls(msauthtest.Upload) {
		cancelled = cancelled || call.Method == http.MethodDelete
	}
	if !cancelled {
		t.Error("the upload session was not cancelled")
	}
}

// A browser that does not send all of a form is not taken for a failure of
// Microsoft's, wherever it stops.
func TestUploadCutAnywhere(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.writer(msauthtest.Ada)
	before := b.get("/files").body
	head, tail, contentType := uploadBody(b.account(), "", "ask", "Cut.txt")
	form := head + "content" + tail
	home, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/files/upload", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	home.Header.Set("Content-Type", contentType)
	home.Header.Set("Sec-Fetch-Site", "same-origin")
	for _, cookie := range b.Jar.Cookies(home.URL) {
		home.AddCookie(cookie)
	}
	for _, sent := range []int{0, 100, len(head) - 1, len(head), len(head) + 3, len(head) + len("content"), len(form) - 6} {
		var dialer net.Dialer
		conn, err := dialer.DialContext(t.Context(), "tcp", home.URL.Host)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "POST /files/upload HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n", home.URL.Host, len(form))
		home.Header.Write(conn)
		io.WriteString(conn, "\r\n"+form[:sent])
		conn.(*net.TCPConn).CloseWrite()
		res, err := http.ReadResponse(bufio.NewReader(conn), home)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		conn.Close()
		if res.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), "The upload was interrupted") {
			t.Errorf("after %d of %d bytes: status %d\n%s", sent, len(form), res.StatusCode, body)
		}
	}
	if after := b.get("/files").body; after != before {
		t.Errorf("something was stored:\n%s", after)
	}
}

// One account cannot hold the memory of any number of uploads.
func TestManyUploads(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.writer(msauthtest.Ada)
	account := b.account()
	var done sync.WaitGroup
	stop := make(chan struct{})
	var stored atomic.Int32
	for i := range maxPassing {
		head, tail, contentType := uploadBody(account, "", "ask", fmt.Sprintf("Many %d.txt", i))
		head = strings.Repeat("x\r\n", 3<<10) + head // more than the client buffers
		reader, writer := io.Pipe()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/files/upload", reader)
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = int64(len(head) + 1 + len(tail))
		req.Header.Set("Content-Type", contentType)
		req.Header.Set("Sec-Fetch-Site", "same-origin")
		begun := make(chan struct{})
		done.Go(func() {
			if res, err := b.Do(req); err == nil {
				res.Body.Close()
				if res.StatusCode == http.StatusOK {
					stored.Add(1)
				}
			}
		})
		done.Go(func() {
			io.WriteString(writer, head)
			close(begun)
			<-stop
			io.WriteString(writer, "x"+tail)
			writer.Close()
		})
		<-begun
	}
	refused := false
	for range 500 { // until all have arrived there
		a := b.upload("", "rename", "More.txt", "x", s.script()...)
		if refused = a.StatusCode == http.StatusTooManyRequests; refused {
			a.want(http.StatusTooManyRequests, `"title":"Too many uploads at once"`)
			break
		}
	}
	close(stop)
	done.Wait()
	if !refused || stored.Load() != maxPassing {
		t.Errorf("refused %t; %d of %d were stored", refused, stored.Load(), maxPassing)
	}
	b.upload("", "rename", "More.txt", "x").want(http.StatusOK)
}

// What takes longer than the server allows for a request goes on as long as bytes
// come.
func TestSlowTransfers(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(nil)
	server.Config.ReadTimeout, server.Config.WriteTimeout = 500*time.Millisecond, 500*time.Millisecond
	s := newSiteOn(t, server)
	b := s.writer(msauthtest.Ada)
	head, tail, contentType := uploadBody(b.account(), "", "ask", "Slow.txt")
	const content = "0123456789"
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/files/upload",
		io.MultiReader(strings.NewReader(head), &slowReader{content}, strings.NewReader(tail)))
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = int64(len(head) + len(content) + len(tail))
	a := b.do(req, "Content-Type", contentType, "Sec-Fetch-Site", "same-origin").want(http.StatusOK, "Uploaded “Slow.txt”.")

	s.ms.Set(func(b *msauthtest.Behavior) {
		b.Delay = map[msauthtest.Kind]time.Duration{msauthtest.Download: time.Second}
	})
	if got := b.get(a.link("Slow.txt")).want(http.StatusOK).body; got != content {
		t.Errorf("%q is stored, want %q", got, content)
	}
}

// A slowReader takes a tenth of a second for each byte.
type slowReader struct{ rest string }

func (s *slowReader) Read(p []byte) (int, error) {
	if s.rest == "" {
		return 0, io.EOF
	}
	time.Sleep(100 * time.Millisecond)
	n := copy(p[:1], s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

type failingReader struct{ err error }

func (f failingReader) Read([]byte) (int, error) { return 0, f.err }

// The script's way: an upload session, whose URL the browser uses itself.
func TestUploadSession(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.writer(msauthtest.Ada)
	in := b.get("/files").id("Documents")
	page := b.get("/files/upload?in=" + in)
	for _, origin := range []string{"http://localhost:", "http://127.0.0.1:"} {
		if policy := page.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "connect-src 'self' ") || !strings.Contains(policy, origin) {
			t.Errorf("policy %q, want %s in it", policy, origin)
		}
	}
	if policy := b.get("/files").Header.Get("Content-Security-Policy"); !strings.Contains(policy, "connect-src 'self';") {
		t.Errorf("policy %q of another page", policy)
	}
	account := b.account()
	start := func(document string) *answer {
		document = strings.Replace(document, "{", `{"account":"`+account+`",`, 1)
		return b.body("/files/upload-session", "application/json", strings.NewReader(document), s.script()...)
	}
	a := start(`{"in":"` + in + `","name":"Direct.txt","size":5,"conflict":"ask","modified":"2026-01-02T03:04:05Z"}`).want(http.StatusOK)
	if got := a.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control %q, want no-store", got)
	}
	var session struct {
		ID, URL string
		Chunk   int
	}
	if err := json.Unmarshal([]byte(a.body), &session); err != nil || session.Chunk%graph.ChunkUnit != 0 || session.ID == "" {
		t.Fatalf("%s: %v", a.body, err)
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPut, session.URL, strings.NewReader("Hello"))
	req.Header.Set("Content-Range", "bytes 0-4/5")
	res, err := http.DefaultClient.Do(req)
	if err != nil || res.StatusCode != http.StatusCreated {
		t.Fatal(res, err)
	}
	res.Body.Close()
	if got := b.get(b.get("/files/" + in).link("Direct.txt")).body; got != "Hello" {
		t.Errorf("stored %q", got)
	}

	start(`{"in":"`+in+`","name":"direct.TXT","size":5}`).want(http.StatusConflict, `"title":"The name is taken"`)
	for document, status := range map[string]int{
		`{"name":"a?b","size":5}`: http.StatusBadRequest, `{"name":"a/../b","size":5}`: http.StatusBadRequest, `{"name":"","size":5}`: http.StatusBadRequest,
		`{"name":"a","size":0}`: http.StatusBadRequest, `{"name":"a","size":5,"conflict":"x"}`: http.StatusBadRequest, `{`: http.StatusBadRequest,
		`{"name":"a","size":300000000000}`: http.StatusRequestEntityTooLarge, `{"in":"NOSUCHID","name":"a","size":5}`: http.StatusNotFound,
	} {
		start(document).want(status, `"title"`)
	}

	// What the browser cannot cancel, the app can: its own sessions only.
	a = start(`{"name":"Never.txt","size":5}`).want(http.StatusOK)
	if err := json.Unmarshal([]byte(a.body), &session); err != nil {
		t.Fatal(err)
	}
	cancel := func(b *browser) {
		b.body("/files/upload-session/cancel", "application/json", strings.NewReader(`{"id":"`+session.ID+`"}`), s.script()...).want(http.StatusOK)
	}
	mia := s.writer(msauthtest.Mia)
	s.ms.ResetCalls()
	cancel(mia)
	if n := s.ms.Count(msauthtest.Upload); n != 0 {
		t.Error("somebody else has cancelled an upload")
	}
	cancel(b)
	cancel(b)
	if calls := s.ms.Calls(msauthtest.Upload); len(calls) != 1 || calls[0].Method != http.MethodDelete {
		t.Errorf("%d requests to the upload URL, want one that cancels it", len(calls))
	}
	if log := s.log.String(); strings.Contains(log, session.URL) || strings.Contains(log, "/upload/") {
		t.Errorf("the log has an upload URL:\n%s", log)
	}
}

// A large file goes through the app in little memory: 100 MB, or 1 GB with
// MSAUTH_TEST_LONG.
func TestUploadMemory(t *testing.T) {
	size := int64(100 << 20)
	if os.Getenv("MSAUTH_TEST_LONG") != "" {
		size = 1 << 30
	}
	s := newSite(t)
	b := s.writer(msauthtest.Ada)
	b.Timeout = 10 * time.Minute
	head, tail, contentType := uploadBody(b.account(), "", "ask", "Large.bin")
	var most uint64
	before := heap()
	content := io.TeeReader(io.LimitReader(zeros{}, size), &watcher{every: size / 20, look: func() { most = max(most, heap()) }})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/files/upload", io.MultiReader(strings.NewReader(head), content, strings.NewReader(tail)))
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = int64(len(head)+len(tail)) + size
	b.do(req, "Content-Type", contentType, "Sec-Fetch-Site", "same-origin").want(http.StatusOK, "Uploaded “Large.bin”.")
	grown := int64(most) - int64(before)
	t.Logf("%d MB: at most %.1f MB more than before", size>>20, float64(grown)/(1<<20))
	if grown > 16<<20 {
		t.Errorf("%d MB more than before, want at most 16", grown>>20)
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A watcher looks each time that so many bytes have passed.
type watcher struct {
	every, n int64
	look     func()
}

func (w *watcher) Write(p []byte) (int, error) {
	if w.n += int64(len(p)); w.n >= w.every {
		w.n = 0
		w.look()
	}
	return len(p), nil
}
