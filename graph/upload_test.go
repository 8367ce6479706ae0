package graph_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth/graph"
)

const mib = 1 << 20

// sources are a content that can be read again, and one that cannot.
var sources = map[string]func([]byte) io.Reader{
	"a file":   func(b []byte) io.Reader { return bytes.NewReader(b) },
	"a stream": func(b []byte) io.Reader { return once{bytes.NewReader(b)} },
}

func TestUploadStoresWhatItIsGiven(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, unit - 1, unit, unit + 1, 4 * mib, 4*mib + 1, 5 * mib, 10*mib + 7} {
		for kind, source := range sources {
			for _, conflict := range []graph.Conflict{graph.Fail, graph.Rename, graph.Replace} {
				if size > 6*mib && conflict != graph.Fail {
					continue // as with 6 MiB
				}
				t.Run(fmt.Sprint(size, " bytes of ", kind, ", ", conflict), func(t *testing.T) {
					t.Parallel()
					d := newDrive(t)
					want := content(size)
					var done, total int64
					it, err := d.myFiles().Upload(t.Context(), graph.Ref{Path: "Reports/2026/a b#1%.txt"}, source(want), int64(size), graph.UploadOptions{
						Conflict: conflict,
						Progress: func(d, t int64) { done, total = d, t },
					})
					if err != nil {
						t.Fatal(err)
					}
					if it.Name != "a b#1%.txt" || it.Size != int64(size) || done != int64(size) || total != int64(size) {
						t.Errorf("%+v; progress %d of %d", it, done, total)
					}
					d.has(t, map[string][]byte{"Reports/2026/a b#1%.txt": want})
				})
			}
		}
	}
}

func TestUploadAndAFileOfThatName(t *testing.T) {
	t.Parallel()
	old, small, large := []byte("old"), content(10), content(6*mib)
	for _, b := range [][]byte{nil, small, large} {
		for _, test := range []struct {
			conflict graph.Conflict
			want     map[string][]byte
			err      error
		}{
			{graph.Fail, map[string][]byte{"a.txt": old}, fs.ErrExist},
			{graph.Rename, map[string][]byte{"a.txt": old, "a 1.txt": b}, nil},
			{graph.Replace, map[string][]byte{"a.txt": b}, nil},
		} {
			t.Run(fmt.Sprint(test.conflict, " ", len(b)), func(t *testing.T) {
				t.Parallel()
				d := newDrive(t)
				d.put("a.txt", old)
				_, err := d.myFiles().Upload(t.Context(), graph.Ref{Path: "a.txt"}, bytes.NewReader(b), int64(len(b)), graph.UploadOptions{Conflict: test.conflict})
				if !errors.Is(err, test.err) {
					t.Errorf("error %v, want %v", err, test.err)
				}
				d.has(t, test.want)
				if len(d.sessions) > 0 {
					t.Error("an upload session is left")
				}
			})
		}
	}
}

// A content that is not as long as it should be is found before the file exists.
func TestUploadOfAnotherSizeStoresNothing(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		size, has int
		reason    string
	}{
		{0, 1, "is less than the content has"},
		{10, 9, "is more than the content has"},
		{10, 11, "is less than the content has"},
		{6 * mib, 6*mib - 1, "is more than the content has"},
		{6 * mib, 5 * mib, "is more than the content has"},
		{6 * mib, 6*mib + 1, "is less than the content has"},
	} {
		for kind, source := range sources {
			for _, conflict := range []graph.Conflict{graph.Fail, graph.Replace} {
				t.Run(fmt.Sprint(test.size, " instead of ", test.has, ", ", kind, ", ", conflict), func(t *testing.T) {
					t.Parallel()
					d := newDrive(t)
					_, err := d.myFiles().Upload(t.Context(), graph.Ref{Path: "a"}, source(content(test.has)), int64(test.size), graph.UploadOptions{Conflict: conflict})
					invalid, ok := errors.AsType[*graph.InvalidError](err)
					if !ok || invalid.Field != "size" || invalid.Reason != test.reason {
						t.Errorf("error %v, want one about the size: %s", err, test.reason)
					}
					d.has(t, nil)
					if len(d.sessions) > 0 {
						t.Error("an upload session is left")
					}
				})
			}
		}
	}
}

// A trouble is something that goes wrong with a chunk. It may happen before the
// drive sees the chunk, or to the drive's answer.
type trouble struct {
	name   string
	before func(*http.Request) (*http.Response, error)
	after  func(*http.Request, *http.Response) (*http.Response, error)
}

