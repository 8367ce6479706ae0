package msauth

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func FuzzState(f *testing.F) {
	s := testAttempts(f)
	a, _ := newAttempt()
	a.returnTo = "/a?b=c"
	state, err := s.seal(a)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(state)
	f.Add(state[1:])
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := s.open(text)
		// Seeds may come from another process with the same key.
		if err == nil && got.returnTo != a.returnTo {
			t.Errorf("the forged state %q opens", text)
		}
	})
}

// An identity part that opens is read as it stands, and written as it is read.
func FuzzRecord(f *testing.F) {
	rec := someRecord()
	add := func() {
		identity, _ := rec.encode()
		f.Add(identity)
	}
	add()
	rec.user.TenantID, rec.user.Email, rec.loginHint, rec.authTime = "9188040d-6c67-4c5b-b112-36a304b66dad", rec.user.Username, "O.CiQ.x", rec.signedIn-300
	rec.appData, rec.user.Roles, rec.user.Groups = "42", nil, []string{"not a GUID"}
	add()
	layout := rec.layout
	f.Fuzz(func(t *testing.T, identity []byte) {
		rec, err := decodeRecord(identity, layout)
		if err != nil {
			return
		}
		again, _ := rec.encode()
		back, err := decodeRecord(again, layout)
		if err != nil {
			t.Fatalf("%x: read once, not twice: %v", identity, err)
		}
		if rec.packed = nil; !reflect.DeepEqual(rec, back) {
			t.Fatalf("%x: read as %#v, then as %#v", identity, rec, back)
		}
	})
}

// What an ID token has said is read as it was written, whatever it was.
func FuzzIdentity(f *testing.F) {
	f.Add("Ada", "ada@contoso.example", "sid", "O.CiQ", int64(1700000000), "one\ntwo", "0a0a0a0a-1b1b-2c2c-3d3d-4e4e4e4e4e4e\nx", `{"upn":"a","x":{"y":[1]}}`)
	f.Add("", "", "", "", int64(0), "", "", "")
	f.Fuzz(func(t *testing.T, name, email, sid, hint string, authTime int64, roles, groups, extra string) {
		id := &identity{user: account{Subject: "a", Name: name, Username: email, Email: email}, sid: sid, loginHint: hint, authTime: authTime}
		if roles != "" {
			id.user.Roles = strings.Split(roles, "\n")
		}
		if groups != "" {
			id.user.Groups = strings.Split(groups, "\n")
		}
		if json.Unmarshal([]byte(extra), &id.user.Claims) == nil && id.user.Claims != nil {
			id.extra = extra
		}
		rec := someRecord()
		rec.identify(id)
		back, err := reread(rec)
		if err != nil {
			t.Fatalf("%#v: %v", id, err)
		}
		if got, want := fmt.Sprintf("%#v %q %q %d", back.user, back.sid, back.loginHint, back.authTime), fmt.Sprintf("%#v %q %q %d", rec.user, rec.sid, rec.loginHint, rec.authTime); got != want {
			t.Errorf("kept %s, read %s", want, got)
		}
	})
}

// testRing is a ring of one key.
func testRing(tb testing.TB) keyring {
	tb.Helper()
	ring, err := newKeyring([][]byte{bytes.Repeat([]byte{1, 2, 3, 4}, 8)})
	if err != nil {
		tb.Fatal(err)
	}
	return ring
}

// testCookies are a session's, for an app on https.
func testCookies(tb testing.TB) *cookieFormat {
	return newCookieFormat("msauth-AAAAAA", make([]byte, 8), sealer{testRing(tb).derive("msauth session v1")}, false, http.SameSiteLaxMode, 3300)
}

func testAttempts(tb testing.TB) *attempts {
	return newAttempts(testRing(tb), registration{}, testCookies(tb), "/")
}

// During a deployment the version before has sealed states that mean something
// else.
func TestStatesOfAnotherFormatAreRefused(t *testing.T) {
	t.Parallel()
	s := testAttempts(t)
	var a attempt
	binary.BigEndian.PutUint32(a.id[:4], uint32(time.Now().Unix()))
	for format := range byte(4) {
		e := encoder{b: []byte{format}}
		e.b = append(append(append(append(e.b, a.id[:]...), a.seed[:]...), a.binding[:]...), 0)
		e.text("/home")
		e.text("")
		e.text("state")
		if got, err := s.open(s.keys.seal(e.b, s.additional)); err == nil {
			t.Errorf("format %d: read as %+v", format, got.returnTo)
		}
	}
}

// However many people sign out, what is remembered of them is bounded, and gone
// when their sessions would have ended. Not parallel: memory is that of the whole
// process.
func TestMemoryOfEndedSessionsIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		heap := func() int64 {
			var m runtime.MemStats
			runtime.GC()
			runtime.GC()
			runtime.ReadMemStats(&m)
			return int64(m.HeapAlloc)
		}
		before := heap()
		ended := newEndedSet()
		fill := func() {
			for i := range maxEnded + 50_000 {
				rec := &record{signedIn: time.Now().Unix()}
				binary.BigEndian.PutUint64(rec.id[:], uint64(i))
				ended.add(rec, 7*24*time.Hour, 0)
			}
		}
		fill()
		first := heap() - before
		fill()
		second := heap() - before
		if got := ended.since.len(); got != maxEnded {
			t.Errorf("%d ended sessions, want %d", got, maxEnded)
		}
		if second > first+first/10 || second > 50<<20 {
			t.Errorf("%d MB at the cap, %d MB when filled once more", first>>20, second>>20)
		}
		time.Sleep(7*24*time.Hour + 2*time.Minute) // when it is swept
		if after := heap() - before; after > 1<<20 {
			t.Errorf("%d KB are left", after>>10)
		}
		runtime.KeepAlive(ended)
	})
}
