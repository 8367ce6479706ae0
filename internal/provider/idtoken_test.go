package provider

import (
	"encoding/json"
	"strings"
	"testing"
)

// A token has members twice, or what one reader makes of it every other one does.
func FuzzRepeatedMember(f *testing.F) {
	for _, text := range []string{
		`{"sub":"a","sub":"b"}`, `{"a":[{"b":1,"b":2}],"c":{"d":[]}}`, `{"AUD":1,"aud":2}`, `{"\u017fub":1,"sub":2}`, `{"s\u0075b":1,"sub":2}`, `[]`, `"x"`, `{`, `{"a":1}}`, `{"a":{"a":"a"}}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		name, err := repeatedMember([]byte(text))
		var c claims
		if json.Unmarshal([]byte(text), &c) != nil || c == nil || err != nil || name != "" {
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
