package session

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/msauth/internal/compact"
	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/seal"
)

const LongestMaxAge = 400 * 24 * time.Hour // browsers cut Max-Age here (RFC 6265bis section 5.5)

// A Registration names one app at one provider: a session of another one is
// no session of ours, even if both apps share keys and a host.
type Registration [8]byte

// Shared is grant with what each session of the user may take over of the
// person: not what a single sign-in has proved.
func (r *Record) Shared() *provider.TokenSet {
	g := r.TokenSet()
	g.Identity = &provider.Identity{User: r.User, Extra: r.extra}
	return g
}

// A Layout is what all sessions of a registration have in common, and none
// carries.
type Layout struct {
	Authority string // issuers follow from it
	ClientID  string
	// KeepsIDToken is set where signing out at the provider needs the latest ID
	// token: see record.idToken.
	KeepsIDToken bool
}

// A ID is random. It is for telling sessions apart; it opens nothing.
type ID [8]byte

// A Record is everything that is kept of one session: the payload of its
// cookie, or of its entry in a server-side store. Of an ID token the claims below
// are kept, and all of it only at providers that are not Microsoft.
//
// The payload is a format byte, a length and the identity part, which is read
// on every request, and the token part to the end, which is unpacked only when
// somebody needs a token. What is sealed with it says whose it is: see
// [registration].
type Record struct {
	Layout *Layout

	ID      ID        // of this session
	Attempt AttemptID // the sign-in that made it
	Nonce   [8]byte   // digest of that sign-in's nonce, for renewed ID tokens

	SignedIn  int64 // Unix seconds, as all times here
	since     int64 // from when Config.MaxAge counts, 0 for from signedIn
	Used      int64 // last use, noted in steps
	Renewed   int64 // when the tokens were issued
	Expiry    int64 // of the access token
	RefreshAt int64 // when to renew it
	AuthTime  int64 // auth_time of the ID token, 0 if it had none

	Stored bool                       // this is the copy that is kept for the app's user
	Rounds uint8                      // sign-ins, each right after another, that led to this one
	Asked  provider.RequirementDigest // what this sign-in was to bring
	Shed   bool                       // the access token was left out
	StepUp bool                       // Microsoft wants more of the person before it renews
	Claims string                     // the claims challenge that came with that, JSON

	User      provider.Account
	extra     string // user.Claims as JSON
	AppData   string
	Scopes    string // granted, parted by spaces
	sid       string // Microsoft's session id
	LoginHint string
	UserKey   string   // of the app's user for whom the refresh token is kept elsewhere
	Contexts  []string // authentication contexts that the sign-in satisfied

	Access, Refresh seal.Secret
	// IDToken is the latest ID token, for id_token_hint at sign-out; "" at
	// Microsoft, whose sign-out takes login_hint.
	IDToken seal.Secret
	Packed  []byte // the token part; nil when it must be opened, or made anew

	text string // the record as Config.Store has it

	// The token part as a cookie brought it, "" when there is none to open.
	sealed  string
	cookies *Cookies

	Surplus bool // cookies came that the session no longer needs

	// What user has of these once more, for a handler to do with as it likes.
	// They are made together with user's own, in one piece of memory.
	given struct{ roles, groups []string }
}

const (
	flagEmailVerified = 1 << iota
	flagOverage
	flagShed
	flagStepUp
	flagAuthTime
	flagSameEmail // as the user name
	flagRounds
	flagAsked
)

// flagSince stands beside the number of rounds.
const flagSince = 1 << 7

// epoch is where times are counted from: the start of 2025, UTC.
const epoch = 1735689600

// known is what the tokens are likely to repeat of the identity part. Nothing
// in it can be chosen by an outsider who does not also choose what stands in
// the tokens. The places in the list are part of the format.
func (r *Record) known() compact.Dictionary {
	u := &r.User
	given, _, _ := strings.Cut(u.Name, " ")
	family := u.Name[strings.LastIndexByte(u.Name, ' ')+1:]
	return compact.Dictionary{
		Texts: []string{
			r.Layout.ClientID, u.TenantID, u.ObjectID, u.Subject, r.sid, u.Name, u.Username, u.Email, u.Issuer,
			"https://sts.windows.net/" + u.TenantID + "/", given, family, r.LoginHint,
		},
		Groups: u.Groups, Time: r.Renewed,
	}
}

