package session

import (
	"encoding/binary"
	"encoding/json"
	"strings"

	"example.com/msauth/internal/compact"
	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/seal"
)

// The first byte of a payload says what it is.
const (
	// FormatGob begins the payload of an app's own session (CookieStore of
	// package msauth).
	FormatGob = 'g'
	// formatSession begins the identity part of a Record, formatPlaced that of one
	// with a Place, and formatBound that of one with a Place, which may be zero, and
	// a Device.
	formatSession = 2
	formatPlaced  = 3
	formatBound   = 4
)

// The identity part of a record is, after the format byte: ID, Attempt and
// Nonce; a byte of the flags below; the number of rounds with flagSince, and the
// digest Asked, where there are any; the times; Place, where the format says so;
// the texts that every record has;
// a byte that says which others follow; those; and the lists.
const (
	flagEmailVerified = 1 << iota
	flagOverage
	flagShed
	flagStepUp
	flagAuthTime
	flagSameEmail // the e-mail address is the user name, and written as ""
	flagRounds
	flagAsked
)

// flagSince is in the byte of the rounds. The lowest bit of that byte had a
// meaning in earlier versions and is ignored.
const flagSince = 1 << 7

// epoch is where times are counted from: the start of 2025, UTC.
const epoch = 1735689600

// The number of texts that every record has, and of those that it may have.
const (
	alwaysTexts   = 9
	optionalTexts = 5
)

// Which lists a record has, beside one bit for each of the optional texts, from
// the lowest on.
const (
	thereRoles    = 1 << (optionalTexts + iota)
	thereGroups   = 1 << (optionalTexts + iota)
	thereContexts = 1 << (optionalTexts + iota)
)

// Places in texts.
const (
	issuerText = 0
	tenantText = 2
	emailText  = 6
)

// texts returns where the record has its texts, in the order in which they are
// written.
func (r *Record) texts() [alwaysTexts + optionalTexts]*string {
	u := &r.User
	return [...]*string{
		&u.Issuer, &u.Subject, &u.TenantID, &u.ObjectID, &u.Name, &u.Username, &u.Email, &r.sid, &r.Scopes,
		&r.LoginHint, &r.AppData, &r.extra, &r.Claims, &r.UserKey,
	}
}

func flag(set bool, bit byte) byte {
	if set {
		return bit
	}
	return 0
}

// Encode returns the two parts of the payload. The identity part is read on every
// request. The token part is unpacked only when somebody needs a token, and
// refers to texts of the identity part.
//
// The token part must have been opened: see open. Encode keeps it in Packed.
func (r *Record) Encode() (identity, tokens []byte) {
	format := byte(formatSession)
	switch {
	case r.Device != [8]byte{}:
		format = formatBound
	case r.Place.Position != 0:
		format = formatPlaced
	}
	e := compact.Encoder{B: append(make([]byte, 0, 512), format)}
	r.encodeFixed(&e)
	if format != formatSession {
		e.B = binary.AppendUvarint(binary.BigEndian.AppendUint16(e.B, r.Place.Era), r.Place.Position)
	}
	if format == formatBound {
		e.B = append(e.B, r.Device[:]...)
	}
	r.encodeTexts(&e)
	return e.B, r.tokens()
}

// encodeFixed writes ids, flags and times. The times are close to each other,
// so that their differences take a byte or two.
func (r *Record) encodeFixed(e *compact.Encoder) {
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
}

