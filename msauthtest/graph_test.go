package msauthtest_test

import (
	"bytes"
	"encoding/json"
	"image"
	_ "image/jpeg"
	_ "image/png"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"example.com/msauth/msauthtest"
)

func (a *app) graph(url, token string, headers ...string) (*http.Response, string) {
	a.t.Helper()
	req, err := http.NewRequest("GET", url, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := a.browser.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	return res, body(a.t, res)
}

func (a *app) json2(url, token string, into any) {
	a.t.Helper()
	res, text := a.graph(url, token)
	if res.StatusCode != 200 {
		a.t.Fatalf("%s: %d %s", url, res.StatusCode, text)
	}
	if err := json.Unmarshal([]byte(text), into); err != nil {
		a.t.Fatal(err)
	}
}

type item struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	Folder *struct{ ChildCount int }
	File   *struct {
		MimeType string
		Hashes   map[string]string
	}
	DownloadURL string `json:"@microsoft.graph.downloadUrl"`
	WebURL      string
}

type listing struct {
	Value []item
	Next  string `json:"@odata.nextLink"`
}

func TestGraphProfile(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	for _, u := range a.ms.Users() {
		rep := a.signIn(u.SignInName)
		var me map[string]any
		a.json2(a.ms.URL+"/v1.0/me", rep.AccessToken, &me)
		if me["displayName"] != u.Name || me["userPrincipalName"] != u.SignInName || me["mail"] != u.Email {
			t.Errorf("me: %v", me)
		}
		if personal := u.TenantID == msauthtest.TenantPersonal; personal != (me["id"] != u.ObjectID) {
			t.Errorf("id: %v", me["id"])
		}
		res, text := a.graph(a.ms.URL+"/v1.0/me/photo/$value", rep.AccessToken)
		if _, format, err := image.DecodeConfig(strings.NewReader(text)); err != nil || "image/"+format != res.Header.Get("Content-Type") {
			t.Errorf("photo: %v %s", err, res.Header.Get("Content-Type"))
		}
	}
	rep := a.signIn(msauthtest.Ada)
	var me map[string]any
	a.json2(a.ms.URL+"/v1.0/me?$select=displayName,id", rep.AccessToken, &me)
	if len(me) != 3 || me["displayName"] == nil || me["id"] == nil || me["@odata.context"] == nil {
		t.Errorf("$select: %v", me)
	}
	if res, _ := a.graph(a.ms.URL+"/v1.0/me/messages", rep.AccessToken); res.StatusCode != 404 {
		t.Errorf("no such resource: %d", res.StatusCode)
	}
}

func TestGraphRefuses(t *testing.T) {
	t.Parallel()
	ms := newServer(t)
	a := newApp(t, ms)
	a.scope = "openid User.Read offline_access"
	rep := a.signIn(msauthtest.Ada)
	ms.Consent(msauthtest.Ada, "api://orders/User.Read")
	other := a.renew(rep, "scope", "api://orders/User.Read")
	ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Nanosecond })
	expired := a.signIn(msauthtest.Ada)
	tests := []struct {
		name, path, token string
		status            int
		code, message     string
	}{
		{"no token", "/me", "", 401, "InvalidAuthenticationToken", "empty"},
		{"unknown token", "/me", "abc", 401, "InvalidAuthenticationToken", "Invalid access token"},
		{"expired token", "/me", expired.AccessToken, 401, "InvalidAuthenticationToken", "expired"},
		{"token for another API", "/me", other.AccessToken, 401, "InvalidAuthenticationToken", "audience"},
		{"no scope for files", "/me/drive/root/children", rep.AccessToken, 403, "accessDenied", "privileges"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res, text := a.graph(ms.URL+"/v1.0"+tt.path, tt.token)
			var doc struct {
				Error struct{ Code, Message string }
			}
			if err := json.Unmarshal([]byte(text), &doc); err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != tt.status || doc.Error.Code != tt.code || !strings.Contains(doc.Error.Message, tt.message) {
				t.Errorf("%d %s", res.StatusCode, text)
			}
			if (res.Header.Get("WWW-Authenticate") != "") != (tt.status == 401) {
				t.Errorf("WWW-Authenticate: %s", res.Header.Get("WWW-Authenticate"))
			}
		})
	}
	req, _ := http.NewRequest("DELETE", ms.URL+"/v1.0/me", nil)
	req.Header.Set("Authorization", "Bearer "+rep.AccessToken)
	res, err := a.browser.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if body(t, res); res.StatusCode != 405 {
		t.Errorf("DELETE: %d", res.StatusCode)
	}
}

