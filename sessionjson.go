package msauth

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"net/http"
	"time"

	"example.com/msauth/internal/session"
	"example.com/msauth/internal/web"
)

// scriptHeader is what a script sends to BaseURL + "/session" where the browser has no
// Fetch Metadata. No form or link of another site can send it.
const scriptHeader = "X-Msauth"

// A sessionAnswer is what a script of the site is told about the session.
type sessionAnswer struct {
	SignedIn bool   `json:"signed_in"`
	Name     string `json:"name,omitempty"`
	Username string `json:"username,omitempty"`
	// Ends and IdleEnds are those of Session.
	Ends     *time.Time `json:"ends,omitempty"`
	IdleEnds *time.Time `json:"idle_ends,omitempty"`
	// Person changes when another person signs in, and says nothing else.
	Person uint64 `json:"person,omitempty"`
	// SignIn changes with each sign-in, also of the same person, and says nothing else.
	SignIn    uint64 `json:"sign_in,omitempty"`
	LoginURL  string `json:"login_url"`
	LogoutURL string `json:"logout_url,omitempty"`
}

// sessionJSON serves BaseURL + "/session", for scripts of the site: who is signed in, and
// until when. GET is no use of the session: it renews nothing, writes no cookie, and lets
// the idle time go on. POST is a use of it, as any page under Load is: "stay signed in".
func (m *Middleware) sessionJSON(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	web.Vary(h, "Cookie", "Sec-Fetch-Site")
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost:
	default:
		m.wrongMethod(w, r, "GET, HEAD, POST")
		return
	}
	if !fromScript(r) {
		m.problem(w, r, Page{Status: http.StatusForbidden, TextID: "other-site"}, nil)
		return
	}
	rec, err := m.sessionOf(w, r)
	if err != nil { // which says nothing of the session
		h.Set("Retry-After", "10")
		m.log.ErrorContext(r.Context(), "msauth: session store fails", "err", err)
		m.problem(w, r, Page{Status: http.StatusServiceUnavailable, TextID: "session-not-read"}, nil)
		return
	}
	answer := sessionAnswer{LoginURL: m.LoginURL(LoginOptions{ReturnTo: m.seenPage(r)})}
	if rec != nil {
		ends := rec.Ends(m.cfg.MaxAge).UTC()
		answer.SignedIn, answer.Name, answer.Username = true, rec.User.Name, rec.User.Username
		answer.Ends, answer.LogoutURL, answer.Person = &ends, m.LogoutURL(), m.number("person", rec.User.Key())
		answer.SignIn = m.signInNumber(rec)
		if idle := m.idleEnds(rec); !idle.IsZero() {
			idle = idle.UTC()
			answer.IdleEnds = &idle
		}
	}
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	_ = json.NewEncoder(w).Encode(answer)
}

// sessionOf returns the session for sessionJSON, nil if nobody is signed in.
func (m *Middleware) sessionOf(w http.ResponseWriter, r *http.Request) (*session.Record, error) {
	if r.Method == http.MethodPost {
		_, v := m.attach(w, r)
		return v.rec, v.err
	}
	sent, err := m.load(r, new(session.Record))
	rec := sent.Rec
	if rec == nil || m.judge(rec, m.ended.Has(rec), time.Now()) != "" || m.mustBind(rec) {
		return nil, err
	}
	return rec, nil
}

// fromScript reports whether a request is one of a script of this site.
func fromScript(r *http.Request) bool {
	if site := r.Header["Sec-Fetch-Site"]; len(site) > 0 {
		return web.First(site) == "same-origin"
	}
	return r.Header.Get(scriptHeader) != ""
}

// signInNumber is the number of the sign-in that made a session, 0 if there is none that
// sessionJSON would tell of.
func (m *Middleware) signInNumber(rec *session.Record) uint64 {
	if rec == nil || m.mustBind(rec) {
		return 0
	}
	return m.number("sign-in", string(rec.Attempt[:]))
}

// number is a number for an account or a sign-in that scripts can compare: 48 bits of a
// digest, which JavaScript can represent, and which other apps do not share.
func (m *Middleware) number(of, id string) uint64 {
	h := sha256.New()
	h.Write([]byte("msauth " + of + " v1\x00"))
	h.Write(m.registration[:])
	h.Write([]byte(id))
	return binary.BigEndian.Uint64(h.Sum(nil)) >> 16
}

// idleEnds returns when an unused session ends, the zero time if it does not. Use is
// recorded in steps, so it may be one step too early, and never too late.
func (m *Middleware) idleEnds(rec *session.Record) time.Time {
	if m.cfg.IdleTimeout >= m.cfg.MaxAge || rec.Stored {
		return time.Time{}
	}
	return time.Unix(rec.Used, 0).Add(m.cfg.IdleTimeout)
}

// IdleEnds returns the time at which the session ends if it is not used again; see
// [Config.IdleTimeout]. It is the zero Time if IdleTimeout is disabled, and for a session
// from [Middleware.Offline]. The session never outlasts [Session.Ends].
func (s *Session) IdleEnds() time.Time { return s.info().idle }
