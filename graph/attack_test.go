package graph_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
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
	"example.com/msauth/internal/bearer"
	"golang.org/x/oauth2"
)

// perConnection answers each connection with a function of its own.
func perConnection(t *testing.T, serve func(net.Conn)) (host string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	return l.Addr().String()
}

// Once a server has switched protocols, net/http leaves the connection to the
// caller, and no context ends a read of it.
func TestAnAnswer101EndsWithTheContext(t *testing.T) {
	t.Parallel()
	held := make(chan struct{})
	t.Cleanup(func() { close(held) })
	host := perConnection(t, func(conn net.Conn) {
		defer conn.Close()
		conn.Read(make([]byte, 4096))
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		<-held
	})
	c := graph.New(nil, "http://"+host+"/v1.0")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := graph.Get[struct{}](ctx, c, "me")
		ended <- err
	}()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("no error")
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the call goes on 5 seconds after its context has ended")
	}
}

// net/http writes a Location that it cannot parse into its error.
func TestNoLocationInAnError(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"https://storage.example/%zz?tempauth=SECRET", "https://storage.example:port/?tempauth=SECRET"} {
		for _, from := range []string{"graph.example", "storage.example"} {
			for _, status := range []int{301, 302, 303, 307, 308} {
				synctest.Test(t, func(t *testing.T) {
					d := newDrive(t)
					d.put("a", []byte("hello"))
					d.before = func(r *http.Request) (*http.Response, error) {
						if r.URL.Host == from {
							return text(status, "", "Location", bad), nil
						}
						return nil, nil
					}
					_, err := d.myFiles().Download(t.Context(), graph.Ref{Path: "a"}, graph.DownloadOptions{})
					if err == nil || strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), "SECRET") {
						t.Errorf("%s, %d: %v", from, status, err)
					}
					_, err = d.client().Photo(t.Context(), "me", 0)
					if err == nil || strings.Contains(err.Error(), "SECRET") {
						t.Errorf("%s, %d: %v", from, status, err)
					}
				})
			}
		}
	}
}

// A host, or a proxy in front of it, may repeat the URL in its message.
func TestNoURLInAMessage(t *testing.T) {
	t.Parallel()
	for _, form := range []func(*http.Request) string{
		func(r *http.Request) string { return r.URL.String() },
		func(r *http.Request) string { return r.URL.RequestURI() },
		func(r *http.Request) string { return r.URL.RawQuery },
	} {
		host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.URL.Scheme, r.URL.Host = "http", r.Host
			w.WriteHeader(400)
			fmt.Fprintf(w, `{"error":{"code":"invalidRequest","message":"I do not like %s, sorry"}}`, form(r))
		}))
		defer host.Close()
		c := graph.New(nil, "http://localhost/v1.0")
		op, err := c.Operation(graph.SecretURL(host.URL + "/monitor/0123456789?tempauth=SECRET"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := op.Status(t.Context()); err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%v", err)
		}
	}
}

// sessionClient is like what Session.Client returns: it waits where an API asks it
// to.
func sessionClient(ctx context.Context, base http.RoundTripper, host string) *http.Client {
	return &http.Client{Transport: &bearer.Transport{
		Ctx: ctx,
		Token: func(context.Context, []string) (*oauth2.Token, error) {
			return &oauth2.Token{AccessToken: "secret"}, nil
		},
		Hosts: map[string][]string{host: nil}, Base: base,
	}}
}

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
			_, err := c.Files("").Upload(t.Context(), graph.Ref{Path: "a"}, bytes.NewReader(content(11<<20)), 11<<20, graph.UploadOptions{})
			if err == nil {
				t.Error("no error")
			}
			t.Log(err)
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

// What comes instead of a file's content, from a proxy or from a storage host in
// trouble, is not the file.
func TestDownloadOfSomethingElse(t *testing.T) {
	t.Parallel()
	file := content(100_000)
	for _, test := range []struct {
		name   string
		answer func() *http.Response
	}{
		{"a page with status 200", func() *http.Response {
			return text(200, "<html>Our services aren't available right now</html>", "Content-Type", "text/html; charset=utf-8")
		}},
		{"the beginning as if it were all", func() *http.Response { return text(200, string(file[:500])) }},
		{"the beginning as if it were all, in a range", func() *http.Response {
			return text(206, string(file[:500]), "Content-Range", "bytes 0-499/500")
		}},
		{"nothing", func() *http.Response { return text(200, "") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := newDrive(t)
				d.put("a.bin", file)
				d.before = func(r *http.Request) (*http.Response, error) {
					if r.URL.Host == "storage.example" {
						return test.answer(), nil
					}
					return nil, nil
				}
				got, err := download(t, d, graph.DownloadOptions{})
				if err == nil {
					t.Errorf("%d bytes of %d, and no error", len(got), len(file))
				}
			})
		})
	}
}

