package msauthtest_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"example.com/msauth/msauthtest"
)

// A pattern is a stream of bytes that differ with their position.
type pattern struct{ at, size int64 }

// period is a text whose length is no power of two, and no part of one.
var period = strings.Repeat("0123456789abcdefghijklmnopqrstuvwxyz", 100) + "!"

func (p *pattern) Read(b []byte) (int, error) {
	if p.at == p.size {
		return 0, io.EOF
	}
	b = b[:min(int64(len(b)), p.size-p.at)]
	n := copy(b, period[p.at%int64(len(period)):])
	for n < len(b) {
		n += copy(b[n:], period)
	}
	p.at += int64(n)
	return n, nil
}

// stream sends a body of a known size and returns the answer.
func (a *app) stream(method, address, token string, content io.Reader, size int64, headers ...string) (*http.Response, string) {
	a.t.Helper()
	req, err := http.NewRequest(method, address, content)
	if err != nil {
		a.t.Fatal(err)
	}
	req.ContentLength = size
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

// heap returns the number of bytes of live objects.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A large file goes through the server in pieces: neither its upload nor its
// download is ever in memory as a whole.
func TestLargeFileIsNotInMemory(t *testing.T) { // not parallel: it measures the heap
	a := newApp(t, newServer(t))
	drive, token := a.writer(msauthtest.Ada)
	const size, piece = 100 << 20, 20 << 20
	before := heap()
	address := a.beginUpload(drive+"/root:/film.mp4:", token, "")
	want := sha256.New()
	for at := int64(0); at < size; at += piece {
		part := io.TeeReader(&pattern{at, at + piece}, want)
		res, text := a.stream("PUT", address, "", part, piece, "Content-Range", fmt.Sprintf("bytes %d-%d/%d", at, at+piece-1, int64(size)))
		if last := at+piece == size; res.StatusCode != map[bool]int{false: 202, true: 201}[last] {
			t.Fatalf("part at %d: %d %s", at, res.StatusCode, text)
		}
	}
	if grown := heap() - before; grown > 8<<20 {
		t.Errorf("after the upload the heap has %d more bytes", grown)
	}
	film := a.do(200, "GET", drive+"/root:/film.mp4", token, "")
	res, err := a.browser.Get(film.DownloadURL)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got := sha256.New()
	if n, err := io.Copy(got, res.Body); err != nil || n != size || !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
		t.Errorf("download: %d bytes, %v; the content is another", n, err)
	}
	if grown := heap() - before; grown > 8<<20 {
		t.Errorf("after the download the heap has %d more bytes", grown)
	}

	// A simple upload, too.
	res, text := a.stream("PUT", drive+"/root:/second.mp4:/content", token, &pattern{0, size}, size)
	if res.StatusCode != 201 {
		t.Fatalf("PUT: %d %s", res.StatusCode, text)
	}
	if grown := heap() - before; grown > 8<<20 {
		t.Errorf("after the second upload the heap has %d more bytes", grown)
	}
}

func TestLargeFileHasRanges(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	drive, token := a.writer(msauthtest.Mia)
	const size = 1 << 20
	content, _ := io.ReadAll(&pattern{0, size})
	it := a.do(201, "PUT", drive+"/root:/noise.bin:/content", token, string(content))
	for _, r := range [][2]int{{0, 9}, {255 << 10, 257 << 10}, {size - 5, size - 1}} {
		res, text := a.graph(it.DownloadURL, "", "Range", fmt.Sprintf("bytes=%d-%d", r[0], r[1]))
		if res.StatusCode != 206 || text != string(content[r[0]:r[1]+1]) {
			t.Errorf("range %v: %d, %d bytes", r, res.StatusCode, len(text))
		}
	}
	sum := sha256.Sum256(content)
	if got, want := it.File.Hashes["sha256Hash"], strings.ToUpper(hex.EncodeToString(sum[:])); got != want {
		t.Errorf("sha256Hash %s, want %s", got, want)
	}
}

