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

func TestUploadWhoseSessionIsLost(t *testing.T) {
	t.Parallel()
	expired := map[string]*http.Response{
		"404":              fault(404, "itemNotFound"),
		"401 expiredToken": answerDoc(401, map[string]any{"error": map[string]any{"code": "unauthenticated", "innererror": map[string]any{"code": "expiredToken"}}}),
		"400 of old":       answerDoc(400, map[string]any{"error": map[string]any{"code": "invalidRequest", "innererror": map[string]any{"code": "uploadSessionFailed"}}}),
	}
	for name, answer := range expired {
		body, _ := io.ReadAll(answer.Body)
		for kind, source := range sources {
			for chunk := 1; chunk <= 3; chunk++ {
				t.Run(fmt.Sprint(name, ", ", kind, ", chunk ", chunk), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						d := newDrive(t)
						put := 0
						d.before = func(r *http.Request) (*http.Response, error) {
							if isChunk(r) {
								if put++; put == chunk {
									clear(d.sessions)
									return text(answer.StatusCode, string(body)), nil
								}
							}
							return nil, nil
						}
						want := content(3 * unit)
						_, err := d.myFiles().Upload(t.Context(), graph.Ref{Path: "a.bin"}, source(want), int64(len(want)), graph.UploadOptions{ChunkSize: unit})
						if kind == "a stream" && chunk > 1 { // its beginning is gone
							if e, ok := errors.AsType[*graph.Error](err); !errors.Is(err, graph.ErrUploadExpired) || !ok || e.Status != answer.StatusCode {
								t.Errorf("error %v, want ErrUploadExpired and why", err)
							}
							d.has(t, nil)
							return
						}
						if err != nil {
							t.Error(err)
						}
						d.has(t, map[string][]byte{"a.bin": want})
					})
				})
			}
		}
	}
}

func TestUploadGoesOnAfterARestart(t *testing.T) {
	t.Parallel()
	want := content(5*unit + 9)
	for _, test := range []struct {
		name   string
		stop   int // chunks that arrive before the process ends
		loses  bool
		starts int
	}{
		{"at the beginning", 0, false, 1},
		{"in the middle", 3, false, 1},
		{"before the last bytes", 5, false, 1},
		{"when the file is complete", 6, false, 1},
		{"when the session has expired", 3, true, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := newDrive(t)
				var saved []byte
				ctx, cancel := context.WithCancel(t.Context())
				put := 0
				d.before = func(r *http.Request) (*http.Response, error) {
					if isChunk(r) {
						if put++; put > test.stop {
							cancel()
							return nil, context.Canceled
						}
					}
					return nil, nil
				}
				if test.stop == 6 {
					d.after = func(r *http.Request, res *http.Response) (*http.Response, error) {
						if isChunk(r) && put == 6 {
							cancel()
							return nil, context.Canceled
						}
						return res, nil
					}
				}
				_, err := d.myFiles().Upload(ctx, graph.Ref{Path: "a.bin"}, bytes.NewReader(want), int64(len(want)), graph.UploadOptions{
					ChunkSize: unit,
					Session: func(s graph.UploadSession) (err error) {
						saved, err = s.MarshalBinary()
						return err
					},
				})
				if err == nil || saved == nil {
					t.Fatalf("the first process has ended with %v", err)
				}
				d.before, d.after = nil, nil
				if test.loses {
					clear(d.sessions)
				}
				var s graph.UploadSession
				if err := s.UnmarshalBinary(saved); err != nil {
					t.Fatal(err)
				}
				it, err := d.client().ResumeUpload(t.Context(), s, bytes.NewReader(want), graph.UploadOptions{ChunkSize: unit})
				if err != nil || it.Size != int64(len(want)) {
					t.Errorf("%+v, %v", it, err)
				}
				d.has(t, map[string][]byte{"a.bin": want})
				if got := d.count("POST"); got != test.starts {
					t.Errorf("%d sessions, want %d", got, test.starts)
				}
			})
		})
	}
}

