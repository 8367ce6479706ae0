package msauth

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"sync"
)

// Tokens are most of a session, and every request carries them. They are
// packed by undoing their base64, where that is exact, and by deflating the
// JSON of signed tokens. Signatures and opaque tokens are random: deflating
// them would only cost.

// A token is packed segment by segment, as the dots part it. The first byte of
// a segment says how to get its text back from its bytes.
const (
	segmentText   = iota // as it is
	segmentURL           // base64url, as in JWTs and in refresh tokens of work accounts
	segmentStd           // standard base64, as in access tokens of personal accounts
	segmentLegacy        // base64 with * ! $ for + / =, as in refresh tokens of personal accounts
	segmentDashed        // the same after a dash
	segmentJSON          // base64url of JSON; the bytes are in the deflated block
)

const (
	maxSegments = 16
	// maxInflated bounds the JSON of a session's tokens, in bytes.
	maxInflated = 64 << 10
)

var (
	base64Std    = base64.StdEncoding.Strict()
	base64Legacy = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789*!").WithPadding('$').Strict()
	encodings    = [...]*base64.Encoding{segmentURL: base64url, segmentStd: base64Std, segmentLegacy: base64Legacy, segmentDashed: base64Legacy, segmentJSON: base64url}
)

var errTokenPart = errors.New("msauth: malformed token part")

// packTokens packs tokens into bytes. history is text that the tokens are
// likely to repeat.
func packTokens(history []byte, tokens ...secret) []byte {
	var frame, block []byte
	for _, token := range tokens {
		segments := strings.Split(string(token), ".")
		if len(segments) > maxSegments {
			segments = []string{string(token)}
		}
		jwt := len(segments) == 3
		frame = append(frame, byte(len(segments)))
		for i, segment := range segments {
			kind, data := packSegment(segment)
			if kind == segmentURL && jwt && i < 2 && len(data) > 1 && data[0] == '{' && len(block)+len(data) <= maxInflated {
				frame = append(frame, segmentJSON)
				frame = binary.AppendUvarint(frame, uint64(len(data)))
				block = append(block, data...)
				continue
			}
			frame = append(frame, kind)
			frame = binary.AppendUvarint(frame, uint64(len(data)))
			frame = append(frame, data...)
		}
	}
	if len(block) == 0 {
		return append([]byte{0}, frame...)
	}
	// compress/flate has spoilt data with preset dictionaries before
	// (golang/go#80538): what does not come back as it was is not deflated.
	if packed := deflate(history, block); len(packed) < len(block) {
		if back, err := inflate(history, packed, len(block)); err == nil && bytes.Equal(back, block) {
			return append(append([]byte{dictionaryVersion}, frame...), packed...)
		}
	}
	return append(append([]byte{0}, frame...), block...)
}

func packSegment(s string) (kind byte, data []byte) {
	for _, kind := range [...]byte{segmentURL, segmentStd, segmentLegacy, segmentDashed} {
		text := s
		if kind == segmentDashed {
			var found bool
			if text, found = strings.CutPrefix(s, "-"); !found {
				continue
			}
		}
		data, err := encodings[kind].DecodeString(text)
		if err == nil && len(data) > 0 && encodings[kind].EncodeToString(data) == text {
			return kind, data
		}
	}
	return segmentText, []byte(s)
}

// unpackTokens undoes packTokens.
func unpackTokens(history, part []byte, tokens ...*secret) error {
	type segment struct {
		kind byte
		size int
		data []byte
	}
	var all [3 * maxSegments]segment
	var counts [3]int
	if len(part) == 0 || len(tokens) > len(counts) {
		return errTokenPart
	}
	version, rest := part[0], part[1:]
	n, jsonSize := 0, 0
	for t := range tokens {
		if len(rest) == 0 || rest[0] > maxSegments {
			return errTokenPart
		}
		counts[t], rest = int(rest[0]), rest[1:]
		for range counts[t] {
			if len(rest) == 0 {
				return errTokenPart
			}
			kind := rest[0]
			size, width := binary.Uvarint(rest[1:])
			if width <= 0 || kind > segmentJSON || size > maxInflated {
				return errTokenPart
			}
			rest = rest[1+width:]
			all[n] = segment{kind: kind, size: int(size)}
			if kind == segmentJSON {
				jsonSize += int(size)
			} else {
				if int(size) > len(rest) {
					return errTokenPart
				}
				all[n].data, rest = rest[:size], rest[size:]
			}
			n++
		}
	}
	block := rest
	switch version {
	case 0:
	case dictionaryVersion:
		var err error
		if block, err = inflate(history, rest, jsonSize); err != nil {
			return err
		}
	default:
		return errTokenPart
	}
	if len(block) != jsonSize {
		return errTokenPart
	}
	n = 0
	for t, token := range tokens {
		size := counts[t]
		for _, s := range all[n : n+counts[t]] {
			size += s.size*4/3 + 4
		}
		text := make([]byte, 0, size)
		for i, s := range all[n : n+counts[t]] {
			if i > 0 {
				text = append(text, '.')
			}
			switch s.kind {
			case segmentText:
				text = append(text, s.data...)
				continue
			case segmentJSON:
				s.data, block = block[:s.size], block[s.size:]
			case segmentDashed:
				text = append(text, '-')
			}
			text = encodings[s.kind].AppendEncode(text, s.data)
		}
		n += counts[t]
		*token = secret(text)
	}
	return nil
}

