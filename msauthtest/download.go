package msauthtest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// presignedLife is the lifetime of a pre-signed URL.
const presignedLife = time.Hour

// presigned returns a URL that serves a file without a token, on another host
// name, until it expires. what is empty for the content, or the size of a
// thumbnail.
func (e *exchange) presigned(u User, it *item, what string) string {
	life := presignedLife
	if e.behavior.DownloadExpires > 0 {
		life = e.behavior.DownloadExpires
	}
	head := binary.BigEndian.AppendUint64(nil, uint64(time.Now().Add(life).UnixNano()))
	head = binary.BigEndian.AppendUint64(head, e.downloadEra.Load())
	head = append(head, randomBytes(8)...)
	path := "/download/" + url.PathEscape(u.ObjectID) + "/" + url.PathEscape(it.id) + "/" + url.PathEscape(it.name)
	if what != "" {
		path = "/thumbnail/" + url.PathEscape(u.ObjectID) + "/" + url.PathEscape(it.id) + "/" + what
	}
	return e.otherURL + path + "?tempauth=v1." + b64(append(head, e.presign(head, u.ObjectID, it.id, what)...))
}

func (s *Server) presign(head []byte, owner, id, what string) []byte {
	h := hmac.New(sha256.New, s.signer)
	h.Write(head)
	h.Write([]byte(owner + "\x00" + id + "\x00" + what))
	return h.Sum(nil)
}

// ExpireDownloads expires all pre-signed URLs of files and thumbnails that were
// issued so far. Requests to them are refused with 401.
func (s *Server) ExpireDownloads() { s.downloadEra.Add(1) }

// presignedItem returns a copy of the item that a pre-signed URL is for, and
// the last segment of its path, or answers with an error. Like the real storage
// host, it refuses requests with a bearer token: their client has sent the
// token to a host that must not have it.
func (e *exchange) presignedItem(w http.ResponseWriter, r *http.Request, thumbnail bool) (it item, last string, ok bool) {
	if !readOnly(w, r) {
		return it, "", false
	}
	refuse := func(status int, code, message string) (item, string, bool) {
		graphError(w, r, status, code, message)
		return item{}, "", false
	}
	if r.Header.Get("Authorization") != "" {
		return refuse(http.StatusBadRequest, "invalidRequest",
			"A pre-signed URL must be requested without an Authorization header: the access token was sent to a host that is not Graph.")
	}
	parts := strings.SplitN(strings.TrimPrefix(r.URL.Path, "/"), "/", 4)
	text, _ := strings.CutPrefix(r.URL.Query().Get("tempauth"), "v1.")
	token, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(token) != 24+sha256.Size || len(parts) != 4 {
		return refuse(http.StatusUnauthorized, "unauthenticated", "The pre-signed URL is not valid.")
	}
	head, what := token[:24], ""
	if thumbnail {
		what = parts[3]
	}
	if !hmac.Equal(token[24:], e.presign(head, parts[1], parts[2], what)) {
		return refuse(http.StatusUnauthorized, "unauthenticated", "The pre-signed URL is not valid.")
	}
	expires, era := binary.BigEndian.Uint64(head), binary.BigEndian.Uint64(head[8:])
	if time.Now().UnixNano() > int64(expires) || era < e.downloadEra.Load() {
		(&problem{http.StatusUnauthorized, "unauthenticated", "The pre-signed URL has expired.", "expiredToken"}).write(w, r)
		return it, "", false
	}
	e.files.Lock()
	defer e.files.Unlock()
	if d := e.drives[parts[1]]; d != nil {
		if found := d.root.find(parts[2]); found != nil && !found.folder {
			return *found, parts[3], true
		}
	}
	return refuse(http.StatusNotFound, "itemNotFound", "The resource could not be found.")
}

// download serves a file at its pre-signed URL, including ranges and the
// conditions of RFC 9110 section 13.
func (e *exchange) download(w http.ResponseWriter, r *http.Request) {
	it, _, ok := e.presignedItem(w, r, false)
	if !ok {
		return
	}
	w.Header().Set("Content-Type", it.mime)
	w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": it.name}))
	w.Header().Set("Content-Security-Policy", "sandbox")
	w.Header().Set("ETag", fmt.Sprintf(`"{%s},%d"`, strings.ToUpper(derivedGUID("content "+it.id)), it.version)) // another than the item's
	http.ServeContent(w, r, "", it.modified, it.content.reader())
}