func TestUploadSessionDoesNotPrint(t *testing.T) {
	t.Parallel()
	d := newDrive(t)
	s, err := d.myFiles().StartUpload(t.Context(), graph.Ref{Path: "a"}, 10, graph.UploadOptions{})
	if err != nil || s.URL == "" {
		t.Fatal(s, err)
	}
	for _, text := range []string{fmt.Sprint(s), fmt.Sprintf("%+v", s), fmt.Sprintf("%#v", s), fmt.Sprintf("%q", s.URL)} {
		if strings.Contains(text, "storage.example") {
			t.Errorf("it prints: %s", text)
		}
	}
	if err := d.client().CancelUpload(t.Context(), s); err != nil || len(d.sessions) != 0 {
		t.Errorf("cancelled: %v, %d sessions", err, len(d.sessions))
	}
	if err := d.client().CancelUpload(t.Context(), s); err != nil {
		t.Errorf("cancelled again: %v", err)
	}
	if _, err := d.client().UploadStatus(t.Context(), s); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its status: %v", err)
	}
	for _, bad := range []string{"", "{}", `{"Version":2}`, `{"Version":1,"Size":-1}`, `{"Version":1,"Conflict":7}`} {
		if err := new(graph.UploadSession).UnmarshalBinary([]byte(bad)); err == nil {
			t.Errorf("a session of %q", bad)
		}
	}
}

// Sessions that get lost again and again are an error in the end.
func TestUploadWhoseSessionsAreAllLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDrive(t)
		d.before = func(r *http.Request) (*http.Response, error) {
			if isChunk(r) {
				clear(d.sessions)
			}
			return nil, nil
		}
		want := content(3 * unit)
		_, err := d.myFiles().Upload(t.Context(), graph.Ref{Path: "a.bin"}, bytes.NewReader(want), int64(len(want)), graph.UploadOptions{ChunkSize: unit})
		if !errors.Is(err, graph.ErrUploadExpired) || d.count("POST") != 3 {
			t.Errorf("%v after %d sessions, want ErrUploadExpired after 3", err, d.count("POST"))
		}
	})
}

// Some drives allow one session for a file: the one that is of no use is cancelled
// before the next begins.
func TestUploadCancelsTheSessionThatItGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDrive(t)
		put := 0
		d.before = func(r *http.Request) (*http.Response, error) {
			switch {
			case isChunk(r):
				if put++; put == 2 {
					return fault(401, "unauthenticated"), nil
				}
			case r.Method == "POST" && len(d.sessions) > 0:
				return fault(409, "nameAlreadyExists"), nil
			}
			return nil, nil
		}
		want := content(3 * unit)
		_, err := d.myFiles().Upload(t.Context(), graph.Ref{Path: "a.bin"}, bytes.NewReader(want), int64(len(want)), graph.UploadOptions{ChunkSize: unit})
		if err != nil {
			t.Error(err)
		}
		d.has(t, map[string][]byte{"a.bin": want})
	})
}

// A drive that claims to have what was not sent is not believed.
func TestUploadDoesNotBelieveTheDrive(t *testing.T) {
	t.Parallel()
	for name, claim := range map[string]func(d *drive) *http.Response{
		"that the file is complete": func(d *drive) *http.Response {
			d.put("other.bin", content(3*unit))
			res := d.item(201, "other.bin")
			delete(d.files, "other.bin")
			return res
		},
		"more bytes": func(*drive) *http.Response {
			return answerDoc(202, map[string]any{"nextExpectedRanges": []string{fmt.Sprint(2*unit, "-")}})
		},
		"ranges that are none": func(*drive) *http.Response {
			return answerDoc(202, map[string]any{"nextExpectedRanges": []string{"-5", "x"}})
		},
		"bytes beyond the end": func(*drive) *http.Response {
			return answerDoc(202, map[string]any{"nextExpectedRanges": []string{"99999999999-"}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := newDrive(t)
				put := 0
				d.after = func(r *http.Request, res *http.Response) (*http.Response, error) {
					if isChunk(r) {
						if put++; put == 1 {
							return claim(d), nil
						}
					}
					return res, nil
				}
				want := content(3 * unit)
				_, err := d.myFiles().Upload(t.Context(), graph.Ref{Path: "a.bin"}, bytes.NewReader(want), int64(len(want)), graph.UploadOptions{ChunkSize: unit})
				if err != nil {
					t.Error(err)
				}
				d.has(t, map[string][]byte{"a.bin": want})
			})
		})
	}
}

