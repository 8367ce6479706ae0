package graph_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"example.com/msauth/graph"
)

func TestQueries(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 26, 13, 0, 0, 5, time.FixedZone("", 3600))
	for _, test := range []struct {
		name  string
		path  string
		query graph.Query
		want  string // the query as Graph reads it: "a=b c&d=e"
	}{
		{"none", "me", graph.Query{}, ""},
		{"properties", "me", graph.Query{Select: []string{"id", "name"}}, "$select=id,name"},
		{"relationships", "me", graph.Query{Expand: []string{"children($select=id)", "thumbnails"}}, "$expand=children($select=id),thumbnails"},
		{"order", "me", graph.Query{OrderBy: []string{"name desc", "id"}}, "$orderby=name desc,id"},
		{"numbers", "me", graph.Query{Top: 5, Skip: 10, Count: true}, "$count=true&$skip=10&$top=5"},
		{"a search", "me", graph.Query{Search: `"a+b & c"`}, `$search="a+b & c"`},
		{"parameters", "me", graph.Query{Parameters: url.Values{"token": {"latest"}, "$skiptoken": {"x%24y"}}}, "$skiptoken=x%24y&token=latest"},
		{"beside a query", "me?a=%2B&b", graph.Query{Top: 5}, "a=+&b&$top=5"},

		{"a text", "me", graph.Query{Filter: "name eq ?", Values: []any{"O'Neil & 'Sons'"}}, "$filter=name eq 'O''Neil & ''Sons'''"},
		{"an injection", "me", graph.Query{Filter: "name eq ?", Values: []any{"x' or 'a' eq 'a"}}, "$filter=name eq 'x'' or ''a'' eq ''a'"},
		{"a question mark in a value", "me", graph.Query{Filter: "a eq ? and b eq ?", Values: []any{"?", "c"}}, "$filter=a eq '?' and b eq 'c'"},
		{"a question mark in quotes", "me", graph.Query{Filter: "a eq 'x?' and b eq ?", Values: []any{1}}, "$filter=a eq 'x?' and b eq 1"},
		{"a quote in quotes", "me", graph.Query{Filter: "a eq 'it''s?' and b eq ?", Values: []any{true}}, "$filter=a eq 'it''s?' and b eq true"},
		{"types", "me", graph.Query{Filter: "a eq ? or a eq ? or a eq ? or a eq ?", Values: []any{int32(-1), int64(1 << 40), false, at}},
			"$filter=a eq -1 or a eq 1099511627776 or a eq false or a eq 2026-11-26T12:00:00.000000005Z"},
		{"letters beyond ASCII", "me", graph.Query{Filter: "a eq ?", Values: []any{"ü#+%20"}}, "$filter=a eq 'ü#+%20'"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, w := clientOf(reply(200, "{}"))
			if _, err := graph.Get[struct{}](t.Context(), c, test.path, test.query); err != nil {
				t.Fatal(err)
			}
			_, raw, _ := strings.Cut(w.got[0].uri, "?")
			// Not every OData service reads a plus sign as a space.
			if strings.ContainsAny(raw, "+ ") || strings.Contains(raw, "%24select") || strings.Contains(raw, "%24filter") {
				t.Errorf("sent %q", raw)
			}
			if got, err := url.PathUnescape(raw); err != nil || got != test.want {
				t.Errorf("sent %q, want %q", raw, test.want)
			}
		})
	}
}

func TestInvalidQueriesAreNotSent(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name          string
		queries       []graph.Query
		field, reason string
	}{
		{"two", []graph.Query{{}, {}}, "query", "there are several"},
		{"a negative number", []graph.Query{{Top: -1}}, "query", "must not be negative"},
		{"another negative number", []graph.Query{{Skip: -1}}, "query", "must not be negative"},
		{"too few values", []graph.Query{{Filter: "a eq ?"}}, "filter", "more question marks than there are values"},
		{"too many values", []graph.Query{{Filter: "a eq ?", Values: []any{1, 2}}}, "filter", "fewer question marks than there are values"},
		{"values for nothing", []graph.Query{{Values: []any{1}}}, "filter", "fewer question marks than there are values"},
		{"a number with a fraction", []graph.Query{{Filter: "a eq ?", Values: []any{1.5}}}, "filter", "no way to write a float64"},
		{"nil", []graph.Query{{Filter: "a eq ?", Values: []any{nil}}}, "filter", "no way to write a <nil>"},
	} {
		c, w := clientOf(reply(200, "{}"))
		_, err := graph.Get[struct{}](t.Context(), c, "me", test.queries...)
		if wantInvalid(t, err, test.field, test.reason); len(w.got) > 0 {
			t.Errorf("%s: sent", test.name)
		}
		for _, err := range graph.List[struct{}](t.Context(), c, "me", test.queries...) {
			wantInvalid(t, err, test.field, test.reason)
		}
	}
}

