package msauth

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"
)

// CookieStore keeps gorilla sessions in encrypted cookies, split where they
// are too long for one: for an app's own values beside the Microsoft session.
// Its cookies are "__Host-" + the session's name, with Secure, HttpOnly,
// SameSite=Lax and Path=/; of a session's Options only MaxAge and SameSite
// count. The age is enforced by the server as well.
type CookieStore struct {
	// Options are those of new sessions. MaxAge is in seconds; 0 means a
	// cookie that goes with the browser, honoured for 7 days at most; more than
	// 400 days are 400. Default 7 days.
	Options sessions.Options

	// InsecureCookies drops Secure and the "__Host-" prefix, for plain http:
	// on hosts other than loopback, and on loopback for Safari, which keeps no
	// Secure cookie there. For development only.
	InsecureCookies bool

	// Owner says whose sessions these are, where several apps on one host have
	// the same keys: with another Owner they do not open. Default "".
	Owner string

	codec sealer
}

// mostSeconds is a hundred years: from 292 on a Duration overflows.
const mostSeconds = 100 * 365 * 86400

var _ sessions.Store = (*CookieStore)(nil)

// NewCookieStore makes a store from keys of 32 random bytes each. The first
// seals, all open. The keys may be those of [Config.Keys].
func NewCookieStore(keys ...[]byte) (*CookieStore, error) {
	ring, err := newKeyring(keys)
	if err != nil {
		return nil, fmt.Errorf("msauth: the list of keys %w", err)
	}
	return &CookieStore{
		Options: sessions.Options{MaxAge: int(defaultMaxAge / time.Second)},
		codec:   sealer{ring.derive("msauth cookie store v1")},
	}, nil
}

func (s *CookieStore) format(name string, o *sessions.Options) (*cookieFormat, error) {
	if !validName(name) {
		return nil, fmt.Errorf("msauth: session name %q must be 1 to 40 letters, digits, dots, dashes or underscores, and not end like one of another session's cookies", name)
	}
	sameSite := http.SameSiteLaxMode
	if o != nil && o.SameSite == http.SameSiteStrictMode {
		sameSite = http.SameSiteStrictMode
	}
	return newCookieFormat(name, []byte(s.Owner), s.codec, s.InsecureCookies, sameSite, largestCookieBudget), nil
}

// takenForm is how the names of cookies beside a session's first one end: its
// pieces, the marker, a long address and the attempts. A session of such a name would be taken
// for one of them, and cleared.
var takenForm = regexp.MustCompile(`-([1-9]|ok|to|login-[0-9a-f]{16})$`)

func validName(name string) bool { return nameForm.MatchString(name) && !takenForm.MatchString(name) }

// Get returns the session of the request, read once per request. It rewrites
// r in place, as all gorilla stores do: not for concurrent use of one request.
func (s *CookieStore) Get(r *http.Request, name string) (*sessions.Session, error) {
	return sessions.GetRegistry(r).Get(s, name)
}

// New reads the session from the request's cookies. A cookie that is missing,
// too old, altered or sealed with a key that was dropped gives a new, empty
// session without an error.
func (s *CookieStore) New(r *http.Request, name string) (*sessions.Session, error) {
	session := sessions.NewSession(s, name)
	options := s.Options
	session.Options = &options
	session.IsNew = true
	format, err := s.format(name, nil)
	if err != nil {
		return session, err
	}
	payload := format.read(r.Header).head
	if len(payload) < 9 || payload[0] != formatGob {
		return session, nil
	}
	if int64(binary.BigEndian.Uint64(payload[1:])) <= time.Now().Unix() {
		return session, nil
	}
	values := map[any]any{}
	if err := (securecookie.GobEncoder{}).Deserialize(payload[9:], &values); err != nil {
		return session, nil
	}
	session.Values, session.IsNew = values, false
	return session, nil
}

// Save writes the session's cookies, or deletes them when its Options.MaxAge
// is negative. It must be called before the response begins. The error wraps
// [ErrCookieTooLarge] when the lines would take more than 7168 bytes.
func (s *CookieStore) Save(r *http.Request, w http.ResponseWriter, session *sessions.Session) error {
	options := session.Options
	if options == nil {
		options = &s.Options
	}
	format, err := s.format(session.Name(), options)
	if err != nil {
		return err
	}
	sent := format.scan(r.Header).sent
	if options.MaxAge < 0 {
		format.clear(w.Header(), sent|format.set(w.Header())|1)
		return nil
	}
	age := time.Duration(min(int64(options.MaxAge), mostSeconds)) * time.Second
	lasts := min(age, longestMaxAge)
	if lasts == 0 {
		lasts = defaultMaxAge
	}
	values, err := (securecookie.GobEncoder{}).Serialize(session.Values)
	if err != nil {
		return fmt.Errorf("msauth: session %q: %w", session.Name(), err)
	}
	payload := []byte{formatGob}
	payload = binary.BigEndian.AppendUint64(payload, uint64(time.Now().Add(lasts).Unix()))
	payload = append(payload, values...)
	return public(format.write(w.Header(), sent, payload, nil, age))
}

