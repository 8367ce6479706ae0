package msauth

import (
	"crypto/sha256"
	"encoding/binary"
	"net/http"
	"strings"
	"time"

	"example.com/msauth/internal/compact"
	"example.com/msauth/internal/session"
	"example.com/msauth/internal/web"
)

const (
	// formField is the hidden field of a form that carries a token.
	formField = "msauth_token"
	// formLifetime is how long a person may look at a page that asks.
	formLifetime = 30 * time.Minute
	// maxForm is how much of a form is read in search of a token.
	maxForm = 16 << 10
)

// actionSignOut is what the form of a "confirm-sign-out" page does.
const actionSignOut = "sign out"

// askingStatus is that of a page that asks. A script that posts with fetch is to
// see that nothing was done; browsers show the page all the same.
func askingStatus(r *http.Request) int {
	if r.Method == http.MethodPost && web.First(r.Header["Sec-Fetch-Dest"]) == "empty" {
		return http.StatusForbidden
	}
	return http.StatusOK
}

// formToken makes what only a page of ours can send: proof, for half an hour,
// that subject was asked about an action. Other sites cannot read it, and one
// that they were given themselves is for another subject.
func (m *Middleware) formToken(action, subject string) string {
	plain := binary.BigEndian.AppendUint64(nil, uint64(time.Now().Add(formLifetime).Unix()))
	return m.formKeys.Seal(plain, m.formData(action, subject))
}

// agreed reports whether a request is the form of a page that asked subject
// about action. The headers do not matter, except that a browser that says
// that another site sent it is believed.
func (m *Middleware) agreed(w http.ResponseWriter, r *http.Request, action, subject string) bool {
	if r.Method != http.MethodPost || web.First(r.Header["Sec-Fetch-Site"]) == "cross-site" {
		return false
	}
	if r.PostForm == nil && r.Body != nil {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	}
	token := r.PostFormValue(formField)
	if token == "" || len(token) > 200 {
		return false
	}
	plain, err := m.formKeys.Open(token, m.formData(action, subject))
	return err == nil && len(plain) == 8 && time.Now().Unix() < int64(binary.BigEndian.Uint64(plain))
}

func (m *Middleware) formData(action, subject string) []byte {
	e := compact.Encoder{B: append([]byte("msauth form v1\x00"), m.registration[:]...)}
	e.Text(action)
	e.Text(subject)
	return e.B
}

// sessionSubject is who a request is from: the session or, where none can be
// read, what there is in its place.
func (m *Middleware) sessionSubject(r *http.Request, rec *session.Record) string {
	if rec != nil {
		return "session " + string(rec.ID[:])
	}
	h := sha256.New()
	for _, line := range r.Header["Cookie"] {
		for part := range strings.SplitSeq(line, ";") {
			if part = strings.Trim(part, " \t"); strings.HasPrefix(part, m.cookies.Name) {
				h.Write([]byte(part + "\x00"))
			}
		}
	}
	return "cookies " + string(h.Sum(nil))
}
