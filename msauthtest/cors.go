package msauthtest

import (
	"net/http"
	"strings"
)

// personalHeaders are the request headers that the storage host of personal
// accounts allows to pages of other origins, as captured. Others make the
// browser refuse the request.
const personalHeaders = "Accept, Application, Authorization, Content-Range, Content-Type, If-Match, If-None-Match, Overwrite, Prefer, Range, " +
	"X-HTTP-Method-Override, X-RequestStats, X-TransactionId, X-Upload-Content-Length, MS-CV, RequestFacts"

// allowOrigin lets pages of other origins read the answers of pre-signed URLs
// and of upload URLs.
func (e *exchange) allowOrigin(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Origin") == "" {
		return
	}
	if e.kind == Download || e.kind == Thumbnail || e.kind == Upload && !e.behavior.UploadNoCORS {
		w.Header().Set("Access-Control-Allow-Origin", "*")
	}
}

// preflight serves the requests by which browsers ask whether a page of another
// origin may use an upload URL or a pre-signed URL ("CORS protocol" of the Fetch
// Standard). Downloads of work accounts have none: a page can get the whole
// file, not a range.
func (e *exchange) preflight(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/"), "/")
	owner, upload := parts[1], parts[0] == "upload"
	if upload {
		e.files.Lock()
		if up, ok := e.uploads[parts[1]]; ok {
			owner = up.owner
		}
		e.files.Unlock()
	}
	personal := e.userWith(owner).personal()
	h := w.Header()
	switch {
	case upload && e.behavior.UploadNoCORS, !upload && !personal:
		w.WriteHeader(http.StatusNotFound)
		return
	case upload:
		h.Set("Access-Control-Allow-Methods", "GET, PUT, POST, DELETE")
	default:
		h.Set("Access-Control-Allow-Methods", "GET")
	}
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Vary", "Access-Control-Request-Headers")
	if personal {
		h.Set("Access-Control-Allow-Headers", personalHeaders)
	} else {
		h.Set("Access-Control-Allow-Headers", r.Header.Get("Access-Control-Request-Headers"))
	}
	w.WriteHeader(http.StatusOK)
}
