package graph_test

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/msauth/graph"
)

// A drive is a OneDrive in memory whose answers tests can replace. It is a
// RoundTripper, so that it works in bubbles of testing/synctest. Graph is at
// graph.example, and a storage host at storage.example, which nobody may show a
// token.
type drive struct {
	t *testing.T

	// instead, if not nil, answers a request in the drive's place: with its return
	// value, or not if both are nil. done says that the drive has done what the
	// request asked for, and its answer is res.
	before func(r *http.Request) (*http.Response, error)
	after  func(r *http.Request, res *http.Response) (*http.Response, error)

	mu       sync.Mutex
	files    map[string]*file // by path
	sessions map[string]*session
	bins     int
	calls    []string // method and path
	noHash   bool     // items have no hashes yet
	chunks   []int
}

type file struct {
	id, cTag string
	hash     string
	content  []byte
	created  time.Time
}

type session struct {
	path, conflict string
	got            []byte
}

const (
	graphBase = "https://graph.example/v1.0"
	unit      = graph.ChunkUnit
)

func newDrive(t *testing.T) *drive {
	return &drive{t: t, files: map[string]*file{}, sessions: map[string]*session{}}
}

// client returns a client that adds a token to everything, as one of package
// oauth2 does.
func (d *drive) client() *graph.Client {
	return graph.New(&http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer secret")
		return d.RoundTrip(r)
	})}, graphBase).WithStorage(d)
}

func (d *drive) myFiles() *graph.Files { return d.client().Files("") }

var errDropped = errors.New("connection reset by peer")

func (d *drive) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls = append(d.calls, r.Method+" "+r.URL.Path)
	if token := r.Header.Get("Authorization"); (r.URL.Host == "graph.example") != (token != "") {
		d.t.Errorf("%s %s: Authorization is %q", r.Method, r.URL, token)
	}
	if d.before != nil {
		if res, err := d.before(r); res != nil || err != nil {
			if r.Body != nil {
				io.Copy(io.Discard, r.Body)
			}
			return res, err
		}
	}
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
		r.Body.Close()
	}
	res := d.answer(r, body)
	if d.after != nil {
		if other, err := d.after(r, res); other != nil || err != nil {
			return other, err
		}
	}
	return res, nil
}

func (d *drive) answer(r *http.Request, body []byte) *http.Response {
	if r.URL.Host == "storage.example" {
		id := path.Base(r.URL.Path)
		if strings.HasPrefix(r.URL.Path, "/upload/") {
			return d.upload(r, id, body)
		}
		for _, f := range d.files {
			if f.id == id {
				return ranged(r, f.content, `"`+f.cTag+`"`)
			}
		}
		return fault(404, "itemNotFound")
	}
	below := strings.TrimPrefix(r.URL.Path, "/v1.0/me/drive")
	if id, ok := strings.CutPrefix(below, "/items/"); ok {
		for name, f := range d.files {
			if f.id == id {
				return d.item(200, name)
			}
		}
		return fault(404, "itemNotFound")
	}
	name, action, _ := strings.Cut(strings.TrimPrefix(below, "/root:/"), ":/")
	if below == "/root/children" {
		action, name = "children", ""
	}
	switch r.Method + " " + action {
	case "GET ":
		if d.files[name] == nil {
			return fault(404, "itemNotFound")
		}
		return d.item(200, name)
	case "GET children":
		var value []json.RawMessage
		for _, child := range slices.Sorted(maps.Keys(d.files)) {
			if strings.Trim(path.Dir(child), ".") == name {
				doc, _ := io.ReadAll(d.item(200, child).Body)
				value = append(value, doc)
			}
		}
		return answerDoc(200, map[string]any{"value": value})
	case "PUT content":
		return d.store(name, r.URL.Query().Get("@microsoft.graph.conflictBehavior"), body)
	case "POST createUploadSession":
		var ask struct {
			Item struct {
				Conflict string `json:"@microsoft.graph.conflictBehavior"`
			}
		}
		json.Unmarshal(body, &ask)
		if d.files[name] != nil && ask.Item.Conflict == "fail" {
			return fault(409, "nameAlreadyExists")
		}
		d.bins++
		id := fmt.Sprint("session-", d.bins)
		d.sessions[id] = &session{path: name, conflict: ask.Item.Conflict}
		return answerDoc(200, map[string]any{
			"uploadUrl": "https://storage.example/upload/" + id, "expirationDateTime": time.Now().Add(time.Hour), "nextExpectedRanges": []string{"0-"},
		})
	}
	return fault(400, "invalidRequest")
}

