package graph_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth/graph"
)

// fetch downloads a file and reads it to its end.
func fetch(ctx context.Context, d *drive, o graph.DownloadOptions) ([]byte, *graph.Download, error) {
	down, err := d.myFiles().Download(ctx, graph.Ref{Path: "a.bin"}, o)
	if err != nil {
		return nil, nil, err
	}
	defer down.Close()
	got, err := io.ReadAll(down)
	return got, down, err
}

func isDownload(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/download/") }

func TestDownloadOfAPart(t *testing.T) {
	t.Parallel()
	want := content(1000)
	for _, test := range []struct{ offset, length, first, last int64 }{
		{0, 0, 0, 1000}, {0, 1000, 0, 1000}, {0, 5000, 0, 1000}, {0, 1, 0, 1}, {999, 0, 999, 1000}, {10, 20, 10, 30}, {990, 20, 990, 1000}, {1000, 0, 1000, 1000},
	} {
		for _, ranges := range []bool{true, false} {
			t.Run(fmt.Sprint(test.offset, "+", test.length, ", the host knows ranges: ", ranges), func(t *testing.T) {
				t.Parallel()
				d := newDrive(t)
				d.put("a.bin", want)
				if !ranges {
					d.before = func(r *http.Request) (*http.Response, error) {
						r.Header.Del("Range")
						return nil, nil
					}
				}
				var done, total int64
				got, down, err := fetch(t.Context(), d, graph.DownloadOptions{Offset: test.offset, Length: test.length, Progress: func(d, t int64) { done, total = d, t }})
				if err != nil || !bytes.Equal(got, want[test.first:test.last]) {
					t.Fatalf("%d bytes, %v", len(got), err)
				}
				if n := test.last - test.first; down.Size != 1000 || down.Offset != test.first || down.Length != n || done != n || total != n {
					t.Errorf("size %d, offset %d, length %d, progress %d of %d", down.Size, down.Offset, down.Length, done, total)
				}
			})
		}
	}
	d := newDrive(t)
	d.put("a.bin", want)
	_, _, err := fetch(t.Context(), d, graph.DownloadOptions{Offset: 1001})
	if e, ok := errors.AsType[*graph.Error](err); !ok || e.Status != 416 {
		t.Errorf("beyond the end: %v", err)
	}
	if _, _, err = fetch(t.Context(), d, graph.DownloadOptions{Offset: -1}); !isInvalid(err, "offset") {
		t.Errorf("before the beginning: %v", err)
	}
	d.put("a.bin", nil)
	if got, down, err := fetch(t.Context(), d, graph.DownloadOptions{}); err != nil || len(got) != 0 || down.Length != 0 {
		t.Errorf("an empty file: %q, %v", got, err)
	}
}

func isInvalid(err error, field string) bool {
	e, ok := errors.AsType[*graph.InvalidError](err)
	return ok && e.Field == field
}

// Wherever a transfer breaks off, the rest comes; once and in the right place.
func TestDownloadCutAnywhere(t *testing.T) {
	t.Parallel()
	want := content(300)
	for at := range 300 {
		for _, how := range []string{"with an error", "as if it were whole", "with every request"} {
			t.Run(fmt.Sprint("after byte ", at, " ", how), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					d := newDrive(t)
					d.put("a.bin", want)
					n := 0
					d.after = func(r *http.Request, res *http.Response) (*http.Response, error) {
						if isDownload(r) {
							if n++; n == 1 || how == "with every request" && at > 0 {
								if res = cut(res, at); how == "as if it were whole" {
									whole, _ := io.ReadAll(res.Body)
									res.Body = io.NopCloser(bytes.NewReader(whole))
								}
							}
						}
						return res, nil
					}
					got, _, err := fetch(t.Context(), d, graph.DownloadOptions{})
					if err != nil || !bytes.Equal(got, want) {
						t.Errorf("%d bytes, %v", len(got), err)
					}
				})
			})
		}
	}
}

