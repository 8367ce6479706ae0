package compact

import (
	"encoding/binary"
	"strconv"
	"strings"

	"example.com/msauth/internal/seal"
)

// The header and the claims of a signed token (RFC 7519) are JSON objects,
// written member by member: claim names that Microsoft uses as a number, texts
// like all others, integers as the difference from the previous one.

// claimSet writes a segment of a token, if it is the base64url of a JSON object
// that comes back byte for byte.
func (e *Encoder) claimSet(segment string) bool {
	data, err := seal.DecodeText(segment)
	if err != nil || len(data) == 0 || data[0] != '{' {
		return false
	}
	text := string(data)
	start := len(e.B)
	e.claims = true
	defer func() { e.claims = false }()
	e.number(specialJSON, kindSpecial)
	p := jsonParser{rest: text, encoder: e, integer: e.Known.Time}
	if len(e.Known.Groups) > 0 {
		p.groups = string(appendArray(nil, e.Known.Groups))
	}
	if p.value(0) && p.rest == "" {
		d := Decoder{B: e.B[start:], Known: e.Known}
		d.Uvarint()
		buffer := Buffer()
		defer Release(buffer)
		if *buffer = d.appendJSON((*buffer)[:0]); d.Done() && string(*buffer) == text {
			return true
		}
	}
	e.B = e.B[:start]
	return false
}

// A jsonParser reads JSON without white space, as tokens have it, and writes it
// to encoder. Its methods return false for what cannot be written; what they
// have written by then is of no use.
type jsonParser struct {
	rest    string
	encoder *Encoder
	integer int64  // the previous integer
	before  string // the previous text value
	groups  string // the array of the Dictionary's Groups, "" if there are none
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
	p.encoder.number(special, kindSpecial)
	return ok
}

