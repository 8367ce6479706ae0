package main

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"strconv"
	"time"

	"example.com/msauth"
)

// The administrator is the first user who signs up: see create. They can say that
// another user has left.

var (
	errNotAdmin = errors.New("not the administrator")
	errNoPerson = errors.New("no such user")
	errOneself  = errors.New("the administrator's own account")
)

// administrator is for pages of the administrator.
func (a *app) administrator(h func(http.ResponseWriter, *http.Request, *person) error) func(http.ResponseWriter, *http.Request) error {
	return a.members(func(w http.ResponseWriter, r *http.Request, p *person) error {
		if !p.Admin {
			return errNotAdmin
		}
		return h(w, r, p)
	})
}

// A member is a user on the page of all users.
type member struct {
	person
	Since     time.Time
	Connected bool // to a Microsoft account
	Digests   int
	Sessions  int // browsers in which the user is signed in here
}

const selectMembers = `SELECT id, name, admin, created, (SELECT count(*) FROM digests WHERE digests.user = users.id),
	(SELECT count(*) FROM sessions WHERE sessions.user = users.id AND ends > ?) FROM users `

// membersBy returns the users that the rest of a query selects.
func (a *app) membersBy(ctx context.Context, rest string, args ...any) (list []member, err error) {
	rows, err := a.db.QueryContext(ctx, selectMembers+rest, append([]any{time.Now().UnixMilli()}, args...)...)
	if err != nil {
		return nil, ofDatabase(err)
	}
	defer rows.Close()
	for rows.Next() {
		var m member
		var created int64
		if err := rows.Scan(&m.ID, &m.Name, &m.Admin, &created, &m.Digests, &m.Sessions); err != nil {
			return nil, ofDatabase(err)
		}
		m.Since = milli(created)
		list = append(list, m)
	}
	if err := rows.Err(); err != nil {
		return nil, ofDatabase(err)
	}
	for i := range list {
		_, err := a.account(ctx, &list[i].person)
		if list[i].Connected = err == nil; err != nil && !errors.Is(err, msauth.ErrNoTokens) {
			return nil, err
		}
	}
	return list, nil
}

// account returns the key of the Microsoft account that a user has connected. The
// error is msauth.ErrNoTokens if there is none.
func (a *app) account(ctx context.Context, p *person) (key string, err error) {
	kept, err := a.store.Load(ctx, p.key())
	if err != nil && !errors.Is(err, msauth.ErrNoTokens) {
		err = ofDatabase(err)
	}
	return kept.Account, err
}

const maxPeople = 200 // on the page

func (a *app) people(w http.ResponseWriter, r *http.Request, _ *person) error {
	list, err := a.membersBy(r.Context(), `ORDER BY name LIMIT ?`, maxPeople)
	if err != nil {
		return err
	}
	return a.render(w, r, http.StatusOK, "people", "People", struct {
		People []member
		Cut    bool
	}{list, len(list) == maxPeople})
}

// whoLeaves returns the user that the path names, who is not the administrator.
func (a *app) whoLeaves(r *http.Request, admin *person) (m member, err error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		return m, errNoPerson
	}
	list, err := a.membersBy(r.Context(), `WHERE id = ?`, id)
	switch {
	case err != nil:
		return m, err
	case len(list) == 0:
		return m, errNoPerson
	case list[0].ID == admin.ID:
		return m, errOneself
	}
	return list[0], nil
}

// leavingPage asks before it happens.
func (a *app) leavingPage(w http.ResponseWriter, r *http.Request, admin *person) error {
	m, err := a.whoLeaves(r, admin)
	if err != nil {
		return err
	}
	return a.render(w, r, http.StatusOK, "leaving", m.Name+" has left", m)
}

// left is what was done for a user who has left.
type left struct {
	Name              string
	Account           bool // a Microsoft account was connected
	Digests, Sessions int64
	Incomplete        string // what is still to come
}

// leave removes a user who has left, and says what was done.
func (a *app) leave(w http.ResponseWriter, r *http.Request, admin *person) error {
	m, err := a.whoLeaves(r, admin)
	if err != nil {
		return err
	}
	done, err := a.remove(context.WithoutCancel(r.Context()), &m.person) // half of it helps nobody
	if err != nil {
		return err
	}
	a.log.Info("a user has left", "user", m.ID, "by", admin.ID, "account", done.Account, "digests", done.Digests, "sessions", done.Sessions)
	return a.render(w, r, http.StatusOK, "left", m.Name+" has left", done)
}

// remove deletes a user with everything that the site keeps of them, all of it or
// nothing, and then has msauth forget what it has in memory.
func (a *app) remove(ctx context.Context, p *person) (done left, err error) {
	done.Name = p.Name
	var account string
	err = together(ctx, a.db, func(tx *sql.Tx) error {
		// In the transaction: somebody may be connecting an account just now.
		kept, err := a.store.In(tx).Load(ctx, p.key())
		if err != nil && !errors.Is(err, msauth.ErrNoTokens) {
			return ofDatabase(err)
		}
		account, done.Account = kept.Account, err == nil
		if err := a.store.In(tx).Delete(ctx, p.key()); err != nil {
			return ofDatabase(err)
		}
		var users, troubles int64
		for _, d := range []struct {
			statement string
			rows      *int64
		}{
			{`DELETE FROM digests WHERE user = ?`, &done.Digests},
			{`DELETE FROM troubles WHERE user = ?`, &troubles},
			{`DELETE FROM sessions WHERE user = ?`, &done.Sessions},
			{`DELETE FROM users WHERE id = ?`, &users},
		} {
			result, err := tx.ExecContext(ctx, d.statement, p.ID)
			if err == nil {
				*d.rows, err = result.RowsAffected()
			}
			if err != nil {
				return ofDatabase(err)
			}
		}
		if users == 0 { // in another tab, meanwhile
			return errNoPerson
		}
		return nil
	})
	if err != nil {
		return done, err
	}
	done.Incomplete = a.forgetInMemory(ctx, p, account)
	return done, nil
}

// forgetInMemory ends what msauth has of a user whose rows are deleted: sessions of
// the account, though this site has none, and tokens. It returns what is left, in
// words.
func (a *app) forgetInMemory(ctx context.Context, p *person, account string) (incomplete string) {
	var err error
	if account != "" {
		err = a.auth.SignOutUser(ctx, account, p.key())
	} else {
		err = a.auth.Disconnect(ctx, p.key())
	}
	switch {
	case err == nil:
		return ""
	case errors.Is(err, msauth.ErrSharedUnavailable):
		incomplete = "The other servers of this site cannot be reached at the moment, and will follow as soon as they can."
	default:
		incomplete = "An access token may stay in the memory of this server until it expires, within about an hour."
	}
	a.log.Warn("a user has left, and not everything is forgotten", "user", p.ID, "error", err)
	return incomplete
}
