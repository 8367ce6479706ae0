package seal_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth/internal/seal"
)

// In a synctest bubble it is midnight UTC, 1 January 2000.
func TestDailyKeysOpenForTwoDays(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	tests := []struct {
		name   string
		sealed time.Duration // after midnight
		opened time.Duration // after that
		want   error
	}{
		{"at once", 0, 0, nil},
		{"the last moment of the day", day - 1, 0, nil},
		{"the next day", day - 1, 1, nil},
		{"the end of the next day", 0, 2*day - 1, nil},
		{"the day after", 0, 2 * day, seal.ErrNotSealed},
		{"a day and a moment, over two midnights", day - 1, day + 1, seal.ErrNotSealed},
		{"much later", 0, 100 * day, seal.ErrNotSealed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ring := keyring(t, keyA)
				keys := ring.Daily("test v1")
				time.Sleep(test.sealed)
				text := keys.Seal([]byte("plain"), []byte("whose"))
				time.Sleep(test.opened)
				// On the server that sealed it, and on one that has just started.
				for _, keys := range []*seal.DailyKeys{keys, ring.Daily("test v1")} {
					plain, err := keys.Open(text, []byte("whose"))
					if err != test.want || (err == nil) != (string(plain) == "plain") {
						t.Errorf("opens as %q, error %v, want %v", plain, err, test.want)
					}
				}
			})
		})
	}
}

func TestWhatDailyKeysOpen(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		opener  *seal.DailyKeys
		forWhom string
		alter   func(text string) string
		want    error
	}{
		{"the same", keyring(t, keyA).Daily("test v1"), "whose", nil, nil},
		{"a new key before it", keyring(t, keyB, keyA).Daily("test v1"), "whose", nil, nil},
		{"another key", keyring(t, keyB).Daily("test v1"), "whose", nil, seal.ErrNotSealed},
		{"another purpose", keyring(t, keyA).Daily("test v2"), "whose", nil, seal.ErrNotSealed},
		{"for somebody else", keyring(t, keyA).Daily("test v1"), "else", nil, seal.ErrNotSealed},
		{"nothing", keyring(t, keyA).Daily("test v1"), "whose", func(string) string { return "" }, seal.ErrNotSealed},
		{"not base64url", keyring(t, keyA).Daily("test v1"), "whose", func(s string) string { return "=" + s }, seal.ErrNotSealed},
		{"with a line break", keyring(t, keyA).Daily("test v1"), "whose", func(s string) string { return s + "\n" }, seal.ErrNotSealed},
		{"cut off", keyring(t, keyA).Daily("test v1"), "whose", func(s string) string { return s[:len(s)-4] }, seal.ErrNotSealed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			text := keyring(t, keyA).Daily("test v1").Seal([]byte("plain"), []byte("whose"))
			if test.alter != nil {
				text = test.alter(text)
			}
			plain, err := test.opener.Open(text, []byte(test.forWhom))
			if err != test.want || (err == nil) != (string(plain) == "plain") {
				t.Errorf("opens as %q, error %v, want %v", plain, err, test.want)
			}
		})
	}
}

// The keys of a purpose and those of one of its days differ.
func TestDailyKeysAreNotThoseOfThePurpose(t *testing.T) {
	t.Parallel()
	ring := keyring(t, keyA)
	box, err := seal.DecodeText(ring.Daily("test v1").Seal([]byte("plain"), nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := ring.Derive("test v1").Open(box, nil); err != seal.ErrNotSealed {
		t.Errorf("opens with the keys of the purpose: %v", err)
	}
}

// Attempts and links from earlier versions must open.
func TestDailyKeysOpenEarlierVersions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		keys := keyring(t, keyA, keyB).Daily("test v1")
		plain, err := keys.Open("bZgXY7lFpRy-cWJTO9q63gZjIaOPwxCzWIhOUwPa3b9f", []byte("whose"))
		if err != nil || string(plain) != "plain" {
			t.Errorf("opens as %q, error %v", plain, err)
		}
	})
}

func TestDailyKeysConcurrently(t *testing.T) {
	t.Parallel()
	keys := keyring(t, keyA, keyB).Daily("test v1")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if plain, err := keys.Open(keys.Seal([]byte("plain"), nil), nil); err != nil || string(plain) != "plain" {
					t.Errorf("opens as %q, error %v", plain, err)
				}
			}
		})
	}
	wg.Wait()
}
