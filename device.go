package msauth

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"time"

	"example.com/msauth/internal/device"
	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/session"
	"example.com/msauth/internal/web"
)

// A DeviceBinding says whether sessions are bound to the device that they began on,
// by Device Bound Session Credentials (W3C draft), for [Config.DeviceBinding].
type DeviceBinding string

const (
	// DeviceBindingOff binds no new sessions.
	DeviceBindingOff DeviceBinding = ""
	// DeviceBindingOffered binds the sessions of browsers that can do it. All
	// others are as without it.
	DeviceBindingOffered DeviceBinding = "offered"
	// DeviceBindingRequired admits bound sessions only: browsers that cannot do it
	// get a page that says so.
	DeviceBindingRequired DeviceBinding = "required"
)

// DeviceStats counts what became of [Config.DeviceBinding], for [Stats.Devices].
type DeviceStats struct {
	// Offered counts the sign-ins that offered to bind the session, Registered the
	// sessions that were bound, and Refreshed proofs of a device after that.
	Offered, Registered, Refreshed uint64
	// Refused counts the registrations and proofs that were refused, by reason:
	//
	//	request    not one that a browser makes for itself on this site
	//	proof      malformed, or signed with another key
	//	challenge  not one that was given for this session, or too old for a
	//	           registration
	//	session    there is none, it is bound already, or it is over
	//	store      Config.Store or the cookie failed
	Refused map[string]uint64
	// Unproved counts the requests with a bound session that came without the proof
	// of its device and were served as if nobody were signed in, by what the bound
	// cookie was: "missing", "expired", "forged" or "of another session".
	Unproved map[string]uint64
	// Skipped counts the requests of Unproved for which the browser gives a reason
	// (header Secure-Session-Skipped): "unreachable", "server_error",
	// "quota_exceeded" or "other". Anybody can send that: it admits nobody.
	Skipped map[string]uint64
}

// clone returns a copy whose maps are its own.
func (s DeviceStats) clone() DeviceStats {
	s.Refused, s.Unproved, s.Skipped = maps.Clone(s.Refused), maps.Clone(s.Unproved), maps.Clone(s.Skipped)
	return s
}

// countBy adds one to a reason's count.
func countBy(counts *map[string]uint64, reason string) {
	if *counts == nil {
		*counts = map[string]uint64{}
	}
	(*counts)[reason]++
}

// Reasons of DeviceStats.Refused.
const (
	badRequest   = "request"
	badProof     = "proof"
	badChallenge = "challenge"
	badSession   = "session"
	badStore     = "store"
)

// bindingPatience is how long after a sign-in a session may still wait to be bound
// where that is required.
const bindingPatience = 30 * time.Second

// maxBinding limits how many sessions are remembered that were bound in the last minutes,
// or are about to be: of two registrations at a time one counts.
const maxBinding = 10_000

// A loaded is what a request brings of a session.
type loaded struct {
	session.Loaded
	raw      *session.Record // also if the proof of its device is missing
	bound    device.Bound    // what the bound cookie says
	unproved string          // why Rec is nil though there is a session: see refusedProof

	// before is the session as its cookie has it if a key was registered for it by a
	// request without that cookie: Rec is bound already, and nothing is written yet.
	before *session.Record
}

// load finds the request's session. One that is bound to a device is there only with
// the proof of the device: the bound cookie.
func (m *Middleware) load(r *http.Request, into *session.Record) (l loaded, err error) {
	l.Loaded, err = m.sessions.Load(r, into)
	l.raw = l.Rec
	if l.Rec == nil || l.Device == "" && l.Rec.Device == (device.Digest{}) {
		return l, err
	}
	var ok bool
	if l.bound, ok = m.devices.Open(l.Device); ok && l.Rec.Device == (device.Digest{}) {
		ended, leaving := m.ended.State(l.Rec, time.Now())
		switch replaced := ended || leaving; {
		case l.bound.Before != l.Rec.ID, replaced && m.cfg.Store != nil:
			l.bound = device.Bound{} // of another session
			return l, err
		case !replaced:
			l.before = l.Rec.Clone()
			l.Rec.ID, l.Rec.Device = l.bound.ID, l.bound.Key
		default: // a slow answer has put back the cookie from before the registration
			l.Rec.ID, l.Rec.Device, l.Rec.Surplus = l.bound.ID, l.bound.Key, true
		}
	}
	if l.unproved = refusedProof(l.Rec, l.bound, ok, l.Device != ""); l.unproved != "" {
		l.Rec, l.before = nil, nil
	}
	return l, err
}

// mustBind reports whether a session opens nothing because it is not bound.
func (m *Middleware) mustBind(rec *session.Record) bool {
	return m.cfg.DeviceBinding == DeviceBindingRequired && rec.Device == (device.Digest{})
}

