package compact

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
	"sync"

	"example.com/msauth/internal/seal"
)

// A session travels with every request, so its texts are written in as few
// bytes as their kind allows: ids as the bytes they stand for, base64 undone
// where that is exact, words that everybody has as a number, texts that stand
// elsewhere in the session as a reference. The JSON of signed tokens is taken
// apart and its values are written like other texts. Compressing would gain
// nothing beyond: what is left is random.
//
// Everything begins with a number, whose lowest three bits are its kind. A
// kind must keep its meaning as long as the format byte of the payload does.
const (
	kindPlain   = iota // text, n bytes
	kindURL            // base64url of n bytes
	kindStd            // standard base64 of n bytes, as in access tokens of personal accounts
	kindLegacy         // base64 of n bytes with * ! $ for + / =, as in refresh tokens of personal accounts
	kindKnown          // n = 0: the text value before in this JSON; otherwise a reference or a word
	kindGUID           // 16 bytes
	kindSpecial        // n is one of the following
)

const (
	specialDots   = iota // a count, and so many texts with dots between them
	specialSpaces        // the same with spaces
	specialPair          // two texts, one after the other
	specialJSON          // base64url of the JSON value that follows

	// Values of JSON that are no text:
	specialNull
	specialTrue
	specialFalse
	specialInt     // the difference to the integer before
	specialLiteral // a number of another form, as a text
	specialObject  // members: a claim's number, or 1 and a text, and a value; 0 ends them
	specialArray   // values up to specialEnd
	specialEnd
	specialGroups // the array of User.Groups
)

const (
	// maxTexts bounds the bytes of a text, or of all texts of a record: what is
	// a reference in the payload can be longer outside.
	maxTexts = 1 << 20
	// maxDepth bounds how deep JSON may be nested, and the parts of a text.
	maxDepth = 8
	// inJSON is the depth of texts in JSON, where no other JSON is expected.
	inJSON = 2
)

var (
	base64Std    = base64.StdEncoding.Strict()
	base64Legacy = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789*!").WithPadding('$').Strict()
	encodings    = [...]*base64.Encoding{kindURL: seal.Base64url, kindStd: base64Std, kindLegacy: base64Legacy}
)

var ErrMalformed = errors.New("msauth: malformed session")

// Dictionary is what the texts of a session may refer to.
type Dictionary struct {
	Texts  []string // of the session
	Groups []string
	Time   int64 // near which the first integer is expected
}

// An Encoder appends to b.
type Encoder struct {
	B     []byte
	Known Dictionary
	depth int
}

func (e *Encoder) number(n uint64, kind byte) {
	e.B = binary.AppendUvarint(e.B, n<<3|uint64(kind))
}

// Text writes a text in the shortest way.
func (e *Encoder) Text(s string) {
	if s == "" {
		e.number(0, kindPlain)
		return
	}
	for i, text := range e.Known.Texts {
		if s == text {
			e.number(1+uint64(i), kindKnown)
			return
		}
	}
	if i, ok := wordNumbers[s]; ok {
		e.number(1+uint64(len(e.Known.Texts)+i), kindKnown)
		return
	}
	if guid, ok := packGUID(s); ok {
		e.number(0, kindGUID)
		e.B = append(e.B, guid[:]...)
		return
	}
	start := len(e.B)
	if kind := base64Kind(s); kind != kindPlain {
		n := encodings[kind].DecodedLen(len(s)) - (len(s) - len(strings.TrimRight(s, "=$")))
		e.number(uint64(n), kind)
		before := len(e.B)
		var err error
		if e.B, err = encodings[kind].AppendDecode(e.B, []byte(s)); err == nil && len(e.B) == before+n {
			return
		}
		e.B = e.B[:start]
	}
	e.number(uint64(len(s)), kindPlain)
	e.B = append(e.B, s...)
	if e.depth == maxDepth {
		return
	}
	// What consists of parts may be shorter part by part.
	e.depth++
	for i, separator := range separators {
		if strings.Contains(s, separator) {
			plain := len(e.B)
			e.number(uint64(i), kindSpecial)
			e.B = binary.AppendUvarint(e.B, 1+uint64(strings.Count(s, separator)))
			for part := range strings.SplitSeq(s, separator) {
				e.Text(part)
			}
			e.keepShorter(start, plain)
		}
	}
	plain := len(e.B)
	if head, tail := base64Head(s); head != "" {
		e.number(specialPair, kindSpecial)
		e.Text(head)
		e.Text(tail)
		e.keepShorter(start, plain)
	}
	e.depth--
}

var separators = [...]string{specialDots: ".", specialSpaces: " "}

