package graph_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"testing"
	"testing/synctest"

	"example.com/msauth/graph"
)

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

func TestAStreamThatIsEncoded(t *testing.T) {
	t.Parallel()
	c, _ := clientOf(reply(200, "xxx", "Content-Encoding", "gzip"))
	if _, err := c.Photo(t.Context(), "me", 0); err == nil {
		t.Error("what nobody asked for is taken for a picture")
	}
}