// Encode makes the two parts of the payload: the identity part, which begins
// with the format byte, and the token part.
func (r *Record) Encode() (identity, tokens []byte) {
	e := compact.Encoder{B: append(make([]byte, 0, 512), formatSession)}
	e.B = append(e.B, r.ID[:]...)
	e.B = append(e.B, r.Attempt[:]...)
	e.B = append(e.B, r.Nonce[:]...)
	flags := flag(r.User.EmailVerified, flagEmailVerified) | flag(r.User.GroupsOverage, flagOverage) |
		flag(r.Shed, flagShed) | flag(r.StepUp, flagStepUp) | flag(r.AuthTime != 0, flagAuthTime) |
		flag(r.User.Email == r.User.Username, flagSameEmail) | flag(r.Rounds > 0 || r.since != 0, flagRounds) |
		flag(r.Asked != provider.RequirementDigest{}, flagAsked)
	e.B = append(e.B, flags)
	if r.Rounds > 0 || r.since != 0 {
		e.B = append(e.B, r.Rounds<<1|flag(r.since != 0, flagSince))
	}
	if r.Asked != (provider.RequirementDigest{}) {
		e.B = append(e.B, r.Asked[:]...)
	}
	// Times close to each other, which take a byte or two as differences.
	e.B = binary.AppendVarint(e.B, r.SignedIn-epoch)
	if r.since != 0 {
		e.B = binary.AppendVarint(e.B, r.since-r.SignedIn)
	}
	e.B = binary.AppendVarint(e.B, r.Used-r.SignedIn)
	e.B = binary.AppendVarint(e.B, r.Renewed-r.Used)
	e.B = binary.AppendVarint(e.B, r.Expiry-r.Renewed)
	e.B = binary.AppendVarint(e.B, r.RefreshAt-r.Expiry)
	if r.AuthTime != 0 {
		e.B = binary.AppendVarint(e.B, r.AuthTime-r.SignedIn)
	}
	u := &r.User
	issuer, email := u.Issuer, u.Email
	if issuer == provider.TenantIssuer(r.Layout.Authority, u.TenantID) {
		issuer = ""
	}
	if email == u.Username {
		email = ""
	}
	for _, s := range [...]string{issuer, u.Subject, u.TenantID, u.ObjectID, u.Name, u.Username, email, r.sid, r.Scopes} {
		e.Text(s)
	}
	optional := [...]string{r.LoginHint, r.AppData, r.extra, r.Claims, r.UserKey}
	there := flag(len(u.Roles) > 0, thereRoles) | flag(len(u.Groups) > 0, thereGroups) | flag(len(r.Contexts) > 0, thereContexts)
	for i, s := range optional {
		there |= flag(s != "", 1<<i)
	}
	e.B = append(e.B, there)
	for _, s := range optional {
		if s != "" {
			e.Text(s)
		}
	}
	if len(u.Roles) > 0 {
		e.List(u.Roles)
	}
	if len(u.Groups) > 0 {
		e.Guids(u.Groups)
	}
	if len(r.Contexts) > 0 {
		e.List(r.Contexts)
	}
	return e.B, r.tokens()
}

// What is there of the identity part beside the optional texts, which have the
// lowest bits.
const (
	thereRoles    = 1 << 5
	thereGroups   = 1 << 6
	thereContexts = 1 << 7
)

// open brings the token part to where encode finds it.
func (r *Record) open() (err error) {
	if r.Packed == nil && r.sealed != "" {
		r.Packed, err = r.cookies.openTail(r.sealed)
	}
	return err
}

// tokens is the token part of a record that is open.
func (r *Record) tokens() []byte {
	if r.Packed == nil {
		access := r.Access
		if r.Shed {
			access = ""
		}
		e := compact.Encoder{B: make([]byte, 0, 3000), Known: r.known()}
		e.Token(string(access))
		e.Token(string(r.Refresh))
		if r.IDToken != "" {
			e.Token(string(r.IDToken))
		}
		r.Packed = e.B
	}
	return r.Packed
}

