package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
)

const (
	cookieName  = "digests"
	sessionLife = 30 * 24 * time.Hour

	maxName     = 40 // characters
	minPassword = 12 // characters
	maxPassword = 1024
)

// A person is one of this site's users.
type person struct {
	ID    int64
	Name  string
	Admin bool
}

// key is the user key for msauth. It is not the name, because after a user is
// deleted another may take the name.
func (p *person) key() string { return strconv.FormatInt(p.ID, 10) }

type personKey struct{}

// personIn returns who is signed in, or nil.
func personIn(ctx context.Context) *person {
	p, _ := ctx.Value(personKey{}).(*person)
	return p
}

// identify adds who is signed in to the context of requests.
func (a *app) identify(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, err := a.personOf(r)
		if err != nil {
			a.page(func(http.ResponseWriter, *http.Request) error { return err }).ServeHTTP(w, r)
			return
		}
		if p != nil {
			r = r.WithContext(context.WithValue(r.Context(), personKey{}, p))
		}
		w.Header().Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

func (a *app) personOf(r *http.Request) (*person, error) {
	c, err := r.Cookie(a.cookie("", 0).Name)
	if err != nil {
		return nil, nil
	}
	var p person
	err = a.db.QueryRowContext(r.Context(), `SELECT users.id, users.name, users.admin FROM sessions JOIN users ON users.id = sessions.user
		WHERE sessions.id = ? AND sessions.ends > ?`, sessionID(c.Value), time.Now().UnixMilli()).Scan(&p.ID, &p.Name, &p.Admin)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, ofDatabase(err)
	}
	return &p, nil
}

// sessionID returns the ID that a session is stored under. It is a hash, so that
// the database is of no use to sign in.
func sessionID(value string) []byte {
	sum := sha256.Sum256([]byte(value))
	return sum[:]
}

// begin begins a session and returns the value of its cookie. It ends the session
// before, whose ID others may know (session fixation).
func (a *app) begin(r *http.Request, tx *sql.Tx, user int64) (value string, err error) {
	if err := a.end(r, tx); err != nil {
		return "", err
	}
	value = rand.Text()
	_, err = tx.ExecContext(r.Context(), `INSERT INTO sessions (id, user, ends) VALUES (?, ?, ?)`,
		sessionID(value), user, time.Now().Add(sessionLife).UnixMilli())
	return value, ofDatabase(err)
}

// end ends the session of the request, if any.
func (a *app) end(r *http.Request, tx *sql.Tx) error {
	c, err := r.Cookie(a.cookie("", 0).Name)
	if err != nil {
		return nil
	}
	_, err = tx.ExecContext(r.Context(), `DELETE FROM sessions WHERE id = ?`, sessionID(c.Value))
	return ofDatabase(err)
}

// cookie returns the cookie of a session. SameSite is Lax, not Strict, because users
// must still be signed in when they return from Microsoft. Over plain http it is
// not Secure, because Safari does not store Secure cookies of localhost.
func (a *app) cookie(value string, maxAge int) *http.Cookie {
	c := &http.Cookie{Name: "__Host-" + cookieName, Value: value, Path: "/", MaxAge: maxAge, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode}
	if strings.HasPrefix(a.set.Auth.BaseURL, "http:") {
		c.Name, c.Secure = cookieName, false
	}
	return c
}

// errTaken means that another user has the name.
var errTaken = errors.New("the name is taken")

// create creates a user with the hash of a password. The first one is the
// administrator.
func create(ctx context.Context, tx *sql.Tx, name, hash string) (id int64, err error) {
	err = tx.QueryRowContext(ctx, `INSERT INTO users (name, password, created, admin)
		SELECT ?, ?, ?, NOT EXISTS (SELECT 1 FROM users) WHERE true ON CONFLICT DO NOTHING RETURNING id`,
		name, hash, time.Now().UnixMilli()).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, errTaken
	}
	return id, ofDatabase(err)
}

// errWrong means that the name or the password is wrong.
var errWrong = errors.New("wrong name or password")

// check returns the user with a name and password. It takes as long if no user has
// the name.
func (a *app) check(ctx context.Context, name, password string) (id int64, err error) {
	var hash string
	err = a.db.QueryRowContext(ctx, `SELECT id, password FROM users WHERE name = ?`, name).Scan(&id, &hash)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		if _, err := hashPassword(ctx, password); err != nil {
			return 0, err
		}
		return 0, errWrong
	case err != nil:
		return 0, ofDatabase(err)
	}
	ok, err := verifyPassword(ctx, hash, password)
	if err != nil {
		return 0, err
	}
	if !ok {
		return 0, errWrong
	}
	return id, nil
}

// complaint returns what is wrong with a new user's name or password, and the field
// that it is about. Both are empty if nothing is wrong.
func complaint(name, password string) (field, text string) {
	switch n := utf8.RuneCountInString(name); {
	case n == 0:
		return "name", "Please choose a name."
	case n > maxName:
		return "name", fmt.Sprintf("Please choose a name of at most %d characters.", maxName)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsGraphic(r) }):
		return "name", "Please choose a name without control characters."
	}
	switch n := utf8.RuneCountInString(password); {
	case n < minPassword:
		return "password", fmt.Sprintf("Please choose a password of at least %d characters: three or four words are enough.", minPassword)
	case len(password) > maxPassword:
		return "password", "Please choose a shorter password."
	}
	return "", ""
}

// A cost is the cost of a password hash.
type cost struct {
	kib, passes uint32
	threads     uint8
}

// The minimum for Argon2id in OWASP's Password Storage Cheat Sheet.
var passwordCost = cost{kib: 19 << 10, passes: 2, threads: 1}

// hashing limits how many passwords are hashed, and the memory used, at a time.
var hashing = make(chan struct{}, 4)

func (c cost) hash(ctx context.Context, password string, salt []byte) ([]byte, error) {
	select {
	case hashing <- struct{}{}:
		defer func() { <-hashing }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return argon2.IDKey([]byte(password), salt, c.passes, c.kib, c.threads, 32), nil
}

// hashPassword returns a password's hash and its cost, so that the cost can be
// raised later.
func hashPassword(ctx context.Context, password string) (string, error) {
	var salt [16]byte
	rand.Read(salt[:])
	hash, err := passwordCost.hash(ctx, password, salt[:])
	if err != nil {
		return "", err
	}
	encode := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version,
		passwordCost.kib, passwordCost.passes, passwordCost.threads, encode(salt[:]), encode(hash)), nil
}

func verifyPassword(ctx context.Context, kept, password string) (bool, error) {
	parts := strings.Split(kept, "$")
	if len(parts) != 6 {
		return false, errors.New("malformed password hash in the database")
	}
	var c cost
	_, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &c.kib, &c.passes, &c.threads)
	salt, err1 := base64.RawStdEncoding.DecodeString(parts[4])
	want, err2 := base64.RawStdEncoding.DecodeString(parts[5])
	if err := errors.Join(err, err1, err2); err != nil {
		return false, errors.New("malformed password hash in the database")
	}
	got, err := c.hash(ctx, password, salt)
	return err == nil && subtle.ConstantTimeCompare(got, want) == 1, err
}