var troubles = []trouble{
	{"dropped before it arrives", func(*http.Request) (*http.Response, error) { return nil, errDropped }, nil},
	{"503", func(*http.Request) (*http.Response, error) {
		return text(503, "<html>Our services aren't available</html>"), nil
	}, nil},
	{"503 with Retry-After", func(*http.Request) (*http.Response, error) { return text(503, "", "Retry-After", "7"), nil }, nil},
	{"429", func(*http.Request) (*http.Response, error) { return fault(429, "activityLimitReached"), nil }, nil},
	{"500", func(*http.Request) (*http.Response, error) { return fault(500, "generalException"), nil }, nil},
	{"its answer is lost", nil, func(*http.Request, *http.Response) (*http.Response, error) { return nil, errDropped }},
	{"its answer is 504", nil, func(*http.Request, *http.Response) (*http.Response, error) { return fault(504, "UnknownError"), nil }},
	{"half an answer", nil, func(_ *http.Request, res *http.Response) (*http.Response, error) { return cut(res, 20), nil }},
	{"an answer that is HTML", nil, func(*http.Request, *http.Response) (*http.Response, error) { return text(200, "<html>"), nil }},
	{"an empty answer", nil, func(*http.Request, *http.Response) (*http.Response, error) { return text(202, ""), nil }},
}

func isChunk(r *http.Request) bool { return r.Method == "PUT" && r.URL.Host == "storage.example" }

// Three of four chunks get lost, at each place and in each way, and the file is
// there once and whole.
func TestUploadSurvivesLostChunks(t *testing.T) {
	t.Parallel()
	for _, trouble := range troubles {
		for kind, source := range sources {
			for _, conflict := range []graph.Conflict{graph.Fail, graph.Rename, graph.Replace} {
				for first := 1; first <= 4; first++ {
					if conflict != graph.Fail && first < 4 || kind == "a stream" && first%3 != 1 {
						continue // only the last chunk makes a file
					}
					t.Run(fmt.Sprint(trouble.name, ", ", kind, ", ", conflict, ", from chunk ", first), func(t *testing.T) {
						t.Parallel()
						synctest.Test(t, func(t *testing.T) {
							d := newDrive(t)
							put := 0
							hit := func(r *http.Request) bool { return isChunk(r) && put >= first && put < first+3 }
							d.before = func(r *http.Request) (*http.Response, error) {
								if isChunk(r) {
									put++
								}
								if trouble.before != nil && hit(r) {
									return trouble.before(r)
								}
								return nil, nil
							}
							d.after = func(r *http.Request, res *http.Response) (*http.Response, error) {
								if trouble.after != nil && hit(r) {
									return trouble.after(r, res)
								}
								return res, nil
							}
							want := content(4*unit - 100)
							it, err := d.myFiles().Upload(t.Context(), graph.Ref{Path: "a.bin"}, source(want), int64(len(want)), graph.UploadOptions{
								Conflict: conflict, ChunkSize: unit, Created: time.Now(),
							})
							if err != nil || it.Size != int64(len(want)) {
								t.Errorf("%+v, %v", it, err)
							}
							d.has(t, map[string][]byte{"a.bin": want})
						})
					})
				}
			}
		}
	}
}

// The answer to the last bytes is lost while there is another file of that name, of
// the same size and even the same content.
func TestUploadKnowsItsOwnFile(t *testing.T) {
	t.Parallel()
	mine := content(2 * unit)
	for _, test := range []struct {
		name     string
		conflict graph.Conflict
		old      []byte
		want     map[string][]byte
	}{
		{"renamed beside another file", graph.Rename, content(2*unit + 1)[:2*unit], map[string][]byte{"a.bin": content(2*unit + 1)[:2*unit], "a 1.bin": mine}},
		{"renamed beside its twin", graph.Rename, mine, map[string][]byte{"a.bin": mine, "a 1.bin": mine}},
		{"replaced", graph.Replace, []byte("old"), map[string][]byte{"a.bin": mine}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := newDrive(t)
				d.put("a.bin", test.old)
				time.Sleep(time.Hour)
				put := 0
				d.after = func(r *http.Request, res *http.Response) (*http.Response, error) {
					if isChunk(r) {
						if put++; put == 2 {
							return nil, errDropped
						}
					}
					return res, nil
				}
				it, err := d.myFiles().Upload(t.Context(), graph.Ref{Path: "a.bin"}, bytes.NewReader(mine), int64(len(mine)), graph.UploadOptions{
					Conflict: test.conflict, ChunkSize: unit, Created: time.Now(),
				})
				if err != nil || test.conflict == graph.Rename && it.Name != "a 1.bin" {
					t.Errorf("%+v, %v", it, err)
				}
				d.has(t, test.want)
			})
		})
	}
}

