package golden_test

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"example.com/msauth"
)

// A goldenMutation is a value with one character changed, or in another place.
type goldenMutation struct {
	what  string
	value *goldenValue
}

func (v *goldenValue) mutations() (all []goldenMutation) {
	with := func(what string, change func(m *goldenValue)) {
		m := *v
		m.Cookies, m.Records, m.Entries = slices.Clone(v.Cookies), maps.Clone(v.Records), maps.Clone(v.Entries)
		change(&m)
		all = append(all, goldenMutation{what, &m})
	}
	for i, line := range v.Cookies {
		pair, attributes, _ := strings.Cut(line, ";")
		name, value, _ := strings.Cut(pair, "=")
		for at, text := range goldenFlips(value) {
			with(fmt.Sprintf("cookie %s, byte %d", name, at), func(m *goldenValue) { m.Cookies[i] = name + "=" + text + ";" + attributes })
		}
	}
	if sealed := goldenSealed.FindStringSubmatchIndex(v.URL); sealed != nil {
		for at, text := range goldenFlips(v.URL[sealed[2]:sealed[3]]) {
			with(fmt.Sprintf("URL, byte %d", at), func(m *goldenValue) { m.URL = v.URL[:sealed[2]] + text + v.URL[sealed[3]:] })
		}
	}
	for at, text := range goldenFlips(v.Form) {
		with(fmt.Sprintf("form, byte %d", at), func(m *goldenValue) { m.Form = text })
	}
	for id, record := range v.Records {
		for at, text := range goldenFlips(record) {
			with(fmt.Sprintf("record, byte %d", at), func(m *goldenValue) { m.Records[id] = text })
		}
	}
	for user, e := range v.Entries {
		for _, at := range goldenPlaces(len(e.Sealed)) {
			with(fmt.Sprintf("entry, byte %d", at), func(m *goldenValue) {
				changed := e
				changed.Sealed = bytes.Clone(e.Sealed)
				changed.Sealed[at] ^= 1
				m.Entries[user] = changed
			})
		}
	}
	return all
}

var goldenSealed = regexp.MustCompile(`[?&](?:state|sealed)=([A-Za-z0-9_-]+)`)

func goldenPlaces(n int) (places []int) {
	for i := range 8 {
		places = append(places, i*n/8)
	}
	if n == 0 {
		return nil
	}
	return slices.Compact(append(places, n-1))
}

// goldenFlips are a text with one character in place of another, by its place.
func goldenFlips(text string) map[int]string {
	flips := map[int]string{}
	for _, at := range goldenPlaces(len(text)) {
		other := byte('A')
		if text[at] == other {
			other = 'B'
		}
		flips[at] = text[:at] + string(other) + text[at+1:]
	}
	return flips
}

// A record in another's place, and an entry in another user's, do not open.
func TestGoldenInAnotherPlace(t *testing.T) {
	t.Parallel()
	if *updateGolden != "" {
		t.Skip("the values are being written")
	}
	for _, c := range goldenSessions() {
		if c.name != "stored-work" {
			continue
		}
		v := c.load(t)
		for id, record := range v.Records {
			v.Records = map[string]string{"record-9": record}
			v.Cookies[0] = strings.Replace(v.Cookies[0], id, "record-9", 1)
		}
		if found := c.look(t, v); found.opened() {
			t.Errorf("%s: opens under another id", c.name)
		}
	}
	for _, c := range goldenEntries() {
		if c.name != "entry-work" {
			continue
		}
		v := c.load(t)
		for user, e := range v.Entries {
			v.Entries = map[string]msauth.StoredTokens{strings.Replace(user, "user-7", "user-8", 1): e}
		}
		c.read = func(a *goldenApp, _ *goldenValue) goldenFound { return a.offline("user-8") }
		if found := c.look(t, v); found.opened() {
			t.Errorf("%s: opens for another user", c.name)
		}
	}
}
