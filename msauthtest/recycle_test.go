package msauthtest_test

import (
	"net/url"
	"testing"

	"example.com/msauth/msauthtest"
)

func (a *app) quota(token string) (used, deleted, remaining int64) {
	a.t.Helper()
	var about struct {
		Quota struct {
			Used, Deleted, Remaining, Total int64
			State                           string
		}
	}
	a.json2(a.ms.URL+"/v1.0/me/drive", token, &about)
	q := about.Quota
	if q.State != "normal" || q.Used+q.Deleted+q.Remaining != q.Total {
		a.t.Errorf("quota: %+v", q)
	}
	return q.Used, q.Deleted, q.Remaining
}

func TestDeletedItemsCanBeRestored(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	drive, token := a.writer(msauthtest.Mia)
	used, _, _ := a.quota(token)
	folder := a.do(200, "GET", drive+"/root:/Documents", token, "")
	file := a.do(200, "GET", drive+"/root:/Documents/Reports/2026/測定結果.csv", token, "")
	content := a.text(drive, file.ID, token)
	at := func(it driveItem) string { return drive + "/items/" + url.PathEscape(it.ID) }

	a.refused(404, "itemNotFound", "POST", at(folder)+"/restore", token, "") // it is not deleted
	a.do(204, "DELETE", at(folder), token, "")
	a.refused(404, "itemNotFound", "GET", at(file), token, "")
	a.refused(404, "itemNotFound", "DELETE", at(folder), token, "")
	if now, deleted, _ := a.quota(token); now != used-folder.Size || deleted != folder.Size {
		t.Errorf("quota: used %d, deleted %d", now, deleted)
	}
	a.refused(404, "itemNotFound", "POST", at(file)+"/restore", token, "") // only with its folder
	back := a.do(200, "POST", at(folder)+"/restore", token, "")
	if back.ID != folder.ID || back.Name != "Documents" || back.Folder.ChildCount != folder.Folder.ChildCount || back.ParentReference.ID != folder.ParentReference.ID {
		t.Errorf("restored: %+v", back)
	}
	if got := a.text(drive, file.ID, token); got != content {
		t.Errorf("content: %q", got)
	}
	a.refused(404, "itemNotFound", "POST", at(folder)+"/restore", token, "")

	// The name is taken: another name, another folder.
	a.do(204, "DELETE", at(folder), token, "")
	a.do(201, "POST", drive+"/root/children", token, `{"name":"documents","folder":{}}`)
	a.refused(409, "nameAlreadyExists", "POST", at(folder)+"/restore", token, "")
	a.refused(400, "invalidRequest", "POST", at(folder)+"/restore", token, `{"name":"a/b"}`)
	a.refused(404, "itemNotFound", "POST", at(folder)+"/restore", token, `{"parentReference":{"id":"nowhere"}}`)
	if back := a.do(200, "POST", at(folder)+"/restore", token, `{"name":"Old documents","parentReference":{"path":"/drive/root:/Pictures"}}`); back.Name != "Old documents" || back.ParentReference.Path != "/drive/root:/Pictures" {
		t.Errorf("restored elsewhere: %+v", back)
	}

	// Its folder is deleted, too.
	a.do(204, "DELETE", at(file), token, "")
	a.do(204, "DELETE", at(folder), token, "")
	a.refused(404, "itemNotFound", "POST", at(file)+"/restore", token, "")
	a.do(200, "POST", at(folder)+"/restore", token, "")
	a.do(200, "POST", at(file)+"/restore", token, "")
	a.refused(405, "notSupported", "POST", at(file)+"/permanentDelete", token, "")
}

func TestWorkAccountsRestoreNothing(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	drive, token := a.writer(msauthtest.Ada)
	file := a.do(200, "GET", drive+"/root:/Measurements.csv", token, "")
	a.do(204, "DELETE", drive+"/items/"+file.ID, token, "")
	a.refused(400, "notSupported", "POST", drive+"/items/"+file.ID+"/restore", token, "")

	_, before, _ := a.quota(token)
	list := a.do(200, "GET", drive+"/root:/Shopping list.txt", token, "")
	a.do(204, "POST", drive+"/items/"+list.ID+"/permanentDelete", token, "")
	a.refused(404, "itemNotFound", "GET", drive+"/items/"+list.ID, token, "")
	if _, deleted, _ := a.quota(token); deleted != before || before != file.Size {
		t.Errorf("the recycle bin has %d bytes, want %d", deleted, file.Size)
	}
	a.refused(403, "accessDenied", "POST", drive+"/root/permanentDelete", token, "")
}

func TestDeleteNeedsTheVersion(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	drive, token := a.writer(msauthtest.Ada)
	file := a.do(200, "GET", drive+"/root:/Measurements.csv", token, "")
	a.refused(412, "resourceModified", "DELETE", drive+"/items/"+file.ID, token, "", "If-Match", `"old"`)
	a.do(204, "DELETE", drive+"/items/"+file.ID, token, "", "If-Match", file.ETag)
}
