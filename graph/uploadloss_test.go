package graph_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth/graph"
)

func TestACallWaitsNoLongerWithTheSessionsClient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &wire{answers: []answerFunc{reply(503, "", "Retry-After", "5")}}
		c := graph.New(sessionClient(t.Context(), w, "graph.example:443"), base)
		began := time.Now()
		_, err := graph.Get[struct{}](t.Context(), c, "me")
		wantError(t, err, 503, "")
		if took := time.Since(began); took > time.Minute || len(w.got) > 6 {
			t.Errorf("%d requests in %v, want 6 in a minute at most", len(w.got), took)
		}
	})
}

func TestAnEmptyFileIsStoredOnceWithTheSessionsClient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDrive(t)
		d.put("a", []byte("old"))
		first := true
		d.after = func(r *http.Request, res *http.Response) (*http.Response, error) {
			if r.Method == "PUT" && first {
				first = false
				return text(503, "", "Retry-After", "1"), nil
			}
			return nil, nil
		}
		c := graph.New(sessionClient(t.Context(), d, "graph.example:443"), graphBase)
		it, err := c.Files("").Upload(t.Context(), graph.Ref{Path: "a"}, strings.NewReader(""), 0, graph.UploadOptions{Conflict: graph.Rename})
		if len(d.files) != 2 {
			t.Errorf("%d files, want the old one and one more: %v, %v", len(d.files), it.Name, err)
		}
	})
}

// A storage host may answer before it has read all of a chunk. net/http goes on
// sending it for a while, and must not find the next one in its place. Run it with
// the race detector.
func TestAChunkIsNotOverwrittenWhileItIsSent(t *testing.T) {
	t.Parallel()
	for _, early := range []string{"202", "503"} {
		t.Run(early, func(t *testing.T) {
			t.Parallel()
			var puts atomic.Int32
			host := perConnection(t, func(conn net.Conn) {
				defer conn.Close()
				b := make([]byte, 8192)
				n, _ := conn.Read(b)
				answer := func(status int, doc string) {
					fmt.Fprintf(conn, "HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s", status, len(doc), doc)
				}
				switch {
				case bytes.HasPrefix(b[:n], []byte("GET ")):
					answer(200, fmt.Sprintf(`{"nextExpectedRanges":["%d-"]}`, 5<<20))
				case puts.Add(1) == 1 && early == "202":
					answer(202, fmt.Sprintf(`{"nextExpectedRanges":["%d-"]}`, 5<<20))
				case early == "503" && puts.Load() == 1:
					answer(503, "")
				default:
					answer(409, "")
				}
				time.Sleep(300 * time.Millisecond)
			})
			graphAt := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				fmt.Fprintf(w, `{"uploadUrl":"http://%s/up"}`, host)
			}))
			defer graphAt.Close()
			c := graph.New(graphAt.Client(), graphAt.URL+"/v1.0")
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			if _, err := c.Files("").Upload(ctx, graph.Ref{Path: "a"}, bytes.NewReader(content(11<<20)), 11<<20, graph.UploadOptions{}); err == nil {
				t.Error("no error")
			}
		})
	}
}

// A drive that takes a chunk and loses it again makes no progress.
func TestUploadGivesUpWhereBytesGetLostAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDrive(t)
		put := 0
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		d.before = func(r *http.Request) (*http.Response, error) {
			if isChunk(r) {
				if put++; put > 60 {
					cancel()
				}
				if put%2 == 0 {
					for _, s := range d.sessions {
						s.got = nil
					}
					return text(503, ""), nil
				}
			}
			return nil, nil
		}
		began := time.Now()
		want := content(4 * unit)
		_, err := d.myFiles().Upload(ctx, graph.Ref{Path: "a"}, bytes.NewReader(want), int64(len(want)), graph.UploadOptions{ChunkSize: unit})
		if took := time.Since(began); put > 60 || took > 2*time.Minute {
			t.Errorf("%v after %v and %d chunks", err, took, put)
		}
	})
}