func (d *drive) upload(r *http.Request, id string, body []byte) *http.Response {
	s := d.sessions[id]
	if s == nil {
		return fault(404, "itemNotFound")
	}
	status := func(code int) *http.Response {
		return answerDoc(code, map[string]any{"expirationDateTime": time.Now().Add(time.Hour), "nextExpectedRanges": []string{fmt.Sprint(len(s.got), "-")}})
	}
	switch r.Method {
	case "GET":
		return status(200)
	case "DELETE":
		delete(d.sessions, id)
		return answerDoc(204, nil)
	}
	var first, last, size int
	if n, _ := fmt.Sscanf(r.Header.Get("Content-Range"), "bytes %d-%d/%d", &first, &last, &size); n != 3 || last-first+1 != len(body) || last >= size || last < first {
		d.t.Errorf("Content-Range %q for %d bytes", r.Header.Get("Content-Range"), len(body))
		return fault(400, "invalidRequest")
	}
	if last+1 < size && len(body)%unit != 0 {
		d.t.Errorf("a chunk of %d bytes", len(body))
	}
	if first != len(s.got) {
		return fault(416, "invalidRange")
	}
	s.got = append(s.got, body...)
	d.chunks = append(d.chunks, len(body))
	if len(s.got) < size {
		return status(202)
	}
	delete(d.sessions, id)
	return d.store(s.path, s.conflict, s.got)
}

func (d *drive) store(name, conflict string, content []byte) *http.Response {
	status := 201
	if d.files[name] != nil {
		switch conflict {
		case "rename":
			ext := path.Ext(name)
			for n := 1; d.files[name] != nil; n++ {
				name = strings.TrimSuffix(name, ext) + " " + strconv.Itoa(n) + ext
			}
		case "replace":
			status = 200
		default:
			return fault(409, "nameAlreadyExists")
		}
	}
	d.put(name, content)
	return d.item(status, name)
}

func (d *drive) put(name string, content []byte) *file {
	d.bins++
	id := fmt.Sprint("ITEM!", d.bins)
	if old := d.files[name]; old != nil {
		id = old.id
	}
	d.files[name] = &file{id: id, cTag: fmt.Sprint("c", d.bins), hash: quickXor(content), content: bytes.Clone(content), created: time.Now()}
	return d.files[name]
}

func (d *drive) item(status int, name string) *http.Response {
	f := d.files[name]
	doc := map[string]any{
		"id": f.id, "name": path.Base(name), "size": len(f.content), "cTag": f.cTag, "createdDateTime": f.created.UTC(),
		"file":                         map[string]any{"hashes": map[string]any{"quickXorHash": f.hash}},
		"@microsoft.graph.downloadUrl": "https://storage.example/download/" + f.id,
	}
	if d.noHash {
		doc["file"] = map[string]any{}
	}
	return answerDoc(status, doc)
}

func quickXor(content []byte) string {
	h := graph.NewQuickXorHash()
	h.Write(content)
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

// answerDoc is an answer with a JSON document, or none.
func answerDoc(status int, doc any) *http.Response {
	var body []byte
	if doc != nil {
		body, _ = json.Marshal(doc)
	}
	return text(status, string(body))
}

func fault(status int, code string) *http.Response {
	return answerDoc(status, map[string]any{"error": map[string]any{"code": code, "message": "A message."}})
}

func text(status int, body string, header ...string) *http.Response {
	res := &http.Response{
		StatusCode: status, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{},
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
	}
	for i := 0; i+1 < len(header); i += 2 {
		res.Header.Set(header[i], header[i+1])
	}
	return res
}

// ranged answers a request for a part of content, as a storage host does.
func ranged(r *http.Request, content []byte, eTag string) *http.Response {
	first, last, status := 0, len(content)-1, 200
	if spec, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok && cmp.Or(r.Header.Get("If-Range"), eTag) == eTag {
		from, to, _ := strings.Cut(spec, "-")
		first, _ = strconv.Atoi(from)
		if n, err := strconv.Atoi(to); err == nil {
			last = min(n, last)
		}
		if status = 206; first > last {
			return text(416, "")
		}
	}
	part := content[first : last+1]
	res := text(status, string(part), "ETag", eTag)
	if status == 206 {
		res.Header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, len(content)))
	}
	return res
}

// cut lets a body end with an error after n bytes.
func cut(res *http.Response, n int) *http.Response {
	whole, _ := io.ReadAll(res.Body)
	res.Body = io.NopCloser(io.MultiReader(bytes.NewReader(whole[:min(n, len(whole))]), failing{}))
	return res
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errDropped }

// content returns bytes that are not the same anywhere, and differ with n.
func content(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte(binary.LittleEndian.AppendUint64(make([]byte, 24), uint64(n)))).Read(b)
	return b
}

// once hides that a reader can seek.
type once struct{ io.Reader }

// count returns how often a request was made, by a prefix of method and path.
func (d *drive) count(prefix string) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, call := range d.calls {
		if strings.HasPrefix(call, prefix) {
			n++
		}
	}
	return n
}

// has requires that the drive holds exactly these files.
func (d *drive) has(t *testing.T, want map[string][]byte) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if got, want := slices.Sorted(maps.Keys(d.files)), slices.Sorted(maps.Keys(want)); !slices.Equal(got, want) {
		t.Errorf("the drive has %q, want %q", got, want)
		return
	}
	for name, content := range want {
		if !bytes.Equal(d.files[name].content, content) {
			t.Errorf("%s has %d bytes, and they are not the %d that were sent", name, len(d.files[name].content), len(content))
		}
	}
}
