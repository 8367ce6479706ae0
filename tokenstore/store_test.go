//go:build unix

package tokenstore_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/tokenstore"
)

func TestSaveAndLoad(t *testing.T) {
	whole := make([]byte, 64<<10)
	rand.Read(whole)
	now := time.Date(2026, 2, 3, 4, 5, 6, 789123456, time.FixedZone("", 3*3600))
	tests := []struct {
		name, user string
		saved      msauth.StoredTokens
		lease      time.Time // as loaded
	}{
		{"all fields", "1", msauth.StoredTokens{Sealed: []byte{0, 1, 255}, Account: "tid.oid", Shared: true, SignInRequired: true, Lease: now},
			time.Date(2026, 2, 3, 1, 5, 6, 789e6, time.UTC)},
		{"few fields", "2", msauth.StoredTokens{Account: "a"}, time.Time{}},
		{"most bytes", strings.Repeat("u", 255), msauth.StoredTokens{Sealed: whole, Account: strings.Repeat("a", 1024)}, time.Time{}},
		{"other texts", "Зоя \u00a0'\"%_\\;--$1?👩‍🚀", msauth.StoredTokens{Account: "https://b2c.example/v2.0/#ß"}, time.Time{}},
		{"a time before 1970", "3", msauth.StoredTokens{Account: "b", Lease: time.Unix(-1, 999_999_999)}, time.UnixMilli(-1)},
		{"the time of 1970", "4", msauth.StoredTokens{Account: "c", Lease: time.Unix(0, 0)}, time.Unix(0, 0)},
		{"a number of its own", "5", msauth.StoredTokens{Account: "d", Version: 7}, time.Time{}},
	}
	eachBackend(t, func(t *testing.T, b backend) {
		store, _ := b.newStore(t)
		for _, test := range tests {
			if _, err := store.Load(t.Context(), test.user); err != msauth.ErrNoTokens {
				t.Fatalf("%s: Load before Save: %v", test.name, err)
			}
			save(t, store, test.user, 0, test.saved)
			want := test.saved
			want.Lease = test.lease
			holds(t, store, test.user, want)
			got := load(t, store, test.user)
			if got.Lease.Location() != time.UTC {
				t.Errorf("%s: Lease is in %s", test.name, got.Lease.Location())
			}

			// Every field can change, back too.
			other := msauth.StoredTokens{Sealed: []byte("other"), Account: "other " + test.name, Shared: !test.saved.Shared,
				SignInRequired: !test.saved.SignInRequired, Lease: time.UnixMilli(1234)}
			if test.saved.Version != 0 && got.Version != test.saved.Version {
				t.Errorf("%s: version %d", test.name, got.Version)
			}
			save(t, store, test.user, got.Version, other)
			holds(t, store, test.user, other)
			again := load(t, store, test.user)
			if again.Version == got.Version {
				t.Errorf("%s: the version stays %d", test.name, got.Version)
			}
			save(t, store, test.user, again.Version, test.saved)
			holds(t, store, test.user, want)

			if err := store.Delete(t.Context(), test.user); err != nil {
				t.Fatalf("%s: Delete: %v", test.name, err)
			}
			if _, err := store.Load(t.Context(), test.user); err != msauth.ErrNoTokens {
				t.Fatalf("%s: Load after Delete: %v", test.name, err)
			}
			if err := store.Delete(t.Context(), test.user); err != nil {
				t.Fatalf("%s: Delete of nothing: %v", test.name, err)
			}
		}
	})
}

func TestKeysAreComparedByteByByte(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		store, _ := b.newStore(t)
		keys := []string{"1", "01", "1.0", "ada", "Ada", "ada ", " ada", "\u00e9", "e\u0301", "z", "Z", "_", "ä"}
		for _, key := range keys {
			save(t, store, key, 0, entry(key))
		}
		for _, key := range keys {
			holds(t, store, key, entry(key))
			if user, err := store.UserOf(t.Context(), key); user != key || err != nil {
				t.Errorf("UserOf(%q) = %q, %v", key, user, err)
			}
		}
		slices.Sort(keys)
		if got := users(t, store, ""); !slices.Equal(got, keys) {
			t.Errorf("Users = %q, want %q", got, keys)
		}
	})
}

