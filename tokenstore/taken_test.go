package tokenstore_test

import (
	"errors"
	"testing"

	"example.com/msauth"
)

// An account that a user has had since before entries told apps apart is that
// user's still: nobody else can connect it, and nobody is locked out.
func TestAccountOfBeforeIsTaken(t *testing.T) {
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
		if err := store.Save(ctx, shop+"7", 5, msauth.StoredTokens{Version: 6, Account: shop + "a", Sealed: []byte("new")}); err != nil {
			t.Errorf("the user who has it: %v", err)
		}
		if user, err := store.UserOf(ctx, "a"); user != "7" || err != nil {
			t.Errorf("the account is of %q, %v", user, err)
		}
	})
}