// A writer takes 0.8 MB and longer to make than to use.
var deflaters = sync.Pool{New: func() any {
	w, _ := flate.NewWriterDict(io.Discard, flate.BestCompression, []byte(dictionary))
	return w
}}

// deflate compresses data with the dictionary and history before it. The
// history is compressed too and its bytes are dropped: flate has no other way
// to extend the dictionary of a pooled writer.
func deflate(history, data []byte) []byte {
	w := deflaters.Get().(*flate.Writer)
	defer deflaters.Put(w)
	var out bytes.Buffer
	w.Reset(&out)
	w.Write(history)
	w.Flush()
	skip := out.Len()
	w.Write(data)
	w.Close()
	return out.Bytes()[skip:]
}

type inflater struct {
	r    io.ReadCloser // a flate.Resetter
	in   bytes.Reader
	dict []byte
}

var inflaters = sync.Pool{New: func() any {
	f := &inflater{}
	f.r = flate.NewReader(&f.in)
	return f
}}

// inflate returns exactly size bytes or an error.
func inflate(history, data []byte, size int) ([]byte, error) {
	if size > maxInflated {
		return nil, errTokenPart
	}
	f := inflaters.Get().(*inflater)
	defer inflaters.Put(f)
	f.in.Reset(data)
	f.dict = append(append(f.dict[:0], dictionary...), history...)
	if err := f.r.(flate.Resetter).Reset(&f.in, f.dict); err != nil {
		return nil, errTokenPart
	}
	out := make([]byte, size)
	if _, err := io.ReadFull(f.r, out); err != nil {
		return nil, errTokenPart
	}
	var more [1]byte
	if n, err := f.r.Read(more[:]); n > 0 || err != io.EOF {
		return nil, errTokenPart
	}
	return out, nil
}

// dictionary holds claim names and values that tokens of every tenant have in
// common. It must never change: a better one gets a version of its own. Rare
// things come first: the end is the cheapest to point at.
const (
	dictionaryVersion = 1
	dictionary        = `"xms_filter_index":["` + `"xms_cc":["cp1"],"xms_ssm":"1","xms_edov":true,"acrs":["c1"],"auth_time":` +
		`"deviceid":"` + `"login_hint":"` + `"onprem_sid":"S-1-5-21-` + `"in_corp":"true","ctry":"US","tenant_ctry":"US","verified_primary_email":["` +
		`"hasgroups":true,"groups":["` + `"roles":["` + `"_claim_names":{"groups":"src1"},"_claim_sources":{"src1":{"endpoint":"https://graph.windows.net/` +
		`/getMemberObjects"}},` + `"acct":0,"acr":"1","acrs":["urn:user:registersecurityinfo"],"aio":"A` + `"amr":["pwd","mfa"],"amr":["pwd","rsa","mfa"],"fido",` +
		`"app_displayname":"` + `","appid":"` + `","appidacr":"1","azp":"` + `","azpacr":"1",` + `"email":"` + `"family_name":"` + `","given_name":"` +
		`","idtyp":"user","ipaddr":"` + `"name":"` + `","nonce":"` + `","oid":"` + `","platf":"3","platf":"14","puid":"1003` + `","preferred_username":"` +
		`","pwd_exp":"` + `"rh":"1.A` + `"0.A` + `","scp":"openid profile email offline_access User.Read User.ReadBasic.All Files.Read Files.ReadWrite Files.Read.All Files.ReadWrite.All ` +
		`Sites.Read.All Mail.Read Mail.ReadWrite Mail.Send Calendars.Read Calendars.ReadWrite Contacts.Read Group.Read.All Directory.Read.All Tasks.ReadWrite Notes.Read ` +
		`email openid profile User.Read","sid":"` + `","signin_state":["kmsi"],"signin_state":["dvc_mngd","dvc_cmp","kmsi"],"sub":"` +
		`","tenant_region_scope":"NA","tenant_region_scope":"EU","tid":"` + `","unique_name":"` + `","upn":"` + `","uti":"` + `","ver":"1.0","ver":"2.0",` +
		`"wids":["b79fbf4d-3ef9-4689-8143-76b194e85509"],` + `"xms_acd":` + `,"xms_act_fct":"3 9","xms_act_fct":"9 3","xms_ftd":"` +
		`","xms_idrel":"1 ","xms_idrel":"20 1","xms_pftexp":` + `,"xms_st":{"sub":"` + `"},"xms_sub_fct":"3 9","xms_sub_fct":"` + `","xms_tcdt":` + `,"xms_tdbr":"EU","xms_tdbr":"NA","xms_tnt_fct":"3 ` +
		`{"typ":"JWT","alg":"RS256","kid":"` + `{"typ":"JWT","nonce":"` + `","alg":"RS256","x5t":"` + `","kid":"` + `"}{"aud":"00000003-0000-0000-c000-000000000000","iss":"https://sts.windows.net/` +
		`{"aud":"https://graph.microsoft.com","iss":"https://login.microsoftonline.com/` + `/v2.0","iat":17` + `/","iat":17` + `,"nbf":17` + `,"exp":17`
)
