package msauth

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"example.com/msauth/internal/provider"
)

const (
	maxLogoutBody = 64 << 10 // bytes of a back-channel call
	maxLogoutJTIs = 100_000  // ids of logout tokens that are remembered: 15 MB
)

// backChannelLogout serves BaseURL + "/back-channel-logout": a provider that is not
// Microsoft sends a logout token there when somebody's session there ends (OpenID
// Connect Back-Channel Logout 1.0). Microsoft sends none: there, it is an unknown
// address.
//
// It reads no cookies: the provider calls it, and not the browser. The token says
// who calls, and which sessions end: those with its sid if it has one, otherwise all
// of its sub (section 2.4). That they ended before, or never were here, is no error
// (section 2.7). Refresh tokens of the sessions are not used any more; those in
// Config.Tokens are for the time when the user is away, and stay.
func (m *Middleware) backChannelLogout(w http.ResponseWriter, r *http.Request) {
	if m.authority.MicrosoftIssuer() {
		m.notFound(w, r)
		return
	}
	if r.Method != http.MethodPost {
		m.wrongMethod(w, r, "POST")
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	err := m.endByToken(w, r)
	if err == nil {
		w.WriteHeader(http.StatusOK)
		return
	}
	m.events.backChannelRefused(r.Context(), err)
	why := strings.TrimPrefix(err.Error(), "msauth: ")
	if _, ok := errors.AsType[provider.KeysUnavailableError](err); ok {
		why = "the keys of the provider cannot be read" // the reason is for the log
	}
	// Section 2.8 has 400 for all that goes wrong, this server's faults too.
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusBadRequest)
	_ = json.NewEncoder(w).Encode(struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}{"invalid_request", why})
}

// endByToken ends the sessions that the logout token of a request names. Its errors,
// but for a KeysUnavailableError, contain nothing of the request.
func (m *Middleware) endByToken(w http.ResponseWriter, r *http.Request) error {
	raw, err := readLogoutToken(w, r)
	if err != nil {
		return err
	}
	logout, err := m.authority.VerifyLogout(r.Context(), raw)
	if err != nil {
		return err
	}
	if !m.firstUse(r.Context(), logout.JTI, logout.Expires) {
		return errors.New("msauth: logout token: used before")
	}
	account := provider.Account{Issuer: logout.Issuer, Subject: logout.Subject}
	if logout.SID != "" {
		m.endSID(r.Context(), logout.SID, account.Key(), true)
	} else {
		m.endAccount(r.Context(), account.Key())
	}
	m.events.backChannel(r.Context(), &account, logout.SID == "")
	return nil
}

// firstUse reports whether a logout token with this id was not used before (section
// 2.6, step 8), in any process that can be reached. It remembers the id until the token
// is refused anyway.
func (m *Middleware) firstUse(ctx context.Context, jti string, until time.Time) bool {
	if !m.logoutJTIs.Add(sha256.Sum256([]byte(jti)), struct{}{}, until) {
		return false
	}
	if m.shared == nil {
		return true
	}
	used, err := m.shared.Add(ctx, "j:"+m.directory.Names("jti " + jti)[0], time.Until(until))
	return err != nil || !used
}

// readLogoutToken returns the parameter logout_token of a form (section 2.5). Others
// are ignored, as are those in the URL.
func readLogoutToken(w http.ResponseWriter, r *http.Request) (string, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return "", errors.New("msauth: logout request: the content type is not application/x-www-form-urlencoded")
	}
	form := r.PostForm // what was before this handler may have read it
	if form == nil && r.Body != nil {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxLogoutBody))
		if err != nil {
			return "", fmt.Errorf("msauth: logout request: more than %d bytes, or cut off", maxLogoutBody)
		}
		if form, err = url.ParseQuery(string(body)); err != nil {
			return "", errors.New("msauth: logout request: the body is not a form")
		}
	}
	if len(form["logout_token"]) != 1 {
		return "", errors.New("msauth: logout request: want logout_token once")
	}
	return form["logout_token"][0], nil
}
