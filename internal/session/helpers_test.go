package session

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

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

// testRing is a ring of one key.
func testRing(tb testing.TB) *seal.Keyring {
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

// goldenRecord has something in every field that is written.
func goldenRecord() *Record {
	r := &Record{
		Layout:   &Layout{Authority: "https://login.microsoftonline.com", ClientID: "11111111-2222-3333-4444-555555555555", KeepsIDToken: true},
		ID:       ID{1, 2, 3, 4, 5, 6, 7, 8},
		Attempt:  AttemptID{11, 12, 13, 14, 15, 16, 17, 18},
		Nonce:    [8]byte{21, 22, 23, 24, 25, 26, 27, 28},
		SignedIn: 1767225600, since: 1767200000, Used: 1767225660, Renewed: 1767225610, Expiry: 1767229210, RefreshAt: 1767228910, AuthTime: 1767225500,
		Rounds: 3, Asked: provider.RequirementDigest{31, 32, 33, 34, 35, 36, 37, 38}, StepUp: true, Claims: `{"access_token":{}}`,
		User: provider.Account{
			Issuer:   "https://login.microsoftonline.com/40a0cffe-4fc9-448b-9790-232954984f24/v2.0",
			Subject:  "sub",
			TenantID: "40a0cffe-4fc9-448b-9790-232954984f24", ObjectID: "0a0a0a0a-1b1b-2c2c-3d3d-4e4e4e4e4e4e",
			Name: "Ada Lovelace", Username: "ada@contoso.example", Email: "ada@contoso.example", EmailVerified: true,
			Roles: []string{"admin", "reader"}, Groups: []string{"0a0a0a0a-1b1b-2c2c-3d3d-4e4e4e4e4e4f"}, GroupsOverage: true,
			Claims: map[string]any{"upn": "ada"},
		},
		extra: `{"upn":"ada"}`, AppData: "42", Scopes: "openid User.Read", sid: "sid-1", LoginHint: "O.CiQ.x", UserKey: "user-1", Contexts: []string{"c1", "c2"},
		Access: "access", Refresh: "1.AXoA.AgABAAEAAAD",
	}
	r.IDToken = seal.Secret(seal.Base64url.EncodeToString([]byte(`{"alg":"RS256"}`)) + "." + seal.Base64url.EncodeToString([]byte(`{"name":"Ada Lovelace","iat":1767225610}`)) + ".c2ln")
	return r
}

// request is a request that carries what the responses have set, in order, as a
// browser would send it.
func request(responses ...http.Header) *http.Request {
	r := httptest.NewRequest("GET", "https://app.example/", nil)
	var names []string
	values := map[string]string{}
	for _, h := range responses {
		for _, line := range h["Set-Cookie"] {
			c, err := http.ParseSetCookie(line)
			if err != nil {
				panic(err)
			}
			names = slices.DeleteFunc(names, func(name string) bool { return name == c.Name })
			if c.MaxAge >= 0 {
				names = append(names, c.Name)
				values[c.Name] = c.Value
			}
		}
	}
	for _, name := range names {
		r.AddCookie(&http.Cookie{Name: name, Value: values[name]})
	}
	return r
}

// random returns about n characters of base64, which do not get shorter.
func random(n int) seal.Secret {
	b := make([]byte, n/4*3)
	seal.RandomBytes(b)
	return seal.Secret(seal.Base64url.EncodeToString(b))
}

// noStoreKey is the key in lower case, which handlers do not reach, under which an
// answer with a cookie of ours forbids caching.
var noStoreKey = strings.ToLower("Cache-Control")

// load reads the session of a request, into new memory.
func load(s Store, r *http.Request) (rec *Record, sent bool, err error) {
	l, err := s.Load(r, new(Record))
	return l.Rec, l.Sent, err
}
