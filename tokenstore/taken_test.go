//go:build unix

package tokenstore_test

import (
	"errors"
	"testing"

	"example.com/msauth"
)

// An account that a user has had since before entries told apps apart is that
// user's still: nobody else can connect it, and nobody is locked out.
func TestAccountFromEarlierVersionsIsTaken(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		ctx := t.Context()
		db := openDB(t, b.driver, b.empty(t))
		store := openStore(t, db)
		if err := store.Save(ctx, "7", 0, msauth.StoredTokens{Version: 5, Account: "a", Sealed: []byte("old")}); err != nil {
			t.Fatal(err)
		}
		store.Serve(shop)
		if err := store.Save(ctx, shop+"8", 0, msauth.StoredTokens{Version: 7, Account: shop + "a"}); !errors.Is(err, msauth.ErrAccountTaken) {
			t.Errorf("another user connects the account: %v", err)
		}
		if err := store.Save(ctx, shop+"9", 0, msauth.StoredTokens{Version: 8, Account: shop + "a", Shared: true}); err != nil {
			t.Errorf("one who shares it: %v", err)
		}
		if err := store.Save(ctx, shop+"8", 0, msauth.StoredTokens{Version: 7, Account: shop + "b"}); err != nil {
			t.Fatal(err)
		}
		if err := store.Save(ctx, shop+"8", 7, msauth.StoredTokens{Version: 9, Account: shop + "a"}); !errors.Is(err, msauth.ErrAccountTaken) {
			t.Errorf("another user connects the account in the place of theirs: %v", err)
		}
		if err := store.Save(ctx, shop+"9", 8, msauth.StoredTokens{Version: 9, Account: shop + "a"}); !errors.Is(err, msauth.ErrAccountTaken) {
			t.Errorf("one who shares it no longer does: %v", err)
		}
		if user, err := store.UserOf(ctx, "b"); user != "8" || err != nil {
			t.Errorf("after a refusal, account b is of %q, %v", user, err)
		}
		if err := store.Save(ctx, shop+"8", 7, msauth.StoredTokens{Version: 9, Account: shop + "a", Shared: true}); err != nil {
			t.Errorf("one who shares it in the place of theirs: %v", err)
		}
		if err := store.Save(ctx, shop+"7", 5, msauth.StoredTokens{Version: 6, Account: shop + "a", Sealed: []byte("new")}); err != nil {
			t.Errorf("the user who has it: %v", err)
		}
		if user, err := store.UserOf(ctx, "a"); user != "7" || err != nil {
			t.Errorf("the account is of %q, %v", user, err)
		}
	})
}

// A process of an earlier version may still connect an account that a user has
// by now: that user's tokens are renewed all the same.
func TestAccountStaysWithItsUser(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		ctx := t.Context()
		db := openDB(t, b.driver, b.empty(t))
		earlier, store := openStore(t, db), openStore(t, db)
		store.Serve(shop)
		save(t, store, shop+"7", 0, msauth.StoredTokens{Version: 5, Account: shop + "a"})
		save(t, earlier, "8", 0, entry("a"))
		save(t, store, shop+"7", 5, msauth.StoredTokens{Version: 6, Account: shop + "a", Sealed: []byte("new")})
		if user, err := store.UserOf(ctx, "a"); user != "7" || err != nil {
			t.Errorf("the account is of %q, %v", user, err)
		}
	})
}
