package main

import (
	"errors"
	"net/http"
	"time"

	"example.com/msauth"
)

// What can go wrong when somebody ends a session.
var (
	errOtherSite   = errors.New("form posted by another site")
	errBadForm     = errors.New("malformed form")
	errThisBrowser = errors.New("the session of this request")
	errNoList      = errors.New("no list of sessions")
)

// sameOrigin lets forms of this app through. Those that other sites post are refused.
func (a *app) sameOrigin(next http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(a.auth.Load(a.page(func(http.ResponseWriter, *http.Request) error { return errOtherSite })))
	return protection.Handler(next)
}

// sessions shows where the person is signed in.
func (a *app) sessions(w http.ResponseWriter, r *http.Request) error {
	current, others, err := a.signedInAt(r)
	if err != nil {
		return err
	}
	return a.render(w, r, http.StatusOK, "sessions", "Where you are signed in", struct {
		Current msauth.UserSession
		Others  []msauth.UserSession
		Ended   string // what a form has done: "now" or, if there was nothing left to do, "before"
	}{current, others, r.URL.Query().Get("ended")})
}

// signedInAt returns the session of the request and the person's others, the newest
// first. Without Config.Shared the list does not survive a restart of the program,
// but sessions do: the one of the request may have to be added.
func (a *app) signedInAt(r *http.Request) (current msauth.UserSession, others []msauth.UserSession, err error) {
	s, _ := msauth.FromContext(r.Context())
	list, err := a.auth.Sessions(r.Context(), s.User.Key())
	if err != nil {
		return current, nil, errors.Join(errNoList, err)
	}
	current = msauth.UserSession{Begun: s.SignedIn(), Ends: s.Ends(), LastUsed: time.Now(), Current: true}
	for _, one := range list {
		if one.Current {
			current = one
		} else {
			others = append(others, one)
		}
	}
	return current, others, nil
}

// endSession ends one of the person's other sessions. The session of this browser
// ends at LogoutURL, which signs out at Microsoft too: the page has a link to it. It
// is not redirected to, because the policy's form-action would stop a form there.
func (a *app) endSession(w http.ResponseWriter, r *http.Request) error {
	r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
	if err := r.ParseForm(); err != nil {
		return errors.Join(errBadForm, err)
	}
	id := r.PostForm.Get("id")
	current, _, err := a.signedInAt(r)
	if err != nil {
		return err
	}
	if id != "" && id == current.ID {
		return errThisBrowser
	}
	s, _ := msauth.FromContext(r.Context())
	err = a.auth.SignOutSession(r.Context(), s.User.Key(), id)
	if errors.Is(err, msauth.ErrSharedUnavailable) {
		a.log.Warn("a session has ended on this server only", "error", err)
		return a.render(w, r, http.StatusAccepted, "ended", "Signed out", ended{Later: true})
	}
	to := "/sessions?ended=now"
	if errors.Is(err, msauth.ErrUnknownSession) { // by age, in another tab, or it is somebody else's
		to, err = "/sessions?ended=before", nil
	}
	if err != nil {
		return err
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
	return nil
}

// ended is the data of the page that says what has ended.
type ended struct {
	Everywhere bool // not one session, but all, this one too
	Later      bool // other servers do not know yet
}

// endSessions ends all of the person's sessions, this one too. Without Config.Shared
// that is in the memory of this process: with the same keys, sessions that have
// neither ended by age nor lost their cookie are back after a restart. The page that says so
// leads on to LogoutURL for who wants to leave Microsoft as well.
func (a *app) endSessions(w http.ResponseWriter, r *http.Request) error {
	s, _ := msauth.FromContext(r.Context())
	err := a.auth.SignOutUser(r.Context(), s.User.Key())
	later := errors.Is(err, msauth.ErrSharedUnavailable)
	if err != nil && !later {
		return err
	}
	status := http.StatusOK
	if later {
		a.log.Warn("sessions have ended on this server only", "error", err)
		status = http.StatusAccepted
	}
	return a.renderFor(w, r, nil, status, "ended", "Signed out everywhere", ended{Everywhere: true, Later: later})
}
