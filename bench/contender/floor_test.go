package contender

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/ascii85"
	"encoding/base64"
	"testing"

	"github.com/cloudwego/base64x"
	simd "github.com/segmentio/asm/base64"
	"golang.org/x/crypto/chacha20poly1305"
)

// The sizes of F1: what is sealed, and how much of it is the head.
const (
	sealedBytes = 1950
	headBytes   = 210
)

// BenchmarkSeal opens a cookie's bytes, as they are today and otherwise:
//
//	GOWORK=off go test -run '^$' -bench 'Seal|Text' ./contender
func BenchmarkSeal(b *testing.B) {
	gcm := func(keyBytes int) cipher.AEAD {
		block, err := aes.NewCipher(make([]byte, keyBytes))
		if err != nil {
			b.Fatal(err)
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			b.Fatal(err)
		}
		return aead
	}
	chacha, err := chacha20poly1305.New(make([]byte, chacha20poly1305.KeySize))
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name              string
		aead              cipher.AEAD
		sealed, alongside int // bytes that are decrypted, and that are authenticated only
	}{
		{"AES-256-GCM, whole", gcm(32), sealedBytes, 0},
		{"AES-256-GCM, head, rest as text", gcm(32), headBytes, base64.RawURLEncoding.EncodedLen(sealedBytes - headBytes)},
		{"AES-256-GCM, head alone", gcm(32), headBytes, 0},
		{"AES-128-GCM, whole", gcm(16), sealedBytes, 0},
		{"ChaCha20-Poly1305, whole", chacha, sealedBytes, 0},
	} {
		b.Run(c.name, func(b *testing.B) {
			nonce := make([]byte, c.aead.NonceSize())
			additional := make([]byte, c.alongside)
			box := c.aead.Seal(nil, nonce, make([]byte, c.sealed), additional)
			buffer := make([]byte, len(box))
			b.ReportAllocs()
			for b.Loop() {
				copy(buffer, box)
				if _, err := c.aead.Open(buffer[:0], nonce, buffer, additional); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkText decodes the text of a cookie's value, and encodes it. The metric
// is how many characters there are for the same bytes.
func BenchmarkText(b *testing.B) {
	raw := make([]byte, sealedBytes)
	rand.Read(raw)
	for _, c := range []struct {
		name   string
		encode func(dst, src []byte) int
		decode func(dst, src []byte) (int, error)
	}{
		{
			"base64, encoding/base64",
			func(dst, src []byte) int {
				base64.RawURLEncoding.Encode(dst, src)
				return base64.RawURLEncoding.EncodedLen(len(src))
			},
			base64.RawURLEncoding.Strict().Decode,
		},
		{
			"base64, segmentio",
			func(dst, src []byte) int {
				simd.RawURLEncoding.Encode(dst, src)
				return simd.RawURLEncoding.EncodedLen(len(src))
			},
			simd.RawURLEncoding.Decode,
		},
		{
			"base64, cloudwego",
			func(dst, src []byte) int {
				base64x.RawURLEncoding.Encode(dst, src)
				return base64x.RawURLEncoding.EncodedLen(len(src))
			},
			base64x.RawURLEncoding.Decode,
		},
		{ // its alphabet has characters that cookies may not have; another one costs the same
			"base85, encoding/ascii85",
			ascii85.Encode,
			func(dst, src []byte) (int, error) { n, _, err := ascii85.Decode(dst, src, true); return n, err },
		},
	} {
		text := make([]byte, 2*len(raw))
		text = text[:c.encode(text, raw)]
		dst := make([]byte, 2*len(raw))
		b.Run("decode/"+c.name, func(b *testing.B) {
			for b.Loop() {
				if n, err := c.decode(dst, text); err != nil || n != len(raw) {
					b.Fatal(n, err)
				}
			}
			b.ReportMetric(float64(len(text)), "characters")
		})
		b.Run("encode/"+c.name, func(b *testing.B) {
			for b.Loop() {
				c.encode(dst, raw)
			}
		})
	}
}
