package session

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/seal"
	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"
)

// memoryStore is a gorilla store on the server: its cookies carry ids.
type memoryStore struct {
	entries map[string]map[any]any
	last    int
	renames bool // gives another id at each Save
	newErr  error
	saveErr error
	saved   []string // ids, "-" before those that were deleted
}

func newMemoryStore() *memoryStore { return &memoryStore{entries: map[string]map[any]any{}} }

func (m *memoryStore) Get(*http.Request, string) (*sessions.Session, error) {
	panic("Get changes the request in place")
}

func (m *memoryStore) New(r *http.Request, name string) (*sessions.Session, error) {
	s := sessions.NewSession(m, name)
	s.IsNew = true
	if m.newErr != nil {
		return s, m.newErr
	}
	if c, err := r.Cookie(name); err == nil {
		if values, ok := m.entries[c.Value]; ok {
			s.ID, s.IsNew, s.Values = c.Value, false, maps.Clone(values)
		}
	}
	return s, nil
}

func (m *memoryStore) Save(r *http.Request, w http.ResponseWriter, s *sessions.Session) error {
	if s.Options.MaxAge < 0 {
		m.saved = append(m.saved, "-"+s.ID)
		delete(m.entries, s.ID)
		return nil
	}
	if m.saveErr != nil {
		return m.saveErr
	}
	if s.ID == "" || m.renames {
		m.last++
		s.ID = fmt.Sprint("id", m.last)
	}
	m.saved = append(m.saved, s.ID)
	m.entries[s.ID] = maps.Clone(s.Values)
	http.SetCookie(w, sessions.NewCookie(s.Name(), s.ID, s.Options))
	return nil
}

func TestSessionInAStore(t *testing.T) {
	t.Parallel()
	rec := someRecord()
	m := newMemoryStore()
	s := NewStore(testSettings(t, rec.Layout), m, testRing(t))
	set := create(t, s, request(), rec)
	if c, err := http.ParseSetCookie(set.Get("Set-Cookie")); err != nil || c.Value != "id1" || c.MaxAge != 86_400 || !c.Secure || !c.HttpOnly || len(set["Set-Cookie"]) != 1 || set[noStoreKey][0] != "no-store" {
		t.Errorf("sets %q", set)
	}
	r := request(set)
	got, sent, err := load(s, r)
	if err != nil || !sent || got.Unpacked() || s.Changed(r, got) || !same(got, rec) {
		t.Errorf("loaded %+v, %v, %v", got, sent, err)
	}
	if text := fmt.Sprint(m.entries["id1"]); strings.Contains(text, string(rec.Refresh)) || strings.Contains(text, rec.User.Username) {
		t.Errorf("the store can read %s", text)
	}
	for name, r := range map[string]*http.Request{"no cookie": request(), "an unknown id": request(http.Header{"Set-Cookie": {testCookies(t).Name + "=x"}})} {
		if got, sent, err := load(s, r); got != nil || sent != (name != "no cookie") || err != nil {
			t.Errorf("of %s %+v, %v, %v", name, got, sent, err)
		}
	}
	two := request(set)
	two.AddCookie(&http.Cookie{Name: testCookies(t).Name, Value: "id2"})
	if got, sent, err := load(s, two); got != nil || !sent || err != nil {
		t.Errorf("of two ids, one of them planted, %+v, %v, %v", got, sent, err)
	}

	// A newer one is seen by those who have read the old one.
	reload := s.Reload(r)
	fresh := got.RenewedBy(&provider.TokenSet{Access: "new", Refresh: got.Refresh, Issued: got.Renewed + 1})
	w := httptest.NewRecorder()
	if gone, err := s.Update(w, r, fresh); gone || err != nil || m.saved[len(m.saved)-1] != "id1" {
		t.Errorf("updated: gone %v, %v, saves %q", gone, err, m.saved)
	}
	if newer, err := reload(); err != nil || newer.Access != "new" || !s.Changed(r, got) || s.Changed(r, newer) {
		t.Errorf("read again: %+v, %v", newer, err)
	}

	w = httptest.NewRecorder()
	if err := s.Remove(w, r); err != nil || len(m.entries) > 0 || len(request(set, w.Header()).Cookies()) > 0 {
		t.Errorf("removed: %v, %d entries, sets %q", err, len(m.entries), w.Header())
	}
	if newer, err := reload(); newer != nil || err != nil {
		t.Errorf("after that %+v, %v are read again", newer, err)
	}
	if gone, err := s.Update(httptest.NewRecorder(), r, fresh); !gone || err != nil || len(m.entries) > 0 {
		t.Errorf("a session that was deleted is written again: gone %v, %v", gone, err)
	}
}