func flag(set bool, bit byte) byte {
	if set {
		return bit
	}
	return 0
}

// DecodeRecord reads an identity part. Where the token part is, its caller
// says.
func DecodeRecord(identity []byte, of *Layout) (*Record, error) {
	if len(identity) < 1 || identity[0] != formatSession {
		return nil, compact.ErrMalformed
	}
	r := &Record{Layout: of}
	d := compact.Decoder{B: identity[1:]}
	copy(r.ID[:], d.Bytes(len(r.ID)))
	copy(r.Attempt[:], d.Bytes(len(r.Attempt)))
	copy(r.Nonce[:], d.Bytes(len(r.Nonce)))
	flags := d.Flags()
	r.User.EmailVerified = flags&flagEmailVerified != 0
	r.User.GroupsOverage = flags&flagOverage != 0
	r.Shed = flags&flagShed != 0
	r.StepUp = flags&flagStepUp != 0
	var rounds byte
	if flags&flagRounds != 0 {
		rounds = d.Flags()
		r.Rounds = rounds &^ flagSince >> 1 // the lowest bit had a meaning once
	}
	if flags&flagAsked != 0 {
		copy(r.Asked[:], d.Bytes(len(r.Asked)))
	}
	r.SignedIn = d.Varint() + epoch
	if rounds&flagSince != 0 {
		r.since = d.Varint() + r.SignedIn
	}
	r.Used = d.Varint() + r.SignedIn
	r.Renewed = d.Varint() + r.Used
	r.Expiry = d.Varint() + r.Renewed
	r.RefreshAt = d.Varint() + r.Expiry
	if flags&flagAuthTime != 0 {
		r.AuthTime = d.Varint() + r.SignedIn
	}
	// All texts of a record share one piece of memory.
	buffer := compact.Buffers.Get().(*[]byte)
	defer compact.Buffers.Put(buffer)
	out := (*buffer)[:0]
	var room [32]int
	ends := room[:0]
	u := &r.User
	texts := [...]*string{
		&u.Issuer, &u.Subject, &u.TenantID, &u.ObjectID, &u.Name, &u.Username, &u.Email, &r.sid, &r.Scopes,
		&r.LoginHint, &r.AppData, &r.extra, &r.Claims, &r.UserKey,
	}
	const always = 9
	for range texts[:always] {
		out = d.AppendText(out, d.Uvarint(), 0)
		ends = append(ends, len(out))
	}
	there := d.Flags()
	for i := range texts[always:] {
		if there>>i&1 != 0 {
			out = d.AppendText(out, d.Uvarint(), 0)
		}
		ends = append(ends, len(out))
	}
	roles, groups, contexts := 0, 0, 0
	if there&thereRoles != 0 {
		out, ends, roles = d.AppendList(out, ends)
	}
	if there&thereGroups != 0 {
		out, ends, groups = d.AppendGUIDs(out, ends)
	}
	if there&thereContexts != 0 {
		out, ends, contexts = d.AppendList(out, ends)
	}
	if !d.Done() {
		return nil, compact.ErrMalformed
	}
	if tenant := out[ends[1]:ends[2]]; ends[0] == 0 && of.Authority != "" && len(tenant) > 0 {
		out = provider.AppendTenantIssuer(out, of.Authority, tenant)
	}
	*buffer = out
	all, from := string(out), 0
	next := func(i int) string {
		text := all[from:ends[i]]
		from = ends[i]
		return text
	}
	for i, text := range texts {
		*text = next(i)
	}
	if roles > 0 {
		u.Roles, r.given.roles = twice(roles)
		for i := range u.Roles {
			u.Roles[i] = next(len(texts) + i)
		}
		copy(r.given.roles, u.Roles)
	}
	if groups > 0 {
		u.Groups, r.given.groups = twice(groups)
		for i := range u.Groups {
			u.Groups[i] = next(len(texts) + roles + i)
		}
		copy(r.given.groups, u.Groups)
	}
	if contexts > 0 {
		r.Contexts = make([]string, contexts)
		for i := range r.Contexts {
			r.Contexts[i] = next(len(texts) + roles + groups + i)
		}
	}
	if u.Issuer == "" {
		u.Issuer = all[from:]
	}
	if flags&flagSameEmail != 0 {
		u.Email = u.Username
	}
	if r.extra != "" {
		if err := json.Unmarshal([]byte(r.extra), &u.Claims); err != nil {
			return nil, compact.ErrMalformed
		}
	}
	return r, nil
}

