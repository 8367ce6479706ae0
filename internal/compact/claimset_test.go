package compact_test

import (
	"encoding/hex"
	"strings"
	"testing"

	"example.com/msauth/internal/compact"
	"example.com/msauth/internal/seal"
)

// jwt is a token with these JSON texts and a signature of three bytes.
func jwt(header, claims string) string {
	return seal.Base64url.EncodeToString([]byte(header)) + "." + seal.Base64url.EncodeToString([]byte(claims)) + ".AAEC"
}

// tokens are tokens of every form, and the bytes by which they have been written
// since the first version.
var tokens = []struct{ name, token, want string }{
	{"none", "", "00"},
	{"opaque", "opaque", "306f7061717565"},
	{"three parts that are no JWT", "a.b.c", "0603086108620863"},
	{"no claims", jwt(`{"typ":"JWT","alg":"RS256"}`, `{}`), "06031e4e02184a5754035c001e4e0019000102"},
	{
		"values of all kinds",
		jwt(`{"alg":"RS256"}`, `{"aud":"client-id","iat":1700000000,"nbf":1699999999,"exp":1700003600,"name":"Ada Lovelace",`+
			`"x":"Ada Lovelace","groups":["g1","g2"],"amr":["pwd"],"own":null,"a":true,"b":false,"c":1.5,"d":"\u0041","e":{"f":[1,[2]]}}`),
		"06031e4e035c001e4e070c093e000a3e010b3ea2382d140108780425661056187077645e01186f776e260108612e010862360108634618312e35" +
			"010864305c75303034310108654e010866563e9dfc9fd50c563e025e5e000019000102",
	},
	{"JSON with spaces, and an array", jwt(`{"alg": "RS256"}`, `[1]`), "060381017b22616c67223a20225253323536227d195b315d19000102"},
}

func TestTokens(t *testing.T) {
	t.Parallel()
	for _, test := range tokens {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			e := compact.Encoder{Known: dictionary}
			e.Token(test.token)
			if got := hex.EncodeToString(e.B); got != test.want {
				t.Errorf("written as %s, want %s", got, test.want)
			}
			d := compact.Decoder{B: e.B, Known: dictionary}
			if got := d.Text(); got != test.token || !d.Done() {
				t.Errorf("%q comes back as %q, done: %t", test.token, got, d.Done())
			}
		})
	}
}

// JSON that is unusual comes back byte for byte, if only as base64.
func TestUnusualClaims(t *testing.T) {
	t.Parallel()
	deep := func(n int) string { return `{"a":` + strings.Repeat("[", n) + strings.Repeat("]", n) + "}" }
	tests := []struct{ name, claims string }{
		{"white space", "{ \"a\" : 1 }\n"},
		{"member twice", `{"a":1,"a":1}`},
		{"no value", `{"a":}`},
		{"no colon", `{"a"1}`},
		{"no comma", `{"a":1"b":2}`},
		{"comma at the end", `{"a":1,}`},
		{"not closed", `{"a":[1`},
		{"text not closed", `{"a":"b`},
		{"backslash at the end", `{"a":"b\`},
		{"more after it", `{"a":1}{}`},
		{"nested as deep as can be", deep(7)},
		{"nested too deep", deep(200)},
		{"largest integers", `{"a":9223372036854775807,"b":-9223372036854775808,"c":0}`},
		{"integer beyond 64 bits", `{"a":9223372036854775808}`},
		{"integers in other forms", `{"a":-0,"b":+1,"c":01,"d":1e3,"e":1.0}`},
		{"escaped quote", `{"a":"\"","b":"\\"}`},
		{"not UTF-8", "{\"\xff\":\"\xfe\"}"},
		{"words that are cut off", `{"a":nul,"b":tru}`},
		{"the same text again and again", `{"a":"x","b":"x","c":"","d":"","e":"x"}`},
		{"claim name as a value", `{"a":"aud","aud":"aud"}`},
		{"the groups, and more", `{"groups":["g1","g2"],"b":["g1","g2","g3"],"c":["g1"]}`},
		{"a JWT in it", `{"a":"` + jwt(`{"alg":"RS256"}`, `{"b":1}`) + `"}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			token := jwt(`{"alg":"none"}`, test.claims)
			e := compact.Encoder{Known: dictionary}
			e.Token(token)
			if len(e.B) >= len(token) {
				t.Errorf("%d characters take %d bytes", len(token), len(e.B))
			}
			d := compact.Decoder{B: e.B, Known: dictionary}
			if got := d.Text(); got != token || !d.Done() {
				t.Errorf("%s comes back as %q, done: %t", test.claims, got, d.Done())
			}
		})
	}
}

// A Decoder with another dictionary reads another token: what is compact is not
// authentic. It must not fail in another way.
func FuzzToken(f *testing.F) {
	for _, test := range tokens {
		header, rest, _ := strings.Cut(test.token, ".")
		claims, signature, _ := strings.Cut(rest, ".")
		plain, _ := seal.DecodeText(claims)
		f.Add(header, string(plain), signature)
	}
	f.Fuzz(func(t *testing.T, header, claims, signature string) {
		token := header + "." + seal.Base64url.EncodeToString([]byte(claims)) + "." + signature
		e := compact.Encoder{Known: dictionary}
		e.Token(token)
		d := compact.Decoder{B: e.B, Known: dictionary}
		if got := d.Text(); got != token || !d.Done() {
			t.Errorf("%q comes back as %q, done: %t", token, got, d.Done())
		}
		d = compact.Decoder{B: e.B}
		d.Text()
	})
}
