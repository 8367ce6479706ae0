package livesdk_test

import (
	"errors"
	"strings"
	"testing"

	"example.com/msauth/livesdk"
)

const (
	file   = "file.8c8ce076ca27823f.8C8CE076CA27823F!126"
	folder = "folder.8c8ce076ca27823f.8C8CE076CA27823F!142"
	album  = "album.8c8ce076ca27823f.8C8CE076CA27823F!7"
	item   = "me/drive/items/8C8CE076CA27823F!126"
	dir    = "me/drive/items/8C8CE076CA27823F!142"
)

func TestPath(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		live    string // method and path
		want    string // method and path, or part of the reason
		dropped string
	}{
		{"GET me", "GET me", ""},
		{"GET /me/", "GET me", ""},
		{"GET v5.0/me", "GET me", ""},
		{"GET /V5.0/ME", "GET me", ""},
		{"GET https://apis.live.net/v5.0/me?access_token=secret", "GET me", ""},
		{"GET HTTPS://APIS.LIVE.NET/v5.0/me", "GET me", ""},
		{"get me#top", "GET me", ""},
		{"GET me/picture", "GET me/photo/$value", ""},
		{"GET me/picture?type=small", "GET me/photo/$value", "type"},

		{"GET me/skydrive", "GET me/drive/root", ""},
		{"POST me/skydrive", "POST me/drive/root/children", ""},
		{"GET me/skydrive/files", "GET me/drive/root/children", ""},
		{"GET Me/SkyDrive/Files", "GET me/drive/root/children", ""},
		{"GET me/skydrive/files?limit=10&pretty=false&suppress_response_codes=true&suppress_redirects=true", "GET me/drive/root/children?$top=10", ""},
		{"GET me/skydrive/files?sort_by=updated&sort_order=descending&limit=2", "GET me/drive/root/children?$orderby=lastModifiedDateTime%20desc&$top=2", ""},
		{"GET me/skydrive/files?sort_by=name", "GET me/drive/root/children?$orderby=name", ""},
		{"GET me/skydrive/files?sort_by=size&sort_order=ascending", "GET me/drive/root/children?$orderby=size", ""},
		{"GET me/skydrive/files?sort_by=default", "GET me/drive/root/children", ""},
		{"GET me/skydrive/files?sort_by=taste&sort_order=up", "GET me/drive/root/children", "sort_by sort_order"},
		{"GET me/skydrive/files?offset=0", "GET me/drive/root/children", ""},
		{"GET me/skydrive/files?offset=20&limit=10&filter=folders", "GET me/drive/root/children?$top=10", "filter offset"},
		{"GET me/skydrive/files?limit=none&Secret-Value=x&", "GET me/drive/root/children", "? limit"},
		{"GET me/skydrive/files?limit=0", "GET me/drive/root/children", "limit"},
		{"GET me/skydrive?limit=3", "GET me/drive/root", "limit"},
		{"PUT me/skydrive/files/Report.txt", "PUT me/drive/root:/Report.txt:/content", ""},
		{"PUT me/skydrive/files/My%20report%20100%25%20%23%C3%BC.txt", "PUT me/drive/root:/My%20report%20100%25%20%23%C3%BC.txt:/content", ""},
		{"PUT me/skydrive/files/a.txt?overwrite=ChooseNewName", "PUT me/drive/root:/a.txt:/content?@microsoft.graph.conflictBehavior=rename", ""},
		{"PUT me/skydrive/files/a.txt?overwrite=true&downsize_photo_uploads=false", "PUT me/drive/root:/a.txt:/content?@microsoft.graph.conflictBehavior=replace", ""},
		{"PUT me/skydrive/files/a.txt?overwrite=false&downsize_photo_uploads=true", "PUT me/drive/root:/a.txt:/content?@microsoft.graph.conflictBehavior=fail", "downsize_photo_uploads"},
		{"PUT me/skydrive/files/a.txt?overwrite=maybe", "PUT me/drive/root:/a.txt:/content", "overwrite"},
		{"PUT me/skydrive/files/..", "a name that OneDrive does not allow", ""},
		{"PUT me/skydrive/files/a%2Fb", "a name that OneDrive does not allow", ""},
		{"PUT me/skydrive/files/a:b", "a name that OneDrive does not allow", ""},
		{"PUT me/skydrive/files/" + strings.Repeat("x", 256), "a name that OneDrive does not allow", ""},
		{"PUT me/skydrive/files/a/b", "is not a path of Live Connect", ""},
		{"POST me/skydrive/files", "takes no forms", ""},
		{"POST " + folder + "/files/", "takes no forms", ""},
		{"DELETE me/skydrive", "with this method", ""},
		{"GET me/skydrive/quota", "GET me/drive?$select=quota", ""},
		{"GET me/skydrive/search?q=report", "GET me/drive/root/search(q='report')", ""},
		{"GET me/skydrive/search?q=it's+50%25%3A/b&limit=5", "GET me/drive/root/search(q='it%27%27s%2050%25%3A%20b')?$top=5", ""},
		{"GET me/skydrive/search", "no text to search for", ""},
		{"GET me/skydrive/search?q=%20", "no text to search for", ""},
		{"GET me/skydrive/camera_roll", "GET me/drive/special/cameraroll", ""},
		{"GET me/skydrive/camera_roll/files", "GET me/drive/special/cameraroll/children", ""},
		{"GET me/skydrive/my_documents", "GET me/drive/special/documents", ""},
		{"PUT me/skydrive/my_documents/files/a.txt", "PUT me/drive/special/documents:/a.txt:/content", ""},
		{"GET me/skydrive/my_photos/files?limit=1", "GET me/drive/special/photos/children?$top=1", ""},
		{"GET me/skydrive/public_documents", "no longer has this folder", ""},
		{"GET me/skydrive/public_documents/files", "no longer has this folder", ""},
		{"GET me/skydrive/recent_docs", "no data after November 2026", ""},
		{"GET me/skydrive/recent", "no data after November 2026", ""},
		{"GET me/skydrive/shared", "no data after November 2026", ""},
		{"GET me/skydrive/shared/albums", "no data after November 2026", ""},
		{"GET skydrive/get_item_preview?type=normal&url=x", "thumbnails", ""},

		{"GET " + file, "GET " + item, ""},
		{"GET FILE.8C8CE076CA27823F.8c8ce076ca27823f%21126", "GET " + item, ""},
		{"GET photo.8c8ce076ca27823f.8C8CE076CA27823F!126", "GET " + item, ""},
		{"GET video.8c8ce076ca27823f.8C8CE076CA27823F!126", "GET " + item, ""},
		{"GET audio.8c8ce076ca27823f.8C8CE076CA27823F!126", "GET " + item, ""},
		{"GET " + album, "GET me/drive/items/8C8CE076CA27823F!7", ""},
		{"PUT " + file, "PATCH " + item, ""},
		{"MOVE " + file, "PATCH " + item, ""},
		{"COPY " + file + "?overwrite=ChooseNewName", "POST " + item + "/copy", "overwrite"},
		{"POST " + file + "?method=COPY", "POST " + item + "/copy", ""},
		{"GET " + file + "?method=DELETE&callback=f", "DELETE " + item, ""},
		{"DELETE " + file, "DELETE " + item, ""},
		{"POST " + file, "with this method", ""},
		{"POST " + folder, "POST " + dir + "/children", ""},
		{"GET " + file + "/content?download=true", "GET " + item + "/content", ""},
		{"PUT " + file + "/content/", "PUT " + item + "/content", ""},
		{"GET " + file + "/picture", "GET " + item + "/thumbnails/0/large/content", ""},
		{"GET " + file + "/picture?type=small", "GET " + item + "/thumbnails/0/small/content", ""},
		{"GET " + file + "/picture?type=Album", "GET " + item + "/thumbnails/0/medium/content", ""},
		{"GET " + file + "/picture?type=thumbnail", "GET " + item + "/thumbnails/0/medium/content", ""},
		{"GET " + file + "/picture?type=normal", "GET " + item + "/thumbnails/0/large/content", ""},
		{"GET " + file + "/picture?type=full", "GET " + item + "/thumbnails/0/large/content", "type"},
		{"GET " + file + "/shared_read_link", "POST " + item + "/createLink", ""},
		{"GET " + file + "/shared_edit_link", "POST " + item + "/createLink", ""},
		{"GET " + file + "/embed", "POST " + item + "/createLink", ""},
		{"GET " + file + "/comments", "no comments or tags", ""},
		{"POST " + file + "/comments", "no comments or tags", ""},
		{"GET " + file + "/tags", "no comments or tags", ""},
		{"DELETE comment.22688711f5410e6c.22688711f0410e6c!818.22688711F5410E6C!979", "no comments or tags", ""},
		{"GET " + file + "/files", "is not a path of Live Connect", ""},
		{"GET " + folder + "/files", "GET " + dir + "/children", ""},
		{"GET " + album + "/files", "GET me/drive/items/8C8CE076CA27823F!7/children", ""},
		{"PUT " + folder + "/files/a.txt", "PUT " + dir + ":/a.txt:/content", ""},
		{"GET " + folder + "/search?q=a", "GET " + dir + "/search(q='a')", ""},
		{"GET " + album + "/photos", "list its children", ""},
		{"GET " + album + "/videos", "list its children", ""},
		{"GET " + folder + "/audio", "list its children", ""},
		{"GET " + folder + "/albums", "list its children", ""},
		{"GET folder.8c8ce076ca27823f", "me/drive/root", ""},
		{"GET folder.8c8ce076ca27823f/files", "me/drive/root", ""},
		{"GET file.8c8ce076ca27823f", "is not a path of Live Connect", ""},
		{"GET file.8c8ce076ca27823f.8C8CE076CA27823F!x", "is not a path of Live Connect", ""},

		{"GET me/contacts", "GET me/contacts", ""},
		{"GET me/contacts?limit=5&offset=10", "GET me/contacts?$skip=10&$top=5", ""},
		{"POST me/contacts", "POST me/contacts", ""},
		{"GET me/calendars", "GET me/calendars", ""},
		{"POST me/calendars", "POST me/calendars", ""},
		{"GET me/events?start_time=2011-08-01T00:00:00Z", "GET me/events", "start_time"},
		{"POST me/events", "POST me/events", ""},
		{"GET contact.4a8c.x", "list me/contacts", ""},
		{"DELETE contact.4a8c.x", "list me/contacts", ""},
		{"GET calendar.4a8c", "list me/calendars", ""},
		{"GET Calendar.4a8c/events", "list me/calendars", ""},
		{"PUT event.4a8c.1", "list me/events", ""},

		{"GET me/albums", "at the top of the drive", ""},
		{"POST me/albums", "at the top of the drive", ""},
		{"GET me/permissions", "come with each token", ""},
		{"GET me/friends", "Messenger has ended", ""},
		{"POST me/share", "status messages", ""},
		{"GET me/applications", "Entra admin center", ""},
		{"GET 8c8ce076ca27823f/skydrive/files", "no friends", ""},
		{"GET 8c8ce076ca27823f", "no friends", ""},

		{"PATCH me", "the method is not one of", ""},
		{"GET ", "is not a path of Live Connect", ""},
		{"GET me//skydrive", "is not a path of Live Connect", ""},
		{"GET me/../users", "is not a path of Live Connect", ""},
		{"GET users", "is not a path of Live Connect", ""},
		{"GET https://graph.microsoft.com/v1.0/me", "is not below", ""},
		{"GET https://apis.live.net/v4.1/me", "is not below", ""},
		{"GET http://apis.live.net/v5.0/me", "is not below", ""},
		{"GET https://apis.live.net@example.com/v5.0/me", "is not below", ""},
		{"GET me%0a", "has a character", ""},
		{"GET me%ff", "has a character", ""},
		{"GET me%", "two hexadecimal digits", ""},
		{"GET " + strings.Repeat("x", 5000), "longer than", ""},
	} {
		method, path, _ := strings.Cut(test.live, " ")
		got, err := livesdk.Path(method, path)
		if err == nil {
			if got.Method+" "+got.Path != test.want || strings.Join(got.Dropped, " ") != test.dropped {
				t.Errorf("%s:\n%s %s without %q, want\n%s without %q", test.live, got.Method, got.Path, got.Dropped, test.want, test.dropped)
			}
			continue
		}
		e, ok := errors.AsType[*livesdk.UnmappedError](err)
		if !ok || !strings.Contains(e.Reason, test.want) || len(e.Name) > 200 {
			t.Errorf("%s: %v, want %q", test.live, err, test.want)
		}
	}
}