func TestGraphDrive(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	for _, user := range []string{msauthtest.Ada, msauthtest.Mia} {
		rep := a.signIn(user)
		drive := a.ms.URL + "/v1.0/me/drive"
		var about struct {
			ID, DriveType string
			Quota         struct{ Used int64 }
		}
		a.json2(drive, rep.AccessToken, &about)
		var root item
		a.json2(drive+"/root", rep.AccessToken, &root)
		if about.Quota.Used == 0 || about.Quota.Used != root.Size || about.ID == "" || root.Folder == nil {
			t.Errorf("drive: %+v, root: %+v", about, root)
		}

		// Every folder, two children a page; every file.
		files, folders := 0, 0
		var walk func(folder item)
		walk = func(folder item) {
			var all []item
			for next := drive + "/items/" + url.PathEscape(folder.ID) + "/children?$top=2"; next != ""; {
				var page listing
				a.json2(next, rep.AccessToken, &page)
				if len(page.Value) > 2 {
					t.Fatalf("%d children on a page of 2", len(page.Value))
				}
				all = append(all, page.Value...)
				next = page.Next
			}
			if len(all) != folder.Folder.ChildCount {
				t.Errorf("%s: %d children, childCount %d", folder.Name, len(all), folder.Folder.ChildCount)
			}
			for _, it := range all {
				if it.Folder != nil {
					folders++
					walk(it)
					continue
				}
				files++
				var again item
				a.json2(drive+"/items/"+url.PathEscape(it.ID), rep.AccessToken, &again)
				if again.Name != it.Name {
					t.Errorf("item %s: %+v", it.Name, again)
				}
				a.content(it, rep.AccessToken)
			}
		}
		walk(root)
		if files < 8 || folders < 5 {
			t.Errorf("%d files in %d folders", files, folders)
		}
		var byPath listing
		a.json2(drive+"/root:/documents/Reports:/children", rep.AccessToken, &byPath)
		if len(byPath.Value) != 2 {
			t.Errorf("by path: %+v", byPath)
		}
		for path, want := range map[string]int{
			"/items/nothing": 404, "/root:/Nowhere/x.txt": 404, "/root/children?$top=0": 400, "/root/children?$top=x": 400,
			"/root/children?$skiptoken=%25": 400, "/root/content": 400, "/root/versions": 400, "/rootless": 404,
		} {
			if res, _ := a.graph(drive+path, rep.AccessToken); res.StatusCode != want {
				t.Errorf("%s: %d, want %d", path, res.StatusCode, want)
			}
		}
	}
	if got := a.ms.Count(msauthtest.Download); got == 0 {
		t.Error("no downloads counted")
	}
}

// content downloads a file by its redirect.
func (a *app) content(it item, token string) {
	t := a.t
	t.Helper()
	res, _ := a.graph(a.ms.URL+"/v1.0/me/drive/items/"+url.PathEscape(it.ID)+"/content", token)
	location, err := res.Location()
	if res.StatusCode != http.StatusFound || err != nil {
		t.Fatalf("%s: %d %v", it.Name, res.StatusCode, err)
	}
	if here, _ := url.Parse(a.ms.URL); location.Hostname() == here.Hostname() || location.Hostname() != "localhost" {
		t.Errorf("the pre-signed URL is on %s", location.Host)
	}
	for _, u := range []string{location.String(), it.DownloadURL} {
		res, text := a.graph(u, "")
		if res.StatusCode != 200 || int64(len(text)) != it.Size || res.Header.Get("Content-Type") != it.File.MimeType {
			t.Errorf("%s: %d, %d bytes of %d, %s", it.Name, res.StatusCode, len(text), it.Size, res.Header.Get("Content-Type"))
		}
		if strings.HasPrefix(it.File.MimeType, "image/") {
			if _, _, err := image.Decode(strings.NewReader(text)); err != nil {
				t.Errorf("%s: %v", it.Name, err)
			}
		}
		res, part := a.graph(u, "", "Range", "bytes=2-5")
		if res.StatusCode != http.StatusPartialContent || part != text[2:6] {
			t.Errorf("%s: range: %d %q", it.Name, res.StatusCode, part)
		}
		if res, text := a.graph(u, token); res.StatusCode != 400 || !strings.Contains(text, "Authorization") {
			t.Errorf("%s with a bearer token: %d %s", it.Name, res.StatusCode, text)
		}
		broken := []byte(u)
		broken[len(broken)-3] ^= 1
		if res, _ := a.graph(string(broken), ""); res.StatusCode != 401 {
			t.Errorf("%s: a changed pre-signed URL: %d", it.Name, res.StatusCode)
		}
	}
	if !bytes.Contains([]byte(it.WebURL), []byte("https://")) {
		t.Errorf("webUrl: %s", it.WebURL)
	}
}
