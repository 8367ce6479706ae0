package graph_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"example.com/msauth/graph"
)

// deltaPage is a page of a delta query; kind is "next" or "delta".
func deltaPage(items, kind, link string) answerFunc {
	return reply(200, `{"value":[`+items+`],"@odata.`+kind+`Link":"`+link+`"}`)
}

// read reads changes to their end, or to the first error.
func read(t *testing.T, d *graph.Changes[string]) (items []string, err error) {
	t.Helper()
	for item, err := range d.All(t.Context()) {
		if err != nil {
			return items, err
		}
		items = append(items, item)
	}
	return items, nil
}

func uris(w *wire) (all []string) {
	for _, s := range w.got {
		all = append(all, strings.TrimPrefix(s.uri, "/v1.0"))
	}
	return all
}

func TestDeltaReadsRoundAfterRound(t *testing.T) {
	t.Parallel()
	c, w := clientOf(
		deltaPage(`"a","b"`, "next", base+"/me/drive/root/delta?token=1"),
		deltaPage("", "next", base+"/me/drive/root/delta?token=2"),
		deltaPage(`"c"`, "delta", base+"/me/drive/root/delta?token=3"),
		deltaPage(`"d"`, "delta", base+"/me/drive/root/delta(token='4')"),
		deltaPage("", "delta", base+"/me/drive/root/delta(token='4')"), // nothing has changed
	)
	q := graph.Query{Select: []string{"id"}, Header: http.Header{"Prefer": {"x"}}}
	changes := graph.Delta[string](c, "me/drive/root/delta", q)
	if got := changes.Link(); got != base+"/me/drive/root/delta?$select=id" {
		t.Errorf("before the first page, the link is %s", got)
	}
	for _, want := range []struct{ items, link string }{
		{"[a b c]", base + "/me/drive/root/delta?token=3"},
		{"[d]", base + "/me/drive/root/delta(token='4')"},
		{"[]", base + "/me/drive/root/delta(token='4')"},
	} {
		items, err := read(t, changes)
		if err != nil || fmt.Sprint(items) != want.items || changes.Link() != want.link {
			t.Errorf("%v, %v, link %s, want %s, %s", items, err, changes.Link(), want.items, want.link)
		}
		changes = graph.Delta[string](c, changes.Link(), q) // as if it were kept
	}
	want := []string{"/me/drive/root/delta?$select=id", "/me/drive/root/delta?token=1", "/me/drive/root/delta?token=2", "/me/drive/root/delta?token=3", "/me/drive/root/delta(token='4')"}
	if got := uris(w); !slices.Equal(got, want) {
		t.Errorf("asked for %q, want %q", got, want)
	}
	for _, s := range w.got {
		if s.header.Get("Prefer") != "x" {
			t.Errorf("%s without the header", s.uri)
		}
	}
}

// Each item is seen at least once, wherever a loop is left.
func TestDeltaGoesOnWhereItWasLeft(t *testing.T) {
	t.Parallel()
	first, second := base+"/me/delta", base+"/me/delta?token=1"
	pages := []answerFunc{deltaPage(`"a","b"`, "next", second), deltaPage(`"c","d"`, "delta", base+"/me/delta?token=2")}
	for leave, want := range map[string]string{"a": first, "b": first, "c": second, "d": second} {
		c, _ := clientOf(pages...)
		changes := graph.Delta[string](c, "me/delta")
		for item := range changes.All(t.Context()) {
			if item == leave {
				break
			}
		}
		if got := changes.Link(); got != want {
			t.Errorf("left at %s: link %s, want %s", leave, got, want)
		}
	}
	// All goes on there by itself.
	c, w := clientOf(pages[0], pages[0], pages[1])
	changes := graph.Delta[string](c, "me/delta")
	for range changes.All(t.Context()) {
		break
	}
	if items, err := read(t, changes); err != nil || fmt.Sprint(items) != "[a b c d]" || len(w.got) != 3 {
		t.Errorf("%v, %v", items, err)
	}
}

func TestDeltaKeepsItsPlaceAfterAnError(t *testing.T) {
	t.Parallel()
	const second = base + "/me/delta?token=1"
	for _, test := range []struct {
		name   string
		answer answerFunc
		text   string
	}{
		{"an error", reply(403, ""), "HTTP status 403"},
		{"half a document", reply(200, `{"value":[`), "unexpected end of JSON input"},
		{"a lost connection", lost, "the connection is lost"},
		{"no link", reply(200, `{"value":["c"]}`), "neither a next link nor a delta link"},
		{"an empty answer", reply(204, ""), "neither a next link nor a delta link"},
		{"the same page", deltaPage(`"c"`, "next", second), "leads to the page that it is on"},
		{"another host", deltaPage(`"c"`, "next", "https://evil.example/v1.0/me/delta?secret"), "leads to another host"},
		{"another host the next time", deltaPage(`"c"`, "delta", "https://evil.example/v1.0/me/delta?secret"), "leads to another host"},
		{"another version", deltaPage(`"c"`, "delta", "https://graph.example/beta/me/delta"), "does not lead below /v1.0/"},
		{"a relative link", deltaPage(`"c"`, "delta", "me/delta?token=2"), "leads to another host"},
	} {
		c, _ := clientOf(deltaPage(`"a","b"`, "next", second), test.answer)
		changes := graph.Delta[string](c, "me/delta")
		items, err := read(t, changes)
		if err == nil || !strings.Contains(err.Error(), test.text) || strings.Contains(err.Error(), "secret") || errors.Is(err, graph.ErrResync) {
			t.Errorf("%s: %v, want %q", test.name, err, test.text)
		}
		if fmt.Sprint(items) != "[a b]" || changes.Link() != second {
			t.Errorf("%s: items %v, link %s", test.name, items, changes.Link())
		}
	}
}

