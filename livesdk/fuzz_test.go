package livesdk_test

import (
	"errors"
	"net/url"
	"path"
	"regexp"
	"strings"
	"testing"

	"example.com/msauth/livesdk"
)

var allowed = regexp.MustCompile(`^[A-Za-z0-9._~!$&'()*+,;=:@%/-]+(\?[A-Za-z0-9._~!$&'()*+,;=:@%/-]+)?$`)

func FuzzPath(f *testing.F) {
	for _, seed := range [][3]string{
		{"GET", "me/skydrive/files", "limit=10&offset=2&sort_by=name&sort_order=descending&filter=folders"},
		{"PUT", "me/skydrive/files/My%20file.txt", "overwrite=ChooseNewName&downsize_photo_uploads=true"},
		{"get", "https://apis.live.net/v5.0/" + file + "/content", "download=true"},
		{"GET", folder + "/search", "q=it%27s+%3A&limit=3"},
		{"GET", file + "/picture", "type=small"},
		{"POST", file, "method=MOVE&pretty=false"},
		{"GET", "folder.8c8ce076ca27823f/files", ""},
		{"GET", "contact.4a8c/x", "a=1;b=2"},
		{"PATCH", "%2e%2e/%25%3f?x", "%zz&=&"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	const token = "EwB4A8l6BAAUcanary"
	f.Fuzz(func(t *testing.T, method, live, query string) {
		separator := "?"
		if strings.Contains(live, "?") {
			separator = "&"
		}
		full := live + separator + query + "&access_token=" + token
		got, err := livesdk.Path(method, full)
		if err != nil {
			e, ok := errors.AsType[*livesdk.UnmappedError](err)
			if !ok || e.Reason == "" || len(e.Name) > 200 || strings.Contains(err.Error(), token) || strings.ContainsAny(e.Name, "\r\n") {
				t.Fatalf("%q", err)
			}
			return
		}
		if strings.Contains(got.Path+strings.Join(got.Dropped, " ")+got.Body, token) {
			t.Fatalf("%s shows the token", got.Path)
		}
		if !allowed.MatchString(got.Path) || strings.HasPrefix(got.Path, "/") {
			t.Fatalf("%q", got.Path)
		}
		u, err := url.Parse("https://graph.microsoft.com/v1.0/" + got.Path)
		if err != nil || u.Host != "graph.microsoft.com" || u.Fragment != "" {
			t.Fatalf("%q: %v", got.Path, err)
		}
		if below := "/v1.0/me"; u.Path != below && !strings.HasPrefix(u.Path, below+"/") || path.Clean(u.Path) != u.Path {
			t.Fatalf("%q leads to %q", got.Path, u.Path)
		}
		// The other forms of a path mean the same, and so does a second time.
		for _, form := range []string{full, "/" + full, "v5.0/" + full, "https://apis.live.net/v5.0/" + full} {
			if lower := strings.ToLower(strings.TrimLeft(live, "/")); form != full && (strings.HasPrefix(lower, "https:") || strings.HasPrefix(lower, "v5.0/")) {
				continue
			}
			again, err := livesdk.Path(method, form)
			if err != nil || again.Method != got.Method || again.Path != got.Path || again.Body != got.Body || strings.Join(again.Dropped, " ") != strings.Join(got.Dropped, " ") {
				t.Fatalf("%q: %v, %v; was %v", form, again, err, got)
			}
		}
	})
}

func FuzzScopes(f *testing.F) {
	f.Add("wl.signin wl.basic,wl.share")
	f.Add("WL.SKYDRIVE\twl.x Files.Read")
	f.Fuzz(func(t *testing.T, list string) {
		got, err := livesdk.Scopes(list)
		again, err2 := livesdk.Scopes(strings.Split(list, " ")...)
		if strings.Join(got, " ") != strings.Join(again, " ") || (err == nil) != (err2 == nil) {
			t.Fatalf("%q, %v; in parts %q, %v", got, err, again, err2)
		}
		seen := map[string]bool{}
		for _, s := range got {
			if seen[s] || strings.HasPrefix(s, "wl.") {
				t.Fatalf("%q", got)
			}
			seen[s] = true
		}
	})
}

func FuzzItemID(f *testing.F) {
	f.Add(file)
	f.Add("8c8ce076ca27823f!1")
	form := regexp.MustCompile(`^[0-9A-F]{1,16}![0-9]{1,19}$`)
	f.Fuzz(func(t *testing.T, id string) {
		got, err := livesdk.ItemID(id)
		if err != nil {
			return
		}
		if again, err := livesdk.ItemID(got); !form.MatchString(got) || err != nil || again != got {
			t.Fatalf("%q, then %q, %v", got, again, err)
		}
	})
}
