package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"example.com/msauth/internal/seal"
)

// A policy says when steps are due.
type policy struct{ every, wait, keep time.Duration }

func (p policy) check() error {
	switch {
	case p.wait < 5*time.Minute:
		// The kubelet takes two minutes for a volume, or three.
		return errors.New("-wait must be at least 5m: servers that do not have a key yet cannot open what it seals")
	case p.keep < time.Hour:
		return errors.New("-keep must be at least 1h, and more than Config.MaxAge")
	case p.every < p.wait+p.keep:
		return errors.New("-every must be at least the sum of -wait and -keep")
	}
	return nil
}

// A key is a line of the file, and what the comment above it says.
type key struct {
	line  string
	added time.Time // zero if unknown
	first time.Time // since when it seals or when it began to; zero if it never has
	last  time.Time // until when it sealed; zero if it does, or never has
}

// skew is how far the clocks of two computers that change one text may differ.
const skew = time.Hour

const heading = "# The first key seals, all of them open: \"Keys in files\" in docs/operations.md.\n" +
	"# rotatekeys reads the times.\n"

var times = regexp.MustCompile(`\b(added|first|last) (\S+)`)

// parse reads the text. Other comments than its own are forgotten.
func parse(text []byte) ([]key, error) {
	if _, err := seal.ParseKeys([]string{"keys"}, [][]byte{text}); err != nil {
		return nil, err
	}
	var keys []key
	var next key
	for line := range strings.Lines(string(text)) {
		switch line = strings.TrimSpace(line); {
		case strings.HasPrefix(line, "#"):
			for _, m := range times.FindAllStringSubmatch(line, -1) {
				at, err := time.Parse(time.RFC3339, strings.TrimRight(m[2], ",;"))
				if err != nil {
					continue // words of somebody else
				}
				*map[string]*time.Time{"added": &next.added, "first": &next.first, "last": &next.last}[m[1]] = at
			}
		case line != "":
			next.line = line
			keys = append(keys, next)
			next = key{}
		}
	}
	return keys, nil
}

func format(keys []key) []byte {
	var b bytes.Buffer
	b.WriteString(heading)
	for _, k := range keys {
		b.WriteString("\n#")
		for i, t := range []time.Time{k.added, k.first, k.last} {
			if !t.IsZero() {
				fmt.Fprintf(&b, " %s %s", []string{"added", "first", "last"}[i], t.UTC().Format(time.RFC3339))
			}
		}
		b.WriteString("\n" + k.line + "\n")
	}
	return b.Bytes()
}

// step returns what the text is to be, nil if nothing is due, and what was done.
func step(text []byte, now time.Time, p policy) (changed []byte, done string, err error) {
	if text == nil {
		return format([]key{{line: newKey(), added: now, first: now}}), "made a key", nil
	}
	keys, err := parse(text)
	if err != nil {
		return nil, "", err
	}
	for i, k := range keys {
		for _, at := range []time.Time{k.added, k.first, k.last} {
			// Nothing would be due until then, and nobody would notice.
			if at.After(now.Add(skew)) {
				return nil, "", fmt.Errorf("key %d: the comment says %s, and it is %s: is the clock right? If it is now, remove the comment",
					i+1, at.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
			}
		}
	}
	if done := advance(&keys, now, p); done != "" {
		changed = format(keys)
		if _, err := seal.ParseKeys([]string{"keys"}, [][]byte{changed}); err != nil {
			return nil, "", fmt.Errorf("the changed text is wrong, and was not written: %w", err)
		}
		return changed, done, nil
	}
	return nil, "nothing is due", nil
}

// advance takes the step that is due.
func advance(keys *[]key, now time.Time, p policy) (done string) {
	list := *keys
	// What somebody has written by hand has no times. A key in first place seals;
	// of another one nobody knows whether it ever has.
	unknown := 0
	if list[0].first.IsZero() {
		list[0].first, list[0].last = now, time.Time{}
		unknown++
	}
	list[0].last = time.Time{}
	for i := range list[1:] {
		if k := &list[i+1]; k.last.IsZero() && (!k.first.IsZero() || k.added.IsZero()) {
			k.last = now
			unknown++
		}
	}
	if unknown > 0 {
		return fmt.Sprintf("noted the time for %d keys", unknown)
	}
	waiting := slices.IndexFunc(list, func(k key) bool { return k.first.IsZero() && k.last.IsZero() })
	switch {
	case waiting > 0 && !now.Before(list[waiting].added.Add(p.wait)):
		next := list[waiting]
		next.first, list[0].last = now, now
		*keys = append([]key{next}, slices.Delete(list, waiting, waiting+1)...)
		return "the new key is first, and seals from now on"
	case waiting < 0 && !now.Before(list[0].first.Add(p.every)):
		*keys = slices.Insert(list, 1, key{line: newKey(), added: now})
		return "added a key in second place"
	}
	over := func(k key) bool { return !k.last.IsZero() && !now.Before(k.last.Add(p.keep)) }
	if before := len(list); slices.ContainsFunc(list, over) {
		*keys = slices.DeleteFunc(list, over)
		return fmt.Sprintf("removed %d keys", before-len(*keys))
	}
	return ""
}

func newKey() string {
	b := make([]byte, 32)
	rand.Read(b)
	return base64.StdEncoding.EncodeToString(b)
}
