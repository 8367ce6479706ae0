package session

import (
	"bytes"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"example.com/msauth/internal/seal"
)

// maxCookieLine is the longest Set-Cookie line that all browsers keep: RFC 6265
// promises 4096 bytes for name, value and attributes.
const maxCookieLine = 4093

// maxPieces is the largest number of cookies for one value: the count and the
// number of a piece are one digit each.
const maxPieces = 9

const setCookiePrefix = len("Set-Cookie: ")

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$`)

// takenForm is how the names of the other cookies beside a session's first one
// end: its pieces, the marker, a long address to return to, and the attempts. A
// session of such a name would be taken for one of them, and deleted.
var takenForm = regexp.MustCompile(`-([1-9]|ok|to|device|login-[0-9a-f]{16})$`)

// ValidName reports whether a session's cookie may have this name.
func ValidName(name string) bool { return nameForm.MatchString(name) && !takenForm.MatchString(name) }

// Cookies reads and writes one sealed value as one cookie or several. The first
// cookie has the plain name; its value begins with the number of cookies, a
// digit. The others are called name-1, name-2 and so on.
//
// A value has a head, which every request opens, and may have a tail, which is
// sealed by itself, follows after a dot, and is opened only when somebody needs
// it. The head is authenticated together with the name, the owner, the count and
// the sealed tail. So pieces or parts of two values never join, and a head that
// opens proves that all of the value is as it was written.
type Cookies struct {
	// Name is the name of the first cookie, with its prefix.
	Name string
	// Budget is how many bytes all Set-Cookie lines of a value may take.
	Budget int

	codec      seal.Codec
	insecure   bool
	sameSite   http.SameSite
	additional [maxPieces + 1][]byte // authenticated with the head, by count
	tails      []byte                // authenticated with the tail
}

// NewCookies returns the format of the cookies of a name, which ValidName must
// accept. A value opens only under the name and the owner it was sealed for.
// insecure makes cookies that browsers keep over plain http. budget is Budget.
func NewCookies(name string, owner []byte, codec seal.Codec, insecure bool, sameSite http.SameSite, budget int) *Cookies {
	c := &Cookies{codec: codec, insecure: insecure, sameSite: sameSite, Budget: budget}
	c.Name = cookiePrefix(insecure) + name
	for count := range c.additional {
		c.additional[count] = fmt.Appendf(nil, "msauth cookie v1\x00%s\x00%x\x00%d\x00", c.Name, owner, count)
	}
	c.tails = fmt.Appendf(nil, "msauth cookie tail v1\x00%s\x00%x", c.Name, owner)
	return c
}

// cookiePrefix returns the prefix that makes browsers refuse such a cookie from
// other hosts and paths, and over plain http (RFC 6265bis section 4.1.3.2).
func cookiePrefix(insecure bool) string {
	if insecure {
		return ""
	}
	return "__Host-"
}

// Scanned is what a request's Cookie header has under the names of one format.
type Scanned struct {
	// Sent says which cookies came in.
	Sent SentCookies
	// Marker reports whether one of MarkerName came in.
	Marker bool
	// Device is the value of the one of DeviceName, "" if there is none.
	Device string

	first  [maxDuplicates]string // values of the first cookie, in order
	firsts int                   // how many there are in first
	piece  [maxPieces]string     // piece[i] is the first value of name-i, from 1
}

// SentCookies is a set of pieces: bit i is piece i, bit 0 the first cookie.
type SentCookies uint16

// Scan finds the cookies of this format in a request's header. It builds no list
// of all cookies, which would take longer than the decryption. It trims only what
// browsers add: space and tab.
func (c *Cookies) Scan(h http.Header) (s Scanned) {
	for _, line := range h["Cookie"] {
		for len(line) > 0 {
			var part string
			part, line, _ = strings.Cut(line, ";")
			part = strings.Trim(part, " \t")
			if len(part) <= len(c.Name) || part[:len(c.Name)] != c.Name {
				continue
			}
			rest := part[len(c.Name):]
			switch {
			case rest[0] == '=':
				s.Sent |= 1
				if s.firsts < maxDuplicates {
					s.first[s.firsts] = rest[1:]
					s.firsts++
				}
			case len(rest) >= 3 && rest[0] == '-' && rest[2] == '=' && rest[1] >= '1' && rest[1] <= '9':
				i := rest[1] - '0'
				if i < maxPieces && s.Sent&(1<<i) == 0 {
					s.piece[i] = rest[3:]
				}
				s.Sent |= 1 << i
			case strings.HasPrefix(rest, markerSuffix+"="):
				s.Marker = true
			case strings.HasPrefix(rest, deviceSuffix+"="):
				s.Device = rest[len(deviceSuffix)+1:]
			}
		}
	}
	return s
}

// MarkerName is the name of a cookie beside the session's own that one Scan
// finds too: see Scanned.
func (c *Cookies) MarkerName() string { return c.Name + markerSuffix }

// DeviceName is the name of the cookie that binds the session to the device: see
// package device. One Scan finds it too.
func (c *Cookies) DeviceName() string { return c.Name + deviceSuffix }

const (
	markerSuffix = "-ok"
	deviceSuffix = "-device"
)

// Received is what Read has found.
type Received struct {
	// Head is nil if no value came in, or none that opens.
	Head []byte
	// Marker reports whether a cookie of MarkerName came in.
	Marker bool
	// Device is the value of the cookie of DeviceName.
	Device string

	tail    string      // sealed; "" if there is none
	sent    SentCookies // which cookies came in
	surplus bool        // pieces came in that do not belong to the value
}

// Read opens the value that a request carries. Several cookies of one name mean
// that somebody tries to plant one. Each is then tried on its own; pieces join
// the first only.
//
// Read uses the memory of scratch, which it may let grow: Head is valid as long
// as nobody else does.
func (c *Cookies) Read(h http.Header, scratch *[]byte) Received {
	s := c.Scan(h)
	r, locked := c.read(&s, scratch)
	if locked && c.codec.Keys.Again() {
		r, _ = c.read(&s, scratch)
	}
	return r
}

// read is Read with the keys of this moment. locked reports that values came in,
// and none of them opens.
func (c *Cookies) read(s *Scanned, scratch *[]byte) (r Received, locked bool) {
	r = Received{sent: s.Sent, Marker: s.Marker, Device: s.Device}
	for i := range s.firsts {
		value := s.first[i]
		if value == "" || value[0] < '1' || value[0] > '9' {
			continue
		}
		count := int(value[0] - '0')
		text := value[1:]
		if count > 1 {
			if i > 0 {
				continue
			}
			var join strings.Builder
			join.WriteString(text)
			for _, piece := range s.piece[1:count] {
				join.WriteString(piece)
			}
			text = join.String()
		}
		if len(text) > maxPieces*maxCookieLine {
			continue
		}
		if r.Head != nil {
			scratch = new([]byte) // must not be read over the one before
		}
		head, tail, err := c.open(text, count, scratch)
		if err != nil {
			locked = locked || err == seal.ErrNotSealed
			continue
		}
		if r.Head != nil && !bytes.Equal(r.Head, head) {
			// Two values that both open: somebody has planted one, and nothing
			// shows which.
			return Received{sent: s.Sent, Marker: s.Marker, Device: s.Device}, false
		}
		r.Head, r.tail = head, tail
		r.surplus = s.Sent>>count != 0
	}
	return r, locked && r.Head == nil
}

// open opens the head of a value, and returns the tail as it is sealed. head is in
// the memory of scratch or, where there are several keys, in memory of its own.
func (c *Cookies) open(text string, count int, scratch *[]byte) (head []byte, tail string, err error) {
	text, tail, parted := strings.Cut(text, ".")
	if parted && tail == "" {
		return nil, "", seal.ErrNotSealed
	}
	*scratch = append(append((*scratch)[:0], c.additional[count]...), tail...)
	additional := len(*scratch)
	if *scratch, err = seal.AppendText(*scratch, text); err != nil {
		return nil, "", err
	}
	head, _, err = c.codec.Keys.Open((*scratch)[additional:], (*scratch)[:additional])
	return head, tail, err
}

// openTail opens a sealed tail, in the memory of scratch.
func (c *Cookies) openTail(tail string, scratch *[]byte) (plain []byte, err error) {
	if *scratch, err = seal.AppendText((*scratch)[:0], tail); err != nil {
		return nil, err
	}
	plain, _, err = c.codec.Keys.Open(*scratch, c.tails)
	return plain, err
}

// Cookie makes every cookie of this format, to set or to delete: browsers ignore
// the deletion of a __Host- cookie that lacks an attribute. maxAge is in seconds,
// as in http.Cookie: 0 means none, -1 deletes.
func (c *Cookies) Cookie(name, value string, maxAge int) *http.Cookie {
	sameSite := c.sameSite
	if !c.insecure && strings.HasSuffix(name, deviceSuffix) {
		// Alone it is worth nothing. Browsers keep no other from the requests that they
		// make for themselves when a link on another site has led here.
		sameSite = http.SameSiteNoneMode
	}
	return &http.Cookie{ // #nosec G124 -- Secure but for plain http
		Name: name, Value: value, Path: "/", MaxAge: maxAge,
		Secure: !c.insecure, HttpOnly: true, SameSite: sameSite,
	}
}

// pieceName returns the name of cookie i of a value, from 0.
func (c *Cookies) pieceName(i int) string {
	if i == 0 {
		return c.Name
	}
	return c.Name + "-" + string(rune('0'+i))
}

// lines returns how many cookies a value takes whose parts have so many bytes, how
// many characters go into each but the last, and the bytes of all their lines.
func (c *Cookies) lines(head, tail int, age time.Duration) (count, perPiece, total int) {
	text := len("1") + seal.Base64url.EncodedLen(head+seal.SealOverhead)
	if tail > 0 {
		text += len(".") + seal.Base64url.EncodedLen(tail+seal.SealOverhead)
	}
	overhead := setCookiePrefix + len(c.Cookie(c.pieceName(1), "", Seconds(age)).String())
	perPiece = maxCookieLine - overhead
	count = max(1, (text+perPiece-1)/perPiece)
	return count, perPiece, text + count*(overhead+len("\r\n"))
}

// Write sets the cookies of a value, and deletes those in sent that it no longer
// needs. tail may be empty. age is the cookies' Max-Age, 0 for cookies that are
// deleted when the browser is closed. The error wraps ErrTooLarge if the value is
// over budget.
func (c *Cookies) Write(h http.Header, sent SentCookies, head, tail []byte, age time.Duration) error {
	count, perPiece, total := c.lines(len(head), len(tail), age)
	if total > c.Budget || count > maxPieces {
		return fmt.Errorf("%w: %d bytes of Set-Cookie lines, where %d may be used", ErrTooLarge, total, c.Budget)
	}
	sealed, dot := "", ""
	if len(tail) > 0 {
		sealed, dot = seal.Base64url.EncodeToString(c.codec.Keys.Seal(tail, c.tails)), "."
	}
	additional := append(bytes.Clone(c.additional[count]), sealed...)
	sent |= c.Set(h) // this answer may have set more pieces already
	text := string(rune('0'+count)) + seal.Base64url.EncodeToString(c.codec.Keys.Seal(head, additional)) + dot + sealed
	for i := range count {
		part := text[:min(perPiece, len(text))]
		text = text[len(part):]
		SetCookie(h, c.Cookie(c.pieceName(i), part, Seconds(age)))
	}
	c.Clear(h, sent&^(1<<count-1))
	return nil
}

// Set returns the cookies that a response has set so far.
func (c *Cookies) Set(h http.Header) (found SentCookies) {
	for _, line := range h["Set-Cookie"] {
		for i := 0; i <= maxPieces; i++ {
			if strings.HasPrefix(line, c.pieceName(i)+"=") {
				found |= 1 << i
			}
		}
	}
	return found
}

// Clear deletes the cookies in sent.
func (c *Cookies) Clear(h http.Header, sent SentCookies) {
	for i := 0; i <= maxPieces; i++ {
		if sent&(1<<i) != 0 {
			SetCookie(h, c.Cookie(c.pieceName(i), "", -1))
		}
	}
}
