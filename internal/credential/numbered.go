package credential

import (
	"context"
	"fmt"

	"example.com/msauth/internal/seal"
)

// NoVersion is the version of a secret whose number is not known.
const NoVersion = -1

// A NumberedSecret is a client secret that somebody else signs with: Live Connect does,
// and names the secret by its number.
type NumberedSecret struct {
	// Value is the secret.
	Value seal.Secret
	// Version is its number, from 0; NoVersion if that is not known.
	Version int
}

// numbered is a secret with a number.
type numbered struct {
	secret
	version int
}

func (n numbered) Name() string { return fmt.Sprintf("%s, version %d", n.secret.Name(), n.version) }

// numberedSource numbers what its source gives.
type numberedSource struct {
	Source
	version int
}

func (s numberedSource) Look() (Credential, int, error) {
	c, version, fault := s.Source.Look()
	return number(c, s.version), version, fault
}

func number(c Credential, version int) Credential {
	if s, ok := c.(secret); ok {
		return numbered{s, version}
	}
	return c
}

// Numbered returns a source of the same secret, with a number.
func Numbered(s Source, version int) Source {
	if f, ok := s.(fixed); ok {
		return fixed{number(f.Credential, version)}
	}
	return numberedSource{s, version}
}

// Secrets returns the secrets among the credentials, the most preferred first. Whether
// the provider still accepts them at the token endpoint does not matter. What a file held
// before it changed is among them only if the provider has refused the new one: in a
// process that makes no token requests, a secret that was replaced because it had leaked
// would be good for ever.
func (r *Ring) Secrets(ctx context.Context) (all []NumberedSecret) {
	r.look(ctx)
	r.mu.Lock()
	var candidates []*candidate
	for _, e := range r.entries {
		candidates = append(candidates, e.current)
		if e.previous != nil && e.current.refused != nil {
			candidates = append(candidates, e.previous)
		}
	}
	r.mu.Unlock()
	for _, c := range candidates {
		switch s := c.Credential.(type) {
		case secret:
			all = append(all, NumberedSecret{s.value(), NoVersion})
		case numbered:
			all = append(all, NumberedSecret{s.value(), s.version})
		}
	}
	return all
}
