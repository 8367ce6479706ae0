package msauth

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"time"

	"example.com/msauth/internal/device"
	"example.com/msauth/internal/session"
	"example.com/msauth/internal/web"
)

// ErrUnknownSession means that an account has no session with this ID, or that it has
// ended.
var ErrUnknownSession = errors.New("msauth: the account has no such session")

// A UserSession is one of the sessions of an account: where somebody is signed in.
type UserSession struct {
	// ID names the session for [Middleware.SignOutSession], and gives access to
	// nothing.
	ID string
	// Begun is the time of the sign-in, and Ends when the session ends at the
	// latest.
	Begun, Ends time.Time
	// LastUsed is when the session was last used, in steps of
	// [Config.IdleTimeout]/24, or when its tokens were last renewed.
	LastUsed time.Time
	// Browser and Platform are words for what the browser called itself at the
	// sign-in (header User-Agent), such as "Firefox" and "Windows", or "".
	Browser, Platform string
	// DeviceBound is set if the session is bound to its device: see
	// [Config.DeviceBinding].
	DeviceBound bool
	// Current is set if this is the session of the request that the context
	// belongs to.
	Current bool
}

// Sessions lists the sessions of an account, the newest first, for a page "Where you
// are signed in". userKey is [User.Key]. Sessions that have ended are left out as far
// as this process knows; one whose browser has been reset is listed until it ends.
//
// With [Config.Shared] they are the sessions of all processes, otherwise those that
// began in this process since its start. It returns an error if userKey is not the key
// of an account, or if Config.Shared fails.
func (m *Middleware) Sessions(ctx context.Context, userKey string) ([]UserSession, error) {
	key, ok := session.AccountKey(userKey)
	if !ok {
		return nil, notAKey("Sessions", userKey)
	}
	listed, err := m.directory.List(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("msauth: the list of sessions cannot be read: %w", err)
	}
	var current session.ID
	if s, ok := m.FromContext(ctx); ok {
		if h, ok := s.tokens.(*heldTokens); ok {
			current = h.record().ID
		}
	}
	var list []UserSession
	for _, s := range listed {
		if m.ended.HasListed(key, s) {
			continue
		}
		list = append(list, UserSession{
			ID: hex.EncodeToString(s.ID[:]), Begun: s.Begun, Ends: s.Ends, LastUsed: s.Used,
			Browser: s.Browser, Platform: s.Platform, DeviceBound: s.Bound, Current: s.ID == current,
		})
	}
	return list, nil
}

// SignOutSession ends one of the sessions of an account. id is [UserSession].ID. The
// error matches [ErrUnknownSession] if the account has no such session: nobody ends
// somebody else's. If it matches [ErrSharedUnavailable], the session has ended in this
// process, and the others follow, as with [Middleware.SignOutUser]. After any other
// error nothing has happened.
func (m *Middleware) SignOutSession(ctx context.Context, userKey, id string) error {
	list, err := m.Sessions(ctx, userKey)
	if err != nil {
		return err
	}
	for _, s := range list {
		if s.ID == id {
			var which session.ID
			_, _ = hex.Decode(which[:], []byte(id)) // we have encoded it
			ctx = context.WithoutCancel(ctx)
			ending := m.ended.EndID(which, userKey)
			if m.bindable(s.DeviceBound, s.Begun) {
				ending = append(ending, m.ended.EndID(device.Next(which), userKey)...)
			}
			err := m.publish(ctx, ending)
			m.events.sessionSignedOut(ctx, userKey)
			return err
		}
	}
	return ErrUnknownSession
}

// SignOutUser ends all sessions of an account, in all browsers, that began until
// now. userKey is [User.Key]. What those browsers do next is answered as if nobody
// were signed in; the person can sign in again, unless Microsoft or [Config.OnSignIn]
// refuses that. Access tokens that handlers have stay valid until they expire.
//
// forget are users of the app's own, by [SignIn.UserKey], whose tokens in
// [Config.Tokens] are deleted too, as by [Middleware.Disconnect]. Everything is done
// even if a part of it fails; the error joins what failed.
//
// With [Config.Shared] it holds for all processes within a second. If that fails, the
// error matches [ErrSharedUnavailable]: the sessions have ended in this process, and
// end in the others when Config.Shared works again. By which of them had begun is
// then decided by the clock, and one that begins in the same second ends too, as it
// does without Config.Shared. There the sessions end in this process alone, until it
// ends: with several servers, call SignOutUser on each. It returns an error if userKey
// is not the key of an account.
func (m *Middleware) SignOutUser(ctx context.Context, userKey string, forget ...string) error {
	key, ok := session.AccountKey(userKey)
	if !ok {
		return notAKey("SignOutUser", userKey)
	}
	ctx = context.WithoutCancel(ctx) // half of it helps nobody
	errs := []error{m.endAccount(ctx, key)}
	m.events.userSignedOut(ctx, key, m.shared != nil)
	for _, user := range forget {
		errs = append(errs, m.Disconnect(ctx, user))
	}
	return errors.Join(errs...)
}

func notAKey(what, userKey string) error {
	return fmt.Errorf("msauth: %s: %q is not the key of an account: want User.Key", what, web.OneLine(userKey, 100))
}

// endAccount ends all sessions of an account that have begun.
func (m *Middleware) endAccount(ctx context.Context, key string) error {
	before, _ := m.directory.Mark(ctx, key) // zero if it fails: then the clock tells
	ending, _ := m.ended.EndAccount(key, before)
	return m.publish(ctx, ending)
}

// list adds a session that is about to be made to those of its account.
func (m *Middleware) list(r *http.Request, rec *session.Record) {
	browser, platform := web.Browser(r.UserAgent())
	rec.Place, _ = m.directory.Begin(context.WithoutCancel(r.Context()), rec, browser, platform)
}

// noteSID remembers the provider's id of a session, for when the provider says that
// it is over.
func (m *Middleware) noteSID(ctx context.Context, rec *session.Record) {
	if m.ended.Note(rec); m.shared != nil && rec.SID() != "" {
		_ = m.directory.NoteSID(context.WithoutCancel(ctx), rec)
	}
}

// endSID ends the sessions with an id of the provider's, and reports whether it did.
// key is that of their account, "" if it is not known. Unless the provider has proved
// that it calls, nothing is kept of an id that nobody knows, or anybody could fill the
// memory.
func (m *Middleware) endSID(ctx context.Context, sid, key string, proved bool) bool {
	if sid == "" || len(sid) > session.MaxSID {
		return false
	}
	ctx = context.WithoutCancel(ctx)
	known, before := m.ended.Knows(sid) || proved, session.Place{}
	if m.shared != nil {
		if key == "" {
			key, _ = m.directory.SID(ctx, sid)
		}
		if known = known || key != ""; key != "" {
			before, _ = m.directory.Mark(ctx, key)
		}
	}
	if known {
		_ = m.publish(ctx, m.ended.EndSID(sid, before))
	}
	if m.shared != nil && key != "" && !proved {
		_ = m.directory.ForgetSID(ctx, sid) // or it could be sent again and again, to fill the log
	}
	return known
}