// An entry is sealed for its id and its app: whoever can write into the store
// cannot give one browser the session of another.
func TestEntryOpensOnlyInItsPlace(t *testing.T) {
	t.Parallel()
	rec := someRecord()
	m := newMemoryStore()
	settings := testSettings(t, rec.Layout)
	s := NewStore(settings, m, testRing(t))
	victim := create(t, s, request(), rec)
	thief := create(t, s, request(), someRecord())
	m.entries["id2"] = maps.Clone(m.entries["id1"])
	if got, sent, err := load(s, request(thief)); got != nil || !sent || err != nil {
		t.Errorf("a copied entry opens as %+v, %v, %v", got, sent, err)
	}
	otherApp := settings
	otherApp.Registration = Registration{2}
	if got, _, err := load(NewStore(otherApp, m, testRing(t)), request(victim)); got != nil || err != nil {
		t.Errorf("another app reads %+v, %v", got, err)
	}
	if got, _, _ := load(s, request(victim)); !same(got, rec) {
		t.Errorf("its own app reads %+v", got)
	}
}

// Entries of earlier versions, which were not sealed for their id, open until
// they are written again.
func TestEntryOfAnEarlierVersion(t *testing.T) {
	t.Parallel()
	rec := someRecord()
	m := newMemoryStore()
	settings := testSettings(t, rec.Layout)
	s := NewStore(settings, m, testRing(t))
	codec := seal.Codec{Keys: testRing(t).Derive("msauth stored session v1")}
	text, err := codec.Encode(settings.Cookies.Name+"\x00"+string(settings.Registration[:]), JoinParts(rec.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	m.entries["old"] = map[any]any{"msauth": text}
	r := request(http.Header{"Set-Cookie": {settings.Cookies.Name + "=old"}})
	got, _, err := load(s, r)
	if err != nil || !same(got, rec) {
		t.Fatalf("loaded %+v, %v", got, err)
	}
	if gone, err := s.Update(httptest.NewRecorder(), r, got); gone || err != nil {
		t.Fatal(gone, err)
	}
	m.entries["copy"] = m.entries["old"]
	if got, _, _ := load(s, request(http.Header{"Set-Cookie": {settings.Cookies.Name + "=copy"}})); got != nil {
		t.Error("written again, it still opens under another id")
	}
}

// Whoever planted the id of the session before a sign-in must not get the session
// after it.
func TestSignInGetsANewID(t *testing.T) {
	t.Parallel()
	rec := someRecord()
	m := newMemoryStore()
	s := NewStore(testSettings(t, rec.Layout), m, testRing(t))
	before := create(t, s, request(), someRecord())
	after := create(t, s, request(before), rec)
	if _, left := m.entries["id1"]; left || len(m.entries) != 1 {
		t.Errorf("entries %v", m.entries)
	}
	if got, _, _ := load(s, request(before)); got != nil {
		t.Error("the old id opens a session")
	}
	if got, _, _ := load(s, request(before, after)); !same(got, rec) {
		t.Errorf("the new id opens %+v", got)
	}
}

// Of two requests that write one session, the one with the newer tokens wins.
func TestWhichUpdateWins(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name        string
		mine, other *provider.TokenSet // nil: only the use is recorded
		ends        bool               // signed out in between
		want        seal.Secret        // access token afterwards
		wantGone    bool
	}{
		{name: "the session was used", mine: nil, other: &provider.TokenSet{Access: "other", Refresh: "1.AXoA.AgABAAEAAAD", Issued: 100}, want: "other"},
		{name: "renewed after a use", mine: &provider.TokenSet{Access: "mine", Refresh: "next", Issued: 1 << 40}, other: nil, want: "mine"},
		{name: "renewed from the other's tokens", mine: &provider.TokenSet{Access: "mine", Refresh: "next", Issued: 200}, other: &provider.TokenSet{Access: "other", Refresh: "between", Issued: 100}, want: "mine"},
		{name: "renewed from others", mine: &provider.TokenSet{Access: "mine", Refresh: "between", Issued: 200}, other: &provider.TokenSet{Access: "other", Refresh: "next", Issued: 100}, want: "other"},
		{name: "the same refresh token, later", mine: &provider.TokenSet{Access: "mine", Refresh: "next", Issued: 200}, other: &provider.TokenSet{Access: "other", Refresh: "next", Issued: 100}, want: "mine"},
		{name: "the same refresh token, earlier", mine: &provider.TokenSet{Access: "mine", Refresh: "next", Issued: 100}, other: &provider.TokenSet{Access: "other", Refresh: "next", Issued: 200}, want: "other"},
		{name: "signed out", mine: &provider.TokenSet{Access: "mine", Refresh: "next", Issued: 200}, ends: true, wantGone: true},
	} {
		rec := someRecord()
		settings := testSettings(t, rec.Layout)
		settings.LeadsTo = func(refresh, other seal.Secret) bool { // first, between, next
			return refresh == other || other == "next" || refresh == rec.Refresh
		}
		s := NewStore(settings, newMemoryStore(), testRing(t))
		r := request(create(t, s, request(), rec))
		write := func(read *Record, g *provider.TokenSet) (bool, error) {
			fresh := read.Clone()
			if fresh.Used++; g != nil {
				if err := fresh.Unpack(); err != nil {
					t.Fatal(err)
				}
				fresh = fresh.RenewedBy(g)
			}
			return s.Update(httptest.NewRecorder(), r, fresh)
		}
		mine, _, _ := load(s, r)
		other, _, _ := load(s, r)
		if gone, err := write(other, test.other); gone || err != nil {
			t.Fatal(gone, err)
		}
		if test.ends {
			settings.Ended.End(rec, 0)
		}
		if gone, err := write(mine, test.mine); gone != test.wantGone || err != nil {
			t.Errorf("%s: gone %v, %v", test.name, gone, err)
		}
		if got, _, _ := load(s, r); !test.wantGone && (got == nil || got.Unpack() != nil || got.Access != test.want) {
			t.Errorf("%s: %+v is left, want %q", test.name, got, string(test.want))
		}
	}
}

// An id may have become that of another session, which must not be overwritten.
func TestUpdateLeavesAnotherSessionAlone(t *testing.T) {
	t.Parallel()
	rec, next := someRecord(), someRecord()
	m := newMemoryStore()
	s := NewStore(testSettings(t, rec.Layout), m, testRing(t))
	r := request(create(t, s, request(), rec))
	read, _, _ := load(s, r)
	m.entries, m.last = map[string]map[any]any{}, 0
	create(t, s, request(), next)
	fresh := read.RenewedBy(&provider.TokenSet{Access: "mine", Refresh: next.Refresh, Issued: 1 << 40})
	if gone, err := s.Update(httptest.NewRecorder(), r, fresh); !gone || err != nil {
		t.Errorf("gone %v, %v", gone, err)
	}
	if got, _, _ := load(s, r); !same(got, next) {
		t.Errorf("%+v is left", got)
	}
}

// No session is one thing, a store that fails another: the first leads to a
// sign-in, the second must not.
func TestFaultsOfAStore(t *testing.T) {
	t.Parallel()
	failed := errors.New("connection refused")
	undecodable := securecookie.MultiError{decodeError(t)}
	for _, test := range []struct {
		name string
		err  error
		want error // of Load
	}{
		{"file is gone", fmt.Errorf("open: %w", fs.ErrNotExist), nil},
		{"no cookie", http.ErrNoCookie, nil},
		{"cookie of another key", undecodable, nil},
		{"cookies of other keys", undecodable[0], nil},
		{"no connection", failed, failed},
	} {
		rec := someRecord()
		m := newMemoryStore()
		s := NewStore(testSettings(t, rec.Layout), m, testRing(t))
		r := request(create(t, s, request(), rec))
		m.newErr = test.err
		if got, sent, err := load(s, r); got != nil || !sent || !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
			t.Errorf("%s: loaded %+v, %v, %v", test.name, got, sent, err)
		}
		if gone, err := s.Update(httptest.NewRecorder(), r, rec); gone == (test.want != nil) || !errors.Is(err, test.want) {
			t.Errorf("%s: updated, gone %v, %v", test.name, gone, err)
		}
		if rec, err := s.Reload(r)(); rec != nil || !errors.Is(err, test.want) {
			t.Errorf("%s: read again %+v, %v", test.name, rec, err)
		}
		w := httptest.NewRecorder()
		if err := s.Remove(w, r); !errors.Is(err, test.want) || len(w.Header()["Set-Cookie"]) != 1 {
			t.Errorf("%s: removed, %v, sets %q: the cookie must go whatever the store does", test.name, err, w.Header())
		}
	}
	for _, test := range []struct {
		name      string
		err       error
		wantLimit bool
	}{
		{"no connection", failed, false},
		{"gorilla's limit", errors.New("securecookie: the value is too long"), true},
		{"another store's limit", errors.New("the value to store is too big"), true},
	} {
		rec := someRecord()
		m := newMemoryStore()
		m.saveErr = test.err
		w := httptest.NewRecorder()
		err := NewStore(testSettings(t, rec.Layout), m, testRing(t)).Create(w, request(), rec, 0)
		if !errors.Is(err, test.err) || errors.Is(err, ErrStoreLimit) != test.wantLimit || errors.Is(err, ErrTooLarge) != test.wantLimit || len(w.Header()) > 0 {
			t.Errorf("%s: %v, sets %q", test.name, err, w.Header())
		}
	}
}

// decodeError is what securecookie says of a value of another key.
func decodeError(t *testing.T) error {
	var dst string
	err := securecookie.New(make([]byte, 32), nil).Decode("a", "x", &dst)
	if err == nil {
		t.Fatal("a value of no key opens")
	}
	return err
}

// A store that never calls a session by the id it was sealed for cannot be used.
func TestStoreThatRenamesAtEachSave(t *testing.T) {
	t.Parallel()
	rec := someRecord()
	m := newMemoryStore()
	m.renames = true
	w := httptest.NewRecorder()
	err := NewStore(testSettings(t, rec.Layout), m, testRing(t)).Create(w, request(), rec, 0)
	if err == nil || !strings.Contains(err.Error(), "another ID at each Save") || len(w.Header()) > 0 {
		t.Errorf("%v, sets %q", err, w.Header())
	}
	if last := m.saved[len(m.saved)-1]; last != "-id3" {
		t.Errorf("saves %q", m.saved)
	}
}
