package session

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/seal"
)

// A session that is read, and found too large to be written again as it is,
// gives up its access token, and no more than it must.
func TestShrinkingKeepsTheRefreshToken(t *testing.T) {
	t.Parallel()
	rec := someRecord()
	want := rec.Refresh
	read, err := reread(rec)
	if err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"access token", "groups", ""} {
		if got := read.Shrink(); got != what {
			t.Errorf("gives up %q, want %q", got, what)
		}
		back, err := reread(read)
		if err != nil {
			t.Fatal(err)
		}
		if err := back.Unpack(); err != nil || back.Refresh != want || back.Access != "" {
			t.Errorf("after %q: refresh token of %d bytes, access token of %d, %v", what, len(back.Refresh), len(back.Access), err)
		}
	}
}

// Signing in again puts off the end of a session only if credentials were entered
// anew: otherwise no session would ever end.
func TestEndOfASessionThatGoesOn(t *testing.T) {
	t.Parallel()
	const hour = 3600
	start := time.Now().Unix()
	old := someRecord()
	old.SignedIn, old.AuthTime = start, start-hour
	oldest := old.Clone()
	oldest.since = start - 5*hour
	for _, test := range []struct {
		name     string
		old      *Record
		change   func(r *Record)
		wantFrom int64
	}{
		{"no credentials entered", old, func(r *Record) { r.AuthTime = start - hour }, start},
		{"not known", old, func(r *Record) {}, start},
		{"credentials entered anew", old, func(r *Record) { r.AuthTime = start + hour }, start + hour},
		{"another account", old, func(r *Record) { r.User.ObjectID = "other" }, start + hour},
		{"another issuer", old, func(r *Record) { r.User.Issuer = "https://other.example" }, start + hour},
		{"for the second time", oldest, func(r *Record) {}, start - 5*hour},
		{"not after the old one", old, func(r *Record) { r.SignedIn = start }, start},
	} {
		r := someRecord()
		r.SignedIn = start + hour
		test.change(r)
		r.GoesOn(test.old)
		if got, want := r.Ends(24*time.Hour).Unix(), test.wantFrom+24*hour; got != want {
			t.Errorf("%s: ends %d s after the old sign-in, want %d", test.name, got-start, want-start)
		}
		if back, err := reread(r); err != nil || !back.Ends(0).Equal(r.Ends(0)) {
			t.Errorf("%s: not read as it was written: %v", test.name, err)
		}
	}
}

// Which tokens of a reply a record takes over.
func TestTakingTokens(t *testing.T) {
	t.Parallel()
	reply := &provider.TokenSet{Access: "new access", Refresh: "new refresh", IDToken: "new ID token", Issued: 100, Expiry: 200, RefreshAt: 150}
	long := *reply
	long.IDToken = strings.Repeat("x", 2501)
	for _, test := range []struct {
		name                     string
		change                   func(r *Record)
		reply                    *provider.TokenSet
		wantRefresh, wantIDToken seal.Secret
	}{
		{"at Microsoft", func(*Record) {}, reply, "new refresh", "old ID token"},
		{"at another provider", func(r *Record) { r.Layout = &Layout{KeepsIDToken: true} }, reply, "new refresh", "new ID token"},
		{"an ID token too long for an address", func(r *Record) { r.Layout = &Layout{KeepsIDToken: true} }, &long, "new refresh", "old ID token"},
		{"a user's session", func(r *Record) { r.UserKey = "7" }, reply, "", "old ID token"},
		{"a user's entry", func(r *Record) { r.UserKey, r.Stored, r.Layout = "7", true, &Layout{KeepsIDToken: true} }, reply, "new refresh", "old ID token"},
	} {
		r := someRecord()
		r.IDToken, r.Shed, r.Packed = "old ID token", true, []byte("old")
		test.change(r)
		r.Take(test.reply)
		if r.Access != "new access" || r.Refresh != test.wantRefresh || r.IDToken != test.wantIDToken {
			t.Errorf("%s: has %q, %q, %q", test.name, string(r.Access), string(r.Refresh), string(r.IDToken))
		}
		if r.Renewed != 100 || r.Expiry != 200 || r.RefreshAt != 150 || r.Shed || r.Packed != nil {
			t.Errorf("%s: times %d, %d, %d, shed %v, packed %q", test.name, r.Renewed, r.Expiry, r.RefreshAt, r.Shed, r.Packed)
		}
		if r.Scopes != "openid User.Read" {
			t.Errorf("%s: a reply without scopes leaves %q", test.name, r.Scopes)
		}
	}
}

