package graph_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"example.com/msauth/graph"
)

// What the storage host answers is not believed.
func TestDownloadAndWrongAnswers(t *testing.T) {
	t.Parallel()
	want := content(300)
	part := func(status int, body string, header ...string) func(*http.Request) *http.Response {
		return func(*http.Request) *http.Response { return text(status, body, header...) }
	}
	hundred := strings.Repeat("x", 100)
	for _, test := range []struct {
		name   string
		answer func(*http.Request) *http.Response // to the request for bytes 100 to 199
		reason string
	}{
		{"no Content-Range", part(206, hundred), "Content-Range is missing or malformed"},
		{"another unit", part(206, hundred, "Content-Range", "lines 100-199/300"), "Content-Range is missing or malformed"},
		{"negative", part(206, hundred, "Content-Range", "bytes -100-199/300"), "Content-Range is missing or malformed"},
		{"absurd", part(206, hundred, "Content-Range", "bytes 100-199/99999999999999999999999"), "Content-Range is missing or malformed"},
		{"earlier bytes", part(206, hundred, "Content-Range", "bytes 99-198/300"), "Content-Range is not what was asked for"},
		{"later bytes", part(206, hundred, "Content-Range", "bytes 101-200/300"), "Content-Range is not what was asked for"},
		{"more bytes", part(206, hundred+"x", "Content-Range", "bytes 100-200/300"), "Content-Range is not what was asked for"},
		{"backwards", part(206, hundred, "Content-Range", "bytes 100-99/300"), "Content-Range is not what was asked for"},
		{"beyond the size", part(206, hundred, "Content-Range", "bytes 100-199/150"), "Content-Range is not what was asked for"},
		{"another length", part(206, hundred[1:], "Content-Range", "bytes 100-199/300"), "Content-Range is not what was asked for"},
		{"compressed", part(206, hundred, "Content-Range", "bytes 100-199/300", "Content-Encoding", "gzip"), "the content is encoded"},
		{"no content", part(204, ""), "the status is unexpected"},
		{"several parts", part(206, hundred, "Content-Type", "multipart/byteranges; boundary=x"), "Content-Range is missing or malformed"},
		{"a whole file that is too short", func(*http.Request) *http.Response {
			res := text(200, hundred)
			res.ContentLength = 300
			res.Body = io.NopCloser(strings.NewReader(hundred[:50]))
			return res
		}, "it ended too early"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := newDrive(t)
				d.put("a.bin", want)
				d.after = func(r *http.Request, res *http.Response) (*http.Response, error) {
					if isDownload(r) {
						return test.answer(r), nil
					}
					return res, nil
				}
				_, _, err := fetch(t.Context(), d, graph.DownloadOptions{Offset: 100, Length: 100})
				if e, ok := errors.AsType[*graph.Error](err); !ok || e.Op != "download" || !strings.Contains(err.Error(), test.reason) {
					t.Errorf("error %v, want %q", err, test.reason)
				}
			})
		})
	}
}

func TestDownloadOfAFileThatChanges(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(d *drive)
		url    bool // the first URL has expired by then
		eTag   bool // the host sends ETag
	}{
		{"of the same size", func(d *drive) { d.put("a.bin", content(301)[:300]) }, false, true},
		{"of another size", func(d *drive) { d.put("a.bin", content(200)) }, false, true},
		{"of another size, without ETag", func(d *drive) { d.put("a.bin", content(200)) }, false, false},
		{"and its URL expires", func(d *drive) { d.put("a.bin", content(301)[:300]) }, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := newDrive(t)
				d.put("a.bin", content(300))
				n := 0
				d.before = func(r *http.Request) (*http.Response, error) {
					if isDownload(r) {
						if n++; n == 2 {
							test.change(d)
							if test.url {
								return fault(401, "unauthenticated"), nil
							}
						}
					}
					return nil, nil
				}
				d.after = func(r *http.Request, res *http.Response) (*http.Response, error) {
					if !test.eTag {
						res.Header.Del("ETag")
					}
					if isDownload(r) && n == 1 {
						return cut(res, 100), nil
					}
					return res, nil
				}
				if got, _, err := fetch(t.Context(), d, graph.DownloadOptions{}); !errors.Is(err, graph.ErrChanged) || len(got) != 100 {
					t.Errorf("%d bytes, %v, want ErrChanged", len(got), err)
				}
			})
		})
	}
	d := newDrive(t)
	f := d.put("a.bin", content(300))
	if _, _, err := fetch(t.Context(), d, graph.DownloadOptions{Offset: 100, CTag: f.cTag}); err != nil {
		t.Errorf("going on with the same file: %v", err)
	}
	if _, _, err := fetch(t.Context(), d, graph.DownloadOptions{Offset: 100, CTag: "another"}); !errors.Is(err, graph.ErrChanged) {
		t.Errorf("going on with another: %v", err)
	}
}