// keepShorter keeps what b has from middle on in place of what it has from
// start to middle, or the other way round.
func (e *Encoder) keepShorter(start, middle int) {
	if len(e.B)-middle < middle-start {
		e.B = append(e.B[:start], e.B[middle:]...)
	} else {
		e.B = e.B[:middle]
	}
}

// base64Kind is the one kind of base64 that a text can be, judged by its
// characters, or kindPlain.
func base64Kind(s string) byte {
	kind := byte(kindURL)
	for i := range len(s) {
		var now byte
		switch c := s[i]; {
		case c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z':
			continue
		case c == '-' || c == '_':
			now = kindURL
		case c == '+' || c == '/' || c == '=':
			now = kindStd
		case c == '*' || c == '!' || c == '$':
			now = kindLegacy
		}
		if now == kindPlain || kind != now && kind != kindURL {
			return kindPlain
		}
		kind = now
	}
	return kind
}

// base64Head splits texts that are base64 but for their beginning or end: a
// leading dash, or a last group that is not whole.
func base64Head(s string) (head, tail string) {
	if rest, ok := strings.CutPrefix(s, "-"); ok && len(rest)%4 == 0 && len(rest) > 0 {
		return "-", rest
	}
	if len(s) < 12 || len(s)%4 == 0 {
		return "", ""
	}
	return s[:len(s)/4*4], s[len(s)/4*4:]
}

func (e *Encoder) List(l []string) {
	e.B = binary.AppendUvarint(e.B, uint64(len(l)))
	for _, s := range l {
		e.Text(s)
	}
}

// Guids writes a list like list does, and one of GUIDs, of which there can be
// hundreds, in 16 bytes each.
func (e *Encoder) Guids(l []string) {
	start := len(e.B)
	e.B = binary.AppendUvarint(e.B, uint64(len(l))<<1|1)
	for _, s := range l {
		guid, ok := packGUID(s)
		if !ok {
			e.B = binary.AppendUvarint(e.B[:start], uint64(len(l))<<1)
			for _, s := range l {
				e.Text(s)
			}
			return
		}
		e.B = append(e.B, guid[:]...)
	}
}

// Token writes a token. JSON in it that cannot be taken apart, or that would
// not come back byte for byte, is written as the base64 that it is.
func (e *Encoder) Token(token string) {
	segments := strings.Split(token, ".")
	if len(segments) != 3 {
		e.Text(token)
		return
	}
	e.number(specialDots, kindSpecial)
	e.B = binary.AppendUvarint(e.B, 3)
	for i, segment := range segments {
		if i == 2 || !e.json(segment) {
			e.Text(segment)
		}
	}
}

// A Decoder reads what an encoder wrote. It is bad from the first thing on that
// none would have written. Places are numbers, and what it writes is handed
// on, because storing pointers is what costs while memory is being collected.
type Decoder struct {
	B     []byte
	At    int
	Known Dictionary
	Bad   bool

	from, to int // of the text value before, in the JSON that is being written
}

func (d *Decoder) fail() { d.Bad, d.At = true, len(d.B) }

// Done reports whether b was read to its end, and was good.
func (d *Decoder) Done() bool { return !d.Bad && d.At == len(d.B) }

func (d *Decoder) Bytes(n int) []byte {
	if n < 0 || n > len(d.B)-d.At {
		d.fail()
		return nil
	}
	d.At += n
	return d.B[d.At-n : d.At]
}

func (d *Decoder) Flags() byte {
	if b := d.Bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *Decoder) Varint() int64 {
	v, width := binary.Varint(d.B[d.At:])
	if width <= 0 {
		d.fail()
		return 0
	}
	d.At += width
	return v
}

func (d *Decoder) Uvarint() uint64 {
	if d.At < len(d.B) && d.B[d.At] < 0x80 { // most of them
		d.At++
		return uint64(d.B[d.At-1])
	}
	v, width := binary.Uvarint(d.B[d.At:])
	if width <= 0 {
		d.fail()
		return 0
	}
	d.At += width
	return v
}

// count is n, if there can be so many things that take each bytes at least.
func (d *Decoder) count(n uint64, each int) int {
	if n > uint64((len(d.B)-d.At)/each) {
		d.fail()
		return 0
	}
	return int(n)
}

// Text reads a text into memory of its own.
func (d *Decoder) Text() string {
	buffer := Buffers.Get().(*[]byte)
	defer Buffers.Put(buffer)
	*buffer = d.AppendText((*buffer)[:0], d.Uvarint(), 0)
	return string(*buffer)
}

// Buffers are for texts that are copied when they are complete.
var Buffers = sync.Pool{New: func() any {
	b := make([]byte, 0, 4<<10)
	return &b
}}

// AppendList appends the texts of a list to out, their ends to ends, and
// returns how many there are.
func (d *Decoder) AppendList(out []byte, ends []int) ([]byte, []int, int) {
	return d.appendTexts(out, ends, d.Uvarint())
}