func TestDeltaBeginsAgain(t *testing.T) {
	t.Parallel()
	const fresh = base + "/me/drive/root/delta?token=fresh"
	gone := func(location string) answerFunc {
		return reply(410, `{"error":{"code":"resyncRequired","innerError":{"code":"resyncChangesApplyDifferences"}}}`, "Location", location)
	}
	for _, test := range []struct {
		name, start string
		answer      answerFunc
		want        string
	}{
		{"where Graph says", base + "/me/drive/root/delta?token=old", gone(fresh), fresh},
		{"without a location", base + "/me/drive/root/delta?token=old", gone(""), base + "/me/drive/root/delta?$select=id"},
		{"not at another host", base + "/me/drive/root/delta?token=old", gone("https://evil.example/v1.0/x"), base + "/me/drive/root/delta?$select=id"},
		{"nor at a path", base + "/me/drive/root/delta?token=old", gone("/v1.0/me/drive/root/delta"), base + "/me/drive/root/delta?$select=id"},
		{"a token in the path", base + "/me/drive/root/delta(token='a%2Fb')", gone(""), base + "/me/drive/root/delta?$select=id"},
		{"a function of a namespace", base + "/me/drive/root/microsoft.graph.delta(token='x')", gone(""), base + "/me/drive/root/microsoft.graph.delta?$select=id"},
		{"a path with escapes", base + "/me/drive/root:/a%3Ab%20c:/delta?token=x", gone(""), base + "/me/drive/root:/a%3Ab%20c:/delta?$select=id"},
		{"a path", "me/drive/root/delta", gone(""), base + "/me/drive/root/delta?$select=id"},
		{"a path with a query", "me/drive/root/delta?$top=5", gone(""), base + "/me/drive/root/delta?$top=5&$select=id"},
		{"a path, where Graph says", "me/drive/root/delta", gone(fresh), fresh},
		{"another status", base + "/me/drive/root/delta?token=old", reply(400, `{"error":{"code":"resyncRequired"}}`), base + "/me/drive/root/delta?$select=id"},
		{"no document", base + "/me/drive/root/delta?token=old", reply(410, ""), base + "/me/drive/root/delta?$select=id"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, w := clientOf(test.answer, deltaPage(`"a"`, "delta", base+"/me/drive/root/delta?token=new"))
			changes := graph.Delta[string](c, test.start, graph.Query{Select: []string{"id"}})
			items, err := read(t, changes)
			e, ok := errors.AsType[*graph.Error](err)
			if !errors.Is(err, graph.ErrResync) || !ok || len(items) > 0 || !strings.Contains(err.Error(), "must be read from the beginning") {
				t.Fatalf("%v, items %v", err, items)
			}
			if e.Status == 410 && e.Code != "" && !e.HasCode("resyncChangesApplyDifferences") {
				t.Errorf("%+v", e)
			}
			if changes.Link() != test.want {
				t.Errorf("link %s, want %s", changes.Link(), test.want)
			}
			if items, err := read(t, changes); err != nil || fmt.Sprint(items) != "[a]" || "https://graph.example"+w.got[1].uri != test.want {
				t.Errorf("the second time: %v, %v, asked for %q", items, err, uris(w))
			}
		})
	}
}

func TestDeltaOfAnotherHostAsksNobody(t *testing.T) {
	t.Parallel()
	for _, start := range []string{"https://evil.example/v1.0/me/delta", "http://graph.example/v1.0/me/delta", base + "/../beta/me/delta", "../me/delta", ""} {
		c, w := clientOf(reply(200, `{"value":[]}`))
		changes := graph.Delta[string](c, start)
		_, err := read(t, changes)
		if _, ok := err.(*graph.InvalidError); !ok || len(w.got) > 0 || changes.Link() != start {
			t.Errorf("%q: %v, asked for %q, link %s", start, err, uris(w), changes.Link())
		}
	}
	c, _ := clientOf(reply(200, `{"value":[]}`))
	_, err := read(t, graph.Delta[string](c, "me/delta", graph.Query{}, graph.Query{}))
	wantInvalid(t, err, "query", "there are several")
}

func TestDeltaWaitsLikeOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, w := clientOf(reply(429, "", "Retry-After", "5"), reply(503, ""), deltaPage(`"a"`, "delta", base+"/me/delta?token=1"))
		if items, err := read(t, graph.Delta[string](c, "me/delta")); err != nil || len(items) != 1 || len(w.got) != 3 {
			t.Errorf("%v, %v", items, err)
		}
	})
}

// A drive that is not there is not one that has changed too much.
func TestDeltaOfNothing(t *testing.T) {
	t.Parallel()
	c, _ := clientOf(reply(404, `{"error":{"code":"itemNotFound"}}`))
	if _, err := read(t, graph.Delta[string](c, "me/delta")); !errors.Is(err, fs.ErrNotExist) || errors.Is(err, graph.ErrResync) {
		t.Errorf("%v", err)
	}
}
