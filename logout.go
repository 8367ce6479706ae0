package msauth

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/session"
	"example.com/msauth/internal/web"
)

// LogoutURL returns the link that signs out, as a path on this site, for use
// in templates. A link on a page of this site signs out at once; from anywhere
// else it leads to a page that asks first.
func (m *Middleware) LogoutURL() string { return m.base.Path + "/logout" }

// Logout signs the person out here and then at Microsoft. Signing out here
// comes first and takes effect even if Microsoft cannot be reached.
//
// Since any site can make a browser open this address, Logout acts only on a
// form or a link of a page of this site; otherwise it shows a page that asks
// first. It always asks if a service worker passes requests on, which hides
// where they come from. A script signs out by submitting a form: a POST with
// fetch is answered with the page that asks, and status 403.
func (m *Middleware) Logout(w http.ResponseWriter, r *http.Request) {
	web.Vary(w.Header(), "Cookie", "Sec-Fetch-Mode", "Sec-Fetch-Dest", "Sec-Fetch-Site", "Origin")
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost:
	default:
		m.wrongMethod(w, r, "GET, HEAD, POST")
		return
	}
	if web.IsPrefetch(r) {
		refusePrefetch(w)
		return
	}
	sent, err := m.load(r, new(session.Record))
	rec := sent.Rec
	if subject := m.sessionSubject(r, rec); !m.meant(r) && !m.agreed(w, r, actionSignOut, subject) {
		if m.cfg.Authority == "" {
			_, _ = m.shortDiscovery(r) // providerOrigins needs it; without it the form still signs out here
		}
		m.showPage(w, r, Page{
			Kind: "confirm-sign-out", Status: askingStatus(r),
			TextID: "confirm-sign-out",
			Links: []Link{
				{URL: m.LogoutURL(), TextID: "sign-out", Post: true, Token: m.formToken(actionSignOut, subject)},
				{URL: m.cfg.Home, TextID: "stay-signed-in"},
			},
		})
		return
	}

	if rec != nil {
		m.endSession(r.Context(), rec, 0)
	}
	if sent.before != nil {
		m.endSession(r.Context(), sent.before, 0)
	}
	if sent.unproved != "" { // whoever sent a copy signs nobody else out
		m.cookies.Clear(w.Header(), m.cookies.Scan(r.Header).Sent|m.cookies.Set(w.Header()))
	} else if removed := m.sessions.Remove(w, r); removed != nil && err == nil {
		err = removed
	}
	if rec != nil {
		m.events.signedOut(r.Context(), rec)
	}
	ids, _ := m.attempts.Sent(r.Header, "")
	for _, id := range ids {
		m.attempts.Clear(w, id)
	}
	if len(session.CookieValues(r.Header, m.attempts.AddressName())) > 0 {
		m.attempts.ClearAddress(w.Header())
	}
	if sent.Device != "" {
		session.SetCookie(w.Header(), m.cookies.Cookie(m.cookies.DeviceName(), "", -1))
	}
	if m.sentMarker(r) || m.sentDeclined(r) {
		m.clearMarker(w)
	}
	if err != nil {
		// The stored session may still exist, for anybody with a copy of the
		// cookie: say so.
		m.fail(w, r, slog.LevelError, Page{
			Kind: "unavailable", Status: http.StatusServiceUnavailable,
			TextID: "sign-out-incomplete",
			Links:  []Link{m.home()},
			Err:    err,
		})
		return
	}
	web.Redirect(w, m.endSessionURL(r, rec, maxHeaders-headerBytes(w.Header())-redirectBytes))
}

// shortDiscovery returns the provider's metadata. It waits no longer than
// somebody who signs out should.
func (m *Middleware) shortDiscovery(r *http.Request) (*provider.Metadata, error) {
	if meta, err := m.authority.Known(); err == nil {
		return meta, nil
	}
	ctx, cancel := context.WithTimeout(r.Context(), 3*time.Second)
	defer cancel()
	return m.authority.Discover(ctx)
}