func download(t *testing.T, d *drive, o graph.DownloadOptions) ([]byte, error) {
	t.Helper()
	in, err := d.myFiles().Download(t.Context(), graph.Ref{Path: "a.bin"}, o)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	return io.ReadAll(in)
}

// An item may be said to be empty for a while.
func TestDownloadOfAFileThatIsSaidToBeEmpty(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDrive(t)
		d.noHash = true
		d.put("a.bin", nil)
		d.before = func(r *http.Request) (*http.Response, error) {
			if r.URL.Host == "storage.example" {
				res := text(200, "hello")
				res.ContentLength = -1
				return res, nil
			}
			return nil, nil
		}
		if got, err := download(t, d, graph.DownloadOptions{}); err == nil && string(got) != "hello" {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// Not every storage host has an ETag. Then the CTag tells.
func TestDownloadOfAFileThatChangesWithoutAnETag(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDrive(t)
		d.put("a.bin", bytes.Repeat([]byte("a"), 1000))
		broken := false
		d.after = func(r *http.Request, res *http.Response) (*http.Response, error) {
			if r.URL.Host != "storage.example" {
				return nil, nil
			}
			res.Header.Del("ETag")
			if !broken {
				broken = true
				d.put("a.bin", bytes.Repeat([]byte("b"), 1000))
				return cut(res, 100), nil
			}
			return res, nil
		}
		got, err := download(t, d, graph.DownloadOptions{Length: 900})
		if !errors.Is(err, graph.ErrChanged) {
			t.Errorf("%d a, %d b, %v, want ErrChanged", bytes.Count(got, []byte("a")), bytes.Count(got, []byte("b")), err)
		}
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

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

// A redirect is not a picture.
func TestAStreamAfter303(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDrive(t)
		d.before = func(r *http.Request) (*http.Response, error) {
			if r.URL.Host == "graph.example" {
				return text(303, "See there", "Location", "https://storage.example/picture"), nil
			}
			return text(200, "a picture"), nil
		}
		s, err := d.client().Photo(t.Context(), "me", 0)
		if err != nil {
			return
		}
		defer s.Close()
		if got, _ := io.ReadAll(s); string(got) != "a picture" {
			t.Errorf("the photo is %q", got)
		}
	})
}

func TestNoSharingLinkInTheErrorOfCreateLink(t *testing.T) {
	t.Parallel()
	c, _ := clientOf(reply(200, `{"id":"1"}`))
	_, err := c.Files("shares/u!SECRET").CreateLink(t.Context(), graph.Ref{}, graph.LinkOptions{})
	if err == nil || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("%v", err)
	}
}

// A question mark would make a query of all that follows: DELETE groups/1?/items/2
// deletes the group.
func TestADriveWithAQuery(t *testing.T) {
	t.Parallel()
	for _, drive := range []string{"groups/1?x=", "me/drive#", "me?"} {
		c, w := clientOf(reply(204, ""))
		err := c.Files(drive).Delete(t.Context(), graph.Ref{ID: "2"})
		if _, ok := errors.AsType[*graph.InvalidError](err); !ok || len(w.got) > 0 {
			t.Errorf("%q: %v, %+v", drive, err, w.got)
		}
	}
	c, w := clientOf(reply(200, "{}"))
	_, err := c.Photo(t.Context(), "me?x=", 0)
	if _, ok := errors.AsType[*graph.InvalidError](err); !ok || len(w.got) > 0 {
		t.Errorf("a photo: %v, %+v", err, w.got)
	}
}

func TestTheItemOfACopyIsAnID(t *testing.T) {
	t.Parallel()
	for location, want := range map[string]string{
		"": "", "/": "", "https://storage.example/": "", "https://storage.example/v2/drive/items/01AB!2?tempauth=SECRET#x": "01AB!2",
		"https://storage.example/items/..": "", "https://storage.example/items('01AB')": "",
	} {
		d := newDrive(t)
		d.before = func(r *http.Request) (*http.Response, error) {
			res := text(303, "")
			if location != "" {
				res.Header.Set("Location", location)
			}
			return res, nil
		}
		op, err := d.client().Operation("https://storage.example/monitor")
		if err != nil {
			t.Fatal(err)
		}
		if s, err := op.Status(t.Context()); err != nil || !s.Done || s.ItemID != want {
			t.Errorf("%q: %+v, %v", location, s, err)
		}
	}
}

