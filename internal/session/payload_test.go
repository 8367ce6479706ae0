package session

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"example.com/msauth/internal/compact"
	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/seal"
)

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
		`{"qkayw":"Ada","s7v":"2.RcIdrzpNM2OPzYjdlM.","egxvaj_lty":"S-4-3-52-3489154583","groups":["0a0a0a0a-1b1b-2c2c-3d3d-4e4e4e4e4e4f"],"nvc":5571676826,"bfl":[1.5,{}]}`,
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

// Sessions of earlier versions must stay readable: a change of these bytes needs
// a format byte of its own. Every field is in them.
func TestPayloadFormat(t *testing.T) {
	t.Parallel()
	const wantIdentity = "0201020304050607080b0c0d0e0f10111215161718191a1b1cfb861f2021222324252680ce891eff8f037863a038d70" +
		"4c70100187375620540a0cffe4fc9448b9790232954984f24050a0a0a0a1b1b2c2c3d3d4e4e4e4e4e4e60416461204c6f76656c616365" +
		"980161646140636f6e746f736f2e6578616d706c6500287369642d310e020c24ff384f2e4369512e78103432687b2275706e223a22616461227d" +
		"98017b226163636573735f746f6b656e223a7b7d7d30757365722d31022861646d696e30726561646572030a0a0a0a1b1b2c2c3d3d4e4e4e4e4e4f02106331106332"
	const wantTokens = "306163636573730603083119017a0058416741424141454141414406031e4e03b401001e4e2d34093e000019736967"
	rec := goldenRecord()
	identity, tokens := rec.Encode()
	if got := hex.EncodeToString(identity); got != wantIdentity {
		t.Errorf("identity part %s, want %s", got, wantIdentity)
	}
	if got := hex.EncodeToString(tokens); got != wantTokens {
		t.Errorf("token part %s, want %s", got, wantTokens)
	}
	back, err := reread(rec)
	if err != nil {
		t.Fatal(err)
	}
	if err := back.Unpack(); err != nil {
		t.Fatal(err)
	}
	back.given = rec.given
	if !reflect.DeepEqual(back, rec) {
		t.Errorf("read as %#v, want %#v", back, rec)
	}
}

// What is cut short, or followed by more, is refused, and so is another format:
// half a session is none.
func TestMalformedPayloads(t *testing.T) {
	t.Parallel()
	rec := goldenRecord()
	identity, tokens := rec.Encode()
	for n := range identity {
		if _, err := DecodeRecord(identity[:n], rec.Layout); err == nil {
			t.Errorf("an identity part of %d bytes of %d is read", n, len(identity))
		}
	}
	if _, err := DecodeRecord(append(bytes.Clone(identity), 0), rec.Layout); err == nil {
		t.Error("an identity part with a byte too many is read")
	}
	for format := range byte(8) {
		other := append([]byte{format}, identity[1:]...)
		if _, err := DecodeRecord(other, rec.Layout); (err == nil) != (format == identity[0]) {
			t.Errorf("format %d: %v", format, err)
		}
	}
	for n := range tokens {
		back, _ := DecodeRecord(identity, rec.Layout)
		back.Packed = tokens[:n]
		// The ID token may be missing: it is there only if there was one.
		if err := back.Unpack(); err == nil && back.IDToken != "" || back.Refresh != "" && back.Refresh != rec.Refresh {
			t.Errorf("%d bytes of %d: refresh token %q, ID token %q, %v", n, len(tokens), string(back.Refresh), string(back.IDToken), err)
		}
	}
}

func TestSplitParts(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name             string
		joined           []byte
		identity, tokens string
		ok               bool
	}{
		{"both", JoinParts([]byte("id"), []byte("tokens")), "id", "tokens", true},
		{"no tokens", JoinParts([]byte("id"), nil), "id", "", true},
		{"neither", JoinParts(nil, nil), "", "", true},
		{"nothing", nil, "", "", false},
		{"a length without end", bytes.Repeat([]byte{0x80}, 11), "", "", false},
		{"a length beyond the rest", []byte{3, 'i', 'd'}, "", "", false},
		{"a length beyond any", binary.AppendUvarint(nil, 1<<63), "", "", false},
	} {
		identity, tokens, err := SplitParts(test.joined)
		if string(identity) != test.identity || string(tokens) != test.tokens || (err == nil) != test.ok {
			t.Errorf("%s: %q, %q, %v", test.name, identity, tokens, err)
		}
	}
}

// Every request reads the identity part; its texts share one piece of memory.
func TestReadingAllocatesLittle(t *testing.T) {
	rec := someRecord()
	identity, _ := rec.Encode()
	if n := testing.AllocsPerRun(100, func() { DecodeRecord(identity, rec.Layout) }); n > 4 {
		t.Errorf("%v allocations, want 4", n)
	}
}

// Reading an access token leaves neither token in memory that is used again. Not
// parallel, because others would put buffers between these.
func TestTokensDoNotStayInBuffers(t *testing.T) {
	rec, cookies, h := someRecord(), testCookies(t), http.Header{}
	rec.Refresh = "a refresh token, in plain text"
	identity, tokens := rec.Encode()
	if err := cookies.Write(h, 0, identity, tokens, time.Hour); err != nil {
		t.Fatal(err)
	}
	got := cookies.Read(request(h).Header, new([]byte))
	back, err := DecodeRecord(got.Head, rec.Layout)
	if err != nil {
		t.Fatal(err)
	}
	back.sealed, back.cookies = got.tail, cookies
	if access, err := back.AccessToken(); err != nil || access != rec.Access {
		t.Fatalf("an access token of %d characters, %v", len(access), err)
	}
	for range 8 {
		b := *compact.Buffer()
		for _, token := range []string{string(rec.Access), string(rec.Refresh)} {
			if bytes.Contains(b[:cap(b)], []byte(token)) {
				t.Errorf("a buffer has a token of %d characters", len(token))
			}
		}
	}
}

// Others may be reading the record when a handler asks for its access token.
func TestAccessTokenLeavesTheRecordAlone(t *testing.T) {
	t.Parallel()
	rec := goldenRecord()
	back, err := reread(rec)
	if err != nil {
		t.Fatal(err)
	}
	access, err := back.AccessToken()
	if err != nil || access != rec.Access {
		t.Errorf("access token %q, %v", string(access), err)
	}
	if back.Unpacked() {
		t.Error("reading the access token has unpacked the record")
	}
	if err := back.Unpack(); err != nil || !back.Unpacked() || back.Access != rec.Access || back.Refresh != rec.Refresh || back.IDToken != rec.IDToken {
		t.Errorf("unpacked %q, %q, %q, %v", string(back.Access), string(back.Refresh), string(back.IDToken), err)
	}
}
