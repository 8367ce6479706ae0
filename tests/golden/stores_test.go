package golden_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"sync"

	"github.com/gorilla/sessions"

	"example.com/msauth"
)

// A goldenRecords is a gorilla store in memory. It gives a record its id at the
// first save, as most do.
type goldenRecords struct{ texts map[string]string }

func (s *goldenRecords) copy() *goldenRecords { return &goldenRecords{maps.Clone(s.texts)} }

func (s *goldenRecords) Get(r *http.Request, name string) (*sessions.Session, error) {
	return sessions.GetRegistry(r).Get(s, name)
}

func (s *goldenRecords) New(r *http.Request, name string) (*sessions.Session, error) {
	session := sessions.NewSession(s, name)
	session.IsNew, session.Options = true, &sessions.Options{Path: "/"}
	if c, err := r.Cookie(name); err == nil {
		if text, ok := s.texts[c.Value]; ok {
			session.ID, session.IsNew = c.Value, false
			session.Values["msauth"] = text
		}
	}
	return session, nil
}

func (s *goldenRecords) Save(_ *http.Request, w http.ResponseWriter, session *sessions.Session) error {
	if session.Options.MaxAge < 0 {
		delete(s.texts, session.ID)
	} else {
		if session.ID == "" {
			session.ID = fmt.Sprintf("record-%d", 1+len(s.texts))
		}
		s.texts[session.ID], _ = session.Values["msauth"].(string)
	}
	http.SetCookie(w, sessions.NewCookie(session.Name(), session.ID, session.Options))
	return nil
}

// A goldenTokens is a TokenStore in memory.
type goldenTokens struct {
	mu      sync.Mutex
	entries map[string]msauth.StoredTokens
}

func (s *goldenTokens) copy() *goldenTokens {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &goldenTokens{entries: maps.Clone(s.entries)}
}

func (s *goldenTokens) Load(_ context.Context, user string) (msauth.StoredTokens, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.entries[user]; ok {
		return e, nil
	}
	return msauth.StoredTokens{}, msauth.ErrNoTokens
}

func (s *goldenTokens) Save(_ context.Context, user string, old int64, e msauth.StoredTokens) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries[user].Version != old {
		return msauth.ErrConflict
	}
	s.entries[user] = e
	return nil
}

func (s *goldenTokens) Delete(_ context.Context, user string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.entries, user)
	return nil
}
