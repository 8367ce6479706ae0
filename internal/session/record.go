package session

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/seal"
)

// An ID is the random id of a session. It tells sessions apart and gives access
// to nothing.
type ID [8]byte

// A Record is everything that is kept of one session. Of an ID token it has the
// claims below, and the token itself only where signing out needs it.
//
// Several goroutines may read one record at a time. To change one that others
// read, make a copy with Clone; lists are replaced, never changed in place.
type Record struct {
	// Layout is what the record shares with all sessions of the registration.
	Layout *Layout

	// ID names this session.
	ID ID
	// Attempt is the sign-in that made the session.
	Attempt AttemptID
	// Nonce is the NonceDigest of that sign-in's nonce, for the ID tokens that
	// renewals bring.
	Nonce [8]byte

	// SignedIn is when the session was made. This and all times below are Unix
	// seconds.
	SignedIn int64
	// since is when Config.MaxAge of package msauth began to count, if that was
	// before SignedIn; otherwise 0.
	since int64
	// Used is when the session was last used, recorded in steps.
	Used int64
	// Renewed is when the tokens were issued.
	Renewed int64
	// Expiry is when the access token expires.
	Expiry int64
	// RefreshAt is when the tokens are to be renewed.
	RefreshAt int64
	// AuthTime is claim auth_time of the ID token, 0 if it had none.
	AuthTime int64
	// Place is where the sign-in stands among those of its account, zero if that was
	// not known.
	Place Place

	// Device names the key of the browser that the session is bound to, zero if it is
	// not: see package device.
	Device [8]byte

	// Stored says that this is an entry of Config.Tokens, kept for one of the
	// app's users, and not the session of a browser.
	Stored bool
	// Rounds counts the sign-ins, each right after another, that led to this one.
	Rounds uint8
	// Asked is the digest of the requirement that this sign-in was to meet.
	Asked provider.RequirementDigest
	// Shed says that the access token was left out for want of room.
	Shed bool
	// StepUp says that Microsoft asks the person to sign in again, with more
	// proof, before it renews the tokens.
	StepUp bool
	// Claims is the claims challenge that came with StepUp: JSON, or "".
	Claims string

	// User is who signed in.
	User  provider.Account
	extra string // User.Claims as JSON
	// AppData is the app's own text.
	AppData string
	// Scopes are the granted scopes, separated by spaces.
	Scopes string
	sid    string // claim sid, the provider's session id
	// LoginHint is claim login_hint of the ID token, "" if it had none.
	LoginHint string
	// UserKey is the app's user in whose entry of Config.Tokens the refresh token
	// is kept; "" where the session has it itself.
	UserKey string
	// Contexts are the authentication contexts that the sign-in satisfied.
	Contexts []string

	// Access and Refresh are the tokens, "" until Unpack has been called.
	Access, Refresh seal.Secret
	// IDToken is the latest ID token, for id_token_hint at sign-out. It is "" at
	// Microsoft, whose sign-out takes a login_hint instead; at Live Connect it is the
	// authentication token, for the app.
	IDToken seal.Secret
	// Packed is the token part as it was read, or as it was last written; nil
	// where it has to be opened or made anew.
	Packed []byte

	text string // the whole record as the gorilla store has it, sealed

	// sealed is the token part as cookies brought it, still to be opened by
	// cookies; "" if there is none.
	sealed  string
	cookies *Cookies

	// Surplus says that the request carried cookies which the session no longer
	// needs.
	Surplus bool

	// given are copies of User's lists, for a handler to change as it likes.
	// DecodeRecord makes each together with User's own, in one piece of memory.
	given struct{ roles, groups []string }
}

// Clone returns a copy to change.
func (r *Record) Clone() *Record {
	c := *r
	return &c
}

// began returns when Config.MaxAge of package msauth began to count: at the
// latest sign-in in which the person entered credentials, as far as is known.
func (r *Record) began() int64 { return cmp.Or(r.since, r.SignedIn) }

// Ends returns when the session ends whatever happens.
func (r *Record) Ends(maxAge time.Duration) time.Time { return time.Unix(r.began(), 0).Add(maxAge) }

// GoesOn makes the new session r continue old, if both are of the same account:
// r then ends no later than old, unless credentials were entered anew.
func (r *Record) GoesOn(old *Record) {
	entered := cmp.Or(old.AuthTime, old.SignedIn) // at the latest
	if r.User.Same(&old.User) && r.AuthTime <= entered && old.began() < r.SignedIn {
		r.since = old.began()
	}
}

// Identify takes over the claims of a sign-in's ID token.
func (r *Record) Identify(id *provider.Identity) {
	r.setUser(id)
	r.sid, r.LoginHint, r.AuthTime, r.Contexts = id.SID, id.LoginHint, id.AuthTime, id.Contexts
}

// update takes over the claims of a renewal's ID token. That need not repeat the
// names of the account or what the sign-in has proved (OpenID Connect Core
// section 12.2). Nor does it prove anything: its auth_time may be that of
// another sign-in, so AuthTime stays.
func (r *Record) update(id *provider.Identity) {
	before := r.User
	r.setUser(id)
	r.User.Name = cmp.Or(r.User.Name, before.Name)
	r.User.Username = cmp.Or(r.User.Username, before.Username)
	if r.User.Email == "" {
		r.User.Email, r.User.EmailVerified = before.Email, before.EmailVerified
	}
	r.sid, r.LoginHint = cmp.Or(id.SID, r.sid), cmp.Or(id.LoginHint, r.LoginHint)
	if len(id.Contexts) > 0 {
		r.Contexts = id.Contexts
	}
}

