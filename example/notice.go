package main

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
)

// A notice says on the next page what a form has done. It goes through a cookie,
// because whoever makes a link could write any text into an address.
type notice struct {
	Done string `json:"d"` // "created", "uploaded", "renamed", "moved", "copied", "copying", "deleted", "restored", "in-bin" or "unshared"
	Name string `json:"n"` // of the item
	ID   string `json:"i,omitempty"`

	// Account is whose notice it is. The names of one person's files are not for who
	// signs in next in this browser.
	Account string `json:"a"`
}

const noticeCookie = "files-notice"

// after redirects from a form to a page that shows a notice.
func (a *app) after(w http.ResponseWriter, r *http.Request, to string, n notice) error {
	n.Account = accountOf(r)
	text, err := json.Marshal(n)
	if err != nil {
		return err
	}
	http.SetCookie(w, a.noticeCookie(base64.RawURLEncoding.EncodeToString(text), 60))
	http.Redirect(w, r, to, http.StatusSeeOther)
	return nil
}

// noticeOf returns the notice for a page, once. It is nil if there is none for the
// account that is signed in.
func (a *app) noticeOf(w http.ResponseWriter, r *http.Request) *notice {
	cookie, err := r.Cookie(noticeCookie)
	if err != nil || r.Method != http.MethodGet {
		return nil
	}
	http.SetCookie(w, a.noticeCookie("", -1))
	text, err := base64.RawURLEncoding.DecodeString(cookie.Value)
	n := &notice{}
	if err != nil || json.Unmarshal(text, n) != nil || n.Account != accountOf(r) {
		return nil
	}
	return n
}

func (a *app) noticeCookie(value string, seconds int) *http.Cookie {
	return &http.Cookie{
		Name: noticeCookie, Value: value, Path: "/files", MaxAge: seconds, HttpOnly: true,
		SameSite: http.SameSiteLaxMode, Secure: strings.HasPrefix(a.set.Auth.BaseURL, "https:"),
	}
}