// Some pictures are sent in another form than the item has: its size and hash are
// not those of the content.
func TestDownloadOfAnotherSizeThanTheItem(t *testing.T) {
	t.Parallel()
	d := newDrive(t)
	d.put("a.heic", content(300))
	d.after = func(r *http.Request, res *http.Response) (*http.Response, error) {
		if isDownload(r) {
			return ranged(r, content(250), ""), nil
		}
		return res, nil
	}
	down, err := d.myFiles().Download(t.Context(), graph.Ref{Path: "a.heic"}, graph.DownloadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer down.Close()
	got, err := io.ReadAll(down)
	if err != nil || !bytes.Equal(got, content(250)) || down.Size != 250 || down.Item.Size != 300 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// Without Content-Length, the size of the item decides.
func TestDownloadWithoutContentLength(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		sent int
		err  error
	}{{300, nil}, {299, io.ErrUnexpectedEOF}, {301, graph.ErrChanged}} {
		t.Run(fmt.Sprint(test.sent), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := newDrive(t)
				d.put("a.bin", content(300))
				d.noHash = true
				d.after = func(r *http.Request, res *http.Response) (*http.Response, error) {
					if isDownload(r) {
						if r.Header.Get("Range") != "" {
							return nil, errDropped
						}
						res = text(200, string(append(content(300), 1)[:test.sent]))
						res.ContentLength = -1
					}
					return res, nil
				}
				got, _, err := fetch(t.Context(), d, graph.DownloadOptions{})
				if test.err == nil && (err != nil || len(got) != 300) || test.err != nil && (err == nil || len(got) >= 300) {
					t.Errorf("%d bytes, %v", len(got), err)
				}
				if test.err == graph.ErrChanged && !errors.Is(err, graph.ErrChanged) {
					t.Errorf("%v, want ErrChanged", err)
				}
			})
		})
	}
}

func TestDownloadOfWhatIsNoFile(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		answer *http.Response
		field  string
	}{
		{"a folder", answerDoc(200, map[string]any{"id": "x", "name": "Documents", "folder": map[string]any{}}), "item"},
		{"a URL that is not https", answerDoc(200, map[string]any{"id": "x", "file": map[string]any{}, "@microsoft.graph.downloadUrl": "http://storage.example/x"}), "storage URL"},
		{"a URL of a file system", answerDoc(200, map[string]any{"id": "x", "file": map[string]any{}, "@microsoft.graph.downloadUrl": "file:///etc/passwd"}), "storage URL"},
		{"a URL with a password", answerDoc(200, map[string]any{"id": "x", "file": map[string]any{}, "@microsoft.graph.downloadUrl": "https://a:b@storage.example/x"}), "storage URL"},
	} {
		d := newDrive(t)
		d.before = func(r *http.Request) (*http.Response, error) { return test.answer, nil }
		if _, _, err := fetch(t.Context(), d, graph.DownloadOptions{}); !isInvalid(err, test.field) || strings.Contains(err.Error(), "storage.example") {
			t.Errorf("%s: %v, want one about the %s", test.name, err, test.field)
		}
		if len(d.calls) != 1 {
			t.Errorf("%s: requests %q", test.name, d.calls)
		}
	}
}

// A file that Microsoft does not hand out is refused at once.
func TestDownloadOfMalware(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDrive(t)
		d.put("a.bin", content(300))
		d.before = func(r *http.Request) (*http.Response, error) {
			if isDownload(r) {
				return fault(403, "malwareDetected"), nil
			}
			return nil, nil
		}
		_, _, err := fetch(t.Context(), d, graph.DownloadOptions{})
		if e, ok := errors.AsType[*graph.Error](err); !ok || !e.HasCode("malwareDetected") || d.count("GET /download/") != 1 {
			t.Errorf("%v after %d requests", err, d.count("GET /download/"))
		}
	})
}