// Where the drive does not say what it has stored, Upload does not guess.
func TestUploadSaysThatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDrive(t)
		d.noHash = true
		put := 0
		d.after = func(r *http.Request, res *http.Response) (*http.Response, error) {
			if isChunk(r) {
				if put++; put == 2 {
					return nil, errDropped
				}
			}
			return res, nil
		}
		want := content(2 * unit)
		_, err := d.myFiles().Upload(t.Context(), graph.Ref{Path: "a.bin"}, bytes.NewReader(want), int64(len(want)), graph.UploadOptions{ChunkSize: unit})
		if !errors.Is(err, graph.ErrUploadUnknown) {
			t.Errorf("error %v, want ErrUploadUnknown", err)
		}
		d.has(t, map[string][]byte{"a.bin": want})
	})
}

// The drive may keep a part of a chunk, and say so only when it is asked.
func TestUploadGoesOnWhereTheDriveIs(t *testing.T) {
	t.Parallel()
	for kind, source := range sources {
		for _, kept := range []int{0, 1, unit - 1, unit, 2*unit - 1} {
			t.Run(fmt.Sprint(kept, " bytes of ", kind), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					d := newDrive(t)
					want := content(5 * unit)
					put := 0
					d.before = func(r *http.Request) (*http.Response, error) {
						if isChunk(r) {
							if put++; put == 2 {
								s := d.sessions["session-1"]
								s.got = want[: 2*unit+kept : 2*unit+kept]
								return fault(416, "invalidRange"), nil
							}
						}
						return nil, nil
					}
					_, err := d.myFiles().Upload(t.Context(), graph.Ref{Path: "a.bin"}, source(want), int64(len(want)), graph.UploadOptions{ChunkSize: 2 * unit})
					if err != nil {
						t.Error(err)
					}
					d.has(t, map[string][]byte{"a.bin": want})
				})
			})
		}
	}
}

// What no waiting helps against is returned at once, and the session is cancelled.
func TestUploadThatIsRefused(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		status int
		code   string
	}{{400, "invalidRequest"}, {409, "nameAlreadyExists"}, {413, "tooLarge"}, {423, "notAllowed"}, {507, "quotaLimitReached"}} {
		t.Run(test.code, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := newDrive(t)
				d.before = func(r *http.Request) (*http.Response, error) {
					if isChunk(r) {
						return fault(test.status, test.code), nil
					}
					return nil, nil
				}
				began := time.Now()
				want := content(3 * unit)
				_, err := d.myFiles().Upload(t.Context(), graph.Ref{Path: "a.bin"}, bytes.NewReader(want), int64(len(want)), graph.UploadOptions{ChunkSize: unit})
				if e, ok := errors.AsType[*graph.Error](err); !ok || e.Status != test.status || e.Code != test.code || e.Op != "upload" {
					t.Errorf("error %v, want status %d, %s", err, test.status, test.code)
				}
				if time.Since(began) != 0 || d.count("PUT /upload/") != 1 || len(d.sessions) != 0 {
					t.Errorf("after %v and %d chunks, %d sessions left", time.Since(began), d.count("PUT /upload/"), len(d.sessions))
				}
			})
		})
	}
}

// A storage host that never answers well is given up within a minute of waiting.
func TestUploadGivesUp(t *testing.T) {
	t.Parallel()
	for _, keep := range []bool{false, true} {
		t.Run(fmt.Sprint("the app keeps its sessions: ", keep), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := newDrive(t)
				d.before = func(r *http.Request) (*http.Response, error) {
					if isChunk(r) {
						return text(503, "", "Retry-After", "9"), nil
					}
					return nil, nil
				}
				var o graph.UploadOptions
				if keep {
					o.Session = func(graph.UploadSession) error { return nil }
				}
				began := time.Now()
				want := content(6 * mib)
				_, err := d.myFiles().Upload(t.Context(), graph.Ref{Path: "a.bin"}, bytes.NewReader(want), int64(len(want)), o)
				e, ok := errors.AsType[*graph.Error](err)
				if !ok || e.Status != 503 || time.Since(began) < 9*time.Second || time.Since(began) > time.Minute {
					t.Errorf("%v after %v", err, time.Since(began))
				}
				if got := len(d.sessions) == 1; got != keep {
					t.Errorf("the session is kept: %t", got)
				}
			})
		})
	}
}

