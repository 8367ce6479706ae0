package msauthtest

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Scopes that let a request in. Upper and lower case are alike.
var (
	profileScopes = []string{"User.Read", "User.ReadWrite", "User.ReadBasic.All", "User.Read.All", "User.ReadWrite.All"}
	fileScopes    = []string{"Files.Read", "Files.ReadWrite", "Files.Read.All", "Files.ReadWrite.All"}
)

// graphCode is Graph's error code for a status.
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
	id := newGUID()
	clientID := id
	if text := r.Header.Get("Client-Request-Id"); text != "" && len(text) <= 64 {
		clientID = text
	}
	w.Header().Set("Request-Id", id)
	writeJSON(w, status, map[string]any{"error": map[string]any{
		"code":    code,
		"message": message,
		"innerError": map[string]any{
			"date":              time.Now().UTC().Format("2006-01-02T15:04:05"),
			"request-id":        id,
			"client-request-id": clientID,
		},
	}})
}

// bearer finds whom a request acts for, or answers 401 or 403.
func (e *exchange) bearer(w http.ResponseWriter, r *http.Request, scopes []string) (User, bool) {
	deny := func(message string) (User, bool) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="", authorization_uri="`+e.URL+`/common/oauth2/v2.0/authorize", client_id="00000003-0000-0000-c000-000000000000"`)
		graphError(w, r, http.StatusUnauthorized, "InvalidAuthenticationToken", message)
		return User{}, false
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if token == "" || !strings.EqualFold(scheme, "Bearer") {
		return deny("Access token is empty.")
	}
	e.mu.Lock()
	t, ok := e.access[sha256.Sum256([]byte(token))]
	e.mu.Unlock()
	switch {
	case !ok:
		return deny("Invalid access token.")
	case time.Now().After(t.expires):
		return deny("Lifetime validation failed, the token is expired.")
	case t.audience != graphAudience && t.audience != e.URL:
		return deny("Access token validation failure. Invalid audience.")
	}
	u, ok := e.user(t.user)
	if !ok {
		return deny("The user of the token does not exist.")
	}
	if len(scopes) > 0 && !slices.ContainsFunc(t.scopes, func(s string) bool {
		return s == ".default" || slices.ContainsFunc(scopes, func(want string) bool { return strings.EqualFold(s, want) })
	}) {
		code := "Authorization_RequestDenied"
		if slices.Contains(scopes, "Files.Read") {
			code = "accessDenied"
		}
		graphError(w, r, http.StatusForbidden, code, "Insufficient privileges to complete the operation.")
		return User{}, false
	}
	return u, true
}

// graph answers below /v1.0.
func (e *exchange) graph(w http.ResponseWriter, r *http.Request) {
	path := strings.Trim(strings.TrimPrefix(r.URL.Path, "/v1.0"), "/")
	if path == "me/drive" || strings.HasPrefix(path, "me/drive/") {
		if u, ok := e.bearer(w, r, fileScopes); ok && readOnly(w, r) {
			e.drive(w, r, u, strings.Trim(strings.TrimPrefix(path, "me/drive"), "/"))
		}
		return
	}
	u, ok := e.bearer(w, r, profileScopes)
	if !ok || !readOnly(w, r) {
		return
	}
	switch path {
	case "me":
		e.graphJSON(w, r, "users/$entity", profile(u))
	case "me/photo":
		e.graphJSON(w, r, "users('"+u.ObjectID+"')/photo/$entity", map[string]any{
			"@odata.mediaContentType": "image/jpeg", "id": "240x240", "width": photoSize, "height": photoSize,
		})
	case "me/photo/$value":
		w.Header().Set("Content-Type", "image/jpeg")
		w.Write(photo(u))
	default:
		graphError(w, r, http.StatusNotFound, "Request_ResourceNotFound", "The local Microsoft has no such resource: "+path)
	}
}

func readOnly(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	w.Header().Set("Allow", "GET, HEAD")
	graphError(w, r, http.StatusMethodNotAllowed, "notSupported", "The local Microsoft only reads.")
	return false
}

// profile is the user resource in its default selection.
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
		// Graph knows personal accounts by the last 16 digits only.
		doc["id"] = driveNumber(u)
	}
	return doc
}

// driveNumber is the number of a personal account.
func driveNumber(u User) string {
	digits := strings.ReplaceAll(u.ObjectID, "-", "")
	return digits[max(0, len(digits)-16):]
}

// graphJSON answers with a resource, cut down to $select.
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

// userinfo is the userinfo endpoint (OpenID Connect Core section 5.3).
func (e *exchange) userinfo(w http.ResponseWriter, r *http.Request) {
	u, ok := e.bearer(w, r, []string{"openid"})
	if !ok {
		return
	}
	doc := map[string]any{"sub": e.subject(u), "name": u.Name, "picture": e.URL + "/v1.0/me/photo/$value"}
	setText(doc, "given_name", u.GivenName)
	setText(doc, "family_name", u.FamilyName)
	setText(doc, "email", u.Email)
	writeJSON(w, http.StatusOK, doc)
}

// drive answers below /v1.0/me/drive.
func (e *exchange) drive(w http.ResponseWriter, r *http.Request, u User, path string) {
	root := e.driveOf(u)
	metadata := "users('" + url.PathEscape(u.ObjectID) + "')/drive"
	if path == "" {
		e.graphJSON(w, r, "drives/$entity", e.driveDoc(u, root))
		return
	}
	it, action := locate(root, path)
	if it == nil {
		graphError(w, r, http.StatusNotFound, "itemNotFound", "The resource could not be found.")
		return
	}
	switch action {
	case "":
		e.graphJSON(w, r, metadata+"/root/$entity", e.itemDoc(u, it))
	case "children":
		e.children(w, r, u, it, metadata)
	case "content":
		if it.folder {
			graphError(w, r, http.StatusBadRequest, "invalidRequest", "Cannot get the content of a folder.")
			return
		}
		w.Header().Set("Location", e.presigned(u, it))
		w.WriteHeader(http.StatusFound)
	default:
		graphError(w, r, http.StatusBadRequest, "BadRequest", "Resource not found for the segment '"+action+"'.")
	}
}

// locate finds an item by id ("items/ID", "root") or by path
// ("root:/Documents/a.txt:"), and what is asked of it.
func locate(root *item, path string) (it *item, action string) {
	if rest, ok := strings.CutPrefix(path, "root:/"); ok {
		names, action, _ := strings.Cut(rest, ":")
		it := root
		for name := range strings.SplitSeq(strings.Trim(names, "/"), "/") {
			if it = it.child(name); it == nil {
				return nil, ""
			}
		}
		return it, strings.TrimPrefix(action, "/")
	}
	if rest, ok := strings.CutPrefix(path, "items/"); ok {
		id, action, _ := strings.Cut(rest, "/")
		if id == "root" {
			return root, action
		}
		return root.find(id), action
	}
	if rest, ok := strings.CutPrefix(path, "root"); ok && (rest == "" || rest[0] == '/') {
		return root, strings.TrimPrefix(rest, "/")
	}
	return nil, ""
}

// pageSize is how many children an answer lists when $top says nothing.
const pageSize = 200

func (e *exchange) children(w http.ResponseWriter, r *http.Request, u User, it *item, metadata string) {
	q := r.URL.Query()
	top := pageSize
	if text := q.Get("$top"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 999 {
			graphError(w, r, http.StatusBadRequest, "invalidRequest", "Invalid value specified for '$top'.")
			return
		}
		top = n
	}
	skip := 0
	if text := q.Get("$skiptoken"); text != "" {
		b, err := base64.RawURLEncoding.DecodeString(text)
		n, err2 := strconv.Atoi(string(b))
		if err != nil || err2 != nil || n < 0 {
			graphError(w, r, http.StatusBadRequest, "invalidRequest", "The $skiptoken is not valid.")
			return
		}
		skip = min(n, len(it.children))
	}
	end := min(skip+top, len(it.children))
	list := []map[string]any{}
	for _, child := range it.children[skip:end] {
		list = append(list, selected(e.itemDoc(u, child), q.Get("$select")))
	}
	doc := map[string]any{
		"@odata.context": e.URL + "/v1.0/$metadata#" + metadata + "/items('" + url.PathEscape(it.id) + "')/children",
		"value":          list,
	}
	if end < len(it.children) {
		q.Set("$skiptoken", b64([]byte(strconv.Itoa(end))))
		doc["@odata.nextLink"] = e.URL + r.URL.EscapedPath() + "?" + q.Encode()
	}
	writeJSON(w, http.StatusOK, doc)
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

// webRoot is where a person would see the drive, were there one.
func webRoot(u User) string {
	if u.personal() {
		return "https://onedrive.live.com/?cid=" + driveNumber(u) + "&path="
	}
	tenantName, _, _ := strings.Cut(u.domain(), ".")
	return "https://" + tenantName + "-my.sharepoint.example/personal/" + strings.NewReplacer("@", "_", ".", "_").Replace(u.SignInName) + "/Documents"
}

func (e *exchange) driveDoc(u User, root *item) map[string]any {
	const total = 5 << 30
	used := root.size()
	return map[string]any{
		"id":        driveID(u),
		"driveType": driveType(u),
		"name":      "OneDrive",
		"webUrl":    webRoot(u),
		"owner":     identity(u),
		"quota": map[string]any{
			"total": total, "used": used, "remaining": total - used, "deleted": 0, "state": "normal",
		},
	}
}

func (e *exchange) itemDoc(u User, it *item) map[string]any {
	created, modified := it.created.Format(time.RFC3339), it.modified.Format(time.RFC3339)
	doc := map[string]any{
		"id":                   it.id,
		"name":                 it.name,
		"size":                 it.size(),
		"createdDateTime":      created,
		"lastModifiedDateTime": modified,
		"webUrl":               webRoot(u) + it.urlPath(),
		"eTag":                 fmt.Sprintf(`"{%s},1"`, strings.ToUpper(derivedGUID("etag "+u.ObjectID+it.id))),
		"cTag":                 fmt.Sprintf(`"c:{%s},1"`, strings.ToUpper(derivedGUID("ctag "+u.ObjectID+it.id))),
		"createdBy":            identity(u),
		"lastModifiedBy":       identity(u),
		"fileSystemInfo":       map[string]any{"createdDateTime": created, "lastModifiedDateTime": modified},
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
		sum := sha256.Sum256(it.content)
		doc["file"] = map[string]any{
			"mimeType": it.mime,
			"hashes":   map[string]any{"sha256Hash": strings.ToUpper(fmt.Sprintf("%x", sum))},
		}
		doc["@microsoft.graph.downloadUrl"] = e.presigned(u, it)
	}
	return doc
}
