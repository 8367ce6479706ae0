package seal_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"example.com/msauth/internal/seal"
)

var keyC = bytes.Repeat([]byte{9, 10, 11, 12}, 8)

func replace(t *testing.T, ring *seal.Keyring, keys ...[]byte) {
	t.Helper()
	if err := ring.Replace(keys); err != nil {
		t.Fatal(err)
	}
}

// What was derived before the keys of a ring are replaced seals and opens as what
// is derived from a new ring.
func TestReplacedKeysAreFollowed(t *testing.T) {
	t.Parallel()
	ring := keyring(t, keyA)
	keys, daily := ring.Derive("test v1"), ring.Daily("test v1")
	codec := seal.Codec{Keys: keys}
	box, text := keys.Seal([]byte("plain"), nil), daily.Seal([]byte("plain"), nil)

	replace(t, ring, keyB, keyA)
	if plain, old, err := keys.Open(bytes.Clone(box), nil); err != nil || !old || string(plain) != "plain" {
		t.Errorf("sealed with the key before: %q, old %t, error %v", plain, old, err)
	}
	if plain, err := daily.Open(text, nil); err != nil || string(plain) != "plain" {
		t.Errorf("sealed with the day's key before: %q, error %v", plain, err)
	}
	alone := keyring(t, keyB)
	if _, old, err := alone.Derive("test v1").Open(keys.Seal([]byte("plain"), nil), nil); err != nil || old {
		t.Errorf("the new first key does not seal: old %t, error %v", old, err)
	}
	if _, err := alone.Daily("test v1").Open(daily.Seal([]byte("plain"), nil), nil); err != nil {
		t.Errorf("the day's new first key does not seal: %v", err)
	}
	named, _ := codec.Encode("name", []byte("plain"))
	var plain []byte
	if err := (seal.Codec{Keys: alone.Derive("test v1")}).Decode("name", named, &plain); err != nil {
		t.Errorf("the codec does not follow: %v", err)
	}
	if got, want := ring.IDs(), keyring(t, keyB, keyA).IDs(); !slices.Equal(got, want) {
		t.Errorf("IDs %q, want %q", got, want)
	}

	replace(t, ring, keyB)
	if _, _, err := keys.Open(bytes.Clone(box), nil); err != seal.ErrNotSealed {
		t.Errorf("sealed with a dropped key: %v", err)
	}
	if _, err := daily.Open(text, nil); err != seal.ErrNotSealed {
		t.Errorf("sealed with the day's dropped key: %v", err)
	}
}

func TestKeysThatCannotReplace(t *testing.T) {
	t.Parallel()
	ring := keyring(t, keyA)
	keys := ring.Derive("test v1")
	for _, bad := range [][][]byte{nil, {keyB[:31]}, {keyB, make([]byte, 32)}} {
		if err := ring.Replace(bad); err == nil {
			t.Errorf("%d keys replace", len(bad))
		}
	}
	box := keys.Seal([]byte("plain"), nil)
	if _, _, err := keyring(t, keyA).Derive("test v1").Open(box, nil); err != nil {
		t.Errorf("after that: %v", err)
	}
	key := bytes.Clone(keyB)
	replace(t, ring, key)
	clear(key)
	if _, _, err := keyring(t, keyB).Derive("test v1").Open(keys.Seal(nil, nil), nil); err != nil {
		t.Errorf("after the app's key was cleared: %v", err)
	}
}

// A value that another server has sealed with a key that is new opens after a look.
func TestLookForWhatDoesNotOpen(t *testing.T) {
	t.Parallel()
	ring := keyring(t, keyA)
	keys, daily := ring.Derive("test v1"), ring.Daily("test v1")
	if keys.Again() {
		t.Error("a ring without Look says that it has looked")
	}
	looks := 0
	ring.Look = func() {
		looks++
		replace(t, ring, keyA, keyB)
	}
	for _, text := range []string{"", "=", "YWJj", daily.Seal([]byte("plain"), nil)} {
		_, _ = daily.Open(text, nil)
	}
	if looks != 0 {
		t.Errorf("%d looks for what opens or was never sealed", looks)
	}
	other := keyring(t, keyB)
	if plain, err := daily.Open(other.Daily("test v1").Seal([]byte("plain"), nil), nil); err != nil || string(plain) != "plain" || looks != 1 {
		t.Errorf("%q after %d looks, error %v", plain, looks, err)
	}
	if _, err := daily.Open(keyring(t, keyC).Daily("test v1").Seal([]byte("plain"), nil), nil); err != seal.ErrNotSealed || looks != 2 {
		t.Errorf("sealed elsewhere: error %v after %d looks", err, looks)
	}
	if !keys.Again() || looks != 3 {
		t.Errorf("%d looks", looks)
	}
}

// Values sealed at any time open at any time, as long as their key is there.
func TestReplaceWhileOthersSealAndOpen(t *testing.T) {
	t.Parallel()
	ring := keyring(t, keyA, keyB)
	keys, daily := ring.Derive("test v1"), ring.Daily("test v1")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if plain, _, err := keys.Open(keys.Seal([]byte("plain"), nil), nil); err != nil || string(plain) != "plain" {
					t.Errorf("%q, error %v", plain, err)
				}
				if plain, err := daily.Open(daily.Seal([]byte("plain"), nil), nil); err != nil || string(plain) != "plain" {
					t.Errorf("of the day: %q, error %v", plain, err)
				}
				if len(ring.IDs()) != 2 {
					t.Error("not two keys")
				}
			}
		})
	}
	for range 500 {
		replace(t, ring, keyB, keyA)
		replace(t, ring, keyA, keyB)
	}
	close(stop)
	wg.Wait()
}