func TestSaveComparesVersions(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		store, _ := b.newStore(t)
		conflict := func(what, user string, old int64, e msauth.StoredTokens) {
			t.Helper()
			if err := store.Save(t.Context(), user, old, e); err != msauth.ErrConflict {
				t.Errorf("%s: %v, want ErrConflict", what, err)
			}
		}
		conflict("a version, no entry", "ada", 1, entry("a"))
		save(t, store, "ada", 0, entry("a"))
		first := load(t, store, "ada")
		conflict("no version, an entry", "ada", 0, entry("b"))
		conflict("another version", "ada", first.Version+1, entry("b"))
		conflict("a negative version", "ada", -first.Version, entry("b"))
		holds(t, store, "ada", entry("a"))

		save(t, store, "ada", first.Version, entry("b"))
		conflict("an old version", "ada", first.Version, entry("c"))
		holds(t, store, "ada", entry("b"))

		// A version does not come back with a new entry, however many.
		second := load(t, store, "ada")
		for range 20 {
			if err := store.Delete(t.Context(), "ada"); err != nil {
				t.Fatal(err)
			}
			conflict("a version from before Delete, no entry", "ada", second.Version, entry("c"))
			save(t, store, "ada", 0, entry("a"))
			conflict("a version from before Delete", "ada", first.Version, entry("c"))
			conflict("a version from before Delete", "ada", second.Version, entry("c"))
			holds(t, store, "ada", entry("a"))
		}
		// A conflict is one even where the account is taken too.
		save(t, store, "bob", 0, entry("b"))
		conflict("no version, an entry, an account taken", "bob", 0, entry("a"))
		conflict("an old version, an account taken", "bob", second.Version, entry("a"))
	})
}

func TestOneUserPerAccount(t *testing.T) {
	shared := func(account string) msauth.StoredTokens {
		e := entry(account)
		e.Shared = true
		return e
	}
	eachBackend(t, func(t *testing.T, b backend) {
		store, _ := b.newStore(t)
		taken := func(what, user string, old int64, e msauth.StoredTokens) {
			t.Helper()
			if err := store.Save(t.Context(), user, old, e); err != msauth.ErrAccountTaken {
				t.Errorf("%s: %v, want ErrAccountTaken", what, err)
			}
		}
		userOf := func(account, want string) {
			t.Helper()
			user, err := store.UserOf(t.Context(), account)
			if user != want || (want == "") != (err == msauth.ErrNoTokens) || want != "" && err != nil {
				t.Errorf("UserOf(%s) = %q, %v, want %q", account, user, err, want)
			}
		}
		userOf("a", "")
		save(t, store, "ada", 0, entry("a"))
		save(t, store, "bob", 0, entry("b"))
		taken("a new entry", "eve", 0, entry("a"))
		taken("an entry of somebody", "bob", load(t, store, "bob").Version, entry("a"))
		holds(t, store, "bob", entry("b"))
		if _, err := store.Load(t.Context(), "eve"); err != msauth.ErrNoTokens {
			t.Errorf("eve has an entry, or: %v", err)
		}
		save(t, store, "ada", load(t, store, "ada").Version, entry("a")) // her own
		userOf("a", "ada")

		save(t, store, "eve", 0, shared("a"))
		save(t, store, "fay", 0, shared("a"))
		userOf("a", "ada")
		taken("no longer shared", "eve", load(t, store, "eve").Version, entry("a"))
		holds(t, store, "eve", shared("a"))
		save(t, store, "ada", load(t, store, "ada").Version, shared("a"))
		userOf("a", "")
		save(t, store, "eve", load(t, store, "eve").Version, entry("a"))
		userOf("a", "eve")
		taken("the account of who was shared", "ada", load(t, store, "ada").Version, entry("a"))

		if err := store.Delete(t.Context(), "eve"); err != nil {
			t.Fatal(err)
		}
		save(t, store, "ada", load(t, store, "ada").Version, entry("a"))
		userOf("a", "ada")
	})
}

