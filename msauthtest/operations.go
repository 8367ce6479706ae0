package msauthtest

import (
	"net/http"
	"net/url"
	"strings"
)

// An operation serves the requests with one method for one action of an item.
type operation func(c *driveCall, w http.ResponseWriter, r *http.Request, p place)

// operations are what can be done with an item, by action and method. GET
// stands for HEAD too.
var operations = map[string]map[string]operation{
	"":                    {"GET": (*driveCall).show, "PUT": (*driveCall).adopt, "PATCH": (*driveCall).update, "DELETE": (*driveCall).delete},
	"children":            {"GET": (*driveCall).children, "POST": (*driveCall).createFolder},
	"content":             {"GET": (*driveCall).redirect, "PUT": (*driveCall).put},
	"createUploadSession": {"POST": (*driveCall).createUpload},
	"copy":                {"POST": (*driveCall).copy},
	"permanentDelete":     {"POST": (*driveCall).permanentDelete},
	"restore":             {"POST": (*driveCall).notDeleted},
	"search":              {"GET": (*driveCall).search},
	"delta":               {"GET": (*driveCall).delta},
	"thumbnails":          {"GET": (*driveCall).thumbnails},
	"createLink":          {"POST": (*driveCall).createLink},
	"permissions":         {"GET": (*driveCall).permissions, "DELETE": (*driveCall).deletePermission},
}

// nested are the actions whose paths go on.
var nested = map[string]bool{"thumbnails": true, "permissions": true}

// allowed returns the value of the Allow header for an action.
func allowed(action string) string {
	var list []string
	for _, method := range []string{"GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"} {
		if operations[action][plainMethod(method)] != nil {
			list = append(list, method)
		}
	}
	return strings.Join(list, ", ")
}

func plainMethod(method string) string {
	if method == http.MethodHead {
		return http.MethodGet
	}
	return method
}

// creates reports whether an item need not exist for a request.
func (t target) creates(method string) bool {
	return method == http.MethodPut && (t.action == "content" || t.action == "") || t.action == "createUploadSession"
}

// answer serves a request to an item of a drive.
func (c *driveCall) answer(w http.ResponseWriter, r *http.Request, t target) {
	if t.action == "restore" && r.Method == http.MethodPost && len(t.names) == 0 {
		if b := c.drive.deleted(t.id); b != nil || !c.user.personal() {
			c.restore(w, r, b)
			return
		}
	}
	p, ok := t.locate(c.drive.root)
	if !ok || p.item == nil && !t.creates(r.Method) {
		problemMissing.write(w, r)
		return
	}
	methods, known := operations[t.action]
	if !known || t.rest != "" && !nested[t.action] {
		graphError(w, r, http.StatusBadRequest, "BadRequest", "Resource not found for the segment '"+t.action+"'.")
		return
	}
	serve := methods[plainMethod(r.Method)]
	if serve == nil {
		w.Header().Set("Allow", allowed(t.action))
		graphError(w, r, http.StatusMethodNotAllowed, "notSupported", "The method is not allowed here.")
		return
	}
	if want := r.Header.Get("If-Match"); want != "" && want != "*" && p.item != nil && plainMethod(r.Method) != http.MethodGet && want != p.item.eTag() {
		problemChanged.write(w, r)
		return
	}
	serve(c, w, r, p)
}

// metadata returns the beginning of the context of documents of the drive.
func (c *driveCall) metadata() string {
	return "users('" + url.PathEscape(c.user.ObjectID) + "')/drive"
}

// show serves GET of an item.
func (c *driveCall) show(w http.ResponseWriter, r *http.Request, p place) {
	doc := selected(c.itemDoc(c.user, p.item), r.URL.Query().Get("$select"))
	c.expand(doc, p.item, r.URL.Query())
	doc["@odata.context"] = c.URL + "/v1.0/$metadata#" + c.metadata() + "/root/$entity"
	writeJSON(w, http.StatusOK, doc)
}

// redirect serves GET content.
func (c *driveCall) redirect(w http.ResponseWriter, r *http.Request, p place) {
	if p.item.folder {
		badRequest("Cannot get the content of a folder.").write(w, r)
		return
	}
	if r.Header.Get("If-None-Match") == p.item.eTag() {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("Location", c.presigned(c.user, p.item, ""))
	w.WriteHeader(http.StatusFound)
}