// encodeTexts writes texts and lists. What follows from other fields is written
// as "".
func (r *Record) encodeTexts(e *compact.Encoder) {
	u := &r.User
	texts, none := r.texts(), ""
	if u.Issuer == provider.TenantIssuer(r.Layout.Authority, u.TenantID) {
		texts[issuerText] = &none
	}
	if u.Email == u.Username {
		texts[emailText] = &none
	}
	for _, text := range texts[:alwaysTexts] {
		e.Text(*text)
	}
	there := flag(len(u.Roles) > 0, thereRoles) | flag(len(u.Groups) > 0, thereGroups) | flag(len(r.Contexts) > 0, thereContexts)
	for i, text := range texts[alwaysTexts:] {
		there |= flag(*text != "", 1<<i)
	}
	e.B = append(e.B, there)
	for _, text := range texts[alwaysTexts:] {
		if *text != "" {
			e.Text(*text)
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
}

// DecodeRecord reads an identity part. The record has no tokens until its caller
// sets Packed.
func DecodeRecord(identity []byte, of *Layout) (*Record, error) {
	r := new(Record)
	if err := r.decode(identity, of); err != nil {
		return nil, err
	}
	return r, nil
}

// decode reads an identity part into r, which is new. It keeps none of its memory.
func (r *Record) decode(identity []byte, of *Layout) error {
	if len(identity) < 1 || identity[0] < formatSession || identity[0] > formatBound {
		return compact.ErrMalformed
	}
	r.Layout = of
	d := compact.Decoder{B: identity[1:]}
	flags := r.decodeFixed(&d)
	if identity[0] != formatSession {
		r.Place = decodePlace(&d)
	}
	if identity[0] == formatBound {
		copy(r.Device[:], d.Bytes(len(r.Device)))
	}
	if !r.decodeTexts(&d) {
		return compact.ErrMalformed
	}
	if flags&flagSameEmail != 0 {
		r.User.Email = r.User.Username
	}
	if r.extra != "" {
		if err := json.Unmarshal([]byte(r.extra), &r.User.Claims); err != nil {
			return compact.ErrMalformed
		}
	}
	return nil
}

// decodeFixed reads what encodeFixed has written.
func (r *Record) decodeFixed(d *compact.Decoder) (flags byte) {
	copy(r.ID[:], d.Bytes(len(r.ID)))
	copy(r.Attempt[:], d.Bytes(len(r.Attempt)))
	copy(r.Nonce[:], d.Bytes(len(r.Nonce)))
	flags = d.Flags()
	r.User.EmailVerified = flags&flagEmailVerified != 0
	r.User.GroupsOverage = flags&flagOverage != 0
	r.Shed = flags&flagShed != 0
	r.StepUp = flags&flagStepUp != 0
	var rounds byte
	if flags&flagRounds != 0 {
		rounds = d.Flags()
		r.Rounds = rounds &^ flagSince >> 1
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
	return flags
}

// decodeTexts reads what encodeTexts has written, to the end of the part, and
// reports whether it was well-formed. All texts of a record share one piece of
// memory: they are read into one buffer, made one string, and cut out of that.
func (r *Record) decodeTexts(d *compact.Decoder) bool {
	buffer := compact.Buffer()
	defer compact.Release(buffer)
	out := (*buffer)[:0]
	var room [32]int
	ends := room[:0]
	texts := r.texts()
	for range alwaysTexts {
		out = d.AppendText(out, d.Uvarint(), 0)
		ends = append(ends, len(out))
	}
	there := d.Flags()
	for i := range optionalTexts {
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
		return false
	}
	tenant := out[ends[tenantText-1]:ends[tenantText]]
	if ends[issuerText] == 0 && r.Layout.Authority != "" && len(tenant) > 0 {
		out = provider.AppendTenantIssuer(out, r.Layout.Authority, tenant)
	}
	*buffer = out
	all := cut{text: string(out)}
	for i, text := range texts {
		*text = all.next(ends[i])
	}
	ends = ends[len(texts):]
	r.User.Roles, r.given.roles = all.twice(ends[:roles])
	r.User.Groups, r.given.groups = all.twice(ends[roles : roles+groups])
	if contexts > 0 {
		r.Contexts = make([]string, contexts)
		for i, end := range ends[roles+groups:] {
			r.Contexts[i] = all.next(end)
		}
	}
	if r.User.Issuer == "" {
		r.User.Issuer = all.text[all.from:]
	}
	return true
}

// A cut divides a text into the texts that it consists of. It does not have
// their ends itself, which would move them to the heap.
type cut struct {
	text string
	from int // where the next one begins
}

// next returns the text that ends at end.
func (c *cut) next(end int) string {
	text := c.text[c.from:end]
	c.from = end
	return text
}

// twice returns the texts that end at ends as two lists in one piece of memory,
// neither of which grows into the other.
func (c *cut) twice(ends []int) (one, other []string) {
	n := len(ends)
	if n == 0 {
		return nil, nil
	}
	both := make([]string, 2*n)
	one, other = both[:n:n], both[n:]
	for i, end := range ends {
		one[i] = c.next(end)
	}
	copy(other, one)
	return one, other
}

// known returns the texts of the identity part that the tokens are likely to
// repeat. An outsider can choose none of them, except one who chooses what is in
// the tokens too. The places in the list are part of the format.
//
// They are put into texts, which so can be the caller's.
func (r *Record) known(texts *knownTexts) compact.Dictionary {
	u := &r.User
	given, _, _ := strings.Cut(u.Name, " ")
	family := u.Name[strings.LastIndexByte(u.Name, ' ')+1:]
	*texts = knownTexts{
		r.Layout.ClientID, u.TenantID, u.ObjectID, u.Subject, r.sid, u.Name, u.Username, u.Email, u.Issuer,
		"https://sts.windows.net/" + u.TenantID + "/", given, family, r.LoginHint,
	}
	return compact.Dictionary{Texts: texts[:], Groups: u.Groups, Time: r.Renewed}
}

type knownTexts [13]string

// tokens returns the token part, which must have been opened.
func (r *Record) tokens() []byte {
	if r.Packed == nil {
		access := r.Access
		if r.Shed {
			access = ""
		}
		e := compact.Encoder{B: make([]byte, 0, 3000), Known: r.known(new(knownTexts))}
		e.Token(string(access))
		e.Token(string(r.Refresh))
		if r.IDToken != "" {
			e.Token(string(r.IDToken))
		}
		r.Packed = e.B
	}
	return r.Packed
}

// open opens the token part that cookies brought, for Encode to write it again
// as it is.
func (r *Record) open() (err error) {
	if r.Packed == nil && r.sealed != "" {
		r.Packed, err = r.cookies.openTail(r.sealed, new([]byte))
	}
	return err
}

// Unpack fills in Access, Refresh and IDToken from the token part. It changes
// the record: nobody else may be reading it.
func (r *Record) Unpack() error {
	if r.Unpacked() || r.Packed == nil && r.sealed == "" {
		return nil
	}
	if err := r.open(); err != nil {
		return err
	}
	d := compact.Decoder{B: r.Packed, Known: r.known(new(knownTexts))}
	access, refresh, idToken := d.Text(), d.Text(), ""
	if !d.Bad && !d.Done() && r.Layout.KeepsIDToken {
		idToken = d.Text()
	}
	if !d.Done() {
		return compact.ErrMalformed
	}
	r.Access, r.Refresh, r.IDToken = seal.Secret(access), seal.Secret(refresh), seal.Secret(idToken)
	return nil
}

// Unpacked reports whether the record's tokens can be read from its fields.
func (r *Record) Unpacked() bool { return r.Access != "" || r.Refresh != "" || r.IDToken != "" }

// AccessToken returns the access token and leaves the record as it is.
func (r *Record) AccessToken() (seal.Secret, error) {
	if r.Unpacked() || r.Packed == nil && r.sealed == "" {
		return r.Access, nil
	}
	var texts knownTexts
	d := compact.Decoder{B: r.Packed, Known: r.known(&texts)}
	if d.B == nil {
		buffer := compact.Buffer()
		defer func() {
			clear(*buffer) // both tokens were in it
			compact.Release(buffer)
		}()
		var err error
		if d.B, err = r.cookies.openTail(r.sealed, buffer); err != nil {
			return "", err
		}
	}
	access := d.Text()
	if d.Bad {
		return "", compact.ErrMalformed
	}
	return seal.Secret(access), nil
}

// JoinParts makes one payload of the two parts of a record: the length of the
// identity part, and both.
func JoinParts(identity, tokens []byte) []byte {
	joined := binary.AppendUvarint(make([]byte, 0, len(identity)+len(tokens)+2), uint64(len(identity)))
	return append(append(joined, identity...), tokens...)
}

// SplitParts undoes JoinParts.
func SplitParts(joined []byte) (identity, tokens []byte, err error) {
	size, width := binary.Uvarint(joined)
	if width <= 0 || size > uint64(len(joined)-width) {
		return nil, nil, compact.ErrMalformed
	}
	joined = joined[width:]
	return joined[:size], joined[size:], nil
}