func TestQueriesAreNotChanged(t *testing.T) {
	t.Parallel()
	c, w := clientOf(reply(200, "{}"))
	q := graph.Query{
		Select: []string{"id"}, Parameters: url.Values{"$select": {"name"}, "x": {"y"}},
		Header: http.Header{"prefer": {"a", "b"}, "Accept": {"text/plain"}},
	}
	if _, err := graph.Post[struct{}](t.Context(), c, "me", map[string]string{"a": "b"}, q); err != nil {
		t.Fatal(err)
	}
	if got := w.got[0]; got.uri != "/v1.0/me?$select=id&x=y" || len(got.header["Prefer"]) != 2 || got.header.Get("Accept") != "text/plain" ||
		got.header.Get("Content-Type") != "application/json" || got.body != `{"a":"b"}` {
		t.Errorf("sent %+v", got)
	}
	if len(q.Parameters) != 2 || q.Parameters.Get("$select") != "name" || fmt.Sprint(q.Header) != "map[Accept:[text/plain] prefer:[a b]]" {
		t.Errorf("the query is %+v now", q)
	}
}

func TestListReadsEachPageOnce(t *testing.T) {
	t.Parallel()
	next := func(link string) string { return `,"@odata.nextLink":"` + link + `"}` }
	c, w := clientOf(
		reply(200, `{"value":[1,2]`+next(base+"/me/items?$skiptoken=a")),
		reply(200, `{"value":[]`+next(base+"/me/items?$skiptoken=b")), // empty, and not the last
		reply(200, `{"value":[3]}`),
	)
	var got []int
	for n, err := range graph.List[int](t.Context(), c, "me/items", graph.Query{Top: 2, Header: http.Header{"Prefer": {"x"}}}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, n)
	}
	if len(got) != 3 || len(w.got) != 3 || w.got[0].uri != "/v1.0/me/items?$top=2" || w.got[2].uri != "/v1.0/me/items?$skiptoken=b" {
		t.Errorf("items %v, sent %+v", got, w.got)
	}
	for _, s := range w.got {
		if s.header.Get("Prefer") != "x" {
			t.Errorf("%s without the header", s.uri)
		}
	}
}

func TestListEndsWithAnError(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ link, reason string }{
		{base + "/me/items?$skiptoken=a", "leads to the page that it is on"},
		{"https://evil.example/v1.0/me/items?secret", "leads to another host"},
		{"me/other", ""},
	} {
		c, w := clientOf(reply(200, `{"value":[1],"@odata.nextLink":"`+test.link+`"}`))
		var last error
		items := 0
		for _, err := range graph.List[int](t.Context(), c, base+"/me/items?$skiptoken=a") {
			if last != nil {
				t.Error("something comes after an error")
			}
			if last = err; err == nil {
				items++
			}
			if items > 3 {
				break
			}
		}
		if test.reason == "" {
			continue
		}
		wantInvalid(t, last, "link", test.reason)
		if items != 1 || len(w.got) != 1 || strings.Contains(last.Error(), "secret") || strings.Contains(last.Error(), "skiptoken") {
			t.Errorf("%d items, %d requests, %v", items, len(w.got), last)
		}
	}
	c, w := clientOf(reply(200, `{"value":[1,2],"@odata.nextLink":"`+base+`/me/items?x"}`))
	for range graph.List[int](t.Context(), c, "me/items") {
		break
	}
	if len(w.got) != 1 {
		t.Errorf("%d requests for a list that was left", len(w.got))
	}
}