// The answer to the last bytes is lost, and the file is not what was sent, or not
// there, at the first look. A second upload would make a second file.
func TestALostAnswerNeverMakesASecondFile(t *testing.T) {
	t.Parallel()
	want := content(2 * unit)
	for _, test := range []struct {
		name  string
		store func(d *drive) // what happens to a 1.docx
		see   func(r *http.Request, look int) *http.Response
	}{
		{"SharePoint adds properties to it", func(d *drive) { d.put("a 1.docx", append(bytes.Clone(want), 1, 2, 3)) }, nil},
		{"a picture that grows", func(d *drive) { d.put("a 1.docx", append(bytes.Clone(want), make([]byte, 11)...)) }, nil},
		{"the time is missing", func(d *drive) { d.files["a 1.docx"].created = time.Time{} }, nil},
		{"it can be seen a moment later", nil, func(r *http.Request, look int) *http.Response {
			if look == 1 {
				return answerDoc(200, map[string]any{"value": []any{}})
			}
			return nil
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := newDrive(t)
				d.put("a.docx", []byte("old"))
				time.Sleep(time.Hour)
				put, look := 0, 0
				d.after = func(r *http.Request, res *http.Response) (*http.Response, error) {
					if isChunk(r) {
						if put++; put == 2 {
							if test.store != nil {
								test.store(d)
							}
							return nil, errDropped
						}
					}
					if path.Base(r.URL.Path) == "children" && test.see != nil {
						look++
						return test.see(r, look), nil
					}
					return nil, nil
				}
				it, err := d.myFiles().Upload(t.Context(), graph.Ref{Path: "a.docx"}, bytes.NewReader(want), int64(len(want)), graph.UploadOptions{Conflict: graph.Rename, ChunkSize: unit})
				if len(d.files) != 2 || err != nil && !errors.Is(err, graph.ErrUploadUnknown) {
					t.Errorf("%d files, want the old one and one more: %q, %v", len(d.files), it.Name, err)
				}
			})
		})
	}
}

// The same with Fail: "exists already" would be said about the own file.
func TestALostAnswerIsNotAConflictWithItself(t *testing.T) {
	t.Parallel()
	want := content(2 * unit)
	for _, later := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			d := newDrive(t)
			put, look := 0, 0
			d.after = func(r *http.Request, res *http.Response) (*http.Response, error) {
				if isChunk(r) {
					if put++; put == 2 {
						if !later {
							d.put("a.docx", append(bytes.Clone(want), 1, 2, 3))
						}
						return nil, errDropped
					}
				}
				if r.Method == "GET" && strings.HasSuffix(r.URL.Path, "/a.docx") && later {
					if look++; look == 1 {
						return fault(404, "itemNotFound"), nil
					}
				}
				return nil, nil
			}
			_, err := d.myFiles().Upload(t.Context(), graph.Ref{Path: "a.docx"}, bytes.NewReader(want), int64(len(want)), graph.UploadOptions{ChunkSize: unit})
			if err != nil && !errors.Is(err, graph.ErrUploadUnknown) {
				t.Errorf("seen later: %t: %v", later, err)
			}
		})
	}
}

// A file that is shorter than what was sent has lost bytes.
func TestUploadNoticesAShorterFile(t *testing.T) {
	t.Parallel()
	for _, size := range []int{10, 6 * mib} {
		for _, kept := range []int{0, size - 1} {
			d := newDrive(t)
			d.after = func(r *http.Request, res *http.Response) (*http.Response, error) {
				if res.StatusCode == 201 {
					d.put("a.bin", content(size)[:kept])
					return d.item(201, "a.bin"), nil
				}
				return res, nil
			}
			it, err := d.myFiles().Upload(t.Context(), graph.Ref{Path: "a.bin"}, bytes.NewReader(content(size)), int64(size), graph.UploadOptions{Conflict: graph.Replace})
			if !errors.Is(err, graph.ErrCorrupt) {
				t.Errorf("%d of %d bytes: %d, %v, want ErrCorrupt", kept, size, it.Size, err)
			}
		}
	}
}

func TestUploadOfStrangeContent(t *testing.T) {
	t.Parallel()
	cutOff := fmt.Errorf("copied through: %w", io.ErrUnexpectedEOF)
	for _, test := range []struct {
		name    string
		content io.Reader
		want    error // nil: any
	}{
		{"an error in the middle", io.MultiReader(strings.NewReader("hel"), readerFunc(func([]byte) (int, error) { return 0, errDropped })), errDropped},
		{"a download that was cut off", io.MultiReader(strings.NewReader("hel"), readerFunc(func([]byte) (int, error) { return 0, cutOff })), io.ErrUnexpectedEOF},
		{"nothing and no error", readerFunc(func([]byte) (int, error) { return 0, nil }), nil},
		{"nothing and no error at the end", io.MultiReader(strings.NewReader("hello"), readerFunc(func([]byte) (int, error) { return 0, nil })), nil},
		{"more than asked for", readerFunc(func(p []byte) (int, error) { return len(p) + 1<<20, nil }), nil},
		{"less than nothing", readerFunc(func(p []byte) (int, error) { return -1, nil }), nil},
		{"nil", nil, nil},
	} {
		for _, size := range []int64{5, 6 << 20} {
			for _, conflict := range []graph.Conflict{graph.Fail, graph.Replace} {
				t.Run(fmt.Sprint(test.name, ", ", size, ", ", conflict), func(t *testing.T) {
					d := newDrive(t)
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					ended := make(chan error, 1)
					go func() {
						defer func() {
							if r := recover(); r != nil {
								ended <- nil
								t.Errorf("panic: %v", r)
							}
						}()
						_, err := d.myFiles().Upload(ctx, graph.Ref{Path: "a"}, test.content, size, graph.UploadOptions{Conflict: conflict})
						ended <- err
					}()
					select {
					case err := <-ended:
						if !t.Failed() && (err == nil || test.want != nil && !errors.Is(err, test.want)) {
							t.Errorf("error %v, want %v", err, test.want)
						}
					case <-time.After(4 * time.Second):
						t.Error("it goes on, though its context has ended")
					}
					d.has(t, nil)
				})
			}
		}
	}
	t.Run("an empty file without content", func(t *testing.T) {
		d := newDrive(t)
		defer func() {
			if r := recover(); r != nil {
				t.Errorf("panic: %v", r)
			}
		}()
		if _, err := d.myFiles().Upload(t.Context(), graph.Ref{Path: "a"}, nil, 0, graph.UploadOptions{}); err != nil {
			t.Error(err)
		}
	})
}

