package msauthtest

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Graph's error for a token without a required scope.
const (
	denied       = "Authorization_RequestDenied"
	insufficient = "Insufficient privileges to complete the operation."
)

// Scopes that permit a request. They are case-insensitive.
var (
	profileNeed = need{[]string{"User.Read", "User.ReadWrite", "User.ReadBasic.All", "User.Read.All", "User.ReadWrite.All"}, denied, insufficient}
	readNeed    = need{[]string{"Files.Read", "Files.ReadWrite", "Files.Read.All", "Files.ReadWrite.All"}, "accessDenied", insufficient}
	writeNeed   = need{[]string{"Files.ReadWrite", "Files.ReadWrite.All"}, "accessDenied", insufficient}
)

// graphCode returns Graph's error code for an HTTP status.
func graphCode(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "invalidRequest"
	case http.StatusUnauthorized:
		return "InvalidAuthenticationToken"
	case http.StatusForbidden:
		return "accessDenied"
	case http.StatusNotFound:
		return "itemNotFound"
	case http.StatusMethodNotAllowed:
		return "notSupported"
	case http.StatusTooManyRequests:
		return "TooManyRequests"
	case http.StatusServiceUnavailable:
		return "serviceNotAvailable"
	}
	return "generalException"
}

// graphError answers with Graph's error document ("Microsoft Graph error
// responses and resource types").
func graphError(w http.ResponseWriter, r *http.Request, status int, code, message string) {
	writeError(w, r, problem{status, code, message, ""})
}

func writeError(w http.ResponseWriter, r *http.Request, p problem) {
	id := newGUID()
	clientID := id
	if text := r.Header.Get("Client-Request-Id"); text != "" && len(text) <= 64 {
		clientID = text
	}
	w.Header().Set("Request-Id", id)
	if strings.HasPrefix(r.URL.Path, "/upload/") { // the storage host spells it so, and has no ids
		doc := map[string]any{"code": p.code, "message": p.message}
		if p.inner != "" {
			doc["innererror"] = map[string]any{"code": p.inner}
		}
		writeJSON(w, p.status, map[string]any{"error": doc})
		return
	}
	inner := map[string]any{
		"date":              time.Now().UTC().Format("2006-01-02T15:04:05"),
		"request-id":        id,
		"client-request-id": clientID,
	}
	if p.inner != "" {
		inner["code"] = p.inner
	}
	writeJSON(w, p.status, map[string]any{"error": map[string]any{"code": p.code, "message": p.message, "innerError": inner}})
}

// bearer returns the person whose token a request to Graph carries, or answers
// 401 or 403.
func (e *exchange) bearer(w http.ResponseWriter, r *http.Request, need need) (User, bool) {
	return e.admit(w, r, need, graphAudience, e.URL)
}

func graphPath(r *http.Request) string {
	return strings.Trim(strings.TrimPrefix(r.URL.Path, "/v1.0"), "/")
}

// inDrive reports whether a request to Graph concerns a OneDrive.
func inDrive(r *http.Request) bool {
	path := graphPath(r)
	return path == "me/drives" || path == "me/drive" || strings.HasPrefix(path, "me/drive/") || strings.HasPrefix(path, "drives/")
}

// graph serves everything below /v1.0.
func (e *exchange) graph(w http.ResponseWriter, r *http.Request) {
	path := graphPath(r)
	if inDrive(r) {
		e.drive(w, r, path)
		return
	}
	if handle, ok := directory[strings.ReplaceAll(path, "/microsoft.graph.", "/graph.")]; ok {
		handle(e, w, r)
		return
	}
	if parts := photoPath.FindStringSubmatch(path); parts != nil {
		e.profilePhoto(w, r, parts)
		return
	}
	u, ok := e.bearer(w, r, profileNeed)
	if !ok || !readOnly(w, r) {
		return
	}
	if path != "me" {
		graphError(w, r, http.StatusNotFound, "Request_ResourceNotFound", "The local Microsoft has no such resource: "+path)
		return
	}
	e.graphJSON(w, r, "users/$entity", profile(u))
}

func readOnly(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	w.Header().Set("Allow", "GET, HEAD")
	graphError(w, r, http.StatusMethodNotAllowed, "notSupported", "The local Microsoft accepts GET and HEAD only here.")
	return false
}

// profile returns the user resource with its default properties.
func profile(u User) map[string]any {
	text := func(s string) any {
		if s == "" {
			return nil
		}
		return s
	}
	doc := map[string]any{
		"businessPhones":    []string{},
		"displayName":       u.Name,
		"givenName":         text(u.GivenName),
		"jobTitle":          text(u.JobTitle),
		"mail":              text(u.Email),
		"mobilePhone":       nil,
		"officeLocation":    nil,
		"preferredLanguage": nil,
		"surname":           text(u.FamilyName),
		"userPrincipalName": u.SignInName,
		"id":                u.ObjectID,
	}
	if u.personal() {
		// Graph identifies personal accounts by the last 16 digits only.
		doc["id"] = driveNumber(u)
	}
	return doc
}

