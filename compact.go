package msauth

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
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
	encodings    = [...]*base64.Encoding{kindURL: base64url, kindStd: base64Std, kindLegacy: base64Legacy}
)

var errCompact = errors.New("msauth: malformed session")

// known is what the texts of a session may refer to.
type known struct {
	texts  []string // of the session
	groups []string
	time   int64 // near which the first integer is expected
}

// An encoder appends to b.
type encoder struct {
	b     []byte
	known known
	depth int
}

func (e *encoder) number(n uint64, kind byte) {
	e.b = binary.AppendUvarint(e.b, n<<3|uint64(kind))
}

// text writes a text in the shortest way.
func (e *encoder) text(s string) {
	if s == "" {
		e.number(0, kindPlain)
		return
	}
	for i, text := range e.known.texts {
		if s == text {
			e.number(1+uint64(i), kindKnown)
			return
		}
	}
	if i, ok := wordNumbers[s]; ok {
		e.number(1+uint64(len(e.known.texts)+i), kindKnown)
		return
	}
	if guid, ok := packGUID(s); ok {
		e.number(0, kindGUID)
		e.b = append(e.b, guid[:]...)
		return
	}
	start := len(e.b)
	if kind := base64Kind(s); kind != kindPlain {
		n := encodings[kind].DecodedLen(len(s)) - (len(s) - len(strings.TrimRight(s, "=$")))
		e.number(uint64(n), kind)
		before := len(e.b)
		var err error
		if e.b, err = encodings[kind].AppendDecode(e.b, []byte(s)); err == nil && len(e.b) == before+n {
			return
		}
		e.b = e.b[:start]
	}
	e.number(uint64(len(s)), kindPlain)
	e.b = append(e.b, s...)
	if e.depth == maxDepth {
		return
	}
	// What consists of parts may be shorter part by part.
	e.depth++
	for i, separator := range separators {
		if strings.Contains(s, separator) {
			plain := len(e.b)
			e.number(uint64(i), kindSpecial)
			e.b = binary.AppendUvarint(e.b, 1+uint64(strings.Count(s, separator)))
			for part := range strings.SplitSeq(s, separator) {
				e.text(part)
			}
			e.keepShorter(start, plain)
		}
	}
	plain := len(e.b)
	if head, tail := base64Head(s); head != "" {
		e.number(specialPair, kindSpecial)
		e.text(head)
		e.text(tail)
		e.keepShorter(start, plain)
	}
	e.depth--
}

var separators = [...]string{specialDots: ".", specialSpaces: " "}