// refusedProof returns why a bound cookie does not prove the device of a session, or "".
func refusedProof(rec *session.Record, b device.Bound, opened, sent bool) string {
	switch {
	case rec.Device == (device.Digest{}):
		return ""
	case !sent:
		return "missing"
	case !opened:
		return "forged"
	case b.ID != rec.ID || b.Key != rec.Device:
		return "of another session"
	case !time.Now().Before(b.Ends()):
		return "expired"
	}
	return ""
}

// offerDevice asks the browser, in the answer of a sign-in, to bind the session.
func (m *Middleware) offerDevice(w http.ResponseWriter, rec *session.Record) {
	if m.cfg.DeviceBinding == DeviceBindingOff {
		return
	}
	w.Header().Set("Secure-Session-Registration", fmt.Sprintf(`(ES256 RS256);path="%s/device/register";challenge="%s"`,
		m.base.EscapedPath(), m.devices.Challenge(device.Register, rec.ID)))
	m.events.count(func(s *Stats) { s.Devices.Offered++ })
}

// deviceRequest reports whether a request is one of a browser for itself, and answers it
// if not.
func (m *Middleware) deviceRequest(w http.ResponseWriter, r *http.Request) bool {
	w.Header().Set("Cache-Control", "no-store")
	switch {
	case r.Method != http.MethodPost:
		m.wrongMethod(w, r, "POST")
	case web.First(r.Header["Sec-Fetch-Site"]) != "same-origin":
		m.refuseDevice(w, r, http.StatusForbidden, badRequest, errors.New("the request does not come from this site"))
	default:
		if m.shared != nil {
			m.shared.Started(r.Context())
		}
		return true
	}
	return false
}

// refuseDevice answers a request that proves nothing. With status 400 the browser forgets
// the binding.
func (m *Middleware) refuseDevice(w http.ResponseWriter, r *http.Request, status int, reason string, err error) {
	m.countRefusal(r, reason, err)
	w.WriteHeader(status)
}

func (m *Middleware) countRefusal(r *http.Request, reason string, err error) {
	m.events.count(func(s *Stats) { countBy(&s.Devices.Refused, reason) })
	m.log.InfoContext(r.Context(), "msauth: device not proved", "event", "device_refused", "reason", reason, "err", err)
}

// registerDevice serves BaseURL + "/device/register": the browser brings the key that it
// has made. The session is replaced by one that is bound to the key. Only the answer of
// the sign-in has a challenge for it, so nobody registers a key of their own later.
//
// After a click on Microsoft's page the browser takes this for a request of Microsoft's,
// and leaves out the session (SameSite=Lax). Then its next request, which has the session
// and the bound cookie, replaces it.
func (m *Middleware) registerDevice(w http.ResponseWriter, r *http.Request) {
	if !m.deviceRequest(w, r) {
		return
	}
	l, err := m.load(r, new(session.Record))
	switch {
	case err != nil:
		m.refuseDevice(w, r, http.StatusServiceUnavailable, badStore, err)
		return
	case l.Rec == nil && l.Sent:
		m.refuseDevice(w, r, http.StatusBadRequest, badSession, errors.New("there is no session to bind"))
		return
	case l.Rec != nil && m.registered(l.Rec):
		m.refuseDevice(w, r, http.StatusBadRequest, badSession, errors.New("the session is over, or bound already"))
		return
	}
	// Not before: a signature takes longer to check than a session.
	key, challenge, err := device.ReadRegistration(device.Field(r.Header["Secure-Session-Response"]))
	if err != nil {
		m.refuseDevice(w, r, http.StatusBadRequest, badProof, err)
		return
	}
	id, made, err := m.devices.Answered(challenge, device.Register)
	if err == nil && l.Rec != nil && l.Rec.ID != id {
		err = errors.New("the challenge is another session's")
	}
	if err != nil {
		m.refuseDevice(w, r, http.StatusBadRequest, badChallenge, err)
		return
	}
	once := &session.Record{ID: device.Once(id), Device: key.Digest(), SignedIn: made} // known to all processes, if there is a Config.Shared
	if m.registered(&session.Record{ID: id, SignedIn: made}) || m.ended.Has(once) || !m.binding.Add(id, struct{}{}, time.Unix(made, 0).Add(2*device.ChallengeLife)) {
		m.refuseDevice(w, r, http.StatusBadRequest, badSession, errors.New("the session is over, or has a key already"))
		return
	}
	if l.Rec == nil {
		m.endSession(r.Context(), once, 0)
	} else if _, err := m.bind(w, r, l.Rec, key.Digest()); err != nil {
		m.binding.Drop(id)
		m.refuseDevice(w, r, http.StatusServiceUnavailable, badStore, err)
		return
	}
	m.answerDevice(w, device.Identifier{ID: device.Next(id), Before: id, Key: key, Begun: made}, "", made)
}