func TestTheStatusOfAnExpiredSession(t *testing.T) {
	t.Parallel()
	for status, code := range map[int]string{401: "expiredToken", 404: "itemNotFound", 400: "uploadSessionFailed"} {
		d := newDrive(t)
		s, err := d.myFiles().StartUpload(t.Context(), graph.Ref{Path: "a"}, 10, graph.UploadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		d.before = func(r *http.Request) (*http.Response, error) { return fault(status, code), nil }
		if _, err := d.client().UploadStatus(t.Context(), s); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%d: %v is not fs.ErrNotExist", status, err)
		}
	}
}

func TestAHeaderThatHTTPCannotCarry(t *testing.T) {
	t.Parallel()
	c := serve(t, func(http.ResponseWriter, *http.Request) {})
	for _, h := range []http.Header{{"If-Match": {"a\r\nX: y"}}, {"A b": {"c"}}, {"": {"c"}}} {
		_, err := graph.Get[struct{}](t.Context(), c, "me", graph.Query{Header: h})
		if _, ok := errors.AsType[*graph.InvalidError](err); !ok {
			t.Errorf("%q: %v (%T)", h, err, err)
		}
	}
}

func TestZeroValuesDoNotPanic(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for name, f := range map[string]func() error{
		"Client":    func() error { _, err := graph.Get[struct{}](ctx, new(graph.Client), "me"); return err },
		"no Client": func() error { _, err := graph.Get[struct{}](ctx, nil, "me"); return err },
		"Files":     func() error { _, err := new(graph.Files).Stat(ctx, graph.Ref{}); return err },
		"Upload": func() error {
			_, err := new(graph.Files).Upload(ctx, graph.Ref{Path: "a"}, strings.NewReader("a"), 1, graph.UploadOptions{})
			return err
		},
		"Operation":        func() error { _, err := new(graph.Operation).Wait(ctx, nil); return err },
		"Client.Operation": func() error { _, err := new(graph.Client).Operation("https://a.example/"); return err },
		"Download":         func() error { _, err := io.ReadAll(new(graph.Download)); return err },
		"Close":            func() error { new(graph.Download).Close(); return errDropped },
		"Changes": func() error {
			for _, err := range new(graph.Changes[int]).All(ctx) {
				return err
			}
			return nil
		},
		"Delta": func() error {
			for _, err := range graph.Delta[int](nil, "a").All(ctx) {
				return err
			}
			return nil
		},
		"Batch": func() error { _, err := new(graph.Client).Batch(ctx, graph.BatchRequest{Path: "me"}); return err },
		"Status": func() error {
			_, err := new(graph.Client).UploadStatus(ctx, graph.UploadSession{URL: "https://a.example/"})
			return err
		},
		"Resume": func() error {
			_, err := new(graph.Client).ResumeUpload(ctx, graph.UploadSession{}, nil, graph.UploadOptions{})
			return err
		},
		"Response": func() error { return graph.BatchResponse{}.Err() },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if r := recover(); r != nil {
					t.Errorf("panic: %v", r)
				}
			}()
			if err := f(); err == nil {
				t.Error("no error")
			}
		})
	}
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