// setUser takes over an account. Its lists and claims are copied, since all who
// waited for one renewal get the same identity.
func (r *Record) setUser(id *provider.Identity) {
	r.User, r.extra = id.User, id.Extra
	r.User.Roles, r.User.Groups = slices.Clone(r.User.Roles), slices.Clone(r.User.Groups)
	r.given.roles, r.given.groups = nil, nil
	if r.User.Claims = nil; r.extra != "" {
		_ = json.Unmarshal([]byte(r.extra), &r.User.Claims) // extra was made from the claims
	}
	r.repack()
}

// repack drops the token part as it was read or written, which no longer matches
// the record: it holds references to the identity part. The record must be
// unpacked, or have no tokens.
func (r *Record) repack() { r.Packed, r.sealed = nil, "" }

// Take takes over the tokens of a sign-in or a renewal. Of a user whose refresh
// token is kept in Config.Tokens, only that entry gets it.
func (r *Record) Take(g *provider.TokenSet) {
	r.Access, r.Refresh = g.Access, g.Refresh
	if r.UserKey != "" && !r.Stored {
		r.Refresh = ""
	}
	r.Renewed, r.Expiry, r.RefreshAt = g.Issued, g.Expiry, g.RefreshAt
	if g.Scopes != "" {
		r.Scopes = g.Scopes
	}
	if r.Layout.KeepsIDToken && !r.Stored && g.IDToken != "" && len(g.IDToken) <= maxIDTokenKept {
		r.IDToken = seal.Secret(g.IDToken)
	}
	r.Shed = false
	r.repack()
}

// maxIDTokenKept is the longest ID token, in bytes, that is kept for signing
// out. It is sent in the address of the provider's sign-out page, in a header
// line that proxies have to let through.
const maxIDTokenKept = 2500

// RenewedBy returns a copy of the record with the tokens of a renewal, and with
// the claims of its ID token if there was one. The record must be unpacked.
func (r *Record) RenewedBy(g *provider.TokenSet) *Record {
	n := r.Clone()
	n.Take(g)
	if g.Identity != nil {
		n.update(g.Identity)
	}
	n.StepUp, n.Claims = false, ""
	return n
}

// MovedTo returns a copy of the record with another refresh token. The record
// must be unpacked.
func (r *Record) MovedTo(refresh seal.Secret) *Record {
	n := r.Clone()
	n.Refresh = refresh
	n.repack()
	return n
}

// TokenSet returns the record's tokens in the form in which renewals return
// them. The record must be unpacked.
func (r *Record) TokenSet() *provider.TokenSet {
	return &provider.TokenSet{
		Access: r.Access, Refresh: r.Refresh, Issued: r.Renewed,
		Expiry: r.Expiry, RefreshAt: r.RefreshAt, Scopes: r.Scopes,
	}
}

// Shared returns TokenSet with the account, which every session of the user may
// take over. What a single sign-in has proved (AuthTime, Contexts) is not in it.
func (r *Record) Shared() *provider.TokenSet {
	g := r.TokenSet()
	g.Identity = &provider.Identity{User: r.User, Extra: r.extra}
	return g
}

// Shrink leaves out the next thing that a session can do without, in the order
// that Config.CookieBudget of package msauth documents. It returns the name of
// what it left out, or "" when there is nothing more to leave out.
func (r *Record) Shrink() string {
	if r.Unpack() != nil {
		return ""
	}
	r.repack()
	switch {
	case r.IDToken != "":
		r.IDToken = ""
		return "ID token for signing out"
	case !r.Shed && r.Access != "":
		r.Shed = true
		return "access token"
	case len(r.User.Groups) > 0:
		r.User.Groups, r.given.groups, r.User.GroupsOverage = nil, nil, true
		return "groups"
	case r.extra != "":
		r.extra, r.User.Claims = "", nil
		return "claims"
	}
	return ""
}

// Give returns the user for a handler, who may change the lists. The record keeps
// lists of its own: others read them at the same time, and its tokens refer to
// them. Give may be called once for each record that DecodeRecord returns.
func (r *Record) Give() provider.Account {
	u := r.User
	if u.Roles != nil {
		if u.Roles = r.given.roles; u.Roles == nil {
			u.Roles = slices.Clone(r.User.Roles)
		}
	}
	if u.Groups != nil {
		if u.Groups = r.given.groups; u.Groups == nil {
			u.Groups = slices.Clone(r.User.Groups)
		}
	}
	return u
}

// Hint returns the login_hint that leads Microsoft to the account of this
// session, or "" if nothing does: the user name of a guest ("#EXT#") is not what
// the guest signs in with.
func (r *Record) Hint() string {
	if r.LoginHint == "" && strings.Contains(r.User.Username, "#") {
		return ""
	}
	return cmp.Or(r.LoginHint, r.User.Username)
}

// ScopeList returns the granted scopes as a list.
func (r *Record) ScopeList() []string { return strings.Fields(r.Scopes) }