func TestLimits(t *testing.T) {
	good := entry("a")
	with := func(change func(*msauth.StoredTokens)) msauth.StoredTokens {
		e := good
		change(&e)
		return e
	}
	tests := []struct {
		name, user string
		entry      msauth.StoredTokens
		want       string
	}{
		{"no user", "", good, "tokenstore: the user key is empty"},
		{"a long user", strings.Repeat("é", 128), good, "tokenstore: the user key has 256 bytes, more than 255"},
		{"a user in no UTF-8", "a\xff", good, "tokenstore: the user key is not valid UTF-8"},
		{"a user with NUL", "a\x00", good, "tokenstore: the user key has a control character"},
		{"a user of two lines", "a\nb", good, "tokenstore: the user key has a control character"},
		{"no account", "u", with(func(e *msauth.StoredTokens) { e.Account = "" }), "tokenstore: the account key is empty"},
		{"a long account", "u", with(func(e *msauth.StoredTokens) { e.Account = strings.Repeat("a", 1025) }),
			"tokenstore: the account key has 1025 bytes, more than 1024"},
		{"an account with NUL", "u", with(func(e *msauth.StoredTokens) { e.Account = "\x00" }), "tokenstore: the account key has a control character"},
		{"too many bytes", "u", with(func(e *msauth.StoredTokens) { e.Sealed = make([]byte, 64<<10+1) }), "tokenstore: Sealed has 65537 bytes, more than 64 KB"},
		{"the year 10000", "u", with(func(e *msauth.StoredTokens) { e.Lease = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }),
			"tokenstore: the year of Lease is not 1 to 9999"},
		{"the year 0", "u", with(func(e *msauth.StoredTokens) { e.Lease = time.Time{}.Add(-1) }), "tokenstore: the year of Lease is not 1 to 9999"},
	}
	eachBackend(t, func(t *testing.T, b backend) {
		store, _ := b.newStore(t)
		for _, test := range tests {
			err := store.Save(t.Context(), test.user, 0, test.entry)
			if err == nil || err.Error() != test.want {
				t.Errorf("Save with %s: %v, want %s", test.name, err, test.want)
			}
			if test.user == "u" {
				continue
			}
			_, err = store.Load(t.Context(), test.user)
			if err == nil || err.Error() != test.want {
				t.Errorf("Load of %s: %v, want %s", test.name, err, test.want)
			}
			err = store.Delete(t.Context(), test.user)
			if err == nil || err.Error() != test.want {
				t.Errorf("Delete of %s: %v, want %s", test.name, err, test.want)
			}
			if test.user == "" {
				continue // all users are those behind ""
			}
			for _, err := range store.Users(t.Context(), test.user) {
				if err == nil || err.Error() != test.want {
					t.Errorf("Users behind %s: %v, want %s", test.name, err, test.want)
				}
			}
		}
		if _, err := store.UserOf(t.Context(), ""); err == nil || err.Error() != "tokenstore: the account key is empty" {
			t.Errorf("UserOf of no account: %v", err)
		}
		if got := users(t, store, ""); len(got) != 0 {
			t.Errorf("there are entries of %q", got)
		}
	})
}

// crowd calls f with 0 to n-1 at the same time and counts the results.
func crowd(t *testing.T, n int, f func(i int) error) map[error]int {
	t.Helper()
	var wg sync.WaitGroup
	start, errs := make(chan struct{}), make([]error, n)
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	wg.Wait()
	counts := map[error]int{}
	for _, err := range errs {
		if err != nil && err != msauth.ErrConflict && err != msauth.ErrAccountTaken {
			t.Fatal(err)
		}
		counts[err]++
	}
	return counts
}

