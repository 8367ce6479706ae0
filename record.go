package msauth

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"
)

// A record is everything that is kept of one session: the payload of its
// cookie, or of its entry in a server-side store. Nothing of an ID token but
// the claims below is kept.
//
// Layout: the format byte; the registration; a length and the identity part,
// which is read on every request; and the token part to the end, which is
// unpacked only when somebody needs a token.
type record struct {
	id      [16]byte  // of this session; random
	attempt attemptID // the sign-in that made it
	nonce   [8]byte   // digest of that sign-in's nonce, for renewed ID tokens

	signedIn  int64 // Unix seconds, as all times here
	used      int64 // last use, noted in steps
	renewed   int64 // when the tokens were issued
	expiry    int64 // of the access token
	refreshAt int64 // when to renew it
	authTime  int64 // auth_time of the ID token, 0 if it had none

	shed   bool   // the access token was left out
	stepUp bool   // Microsoft wants more of the person before it renews
	claims string // the claims challenge that came with that, JSON

	user      User
	extra     string // user.Claims as JSON
	appData   string
	scopes    string // granted, parted by spaces
	sid       string // Microsoft's session id
	loginHint string

	access, refresh secret
	packed          []byte // the token part; nil when it must be made anew

	surplus bool // cookies came that the session no longer needs
}

const (
	flagEmailVerified = 1 << iota
	flagOverage
	flagShed
	flagStepUp
)

var errRecord = errors.New("msauth: malformed session")

// history is the text that the tokens are likely to repeat, made from the
// identity part. Nothing in it can be chosen by an outsider who does not also
// choose what stands in the tokens.
func (r *record) history() []byte {
	var h []byte
	for _, s := range [...]string{r.scopes, r.user.Email, r.user.TenantID, r.user.ObjectID, r.user.Subject, r.sid, r.user.Name, r.user.Username} {
		h = append(append(h, s...), '"')
	}
	return h
}

// encode makes the payload. authority is that of the configuration: issuers
// follow from it and need not be written.
func (r *record) encode(reg registration, authority string) []byte {
	e := encoder{b: make([]byte, 0, 512)}
	e.b = append(e.b, r.id[:]...)
	e.b = append(e.b, r.attempt[:]...)
	e.b = append(e.b, r.nonce[:]...)
	var flags byte
	for bit, set := range map[byte]bool{
		flagEmailVerified: r.user.EmailVerified, flagOverage: r.user.GroupsOverage, flagShed: r.shed, flagStepUp: r.stepUp,
	} {
		if set {
			flags |= bit
		}
	}
	e.b = append(e.b, flags)
	for _, t := range [...]int64{r.signedIn, r.used, r.renewed, r.expiry, r.refreshAt, r.authTime} {
		e.b = binary.AppendVarint(e.b, t)
	}
	u := &r.user
	issuer := u.Issuer
	if issuer == tenantIssuer(authority, u.TenantID) {
		issuer = ""
	}
	for _, s := range [...]string{
		issuer, u.Subject, u.TenantID, u.ObjectID, u.Name, u.Username, u.Email,
		r.scopes, r.sid, r.loginHint, r.appData, r.extra, r.claims,
	} {
		e.text(s)
	}
	e.list(u.Roles)
	e.list(u.Groups)

	out := make([]byte, 0, len(e.b)+3000)
	out = append(out, formatSession)
	out = append(out, reg[:]...)
	out = binary.AppendUvarint(out, uint64(len(e.b)))
	out = append(out, e.b...)
	if r.packed == nil {
		access := r.access
		if r.shed {
			access = ""
		}
		r.packed = packTokens(r.history(), access, r.refresh)
	}
	return append(out, r.packed...)
}

// decode reads the identity part of a payload. The record keeps the rest of
// the payload and must own it.
func decodeRecord(payload []byte, reg registration, authority string) (*record, error) {
	if len(payload) < 1+len(reg) || payload[0] != formatSession || registration(payload[1:1+len(reg)]) != reg {
		return nil, errRecord
	}
	payload = payload[1+len(reg):]
	size, width := binary.Uvarint(payload)
	if width <= 0 || size > uint64(len(payload)-width) {
		return nil, errRecord
	}
	identity := payload[width : width+int(size)]
	r := &record{packed: payload[width+int(size):]}

	d := decoder{b: identity, s: string(identity)}
	copy(r.id[:], d.bytes(len(r.id)))
	copy(r.attempt[:], d.bytes(len(r.attempt)))
	copy(r.nonce[:], d.bytes(len(r.nonce)))
	var flags byte
	if f := d.bytes(1); len(f) == 1 {
		flags = f[0]
	}
	r.user.EmailVerified = flags&flagEmailVerified != 0
	r.user.GroupsOverage = flags&flagOverage != 0
	r.shed = flags&flagShed != 0
	r.stepUp = flags&flagStepUp != 0
	for _, t := range [...]*int64{&r.signedIn, &r.used, &r.renewed, &r.expiry, &r.refreshAt, &r.authTime} {
		*t = d.varint()
	}
	u := &r.user
	for _, s := range [...]*string{
		&u.Issuer, &u.Subject, &u.TenantID, &u.ObjectID, &u.Name, &u.Username, &u.Email,
		&r.scopes, &r.sid, &r.loginHint, &r.appData, &r.extra, &r.claims,
	} {
		*s = d.text()
	}
	u.Roles, u.Groups = d.list(), d.list()
	if d.bad || len(d.b) > 0 {
		return nil, errRecord
	}
	if u.Issuer == "" {
		u.Issuer = tenantIssuer(authority, u.TenantID)
	}
	if r.extra != "" {
		if err := json.Unmarshal([]byte(r.extra), &u.Claims); err != nil {
			return nil, errRecord
		}
	}
	return r, nil
}

