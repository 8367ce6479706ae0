package session

import (
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth/internal/provider"
)

// The provider ends sessions that this process does not know, and none that begin
// later.
func TestEndSID(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const maxAge = time.Hour
		revoked := NewRevoked(maxAge)
		begun := func(sid string) *Record {
			r := &Record{sid: sid, SignedIn: time.Now().Unix(), User: provider.Account{Issuer: "https://id.example.com", Subject: "s"}}
			r.ID[0] = byte(len(sid))
			return r
		}
		known, unknown, other, none := begun("k"), begun("un"), begun("oth"), begun("")
		revoked.Note(known)
		time.Sleep(time.Second)
		for _, sid := range []string{"k", "un", ""} {
			revoked.EndSID(sid, Place{})
		}
		if !revoked.Has(known) || !revoked.Has(unknown) || revoked.Has(other) || revoked.Has(none) {
			t.Errorf("ended: %t %t %t %t, want the first two", revoked.Has(known), revoked.Has(unknown), revoked.Has(other), revoked.Has(none))
		}
		if n := revoked.sids.Len(); n != 2 {
			t.Errorf("%d entries, want 2", n)
		}
		time.Sleep(time.Second)
		if revoked.Has(begun("un")) {
			t.Error("a session that began later has ended")
		}
		time.Sleep(maxAge + 3*time.Minute)
		if n := revoked.sids.Len(); n != 0 {
			t.Errorf("%d entries are left", n)
		}
	})
}