func TestOneWinnerPerVersion(t *testing.T) {
	many := times(24, 64)
	eachBackend(t, func(t *testing.T, b backend) {
		store, _ := b.newStore(t)
		var version int64
		for round := range times(3, 6) {
			got := crowd(t, many, func(i int) error {
				return store.Save(t.Context(), "ada", version, msauth.StoredTokens{Sealed: fmt.Append(nil, round, i), Account: "a"})
			})
			if got[nil] != 1 || got[msauth.ErrConflict] != many-1 {
				t.Fatalf("round %d: %v", round, got)
			}
			e := load(t, store, "ada")
			if e.Version == version || !bytes.HasPrefix(e.Sealed, fmt.Append(nil, round)) {
				t.Fatalf("round %d: %+v", round, e)
			}
			version = e.Version
		}
	})
}

func TestOneUserPerAccountAtATime(t *testing.T) {
	notQuick(t)
	many := times(24, 64)
	eachBackend(t, func(t *testing.T, b backend) {
		store, _ := b.newStore(t)
		user := func(i int) string { return fmt.Sprint("user", i) }
		got := crowd(t, many, func(i int) error { return store.Save(t.Context(), user(i), 0, entry("new")) })
		if got[nil] != 1 || got[msauth.ErrAccountTaken] != many-1 {
			t.Errorf("new entries: %v", got)
		}
		versions := make([]int64, many)
		for i := range many {
			if err := store.Delete(t.Context(), user(i)); err != nil {
				t.Fatal(err)
			}
			save(t, store, user(i), 0, entry(user(i)))
			versions[i] = load(t, store, user(i)).Version
		}
		got = crowd(t, many, func(i int) error { return store.Save(t.Context(), user(i), versions[i], entry("changed")) })
		if got[nil] != 1 || got[msauth.ErrAccountTaken] != many-1 {
			t.Errorf("changed entries: %v", got)
		}
		if n := len(users(t, store, "")); n != many {
			t.Errorf("%d entries, want %d", n, many)
		}

		// Each wants what the other has: in PostgreSQL that is a deadlock.
		for range times(5, 20) {
			a, b := load(t, store, user(0)), load(t, store, user(1))
			got := crowd(t, 2, func(i int) error {
				if i == 0 {
					return store.Save(t.Context(), user(0), a.Version, entry(b.Account))
				}
				return store.Save(t.Context(), user(1), b.Version, entry(a.Account))
			})
			if got[msauth.ErrAccountTaken] != 2 {
				t.Fatalf("two who exchange their accounts: %v", got)
			}
		}
	})
}

