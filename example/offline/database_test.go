package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

func TestADatabaseThatCannotBeWrittenTo(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.connected("zoe", msauthtest.Ada)
	s.wantRun(run{Users: 1, Written: 1})
	db, err := openDatabase(s.env["DIGEST_DB"], "_pragma=query_only(1)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	writable := s.worker.db
	s.worker.db = db
	s.due = s.due.Add(time.Minute)
	r := s.worker.run(t.Context(), s.due)
	if r.Written != 0 || !r.database || r.Why == "" {
		t.Errorf("the run says %+v", r)
	}
	s.wantDigests(1)
	b.get("/digests").want(http.StatusOK, "The database is not available.")
	if _, wait := pause(time.Minute, 0, time.Minute, r); wait < time.Minute {
		t.Errorf("the next run comes after %v", wait)
	}
	s.worker.db = writable
	s.wantRun(run{Users: 1, Written: 1})
	s.wantDigests(2)

	// It fails in the middle of a run: some users get all of their digest, the others
	// nothing.
	s.users(40)
	if _, err := s.db.Exec(`CREATE TRIGGER broken BEFORE INSERT ON digests WHEN (SELECT count(*) FROM digests) >= 12
		BEGIN SELECT RAISE(ABORT, 'the disk is full'); END`); err != nil {
		t.Fatal(err)
	}
	s.worker.recent = func(context.Context, *msauth.Session) ([]file, error) { return nil, nil }
	if r := s.run(); r.Written != 10 || !r.database || !strings.Contains(r.Why, "database") {
		t.Errorf("the run says %+v", r)
	}
	s.wantDigests(12)
	b.get("/digests").want(http.StatusOK, "The database is not available.")
	if _, err := s.db.Exec(`DROP TRIGGER broken`); err != nil {
		t.Fatal(err)
	}
	s.wantRun(run{Users: 41, Written: 41})

	s.db.Close()
	if r := s.run(); r.Users != 0 || !r.database {
		t.Errorf("closed: %+v", r)
	}
}

// Old data is deleted in the end, however much there is.
func TestWhatIsOldIsDeleted(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.connected("zoe", msauthtest.Ada)
	s.wantRun(run{Users: 1, Written: 1})
	old := s.due.Add(-25 * time.Hour).UnixMilli()
	for _, statement := range []string{
		`WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n LIMIT 1200) INSERT INTO digests SELECT 1, ? - i, '[]' FROM n`,
		`INSERT INTO runs (due, started, users, written, skipped, waiting, failed, why) VALUES (?, 0, 0, 0, 0, 0, 0, '')`,
		`INSERT INTO sessions (id, user, ends) VALUES (x'00', 1, ?)`,
	} {
		if _, err := s.db.Exec(statement, old); err != nil {
			t.Fatal(err)
		}
	}
	// About a millisecond for each row, on any machine.
	const trial = 30_000
	took := time.Minute // the quickest of some: other work on the machine must not count
	var start time.Time
	for range 5 {
		start = time.Now()
		s.number(`SELECT count(*) FROM (WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n LIMIT ?) SELECT i FROM n)`, trial)
		took = min(took, time.Since(start))
	}
	steps := max(1, int(trial*time.Millisecond/took))
	if _, err := s.db.Exec(fmt.Sprintf(`CREATE TRIGGER slow BEFORE DELETE ON digests BEGIN
		SELECT count(*) FROM (WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n LIMIT %d) SELECT i FROM n); END`, steps)); err != nil {
		t.Fatal(err)
	}
	start = time.Now()
	s.wantRun(run{Users: 1, Written: 1})
	if took := time.Since(start); took < 500*time.Millisecond {
		t.Errorf("deleting took %v: that tests nothing", took)
	}
	s.wantDigests(2)
	for _, query := range []string{`SELECT count(*) FROM runs WHERE due = ?`, `SELECT count(*) FROM sessions WHERE ends = ?`} {
		if n := s.number(query, old); n != 0 {
			t.Errorf("%s: %d", query, n)
		}
	}
	if log := s.log.String(); strings.Contains(log, "level=ERROR") || strings.Contains(log, "error=<nil>") {
		t.Error("the log has errors")
	}

	// If deleting fails, the log says so, and the run is stored.
	if _, err := s.db.Exec(`DROP TRIGGER slow; CREATE TRIGGER broken BEFORE DELETE ON digests BEGIN SELECT RAISE(ABORT, 'the disk is full'); END;
		INSERT INTO digests VALUES (1, 1, '[]')`); err != nil {
		t.Fatal(err)
	}
	s.wantRun(run{Users: 1, Written: 1})
	if log := s.log.String(); !strings.Contains(log, "cannot delete old data") || strings.Contains(log, "cannot store the run") {
		t.Error("the log does not say what failed")
	}
	if n := s.number(`SELECT count(*) FROM runs WHERE ended IS NULL`); n != 0 {
		t.Errorf("%d runs are not noted", n)
	}
}

// A database made by an earlier version of this site still works.
func TestOlderDatabase(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.connected("zoe", msauthtest.Ada)
	if _, err := s.db.Exec(`ALTER TABLE troubles DROP COLUMN not_before; ALTER TABLE users DROP COLUMN admin; PRAGMA user_version = 0;
		INSERT INTO troubles (user, time, needs_person, why) VALUES (1, 1, 0, 'It was long ago.')`); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s.restart()
	}
	b.get("/settings").want(http.StatusOK, "It was long ago.").lack("/people")
	s.user("yan").get("/people").want(http.StatusForbidden, "For the administrator only")
	b.get("/people").want(http.StatusForbidden, "For the administrator only")
	if _, err := s.db.Exec(`UPDATE users SET admin = 1 WHERE name = 'zoe'`); err != nil {
		t.Fatal(err)
	}
	b.get("/people").want(http.StatusOK, "yan")
	s.wantRun(run{Users: 1, Written: 1})
}