// The root is a folder as any other.
func TestASlashIsTheRoot(t *testing.T) {
	t.Parallel()
	c, _ := clientOf(reply(200, `{"id":"1"}`))
	if _, err := c.Files("").Stat(t.Context(), graph.Ref{Path: "/"}); err != nil {
		t.Error(err)
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

func TestContextsThatAreDone(t *testing.T) {
	d := newDrive(t)
	d.put("a", content(10))
	cause := errors.New("cause")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	c, f := d.client(), d.myFiles()
	for name, do := range map[string]func() error{
		"get": func() error { _, err := graph.Get[struct{}](ctx, c, "me"); return err },
		"up": func() error {
			_, err := f.Upload(ctx, graph.Ref{Path: "b"}, strings.NewReader("a"), 1, graph.UploadOptions{})
			return err
		},
		"up0": func() error {
			_, err := f.Upload(ctx, graph.Ref{Path: "b"}, strings.NewReader(""), 0, graph.UploadOptions{})
			return err
		},
		"upR": func() error {
			_, err := f.Upload(ctx, graph.Ref{Path: "b"}, strings.NewReader("a"), 1, graph.UploadOptions{Conflict: graph.Replace})
			return err
		},
		"down":  func() error { _, err := f.Download(ctx, graph.Ref{Path: "a"}, graph.DownloadOptions{}); return err },
		"batch": func() error { _, err := c.Batch(ctx, graph.BatchRequest{Path: "me"}); return err },
		"photo": func() error { _, err := c.Photo(ctx, "me", 0); return err },
		"copy":  func() error { _, err := f.Copy(ctx, graph.Ref{Path: "a"}, graph.Ref{}, "", graph.Fail); return err },
		"wait":  func() error { o, _ := c.Operation("https://storage.example/x"); _, err := o.Wait(ctx, nil); return err },
		"list": func() error {
			for _, err := range f.List(ctx, graph.Ref{}) {
				return err
			}
			return nil
		},
		"delta": func() error {
			for _, err := range graph.Delta[int](c, "me/drive/root/delta").All(ctx) {
				return err
			}
			return nil
		},
		"resume": func() error {
			_, err := c.ResumeUpload(ctx, graph.UploadSession{URL: "https://storage.example/upload/1", Size: 1}, strings.NewReader("a"), graph.UploadOptions{})
			return err
		},
		"cancel": func() error {
			return c.CancelUpload(ctx, graph.UploadSession{URL: "https://storage.example/upload/1", Size: 1})
		},
	} {
		if err := do(); !errors.Is(err, cause) {
			t.Errorf("%s: %v", name, err)
		}
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

// Graph, too, can be out of reach for a moment when it is asked for another URL.
func TestDownloadSurvivesALostConnectionToGraph(t *testing.T) {
	t.Parallel()
	for _, eTag := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			d := newDrive(t)
			want := content(1000)
			d.put("a.bin", want)
			storage, asked := 0, 0
			d.before = func(r *http.Request) (*http.Response, error) {
				if r.URL.Host == "graph.example" {
					if asked++; asked == 2 || asked == 3 {
						return nil, io.ErrUnexpectedEOF
					}
				} else if storage++; storage == 2 && eTag {
					return fault(401, "expiredToken"), nil
				}
				return nil, nil
			}
			d.after = func(r *http.Request, res *http.Response) (*http.Response, error) {
				if r.URL.Host != "storage.example" {
					return nil, nil
				}
				if !eTag {
					res.Header.Del("ETag")
				}
				if storage == 1 {
					return cut(res, 100), nil
				}
				return res, nil
			}
			got, err := download(t, d, graph.DownloadOptions{})
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}

// Work accounts have upload URLs whose last name begins codes too.
func TestACodeIsNotHidden(t *testing.T) {
	t.Parallel()
	c, _ := clientOf(reply(500, ""))
	host := roundTripper(func(*http.Request) (*http.Response, error) {
		return answerDoc(400, map[string]any{"error": map[string]any{"code": "invalidRequest", "message": "No.", "innererror": map[string]any{"code": "uploadSessionFailed"}}}), nil
	})
	_, err := c.WithStorage(host).UploadStatus(t.Context(), graph.UploadSession{URL: "https://contoso.example/items/1/uploadSession?guid=1&tempauth=SECRET", Size: 1})
	e, ok := errors.AsType[*graph.Error](err)
	if !ok || e.Code != "invalidRequest" || e.Message != "No." || !e.HasCode("uploadSessionFailed") {
		t.Errorf("%v", err)
	}
}

func TestAStreamThatIsEncoded(t *testing.T) {
	t.Parallel()
	c, _ := clientOf(reply(200, "xxx", "Content-Encoding", "gzip"))
	if _, err := c.Photo(t.Context(), "me", 0); err == nil {
		t.Error("what nobody asked for is taken for a picture")
	}
}

// It must not look as if nothing had happened.
func TestACopyThatCannotBeWatched(t *testing.T) {
	t.Parallel()
	c, _ := clientOf(reply(200, `{"id":"1"}`), reply(202, ""))
	_, err := c.Files("").Copy(t.Context(), graph.Ref{Path: "a"}, graph.Ref{}, "", graph.Fail)
	wantError(t, err, 202, "")
}