// An upload ends with its context, wherever it is, and leaves no goroutine: the
// bubble would not end.
func TestUploadEndsWithItsContext(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"POST /v1.0/me/drive/root:/a.bin:/createUploadSession", "PUT /upload/session-1", "GET /upload/session-1"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := newDrive(t)
				ctx, cancel := context.WithCancelCause(t.Context())
				cause := errors.New("the visitor has left")
				d.before = func(r *http.Request) (*http.Response, error) {
					switch {
					case r.Method+" "+r.URL.Path == where:
						cancel(cause)
						<-r.Context().Done()
						return nil, r.Context().Err()
					case isChunk(r):
						return nil, errDropped
					}
					return nil, nil
				}
				began := time.Now()
				want := content(6 * mib)
				_, err := d.myFiles().Upload(ctx, graph.Ref{Path: "a.bin"}, bytes.NewReader(want), int64(len(want)), graph.UploadOptions{})
				if !errors.Is(err, cause) || time.Since(began) > 2*time.Second {
					t.Errorf("%v after %v, want the cause at once", err, time.Since(began))
				}
				if calls := len(d.calls); d.count(where) != 1 || !strings.HasPrefix(d.calls[calls-1], where) {
					t.Errorf("requests after the end: %q", d.calls)
				}
			})
		})
	}
}

func TestUploadRefusesBadInput(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		at    graph.Ref
		size  int64
		o     graph.UploadOptions
		field string
	}{
		{"no name", graph.Ref{}, 5, graph.UploadOptions{}, "path"},
		{"a negative size", graph.Ref{Path: "a"}, -1, graph.UploadOptions{}, "size"},
		{"more than OneDrive takes", graph.Ref{Path: "a"}, 251 << 30, graph.UploadOptions{}, "size"},
		{"a chunk of an illegal size", graph.Ref{Path: "a"}, 5, graph.UploadOptions{ChunkSize: unit + 1}, "chunk size"},
		{"a chunk that is too large", graph.Ref{Path: "a"}, 5, graph.UploadOptions{ChunkSize: 193 * unit}, "chunk size"},
		{"a name that OneDrive refuses", graph.Ref{Path: "b/CON"}, 5, graph.UploadOptions{}, "name"},
		{"a name that OneDrive refuses, small", graph.Ref{Path: "b/CON"}, 5, graph.UploadOptions{Conflict: graph.Replace}, "name"},
		{"dots", graph.Ref{Path: "../a"}, 5, graph.UploadOptions{}, "path"},
		{"an id with a slash", graph.Ref{ID: "a/b", Path: "c"}, 5, graph.UploadOptions{}, "id"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := newDrive(t)
			_, err := d.myFiles().Upload(t.Context(), test.at, strings.NewReader("hello"), test.size, test.o)
			if e, ok := errors.AsType[*graph.InvalidError](err); !ok || e.Field != test.field {
				t.Errorf("error %v, want one about the %s", err, test.field)
			}
			if len(d.calls) != 0 {
				t.Errorf("requests %q", d.calls)
			}
		})
	}
}

// What the drive has made is compared with what was sent.
func TestUploadNoticesAnotherContent(t *testing.T) {
	t.Parallel()
	for _, size := range []int{10, 6 * mib} {
		d := newDrive(t)
		d.after = func(r *http.Request, res *http.Response) (*http.Response, error) {
			if res.StatusCode == 201 {
				other := content(size)
				other[3] ^= 1
				d.put("a", other)
				return d.item(201, "a"), nil
			}
			return res, nil
		}
		want := content(size)
		if _, err := d.myFiles().Upload(t.Context(), graph.Ref{Path: "a"}, bytes.NewReader(want), int64(size), graph.UploadOptions{Conflict: graph.Replace}); !errors.Is(err, graph.ErrCorrupt) {
			t.Errorf("%d bytes: error %v, want ErrCorrupt", size, err)
		}
	}
}

// A file that may replace another is sent in one request if it is small.
func TestSmallFilesAreOneRequest(t *testing.T) {
	t.Parallel()
	for size, want := range map[int]int{0: 0, 1: 0, mib: 0, mib + 1: 1} { // upload sessions
		d := newDrive(t)
		_, err := d.myFiles().Upload(t.Context(), graph.Ref{Path: "a"}, bytes.NewReader(content(size)), int64(size), graph.UploadOptions{Conflict: graph.Replace})
		if got := d.count("POST"); err != nil || got != want {
			t.Errorf("%d bytes: %d sessions, %v, want %d", size, got, err, want)
		}
	}
}
