package provider

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestTypeOfIDToken(t *testing.T) {
	t.Parallel()
	a, _ := plainProvider(t)
	for _, test := range []struct {
		typ any
		ok  bool
	}{
		{"JWT", true}, {"jwt", true}, {"Jwt", true}, {"application/jwt", true}, {"Application/JWT", true}, {nil, true},
		{"at+jwt", false}, {"application/at+jwt", false}, {"logout+jwt", false}, {"secevent+jwt", false}, {"dpop+jwt", false}, {"JOSE", false}, {"", false}, {" JWT", false},
		{7, false}, {true, false}, {[]string{"JWT"}, false}, {map[string]any{}, false}, {json.RawMessage("null"), false},
	} {
		t.Run(fmt.Sprint(test.typ), func(t *testing.T) {
			_, err := a.verified(signJWT(0, with(headerOf("one"), "typ", test.typ), someClaims(otherBase)))
			if test.ok && err != nil {
				t.Error(err)
			} else if !test.ok {
				wantFault(t, err, "its typ is")
			}
		})
	}
}

func TestMembersThatAreThereTwice(t *testing.T) {
	t.Parallel()
	a, _ := plainProvider(t)
	header, _ := json.Marshal(headerOf("one"))
	claims, _ := json.Marshal(someClaims(otherBase))
	add := func(object []byte, more string) string { return string(object[:len(object)-1]) + "," + more + "}" }
	for _, test := range []struct {
		name, header, claims string
		want                 string // "" if it is accepted
	}{
		{"none", string(header), string(claims), ""},
		{"alg", add(header, `"alg":"RS256"`), string(claims), `"alg" is twice in its header`},
		{"nested in the header", add(header, `"x":[{"a":1,"a":1}]`), string(claims), `"a" is twice in its header`},
		{"sub", string(header), add(claims, `"sub":"BBBB"`), `"sub" is twice in its claims`},
		{"sub, escaped", string(header), add(claims, `"s\u0075b":"BBBB"`), `"sub" is twice in its claims`},
		{"aud in capitals", string(header), add(claims, `"AUD":"x"`), `"AUD" is twice in its claims`},
		{"iss with a long s", string(header), add(claims, `"i\u017fs":"x"`), `"iſs" is twice in its claims`},
		{"roles", string(header), add(claims, `"roles":[],"roles":["Admin"]`), `"roles" is twice`},
		{"nested", string(header), add(claims, `"a":{"b":{"c":1,"c":2}}`), `"c" is twice`},
		{"in a list", string(header), add(claims, `"a":[1,[{"b":null,"b":null}]]`), `"b" is twice`},
		{"without a name", string(header), add(claims, `"":1,"":2`), `"" is twice`},
		{"nested, without a name", string(header), add(claims, `"a":[{"":1,"":2}]`), `"" is twice`},
		{"in two objects", string(header), add(claims, `"a":{"b":1},"c":{"b":1},"b":[{"b":{"b":1}},{"b":2}]`), ""},
		{"as value and name", string(header), add(claims, `"a":"a","b":["a","a","b"],"c":{"a":"a"}`), ""},
		{"other claims in other case", string(header), add(claims, `"Role":1,"role":2`), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := a.verified(signJWT(0, test.header, test.claims))
			if test.want != "" {
				wantFault(t, err, test.want)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

// A token has a member twice, or all readers read the same.
func FuzzRepeatedMember(f *testing.F) {
	for _, text := range []string{
		`{"sub":"a","sub":"b"}`, `{"a":[{"b":1,"b":2}],"c":{"d":[]}}`, `{"AUD":1,"aud":2}`, `{"\u017fub":1,"sub":2}`, `{"s\u0075b":1,"sub":2}`, `[]`, `"x"`, `{`, `{"a":1}}`, `{"a":{"a":"a"}}`, `{"":0,"":0}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_, twice, err := repeatedMember([]byte(text))
		var c claims
		if json.Unmarshal([]byte(text), &c) != nil || c == nil || err != nil || twice {
			return
		}
		var pairs []string // the members of the outermost object, one by one
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.Token()
		for decoder.More() {
			member, _ := decoder.Token()
			pairs = append(pairs, member.(string))
			var value json.RawMessage
			if decoder.Decode(&value) != nil {
				return
			}
		}
		if len(pairs) != len(c) {
			t.Errorf("%q has members %q, of which %d are left", text, pairs, len(c))
		}
		var fields struct{ Sub, Aud json.RawMessage }
		json.Unmarshal([]byte(text), &fields)
		if c["sub"] != nil && string(fields.Sub) != string(c["sub"]) || c["aud"] != nil && string(fields.Aud) != string(c["aud"]) {
			t.Errorf("%q is read in two ways", text)
		}
	})
}
