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

// tokens are tokens of every form, and the bytes by which they are written.
var tokens = []struct{ name, token, want string }{
	{"none", "", "00"},
	{"opaque", "opaque", "306f7061717565"},
	{"three parts that are no JWT", "a.b.c", "0603086108620863"},
	{"no claims", jwt(`{"typ":"JWT","alg":"RS256"}`, `{}`), "06031e4e02184a5754035c001e4e0019000102"},
	{
		"values of all kinds",
		jwt(`{"alg":"RS256"}`, `{"aud":"client-id","iat":1700000000,"nbf":1699999999,"exp":1700003600,"name":"Ada Lovelace",`+
			`"x":"Ada Lovelace","groups":["g1","g2"],"amr":["pwd"],"own":null,"a":true,"b":false,"c":1.5,"d":"\u0041","e":{"sub":[1,[2]]}}`),
		"06031e4e035c001e4e070c093e000a3e010b3ea2382d140108780425661056157d865e0115759a260108612e010862360108634618312e35" +
			"010864305c75303034310108654e3d563e9dfc9fd50c563e025e5e000019000102",
	},
	{
		"values of all kinds, most names unknown",
		jwt(`{"alg":"RS256"}`, `{"aud":"client-id","t1":1700000000,"vvv":1699999999,"Üx":"Ada Lovelace","x":"Ada Lovelace","groups":["g1","g2"],`+
			`"r":["pwd",{}],"own":null,"a":true,"b":false,"c":-1.5e3,"d":"\u0041","":"","k":"id:0a0a0a0a-1b1b-2c2c-3d3d-4e4e4e4e4e4e/openid profile"}`),
		"06031e4e035c001e7ef3fb19536ebde155ad7bce785e1ce3c5945f8cb7e223e8d3ec3f38f6a759bd100ea80f640bc617634aa5edd03dc2971d45" +
			"8020e78470842b1b40ffad0282828286c6cb0b0f4f539393939393b08ed6b08db78019000102",
	},
	{"a header of unknown names", jwt(`{"qkayw":"RS256","fed":"wirad"}`, `{"aud":"client-id","sub":"qkayw"}`), "06031e7ef2c82818b5494520ce591100f01e4e070c3d2582818b000019000102"},
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

// Tokens that earlier versions have written, where they are written otherwise
// today.
func TestTokensOfEarlierVersions(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, bytes, want string }{
		{
			"texts that are not packed",
			"06031e4e035c001e4e070c093e000a3e010b3ea2382d140108780425661056187077645e01186f776e260108612e010862360108634618312e35" +
				"010864305c75303034310108654e010866563e9dfc9fd50c563e025e5e000019000102",
			jwt(`{"alg":"RS256"}`, `{"aud":"client-id","iat":1700000000,"nbf":1699999999,"exp":1700003600,"name":"Ada Lovelace",`+
				`"x":"Ada Lovelace","groups":["g1","g2"],"amr":["pwd"],"own":null,"a":true,"b":false,"c":1.5,"d":"\u0041","e":{"f":[1,[2]]}}`),
		},
		{"names as texts of their own", "06031e4e035c001e762582818b0008612d2907b5284e0125b22201805608625e0115b9c24e00002d98d695142615950208635e19000102", unknownNames},
	}
	for _, test := range tests {
		b, err := hex.DecodeString(test.bytes)
		if err != nil {
			t.Fatal(err)
		}
		d := compact.Decoder{B: b, Known: dictionary}
		if got := d.Text(); got != test.want || !d.Done() {
			t.Errorf("%s: %q, done: %t", test.name, got, d.Done())
		}
	}
}

// Values that no list has take the fewest bytes in which they can be written.
func TestPackedTexts(t *testing.T) {
	t.Parallel()
	size := func(value string) int {
		token := jwt(`{"alg":"RS256"}`, `{"sub":"`+value+`"}`)
		e := compact.Encoder{}
		e.Token(token)
		d := compact.Decoder{B: e.B}
		if got := d.Text(); got != token || !d.Done() {
			t.Errorf("%q comes back in %q, done: %t", value, got, d.Done())
		}
		return len(e.B)
	}
	nothing := size("") - 1
	for _, test := range []struct {
		name, value string
		want        int
	}{
		{"lower case", "qkayw", 1 + 4},
		{"with a capital", "Ziddbr", 1 + 5},
		{"the longest with one byte before it", "abcdefghijklmnop", 1 + 10},
		{"longer", "abcdefghijklmnopq", 2 + 11},
		{"address", "ada.lindqvist@contoso.example", 2 + 19},
		{"digits", "52.51.861.53", 2 + 6},
		{"capitals and digits", "NF812xX9Q", 2 + 7},
		{"base64url of an odd length", "x_J4zeEad1sazIQ6Ifr-6r8rGJbuilEmh1xEtvndBvX", 2 + 33},
		{"URL", "https://uju.oxcituk.example/74195063-ff5d-44e8-91d2-873fe13c1d54/", 41},
		{"too short", "Q", 2},
		{"two spellings at once", "Ünal 12", 9},
		{"of one character", "é", 3},
	} {
		if got := size(test.value) - nothing; got != test.want {
			t.Errorf("%s: %q takes %d bytes, want %d", test.name, test.value, got, test.want)
		}
	}
}

// Most names in it are unknown.
var unknownNames = jwt(`{"alg":"RS256"}`, `{"qkayw":"a","fed_kk":{"wirad":["b"],"xhb":{}},"tdljkf":null,"sub":"c"}`)

// Where most names are unknown, claims are written in bits, if that is shorter.
func TestUnknownNames(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, token string
		want        int
	}{
		{"names that no list has", unknownNames, 45},
		{"no more of them than of others", jwt(`{"alg":"RS256"}`, `{"qkayw":"a","sub":"c"}`), 25},
		{"one that bits cannot write in fewer bytes", jwt(`{"alg":"RS256"}`, `{"é":"é"}`), 21},
	} {
		e := compact.Encoder{}
		e.Token(test.token)
		d := compact.Decoder{B: e.B}
		if got := d.Text(); got != test.token || !d.Done() {
			t.Errorf("%s: %q comes back as %q, done: %t", test.name, test.token, got, d.Done())
		}
		if len(e.B) != test.want {
			t.Errorf("%s: %d bytes, want %d", test.name, len(e.B), test.want)
		}
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