func TestKeyringDoesNotPrint(t *testing.T) {
	t.Parallel()
	ring := keyring(t, keyA)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		if got := fmt.Sprintf(verb, ring); got != "seal.Keyring" {
			t.Errorf("%s prints %.40q", verb, got)
		}
	}
}

func TestParseKeys(t *testing.T) {
	t.Parallel()
	const (
		a = "AQIDBAECAwQBAgMEAQIDBAECAwQBAgMEAQIDBAECAwQ="
		b = "BQYHCAUGBwgFBgcIBQYHCAUGBwgFBgcIBQYHCAUGBwg="
		// Keys whose base64 has letters in which the alphabets differ.
		standard = "+/+/+/+/+/+/+/+/+/+/+/+/+/+/+/+/+/+/+/+/+/8="
		urlSafe  = "-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_8"
	)
	many := ""
	for i := range 33 {
		many += seal.Base64url.EncodeToString(append(bytes.Repeat([]byte{1}, 31), byte(i+2))) + "\n"
	}
	tests := []struct {
		name  string
		texts []string
		keys  int
		want  string // the error's text
	}{
		{"one", []string{a + "\n"}, 1, ""},
		{"no line feed at the end", []string{a + "\n" + b}, 2, ""},
		{"of Windows", []string{a + "\r\n" + b + "\r\n"}, 2, ""},
		{"spaces, comments, empty lines", []string{"# old\n\n  " + a + "\t\n   # new\n\n" + b + "\n\n"}, 2, ""},
		{"without padding", []string{strings.TrimRight(a, "=")}, 1, ""},
		{"the other alphabet", []string{urlSafe}, 1, ""},
		{"two texts", []string{a, b}, 2, ""},
		{"an empty one of two", []string{"", b}, 1, ""},
		{"32 keys", []string{many[:32*44]}, 32, ""},
		{"33 keys", []string{many}, 0, "line 33 is one key too many: at most 32 can be used"},
		{"nothing", []string{""}, 0, `there is no key: write one on a line, as "openssl rand -base64 32" prints it`},
		{"comments only", []string{"# none yet\n\n"}, 0, `there is no key: write one on a line, as "openssl rand -base64 32" prints it`},
		{"half a key", []string{a + "\n" + b[:20]}, 0, "line 2 has 15 bytes in base64: want 32 random bytes"},
		{"all but a letter", []string{a + "\n\n" + b[:42]}, 0, "line 3 has 31 bytes in base64: want 32 random bytes"},
		{"hexadecimal", []string{fmt.Sprintf("%x", keyA)}, 0, "line 1 has 48 bytes in base64: want 32 random bytes"},
		{"33 bytes", []string{seal.Base64url.EncodeToString(append(bytes.Clone(keyA), 1))}, 0, "line 1 has 33 bytes in base64: want 32 random bytes"},
		{"bits after the last byte", []string{a[:42] + "R="}, 0, "line 1 is not base64"},
		{"two on a line", []string{a + " " + b}, 0, "line 1 is not base64"},
		{"a carriage return within", []string{a[:8] + "\r" + a[8:]}, 0, "line 1 is not base64"},
		{"padded too much", []string{a + "="}, 0, "line 1 is not base64"},
		{"zeros", []string{a + "\n" + strings.Repeat("A", 43)}, 0, "line 2 is the same byte 32 times: want 32 random bytes"},
		{"twice", []string{a + "\n" + b + "\n" + a}, 0, "line 3 is the same key as line 1"},
		{"twice, in both alphabets", []string{standard + "\n" + urlSafe}, 0, "line 2 is the same key as line 1"},
		{"twice, in two texts", []string{b + "\n" + a, "\n" + a}, 0, "line 2 of two is the same key as line 2 of one"},
		{"bytes in place of text", []string{a + "\n" + string(keyB)}, 0, "line 2 is not base64"},
		{"bad in the second text", []string{a, b[:4]}, 0, "line 1 of two has 3 bytes in base64: want 32 random bytes"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var texts [][]byte
			for _, text := range test.texts {
				texts = append(texts, []byte(text))
			}
			keys, err := seal.ParseKeys([]string{"one", "two"}, texts)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != test.want || len(keys) != test.keys {
				t.Errorf("%d keys and %q, want %d and %q", len(keys), got, test.keys, test.want)
			}
		})
	}
	keys, err := seal.ParseKeys([]string{"one", "two"}, [][]byte{[]byte(b), []byte("#\n" + a)})
	if err != nil || len(keys) != 2 || !bytes.Equal(keys[0], keyB) || !bytes.Equal(keys[1], keyA) {
		t.Errorf("keys in another order: %x, error %v", keys, err)
	}
}

// An error shows nothing of a key, whatever is wrong with it.
func FuzzParseKeys(f *testing.F) {
	f.Add("AQIDBAECAwQBAgMEAQIDBAECAwQBAgMEAQIDBAECAwQ=", "\n#\r\n")
	f.Add("-_8=", "==")
	f.Fuzz(func(t *testing.T, one, other string) {
		keys, err := seal.ParseKeys([]string{"a", "b"}, [][]byte{[]byte(one), []byte(other)})
		if (err == nil) != (len(keys) > 0) {
			t.Fatalf("%d keys, error %v", len(keys), err)
		}
		if err == nil {
			if _, err := seal.NewKeyring(keys); err != nil {
				t.Fatal(err)
			}
			return
		}
		for line := range strings.SplitSeq(one+"\n"+other, "\n") {
			if line = strings.TrimSpace(line); len(line) > 12 && strings.Contains(err.Error(), line) && !strings.Contains("want 32 random bytes in base64 the same key as line", line) {
				t.Errorf("%v", err)
			}
		}
	})
}