// registered reports whether a session takes no key: it is bound already, or over.
func (m *Middleware) registered(rec *session.Record) bool {
	ended, leaving := m.ended.State(rec, time.Now())
	return rec.Device != (device.Digest{}) || ended || leaving
}

// bind writes a session that is bound to a key in place of one that is not.
func (m *Middleware) bind(w http.ResponseWriter, r *http.Request, old *session.Record, key device.Digest) (*session.Record, error) {
	rec := old.Clone() // also its Place: what ends all that began before some moment ends this session too
	rec.ID, rec.Device, rec.Surplus = device.Next(old.ID), key, false
	if err := m.sessions.Create(w, r, rec, replacedGrace); err != nil {
		return nil, err
	}
	m.list(r, rec)
	m.endSession(r.Context(), old, replacedGrace)
	m.noteSID(r.Context(), rec)
	m.events.count(func(s *Stats) { s.Devices.Registered++ })
	m.log.InfoContext(r.Context(), "msauth: session bound to the device", "event", "device_registered", "user", rec.User.Key())
	return rec, nil
}

// refreshDevice serves BaseURL + "/device/refresh": the browser proves that it still has
// the key. Nothing of the request is believed but the proof: the identifier is sealed.
func (m *Middleware) refreshDevice(w http.ResponseWriter, r *http.Request) {
	if !m.deviceRequest(w, r) {
		return
	}
	text := device.Field(r.Header["Sec-Secure-Session-Id"])
	id, err := m.devices.Identified(text)
	if err != nil {
		m.countRefusal(r, badSession, err)
		m.endBinding(w, r, text, err)
		return
	}
	sent, err := m.sessions.Load(r, new(session.Record))
	if err != nil {
		m.refuseDevice(w, r, http.StatusServiceUnavailable, badStore, err)
		return
	}
	rec := sent.Rec
	if rec != nil && rec.ID == id.Before && rec.Device == (device.Digest{}) {
		rec.ID, rec.Device = id.ID, id.Key.Digest() // see load
	}
	over := rec == nil || rec.ID != id.ID || rec.Device != id.Key.Digest() || m.judge(rec, m.ended.Has(rec), time.Now()) != ""
	if !sent.Sent { // nobody is signed in, or a link on another site has led here: see registerDevice
		of := &session.Record{ID: id.ID, SignedIn: id.Begun}
		over = m.ended.Has(of) || !time.Now().Before(of.Ends(m.cfg.MaxAge))
	}
	if over {
		m.endBinding(w, r, text, errors.New("the session is over, or another one"))
		return
	}
	made := int64(0)
	if sent := r.Header["Secure-Session-Response"]; strings.Join(sent, "") != "" {
		challenge, err := id.Key.Check(device.Field(sent))
		if err != nil {
			m.refuseDevice(w, r, http.StatusBadRequest, badProof, err)
			return
		}
		if made, err = m.devices.AnsweredFor(challenge, device.Refresh, id.ID); err != nil && !errors.Is(err, device.ErrStale) {
			m.countRefusal(r, badChallenge, err)
		}
	}
	if made == 0 { // no proof, or one of another challenge: the browser tries again with this one
		w.Header().Set("Secure-Session-Challenge", fmt.Sprintf(`"%s";id="%s"`, m.devices.Challenge(device.Refresh, id.ID), text))
		w.WriteHeader(http.StatusForbidden)
		return
	}
	m.events.count(func(s *Stats) { s.Devices.Refreshed++ })
	m.answerDevice(w, id, text, made)
}

// endBinding tells the browser to forget a binding, by the identifier that it has sent.
func (m *Middleware) endBinding(w http.ResponseWriter, r *http.Request, text string, reason error) {
	m.log.DebugContext(r.Context(), "msauth: device binding has ended", "err", reason)
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(device.End(text)) // #nosec G705 -- JSON, of an identifier that was opened
}

// bindable reports whether a session may be bound just now, by a request that its browser
// has sent before it was signed out.
func (m *Middleware) bindable(isBound bool, begun time.Time) bool {
	return m.cfg.DeviceBinding != DeviceBindingOff && !isBound && time.Since(begun) < 2*device.ChallengeLife
}

