package session

import (
	"bytes"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"example.com/msauth/internal/compact"
	"example.com/msauth/internal/seal"
)

// CookieValues are the values of the cookies of a name, a few at most.
func CookieValues(h http.Header, name string) (values []string) {
	for _, line := range h["Cookie"] {
		for len(line) > 0 {
			var part string
			part, line, _ = strings.Cut(line, ";")
			rest, ours := strings.CutPrefix(strings.Trim(part, " \t"), name)
			if value, ok := strings.CutPrefix(rest, "="); ours && ok && len(values) < maxDuplicates {
				values = append(values, value)
			}
		}
	}
	return values
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$`)

// takenForm is how the names of cookies beside a session's first one end: its
// pieces, the marker, a long address and the attempts. A session of such a name would be taken
// for one of them, and cleared.
var takenForm = regexp.MustCompile(`-([1-9]|ok|to|login-[0-9a-f]{16})$`)

func ValidName(name string) bool { return nameForm.MatchString(name) && !takenForm.MatchString(name) }

const FormatGob = 'g' // an app's own values

const formatSession = 2 // our session, see record.go

// maxCookieLine is the longest Set-Cookie line that browsers are sure to
// keep: RFC 6265 promises 4096 bytes for name, value and attributes.
const maxCookieLine = 4093

// maxPieces: the count and the number of a piece are one digit each.
const maxPieces = 9

// maxDuplicates is how many cookies of one name are tried.
const maxDuplicates = 4

const setCookiePrefix = len("Set-Cookie: ")

// A Cookies reads and writes one sealed value as one cookie or several.
// The first cookie has the plain name; its value begins with the number of
// cookies, a digit. The others are called name-1, name-2 and so on.
//
// A value has a head, which every request opens, and may have a tail, which is
// sealed by itself, after a dot, and opened only when somebody needs it. With
// the head are authenticated name, owner, count and the tail as it is sealed:
// pieces and parts of two values never join, and a head that opens vouches for
// all of it.
type Cookies struct {
	Name       string // with its prefix
	codec      seal.Codec
	insecure   bool
	sameSite   http.SameSite
	Budget     int
	additional [maxPieces + 1][]byte // authenticated with the head, by count
	tails      []byte                // authenticated with the tail
}

// NewCookies makes the format of a name. A value opens only under the
// owner it was sealed for.
func NewCookies(name string, owner []byte, codec seal.Codec, insecure bool, sameSite http.SameSite, budget int) *Cookies {
	c := &Cookies{codec: codec, insecure: insecure, sameSite: sameSite, Budget: budget}
	c.Name = cookiePrefix(insecure) + name
	for count := range c.additional {
		c.additional[count] = fmt.Appendf(nil, "msauth cookie v1\x00%s\x00%x\x00%d\x00", c.Name, owner, count)
	}
	c.tails = fmt.Appendf(nil, "msauth cookie tail v1\x00%s\x00%x", c.Name, owner)
	return c
}

// cookiePrefix makes browsers refuse the cookie from other hosts and paths and
// over plain http (RFC 6265bis section 4.1.3.2).
func cookiePrefix(insecure bool) string {
	if insecure {
		return ""
	}
	return "__Host-"
}

// Scanned is what a Cookie header holds under the names of one format.
type Scanned struct {
	first  [maxDuplicates]string // values of the first cookie, in order
	firsts int
	piece  [maxPieces]string // piece[i] is the first value of name-i, from 1
	Sent   SentCookies
}

// SentCookies has bit i set when piece i came in; 0 is the first cookie.
type SentCookies uint16

// Scan finds our cookies without building a list of all of them, which costs
// more than the decryption. Only space and tab are trimmed: what browsers do
// not add is not taken away.
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
			}
		}
	}
	return s
}

// Received is the outcome of reading a request's cookies.
type Received struct {
	Head    []byte      // nil: nothing there, or nothing that opens
	tail    string      // sealed; "" if there is none
	sent    SentCookies // 0: nothing there
	surplus bool        // pieces came that do not belong to the payload
}

// Read opens what the request carries. Of several cookies with our name, the
// mark of somebody who tries to plant one, each is tried on its own; pieces
// join the first only.
func (c *Cookies) Read(h http.Header) Received {
	s := c.Scan(h)
	r := Received{sent: s.Sent}
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
		head, tail, err := c.open(text, count)
		if err != nil {
			continue
		}
		if r.Head != nil && !bytes.Equal(r.Head, head) {
			// Two values that are both ours: somebody has planted one, and
			// nothing tells which.
			return Received{sent: s.Sent}
		}
		r.Head, r.tail = head, tail
		r.surplus = s.Sent>>count != 0
	}
	return r
}

func (c *Cookies) open(text string, count int) (head []byte, tail string, err error) {
	text, tail, parted := strings.Cut(text, ".")
	if parted && tail == "" {
		return nil, "", seal.ErrNotSealed
	}
	box, err := seal.DecodeText(text)
	if err != nil {
		return nil, "", err
	}
	buffer := compact.Buffers.Get().(*[]byte)
	defer compact.Buffers.Put(buffer)
	*buffer = append(append((*buffer)[:0], c.additional[count]...), tail...)
	head, _, err = c.codec.Keys.Open(box, *buffer)
	return head, tail, err
}

// openTail opens the tail that came with a head.
func (c *Cookies) openTail(tail string) ([]byte, error) {
	box, err := seal.DecodeText(tail)
	if err != nil {
		return nil, err
	}
	plain, _, err := c.codec.Keys.Open(box, c.tails)
	return plain, err
}

// Cookie makes every cookie of this format, to set or to delete: a browser
// ignores the deletion of a __Host- cookie that lacks an attribute.
func (c *Cookies) Cookie(name, value string, maxAge int) *http.Cookie {
	return &http.Cookie{ // #nosec G124 -- Secure but for plain http
		Name: name, Value: value, Path: "/", MaxAge: maxAge,
		Secure: !c.insecure, HttpOnly: true, SameSite: c.sameSite,
	}
}

func (c *Cookies) pieceName(i int) string {
	if i == 0 {
		return c.Name
	}
	return c.Name + "-" + string(rune('0'+i))
}

// lines lays out a value whose parts have so many bytes: how many cookies it
// takes, how many characters go into each but the last, and the bytes of all
// their lines.
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

// Write sets the cookies of a value and expires pieces that it no longer
// needs. tail may be empty. age is the cookies' Max-Age, 0 for cookies that go
// with the browser.
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
	sent |= c.Set(h) // this answer may have set more pieces before
	text := string(rune('0'+count)) + seal.Base64url.EncodeToString(c.codec.Keys.Seal(head, additional)) + dot + sealed
	for i := range count {
		part := text[:min(perPiece, len(text))]
		text = text[len(part):]
		SetCookie(h, c.Cookie(c.pieceName(i), part, Seconds(age)))
	}
	c.Clear(h, sent&^(1<<count-1))
	return nil
}

// Set finds the cookies that a response sets so far.
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

// Clear expires the cookies in sent.
func (c *Cookies) Clear(h http.Header, sent SentCookies) {
	for i := 0; i <= maxPieces; i++ {
		if sent&(1<<i) != 0 {
			SetCookie(h, c.Cookie(c.pieceName(i), "", -1))
		}
	}
}

// Seconds rounds up, so that a positive age never becomes 0, "no Max-Age".
func Seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// SetCookie adds a Set-Cookie line in place of an earlier one of that name and
// keeps the response out of every cache. The lower-case key makes a line of
// its own beside whatever Cache-Control the handler sets, changes or deletes;
// recipients join repeated lines (RFC 9110 section 5.3).
func SetCookie(h http.Header, cookie *http.Cookie) {
	DropCookie(h, cookie.Name)
	h["Set-Cookie"] = append(h["Set-Cookie"], cookie.String())
	h["cache-control"] = []string{"no-store"}
}

// DropCookie takes back what setCookie has added for a name.
func DropCookie(h http.Header, name string) {
	lines := h["Set-Cookie"]
	kept := make([]string, 0, len(lines)+1)
	for _, line := range lines {
		if len(line) <= len(name) || line[:len(name)] != name || line[len(name)] != '=' {
			kept = append(kept, line)
		}
	}
	h["Set-Cookie"] = kept
}