func (d *Decoder) appendTexts(out []byte, ends []int, n uint64) ([]byte, []int, int) {
	count := d.count(n, 1)
	for range count {
		out = d.AppendText(out, d.Uvarint(), 0)
		ends = append(ends, len(out))
	}
	return out, ends, count
}

// AppendGUIDs is appendList for what encoder.guids wrote.
func (d *Decoder) AppendGUIDs(out []byte, ends []int) ([]byte, []int, int) {
	n := d.Uvarint()
	if n&1 == 0 {
		return d.appendTexts(out, ends, n>>1)
	}
	count := d.count(n>>1, 16)
	for range count {
		guid := unpackGUID([16]byte(d.Bytes(16)))
		out = append(out, guid[:]...)
		ends = append(ends, len(out))
	}
	return out, ends, count
}

// AppendText appends the text that begins with number.
func (d *Decoder) AppendText(out []byte, number uint64, depth int) []byte {
	kind, n := byte(number&7), number>>3
	switch {
	case len(out) > maxTexts || depth > 2*maxDepth:
		d.fail()
	case kind == kindPlain:
		return append(out, d.Bytes(d.count(n, 1))...)
	case kind == kindURL, kind == kindStd, kind == kindLegacy:
		return encodings[kind].AppendEncode(out, d.Bytes(d.count(n, 1)))
	case kind == kindKnown && n-1 < uint64(len(d.Known.Texts)):
		return append(out, d.Known.Texts[n-1]...)
	case kind == kindKnown && n-1-uint64(len(d.Known.Texts)) < uint64(len(words)):
		return append(out, words[n-1-uint64(len(d.Known.Texts))]...)
	case kind == kindGUID && n == 0 && len(d.B)-d.At >= 16:
		guid := unpackGUID([16]byte(d.Bytes(16)))
		return append(out, guid[:]...)
	case kind == kindSpecial && (n == specialDots || n == specialSpaces):
		for i := range d.count(d.Uvarint(), 1) {
			if i > 0 {
				out = append(out, separators[n]...)
			}
			out = d.AppendText(out, d.Uvarint(), depth+1)
		}
		return out
	case kind == kindSpecial && n == specialPair:
		out = d.AppendText(out, d.Uvarint(), depth+1)
		return d.AppendText(out, d.Uvarint(), depth+1)
	case kind == kindSpecial && n == specialJSON && depth < inJSON:
		buffer := Buffers.Get().(*[]byte)
		defer Buffers.Put(buffer)
		*buffer = d.appendJSON((*buffer)[:0])
		return seal.Base64url.AppendEncode(out, *buffer)
	default:
		d.fail()
	}
	return out
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

func unpackGUID(b [16]byte) (out [36]byte) {
	hex.Encode(out[0:8], b[0:4])
	hex.Encode(out[9:13], b[4:6])
	hex.Encode(out[14:18], b[6:8])
	hex.Encode(out[19:23], b[8:10])
	hex.Encode(out[24:36], b[10:16])
	out[8], out[13], out[18], out[23] = '-', '-', '-', '-'
	return out
}

func numbersOf(list []string) map[string]int {
	numbers := make(map[string]int, len(list))
	for i, text := range list {
		numbers[text] = i
	}
	return numbers
}

var wordNumbers, claimNumbers = numbersOf(words[:]), numbersOf(claimNames[:])

// words are texts that many sessions have in common, from Microsoft's public
// documentation. What stands in the list must stay in its place: new words go
// to the end.
var words = [...]string{
	"openid", "profile", "email", "User.Read", "9188040d-6c67-4c5b-b112-36a304b66dad", "offline_access",
	"https://graph.microsoft.com", "00000003-0000-0000-c000-000000000000", "RS256",
	"Files.Read", "Files.Read.All", "Files.ReadWrite", "Files.ReadWrite.All", "Mail.Read", "Mail.ReadWrite", "Mail.Send",
	"Calendars.Read", "Calendars.ReadWrite", "Contacts.Read", "User.ReadBasic.All", "Group.Read.All", "Directory.Read.All",
	"Sites.Read.All", "Tasks.Read", "Tasks.ReadWrite", "Notes.Read", "People.Read", "Presence.Read", "Chat.Read",
	"Contacts.ReadWrite", "Notes.ReadWrite", "Sites.ReadWrite.All", "User.Read.All", "User.ReadWrite",
	"b79fbf4d-3ef9-4689-8143-76b194e85509", // wids of everybody without a directory role
	"dvc_mngd", "dvc_cmp", "dvc_dmjd", "inknownntwk", "kmsi", "urn:user:registersecurityinfo",
	"user", "fido", "wia", "1.0", "2.0",
}
