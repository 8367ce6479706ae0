package compact

import (
	"strconv"
	"strings"
)

// A claimWriter writes a JSON value in one of its forms.
type claimWriter interface {
	// value writes a value that has nothing more to it, such as specialNull. It
	// also begins an object or an array, and ends an array.
	value(special uint64)
	// name begins a member of an object.
	name(name string)
	// endNames ends an object.
	endNames()
	// text writes a text, without its quotes.
	text(text string)
	// previous writes the same text as the one before.
	previous()
	// integer writes an integer, as the difference from the one before.
	integer(difference int64)
	// literal writes any other number.
	literal(text string)
}

// A jsonParser reads JSON without white space, as tokens have it, and writes it
// to out. Its methods return false for what cannot be written; what they have
// written by then is of no use.
type jsonParser struct {
	rest   string
	out    claimWriter
	last   int64  // the previous integer
	before string // the previous text value
	groups string // the array of the Dictionary's Groups, "" if there are none
}

// next skips c, if it comes next.
func (p *jsonParser) next(c byte) bool {
	if len(p.rest) == 0 || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

// word writes null, true or false.
func (p *jsonParser) word(word string, special uint64) bool {
	var ok bool
	p.rest, ok = strings.CutPrefix(p.rest, word)
	p.out.value(special)
	return ok
}

// value writes the next value, whatever it is.
func (p *jsonParser) value(depth int) bool {
	if len(p.rest) == 0 || depth > maxDepth {
		return false
	}
	switch p.rest[0] {
	case '"':
		text, ok := p.text()
		if text == p.before && text != "" {
			p.out.previous()
		} else {
			p.out.text(text)
		}
		p.before = text
		return ok
	case '{':
		return p.object(depth)
	case '[':
		return p.array(depth)
	case 'n':
		return p.word("null", specialNull)
	case 't':
		return p.word("true", specialTrue)
	case 'f':
		return p.word("false", specialFalse)
	}
	return p.number()
}

// number writes a number: an integer in the usual form as a difference, any
// other as it is.
func (p *jsonParser) number() bool {
	n := 0
	for n < len(p.rest) && strings.IndexByte("+-.0123456789eE", p.rest[n]) >= 0 {
		n++
	}
	text := p.rest[:n]
	p.rest = p.rest[n:]
	if i, err := strconv.ParseInt(text, 10, 64); err == nil && strconv.FormatInt(i, 10) == text {
		p.out.integer(i - p.last)
		p.last = i
		return true
	}
	p.out.literal(text)
	return n > 0
}

// text reads a quoted text. Escapes in it stay as they are.
func (p *jsonParser) text() (string, bool) {
	if !p.next('"') {
		return "", false
	}
	for i := 0; i < len(p.rest); i++ {
		switch p.rest[i] {
		case '\\':
			i++
		case '"':
			text := p.rest[:i]
			p.rest = p.rest[i+1:]
			return text, true
		}
	}
	return "", false
}

// object writes an object.
func (p *jsonParser) object(depth int) bool {
	p.out.value(specialObject)
	p.next('{')
	for first := true; !p.next('}'); first = false {
		if !first && !p.next(',') {
			return false
		}
		name, ok := p.text()
		if !ok || !p.next(':') {
			return false
		}
		p.out.name(name)
		if !p.value(depth + 1) {
			return false
		}
	}
	p.out.endNames()
	return true
}

// array writes an array, or that it is the one of the groups.
func (p *jsonParser) array(depth int) bool {
	if rest, ok := strings.CutPrefix(p.rest, p.groups); ok && p.groups != "" {
		p.rest = rest
		p.out.value(specialGroups)
		return true
	}
	p.out.value(specialArray)
	p.next('[')
	for first := true; !p.next(']'); first = false {
		if !first && !p.next(',') {
			return false
		}
		if !p.value(depth + 1) {
			return false
		}
	}
	p.out.value(specialEnd)
	return true
}