// twice makes two lists of n texts in one piece of memory, of which none grows
// into the other.
func twice(n int) (one, other []string) {
	both := make([]string, 2*n)
	return both[:n:n], both[n:]
}

// Give is the user for a handler, who may change it. What the record holds is
// needed to read its tokens, and other requests share it. It is called once for
// a record of decodeRecord.
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

// own makes the user's lists and claims those of this record alone, where they
// came from somewhere else.
func (r *Record) own() {
	r.User.Roles, r.User.Groups = slices.Clone(r.User.Roles), slices.Clone(r.User.Groups)
	r.given.roles, r.given.groups = nil, nil
	if r.User.Claims = nil; r.extra != "" {
		_ = json.Unmarshal([]byte(r.extra), &r.User.Claims) // which was made of them
	}
}

// Unpack makes access and refresh readable.
func (r *Record) Unpack() error {
	if r.Unpacked() || r.Packed == nil && r.sealed == "" {
		return nil
	}
	d, err := r.tokenDecoder()
	if err != nil {
		return err
	}
	access, refresh, idToken := d.Text(), d.Text(), ""
	if !d.Bad && !d.Done() && r.Layout.KeepsIDToken {
		idToken = d.Text()
	}
	if !d.Done() {
		return compact.ErrMalformed
	}
	r.Access, r.Refresh, r.IDToken, r.Packed = seal.Secret(access), seal.Secret(refresh), seal.Secret(idToken), d.B
	return nil
}

// AccessToken is access, unpacked for somebody who needs no more.
func (r *Record) AccessToken() (seal.Secret, error) {
	if r.Unpacked() || r.Packed == nil && r.sealed == "" {
		return r.Access, nil
	}
	d, err := r.tokenDecoder()
	if err != nil {
		return "", err
	}
	access := d.Text()
	if d.Bad {
		return "", compact.ErrMalformed
	}
	return seal.Secret(access), nil
}

func (r *Record) tokenDecoder() (d compact.Decoder, err error) {
	d = compact.Decoder{B: r.Packed, Known: r.known()}
	if d.B == nil {
		d.B, err = r.cookies.openTail(r.sealed)
	}
	return d, err
}

func (r *Record) Unpacked() bool { return r.Access != "" || r.Refresh != "" || r.IDToken != "" }

// began is from when Config.MaxAge counts: the latest sign-in in which the person
// entered credentials, as far as that is known.
func (r *Record) began() int64 { return cmp.Or(r.since, r.SignedIn) }

// Ends is the session's absolute end.
func (r *Record) Ends(maxAge time.Duration) time.Time { return time.Unix(r.began(), 0).Add(maxAge) }

// GoesOn makes a sign-in of the person of an older session a part of that: it
// ends no later, unless credentials were entered anew.
func (r *Record) GoesOn(old *Record) {
	entered := cmp.Or(old.AuthTime, old.SignedIn) // at the latest, by then
	if r.User.Same(&old.User) && r.AuthTime <= entered && old.began() < r.SignedIn {
		r.since = old.began()
	}
}