// Format implements [fmt.Formatter]: no key is shown.
func (s *CookieStore) Format(f fmt.State, verb rune) { fmt.Fprint(f, "msauth.CookieStore") }

// The first byte of a sealed payload says what it is.
const (
	formatGob     = 'g' // an app's own values
	formatSession = 2   // our session, see record.go
)

const (
	// maxCookieLine is the longest Set-Cookie line that browsers are sure to
	// keep: RFC 6265 promises 4096 bytes for name, value and attributes.
	maxCookieLine = 4093
	// maxPieces: the count and the number of a piece are one digit each.
	maxPieces = 9
	// maxDuplicates is how many cookies of one name are tried.
	maxDuplicates = 4

	setCookiePrefix = len("Set-Cookie: ")
)

// A cookieFormat reads and writes one sealed value as one cookie or several.
// The first cookie has the plain name; its value begins with the number of
// cookies, a digit. The others are called name-1, name-2 and so on.
//
// A value has a head, which every request opens, and may have a tail, which is
// sealed by itself, after a dot, and opened only when somebody needs it. With
// the head are authenticated name, owner, count and the tail as it is sealed:
// pieces and parts of two values never join, and a head that opens vouches for
// all of it.
type cookieFormat struct {
	name       string // with its prefix
	codec      sealer
	insecure   bool
	sameSite   http.SameSite
	budget     int
	additional [maxPieces + 1][]byte // authenticated with the head, by count
	tails      []byte                // authenticated with the tail
}

// newCookieFormat makes the format of a name. A value opens only under the
// owner it was sealed for.
func newCookieFormat(name string, owner []byte, codec sealer, insecure bool, sameSite http.SameSite, budget int) *cookieFormat {
	c := &cookieFormat{codec: codec, insecure: insecure, sameSite: sameSite, budget: budget}
	c.name = cookiePrefix(insecure) + name
	for count := range c.additional {
		c.additional[count] = fmt.Appendf(nil, "msauth cookie v1\x00%s\x00%x\x00%d\x00", c.name, owner, count)
	}
	c.tails = fmt.Appendf(nil, "msauth cookie tail v1\x00%s\x00%x", c.name, owner)
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

// scanned is what a Cookie header holds under the names of one format.
type scanned struct {
	first  [maxDuplicates]string // values of the first cookie, in order
	firsts int
	piece  [maxPieces]string // piece[i] is the first value of name-i, from 1
	sent   sentCookies
}

// sentCookies has bit i set when piece i came in; 0 is the first cookie.
type sentCookies uint16

// scan finds our cookies without building a list of all of them, which costs
// more than the decryption. Only space and tab are trimmed: what browsers do
// not add is not taken away.
func (c *cookieFormat) scan(h http.Header) (s scanned) {
	for _, line := range h["Cookie"] {
		for len(line) > 0 {
			var part string
			part, line, _ = strings.Cut(line, ";")
			part = strings.Trim(part, " \t")
			if len(part) <= len(c.name) || part[:len(c.name)] != c.name {
				continue
			}
			rest := part[len(c.name):]
			switch {
			case rest[0] == '=':
				s.sent |= 1
				if s.firsts < maxDuplicates {
					s.first[s.firsts] = rest[1:]
					s.firsts++
				}
			case len(rest) >= 3 && rest[0] == '-' && rest[2] == '=' && rest[1] >= '1' && rest[1] <= '9':
				i := rest[1] - '0'
				if i < maxPieces && s.sent&(1<<i) == 0 {
					s.piece[i] = rest[3:]
				}
				s.sent |= 1 << i
			}
		}
	}
	return s
}

// received is the outcome of reading a request's cookies.
type received struct {
	head    []byte      // nil: nothing there, or nothing that opens
	tail    string      // sealed; "" if there is none
	sent    sentCookies // 0: nothing there
	surplus bool        // pieces came that do not belong to the payload
}

// read opens what the request carries. Of several cookies with our name, the
// mark of somebody who tries to plant one, each is tried on its own; pieces
// join the first only.
func (c *cookieFormat) read(h http.Header) received {
	s := c.scan(h)
	r := received{sent: s.sent}
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
		if r.head != nil && !bytes.Equal(r.head, head) {
			// Two values that are both ours: somebody has planted one, and
			// nothing tells which.
			return received{sent: s.sent}
		}
		r.head, r.tail = head, tail
		r.surplus = s.sent>>count != 0
	}
	return r
}

