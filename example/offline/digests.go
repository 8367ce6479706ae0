package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// A digest lists the files that changed last, as of a time.
type digest struct {
	Due   time.Time
	Files []file
}

func (a *app) digests(w http.ResponseWriter, r *http.Request, p *person) error {
	var data struct {
		Connection connection
		Digests    []digest
		Runs       []run
		Worker     status
	}
	ctx := r.Context()
	var err error
	if data.Connection, err = a.connection(ctx, p); err != nil {
		return err
	}
	if data.Digests, err = a.digestsOf(ctx, p, 5); err != nil {
		return ofDatabase(err)
	}
	if data.Runs, err = a.runs(ctx, 12); err != nil {
		return ofDatabase(err)
	}
	// After the runs, so that those that have begun or ended since are included.
	data.Worker = a.worker.status()
	data.Runs = data.Worker.merge(data.Runs, 10)
	return a.render(w, r, http.StatusOK, "digests", "Digests", data)
}

// digestsOf returns the user's last n digests, newest first.
func (a *app) digestsOf(ctx context.Context, p *person, n int) (list []digest, err error) {
	rows, err := a.db.QueryContext(ctx, `SELECT due, files FROM digests WHERE user = ? ORDER BY due DESC LIMIT ?`, p.ID, n)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var ms int64
		var text string
		var d digest
		if err := rows.Scan(&ms, &text); err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(text), &d.Files); err != nil {
			return nil, fmt.Errorf("cannot read a digest: %w", err)
		}
		d.Due = milli(ms)
		list = append(list, d)
	}
	return list, rows.Err()
}

// runs returns the last n runs of all workers, newest first.
func (a *app) runs(ctx context.Context, n int) (list []run, err error) {
	rows, err := a.db.QueryContext(ctx, `SELECT id, due, started, ended, users, written, skipped, waiting, failed, why
		FROM runs ORDER BY id DESC LIMIT ?`, n)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var r run
		var due, started int64
		var ended sql.NullInt64
		if err := rows.Scan(&r.ID, &due, &started, &ended, &r.Users, &r.Written, &r.Skipped, &r.Waiting, &r.Failed, &r.Why); err != nil {
			return nil, err
		}
		r.Due, r.Started = milli(due), milli(started)
		if ended.Valid {
			r.Ended = milli(ended.Int64)
		}
		list = append(list, r)
	}
	return list, rows.Err()
}

// merge returns the runs in the database without the current one, and with the
// worker's own record of its latest run, which the database may lack.
func (s status) merge(kept []run, n int) (list []run) {
	if s.Latest != nil && (s.Latest.ID == 0 || s.Latest.database) {
		list = append(list, *s.Latest)
	}
	for _, r := range kept {
		switch {
		case s.Current != nil && s.Current.ID == r.ID:
		case s.Latest == nil || s.Latest.ID != r.ID:
			list = append(list, r)
		case !s.Latest.database:
			list = append(list, *s.Latest)
		}
	}
	return list[:min(n, len(list))]
}