func TestDefaultMethod(t *testing.T) {
	t.Parallel()
	if got, err := livesdk.Path("", "me"); err != nil || got.Method != "GET" {
		t.Errorf("%v, %v", got, err)
	}
}

func TestLinkBodies(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/shared_read_link": `{"type":"view","scope":"anonymous"}`,
		"/shared_edit_link": `{"type":"edit","scope":"anonymous"}`,
		"/embed":            `{"type":"embed"}`,
		"/content":          "",
	} {
		if got, err := livesdk.Path("GET", file+path); err != nil || got.Body != want {
			t.Errorf("%s: %q, %v", path, got.Body, err)
		}
	}
}

// An access token is shown nowhere, however the query is spoilt.
func TestAccessTokens(t *testing.T) {
	t.Parallel()
	const token = "EwB4A8l6BAAU"
	for _, path := range []string{
		"me?access_token=" + token,
		"me?ACCESS_TOKEN=" + token,
		"me?access%5Ftoken=" + token,
		"me?accessToken=" + token,
		"me?pretty=true&access_token=" + token + "&x=1",
		"me?x=1;access_token=" + token,
		"me?x=1?access_token=" + token,
		"me?x=access_token%3D" + token,
		"me?" + token,
		"me?" + token + "=1",
		"me#access_token=" + token,
		"me&access_token=" + token,
		"me%3Faccess_token=" + token,
		"me%253Faccess_token%253D" + token,
		"me%zz%3Faccess%5Ftoken%3D" + token,
		"me%3F%61ccess_token%3D" + token + "%",
		"me/skydrive/files/a%3Faccess_token%3D" + token,
		"me/skydrive/files/a.txt&access_token=" + token,
		"me/skydrive/search?q=access_token%3D" + token,
		"me/nothing?access_token=" + token,
		"me/friends?access_token=" + token,
		"https://apis.live.net/v5.0/me?access_token=" + token,
		"https://example.com/me?access_token=" + token,
		"https://user:" + token + "@apis.live.net/v5.0/me",
		"%?access_token=" + token,
		"%25?access_token=" + token,
	} {
		for _, method := range []string{"GET", "PUT", "PATCH"} {
			got, err := livesdk.Path(method, path)
			shown := got.Path + got.Body + strings.Join(got.Dropped, " ")
			if err != nil {
				shown += err.Error()
			}
			if strings.Contains(shown, token) {
				t.Errorf("%s %s: %s", method, path, shown)
			}
		}
	}
}

