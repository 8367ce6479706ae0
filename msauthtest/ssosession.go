package msauthtest

import (
	"net/http"
	"strings"
	"time"
)

// An ssoSession is a browser in which people are signed in to this server.
type ssoSession struct {
	accounts map[string]ssoAccount // by sign-in name in lower case
	used     time.Time
}

type ssoAccount struct {
	sid      string
	authTime time.Time
	mfa      bool     // signed in with more than a password
	acrs     []string // authentication contexts that were satisfied
}

// session returns a copy of the accounts that are signed in to this browser.
func (e *exchange) session(r *http.Request) map[string]ssoAccount {
	accounts := map[string]ssoAccount{}
	c, err := r.Cookie(e.cookie)
	if err != nil {
		return accounts
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if session, ok := e.sessions[c.Value]; ok {
		for name, account := range session.accounts {
			accounts[name] = account
		}
	}
	return accounts
}

// remember records that a person is signed in to this browser. e.mu is held.
func (e *exchange) remember(w http.ResponseWriter, r *http.Request, u User, account ssoAccount) {
	var session *ssoSession
	if c, err := r.Cookie(e.cookie); err == nil {
		session = e.sessions[c.Value]
	}
	if session == nil {
		if len(e.sessions) >= keep {
			for id, old := range e.sessions {
				if time.Since(old.used) > time.Hour {
					delete(e.sessions, id)
				}
			}
		}
		id := randomText(43)
		session = &ssoSession{accounts: map[string]ssoAccount{}}
		e.sessions[id] = session
		http.SetCookie(w, &http.Cookie{
			Name: e.cookie, Value: id, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode,
			Secure: strings.HasPrefix(e.URL, "https:"),
		})
	}
	session.accounts[strings.ToLower(u.SignInName)] = account
	session.used = time.Now()
}

// endSessions signs out a person, or everybody if hint names nobody, in this
// browser.
func (e *exchange) endSessions(r *http.Request, hint string) (ended []endedSession) {
	hinted, known := e.user(hint)
	c, err := r.Cookie(e.cookie)
	if err != nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	session := e.sessions[c.Value]
	if session == nil {
		return nil
	}
	for name, account := range session.accounts {
		if !known || name == strings.ToLower(hinted.SignInName) {
			delete(session.accounts, name)
			ended = append(ended, endedSession{name, account.sid})
		}
	}
	return ended
}