func TestUsers(t *testing.T) {
	notQuick(t)
	eachBackend(t, func(t *testing.T, b backend) {
		store, db := b.newStore(t)
		if got := users(t, store, ""); len(got) != 0 {
			t.Fatalf("nobody is connected: %q", got)
		}
		// Five of six can be used; they are several pages.
		all := times(3_000, 12_000)
		tx, err := db.Begin()
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		var want []string
		for i := range all {
			user := fmt.Sprintf("user%06d", i*7919%all)
			e := entry(user)
			e.SignInRequired = i%6 == 5
			save(t, store.In(tx), user, 0, e)
			if !e.SignInRequired {
				want = append(want, user)
			}
		}
		slices.Sort(want)
		if got := users(t, store.In(tx), ""); !slices.Equal(got, want) {
			t.Fatalf("%d users in the transaction, want %d", len(got), len(want))
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}

		if got := users(t, store, ""); !slices.Equal(got, want) {
			t.Errorf("%d users, want %d", len(got), len(want))
		}
		if got := users(t, store, want[1321]); !slices.Equal(got, want[1322:]) {
			t.Errorf("%d users behind number 1321, want %d", len(got), len(want[1322:]))
		}
		if got := users(t, store, "zzz"); len(got) != 0 {
			t.Errorf("users behind all: %q", got)
		}
		each := store.Users(t.Context(), "")
		for range 2 { // the same each time
			n := 0
			for user, err := range each {
				if err != nil || user != want[n] {
					t.Fatalf("user %d is %q, %v, want %q", n, user, err, want[n])
				}
				if n++; n == 777 {
					break
				}
			}
		}
		// No connection is held while the caller works.
		db.SetMaxOpenConns(1)
		n := 0
		for user, err := range store.Users(t.Context(), "") {
			if err != nil {
				t.Fatal(err)
			}
			if n++; n%1000 == 0 {
				load(t, store, user)
			}
		}

		if b.driver == "pgx" {
			if _, err := db.Exec("VACUUM ANALYZE msauth_tokens"); err != nil {
				t.Fatal(err)
			}
		}
		args := map[string][]any{"users": {want[100], 500, "0123456789abcdef"}, "why": {"u", "a", "0123456789abcdef", ""}}
		for name, query := range store.Queries() {
			plan := b.explain(t, db, query, args[name])
			index := map[string]string{"users": "msauth_tokens_usable", "userOf": "msauth_tokens_account"}[name]
			if strings.Contains(plan, "Seq Scan") || strings.Contains(plan, "SCAN msauth") || !strings.Contains(plan, index) {
				t.Errorf("the plan of %s:\n%s", name, plan)
			}
			if strings.Contains(plan, "Sort") || strings.Contains(plan, "TEMP B-TREE") {
				t.Errorf("%s sorts:\n%s", name, plan)
			}
			t.Logf("%s:\n%s", name, plan)
		}
		if b.readsTable(t, db, store.Queries()["users"], args["users"]) {
			t.Error("users reads the table, not the index alone")
		}
	})
}

func TestNoPlaintext(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		dsn := b.empty(t)
		db := openDB(t, b.driver, dsn)
		store := openStore(t, db)
		// The root package seals; so does this.
		markers := []string{"eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.marker", "0.AXoA-refresh-token-marker", "Ada Marker"}
		block, _ := aes.NewCipher(make([]byte, 32))
		seal, _ := cipher.NewGCMWithRandomNonce(block)
		e := msauth.StoredTokens{Account: "tid.oid", Sealed: seal.Seal(nil, nil, []byte(strings.Join(markers, " ")), []byte("ada"))}
		save(t, store, "ada", 0, e)
		plain := e
		plain.Sealed = append([]byte(strings.Join(markers, " ")), make([]byte, 64<<10)...)
		var errs []error
		errs = append(errs, store.Save(t.Context(), "ada", 0, e), store.Save(t.Context(), "bob", 0, e), store.Save(t.Context(), "eve", 0, plain))
		readOnly := openStore(t, openDB(t, b.driver, b.readOnly(dsn)))
		plain.Sealed = plain.Sealed[:1000]
		errs = append(errs, readOnly.Save(t.Context(), "eve", 0, plain))
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		errs = append(errs, store.Save(canceled, "eve", 0, plain))
		for i, err := range errs {
			if err == nil {
				t.Errorf("Save %d does not fail", i)
			}
		}
		if _, err := tokenstore.New(canceled, db); err == nil {
			t.Error("New does not fail")
		} else {
			errs = append(errs, err)
		}

		dump := b.dump(t, dsn)
		if !bytes.Contains(dump, []byte("tid.oid")) {
			t.Fatal("the dump lacks the account")
		}
		text := fmt.Sprintf("%s %v %+v", dump, errors.Join(errs...), errs)
		for _, marker := range markers {
			if strings.Contains(text, marker) || strings.Contains(text, fmt.Sprintf("%x", marker)) {
				t.Errorf("%q is in the database or in an error", marker)
			}
		}
	})
}
