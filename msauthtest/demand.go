package msauthtest

import (
	"encoding/json"
	"slices"
	"strings"
)

// maxClaims is the longest claims parameter that is accepted, in bytes.
const maxClaims = 4096

// A demand is what a claims parameter requires of a sign-in and of its tokens:
// see "Claims challenges, claims requests and client capabilities", and OpenID
// Connect Core section 5.5.
type demand struct {
	acrs         []string // authentication contexts, c1 to c99
	mfa          bool     // a conditional access policy: the token endpoint's own challenge
	capabilities []string // xms_cc
}

// parseDemand parses a claims parameter. It ignores claims that it does not
// know, as OpenID Connect Core section 5.5 requires.
func parseDemand(text string) (d demand, ok bool) {
	if text == "" {
		return d, true
	}
	if len(text) > maxClaims {
		return d, false
	}
	type part map[string]*struct {
		Value  any   `json:"value"`
		Values []any `json:"values"`
	}
	var doc struct {
		AccessToken part `json:"access_token"`
		IDToken     part `json:"id_token"`
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil || !strings.HasPrefix(strings.TrimSpace(text), "{") {
		return d, false
	}
	for _, part := range []part{doc.AccessToken, doc.IDToken} {
		for name, want := range part {
			if want == nil {
				continue
			}
			var values []string
			for _, v := range append([]any{want.Value}, want.Values...) {
				if s, ok := v.(string); ok && s != "" {
					values = append(values, s)
				}
			}
			switch name {
			case "acrs":
				d.acrs = union(d.acrs, values)
			case "capolids":
				d.mfa = true
			case "xms_cc":
				d.capabilities = union(d.capabilities, values)
			}
		}
	}
	slices.Sort(d.acrs)
	return d, true
}

// met reports whether a sign-in was strong enough.
func (d demand) met(mfa bool, acrs []string) bool {
	return (mfa || !d.mfa) && !slices.ContainsFunc(d.acrs, func(c string) bool { return !slices.Contains(acrs, c) })
}

// union returns a new list. It modifies neither of its arguments.
func union(a, b []string) []string {
	all := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}