// A renewal's ID token may say less than that of the sign-in, and proves nothing.
func TestRenewedRecord(t *testing.T) {
	t.Parallel()
	old := goldenRecord()
	before := *goldenRecord()
	account := old.User
	account.Name, account.Username, account.Email, account.EmailVerified, account.Roles = "", "", "", false, []string{"new role"}
	g := &provider.TokenSet{
		Access: "a", Refresh: "r", Scopes: "openid",
		Identity: &provider.Identity{User: account, Extra: `{"upn":"new"}`, AuthTime: 1, LoginHint: "new hint"},
	}
	n := old.RenewedBy(g)
	if n.User.Name != old.User.Name || n.User.Username != old.User.Username || n.User.Email != old.User.Email || !n.User.EmailVerified {
		t.Errorf("names are lost: %+v", n.User)
	}
	if n.AuthTime != old.AuthTime || !slices.Equal(n.Contexts, old.Contexts) || n.ID != old.ID {
		t.Errorf("AuthTime %d, Contexts %q: what the sign-in has proved must stay", n.AuthTime, n.Contexts)
	}
	if n.StepUp || n.Claims != "" || n.Scopes != "openid" || n.LoginHint != "new hint" || n.User.Claims["upn"] != "new" || !slices.Equal(n.User.Roles, []string{"new role"}) {
		t.Errorf("renewed as %+v", n)
	}
	if !reflect.DeepEqual(old, &before) {
		t.Error("the old record has changed")
	}
	// All who waited for a renewal get the same set of tokens.
	n.User.Roles[0], n.User.Claims["upn"] = "changed", "changed"
	if other := old.RenewedBy(g); other.User.Roles[0] != "new role" || other.User.Claims["upn"] != "new" {
		t.Error("two records share their lists or claims")
	}
	if moved := old.MovedTo("moved"); moved.Refresh != "moved" || moved.Access != old.Access || old.Refresh != before.Refresh {
		t.Errorf("moved to %q, the old record to %q", string(moved.Refresh), string(old.Refresh))
	}
}

// One session of a user must not pass its proofs on to another.
func TestSharedTokensProveNothing(t *testing.T) {
	t.Parallel()
	rec := goldenRecord()
	g := rec.Shared()
	if id := g.Identity; !id.User.Same(&rec.User) || id.AuthTime != 0 || id.Contexts != nil || id.SID != "" || id.LoginHint != "" {
		t.Errorf("shared %+v", id)
	}
	if g.Access != rec.Access || g.Refresh != rec.Refresh || g.IDToken != "" {
		t.Errorf("shared tokens %+v", g)
	}
}

// Handlers may do with the user's lists what they like.
func TestGivenUserIsTheHandlers(t *testing.T) {
	t.Parallel()
	read, err := reread(goldenRecord())
	if err != nil {
		t.Fatal(err)
	}
	identified := someRecord()
	identified.Identify(&provider.Identity{User: goldenRecord().User})
	for name, rec := range map[string]*Record{"read": read, "made": goldenRecord(), "identified": identified} {
		u := rec.Give()
		u.Roles[0], u.Groups[0] = "changed", "changed"
		_ = append(u.Roles[:1], "more")
		if want := goldenRecord().User; !slices.Equal(rec.User.Roles, want.Roles) || !slices.Equal(rec.User.Groups, want.Groups) {
			t.Errorf("%s: the record has roles %q and groups %q", name, rec.User.Roles, rec.User.Groups)
		}
	}
}

func TestHint(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, hint, username, want string
	}{
		{"claim login_hint", "O.CiQ", "ada@contoso.example", "O.CiQ"},
		{"user name", "", "ada@contoso.example", "ada@contoso.example"},
		{"guest with a hint", "O.CiQ", "ada_fabrikam.example#EXT#@contoso.example", "O.CiQ"},
		{"guest", "", "ada_fabrikam.example#EXT#@contoso.example", ""},
		{"nothing known", "", "", ""},
	} {
		r := &Record{LoginHint: test.hint, User: provider.Account{Username: test.username}}
		if got := r.Hint(); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

// In the order that Config.CookieBudget documents.
func TestOrderOfShrinking(t *testing.T) {
	t.Parallel()
	rec := goldenRecord()
	var got []string
	for what := rec.Shrink(); what != ""; what = rec.Shrink() {
		got = append(got, what)
	}
	if want := []string{"ID token for signing out", "access token", "groups", "claims"}; !slices.Equal(got, want) {
		t.Errorf("left out %q, want %q", got, want)
	}
	if rec.Access == "" || !rec.Shed || !rec.User.GroupsOverage {
		t.Errorf("access token %q, Shed %v, GroupsOverage %v: what is left out of a cookie can still be used", string(rec.Access), rec.Shed, rec.User.GroupsOverage)
	}
}
