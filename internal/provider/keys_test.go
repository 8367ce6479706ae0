package provider

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A key that a refetch lacks is usable for another hour.
func TestKeyThatARefetchLacksStaysForAnHour(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, web := plainProvider(t)
		verify := func(id string) error {
			_, err := a.verified(signJWT(0, headerOf(id), someClaims(otherBase)))
			return err
		}
		wants := func(when, id string, want bool) {
			t.Helper()
			err := verify(id)
			if !want {
				wantFault(t, err, noKey)
			} else if err != nil {
				t.Errorf("%s: key %s gives %v", when, id, err)
			}
		}
		web.set(otherBase+"/keys", keySet("one", "two"))
		wants("at first", "one", true)
		web.set(otherBase+"/keys", keySet("two", "three"))
		wants("as nobody has asked anew", "one", true)
		wants("found by a refetch", "three", true)
		wants("missing since now", "one", true)
		time.Sleep(59 * time.Minute)
		wants("for 59 minutes", "one", true)
		if n := web.count("/keys"); n != 2 {
			t.Errorf("the keys were asked for %d times, want 2", n)
		}
		time.Sleep(time.Minute)
		wants("for an hour", "one", false)
		wants("still published", "two", true)
		// The hour runs from the first refetch that lacks a key.
		web.set(otherBase+"/keys", keySet("two"))
		for range 5 {
			time.Sleep(14 * time.Minute)
			wants("unknown", "none", false)
		}
		wants("missing for 56 minutes and refetched in between", "three", true)
		time.Sleep(4 * time.Minute)
		wants("missing for an hour", "three", false)
		// One that is back is as good as new.
		time.Sleep(5 * time.Minute)
		web.set(otherBase+"/keys", keySet("two", "one"))
		wants("back", "one", true)
		web.set(otherBase+"/keys", keySet("two"))
		time.Sleep(6 * time.Minute)
		wants("unknown", "none", false)
		time.Sleep(50 * time.Minute)
		wants("missing for 50 minutes after it was back", "one", true)
	})
}

func TestKeyThatIsReplacedIsGoneAtOnce(t *testing.T) {
	t.Parallel()
	now := time.Now()
	key := func(id, issuer string) publishedKey {
		k := publishedKey{issuer: issuer}
		k.KeyID, k.Key = id, id+issuer
		return k
	}
	for _, test := range []struct {
		name          string
		before, fresh publishedKey
		stays         bool
	}{
		{"the same name for the same issuer", key("a", "i"), key("a", "i"), false},
		{"the same name for all", key("a", ""), key("a", ""), false},
		{"one for all becomes one for an issuer", key("a", ""), key("a", "i"), false},
		{"the same name for another issuer", key("a", "i"), key("a", "j"), true},
		{"another name", key("a", "i"), key("b", "i"), true},
		{"without names", key("", ""), key("", ""), false},
	} {
		got := withLastGood([]publishedKey{test.fresh}, []publishedKey{test.before}, now)
		if want := map[bool]int{true: 2, false: 1}[test.stays]; len(got) != want || got[0].missing != (time.Time{}) {
			t.Errorf("%s: %d keys, want %d", test.name, len(got), want)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		a, web := plainProvider(t)
		old := signJWT(0, headerOf("one"), someClaims(otherBase))
		if _, err := a.verified(old); err != nil {
			t.Fatal(err)
		}
		web.set(otherBase+"/keys", map[string]any{"keys": []any{jwk(1, "one", ""), jwk(1, "two", "")}})
		if _, err := a.verified(signJWT(1, headerOf("two"), someClaims(otherBase))); err != nil {
			t.Fatal(err)
		}
		_, err := a.verified(old)
		wantFault(t, err, noKey)
	})
}

func TestLastGoodKeysAreBounded(t *testing.T) {
	t.Parallel()
	set := func(prefix string) (keys []publishedKey) {
		for i := range maxKeys {
			var k publishedKey
			k.KeyID = fmt.Sprint(prefix, i)
			keys = append(keys, k)
		}
		return keys
	}
	now := time.Now()
	if got := withLastGood(set("new")[:maxKeys-1], set("old"), now); len(got) != maxKeys || got[maxKeys-1].KeyID != "old0" {
		t.Errorf("%d keys, want %d with one old one", len(got), maxKeys)
	}
	if got := withLastGood(set("new"), set("old"), now); len(got) != maxKeys || got[maxKeys-1].KeyID != "new199" {
		t.Errorf("%d keys, want %d, all new", len(got), maxKeys)
	}
}

// Six days of Microsoft's own key set, fetched at each of its changes: a key that came
// back within the hour was usable all the time.
func TestFlappingKeySetOfMicrosoft(t *testing.T) {
	t.Parallel()
	history, err := os.ReadFile("testdata/flapping-keys.txt")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		a, web := plainProvider(t)
		start := time.Now()
		var first time.Time
		seen := map[string]time.Time{} // when a set last had this key
		lacked := map[string]time.Time{}
		back := 0
		for line := range bytes.Lines(history) {
			if line[0] == '#' {
				continue
			}
			fields := strings.Fields(string(line))
			at, err := time.Parse(time.RFC3339, fields[0])
			if err != nil {
				t.Fatal(err)
			}
			if first.IsZero() {
				first = at
			}
			time.Sleep(time.Until(start.Add(at.Sub(first))))
			web.set(otherBase+"/keys", keySet(fields[1:]...))
			keys, err := a.keys.await(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, id := range fields[1:] {
				if at, gone := lacked[id]; gone && time.Since(at) < time.Hour {
					back++
				}
				delete(lacked, id)
				seen[id] = time.Now()
			}
			for id := range seen {
				if !slices.Contains(fields[1:], id) && lacked[id].IsZero() {
					lacked[id] = time.Now()
				}
				want := lacked[id].IsZero() || time.Since(lacked[id]) < time.Hour
				if got := hasKey(keys, id); got != want {
					t.Errorf("%s: key %s usable %t, want %t", fields[0], id, got, want)
				}
			}
		}
		if len(seen) < 9 || back < 10 {
			t.Errorf("%d keys, %d of which came back within the hour: this is not that history", len(seen), back)
		}
	})
}