// driveNumber returns the number of a personal account.
func driveNumber(u User) string {
	digits := strings.ReplaceAll(u.ObjectID, "-", "")
	return digits[max(0, len(digits)-16):]
}

// graphJSON answers with the properties of a resource that $select names.
func (e *exchange) graphJSON(w http.ResponseWriter, r *http.Request, context string, doc map[string]any) {
	doc = selected(doc, r.URL.Query().Get("$select"))
	doc["@odata.context"] = e.URL + "/v1.0/$metadata#" + context
	writeJSON(w, http.StatusOK, doc)
}

func selected(doc map[string]any, list string) map[string]any {
	if list == "" {
		return doc
	}
	want := strings.Split(strings.ToLower(list), ",")
	cut := map[string]any{}
	for name, value := range doc {
		if strings.HasPrefix(name, "@") || slices.Contains(want, strings.ToLower(name)) {
			cut[name] = value
		}
	}
	return cut
}

func identity(u User) map[string]any {
	return map[string]any{"user": map[string]any{"displayName": u.Name, "id": profile(u)["id"], "email": u.SignInName}}
}

func driveType(u User) string {
	if u.personal() {
		return "personal"
	}
	return "business"
}

func driveID(u User) string {
	if u.personal() {
		return strings.ToUpper(driveNumber(u))
	}
	sum := sha256.Sum256([]byte("drive " + u.ObjectID))
	return "b!" + base64.RawURLEncoding.EncodeToString(append(sum[:], sum[:16]...))
}

// webRoot returns a URL like that of the drive's web pages, which do not exist
// here.
func webRoot(u User) string {
	if u.personal() {
		return "https://onedrive.live.com/?cid=" + driveNumber(u) + "&path="
	}
	tenantName, _, _ := strings.Cut(u.domain(), ".")
	return "https://" + tenantName + "-my.sharepoint.example/personal/" + strings.NewReplacer("@", "_", ".", "_").Replace(u.SignInName) + "/Documents"
}

// quotaState returns the state of a quota ("quota resource type").
func quotaState(remaining int64) string {
	switch {
	case remaining <= 0:
		return "exceeded"
	case remaining < maxDriveSize/100:
		return "critical"
	case remaining < maxDriveSize/10:
		return "nearing"
	}
	return "normal"
}

func (e *exchange) driveDoc(u User, d *drive) map[string]any {
	used, deleted := d.root.size(), d.binSize()
	remaining := maxDriveSize - used - deleted
	return map[string]any{
		"id":        driveID(u),
		"driveType": driveType(u),
		"name":      "OneDrive",
		"webUrl":    webRoot(u),
		"owner":     identity(u),
		"quota": map[string]any{
			"total": int64(maxDriveSize), "used": used, "remaining": remaining, "deleted": deleted, "state": quotaState(remaining),
		},
	}
}

func (e *exchange) itemDoc(u User, it *item) map[string]any {
	created, modified := it.created.UTC().Format(time.RFC3339), it.modified.UTC().Format(time.RFC3339)
	doc := map[string]any{
		"id":                   it.id,
		"name":                 it.name,
		"size":                 it.size(),
		"createdDateTime":      created,
		"lastModifiedDateTime": modified,
		"webUrl":               webRoot(u) + it.urlPath(),
		"eTag":                 it.eTag(),
		"cTag":                 fmt.Sprintf(`"c:{%s},%d"`, strings.ToUpper(derivedGUID("ctag "+it.id)), it.version),
		"createdBy":            identity(u),
		"lastModifiedBy":       identity(u),
		"fileSystemInfo":       it.times.doc(created, modified),
		"parentReference":      map[string]any{"driveId": driveID(u), "driveType": driveType(u)},
	}
	if it.parent == nil {
		doc["root"] = map[string]any{}
	} else {
		doc["parentReference"] = map[string]any{
			"driveId": driveID(u), "driveType": driveType(u),
			"id": it.parent.id, "name": it.parent.name, "path": "/drive/root:" + it.parent.urlPath(),
		}
	}
	if it.folder {
		doc["folder"] = map[string]any{"childCount": len(it.children)}
	} else {
		about := map[string]any{"mimeType": it.mime}
		if it.content.size > 0 { // empty files have no hashes
			hashes := map[string]any{"quickXorHash": it.content.hashes.quickXor}
			if u.personal() {
				hashes["sha256Hash"] = it.content.hashes.sha256
			}
			about["hashes"] = hashes
		}
		doc["file"] = about
		doc["@microsoft.graph.downloadUrl"] = e.presigned(u, it, "")
	}
	if len(it.links) > 0 {
		doc["shared"] = map[string]any{"scope": it.links[0].scope}
	}
	return doc
}