// endSessionURL returns where to go after signing out here (OpenID Connect
// RP-Initiated Logout 1.0): Microsoft's end-session endpoint or, if there is
// none or it is unknown, PostLogoutURL. If the URL has more than room bytes,
// it leaves out the ID token. The provider may then ask who signs out, but a
// page in place of the redirect would show the ID token to everything that
// reads pages.
func (m *Middleware) endSessionURL(r *http.Request, rec *session.Record, room int) string {
	meta, err := m.shortDiscovery(r)
	if err != nil {
		m.log.WarnContext(r.Context(), "msauth: signed out here, but not at the provider", "err", err)
		return m.cfg.PostLogoutURL
	}
	u, err := url.Parse(meta.EndSession)
	if err != nil || meta.EndSession == "" {
		return m.cfg.PostLogoutURL
	}
	if m.live() {
		u.RawQuery = m.liveLogout().Encode()
		return u.String()
	}
	q := u.Query()
	q.Set("post_logout_redirect_uri", m.cfg.PostLogoutURL)
	if m.cfg.Issuer != "" {
		q.Set("client_id", m.cfg.ClientID)
	}
	if rec != nil && rec.LoginHint != "" {
		q.Set("logout_hint", rec.LoginHint)
	}
	if rec != nil && m.layout.KeepsIDToken && rec.Unpack() == nil && rec.IDToken != "" {
		q.Set("id_token_hint", string(rec.IDToken))
	}
	u.RawQuery = q.Encode()
	if len(u.String()) > room {
		q.Del("id_token_hint")
		u.RawQuery = q.Encode()
	}
	return u.String()
}

// signedOut is the default page after signing out.
func (m *Middleware) signedOut(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		m.wrongMethod(w, r, "GET, HEAD")
		return
	}
	m.showPage(w, r, Page{
		Kind: "signed-out", Status: http.StatusOK,
		TextID: "signed-out",
		Links:  []Link{{URL: m.LoginURL(LoginOptions{}), TextID: "sign-in"}, m.home()},
		Script: m.ScriptURL(),
	})
}

// providerOrigins returns the provider's origins for form-action and frame-ancestors,
// each after a space.
func (m *Middleware) providerOrigins() (origins string) {
	meta, err := m.authority.Known()
	if err != nil {
		if m.cfg.Authority != "" {
			return " " + m.cfg.Authority
		}
		return ""
	}
	for _, endpoint := range [...]string{meta.EndSession, meta.Authorization} {
		u, err := url.Parse(endpoint)
		if err != nil || u.Host == "" {
			continue
		}
		if origin := " " + u.Scheme + "://" + u.Host; origin != origins {
			origins += origin
		}
	}
	return origins
}

// frontChannelLogout serves BaseURL + "/front-channel-logout": the provider has the
// browser load it in a hidden frame when somebody signs out there (OpenID Connect
// Front-Channel Logout 1.0). The frame is in a page of another site, so no cookie
// comes with it: the session is found by its sid, which is hard to guess, and nobody
// else is told. Entra sends sid without iss; the specification wants both or none.
//
// It always answers 200 and the same page, so that it tells nobody which ids exist.
func (m *Middleware) frontChannelLogout(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		m.wrongMethod(w, r, "GET")
		return
	}
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors"+cmp.Or(m.providerOrigins(), " 'none'"))
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	sids, issuers := r.URL.Query()["sid"], r.URL.Query()["iss"]
	if len(issuers) > 1 || len(issuers) == 1 && !m.authority.IsIssuer(issuers[0]) {
		w.WriteHeader(http.StatusBadRequest)
		io.WriteString(w, emptyFrame)
		return
	}
	if len(sids) == 1 && m.endSID(r.Context(), sids[0], "", false) {
		m.events.frontChannel(r.Context())
	}
	io.WriteString(w, emptyFrame)
}

// emptyFrame is a page that nobody sees.
const emptyFrame = "<!DOCTYPE html>"
