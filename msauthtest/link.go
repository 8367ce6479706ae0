package msauthtest

import (
	"net/http"
	"strings"
	"time"
)

// maxLinks is the number of sharing links of an item.
const maxLinks = 100

// A link is a sharing link of an item ("sharingLink resource type").
type link struct {
	id, kind, scope string
	url             string
	password        bool
	expires         string
}

// A linkRequest is the body of createLink.
type linkRequest struct {
	Type     string `json:"type"`
	Scope    string `json:"scope"`
	Password string `json:"password"`
	Expires  string `json:"expirationDateTime"`
}

// linkProblem returns the problem with a link for an account, or nil.
func (c *driveCall) linkProblem(ask *linkRequest) *problem {
	personal := c.user.personal()
	if ask.Scope == "" { // the default of the organization, as a rule
		if ask.Scope = "organization"; personal {
			ask.Scope = "anonymous"
		}
	}
	switch ask.Type {
	case "view", "edit":
	case "embed":
		if !personal {
			return badRequest("Links of the type embed are for personal accounts only.")
		}
	default:
		return badRequest("The value of type is not valid.")
	}
	switch {
	case ask.Scope != "anonymous" && ask.Scope != "organization" && ask.Scope != "users":
		return badRequest("The value of scope is not valid.")
	case ask.Scope == "organization" && personal:
		return badRequest("A personal account has no organization.")
	case ask.Password != "" && !personal:
		return badRequest("Links with a password are for personal accounts only.")
	}
	if ask.Expires != "" {
		at, err := time.Parse(time.RFC3339, ask.Expires)
		if err != nil || !at.After(time.Now()) {
			return badRequest("The value of expirationDateTime is not valid.")
		}
		ask.Expires = at.UTC().Format(time.RFC3339)
	}
	return nil
}

// createLink serves "driveItem: createLink". A link of the same type and scope is
// not made twice. The URLs lead nowhere.
func (c *driveCall) createLink(w http.ResponseWriter, r *http.Request, p place) {
	var ask linkRequest
	bad := readDocument(c.body, &ask)
	if bad == nil {
		bad = c.linkProblem(&ask)
	}
	if bad == nil && len(p.item.links) >= maxLinks {
		bad = badRequest("The item has too many links.")
	}
	if bad != nil {
		bad.write(w, r)
		return
	}
	for _, l := range p.item.links {
		if l.kind == ask.Type && l.scope == ask.Scope && l.password == (ask.Password != "") && l.expires == ask.Expires {
			writeJSON(w, http.StatusOK, c.linkDoc(p.item, l))
			return
		}
	}
	l := &link{id: randomText(22), kind: ask.Type, scope: ask.Scope, password: ask.Password != "", expires: ask.Expires}
	l.url = c.linkURL(p.item)
	c.addSecrets(l.url)
	p.item.links = append(p.item.links, l)
	c.drive.changed(p.item)
	writeJSON(w, http.StatusCreated, c.linkDoc(p.item, l))
}

// linkURL returns a new URL in the form of those of the account.
func (c *driveCall) linkURL(it *item) string {
	letter := "u"
	if it.folder {
		letter = "f"
	}
	if c.user.personal() {
		return "https://1drv.example/" + letter + "/c/" + strings.ToLower(driveID(c.user)) + "/" + randomText(34)
	}
	host, _, _ := strings.Cut(strings.TrimPrefix(webRoot(c.user), "https://"), "/")
	return "https://" + host + "/:" + letter + ":/g/personal/" + randomText(34)
}

func (c *driveCall) linkDoc(it *item, l *link) map[string]any {
	role := "read"
	if l.kind == "edit" {
		role = "write"
	}
	about := map[string]any{"type": l.kind, "scope": l.scope, "webUrl": l.url, "application": map[string]any{"id": c.ClientID, "displayName": "The app"}}
	if l.kind == "embed" {
		about["webHtml"] = `<iframe src="` + l.url + `"></iframe>`
	}
	doc := map[string]any{
		"@odata.context": c.URL + "/v1.0/$metadata#permission",
		"id":             l.id, "roles": []string{role}, "link": about, "hasPassword": l.password,
	}
	if l.expires != "" {
		doc["expirationDateTime"] = l.expires
	}
	return doc
}

// permissions serves "List sharing permissions on a driveItem" and GET of one of
// them: the owner, and the links. Links of the folders above are not listed.
func (c *driveCall) permissions(w http.ResponseWriter, r *http.Request, p place) {
	owner := map[string]any{
		"id": "owner-" + p.item.id, "roles": []string{"owner"}, "grantedToV2": identity(c.user),
	}
	list := []any{owner}
	for _, l := range p.item.links {
		doc := c.linkDoc(p.item, l)
		if l.id == p.rest {
			writeJSON(w, http.StatusOK, doc)
			return
		}
		list = append(list, doc)
	}
	switch p.rest {
	case "":
		writeJSON(w, http.StatusOK, map[string]any{"@odata.context": c.URL + "/v1.0/$metadata#" + c.metadata() + "/items/permissions", "value": list})
	case owner["id"]:
		writeJSON(w, http.StatusOK, owner)
	default:
		problemMissing.write(w, r)
	}
}

// deletePermission serves "Delete a sharing permission from a file or folder".
func (c *driveCall) deletePermission(w http.ResponseWriter, r *http.Request, p place) {
	left := without(p.item.links, func(l *link) bool { return l.id == p.rest })
	switch {
	case p.rest == "owner-"+p.item.id:
		forbidden("The permission of the owner cannot be removed.").write(w, r)
	case len(left) == len(p.item.links):
		problemMissing.write(w, r)
	default:
		p.item.links = left
		c.drive.changed(p.item)
		w.WriteHeader(http.StatusNoContent)
	}
}