// Shrink leaves out the next thing that a session can do without, in the order
// that Config.CookieBudget documents, and reports what, or "" at the end.
func (r *Record) Shrink() string {
	if r.Unpack() != nil {
		return ""
	}
	r.Packed, r.sealed = nil, ""
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

// TokenSet is what the record holds, in the form in which renewals give it. The
// record must be unpacked.
func (r *Record) TokenSet() *provider.TokenSet {
	return &provider.TokenSet{
		Access: r.Access, Refresh: r.Refresh, Issued: r.Renewed,
		Expiry: r.Expiry, RefreshAt: r.RefreshAt, Scopes: r.Scopes,
	}
}

// RenewedBy returns the record with the tokens, and the claims if there are
// any, of a renewal.
func (r *Record) RenewedBy(g *provider.TokenSet) *Record {
	n := r.Clone()
	n.Take(g)
	if g.Identity != nil {
		n.update(g.Identity)
	}
	n.StepUp, n.Claims = false, ""
	return n
}

// MovedTo returns the record with another refresh token. It must be unpacked.
func (r *Record) MovedTo(refresh seal.Secret) *Record {
	n := r.Clone()
	n.Refresh, n.Packed, n.sealed = refresh, nil, ""
	return n
}

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
	r.Packed, r.sealed = nil, ""
}

// maxIDTokenKept is the longest ID token, in bytes, that is kept for signing out:
// the address of the provider's sign-out page has it, in a line of header that
// proxies have to let through.
const maxIDTokenKept = 2500

// Identify is for the ID token of a sign-in.
func (r *Record) Identify(id *provider.Identity) {
	r.User, r.extra = id.User, id.Extra
	r.own()
	r.sid, r.LoginHint, r.AuthTime, r.Contexts = id.SID, id.LoginHint, id.AuthTime, id.Contexts
	r.Packed, r.sealed = nil, ""
}

// update is for the ID token of a renewal. It need not repeat how somebody is
// called or what the sign-in has proved (OpenID Connect Core section 12.2), and it
// proves nothing: its auth_time may be a newer one.
func (r *Record) update(id *provider.Identity) {
	before := r.User
	r.User, r.extra = id.User, id.Extra
	r.own() // whoever waited for this renewal has the same identity
	r.User.Name = cmp.Or(r.User.Name, before.Name)
	r.User.Username = cmp.Or(r.User.Username, before.Username)
	if r.User.Email == "" {
		r.User.Email, r.User.EmailVerified = before.Email, before.EmailVerified
	}
	r.sid, r.LoginHint = cmp.Or(id.SID, r.sid), cmp.Or(id.LoginHint, r.LoginHint)
	if len(id.Contexts) > 0 {
		r.Contexts = id.Contexts
	}
	r.Packed, r.sealed = nil, ""
}

// Clone makes a copy to change. Lists and texts are never changed in place.
func (r *Record) Clone() *Record {
	c := *r
	return &c
}

// Hint leads Microsoft to the person whose session it is, "" if nothing does: a
// guest's name in the directory is not what the guest signs in with.
func (r *Record) Hint() string {
	if r.LoginHint == "" && strings.Contains(r.User.Username, "#") {
		return ""
	}
	return cmp.Or(r.LoginHint, r.User.Username)
}

// ScopeList parts the granted scopes.
func (r *Record) ScopeList() []string { return strings.Fields(r.Scopes) }

// ErrTooLarge means that a session does not fit what keeps it, even without all
// that it can do without.
var ErrTooLarge = errors.New("msauth: session too large")

// JoinParts makes one text of the two parts of a record: the length of the
// first, and both.
func JoinParts(identity, tokens []byte) []byte {
	joined := binary.AppendUvarint(make([]byte, 0, len(identity)+len(tokens)+2), uint64(len(identity)))
	return append(append(joined, identity...), tokens...)
}

// SplitParts undoes joinParts.
func SplitParts(joined []byte) (identity, tokens []byte, err error) {
	size, width := binary.Uvarint(joined)
	if width <= 0 || size > uint64(len(joined)-width) {
		return nil, nil, compact.ErrMalformed
	}
	joined = joined[width:]
	return joined[:size], joined[size:], nil
}

// Prefix of a registration's entries in a [TokenStore].
func (id Registration) Prefix() string { return fmt.Sprintf("%s%x:", StoredPrefix, id[:]) }

// StoredPrefix is what all names of [Middleware.StoredUser] begin with, and no
// user key of an app may: it would be another entry's name.
const StoredPrefix = "msauth:"
