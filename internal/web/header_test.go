package web_test

import (
	"net/http"
	"slices"
	"sync"
	"testing"

	"example.com/msauth/internal/web"
)

func TestVary(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name        string
		have, names []string
		want        string
	}{
		{"one name", nil, []string{"Cookie"}, "Cookie"},
		{"several names", nil, []string{"Cookie", "Accept"}, "Cookie, Accept"},
		{"beside others", []string{"Origin"}, []string{"Cookie"}, "Origin, Cookie"},
		{"several lines become one", []string{"Origin", "Accept, Cookie"}, []string{"Sec-Fetch-Mode"}, "Origin, Accept, Cookie, Sec-Fetch-Mode"},
		{"there", []string{"Accept, Cookie"}, []string{"Cookie"}, "Accept, Cookie"},
		{"there in small letters", []string{"cookie"}, []string{"Cookie", "Accept"}, "cookie, Accept"},
		{"part of another name", []string{"Cookie-Name"}, []string{"Cookie"}, "Cookie-Name, Cookie"},
		{"twice in one call", nil, []string{"Cookie", "Cookie"}, "Cookie"},
		{"everything", []string{"*"}, []string{"Cookie"}, "*"},
	}
	for _, test := range tests {
		h := http.Header{}
		if test.have != nil {
			h["Vary"] = test.have
		}
		for range 2 { // another call adds nothing
			if web.Vary(h, test.names...); !slices.Equal(h["Vary"], []string{test.want}) {
				t.Errorf("%s: %q, want %q", test.name, h["Vary"], test.want)
			}
		}
	}
}

func TestFirst(t *testing.T) {
	t.Parallel()
	for _, lines := range [][]string{nil, {}, {""}, {"a"}, {"a", "b"}} {
		h := http.Header{"Name": lines}
		if got, want := web.First(h["Name"]), h.Get("Name"); got != want {
			t.Errorf("%q: %q, want %q", lines, got, want)
		}
	}
}

// One request may be answered from several goroutines at a time.
func TestLinesOfOneRequestAreOnlyRead(t *testing.T) {
	t.Parallel()
	lines := web.NewLines()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			h := http.Header{}
			lines.VaryCookie(h)
			lines.NoStore(h)
			if h.Get("Vary") != "Cookie" || h.Get("Cache-Control") != "no-store" {
				t.Errorf("%v", h)
			}
			h.Add("Vary", "Accept") // must not reach the others
		})
	}
	wg.Wait()
	set := http.Header{"Vary": {"Accept"}, "Cache-Control": {"max-age=60"}}
	lines.VaryCookie(set)
	lines.NoStore(set)
	if set.Get("Vary") != "Accept, Cookie" || set.Get("Cache-Control") != "max-age=60" {
		t.Errorf("%v", set)
	}
}
