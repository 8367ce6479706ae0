package device

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"

	"example.com/msauth/internal/seal"
)

// decode decodes a part of a JWT.
func decode(text string) ([]byte, error) { return seal.DecodeText(text) }

// object reads a JSON object, each member once, whatever the case of its name: of two,
// another reader might take the other one.
func object(data []byte) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	if first, err := d.Token(); err != nil || first != json.Delim('{') {
		return nil, errForm
	}
	members, seen := make(map[string]json.RawMessage, 4), make(map[string]bool, 4)
	for d.More() {
		token, err := d.Token()
		name, ok := token.(string)
		if err != nil || !ok {
			return nil, errForm
		}
		if seen[strings.ToLower(name)] {
			return nil, errors.New("msauth: device: a member of the proof is there twice")
		}
		seen[strings.ToLower(name)] = true
		var value json.RawMessage
		if d.Decode(&value) != nil {
			return nil, errForm
		}
		members[name] = value
	}
	if _, err := d.Token(); err != nil || len(bytes.TrimSpace(data[d.InputOffset():])) > 0 {
		return nil, errForm
	}
	return members, nil
}

// Field returns the text of a field that is a string of RFC 9651, with or without its
// quotation marks, which Chromium leaves out; "" if it is none, or there are several.
func Field(values []string) string {
	if len(values) != 1 {
		return ""
	}
	text := strings.Trim(values[0], " \t")
	if inner, ok := strings.CutPrefix(text, `"`); ok {
		if text, ok = strings.CutSuffix(inner, `"`); !ok {
			return ""
		}
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' || r == ',' || r == ';' }) {
		return ""
	}
	return text
}