// The connection is lost once, while a small file is sent that may be sent again.
func TestASmallFileSurvivesALostConnection(t *testing.T) {
	t.Parallel()
	for _, conflict := range []graph.Conflict{graph.Fail, graph.Replace} {
		synctest.Test(t, func(t *testing.T) {
			d := newDrive(t)
			put := 0
			d.before = func(r *http.Request) (*http.Response, error) {
				if r.Method == "PUT" {
					if put++; put == 1 {
						return nil, io.ErrUnexpectedEOF
					}
				}
				return nil, nil
			}
			if _, err := d.myFiles().Upload(t.Context(), graph.Ref{Path: "a"}, strings.NewReader("hello"), 5, graph.UploadOptions{Conflict: conflict}); err != nil {
				t.Errorf("%v: %v", conflict, err)
			}
		})
	}
}

func TestConcurrentUse(t *testing.T) {
	d := newDrive(t)
	f := d.myFiles()
	var g sync.WaitGroup
	for i := range 8 {
		g.Add(1)
		go func() {
			defer g.Done()
			b := content(2*unit + i)
			name := fmt.Sprint("f", i%4)
			_, err := f.Upload(t.Context(), graph.Ref{Path: name}, bytes.NewReader(b), int64(len(b)), graph.UploadOptions{Conflict: graph.Rename, ChunkSize: unit})
			if err != nil {
				t.Error(err)
			}
			down, err := f.Download(t.Context(), graph.Ref{Path: name}, graph.DownloadOptions{})
			if err != nil {
				t.Error(err)
				return
			}
			io.Copy(io.Discard, down)
			down.Close()
		}()
	}
	g.Wait()
	if len(d.files) != 8 {
		t.Errorf("%d files", len(d.files))
	}
}

func TestCopyThrough(t *testing.T) {
	d := newDrive(t)
	want := content(5*unit + 3)
	d.put("a", want)
	f := d.myFiles()
	down, err := f.Download(t.Context(), graph.Ref{Path: "a"}, graph.DownloadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer down.Close()
	if _, err := f.Upload(t.Context(), graph.Ref{Path: "b"}, down, down.Length, graph.UploadOptions{ChunkSize: unit}); err != nil {
		t.Fatal(err)
	}
	d.has(t, map[string][]byte{"a": want, "b": want})
	down2, _ := f.Download(t.Context(), graph.Ref{Path: "a"}, graph.DownloadOptions{})
	defer down2.Close()
	if _, err := f.Upload(t.Context(), graph.Ref{Path: "a"}, down2, down2.Length, graph.UploadOptions{ChunkSize: unit, Conflict: graph.Replace, Created: time.Now()}); err != nil {
		t.Fatal(err)
	}
}

// net/http makes a GET of a PUT that is redirected with 301, 302 or 303. What that
// finds is no answer to the PUT.
func TestARedirectStoresNothing(t *testing.T) {
	t.Parallel()
	for _, status := range []int{301, 302, 303} {
		d := newDrive(t)
		d.before = func(r *http.Request) (*http.Response, error) {
			switch {
			case isChunk(r):
				return text(status, "", "Location", "https://storage.example/elsewhere"), nil
			case r.URL.Path == "/elsewhere":
				return answerDoc(200, map[string]any{"id": "1", "size": 10, "file": map[string]any{}}), nil
			}
			return nil, nil
		}
		_, err := d.myFiles().Upload(t.Context(), graph.Ref{Path: "a"}, bytes.NewReader(content(10)), 10, graph.UploadOptions{})
		if e, ok := errors.AsType[*graph.Error](err); !ok || e.Status != status {
			t.Errorf("%d: %v", status, err)
		}
	}
}