// The vectors of rclone's quickxorhash, and that of 161 times the letter a.
func TestQuickXorHash(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	decoded := func(text string) string {
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for _, user := range []string{msauthtest.Ada, msauthtest.Mia} {
		drive, token := a.writer(user)
		for content, want := range map[string]string{
			decoded("Sg=="):                         "SgAAAAAAAAAAAAAAAQAAAAAAAAA=",
			decoded("0pZP"):                         "0rDEEwAAAAAAAAAAAwAAAAAAAAA=",
			decoded("2fuxhBJXtpWFe8dOfdGeHw=="):     "O9tHLAghgSvYohKFyMMxnNCHaHg=",
			decoded("T6LYJIfDh81JrAK309H2JMJTXis="): "zBTHrspn3mEcohlJdIUAbjGNaNg=",
			decoded("DWAAX5/CIfrmErgZa8ot6ZraeSbu"): "LR2Z0PjuRYGKQB/mhQAuMrAGZbQ=",
			decoded("Mb7EGva2rEE5fENDL85P+BsapHEEjv2/siVhKjvAQe02feExVOQSkfmuYzU/kTF1MaKjPmKF/w+cbvwfdWL8aQ=="): "n1anP5NfvD4XDYWIeRPW3ZkPv1Y=",
			"hello":                  "aCgDG9jwBgAAAAAABQAAAAAAAAA=",
			strings.Repeat("a", 161): "nv//////////////Xv////////8=",
		} {
			hashes := a.do(201, "PUT", drive+"/root:/hashed/x.bin:/content?@microsoft.graph.conflictBehavior=rename", token, content).File.Hashes
			if hashes["quickXorHash"] != want {
				t.Errorf("%s: %d bytes: quickXorHash %s, want %s", user, len(content), hashes["quickXorHash"], want)
			}
			if personal := user == msauthtest.Mia; (hashes["sha256Hash"] != "") != personal || hashes["sha1Hash"] != "" {
				t.Errorf("%s: hashes %v", user, hashes)
			}
		}
		if empty := a.do(201, "PUT", drive+"/root:/hashed/empty:/content", token, ""); len(empty.File.Hashes) != 0 {
			t.Errorf("%s: an empty file has hashes: %v", user, empty.File.Hashes)
		}
	}
}

// half sends the first half of a request's body, and then cuts the connection
// or waits for the function that it returns.
func half(t *testing.T, method, address, token string, size int, headers ...string) (cut func()) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n", method, u.RequestURI(), u.Host, size)
	if token != "" {
		fmt.Fprintf(conn, "Authorization: Bearer %s\r\n", token)
	}
	for i := 0; i < len(headers); i += 2 {
		fmt.Fprintf(conn, "%s: %s\r\n", headers[i], headers[i+1])
	}
	fmt.Fprintf(conn, "\r\n%s", strings.Repeat("x", size/2))
	return func() { conn.Close() }
}

// A body that is cut midway stores nothing. Meanwhile nobody waits for it.
func TestCutBodyStoresNothing(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	drive, token := a.writer(msauthtest.Ada)
	cut := half(t, "PUT", drive+"/root:/cut.bin:/content", token, 2<<20)
	address := a.beginUpload(drive+"/root:/parts.bin:", token, "")
	size := len(uploaded)
	cutPart := half(t, "PUT", address, "", uploadUnit, "Content-Range", fmt.Sprintf("bytes 0-%d/%d", uploadUnit-1, size))
	for a.ms.Count(msauthtest.Upload) < 1 {
		time.Sleep(time.Millisecond)
	}

	a.do(200, "GET", drive+"/root", token, "") // the drive is not locked
	if res, text := a.graph(address, ""); res.StatusCode != 200 || ranges(t, text) != "0-" {
		t.Errorf("status during a part: %d %s", res.StatusCode, text)
	}
	cut()
	cutPart()
	for len(answered(a.ms.Calls(msauthtest.Upload))) < 2 {
		time.Sleep(time.Millisecond)
	}
	a.refused(404, "itemNotFound", "GET", drive+"/root:/cut.bin", token, "")
	if res, text := a.graph(address, ""); res.StatusCode != 200 || ranges(t, text) != "0-" {
		t.Errorf("status after the cut: %d %s", res.StatusCode, text)
	}
	a.put(address, 0, uploadUnit-1, size)
	a.put(address, uploadUnit, 2*uploadUnit-1, size)
	status, text := a.put(address, 2*uploadUnit, size-1, size)
	if status != 201 {
		t.Fatalf("last part: %d %s", status, text)
	}
	if got := a.text(drive, a.do(200, "GET", drive+"/root:/parts.bin", token, "").ID, token); got != uploaded {
		t.Error("the content is another")
	}
}

