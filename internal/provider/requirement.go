package provider

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"time"
)

// A Requirement is what a sign-in must bring besides the person's identity. It may
// come from a handler of the app or from an API's answer.
type Requirement struct {
	// Scopes are those that the person must consent to, as Scopes.Check returns
	// them.
	Scopes []string
	// Claims is a claims request, JSON (OpenID Connect Core section 5.5); "" for
	// none.
	Claims string
	// MaxAge is how long ago the person may have entered their credentials at
	// most; 0 if that does not matter.
	MaxAge time.Duration
	// Again means that the person must sign in again even if nothing else is
	// required: new tokens are needed.
	Again bool
}

// Empty reports whether nothing is required.
func (r Requirement) Empty() bool {
	return len(r.Scopes) == 0 && r.Claims == "" && r.MaxAge == 0 && !r.Again
}

// A RequirementDigest stands for a Requirement where space is short. It is zero for
// the empty one.
type RequirementDigest [8]byte

// Digest returns the same value for requirements that ask for the same. The values
// of nbf in claims are left out: an API that accepts no token asks for a later one
// each time.
func (r Requirement) Digest() (digest RequirementDigest) {
	if r.Empty() {
		return digest
	}
	h := sha256.New()
	fmt.Fprintf(h, "%q %t %t", r.Scopes, r.MaxAge > 0, r.Again)
	parts, _ := readMembers([]byte(r.Claims))
	for _, part := range slices.Sorted(maps.Keys(parts)) {
		claims, ok := readMembers(parts[part])
		if fmt.Fprintf(h, " %q", part); !ok {
			h.Write(parts[part])
		}
		for _, name := range slices.Sorted(maps.Keys(claims)) {
			if fmt.Fprintf(h, " %q", name); name != "nbf" {
				h.Write(claims[name])
			}
		}
	}
	copy(digest[:], h.Sum(nil))
	return digest
}
