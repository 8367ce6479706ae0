package session

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

	"example.com/msauth/internal/compact"
	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/seal"
)

// someRecord is a session of a work account, with tokens that look like JWTs.
func someRecord() *Record {
	now := time.Now().Unix()
	jwt := seal.Base64url.EncodeToString([]byte(`{"typ":"JWT","alg":"RS256","kid":"abc"}`)) + "." +
		seal.Base64url.EncodeToString([]byte(`{"aud":"https://graph.microsoft.com","name":"Ada","oid":"0a0a0a0a-1b1b-2c2c-3d3d-4e4e4e4e4e4e"}`)) + "." +
		seal.Base64url.EncodeToString(bytes.Repeat([]byte{7, 200, 3}, 80))
	r := &Record{
		Layout: &Layout{Authority: "https://login.microsoftonline.com", ClientID: "11111111-2222-3333-4444-555555555555"}, SignedIn: now, Used: now, Renewed: now, Expiry: now + 3600, RefreshAt: now + 3300,
		User: provider.Account{
			Issuer: "https://login.microsoftonline.com/40a0cffe-4fc9-448b-9790-232954984f24/v2.0", Subject: "sub",
			TenantID: "40a0cffe-4fc9-448b-9790-232954984f24", ObjectID: "0a0a0a0a-1b1b-2c2c-3d3d-4e4e4e4e4e4e",
			Name: "Ada", Username: "ada@contoso.example", Roles: []string{"admin"}, Groups: []string{"0a0a0a0a-1b1b-2c2c-3d3d-4e4e4e4e4e4f"},
		},
		Scopes: "openid User.Read", Access: seal.Secret(jwt), Refresh: "1.AXoA.AgABAAEAAAD",
	}
	seal.RandomBytes(r.ID[:])
	return r
}

// reread writes a record and reads it.
func reread(rec *Record) (*Record, error) {
	identity, tokens, err := SplitParts(JoinParts(rec.Encode()))
	if err != nil {
		return nil, err
	}
	back, err := DecodeRecord(identity, rec.Layout)
	if err == nil {
		back.Packed = tokens
	}
	return back, err
}