// A request that makes a file is sent again only where that cannot make two.
func TestEmptyFileIsSentOnceUnlessItReplaces(t *testing.T) {
	t.Parallel()
	for conflict, want := range map[graph.Conflict]int{graph.Fail: 1, graph.Rename: 1, graph.Replace: 2} {
		t.Run(conflict.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := newDrive(t)
				lost := false
				d.after = func(r *http.Request, res *http.Response) (*http.Response, error) {
					if r.Method == "PUT" && !lost {
						lost = true
						return text(503, ""), nil
					}
					return res, nil
				}
				_, err := d.myFiles().Upload(t.Context(), graph.Ref{Path: "a"}, strings.NewReader(""), 0, graph.UploadOptions{Conflict: conflict})
				if got := d.count("PUT"); got != want || (err == nil) != (conflict == graph.Replace) {
					t.Errorf("%d requests, %v; want %d", got, err, want)
				}
				d.has(t, map[string][]byte{"a": nil})
			})
		})
	}
}

// The content of a file begins where the file is, also when it is read again.
func TestUploadFromTheMiddleOfAFile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDrive(t)
		put := 0
		d.before = func(r *http.Request) (*http.Response, error) {
			if isChunk(r) {
				if put++; put == 3 {
					clear(d.sessions)
				}
			}
			return nil, nil
		}
		all := content(3*unit + 100)
		file := bytes.NewReader(all)
		file.Seek(100, io.SeekStart)
		_, err := d.myFiles().Upload(t.Context(), graph.Ref{Path: "a.bin"}, file, 3*unit, graph.UploadOptions{ChunkSize: unit})
		if err != nil {
			t.Error(err)
		}
		d.has(t, map[string][]byte{"a.bin": all[100:]})
	})
}

// A drive may want several ranges, in any order.
func TestUploadStatusIsTheFirstByteThatIsMissing(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		ranges []string
		want   int64
	}{
		{[]string{"0-"}, 0}, {[]string{"77829-99375", "12345-55232"}, 12345}, {[]string{"5-", "9-"}, 5}, {nil, 100_000},
	} {
		d := newDrive(t)
		s, err := d.myFiles().StartUpload(t.Context(), graph.Ref{Path: "a"}, 100_000, graph.UploadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		d.before = func(r *http.Request) (*http.Response, error) {
			return answerDoc(200, map[string]any{"nextExpectedRanges": test.ranges}), nil
		}
		if got, err := d.client().UploadStatus(t.Context(), s); got != test.want || err != nil {
			t.Errorf("%q: %d, %v, want %d", test.ranges, got, err, test.want)
		}
	}
}

// Nobody is harmed by a session that is not used: it expires.
func TestStartUploadIsRepeated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDrive(t)
		n := 0
		d.before = func(r *http.Request) (*http.Response, error) {
			if n++; n == 1 {
				return text(503, "", "Retry-After", "3"), nil
			}
			return nil, nil
		}
		began := time.Now()
		s, err := d.myFiles().StartUpload(t.Context(), graph.Ref{Path: "a"}, 10, graph.UploadOptions{})
		if err != nil || s.URL == "" || time.Since(began) < 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}
