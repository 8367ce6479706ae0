package credential

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"example.com/msauth/internal/reload"
	"example.com/msauth/internal/seal"
)

// maxAssertion limits an assertion, in bytes: more would not be accepted anywhere.
const maxAssertion = 64 << 10

// token is an assertion that somebody else has signed, as it is in a file.
type token struct {
	text  func() seal.Secret
	until time.Time // zero if the token does not say
	name  string
}

// TokenFile returns a source that reads an assertion from a file. What puts it
// there replaces it before it ends.
func TokenFile(path string) (Source, error) {
	if signedToken.MatchString(path) { // an error about the path would show it
		return nil, errors.New("is a token, where the path of a file with one is wanted")
	}
	return reload.Open(func(contents [][]byte) (Credential, error) {
		text := string(bytes.TrimSpace(contents[0]))
		until, err := checkAssertion(text)
		if err != nil {
			return nil, err
		}
		return token{seal.Hide(text), until, "federated token in " + path}, nil
	}, path)
}

func (t token) Prove(context.Context, Recipient) (Proof, error) {
	return Proof{Assertion: t.text()}, nil
}

func (t token) Valid() (from, until time.Time) { return from, t.until }
func (t token) Expires() bool                  { return false }
func (t token) Name() string                   { return t.name }

// asked is an assertion that a function of the app gets from elsewhere.
type asked struct {
	get  func(ctx context.Context, audience string) (string, error)
	name string
}

// NewAsked returns a credential that calls get for each token request. name describes
// where it comes from.
func NewAsked(get func(ctx context.Context, audience string) (string, error), name string) (Credential, error) {
	if get == nil {
		return nil, errors.New("has no function")
	}
	return asked{get, name}, nil
}

func (a asked) Prove(ctx context.Context, to Recipient) (Proof, error) {
	text, err := a.get(ctx, to.Exchange)
	if err != nil {
		return Proof{}, tokenless{err}
	}
	text = strings.TrimSpace(text) // as in a file
	until, err := checkAssertion(text)
	if err != nil {
		return Proof{}, fmt.Errorf("the text that the function returned %w", err)
	}
	if !until.IsZero() && !time.Now().Before(until) {
		return Proof{}, fmt.Errorf("the token that the function returned ended at %s", until.UTC().Format(time.RFC3339))
	}
	return Proof{Assertion: seal.Secret(text)}, nil
}

// tokenless is an error of the app's whose text shows no token.
type tokenless struct{ error }

var signedToken = regexp.MustCompile(`eyJ[A-Za-z0-9_.-]{20,}`)

func (e tokenless) Error() string {
	return signedToken.ReplaceAllLiteralString(e.error.Error(), seal.Hidden)
}

func (e tokenless) Unwrap() error { return e.error }

func (a asked) Valid() (from, until time.Time) { return from, until }
func (a asked) Expires() bool                  { return false }
func (a asked) Name() string                   { return a.name }

// checkAssertion accepts what has the form of a signed JWT, and returns when it
// ends. Whether it is true is for the recipient to judge.
func checkAssertion(text string) (until time.Time, err error) {
	switch parts := strings.Split(text, "."); {
	case text == "":
		return until, errors.New("is empty: want a JWT")
	case len(text) > maxAssertion:
		return until, fmt.Errorf("has more than %d bytes: want a JWT", maxAssertion)
	case len(parts) == 3 && parts[2] != "":
		claims := object(parts[1])
		if _, err := seal.DecodeText(parts[2]); err != nil || object(parts[0]) == nil || claims == nil {
			break
		}
		var exp json.Number
		json.Unmarshal(claims["exp"], &exp) // unknown, if it is no number
		if at, err := exp.Float64(); err == nil && at > 0 && at < 1<<40 {
			until = time.Unix(int64(at), 0)
		}
		return until, nil
	}
	return until, errors.New("is not a JWT: want three parts in base64url, with a dot between them")
}

// object returns the members of the JSON object that a part of a JWT holds; nil if
// it holds none.
func object(part string) (members map[string]json.RawMessage) {
	raw, err := seal.DecodeText(part)
	if err != nil || json.Unmarshal(raw, &members) != nil {
		return nil
	}
	return members
}
