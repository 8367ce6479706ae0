package seal_test

import (
	"maps"
	"strings"
	"testing"

	"example.com/msauth/internal/seal"
)

func TestCodec(t *testing.T) {
	t.Parallel()
	codec := seal.Codec{Keys: keyring(t, keyB, keyA).Derive("test v1")}
	long := strings.Repeat("long", 5000) // securecookie's own would refuse it
	for _, plain := range []string{"", "plain", long} {
		text, err := codec.Encode("name", []byte(plain))
		if err != nil {
			t.Fatal(err)
		}
		if want := seal.Base64url.EncodedLen(len(plain) + seal.SealOverhead); len(text) != want {
			t.Errorf("%d bytes take %d characters, want %d", len(plain), len(text), want)
		}
		var got []byte
		if err := codec.Decode("name", text, &got); err != nil || string(got) != plain {
			t.Errorf("%.9q comes back as %.9q, error %v", plain, got, err)
		}
	}
	values := map[any]any{"user": "ada", "visits": 3}
	text, err := codec.Encode("name", values)
	if err != nil {
		t.Fatal(err)
	}
	var got map[any]any
	if err := codec.Decode("name", text, &got); err != nil || !maps.Equal(got, values) {
		t.Errorf("%v comes back as %v, error %v", values, got, err)
	}
	if _, err := codec.Encode("name", func() {}); err == nil {
		t.Error("a function can be encoded")
	}
}

// A value opens under its name and with its keys only, and only as the text
// that Encode has returned.
func TestCodecRefuses(t *testing.T) {
	t.Parallel()
	codec := seal.Codec{Keys: keyring(t, keyA).Derive("test v1")}
	text, err := codec.Encode("name", []byte("plain"))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		codec  seal.Codec
		under  string
		text   string
		refuse bool
	}{
		{"the same", codec, "name", text, false},
		{"another name", codec, "other", text, true},
		{"no name", codec, "", text, true},
		{"another key", seal.Codec{Keys: keyring(t, keyB).Derive("test v1")}, "name", text, true},
		{"another purpose", seal.Codec{Keys: keyring(t, keyA).Derive("test v2")}, "name", text, true},
		{"nothing", codec, "name", "", true},
		{"cut off", codec, "name", text[:len(text)-4], true},
		{"not base64url", codec, "name", "!" + text[1:], true},
		{"padded", codec, "name", text + "=", true},
		{"with a line break", codec, "name", text[:8] + "\r\n" + text[8:], true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := []byte("untouched")
			err := test.codec.Decode(test.under, test.text, &got)
			if test.refuse && (err != seal.ErrNotSealed || string(got) != "untouched") {
				t.Errorf("%q, error %v, want %v", got, err, seal.ErrNotSealed)
			}
			if !test.refuse && (err != nil || string(got) != "plain") {
				t.Errorf("%q, error %v", got, err)
			}
		})
	}
}

// What earlier versions have sealed, in cookies and stores, must open.
func TestCodecOpensEarlierVersions(t *testing.T) {
	t.Parallel()
	codec := seal.Codec{Keys: keyring(t, keyA, keyB).Derive("test v1")}
	var plain []byte
	if err := codec.Decode("cookie", "MQfISw_M7FebBMc18MZoeITAJ-HgBSnPO62_vwcIFAeS", &plain); err != nil || string(plain) != "plain" {
		t.Errorf("bytes: %q, error %v", plain, err)
	}
	var values map[string]int
	if err := codec.Decode("cookie", "mgfYPzjvDauOORGIAesMs2nGbtu4VKMRsG8B1GujlI2qQoPycU3mGzJ8buWBpu2BMY4", &values); err != nil || values["a"] != 1 {
		t.Errorf("gob: %v, error %v", values, err)
	}
	var unfit chan int
	if err := codec.Decode("cookie", "MQfISw_M7FebBMc18MZoeITAJ-HgBSnPO62_vwcIFAeS", &unfit); err == nil || err == seal.ErrNotSealed {
		t.Errorf("bytes into a channel: %v, want an error of encoding/gob", err)
	}
}
