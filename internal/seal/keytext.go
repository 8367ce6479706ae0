package seal

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// maxKeys is how many keys ParseKeys accepts: each is tried on what does not open.
const maxKeys = 32

// ParseKeys reads keys from texts, in order: one key in base64 on each line, of
// either alphabet, padded or not. Empty lines and lines that begin with # are
// ignored. An error names the line by its number and, if there are several texts,
// the text by its name; it shows nothing of what the line holds.
func ParseKeys(names []string, texts [][]byte) (keys [][]byte, err error) {
	var places []string // of keys
	for i, text := range texts {
		number := 0
		for line := range strings.Lines(string(text)) {
			number++
			line = strings.TrimSpace(line)
			if line == "" || line[0] == '#' {
				continue
			}
			place := fmt.Sprintf("line %d", number)
			if len(texts) > 1 {
				place += " of " + names[i]
			}
			key, err := parseKey(line)
			if err != nil {
				return nil, fmt.Errorf("%s %w", place, err)
			}
			for j, other := range keys {
				if SameText(string(key), string(other)) {
					return nil, fmt.Errorf("%s is the same key as %s", place, places[j])
				}
			}
			if len(keys) == maxKeys {
				return nil, fmt.Errorf("%s is one key too many: at most %d can be used", place, maxKeys)
			}
			keys, places = append(keys, key), append(places, place)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New(`there is no key: write one on a line, as "openssl rand -base64 32" prints it`)
	}
	return keys, nil
}

func parseKey(line string) ([]byte, error) {
	var key []byte
	err := ErrNotSealed
	for _, encoding := range [...]*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if key, err = DecodeBase64(encoding.Strict(), line); err == nil {
			break
		}
	}
	switch {
	case err != nil:
		return nil, errors.New("is not base64")
	case len(key) != KeyLength:
		return nil, fmt.Errorf("has %d bytes in base64: want 32 random bytes", len(key))
	case oneByte(key):
		return nil, errors.New("is the same byte 32 times: want 32 random bytes")
	}
	return key, nil
}
