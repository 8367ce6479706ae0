package msauthtest_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"example.com/msauth/msauthtest"
)

type permission struct {
	ID                 string
	Roles              []string
	Link               *struct{ Type, Scope, WebURL, WebHTML string }
	HasPassword        bool
	ExpirationDateTime string
}

// shares creates a link with a status.
func (a *app) shares(status int, item, token, ask string) (p permission) {
	a.t.Helper()
	res, text := a.send("POST", item+"/createLink", token, ask)
	if err := json.Unmarshal([]byte(text), &p); err != nil || res.StatusCode != status {
		a.t.Fatalf("createLink %s: %d %s, want %d", ask, res.StatusCode, text, status)
	}
	return p
}

func TestSharingLinks(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	drive, token := a.writer(msauthtest.Ada)
	item := drive + "/root:/Documents:"
	view := a.shares(201, item, token, `{"type":"view","scope":"anonymous"}`)
	if view.Link == nil || !strings.HasPrefix(view.Link.WebURL, "https://contoso-my.sharepoint.example/") || view.Link.Type != "view" || view.Link.Scope != "anonymous" || !slices.Equal(view.Roles, []string{"read"}) {
		t.Errorf("view: %+v %+v", view, view.Link)
	}
	if !slices.Contains(a.ms.Secrets(), view.Link.WebURL) {
		t.Error("the link is not a secret")
	}
	if again := a.shares(200, item, token, `{"type":"view","scope":"anonymous"}`); again.ID != view.ID || again.Link.WebURL != view.Link.WebURL {
		t.Errorf("again: %+v", again)
	}
	if edit := a.shares(201, item, token, `{"type":"edit"}`); edit.ID == view.ID || edit.Link.Scope != "organization" || !slices.Equal(edit.Roles, []string{"write"}) {
		t.Errorf("edit: %+v", edit)
	}
	if soon := a.shares(201, item, token, `{"type":"view","scope":"anonymous","expirationDateTime":"2099-01-02T03:04:05Z"}`); soon.ID == view.ID || soon.ExpirationDateTime != "2099-01-02T03:04:05Z" {
		t.Errorf("with an expiry: %+v", soon)
	}
	var shared struct{ Shared *struct{ Scope string } }
	if a.json2(drive+"/root:/Documents", token, &shared); shared.Shared == nil || shared.Shared.Scope != "anonymous" {
		t.Errorf("shared: %+v", shared.Shared)
	}

	var list struct{ Value []permission }
	a.json2(item+"/permissions", token, &list)
	if len(list.Value) != 4 || !slices.Equal(list.Value[0].Roles, []string{"owner"}) || list.Value[1].ID != view.ID {
		t.Errorf("permissions: %+v", list)
	}
	a.do(200, "GET", item+"/permissions/"+view.ID, token, "")
	a.do(204, "DELETE", item+"/permissions/"+view.ID, token, "")
	a.refused(404, "itemNotFound", "GET", item+"/permissions/"+view.ID, token, "")
	a.refused(404, "itemNotFound", "DELETE", item+"/permissions/"+view.ID, token, "")
	a.refused(403, "accessDenied", "DELETE", item+"/permissions/"+list.Value[0].ID, token, "")
	if other := a.shares(201, item, token, `{"type":"view","scope":"anonymous"}`); other.ID == view.ID {
		t.Error("the link is there again")
	}
}

func TestSharingLinksByAccount(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	work, workToken := a.writer(msauthtest.Ada)
	personal, personalToken := a.writer(msauthtest.Mia)
	work, personal = work+"/root:/Measurements.csv:", personal+"/root:/Measurements.csv:"
	for _, ask := range []string{
		`{"type":"embed"}`, `{"type":"view","password":"secret"}`, `{"type":"own"}`, `{}`, `{"type":"view","scope":"world"}`,
		`{"type":"view","expirationDateTime":"2001-01-02T03:04:05Z"}`, `{"type":"view","expirationDateTime":"soon"}`,
	} {
		a.refused(400, "invalidRequest", "POST", work+"/createLink", workToken, ask)
	}
	a.refused(400, "invalidRequest", "POST", personal+"/createLink", personalToken, `{"type":"view","scope":"organization"}`)
	if embed := a.shares(201, personal, personalToken, `{"type":"embed"}`); !strings.Contains(embed.Link.WebHTML, "<iframe") || embed.Link.Scope != "anonymous" {
		t.Errorf("embed: %+v", embed.Link)
	}
	if locked := a.shares(201, personal, personalToken, `{"type":"view","password":"secret"}`); !locked.HasPassword {
		t.Errorf("with a password: %+v", locked)
	}
	if open := a.shares(201, personal, personalToken, `{"type":"view"}`); open.HasPassword {
		t.Errorf("without a password: %+v", open)
	}
	reader := a.signIn(msauthtest.Bruno, "scope", "openid Files.Read").AccessToken
	me := a.ms.URL + "/v1.0/me/drive/root:/Measurements.csv:"
	a.refused(403, "accessDenied", "POST", me+"/createLink", reader, `{"type":"view"}`)
	a.refused(403, "accessDenied", "DELETE", me+"/permissions/x", reader, "")
	a.refused(403, "accessDenied", "POST", me+"/restore", reader, "")
	a.refused(403, "accessDenied", "POST", me+"/permanentDelete", reader, "")
	for _, path := range []string{"/thumbnails", "/permissions"} {
		a.do(200, "GET", me+path, reader, "")
	}
	for _, path := range []string{"/delta", "/search(q='x')"} {
		a.do(200, "GET", a.ms.URL+"/v1.0/me/drive/root"+path, reader, "")
	}
}
