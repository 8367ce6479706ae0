package msauthtest_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"example.com/msauth/msauthtest"
)

// found searches and returns the names of what was found, in order.
func (a *app) found(address, token string) []string {
	a.t.Helper()
	var all []string
	for next := address; next != ""; {
		var page listing
		a.json2(next, token, &page)
		all = append(all, names(page)...)
		next = page.Next
	}
	slices.Sort(all)
	return all
}

func TestSearch(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	drive, token := a.writer(msauthtest.Ada)
	me := a.ms.URL + "/v1.0/me/drive"
	a.do(201, "PUT", drive+"/root:/Documents/It's 100%25 done.txt:/content", token, "nothing")
	pictures := a.do(200, "GET", drive+"/root:/Pictures", token, "")
	for _, tt := range []struct {
		name, address string
		want          []string
	}{
		{"parts of names and texts, in any case", me + "/root/search(q='SUR')", []string{"Measurements.csv", "Meeting notes.md", "Site survey – Zürich.txt"}},
		{"the drive", me + "/search(q='harbour')", []string{"Harbour.png"}},
		{"below a folder", drive + "/items/" + pictures.ID + "/search(q='e')", []string{"Sunrise.png", "Été à la mer.png"}},
		{"below a path", me + "/root:/Documents/Reports:/search(q='202')", []string{"2025", "2026", "Résumé annuel.txt", "測定結果.csv"}},
		{"the text of a file", me + "/root/search(q='olive')", []string{"Shopping list.txt"}},
		{"an apostrophe", me + "/root/search(q='it''s')", []string{"It's 100% done.txt"}},
		{"escaped", me + "/root/search(q=%27it%27%27s%20100%25%27)", []string{"It's 100% done.txt"}},
		{"other letters", me + "/root/search(q='" + url.PathEscape("ÉTÉ") + "')", []string{"Été à la mer.png"}},
		{"a colon", me + "/root/search(q='tuesday at 10: no')", nil},
		{"nothing", me + "/root/search(q='no such thing')", nil},
		{"in pages", me + "/root/search(q='.png')?$top=2&$select=id,name", []string{"Harbour.png", "Sunrise.png", "Été à la mer.png"}},
	} {
		want := slices.Sorted(slices.Values(tt.want))
		if got := a.found(strings.ReplaceAll(tt.address, " ", "%20"), token); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", tt.name, got, want)
		}
	}
	var page listing
	a.json2(me+"/root/search(q='.png')?$top=2&$select=name", token, &page)
	if len(page.Value) != 2 || page.Next == "" || page.Value[0].ID != "" {
		t.Errorf("first page: %+v", page)
	}
	for _, argument := range []string{"q='it's'", "q=it", "q='", "", "q='a%2Fb'"} {
		a.refused(400, "BadRequest", "GET", me+"/root/search("+argument+")", token, "")
	}
	a.refused(404, "itemNotFound", "GET", drive+"/items/nothing/search(q='x')", token, "")
	a.refused(405, "notSupported", "POST", me+"/root/search(q='x')", token, "")
}
