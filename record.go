package msauth

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// A layout is what all sessions of a registration have in common, and none
// carries.
type layout struct {
	authority string // issuers follow from it
	clientID  string
	// keepsIDToken is set where signing out at the provider needs the latest ID
	// token: see record.idToken.
	keepsIDToken bool
}

// A sessionID is random. It is for telling sessions apart; it opens nothing.
type sessionID [8]byte

// A record is everything that is kept of one session: the payload of its
// cookie, or of its entry in a server-side store. Of an ID token the claims below
// are kept, and all of it only at providers that are not Microsoft.
//
// The payload is a format byte, a length and the identity part, which is read
// on every request, and the token part to the end, which is unpacked only when
// somebody needs a token. What is sealed with it says whose it is: see
// [registration].
type record struct {
	layout *layout

	id      sessionID // of this session
	attempt attemptID // the sign-in that made it
	nonce   [8]byte   // digest of that sign-in's nonce, for renewed ID tokens

	signedIn  int64 // Unix seconds, as all times here
	since     int64 // from when Config.MaxAge counts, 0 for from signedIn
	used      int64 // last use, noted in steps
	renewed   int64 // when the tokens were issued
	expiry    int64 // of the access token
	refreshAt int64 // when to renew it
	authTime  int64 // auth_time of the ID token, 0 if it had none

	stored bool         // this is the copy that is kept for the app's user
	rounds uint8        // sign-ins, each right after another, that led to this one
	asked  demandDigest // what this sign-in was to bring
	shed   bool         // the access token was left out
	stepUp bool         // Microsoft wants more of the person before it renews
	claims string       // the claims challenge that came with that, JSON

	user      account
	extra     string // user.Claims as JSON
	appData   string
	scopes    string // granted, parted by spaces
	sid       string // Microsoft's session id
	loginHint string
	userKey   string   // of the app's user for whom the refresh token is kept elsewhere
	contexts  []string // authentication contexts that the sign-in satisfied

	access, refresh secret
	// idToken is the latest ID token, for id_token_hint at sign-out; "" at
	// Microsoft, whose sign-out takes login_hint.
	idToken secret
	packed  []byte // the token part; nil when it must be opened, or made anew

	text string // the record as Config.Store has it

	// The token part as a cookie brought it, "" when there is none to open.
	sealed  string
	cookies *cookieFormat

	surplus bool // cookies came that the session no longer needs

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
func (r *record) known() known {
	u := &r.user
	given, _, _ := strings.Cut(u.Name, " ")
	family := u.Name[strings.LastIndexByte(u.Name, ' ')+1:]
	return known{
		texts: []string{
			r.layout.clientID, u.TenantID, u.ObjectID, u.Subject, r.sid, u.Name, u.Username, u.Email, u.Issuer,
			"https://sts.windows.net/" + u.TenantID + "/", given, family, r.loginHint,
		},
		groups: u.Groups, time: r.renewed,
	}
}

// encode makes the two parts of the payload: the identity part, which begins
// with the format byte, and the token part.
func (r *record) encode() (identity, tokens []byte) {
	e := encoder{b: append(make([]byte, 0, 512), formatSession)}
	e.b = append(e.b, r.id[:]...)
	e.b = append(e.b, r.attempt[:]...)
	e.b = append(e.b, r.nonce[:]...)
	flags := flag(r.user.EmailVerified, flagEmailVerified) | flag(r.user.GroupsOverage, flagOverage) |
		flag(r.shed, flagShed) | flag(r.stepUp, flagStepUp) | flag(r.authTime != 0, flagAuthTime) |
		flag(r.user.Email == r.user.Username, flagSameEmail) | flag(r.rounds > 0 || r.since != 0, flagRounds) |
		flag(r.asked != demandDigest{}, flagAsked)
	e.b = append(e.b, flags)
	if r.rounds > 0 || r.since != 0 {
		e.b = append(e.b, r.rounds<<1|flag(r.since != 0, flagSince))
	}
	if r.asked != (demandDigest{}) {
		e.b = append(e.b, r.asked[:]...)
	}
	// Times close to each other, which take a byte or two as differences.
	e.b = binary.AppendVarint(e.b, r.signedIn-epoch)
	if r.since != 0 {
		e.b = binary.AppendVarint(e.b, r.since-r.signedIn)
	}
	e.b = binary.AppendVarint(e.b, r.used-r.signedIn)
	e.b = binary.AppendVarint(e.b, r.renewed-r.used)
	e.b = binary.AppendVarint(e.b, r.expiry-r.renewed)
	e.b = binary.AppendVarint(e.b, r.refreshAt-r.expiry)
	if r.authTime != 0 {
		e.b = binary.AppendVarint(e.b, r.authTime-r.signedIn)
	}
	u := &r.user
	issuer, email := u.Issuer, u.Email
	if issuer == tenantIssuer(r.layout.authority, u.TenantID) {
		issuer = ""
	}
	if email == u.Username {
		email = ""
	}
	for _, s := range [...]string{issuer, u.Subject, u.TenantID, u.ObjectID, u.Name, u.Username, email, r.sid, r.scopes} {
		e.text(s)
	}
	optional := [...]string{r.loginHint, r.appData, r.extra, r.claims, r.userKey}
	there := flag(len(u.Roles) > 0, thereRoles) | flag(len(u.Groups) > 0, thereGroups) | flag(len(r.contexts) > 0, thereContexts)
	for i, s := range optional {
		there |= flag(s != "", 1<<i)
	}
	e.b = append(e.b, there)
	for _, s := range optional {
		if s != "" {
			e.text(s)
		}
	}
	if len(u.Roles) > 0 {
		e.list(u.Roles)
	}
	if len(u.Groups) > 0 {
		e.guids(u.Groups)
	}
	if len(r.contexts) > 0 {
		e.list(r.contexts)
	}
	return e.b, r.tokens()
}

// What is there of the identity part beside the optional texts, which have the
// lowest bits.
const (
	thereRoles    = 1 << 5
	thereGroups   = 1 << 6
	thereContexts = 1 << 7
)

// open brings the token part to where encode finds it.
func (r *record) open() (err error) {
	if r.packed == nil && r.sealed != "" {
		r.packed, err = r.cookies.openTail(r.sealed)
	}
	return err
}

// tokens is the token part of a record that is open.
func (r *record) tokens() []byte {
	if r.packed == nil {
		access := r.access
		if r.shed {
			access = ""
		}
		e := encoder{b: make([]byte, 0, 3000), known: r.known()}
		e.token(string(access))
		e.token(string(r.refresh))
		if r.idToken != "" {
			e.token(string(r.idToken))
		}
		r.packed = e.b
	}
	return r.packed
}

func flag(set bool, bit byte) byte {
	if set {
		return bit
	}
	return 0
}

// decodeRecord reads an identity part. Where the token part is, its caller
// says.
func decodeRecord(identity []byte, of *layout) (*record, error) {
	if len(identity) < 1 || identity[0] != formatSession {
		return nil, errCompact
	}
	r := &record{layout: of}
	d := decoder{b: identity[1:]}
	copy(r.id[:], d.bytes(len(r.id)))
	copy(r.attempt[:], d.bytes(len(r.attempt)))
	copy(r.nonce[:], d.bytes(len(r.nonce)))
	flags := d.flags()
	r.user.EmailVerified = flags&flagEmailVerified != 0
	r.user.GroupsOverage = flags&flagOverage != 0
	r.shed = flags&flagShed != 0
	r.stepUp = flags&flagStepUp != 0
	var rounds byte
	if flags&flagRounds != 0 {
		rounds = d.flags()
		r.rounds = rounds &^ flagSince >> 1 // the lowest bit had a meaning once
	}
	if flags&flagAsked != 0 {
		copy(r.asked[:], d.bytes(len(r.asked)))
	}
	r.signedIn = d.varint() + epoch
	if rounds&flagSince != 0 {
		r.since = d.varint() + r.signedIn
	}
	r.used = d.varint() + r.signedIn
	r.renewed = d.varint() + r.used
	r.expiry = d.varint() + r.renewed
	r.refreshAt = d.varint() + r.expiry
	if flags&flagAuthTime != 0 {
		r.authTime = d.varint() + r.signedIn
	}
	// All texts of a record share one piece of memory.
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	out := (*buffer)[:0]
	var room [32]int
	ends := room[:0]
	u := &r.user
	texts := [...]*string{
		&u.Issuer, &u.Subject, &u.TenantID, &u.ObjectID, &u.Name, &u.Username, &u.Email, &r.sid, &r.scopes,
		&r.loginHint, &r.appData, &r.extra, &r.claims, &r.userKey,
	}
	const always = 9
	for range texts[:always] {
		out = d.appendText(out, d.uvarint(), 0)
		ends = append(ends, len(out))
	}
	there := d.flags()
	for i := range texts[always:] {
		if there>>i&1 != 0 {
			out = d.appendText(out, d.uvarint(), 0)
		}
		ends = append(ends, len(out))
	}
	roles, groups, contexts := 0, 0, 0
	if there&thereRoles != 0 {
		out, ends, roles = d.appendList(out, ends)
	}
	if there&thereGroups != 0 {
		out, ends, groups = d.appendGUIDs(out, ends)
	}
	if there&thereContexts != 0 {
		out, ends, contexts = d.appendList(out, ends)
	}
	if !d.done() {
		return nil, errCompact
	}
	if tenant := out[ends[1]:ends[2]]; ends[0] == 0 && of.authority != "" && len(tenant) > 0 {
		out = appendTenantIssuer(out, of.authority, tenant)
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
		r.contexts = make([]string, contexts)
		for i := range r.contexts {
			r.contexts[i] = next(len(texts) + roles + groups + i)
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
			return nil, errCompact
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

// give is the user for a handler, who may change it. What the record holds is
// needed to read its tokens, and other requests share it. It is called once for
// a record of decodeRecord.
func (r *record) give() account {
	u := r.user
	if u.Roles != nil {
		if u.Roles = r.given.roles; u.Roles == nil {
			u.Roles = slices.Clone(r.user.Roles)
		}
	}
	if u.Groups != nil {
		if u.Groups = r.given.groups; u.Groups == nil {
			u.Groups = slices.Clone(r.user.Groups)
		}
	}
	return u
}

// own makes the user's lists and claims those of this record alone, where they
// came from somewhere else.
func (r *record) own() {
	r.user.Roles, r.user.Groups = slices.Clone(r.user.Roles), slices.Clone(r.user.Groups)
	r.given.roles, r.given.groups = nil, nil
	if r.user.Claims = nil; r.extra != "" {
		_ = json.Unmarshal([]byte(r.extra), &r.user.Claims) // which was made of them
	}
}

// unpack makes access and refresh readable.
func (r *record) unpack() error {
	if r.unpacked() || r.packed == nil && r.sealed == "" {
		return nil
	}
	d, err := r.tokenDecoder()
	if err != nil {
		return err
	}
	access, refresh, idToken := d.text(), d.text(), ""
	if !d.bad && !d.done() && r.layout.keepsIDToken {
		idToken = d.text()
	}
	if !d.done() {
		return errCompact
	}
	r.access, r.refresh, r.idToken, r.packed = secret(access), secret(refresh), secret(idToken), d.b
	return nil
}

// accessToken is access, unpacked for somebody who needs no more.
func (r *record) accessToken() (secret, error) {
	if r.unpacked() || r.packed == nil && r.sealed == "" {
		return r.access, nil
	}
	d, err := r.tokenDecoder()
	if err != nil {
		return "", err
	}
	access := d.text()
	if d.bad {
		return "", errCompact
	}
	return secret(access), nil
}

func (r *record) tokenDecoder() (d decoder, err error) {
	d = decoder{b: r.packed, known: r.known()}
	if d.b == nil {
		d.b, err = r.cookies.openTail(r.sealed)
	}
	return d, err
}

func (r *record) unpacked() bool { return r.access != "" || r.refresh != "" || r.idToken != "" }

// began is from when Config.MaxAge counts: the latest sign-in in which the person
// entered credentials, as far as that is known.
func (r *record) began() int64 { return cmp.Or(r.since, r.signedIn) }

// ends is the session's absolute end.
func (r *record) ends(maxAge time.Duration) time.Time { return time.Unix(r.began(), 0).Add(maxAge) }

// goesOn makes a sign-in of the person of an older session a part of that: it
// ends no later, unless credentials were entered anew.
func (r *record) goesOn(old *record) {
	entered := cmp.Or(old.authTime, old.signedIn) // at the latest, by then
	if r.user.same(&old.user) && r.authTime <= entered && old.began() < r.signedIn {
		r.since = old.began()
	}
}

// shrink leaves out the next thing that a session can do without, in the order
// that Config.CookieBudget documents, and reports what, or "" at the end.
func (r *record) shrink() string {
	if r.unpack() != nil {
		return ""
	}
	r.packed, r.sealed = nil, ""
	switch {
	case r.idToken != "":
		r.idToken = ""
		return "ID token for signing out"
	case !r.shed && r.access != "":
		r.shed = true
		return "access token"
	case len(r.user.Groups) > 0:
		r.user.Groups, r.given.groups, r.user.GroupsOverage = nil, nil, true
		return "groups"
	case r.extra != "":
		r.extra, r.user.Claims = "", nil
		return "claims"
	}
	return ""
}

// grant is what the record holds, in the form in which renewals give it. The
// record must be unpacked.
func (r *record) grant() *grant {
	return &grant{
		access: r.access, refresh: r.refresh, issued: r.renewed,
		expiry: r.expiry, refreshAt: r.refreshAt, scopes: r.scopes,
	}
}

// renewedBy returns the record with the tokens, and the claims if there are
// any, of a renewal.
func (r *record) renewedBy(g *grant) *record {
	n := r.clone()
	n.take(g)
	if g.identity != nil {
		n.update(g.identity)
	}
	n.stepUp, n.claims = false, ""
	return n
}

// movedTo returns the record with another refresh token. It must be unpacked.
func (r *record) movedTo(refresh secret) *record {
	n := r.clone()
	n.refresh, n.packed, n.sealed = refresh, nil, ""
	return n
}

func (r *record) take(g *grant) {
	r.access, r.refresh = g.access, g.refresh
	if r.userKey != "" && !r.stored {
		r.refresh = ""
	}
	r.renewed, r.expiry, r.refreshAt = g.issued, g.expiry, g.refreshAt
	if g.scopes != "" {
		r.scopes = g.scopes
	}
	if r.layout.keepsIDToken && !r.stored && g.idToken != "" && len(g.idToken) <= maxIDTokenKept {
		r.idToken = secret(g.idToken)
	}
	r.shed = false
	r.packed, r.sealed = nil, ""
}

// maxIDTokenKept is the longest ID token, in bytes, that is kept for signing out:
// the address of the provider's sign-out page has it, in a line of header that
// proxies have to let through.
const maxIDTokenKept = 2500

// identify is for the ID token of a sign-in.
func (r *record) identify(id *identity) {
	r.user, r.extra = id.user, id.extra
	r.own()
	r.sid, r.loginHint, r.authTime, r.contexts = id.sid, id.loginHint, id.authTime, id.contexts
	r.packed, r.sealed = nil, ""
}

// update is for the ID token of a renewal. It need not repeat how somebody is
// called or what the sign-in has proved (OpenID Connect Core section 12.2), and it
// proves nothing: its auth_time may be a newer one.
func (r *record) update(id *identity) {
	before := r.user
	r.user, r.extra = id.user, id.extra
	r.own() // whoever waited for this renewal has the same identity
	r.user.Name = cmp.Or(r.user.Name, before.Name)
	r.user.Username = cmp.Or(r.user.Username, before.Username)
	if r.user.Email == "" {
		r.user.Email, r.user.EmailVerified = before.Email, before.EmailVerified
	}
	r.sid, r.loginHint = cmp.Or(id.sid, r.sid), cmp.Or(id.loginHint, r.loginHint)
	if len(id.contexts) > 0 {
		r.contexts = id.contexts
	}
	r.packed, r.sealed = nil, ""
}

// clone makes a copy to change. Lists and texts are never changed in place.
func (r *record) clone() *record {
	c := *r
	return &c
}

// hint leads Microsoft to the person whose session it is, "" if nothing does: a
// guest's name in the directory is not what the guest signs in with.
func (r *record) hint() string {
	if r.loginHint == "" && strings.Contains(r.user.Username, "#") {
		return ""
	}
	return cmp.Or(r.loginHint, r.user.Username)
}

// scopeList parts the granted scopes.
func (r *record) scopeList() []string { return strings.Fields(r.scopes) }

// admits checks an identity against today's configuration.
func admits(u *account, tenant string, allowed []string) bool {
	switch {
	case tenant == "": // another OpenID provider
		return true
	case tenant == "organizations" && u.personal(), tenant == "consumers" && !u.personal():
		return false
	case u.TenantID != tenant && guidForm.MatchString(tenant):
		return false
	}
	return len(allowed) == 0 || slices.Contains(allowed, u.TenantID)
}