// unpack makes access and refresh readable.
func (r *record) unpack() error {
	if r.packed == nil || r.unpacked() {
		return nil
	}
	return unpackTokens(r.history(), r.packed, &r.access, &r.refresh)
}

func (r *record) unpacked() bool { return r.access != "" || r.refresh != "" }

// ends is the session's absolute end.
func (r *record) ends(maxAge time.Duration) time.Time { return time.Unix(r.signedIn, 0).Add(maxAge) }

// shrink leaves out the next thing that a session can do without, in the order
// that Config.CookieBudget documents, and reports what, or "" at the end.
func (r *record) shrink() string {
	r.packed = nil
	switch {
	case !r.shed && r.access != "":
		r.shed = true
		return "access token"
	case len(r.user.Groups) > 0:
		r.user.Groups, r.user.GroupsOverage = nil, true
		return "groups"
	case r.extra != "":
		r.extra, r.user.Claims = "", nil
		return "claims"
	}
	return ""
}

// A text is written as its length and its bytes. GUIDs, of which there can be
// hundreds, are written as their 16 bytes; the lowest bit of the length tells.
type encoder struct{ b []byte }

func (e *encoder) text(s string) {
	if guid, ok := packGUID(s); ok {
		e.b = append(append(e.b, 1), guid[:]...)
		return
	}
	e.b = append(binary.AppendUvarint(e.b, uint64(len(s))<<1), s...)
}

func (e *encoder) list(l []string) {
	e.b = binary.AppendUvarint(e.b, uint64(len(l)))
	for _, s := range l {
		e.text(s)
	}
}

// decoder reads b; s is the same as a string, so that texts need no copies.
type decoder struct {
	b   []byte
	s   string
	bad bool
}

func (d *decoder) bytes(n int) []byte {
	if n < 0 || n > len(d.b) {
		d.bad, d.b, d.s = true, nil, ""
		return nil
	}
	var taken []byte
	taken, d.b, d.s = d.b[:n], d.b[n:], d.s[n:]
	return taken
}

func (d *decoder) varint() int64 {
	v, width := binary.Varint(d.b)
	if width <= 0 {
		d.bad = true
		return 0
	}
	d.bytes(width)
	return v
}

func (d *decoder) uvarint() uint64 {
	v, width := binary.Uvarint(d.b)
	if width <= 0 {
		d.bad = true
		return 0
	}
	d.bytes(width)
	return v
}

func (d *decoder) text() string {
	n := d.uvarint()
	if n == 1 {
		return unpackGUID(d.bytes(16))
	}
	if n&1 != 0 || n>>1 > uint64(len(d.b)) {
		d.bad = true
		return ""
	}
	s := d.s[:n>>1]
	d.bytes(int(n >> 1))
	return s
}

func (d *decoder) list() []string {
	n := d.uvarint()
	if n == 0 || n > uint64(len(d.b)) {
		d.bad = d.bad || n != 0
		return nil
	}
	l := make([]string, n)
	for i := range l {
		l[i] = d.text()
	}
	return l
}

// packGUID takes the lower-case form only, which is the one it gives back.
func packGUID(s string) (guid [16]byte, ok bool) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return guid, false
	}
	var digits [32]byte
	n := 0
	for i := range len(s) {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			continue
		}
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return guid, false
		}
		digits[n] = s[i]
		n++
	}
	_, err := hex.Decode(guid[:], digits[:])
	return guid, err == nil
}

func unpackGUID(b []byte) string {
	if len(b) != 16 {
		return ""
	}
	var out [36]byte
	hex.Encode(out[0:8], b[0:4])
	hex.Encode(out[9:13], b[4:6])
	hex.Encode(out[14:18], b[6:8])
	hex.Encode(out[19:23], b[8:10])
	hex.Encode(out[24:36], b[10:16])
	out[8], out[13], out[18], out[23] = '-', '-', '-', '-'
	return string(out[:])
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
		n.identify(g.identity)
	}
	n.stepUp, n.claims = false, ""
	return n
}

func (r *record) take(g *grant) {
	r.access, r.refresh = g.access, g.refresh
	r.renewed, r.expiry, r.refreshAt = g.issued, g.expiry, g.refreshAt
	r.scopes = g.scopes
	r.shed = false
	r.packed = nil
}

func (r *record) identify(id *identity) {
	r.user, r.extra = id.user, id.extra
	if id.sid != "" {
		r.sid = id.sid
	}
	if id.loginHint != "" {
		r.loginHint = id.loginHint
	}
	if r.authTime == 0 {
		r.authTime = id.authTime
	}
	r.packed = nil
}

// clone makes a copy to change. Lists and texts are never changed in place.
func (r *record) clone() *record {
	c := *r
	return &c
}

// scopeList parts the granted scopes.
func (r *record) scopeList() []string { return strings.Fields(r.scopes) }

// admits checks an identity against today's configuration.
func admits(u *User, tenant string, allowed []string) bool {
	switch {
	case tenant == "": // another OpenID provider
		return true
	case tenant == "organizations" && u.Personal(), tenant == "consumers" && !u.Personal():
		return false
	case guidForm.MatchString(tenant) && u.TenantID != tenant:
		return false
	}
	return len(allowed) == 0 || slices.Contains(allowed, u.TenantID)
}