func TestItemID(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ id, want, why string }{
		{file, "8C8CE076CA27823F!126", ""},
		{folder, "8C8CE076CA27823F!142", ""},
		{"folder.a6b2a7e8f2515e5e.A6B2A7E8F2515E5E!110", "A6B2A7E8F2515E5E!110", ""}, // Microsoft's example
		{"Photo.8C8CE076CA27823F.8c8ce076ca27823f!3", "8C8CE076CA27823F!3", ""},
		{"8c8ce076ca27823f!3", "8C8CE076CA27823F!3", ""},
		{"folder.8c8ce076ca27823f", "", "top folder"},
		{"contact.4a8c.x", "", "list me/contacts"},
		{"event.4a8c.x", "", "list me/events"},
		{"8c8ce076ca27823f", "", "is not the ID of a file or folder"},
		{"8c8ce076ca27823f!s0123", "", "is not the ID of a file or folder"},
		{"file.8c8ce076ca27823f.8C8CE076CA27823F!126/content", "", "is not the ID of a file or folder"},
		{"file.8c8ce076ca27823f.8C8CE076CA27823F!126\n", "", "is not the ID of a file or folder"},
		{"", "", "is not the ID of a file or folder"},
	} {
		got, err := livesdk.ItemID(test.id)
		if got != test.want || (err == nil) != (test.why == "") {
			t.Errorf("%q: %q, %v", test.id, got, err)
		}
		if e, ok := errors.AsType[*livesdk.UnmappedError](err); err != nil && (!ok || !strings.Contains(e.Reason, test.why)) {
			t.Errorf("%q: %v, want %q", test.id, err, test.why)
		}
	}
}

func TestErrorTexts(t *testing.T) {
	t.Parallel()
	_, err := livesdk.Path("get", "https://apis.live.net/v5.0/me/friends?limit=1")
	const want = `livesdk: "GET me/friends": has no equivalent: Messenger has ended; contacts are in me/contacts`
	if err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
	_, err = livesdk.Scopes("wl.a\u0085" + strings.Repeat("ü", 200))
	if e, ok := errors.AsType[*livesdk.UnmappedError](err); !ok || len(e.Name) > 200 || strings.ContainsRune(e.Name, '\u0085') {
		t.Errorf("%v", err)
	}
}
