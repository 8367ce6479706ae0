package graph_test

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"

	"example.com/msauth/graph"
)

// Inputs and results of the tests of rclone (backend/onedrive/quickxorhash).
var quickXorVectors = []struct{ input, want string }{
	{"", "AAAAAAAAAAAAAAAAAAAAAAAAAAA="},
	{"Sg==", "SgAAAAAAAAAAAAAAAQAAAAAAAAA="},
	{"tbQ=", "taAFAAAAAAAAAAAAAgAAAAAAAAA="},
	{"0pZP", "0rDEEwAAAAAAAAAAAwAAAAAAAAA="},
	{"jRRDVA==", "jaDAEKgAAAAAAAAABAAAAAAAAAA="},
	{"/aNzzCFPS/A=", "/RjFHJgRgicsAR4ACAAAAAAAAAA="},
	{"2fuxhBJXtpWFe8dOfdGeHw==", "O9tHLAghgSvYohKFyMMxnNCHaHg="},
	{"T6LYJIfDh81JrAK309H2JMJTXis=", "zBTHrspn3mEcohlJdIUAbjGNaNg="},
	{"DWAAX5/CIfrmErgZa8ot6ZraeSbu", "LR2Z0PjuRYGKQB/mhQAuMrAGZbQ="},
	{"Mb7EGva2rEE5fENDL85P+BsapHEEjv2/siVhKjvAQe02feExVOQSkfmuYzU/kTF1MaKjPmKF/w+cbvwfdWL8aQ==", "n1anP5NfvD4XDYWIeRPW3ZkPv1Y="},
	{"PfxMcUd0vIW6VbHG/uj/Y0W6qEoKmyBD0nYebEKazKaKG+UaDqBEcmQjbfQeVnVLuodMoPp7P7TR1htX5n2VnkHh22xDyoJ8C/ZQKiSNqQfXvh83judf4RVr9exJCud8Uvgip6aVZTaPrJHVjQhMCp/dEnGvqg0oN5OVkM2qqAXvA0teKUDhgNM71sDBVBCGXxNOR2bpbD1iM4dnuT0ey4L+loXEHTL0fqMeUcEi2asgImnlNakwenDzz0x57aBwyq3AspCFGB1ncX4yYCr/OaCcS5OKi/00WH+wNQU3", "QX/YEpG0gDsmhEpCdWhsxDzsfVE="},
	{"qwGf2ESubE5jOUHHyc94ORczFYYbc2OmEzo+hBIyzJiNwAzC8PvJqtTzwkWkSslgHFGWQZR2BV5+uYTrYT7HVwRM40vqfj0dBgeDENyTenIOL1LHkjtDKoXEnQ0mXAHoJ8PjbNC93zi5TovVRXTNzfGEs5dpWVqxUzb5lc7dwkyvOluBw482mQ4xrzYyIY1t+//OrNi1ObGXuUw2jBQOFfJVj2Y6BOyYmfB1y36eBxi3zxeG5d5NYjm2GSh6e08QMAwu3zrINcqIzLOuNIiGXBtl7DjKt7b5wqi4oFiRpZsCyx2smhSrdrtK/CkdU6nDN+34vSR/M8rZpWQdBE7a8g==", "WYT9JY3JIo/pEBp+tIM6Gt2nyTM="},
}

func TestQuickXorHash(t *testing.T) {
	t.Parallel()
	for _, v := range quickXorVectors {
		input, err := base64.StdEncoding.DecodeString(v.input)
		if err != nil {
			t.Fatal(err)
		}
		h := graph.NewQuickXorHash()
		for part := 1; part <= 7; part++ { // whatever it is given at once
			h.Reset()
			for rest := input; len(rest) > 0; {
				n, _ := h.Write(rest[:min(part, len(rest))])
				rest = rest[n:]
			}
			h.Sum(nil) // does not change it
			if got := base64.StdEncoding.EncodeToString(h.Sum(nil)); got != v.want {
				t.Errorf("%d bytes, %d at once: %s, want %s", len(input), part, got, v.want)
			}
		}
	}
	if h := graph.NewQuickXorHash(); h.Size() != 20 || !bytes.Equal(h.Sum([]byte("ab")), append([]byte("ab"), make([]byte, 20)...)) {
		t.Errorf("an empty hash of %d bytes is %x", h.Size(), h.Sum([]byte("ab")))
	}
}

// The hash of many bytes is what the definition says, bit by bit.
func TestQuickXorHashOfMuch(t *testing.T) {
	t.Parallel()
	for _, n := range []int{159, 160, 161, 320, 10_000, 327_680} {
		input := content(n)
		var ring [20]byte
		for i, b := range input {
			for bit := range 8 {
				at := (i*11 + bit) % 160
				ring[at/8] ^= b >> bit & 1 << (at % 8)
			}
		}
		for i := range 8 {
			ring[12+i] ^= byte(uint64(n) >> (8 * i))
		}
		if got, want := quickXor(input), base64.StdEncoding.EncodeToString(ring[:]); got != want {
			t.Errorf("%d bytes: %s, want %s", n, got, want)
		}
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	hashes := func(h graph.Hashes) graph.DriveItem {
		return graph.DriveItem{Name: "a", Size: 5, File: &graph.File{Hashes: &h}}
	}
	for _, test := range []struct {
		name string
		item graph.DriveItem
		want string // of the error
	}{
		{"QuickXorHash", hashes(graph.Hashes{QuickXor: quickXor([]byte("hello"))}), ""},
		{"SHA-1", hashes(graph.Hashes{SHA1: "AAF4C61DDCC5E8A2DABEDE0F3B482CD9AEA9434D"}), ""},
		{"SHA-256", hashes(graph.Hashes{SHA256: "2CF24DBA5FB0A30E26E83B2AC5B9E29E1B161E5C1FA7425E73043362938B9824"}), ""},
		{"another QuickXorHash", hashes(graph.Hashes{QuickXor: quickXor([]byte("hellp"))}), graph.ErrCorrupt.Error()},
		{"another SHA-1", hashes(graph.Hashes{SHA1: strings.Repeat("0", 40)}), graph.ErrCorrupt.Error()},
		{"another SHA-256", hashes(graph.Hashes{SHA256: strings.Repeat("0", 64)}), graph.ErrCorrupt.Error()},
		{"the first one is used", hashes(graph.Hashes{QuickXor: quickXor([]byte("hello")), SHA1: strings.Repeat("0", 40)}), ""},
		{"one that cannot be read is none", hashes(graph.Hashes{QuickXor: "hex it was once", SHA1: "AAF4C61DDCC5E8A2DABEDE0F3B482CD9AEA9434D"}), ""},
		{"none", hashes(graph.Hashes{}), `graph: item "a" has no hash`},
		{"a folder", graph.DriveItem{Name: "a"}, `graph: item "a" is not a file`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := ""
			if err := graph.Verify(test.item, strings.NewReader("hello")); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
	short := hashes(graph.Hashes{QuickXor: quickXor([]byte("hello"))})
	short.Size = 4
	if err := graph.Verify(short, strings.NewReader("hello")); err != graph.ErrCorrupt {
		t.Errorf("of another size: %v", err)
	}
}

func BenchmarkQuickXorHash(b *testing.B) {
	h, buf := graph.NewQuickXorHash(), content(1<<20)
	b.SetBytes(1 << 20)
	for b.Loop() {
		h.Write(buf)
	}
}