// A transfer that gets nowhere is an error, and never looks whole.
func TestDownloadThatBreaksOffForGood(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		rest func(*http.Request) (*http.Response, error)
		want error
	}{
		{"no connection", func(*http.Request) (*http.Response, error) { return nil, errDropped }, errDropped},
		{"nothing but headers", func(r *http.Request) (*http.Response, error) {
			res := ranged(r, content(300), `"c1"`)
			res.Body = io.NopCloser(strings.NewReader(""))
			return res, nil
		}, io.ErrUnexpectedEOF},
		{"503", func(*http.Request) (*http.Response, error) { return text(503, "<html>"), nil }, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := newDrive(t)
				d.put("a.bin", content(300))
				n := 0
				d.after = func(r *http.Request, res *http.Response) (*http.Response, error) {
					if isDownload(r) {
						if n++; n > 1 {
							return test.rest(r)
						}
						return cut(res, 299), nil
					}
					return res, nil
				}
				began := time.Now()
				got, _, err := fetch(t.Context(), d, graph.DownloadOptions{})
				if err == nil || errors.Is(err, io.EOF) || test.want != nil && !errors.Is(err, test.want) || len(got) != 299 {
					t.Errorf("%d bytes, %v, want %v", len(got), err, test.want)
				}
				if d := time.Since(began); d < time.Second || d > time.Minute {
					t.Errorf("given up after %v", d)
				}
				if test.name == "503" {
					if e, ok := errors.AsType[*graph.Error](err); !ok || e.Status != 503 {
						t.Errorf("error %v, want status 503", err)
					}
				}
			})
		})
	}
}

// A body that stands still for a minute is given up, and goes on in another request.
func TestDownloadThatStandsStill(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		want := content(300)
		d := newDrive(t)
		d.put("a.bin", want)
		n := 0
		d.after = func(r *http.Request, res *http.Response) (*http.Response, error) {
			if isDownload(r) {
				if n++; n == 1 {
					whole, _ := io.ReadAll(res.Body)
					res.Body = io.NopCloser(io.MultiReader(bytes.NewReader(whole[:100]), standstill{r.Context()}))
				}
			}
			return res, nil
		}
		began := time.Now()
		got, _, err := fetch(t.Context(), d, graph.DownloadOptions{})
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if d := time.Since(began); d < time.Minute || d > time.Minute+2*time.Second {
			t.Errorf("it took %v", d)
		}
	})
}

// A standstill is a body that gives nothing until its request ends.
type standstill struct{ ctx context.Context }

func (s standstill) Read([]byte) (int, error) {
	<-s.ctx.Done()
	return 0, s.ctx.Err()
}

// A reader that is slow itself has as much time as it wants.
func TestDownloadToASlowReader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDrive(t)
		d.put("a.bin", content(300))
		d.after = func(r *http.Request, res *http.Response) (*http.Response, error) {
			if isDownload(r) {
				res.Body = io.NopCloser(connected{r.Context(), res.Body})
			}
			return res, nil
		}
		down, err := d.myFiles().Download(t.Context(), graph.Ref{Path: "a.bin"}, graph.DownloadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer down.Close()
		buf := make([]byte, 100)
		for range 3 {
			time.Sleep(time.Hour)
			if _, err := io.ReadFull(down, buf); err != nil {
				t.Error(err)
			}
		}
		if n := d.count("GET /download/"); n != 1 {
			t.Errorf("%d requests", n)
		}
	})
}

// A connected body ends with its request.
type connected struct {
	ctx context.Context
	io.Reader
}

func (c connected) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.Reader.Read(p)
}

