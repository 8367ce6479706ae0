package graph_test

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth/graph"
)

// copying returns a drive whose copy is watched at a URL that gives these answers,
// the last one again and again.
func copying(t *testing.T, answers ...func() *http.Response) *drive {
	d := newDrive(t)
	d.put("a.bin", content(3))
	n := 0
	d.before = func(r *http.Request) (*http.Response, error) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/copy"):
			return text(202, "", "Location", "https://storage.example/monitor/1"), nil
		case r.URL.Path == "/monitor/1":
			n++
			return answers[min(n, len(answers))-1](), nil
		case strings.HasSuffix(r.URL.Path, "/root"):
			return answerDoc(200, map[string]any{"id": "ROOT", "parentReference": map[string]any{"driveId": "D"}}), nil
		}
		return nil, nil
	}
	return d
}

func answering(status int, doc any, header ...string) func() *http.Response {
	return func() *http.Response {
		res := answerDoc(status, doc)
		for i := 0; i+1 < len(header); i += 2 {
			res.Header.Set(header[i], header[i+1])
		}
		return res
	}
}

type doc = map[string]any

var running = answering(202, doc{"operation": "ItemCopy", "percentageComplete": 27.8, "status": "inProgress"})

// Drives tell the end of a copy in several ways; the token goes along with none.
func TestCopyAndHowItEnds(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		end    func() *http.Response
		id     string
		status int // of the error
		code   string
	}{
		{"200", answering(200, doc{"percentageComplete": 100.0, "resourceId": "NEW!1", "status": "completed"}), "NEW!1", 0, ""},
		{"202", answering(202, doc{"percentageComplete": 100.0, "resourceId": "NEW!1", "status": "completed"}), "NEW!1", 0, ""},
		{"303 with a document", answering(303, doc{"resourceId": "NEW!1", "status": "completed"}, "Location", "https://graph.example/v1.0/me/drive/items/NEW!1"), "NEW!1", 0, ""},
		{"303 without one", answering(303, nil, "Location", "https://graph.example/v1.0/me/drive/items/NEW!1"), "NEW!1", 0, ""},
		{"without an id", answering(200, doc{"status": "completed"}), "", 0, ""},
		{"failed", answering(200, doc{"status": "failed", "error": doc{"code": "nameAlreadyExists", "message": "Name already exists"}}), "", 409, "nameAlreadyExists"},
		{"failed for a reason of its own", answering(200, doc{"status": "failed", "error": doc{"code": "generalException", "message": "General exception while processing"}}), "", 500, "generalException"},
		{"failed, with errorCode", answering(200, doc{"status": "failed", "errorCode": "AccessDenied_Whatever"}), "", 500, "AccessDenied_Whatever"},
		{"500", answering(500, doc{"status": "failed", "error": doc{"code": "generalException"}}), "", 500, "generalException"},
		{"404", answering(404, doc{"error": doc{"code": "itemNotFound"}}), "", 404, "itemNotFound"},
		{"HTML", func() *http.Response { return text(200, "<html>") }, "", 200, ""},
		{"no status", answering(200, doc{"percentageComplete": 3}), "", 200, ""},
		{"nothing", answering(200, nil), "", 200, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := copying(t, running, running, test.end)
				op, err := d.myFiles().Copy(t.Context(), graph.Ref{Path: "a.bin"}, graph.Ref{}, "b.bin", graph.Fail)
				if err != nil {
					t.Fatal(err)
				}
				var seen []float64
				id, err := op.Wait(t.Context(), func(p float64) { seen = append(seen, p) })
				if id != test.id || test.status == 0 && err != nil {
					t.Errorf("%q, %v, want %q", id, err, test.id)
				}
				if test.status != 0 {
					if e, ok := errors.AsType[*graph.Error](err); !ok || e.Status != test.status || e.Code != test.code || e.Op != "monitor" {
						t.Errorf("%v, want status %d, %s", err, test.status, test.code)
					}
					if errors.Is(err, fs.ErrExist) != (test.status == 409) {
						t.Errorf("%v: is fs.ErrExist: %t", err, !(test.status == 409))
					}
				} else if seen[0] != 27.8 || seen[len(seen)-1] != 100 {
					t.Errorf("progress %v", seen)
				}
			})
		})
	}
}

func TestCopyThatTakesVeryLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := copying(t, running)
		op, err := d.myFiles().Copy(t.Context(), graph.Ref{Path: "a.bin"}, graph.Ref{}, "", graph.Rename)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := op.Wait(t.Context(), nil); !errors.Is(err, graph.ErrRunning) || time.Since(began) > 10*time.Minute || time.Since(began) < 9*time.Minute {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if n := d.count("GET /monitor/"); n > 200 {
			t.Errorf("%d requests in ten minutes", n)
		}
		// Another process can go on watching, until its own patience ends.
		again, err := d.client().Operation(op.URL)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		began = time.Now()
		if _, err := again.Wait(ctx, nil); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

// A connection that fails now and then is no failure of the copy.
func TestCopyWatchedOverABadConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := copying(t, running, answering(200, doc{"status": "completed", "resourceId": "X"}))
		inner, n := d.before, 0
		d.before = func(r *http.Request) (*http.Response, error) {
			if r.URL.Path == "/monitor/1" {
				if n++; n%2 == 1 {
					return nil, errDropped
				}
			}
			return inner(r)
		}
		op, err := d.myFiles().Copy(t.Context(), graph.Ref{Path: "a.bin"}, graph.Ref{}, "", graph.Fail)
		if err != nil {
			t.Fatal(err)
		}
		if id, err := op.Wait(t.Context(), nil); id != "X" || err != nil {
			t.Errorf("%q, %v", id, err)
		}
	})
}

func TestCopyWithoutAMonitor(t *testing.T) {
	t.Parallel()
	for _, location := range []string{"", "/monitor/1", "http://storage.example/monitor/1", "ftp://storage.example/x"} {
		d := copying(t, running)
		inner := d.before
		d.before = func(r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Path, "/copy") {
				return text(202, "", "Location", location), nil
			}
			return inner(r)
		}
		if _, err := d.myFiles().Copy(t.Context(), graph.Ref{Path: "a.bin"}, graph.Ref{}, "", graph.Fail); !isInvalid(err, "storage URL") {
			t.Errorf("Location %q: %v", location, err)
		}
		if d.count("GET /monitor/") != 0 {
			t.Errorf("Location %q was followed", location)
		}
	}
}
