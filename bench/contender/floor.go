package contender

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"sync"
)

// NewFloor is the least that a cookie of as many bytes costs: it is found in
// the header, decoded and opened in place, in memory that is used again. What
// is in it nobody reads.
func NewFloor(like *Contender) *Contender {
	name, value, _ := strings.Cut(like.Cookies[0], "=")
	block, _ := aes.NewCipher(make([]byte, 32))
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	plain := make([]byte, base64.RawURLEncoding.DecodedLen(len(value)-1)-28)
	box := gcm.Seal(nil, nil, plain, []byte(name))
	c := &Contender{
		Name:    "floor: scan, decode, open",
		Close:   func() {},
		Cookies: []string{name + "=1" + base64.RawURLEncoding.EncodeToString(box)},
	}
	buffers := sync.Pool{New: func() any { b := make([]byte, 16<<10); return &b }}
	prefix, additional := name+"=1", []byte(name)
	read := func(r *http.Request) (string, error) {
		text := find(r.Header["Cookie"], prefix)
		if text == "" {
			return "", http.ErrNoCookie
		}
		buffer := buffers.Get().(*[]byte)
		defer buffers.Put(buffer)
		n, err := base64.RawURLEncoding.Decode(*buffer, []byte(text))
		if err != nil {
			return "", err
		}
		box := (*buffer)[:n]
		plain, err := gcm.Open(box[:0], nil, box, additional)
		if err != nil || len(plain) == 0 {
			return "", errors.New("does not open")
		}
		return "somebody", nil
	}
	c.Identity, c.Token, c.Protect = read, read, protect(read)
	return c
}

// find is the rest of the first cookie that begins with prefix.
func find(lines []string, prefix string) string {
	for _, line := range lines {
		for len(line) > 0 {
			var part string
			part, line, _ = strings.Cut(line, ";")
			if text, ours := strings.CutPrefix(strings.Trim(part, " \t"), prefix); ours {
				return text
			}
		}
	}
	return ""
}

// NewBare is a handler that takes no notice of the same cookies.
func NewBare(like *Contender) *Contender {
	nobody := func(*http.Request) (string, error) { return "somebody", nil }
	return &Contender{
		Name: "bare handler, same Cookie header", Cookies: like.Cookies,
		Identity: nobody, Token: nobody,
		Protect: func(next http.Handler) http.Handler { return next },
		Close:   func() {},
	}
}

// NewNothing is a handler for requests without any cookie.
func NewNothing() *Contender {
	c := NewBare(&Contender{})
	c.Name = "bare handler, no cookie"
	return c
}