// answerDevice sets the bound cookie and says what the browser has to know. text is the
// identifier as it was sent: it never changes.
func (m *Middleware) answerDevice(w http.ResponseWriter, id device.Identifier, text string, made int64) {
	if text == "" {
		text = m.devices.Identify(id)
	}
	bound := device.Bound{ID: id.ID, Before: id.Before, Key: id.Key.Digest(), Proved: made}
	cookie := m.cookies.Cookie(m.cookies.DeviceName(), m.devices.Seal(bound), max(1, session.Seconds(time.Until(bound.Ends()))))
	session.SetCookie(w.Header(), cookie)
	base := m.base.EscapedPath()
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(device.Instructions(text, m.base.Scheme+"://"+m.base.Host, base+"/device/refresh", cookie.Name, device.Scope(base, m.cfg.Home))) // #nosec G705 -- JSON
}

// DeviceBound reports whether the session is bound to the device: a copy of its cookies
// is worthless elsewhere 10 minutes after the device was last proved.
func (s *Session) DeviceBound() bool { return s.info().bound }

// shortestProof is the shortest maxAge of RequireDevice: browsers sign only a few times in
// some minutes.
const shortestProof = 2 * time.Minute

// RequireDevice is [Middleware.Require] for sensitive handlers: the device must have been
// proved at most maxAge ago, which is at least 2 minutes. If it was not, the browser is
// asked to prove it before the request goes on (status 307), and people notice nothing. A
// WebSocket handshake does not follow that: it fails once.
// Whose session is not bound (see [Config.DeviceBinding]) must have entered credentials
// at most maxAge ago, as with [Middleware.RequireFreshSignIn], or is sent to Microsoft to
// enter them. At Live Connect, which cannot prove that, they get a page with status 403.
func (m *Middleware) RequireDevice(maxAge time.Duration) func(http.Handler) http.Handler {
	if maxAge < shortestProof || maxAge > session.LongestMaxAge {
		return m.misused(fmt.Errorf("RequireDevice: maxAge %w", checkDuration(maxAge, shortestProof, session.LongestMaxAge)))
	}
	if m.cfg.DeviceBinding == DeviceBindingOff {
		return m.misused(errors.New("RequireDevice needs Config.DeviceBinding"))
	}
	return func(next http.Handler) http.Handler {
		return m.require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r, v := m.attach(w, r)
			now, longest := time.Now().Unix(), int64(maxAge/time.Second)
			switch isBound := v.rec.Device != (device.Digest{}); {
			case !isBound && m.live():
				m.unboundPage(w, r, v.rec, m.keepForm(w, r))
			case !isBound && now-v.rec.AuthTime > longest:
				m.ask(w, r, v.rec, provider.Requirement{MaxAge: maxAge})
			case isBound && now-v.bound.Proved > longest:
				// The browser proves itself before it repeats the request.
				again := web.RequestPath(r)
				if path, cut := web.ReturnPath(again, nil, ""); path == "" && !cut {
					again = m.cfg.Home // a path that browsers take for another site's address
				}
				session.SetCookie(w.Header(), m.cookies.Cookie(m.cookies.DeviceName(), "", -1))
				w.Header().Set("Location", again)
				w.Header()["cache-control"] = []string{"no-store"}
				w.WriteHeader(http.StatusTemporaryRedirect)
			default:
				next.ServeHTTP(w, r)
			}
		}), provider.Requirement{})
	}
}

// unboundPage answers requests that take a bound session.
func (m *Middleware) unboundPage(w http.ResponseWriter, r *http.Request, rec *session.Record, k *keptForm) {
	p := Page{
		Kind: "device-required", Status: http.StatusForbidden,
		TextID: "unsuitable-browser",
		Links: []Link{
			{URL: m.LoginURL(LoginOptions{ReturnTo: m.askedPage(r)}), TextID: "sign-in-again"}, // the session may be older than the setting
			{URL: m.LogoutURL(), TextID: "sign-out"}, m.home(),
		},
		Err: errors.New("the session is not bound to a device"),
	}
	if k != nil {
		p = noted(p)
	}
	m.deny(w, r, slog.LevelInfo, m.withForm(k, p), m.accessRefused(r, "device", rec)...)
}

// awaitsBinding reports whether a session that has to be bound has just begun.
func (m *Middleware) awaitsBinding(rec *session.Record) bool {
	return m.cfg.DeviceBinding == DeviceBindingRequired && rec.Device == device.Digest{} &&
		time.Now().Unix()-rec.SignedIn < int64(bindingPatience/time.Second)
}

// bindingPage waits for the browser to bind a session that has just begun, and leads to
// again, a path on this site.
func (m *Middleware) bindingPage(w http.ResponseWriter, r *http.Request, again string) {
	m.showPage(w, r, Page{
		Kind: "wait", Status: http.StatusOK, Refresh: time.Second,
		TextID: "being-bound",
		Links:  []Link{{URL: again, TextID: "continue"}, m.home()},
	})
}