// keepShorter keeps what b has from middle on in place of what it has from
// start to middle, or the other way round.
func (e *encoder) keepShorter(start, middle int) {
	if len(e.b)-middle < middle-start {
		e.b = append(e.b[:start], e.b[middle:]...)
	} else {
		e.b = e.b[:middle]
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

func (e *encoder) list(l []string) {
	e.b = binary.AppendUvarint(e.b, uint64(len(l)))
	for _, s := range l {
		e.text(s)
	}
}

// guids writes a list like list does, and one of GUIDs, of which there can be
// hundreds, in 16 bytes each.
func (e *encoder) guids(l []string) {
	start := len(e.b)
	e.b = binary.AppendUvarint(e.b, uint64(len(l))<<1|1)
	for _, s := range l {
		guid, ok := packGUID(s)
		if !ok {
			e.b = binary.AppendUvarint(e.b[:start], uint64(len(l))<<1)
			for _, s := range l {
				e.text(s)
			}
			return
		}
		e.b = append(e.b, guid[:]...)
	}
}

// token writes a token. JSON in it that cannot be taken apart, or that would
// not come back byte for byte, is written as the base64 that it is.
func (e *encoder) token(token string) {
	segments := strings.Split(token, ".")
	if len(segments) != 3 {
		e.text(token)
		return
	}
	e.number(specialDots, kindSpecial)
	e.b = binary.AppendUvarint(e.b, 3)
	for i, segment := range segments {
		if i == 2 || !e.json(segment) {
			e.text(segment)
		}
	}
}

// A decoder reads what an encoder wrote. It is bad from the first thing on that
// none would have written. Places are numbers, and what it writes is handed
// on, because storing pointers is what costs while memory is being collected.
type decoder struct {
	b     []byte
	at    int
	known known
	bad   bool

	from, to int // of the text value before, in the JSON that is being written
}

func (d *decoder) fail() { d.bad, d.at = true, len(d.b) }

// done reports whether b was read to its end, and was good.
func (d *decoder) done() bool { return !d.bad && d.at == len(d.b) }

func (d *decoder) bytes(n int) []byte {
	if n < 0 || n > len(d.b)-d.at {
		d.fail()
		return nil
	}
	d.at += n
	return d.b[d.at-n : d.at]
}

func (d *decoder) flags() byte {
	if b := d.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) varint() int64 {
	v, width := binary.Varint(d.b[d.at:])
	if width <= 0 {
		d.fail()
		return 0
	}
	d.at += width
	return v
}

func (d *decoder) uvarint() uint64 {
	if d.at < len(d.b) && d.b[d.at] < 0x80 { // most of them
		d.at++
		return uint64(d.b[d.at-1])
	}
	v, width := binary.Uvarint(d.b[d.at:])
	if width <= 0 {
		d.fail()
		return 0
	}
	d.at += width
	return v
}

// count is n, if there can be so many things that take each bytes at least.
func (d *decoder) count(n uint64, each int) int {
	if n > uint64((len(d.b)-d.at)/each) {
		d.fail()
		return 0
	}
	return int(n)
}

// text reads a text into memory of its own.
func (d *decoder) text() string {
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	*buffer = d.appendText((*buffer)[:0], d.uvarint(), 0)
	return string(*buffer)
}

// buffers are for texts that are copied when they are complete.
var buffers = sync.Pool{New: func() any {
	b := make([]byte, 0, 4<<10)
	return &b
}}

// appendList appends the texts of a list to out, their ends to ends, and
// returns how many there are.
func (d *decoder) appendList(out []byte, ends []int) ([]byte, []int, int) {
	return d.appendTexts(out, ends, d.uvarint())
}

func (d *decoder) appendTexts(out []byte, ends []int, n uint64) ([]byte, []int, int) {
	count := d.count(n, 1)
	for range count {
		out = d.appendText(out, d.uvarint(), 0)
		ends = append(ends, len(out))
	}
	return out, ends, count
}

// appendGUIDs is appendList for what encoder.guids wrote.
func (d *decoder) appendGUIDs(out []byte, ends []int) ([]byte, []int, int) {
	n := d.uvarint()
	if n&1 == 0 {
		return d.appendTexts(out, ends, n>>1)
	}
	count := d.count(n>>1, 16)
	for range count {
		guid := unpackGUID([16]byte(d.bytes(16)))
		out = append(out, guid[:]...)
		ends = append(ends, len(out))
	}
	return out, ends, count
}

// appendText appends the text that begins with number.
func (d *decoder) appendText(out []byte, number uint64, depth int) []byte {
	kind, n := byte(number&7), number>>3
	switch {
	case len(out) > maxTexts || depth > 2*maxDepth:
		d.fail()
	case kind == kindPlain:
		return append(out, d.bytes(d.count(n, 1))...)
	case kind == kindURL, kind == kindStd, kind == kindLegacy:
		return encodings[kind].AppendEncode(out, d.bytes(d.count(n, 1)))
	case kind == kindKnown && n-1 < uint64(len(d.known.texts)):
		return append(out, d.known.texts[n-1]...)
	case kind == kindKnown && n-1-uint64(len(d.known.texts)) < uint64(len(words)):
		return append(out, words[n-1-uint64(len(d.known.texts))]...)
	case kind == kindGUID && n == 0 && len(d.b)-d.at >= 16:
		guid := unpackGUID([16]byte(d.bytes(16)))
		return append(out, guid[:]...)
	case kind == kindSpecial && (n == specialDots || n == specialSpaces):
		for i := range d.count(d.uvarint(), 1) {
			if i > 0 {
				out = append(out, separators[n]...)
			}
			out = d.appendText(out, d.uvarint(), depth+1)
		}
		return out
	case kind == kindSpecial && n == specialPair:
		out = d.appendText(out, d.uvarint(), depth+1)
		return d.appendText(out, d.uvarint(), depth+1)
	case kind == kindSpecial && n == specialJSON && depth < inJSON:
		buffer := buffers.Get().(*[]byte)
		defer buffers.Put(buffer)
		*buffer = d.appendJSON((*buffer)[:0])
		return base64url.AppendEncode(out, *buffer)
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
