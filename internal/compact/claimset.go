package compact

import (
	"encoding/binary"
	"strconv"

	"example.com/msauth/internal/seal"
)

// The header and the claims of a signed token (RFC 7519) are JSON objects. They
// are written in bytes or, if most names in them are in no list, in bits where
// that is shorter. Bytes are read faster.

// claimSet writes a segment of a token, if it is the base64url of a JSON object
// that comes back byte for byte.
func (e *Encoder) claimSet(segment string) bool {
	data, err := seal.DecodeText(segment)
	if err != nil || len(data) == 0 || data[0] != '{' {
		return false
	}
	text := string(data)
	start := len(e.B)
	e.claims, e.strange = true, 0
	defer func() { e.claims = false }()
	e.number(specialJSON, kindSpecial)
	if e.json(text, byteClaims{e}) {
		if middle := len(e.B); e.strange > 0 {
			e.number(specialJSON, kindSpecial)
			e.number(specialBits, kindSpecial)
			w := bitClaims{bitWriter{b: e.B}, &e.Known}
			e.json(text, &w)
			e.B = w.b
			e.keepShorter(start, middle)
		}
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

// json writes JSON to out, and reports whether it can be written.
func (e *Encoder) json(text string, out claimWriter) bool {
	p := jsonParser{rest: text, out: out, last: e.Known.Time}
	if len(e.Known.Groups) > 0 {
		p.groups = string(appendArray(nil, e.Known.Groups))
	}
	return p.value(0) && p.rest == ""
}

// byteClaims write JSON in bytes: claim names that Microsoft uses as a number,
// texts like all others, integers as the difference from the previous one.
type byteClaims struct{ *Encoder }

func (w byteClaims) value(special uint64) { w.number(special, kindSpecial) }

func (w byteClaims) name(name string) {
	if i, ok := claimNumbers[name]; ok {
		w.strange--
		w.B = binary.AppendUvarint(w.B, 2+uint64(i))
		return
	}
	w.strange++
	w.B = append(w.B, 1)
	w.Text(name)
}

func (w byteClaims) endNames() { w.B = append(w.B, 0) }

func (w byteClaims) text(text string) { w.Text(text) }

func (w byteClaims) previous() { w.number(0, kindKnown) }

func (w byteClaims) integer(difference int64) {
	w.number(specialInt, kindSpecial)
	w.B = binary.AppendVarint(w.B, difference)
}

func (w byteClaims) literal(text string) {
	w.number(specialLiteral, kindSpecial)
	w.Text(text)
}

// appendJSON appends a value of JSON to out, which must be empty.
func (d *Decoder) appendJSON(out []byte) []byte {
	d.from, d.to = 0, 0
	integer := d.Known.Time
	number := d.Uvarint()
	if number != specialBits<<3|kindSpecial {
		return d.appendValue(out, number, &integer, 0)
	}
	d.inBits = true
	out = d.appendValue(out, d.bitValue(), &integer, 0)
	d.inBits = false
	d.endBits()
	return out
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
		*integer += d.integer()
		return strconv.AppendInt(out, *integer, 10)
	case specialLiteral:
		return d.appendText(out, d.value())
	case specialObject:
		out = append(out, '{')
		for first := true; !d.Bad; first = false {
			claim := d.name()
			if claim == 0 {
				break
			}
			if !first {
				out = append(out, ',')
			}
			out = d.appendName(out, claim)
			out = d.appendValue(out, d.value(), integer, depth+1)
		}
		return append(out, '}')
	case specialArray:
		out = append(out, '[')
		for first := true; !d.Bad; first = false {
			number := d.value()
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

// value reads what a value begins with.
func (d *Decoder) value() uint64 {
	if d.inBits {
		return d.bitValue()
	}
	return d.Uvarint()
}

// name reads what a member of an object begins with.
func (d *Decoder) name() uint64 {
	if d.inBits {
		return d.bitName()
	}
	return d.Uvarint()
}

// integer reads the difference of an integer from the previous one.
func (d *Decoder) integer() int64 {
	if d.inBits {
		return d.bitInteger()
	}
	return d.Varint()
}

// appendText appends the text that begins with number.
func (d *Decoder) appendText(out []byte, number uint64) []byte {
	if d.inBits {
		return d.appendRuns(out, number)
	}
	return d.AppendText(out, number, inJSON)
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
		out = d.appendText(out, number)
	}
	d.from, d.to = from, len(out)
	return append(out, '"')
}

// appendName appends the name of a member, in quotes, and a colon.
func (d *Decoder) appendName(out []byte, claim uint64) []byte {
	switch {
	case claim == 1:
		return append(d.appendText(append(out, '"'), d.value()), '"', ':')
	case claim == lowerName:
		return append(d.appendCodes(append(out, '"'), lower, d.bitNumber()+1), '"', ':')
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