// answered returns the calls that have an answer.
func answered(calls []msauthtest.Call) (done []msauthtest.Call) {
	for _, c := range calls {
		if c.Status != 0 {
			done = append(done, c)
		}
	}
	return done
}

// Two requests that send the same part at once: one is stored, and its bytes
// stay as they are.
func TestPartThatComesTwiceAtOnce(t *testing.T) {
	t.Parallel()
	ms := newServer(t)
	a := newApp(t, ms)
	drive, token := a.writer(msauthtest.Mia)
	const size = 2 * uploadUnit
	address := a.beginUpload(drive+"/root:/twice.bin:", token, "")
	slow, feed := io.Pipe()
	slowAnswer := make(chan int)
	go func() {
		req, _ := http.NewRequest("PUT", address, slow)
		req.ContentLength = uploadUnit
		req.Header.Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", uploadUnit-1, size))
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			slowAnswer <- 0
			return
		}
		res.Body.Close()
		slowAnswer <- res.StatusCode
	}()
	feed.Write(bytes.Repeat([]byte("s"), 1000))
	for ms.Count(msauthtest.Upload) < 1 {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(10 * time.Millisecond) // the handler has found its session
	if status, text := a.put(address, 0, uploadUnit-1, size); status != 202 {
		t.Fatalf("the fast one: %d %s", status, text)
	}
	feed.Write(bytes.Repeat([]byte("s"), uploadUnit-1000))
	feed.Close()
	if status := <-slowAnswer; status != 416 {
		t.Errorf("the slow one: %d, want 416", status)
	}
	status, text := a.put(address, uploadUnit, size-1, size)
	if status != 201 {
		t.Fatalf("the second part: %d %s", status, text)
	}
	if got := a.text(drive, a.do(200, "GET", drive+"/root:/twice.bin", token, "").ID, token); got != uploaded[:size] {
		t.Error("the content is another")
	}
}

// openFiles returns the number of open files below a directory, including those
// that are removed, or -1 where the system does not tell.
func openFiles(dir string) int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1
	}
	n := 0
	for _, fd := range list {
		if name, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasPrefix(name, dir) {
			n++
		}
	}
	return n
}

// No temporary file is left: neither of contents that nothing refers to, nor
// after the server is closed.
func TestNoTemporaryFileIsLeft(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Setenv("TMP", dir)
	ms := msauthtest.NewServer()
	a := newApp(t, ms)
	drive, token := a.writer(msauthtest.Ada)
	it := a.do(201, "PUT", drive+"/root:/large.bin:/content", token, strings.Repeat("x", 1<<20))
	address := a.beginUpload(drive+"/root:/never.bin:", token, "")
	a.put(address, 0, uploadUnit-1, len(uploaded))
	if got := a.text(drive, it.ID, token); len(got) != 1<<20 {
		t.Errorf("%d bytes", len(got))
	}
	if n := openFiles(dir); n >= 0 {
		if n != 2 {
			t.Errorf("%d open files, want 2", n)
		}
		a.do(204, "POST", drive+"/items/"+it.ID+"/permanentDelete", token, "")
		a.do(204, "DELETE", address, "", "")
		for deadline := time.Now().Add(10 * time.Second); openFiles(dir) != 0; time.Sleep(time.Millisecond) {
			if runtime.GC(); time.Now().After(deadline) {
				t.Fatalf("%d open files after everything is deleted", openFiles(dir))
			}
		}
		a.do(201, "PUT", drive+"/root:/large.bin:/content", token, strings.Repeat("x", 1<<20))
	}
	ms.Close()
	if n := openFiles(dir); n > 0 {
		t.Errorf("%d open files after Close", n)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}
