package compact

import (
	"encoding/binary"
	"strings"
)

// An Encoder appends texts to B. What is not a text, callers append to B
// themselves.
type Encoder struct {
	// B is what has been written so far.
	B []byte
	// Known is what texts may refer to.
	Known Dictionary

	depth   int  // of the part that is being written, in its text
	claims  bool // the text is in a token's JSON, where packing pays
	strange int  // how many more names in that JSON have no number than have one
}

// number begins a text or a value of JSON.
func (e *Encoder) number(n uint64, kind byte) {
	e.B = binary.AppendUvarint(e.B, n<<3|uint64(kind))
}

// Text writes a text in the shortest form there is for it. [Decoder.Text] reads
// it.
func (e *Encoder) Text(s string) {
	if s == "" {
		e.number(0, kindPlain)
		return
	}
	start := len(e.B)
	if e.known(s) || e.guid(s) {
		return
	}
	exact := e.base64(s)
	if !exact {
		e.number(uint64(len(s)), kindPlain)
		e.B = append(e.B, s...)
	}
	if middle := len(e.B); e.claims && e.packed(s) {
		e.keepShorter(start, middle)
	}
	if !exact && e.depth < maxDepth {
		e.depth++
		e.parts(s, start)
		e.depth--
	}
}

// known writes a text of the dictionary or a word.
func (e *Encoder) known(s string) bool {
	for i, text := range e.Known.Texts {
		if s == text {
			e.number(1+uint64(i), kindKnown)
			return true
		}
	}
	i, ok := wordNumbers[s]
	if ok {
		e.number(1+uint64(len(e.Known.Texts)+i), kindKnown)
	}
	return ok
}

// guid writes a GUID in lower case.
func (e *Encoder) guid(s string) bool {
	guid, ok := packGUID(s)
	if ok {
		e.number(0, kindGUID)
		e.B = append(e.B, guid[:]...)
	}
	return ok
}

// base64 writes base64 that is exact: encoding the bytes gives the text.
func (e *Encoder) base64(s string) bool {
	kind := base64Kind(s)
	if kind == kindPlain {
		return false
	}
	start := len(e.B)
	n := encodings[kind].DecodedLen(len(s)) - (len(s) - len(strings.TrimRight(s, "=$")))
	e.number(uint64(n), kind)
	before := len(e.B)
	var err error
	if e.B, err = encodings[kind].AppendDecode(e.B, []byte(s)); err == nil && len(e.B) == before+n {
		return true
	}
	e.B = e.B[:start]
	return false
}

// parts replaces the text that has been written from start on by its parts,
// where those are shorter.
func (e *Encoder) parts(s string, start int) {
	for i, separator := range separators {
		if separator == "" || !strings.Contains(s, separator) || i == specialSlashes && !e.claims {
			continue
		}
		whole := len(e.B)
		e.number(uint64(i), kindSpecial)
		e.B = binary.AppendUvarint(e.B, 1+uint64(strings.Count(s, separator)))
		for part := range strings.SplitSeq(s, separator) {
			e.Text(part)
		}
		e.keepShorter(start, whole)
	}
	whole := len(e.B)
	if head, tail := base64Head(s); head != "" {
		e.number(specialPair, kindSpecial)
		e.Text(head)
		e.Text(tail)
		e.keepShorter(start, whole)
	}
}

// keepShorter keeps the shorter of what has been written from start to middle
// and from middle on.
func (e *Encoder) keepShorter(start, middle int) {
	if len(e.B)-middle < middle-start {
		e.B = append(e.B[:start], e.B[middle:]...)
	} else {
		e.B = e.B[:middle]
	}
}

// List writes a list of texts. [Decoder.AppendList] reads it.
func (e *Encoder) List(l []string) {
	e.B = binary.AppendUvarint(e.B, uint64(len(l)))
	for _, s := range l {
		e.Text(s)
	}
}

// Guids writes a list of texts, in 16 bytes each if all of them are GUIDs: a user
// can have hundreds of groups. [Decoder.AppendGUIDs] reads it.
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

// Token writes a token, whether or not it is a JWT. JSON that would not come
// back byte for byte is written as base64. [Decoder.Text] reads it.
func (e *Encoder) Token(token string) {
	segments := strings.Split(token, ".")
	if len(segments) != 3 {
		e.Text(token)
		return
	}
	e.number(specialDots, kindSpecial)
	e.B = binary.AppendUvarint(e.B, 3)
	for i, segment := range segments {
		if i == 2 || !e.claimSet(segment) {
			e.Text(segment)
		}
	}
}