// A session that is written is read as it was, whatever its tokens look like.
func FuzzTokensRoundTrip(f *testing.F) {
	rec := someRecord()
	f.Add(string(rec.Access), "M.C5xx_BAY.0.U.-CvK*8!pQ$$", "Ada")
	f.Add("EwB4A+/=", "a.b.c.d", "")
	f.Add("", "...", "x")
	for _, payload := range []string{
		`{"iat":-1,"nbf":1e3,"exp":0.5,"x":"1","y":"1","amr":["pwd",[],{}],"groups":["0a0a0a0a-1b1b-2c2c-3d3d-4e4e4e4e4e4f"],"t":true,"f":false,"n":null}`,
		`{"scp":"User.Read Files.Read x","rh":"1.AXoAbm90IGEga2V5.","aio":"AVQAq/8TAAAAbm90IGEga2V5+","name":"Ada \"\u00e9\" Müller"}`,
		`{"a": 1}`, `{"a":01}`, `{"a":9223372036854775808,"b":-0}`, `{`, `{"a":"\`, `{"":""}`, strings.Repeat(`{"a":`, 9) + "1" + strings.Repeat("}", 9),
	} {
		f.Add(seal.Base64url.EncodeToString([]byte(`{"alg":"RS256"}`))+"."+seal.Base64url.EncodeToString([]byte(payload))+".c2lnbmF0dXJl", "", "Ada")
	}
	f.Fuzz(func(t *testing.T, access, refresh, name string) {
		if len(access)+len(refresh) > 40<<10 {
			return
		}
		rec := someRecord()
		rec.User.Name, rec.Access, rec.Refresh = name, seal.Secret(access), seal.Secret(refresh)
		back, err := reread(rec)
		if err != nil {
			t.Fatal(err)
		}
		if alone, err := back.AccessToken(); err != nil || string(alone) != access {
			t.Fatalf("%q alone came back as %q, %v", access, string(alone), err)
		}
		if err := back.Unpack(); err != nil {
			t.Fatal(err)
		}
		if string(back.Access) != access || string(back.Refresh) != refresh {
			t.Fatalf("%q, %q came back as %q, %q", access, refresh, string(back.Access), string(back.Refresh))
		}
	})
}

// A session that is read, and found too large to be written again as it is,
// gives up its access token, and no more than it must.
func TestShrinkingKeepsTheRefreshToken(t *testing.T) {
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

func FuzzState(f *testing.F) {
	s := testAttempts(f)
	a, _ := NewAttempt()
	a.ReturnTo = "/a?b=c"
	state, err := s.Seal(a)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(state)
	f.Add(state[1:])
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := s.Open(text)
		// Seeds may come from another process with the same key.
		if err == nil && got.ReturnTo != a.ReturnTo {
			t.Errorf("the forged state %q opens", text)
		}
	})
}

// An identity part that opens is read as it stands, and written as it is read.
func FuzzRecord(f *testing.F) {
	rec := someRecord()
	add := func() {
		identity, _ := rec.Encode()
		f.Add(identity)
	}
	add()
	rec.User.TenantID, rec.User.Email, rec.LoginHint, rec.AuthTime = "9188040d-6c67-4c5b-b112-36a304b66dad", rec.User.Username, "O.CiQ.x", rec.SignedIn-300
	rec.AppData, rec.User.Roles, rec.User.Groups = "42", nil, []string{"not a GUID"}
	add()
	layout := rec.Layout
	f.Fuzz(func(t *testing.T, identity []byte) {
		rec, err := DecodeRecord(identity, layout)
		if err != nil {
			return
		}
		again, _ := rec.Encode()
		back, err := DecodeRecord(again, layout)
		if err != nil {
			t.Fatalf("%x: read once, not twice: %v", identity, err)
		}
		if rec.Packed = nil; !reflect.DeepEqual(rec, back) {
			t.Fatalf("%x: read as %#v, then as %#v", identity, rec, back)
		}
	})
}

// What an ID token has said is read as it was written, whatever it was.
func FuzzIdentity(f *testing.F) {
	f.Add("Ada", "ada@contoso.example", "sid", "O.CiQ", int64(1700000000), "one\ntwo", "0a0a0a0a-1b1b-2c2c-3d3d-4e4e4e4e4e4e\nx", `{"upn":"a","x":{"y":[1]}}`)
	f.Add("", "", "", "", int64(0), "", "", "")
	f.Fuzz(func(t *testing.T, name, email, sid, hint string, authTime int64, roles, groups, extra string) {
		id := &provider.Identity{User: provider.Account{Subject: "a", Name: name, Username: email, Email: email}, SID: sid, LoginHint: hint, AuthTime: authTime}
		if roles != "" {
			id.User.Roles = strings.Split(roles, "\n")
		}
		if groups != "" {
			id.User.Groups = strings.Split(groups, "\n")
		}
		if json.Unmarshal([]byte(extra), &id.User.Claims) == nil && id.User.Claims != nil {
			id.Extra = extra
		}
		rec := someRecord()
		rec.Identify(id)
		back, err := reread(rec)
		if err != nil {
			t.Fatalf("%#v: %v", id, err)
		}
		if got, want := fmt.Sprintf("%#v %q %q %d", back.User, back.sid, back.LoginHint, back.AuthTime), fmt.Sprintf("%#v %q %q %d", rec.User, rec.sid, rec.LoginHint, rec.AuthTime); got != want {
			t.Errorf("kept %s, read %s", want, got)
		}
	})
}

// testRing is a ring of one key.
func testRing(tb testing.TB) seal.Keyring {
	tb.Helper()
	ring, err := seal.NewKeyring([][]byte{bytes.Repeat([]byte{1, 2, 3, 4}, 8)})
	if err != nil {
		tb.Fatal(err)
	}
	return ring
}

// testCookies are a session's, for an app on https.
func testCookies(tb testing.TB) *Cookies {
	return NewCookies("msauth-AAAAAA", make([]byte, 8), seal.Codec{Keys: testRing(tb).Derive("msauth session v1")}, false, http.SameSiteLaxMode, 3300)
}

func testAttempts(tb testing.TB) *Attempts {
	return NewAttempts(testRing(tb), Registration{}, testCookies(tb), "/")
}

// During a deployment the version before has sealed states that mean something
// else.
func TestStatesOfAnotherFormatAreRefused(t *testing.T) {
	t.Parallel()
	s := testAttempts(t)
	var a Attempt
	binary.BigEndian.PutUint32(a.ID[:4], uint32(time.Now().Unix()))
	for format := range byte(4) {
		e := compact.Encoder{B: []byte{format}}
		e.B = append(append(append(append(e.B, a.ID[:]...), a.seed[:]...), a.Binding[:]...), 0)
		e.Text("/home")
		e.Text("")
		e.Text("state")
		if got, err := s.Open(s.stateKeys.Seal(e.B, s.stateData)); err == nil {
			t.Errorf("format %d: read as %+v", format, got.ReturnTo)
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
		ended := NewRevoked()
		fill := func() {
			for i := range maxRevoked + 50_000 {
				rec := &Record{SignedIn: time.Now().Unix()}
				binary.BigEndian.PutUint64(rec.ID[:], uint64(i))
				ended.Add(rec, 7*24*time.Hour, 0)
			}
		}
		fill()
		first := heap() - before
		fill()
		second := heap() - before
		if got := ended.from.Len(); got != maxRevoked {
			t.Errorf("%d ended sessions, want %d", got, maxRevoked)
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