func (c *cookieFormat) open(text string, count int) (head []byte, tail string, err error) {
	text, tail, parted := strings.Cut(text, ".")
	if parted && tail == "" {
		return nil, "", errNotSealed
	}
	box, err := decodeText(text)
	if err != nil {
		return nil, "", err
	}
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	*buffer = append(append((*buffer)[:0], c.additional[count]...), tail...)
	head, _, err = c.codec.keys.open(box, *buffer)
	return head, tail, err
}

// openTail opens the tail that came with a head.
func (c *cookieFormat) openTail(tail string) ([]byte, error) {
	box, err := decodeText(tail)
	if err != nil {
		return nil, err
	}
	plain, _, err := c.codec.keys.open(box, c.tails)
	return plain, err
}

// cookie makes every cookie of this format, to set or to delete: a browser
// ignores the deletion of a __Host- cookie that lacks an attribute.
func (c *cookieFormat) cookie(name, value string, maxAge int) *http.Cookie {
	return &http.Cookie{ // #nosec G124 -- Secure but for plain http
		Name: name, Value: value, Path: "/", MaxAge: maxAge,
		Secure: !c.insecure, HttpOnly: true, SameSite: c.sameSite,
	}
}

func (c *cookieFormat) pieceName(i int) string {
	if i == 0 {
		return c.name
	}
	return c.name + "-" + string(rune('0'+i))
}

// lines lays out a value whose parts have so many bytes: how many cookies it
// takes, how many characters go into each but the last, and the bytes of all
// their lines.
func (c *cookieFormat) lines(head, tail int, age time.Duration) (count, perPiece, total int) {
	text := len("1") + base64url.EncodedLen(head+sealOverhead)
	if tail > 0 {
		text += len(".") + base64url.EncodedLen(tail+sealOverhead)
	}
	overhead := setCookiePrefix + len(c.cookie(c.pieceName(1), "", seconds(age)).String())
	perPiece = maxCookieLine - overhead
	count = max(1, (text+perPiece-1)/perPiece)
	return count, perPiece, text + count*(overhead+len("\r\n"))
}

// write sets the cookies of a value and expires pieces that it no longer
// needs. tail may be empty. age is the cookies' Max-Age, 0 for cookies that go
// with the browser.
func (c *cookieFormat) write(h http.Header, sent sentCookies, head, tail []byte, age time.Duration) error {
	count, perPiece, total := c.lines(len(head), len(tail), age)
	if total > c.budget || count > maxPieces {
		return fmt.Errorf("%w: %d bytes of Set-Cookie lines, where %d may be used", errTooLarge, total, c.budget)
	}
	sealed, dot := "", ""
	if len(tail) > 0 {
		sealed, dot = base64url.EncodeToString(c.codec.keys.seal(tail, c.tails)), "."
	}
	additional := append(bytes.Clone(c.additional[count]), sealed...)
	sent |= c.set(h) // this answer may have set more pieces before
	text := string(rune('0'+count)) + base64url.EncodeToString(c.codec.keys.seal(head, additional)) + dot + sealed
	for i := range count {
		part := text[:min(perPiece, len(text))]
		text = text[len(part):]
		setCookie(h, c.cookie(c.pieceName(i), part, seconds(age)))
	}
	c.clear(h, sent&^(1<<count-1))
	return nil
}

// set finds the cookies that a response sets so far.
func (c *cookieFormat) set(h http.Header) (found sentCookies) {
	for _, line := range h["Set-Cookie"] {
		for i := 0; i <= maxPieces; i++ {
			if strings.HasPrefix(line, c.pieceName(i)+"=") {
				found |= 1 << i
			}
		}
	}
	return found
}

// clear expires the cookies in sent.
func (c *cookieFormat) clear(h http.Header, sent sentCookies) {
	for i := 0; i <= maxPieces; i++ {
		if sent&(1<<i) != 0 {
			setCookie(h, c.cookie(c.pieceName(i), "", -1))
		}
	}
}

// seconds rounds up, so that a positive age never becomes 0, "no Max-Age".
func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// setCookie adds a Set-Cookie line in place of an earlier one of that name and
// keeps the response out of every cache. The lower-case key makes a line of
// its own beside whatever Cache-Control the handler sets, changes or deletes;
// recipients join repeated lines (RFC 9110 section 5.3).
func setCookie(h http.Header, cookie *http.Cookie) {
	dropCookie(h, cookie.Name)
	h["Set-Cookie"] = append(h["Set-Cookie"], cookie.String())
	h["cache-control"] = []string{"no-store"}
}

// dropCookie takes back what setCookie has added for a name.
func dropCookie(h http.Header, name string) {
	lines := h["Set-Cookie"]
	kept := make([]string, 0, len(lines)+1)
	for _, line := range lines {
		if len(line) <= len(name) || line[:len(name)] != name || line[len(name)] != '=' {
			kept = append(kept, line)
		}
	}
	h["Set-Cookie"] = kept
}