func TestDownloadEndsWithItsContext(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"GET /v1.0/me/drive/root:/a.bin", "GET /download/ITEM!1", "in the body", "while it waits"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := newDrive(t)
				d.put("a.bin", content(300))
				ctx, cancel := context.WithCancelCause(t.Context())
				cause := errors.New("the visitor has left")
				d.after = func(r *http.Request, res *http.Response) (*http.Response, error) {
					switch {
					case r.Method+" "+r.URL.Path == where:
						cancel(cause)
						<-r.Context().Done()
						return nil, r.Context().Err()
					case isDownload(r) && where == "in the body":
						time.AfterFunc(time.Second, func() { cancel(cause) })
						res.Body = io.NopCloser(io.MultiReader(strings.NewReader("abc"), standstill{r.Context()}))
					case isDownload(r):
						time.AfterFunc(time.Second, func() { cancel(cause) })
						return text(503, "", "Retry-After", "5"), nil
					}
					return res, nil
				}
				began := time.Now()
				if _, _, err := fetch(ctx, d, graph.DownloadOptions{}); !errors.Is(err, cause) || time.Since(began) > time.Second {
					t.Errorf("%v after %v, want the cause at once", err, time.Since(began))
				}
			})
		})
	}
}

// An expired URL is replaced by another, and its name is not in any error.
func TestDownloadWhoseURLExpires(t *testing.T) {
	t.Parallel()
	for _, status := range []int{401, 403, 404, 410} {
		for _, times := range []int{1, 2, 100} {
			t.Run(fmt.Sprint(status, ", ", times, " times"), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					want := content(300)
					d := newDrive(t)
					d.put("a.bin", want)
					n := 0
					d.before = func(r *http.Request) (*http.Response, error) {
						if isDownload(r) {
							if n++; n > 1 && n <= 1+times {
								return fault(status, "unauthenticated"), nil
							}
						}
						return nil, nil
					}
					d.after = func(r *http.Request, res *http.Response) (*http.Response, error) {
						if isDownload(r) && n == 1 {
							return cut(res, 100), nil
						}
						return res, nil
					}
					got, _, err := fetch(t.Context(), d, graph.DownloadOptions{})
					if times == 100 {
						if e, ok := errors.AsType[*graph.Error](err); !ok || e.Status != status || strings.Contains(err.Error(), "storage.example") {
							t.Errorf("%v, want status %d", err, status)
						}
						if n > 6 {
							t.Errorf("%d requests", n)
						}
						return
					}
					if err != nil || !bytes.Equal(got, want) {
						t.Errorf("%d bytes, %v", len(got), err)
					}
				})
			})
		}
	}
}

// The last bytes of a content that is not the file's are never given.
func TestDownloadOfACorruptContent(t *testing.T) {
	t.Parallel()
	want := content(300)
	for name, read := range map[string]func(io.Reader) ([]byte, error){
		"by ReadAll":    io.ReadAll,
		"byte for byte": func(r io.Reader) ([]byte, error) { return io.ReadAll(oneByte{r}) },
		"exactly all": func(r io.Reader) ([]byte, error) {
			b := make([]byte, 300)
			n, err := r.Read(b)
			return b[:n], err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDrive(t)
			d.put("a.bin", want)
			d.after = func(r *http.Request, res *http.Response) (*http.Response, error) {
				if isDownload(r) {
					b, _ := io.ReadAll(res.Body)
					b[17] ^= 4
					res.Body = io.NopCloser(bytes.NewReader(b))
				}
				return res, nil
			}
			down, err := d.myFiles().Download(t.Context(), graph.Ref{Path: "a.bin"}, graph.DownloadOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer down.Close()
			if got, err := read(down); !errors.Is(err, graph.ErrCorrupt) || len(got) >= 300 {
				t.Errorf("%d bytes, %v, want ErrCorrupt and less than all", len(got), err)
			}
			if _, err := down.Read(make([]byte, 1)); !errors.Is(err, graph.ErrCorrupt) {
				t.Errorf("and then %v", err)
			}
		})
	}
}

type oneByte struct{ io.Reader }

func (r oneByte) Read(p []byte) (int, error) { return r.Reader.Read(p[:1]) }

func TestDownloadAfterClose(t *testing.T) {
	t.Parallel()
	d := newDrive(t)
	d.put("a.bin", content(300))
	down, err := d.myFiles().Download(t.Context(), graph.Ref{Path: "a.bin"}, graph.DownloadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	down.Close()
	if err := down.Close(); err != nil {
		t.Error(err)
	}
	if n, err := down.Read(make([]byte, 10)); n != 0 || err == nil || err == io.EOF {
		t.Errorf("%d, %v", n, err)
	}
}