// value writes the next value, whatever it is.
func (p *jsonParser) value(depth int) bool {
	if len(p.rest) == 0 || depth > maxDepth {
		return false
	}
	e := p.encoder
	switch c := p.rest[0]; c {
	case '"':
		text, ok := p.text()
		if text == p.before && text != "" {
			e.number(0, kindKnown)
		} else {
			e.Text(text)
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
	e := p.encoder
	n := 0
	for n < len(p.rest) && strings.IndexByte("+-.0123456789eE", p.rest[n]) >= 0 {
		n++
	}
	text := p.rest[:n]
	p.rest = p.rest[n:]
	if i, err := strconv.ParseInt(text, 10, 64); err == nil && strconv.FormatInt(i, 10) == text {
		e.number(specialInt, kindSpecial)
		e.B = binary.AppendVarint(e.B, i-p.integer)
		p.integer = i
		return true
	}
	e.number(specialLiteral, kindSpecial)
	e.Text(text)
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

// object writes an object: with the numbers of its names or, if most of them have
// none, with the names as texts.
func (p *jsonParser) object(depth int) bool {
	before, start := *p, len(p.encoder.B)
	known, others, ok := p.members(depth, specialObject)
	if !ok || others <= known || depth > 0 { // at each depth it would double the work
		return ok
	}
	after, middle := *p, len(p.encoder.B)
	*p = before
	_, _, ok = p.members(depth, specialNamed)
	*p = after
	p.encoder.keepShorter(start, middle)
	return ok
}

// members writes an object in one of its two forms. It counts the names that have
// a number, and the others.
func (p *jsonParser) members(depth int, form uint64) (known, others int, ok bool) {
	e := p.encoder
	e.number(form, kindSpecial)
	p.next('{')
	for first := true; !p.next('}'); first = false {
		if !first && !p.next(',') {
			return 0, 0, false
		}
		name, ok := p.text()
		if !ok || !p.next(':') {
			return 0, 0, false
		}
		switch i, ok := claimNumbers[name]; {
		case form == specialNamed:
			e.Text(name)
		case ok:
			known++
			e.B = binary.AppendUvarint(e.B, 2+uint64(i))
		default:
			others++
			e.B = append(e.B, 1)
			e.Text(name)
		}
		if !p.value(depth + 1) {
			return 0, 0, false
		}
	}
	if form == specialNamed {
		e.number(specialEnd, kindSpecial)
	} else {
		e.B = append(e.B, 0)
	}
	return known, others, true
}

// array writes an array, or that it is the one of the groups.
func (p *jsonParser) array(depth int) bool {
	e := p.encoder
	if rest, ok := strings.CutPrefix(p.rest, p.groups); ok && p.groups != "" {
		p.rest = rest
		e.number(specialGroups, kindSpecial)
		return true
	}
	e.number(specialArray, kindSpecial)
	p.next('[')
	for first := true; !p.next(']'); first = false {
		if !first && !p.next(',') {
			return false
		}
		if !p.value(depth + 1) {
			return false
		}
	}
	e.number(specialEnd, kindSpecial)
	return true
}

// appendJSON appends a value of JSON to out, which must be empty.
func (d *Decoder) appendJSON(out []byte) []byte {
	d.from, d.to = 0, 0
	integer := d.Known.Time
	return d.appendValue(out, d.Uvarint(), &integer, 0)
}

// appendValue appends the value of JSON that begins with number. integer is the
// previous integer.
func (d *Decoder) appendValue(out []byte, number uint64, integer *int64, depth int) []byte {
	if n := number >> 3; number&7 != kindSpecial || n < specialNull || n == specialSlashes {
		return d.appendQuoted(out, number)
	}
	if depth > maxDepth || len(out) > maxTexts {
		d.fail()
		return out
	}
	switch number >> 3 {
	case specialNull:
		return append(out, "null"...)
	case specialTrue:
		return append(out, "true"...)
	case specialFalse:
		return append(out, "false"...)
	case specialInt:
		*integer += d.Varint()
		return strconv.AppendInt(out, *integer, 10)
	case specialLiteral:
		return d.AppendText(out, d.Uvarint(), inJSON)
	case specialObject:
		out = append(out, '{')
		for first := true; !d.Bad; first = false {
			claim := d.Uvarint()
			if claim == 0 {
				break
			}
			if !first {
				out = append(out, ',')
			}
			out = d.appendName(out, claim)
			out = d.appendValue(out, d.Uvarint(), integer, depth+1)
		}
		return append(out, '}')
	case specialArray:
		out = append(out, '[')
		for first := true; !d.Bad; first = false {
			number := d.Uvarint()
			if number == specialEnd<<3|kindSpecial {
				break
			}
			if !first {
				out = append(out, ',')
			}
			out = d.appendValue(out, number, integer, depth+1)
		}
		return append(out, ']')
	case specialNamed:
		out = append(out, '{')
		for first := true; !d.Bad; first = false {
			name := d.Uvarint()
			if name == specialEnd<<3|kindSpecial {
				break
			}
			if !first {
				out = append(out, ',')
			}
			out = append(d.AppendText(append(out, '"'), name, inJSON), '"', ':')
			out = d.appendValue(out, d.Uvarint(), integer, depth+1)
		}
		return append(out, '}')
	case specialGroups:
		return appendArray(out, d.Known.Groups)
	}
	d.fail()
	return out
}

// appendQuoted appends the text that begins with number, in quotes.
func (d *Decoder) appendQuoted(out []byte, number uint64) []byte {
	if len(out) > maxTexts {
		d.fail()
		return out
	}
	out = append(out, '"')
	from := len(out)
	if number == kindKnown {
		out = append(out, out[d.from:d.to]...)
	} else {
		out = d.AppendText(out, number, inJSON)
	}
	d.from, d.to = from, len(out)
	return append(out, '"')
}

// appendName appends the name of a member, in quotes, and a colon.
func (d *Decoder) appendName(out []byte, claim uint64) []byte {
	switch {
	case claim == 1:
		return append(d.AppendText(append(out, '"'), d.Uvarint(), inJSON), '"', ':')
	case claim-2 < uint64(len(quotedNames)):
		return append(out, quotedNames[claim-2]...)
	}
	d.fail()
	return out
}

// appendArray appends an array of texts that need no escapes.
func appendArray(out []byte, texts []string) []byte {
	out = append(out, '[')
	for i, text := range texts {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(append(out, '"'), text...), '"')
	}
	return append(out, ']')
}

// claimNames are the names in ID tokens, access tokens and their headers. Their
// order is part of the format: new names go to the end.
var claimNames = [...]string{
	"typ", "alg", "kid", "x5t", "nonce", "aud", "iss", "iat", "nbf", "exp", "acct", "acr", "acrs", "aio", "amr",
	"app_displayname", "appid", "appidacr", "auth_time", "azp", "azpacr", "capolids_latebind", "cnf", "controls",
	"controls_auds", "ctry", "deviceid", "domain_dns_name", "domain_netbios_name", "email", "endpoint", "enfpolids",
	"family_name", "fwd", "given_name", "groups", "hasgroups", "idp", "idtyp", "in_corp", "inviter", "ipaddr", "login_hint",
	"name", "oid", "onprem_sam_account_name", "onprem_sid", "platf", "preferred_username", "puid", "pwd_exp", "pwd_url", "rh",
	"roles", "scp", "secaud", "sid", "signin_state", "src1", "sub", "tenant_ctry", "tenant_display_name",
	"tenant_region_scope", "tenant_region_sub_scope", "tid", "unique_name", "upn", "uti", "ver", "verified_primary_email",
	"verified_secondary_email", "vnet", "wids", "xms_acd", "xms_act_fct", "xms_az_nwperimid", "xms_cae", "xms_cc",
	"xms_edov", "xms_filter_index", "xms_ftd", "xms_idrel", "xms_mirid", "xms_pdl", "xms_pftexp", "xms_pl", "xms_rd",
	"xms_ssm", "xms_st", "xms_sub_fct", "xms_tcdt", "xms_tdbr", "xms_tdbr_sub", "xms_tnt_fct", "xms_tpl", "zone", "groups_src",
	"_claim_names", "_claim_sources", "client_id", "jti", "sec", "typ_hint", "at_hash", "c_hash", "locale", "picture",
	"middle_name", "nickname", "phone_number", "zoneinfo", "updated_at", "email_verified", "phone_number_verified",
	"emails", "newUser", "tfp", "ztdid", "groups:src1",
}

var claimNumbers = numbersOf(claimNames[:])

// quotedNames are claimNames as they stand in JSON, before a value.
var quotedNames = func() (quoted [len(claimNames)]string) {
	for i, name := range claimNames {
		quoted[i] = `"` + name + `":`
	}
	return quoted
}()
