//go:build unix

package tokenstore_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"example.com/msauth"
	"example.com/msauth/tokenstore"
)

const (
	shop = "msauth:0123456789abcdef:"
	wiki = "msauth:fedcba9876543210:"
)

func all(t *testing.T, users func(yield func(string, error) bool)) (list []string) {
	t.Helper()
	for user, err := range users {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, user)
	}
	return list
}

// Two apps have the same users and accounts in one database.
func TestAppsDoNotSeeEachOthersEntries(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		ctx := t.Context()
		db := openDB(t, b.driver, b.empty(t))
		first, second := openStore(t, db), openStore(t, db)
		first.Serve(shop)
		second.Serve(wiki)
		entry := func(prefix, account string) msauth.StoredTokens {
			return msauth.StoredTokens{Sealed: []byte("of " + prefix), Account: prefix + account}
		}
		for _, user := range []string{"7", "8"} {
			if err := errors.Join(first.Save(ctx, shop+user, 0, entry(shop, user)), second.Save(ctx, wiki+user, 0, entry(wiki, user))); err != nil {
				t.Fatal(err)
			}
		}
		if err := second.Save(ctx, wiki+"9", 0, entry(wiki, "7")); !errors.Is(err, msauth.ErrAccountTaken) {
			t.Errorf("an account of another user: %v", err)
		}
		for prefix, store := range map[string]interface {
			Load(context.Context, string) (msauth.StoredTokens, error)
		}{shop: first, wiki: second} {
			stored, err := store.Load(ctx, prefix+"7")
			if err != nil || stored.Account != prefix+"7" || string(stored.Sealed) != "of "+prefix {
				t.Errorf("Load: %+v, %v", stored, err)
			}
			if own, err := store.Load(ctx, "7"); err != nil || own.Account != "7" || string(own.Sealed) != "of "+prefix {
				t.Errorf("Load of the app's own user: %+v, %v", own, err)
			}
		}
		// The app's own names, as ever.
		if user, err := first.UserOf(ctx, "7"); err != nil || user != "7" {
			t.Errorf("UserOf: %q, %v", user, err)
		}
		tx, err := db.Begin()
		if err != nil {
			t.Fatal(err)
		}
		if err := first.In(tx).Delete(ctx, "7"); err != nil {
			t.Fatal(err)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		if got := all(t, first.Users(ctx, "")); !slices.Equal(got, []string{"8"}) {
			t.Errorf("users of the first: %q", got)
		}
		if got := all(t, second.Users(ctx, "")); !slices.Equal(got, []string{"7", "8"}) {
			t.Errorf("users of the second: %q", got)
		}
		if _, err := first.UserOf(ctx, "7"); !errors.Is(err, msauth.ErrNoTokens) {
			t.Errorf("UserOf after Delete: %v", err)
		}
		// A store of a process that serves neither, or both, does not guess.
		const several = "tokenstore: several apps have an entry here: say which one by Store.For"
		both := openStore(t, db)
		for range 2 {
			if err := both.Delete(ctx, "8"); err == nil || err.Error() != several {
				t.Errorf("Delete for nobody in particular: %v", err)
			}
			both.Serve(shop)
			both.Serve(wiki)
		}
		if err := both.Delete(ctx, "7"); err != nil { // there is one only
			t.Error(err)
		}
		if err := both.Delete(ctx, shop+"8"); err != nil {
			t.Error(err)
		}
		if got := all(t, both.Users(ctx, "")); !slices.Equal(got, []string{"8"}) {
			t.Errorf("users left: %q", got)
		}
	})
}

// Entries from earlier versions have no registration: they become those of the
// app that writes them.
func TestEntriesFromEarlierVersionsBelongToWhoWritesThem(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		ctx := t.Context()
		db := openDB(t, b.driver, b.empty(t))
		store := openStore(t, db)
		if err := store.Save(ctx, "7", 0, msauth.StoredTokens{Version: 5, Account: "a", Sealed: []byte("old")}); err != nil {
			t.Fatal(err)
		}
		store.Serve(shop)
		old, err := store.Load(ctx, shop+"7")
		if err != nil || old.Account != "a" || old.Version != 5 {
			t.Fatalf("%+v, %v", old, err)
		}
		if got := all(t, store.Users(ctx, "")); !slices.Equal(got, []string{"7"}) {
			t.Errorf("users %q", got)
		}
		// Another app does not open it, and makes its own.
		other := openStore(t, db)
		other.Serve(wiki)
		if err := other.Save(ctx, wiki+"7", 0, msauth.StoredTokens{Account: wiki + "a", Sealed: []byte("wiki")}); err != nil {
			t.Fatal(err)
		}
		if err := store.Save(ctx, shop+"7", 5, msauth.StoredTokens{Version: 6, Account: shop + "a", Sealed: []byte("new")}); err != nil {
			t.Fatal(err)
		}
		if e, err := store.Load(ctx, shop+"7"); err != nil || e.Account != shop+"a" || e.Version != 6 {
			t.Errorf("%+v, %v", e, err)
		}
		if e, err := other.Load(ctx, wiki+"7"); err != nil || string(e.Sealed) != "wiki" {
			t.Errorf("%+v, %v", e, err)
		}
		if err := store.Delete(ctx, shop+"7"); err != nil {
			t.Error(err)
		}
		if _, err := other.Load(ctx, wiki+"7"); err != nil {
			t.Error(err)
		}
	})
}

// A table of the first version of the schema, with people in it.
func TestTablesFromEarlierVersionsGetTheRegistration(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		ctx := t.Context()
		db := openDB(t, b.driver, b.empty(t))
		for _, statement := range tokenstore.FirstSchema(b.driver == "pgx") {
			if _, err := db.Exec(statement); err != nil {
				t.Fatal(err)
			}
		}
		store := openStore(t, db)
		store.Serve(shop)
		if got := all(t, store.Users(ctx, "")); !slices.Equal(got, []string{"7"}) {
			t.Errorf("users %q", got)
		}
		e, err := store.Load(ctx, shop+"7")
		if err != nil || e.Version != 5 || e.Account != "a" {
			t.Errorf("%+v, %v", e, err)
		}
		if user, err := store.UserOf(ctx, "a"); err != nil || user != "7" {
			t.Errorf("%q, %v", user, err)
		}
		if err := store.Save(ctx, shop+"7", 5, msauth.StoredTokens{Version: 6, Account: shop + "a"}); err != nil {
			t.Error(err)
		}
		if err := store.Save(ctx, shop+"8", 0, msauth.StoredTokens{Version: 7, Account: shop + "a"}); !errors.Is(err, msauth.ErrAccountTaken) {
			t.Errorf("the account of another user: %v", err)
		}
		openStore(t, db) // and once more
	})
}
