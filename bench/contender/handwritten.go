package contender

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"example.com/msauth/bench/fixture"
)

// NewHandWritten is what one writes in an afternoon: JSON, AES-GCM, base64url,
// split over as many cookies as it takes.
func NewHandWritten(a *fixture.Account) (*Contender, error) {
	const name, piece = "session", 3900
	key := make([]byte, 32)
	rand.Read(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	session := newState(a)
	read := func(r *http.Request) (*state, error) {
		var text strings.Builder
		for i := 0; ; i++ {
			cookie, err := r.Cookie(name + "-" + strconv.Itoa(i))
			if err != nil {
				break
			}
			text.WriteString(cookie.Value)
		}
		box, err := base64.RawURLEncoding.DecodeString(text.String())
		if err != nil || len(box) < gcm.NonceSize() {
			return nil, errors.New("malformed")
		}
		plain, err := gcm.Open(nil, box[:gcm.NonceSize()], box[gcm.NonceSize():], []byte(name))
		if err != nil {
			return nil, err
		}
		var s state
		if err := json.Unmarshal(plain, &s); err != nil {
			return nil, err
		}
		if !s.current() {
			return nil, errors.New("expired")
		}
		return &s, nil
	}
	c := fromState("hand-written: JSON, AES-GCM, base64url, split", read)
	c.Save = func(w http.ResponseWriter, _ *http.Request) error {
		plain, err := json.Marshal(session)
		if err != nil {
			return err
		}
		nonce := make([]byte, gcm.NonceSize())
		rand.Read(nonce)
		text := base64.RawURLEncoding.EncodeToString(gcm.Seal(nonce, nonce, plain, []byte(name)))
		for i := 0; len(text) > 0; i++ {
			n := min(piece, len(text))
			http.SetCookie(w, &http.Cookie{
				Name: fmt.Sprintf("%s-%d", name, i), Value: text[:n], Path: "/", MaxAge: 604800,
				Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
			})
			text = text[n:]
		}
		return nil
	}
	return c, c.save(a, c.Request())
}

// fromState is for those that read the whole session whatever is wanted of it.
func fromState(name string, read func(*http.Request) (*state, error)) *Contender {
	identity := func(r *http.Request) (string, error) {
		s, err := read(r)
		if err != nil {
			return "", err
		}
		return s.name(), nil
	}
	token := func(r *http.Request) (string, error) {
		s, err := read(r)
		if err != nil {
			return "", err
		}
		return s.Access, nil
	}
	return &Contender{Name: name, Identity: identity, Token: token, Protect: protect(identity), Close: func() {}}
}
