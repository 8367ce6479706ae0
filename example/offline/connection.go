package main

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"time"

	"example.com/msauth"
)

// A connection is the state of a user's Microsoft account.
type connection struct {
	Connected bool
	Refused   bool      // the user must sign in at Microsoft again
	Account   string    // its name; empty if unknown
	Trouble   string    // why the last digest was not written
	Time      time.Time // of the trouble
	NotBefore time.Time // when to try again; zero for the next run
}

// connection reads the state from the database, without a request to Microsoft.
func (a *app) connection(ctx context.Context, p *person) (c connection, err error) {
	s, err := a.auth.Offline(ctx, p.key())
	switch {
	case errors.Is(err, msauth.ErrNoTokens):
		return c, nil
	case errors.Is(err, msauth.ErrSignInRequired):
		return connection{Connected: true, Refused: true}, nil
	case err != nil:
		// An account that has a problem must still be shown, so that it can be
		// disconnected.
		if _, ok := errors.AsType[*msauth.AuthError](err); ok && !isOfDatabase(err) {
			return connection{Connected: true, Trouble: troubleOf(err).why}, nil
		}
		return c, err
	}
	c.Connected, c.Account = true, nameOf(s.User)
	var ms, notBefore int64
	err = a.db.QueryRowContext(ctx, `SELECT time, needs_person, why, not_before FROM troubles WHERE user = ?`, p.ID).
		Scan(&ms, &c.Refused, &c.Trouble, &notBefore)
	if errors.Is(err, sql.ErrNoRows) {
		return c, nil
	}
	if c.Time = milli(ms); c.Refused && s.SignedIn().Unix() >= c.Time.Unix() {
		c.Refused, c.Trouble = false, "" // the user has signed in again since
	}
	if t := milli(notBefore); time.Until(t) > 0 {
		c.NotBefore = t
	}
	return c, ofDatabase(err)
}

func (a *app) settings(w http.ResponseWriter, r *http.Request, p *person) error {
	c, err := a.connection(r.Context(), p)
	if err != nil {
		return err
	}
	return a.render(w, r, http.StatusOK, "settings", "Settings", c)
}

// disconnect deletes the user's tokens and digests.
func (a *app) disconnect(w http.ResponseWriter, r *http.Request, p *person) error {
	if err := a.forget(r.Context(), p); err != nil {
		return err
	}
	// Delete what msauth has in memory too. If the user has connected again in
	// another tab since the transaction, this disconnects that as well. If it
	// fails, what is in memory expires with the access token.
	if err := a.auth.Disconnect(r.Context(), p.key()); err != nil {
		a.log.Warn("disconnected, but the access token stays in memory until it expires", "user", p.ID, "error", err)
	}
	a.log.Info("disconnected", "user", p.ID)
	http.Redirect(w, r, "/settings", http.StatusSeeOther)
	return nil
}

// forget deletes the user's tokens and digests, both or neither.
func (a *app) forget(ctx context.Context, p *person) error {
	return together(ctx, a.db, func(tx *sql.Tx) error {
		if err := a.store.In(tx).Delete(ctx, p.key()); err != nil {
			return ofDatabase(err)
		}
		for _, statement := range []string{
			`DELETE FROM digests WHERE user = ?`, `DELETE FROM troubles WHERE user = ?`,
		} {
			if _, err := tx.ExecContext(ctx, statement, p.ID); err != nil {
				return ofDatabase(err)
			}
		}
		return nil
	})
}
