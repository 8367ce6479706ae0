package session

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/msauth/internal/seal"
)

// Scanning costs no memory of its own, whatever is in the header.
func TestScanningAllocatesNothing(t *testing.T) {
	cookies := testCookies(t)
	for name, line := range map[string]string{
		"foreign": "a=b; c=d", "ours": cookies.Name + "=1AAAA", "pieces": cookies.Name + "=9; " + cookies.Name + "-1=x",
		"many": string(bytes.Repeat([]byte(cookies.Name+"=x; "), 3000)),
	} {
		h := http.Header{"Cookie": {line}}
		if n := testing.AllocsPerRun(20, func() { cookies.Scan(h) }); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
		if n := testing.AllocsPerRun(20, func() { cookies.Read(h, new([]byte)) }); n > 12 {
			t.Errorf("%s: %v allocations to find nothing", name, n)
		}
	}
}

// moved renames the cookies that a header carries.
func moved(h http.Header, from, to string) http.Header {
	return http.Header{"Cookie": {strings.ReplaceAll(h.Get("Cookie"), from, to)}}
}

func TestValueOpensOnlyForItsNameAndOwner(t *testing.T) {
	t.Parallel()
	key, other := bytes.Repeat([]byte{1, 2, 3, 4}, 8), bytes.Repeat([]byte{5, 6, 7, 8}, 8)
	format := func(name, owner, purpose string, insecure bool, keys ...[]byte) *Cookies {
		ring, err := seal.NewKeyring(keys)
		if err != nil {
			t.Fatal(err)
		}
		return NewCookies(name, []byte(owner), seal.Codec{Keys: ring.Derive(purpose)}, insecure, http.SameSiteLaxMode, 7168)
	}
	own := format("a", "owner", "p", false, key)
	for _, test := range []struct {
		name string
		at   *Cookies
		want bool
	}{
		{"its own", own, true},
		{"a new key in front", format("a", "owner", "p", false, other, key), true},
		{"the key dropped", format("a", "owner", "p", false, other), false},
		{"another owner", format("a", "other", "p", false, key), false},
		{"another name", format("b", "owner", "p", false, key), false},
		{"another purpose", format("a", "owner", "q", false, key), false},
		{"without its prefix", format("a", "owner", "p", true, key), false},
	} {
		for _, size := range []int{10, 5000} {
			h := http.Header{}
			head := []byte(random(size))
			if err := own.Write(h, 0, head, []byte("tail"), time.Hour); err != nil {
				t.Fatal(err)
			}
			got := test.at.Read(moved(request(h).Header, own.Name, test.at.Name), new([]byte))
			if (got.Head != nil) != test.want || test.want && !bytes.Equal(got.Head, head) || got.sent == 0 {
				t.Errorf("%s, %d bytes: opens %d bytes, sent %b", test.name, size, len(got.Head), got.sent)
			}
			if test.want {
				if tail, err := test.at.openTail(got.tail, new([]byte)); err != nil || string(tail) != "tail" {
					t.Errorf("%s, %d bytes: tail %q, %v", test.name, size, tail, err)
				}
			}
		}
	}
}

// Two tabs may write at the same time, and somebody may plant a cookie: what is
// read is one value as it was written, or none.
func TestPiecesOfTwoValuesNeverJoin(t *testing.T) {
	t.Parallel()
	c := testCookies(t)
	c.Budget = 9000
	write := func(head, tail seal.Secret) (pieces []string) {
		h := http.Header{}
		if err := c.Write(h, 0, []byte(head), []byte(tail), time.Hour); err != nil {
			t.Fatal(err)
		}
		for _, cookie := range request(h).Cookies() {
			pieces = append(pieces, cookie.Name+"="+cookie.Value)
		}
		return pieces
	}
	// The first cookie of a has all of the head and some of the tail; that of b as well.
	head := random(400)
	a, b := write(head, random(4800)), write(random(400), random(4800))
	if len(a) != 2 || len(b) != 2 {
		t.Fatalf("%d and %d cookies, want 2 each", len(a), len(b))
	}
	small := write("small", "")[0]
	countOf := func(cookie, digit string) string { return strings.Replace(cookie, "=2", "="+digit, 1) }
	for _, test := range []struct {
		name   string
		pieces []string
		want   string
	}{
		{"as written", a, string(head)},
		{"in another order", []string{a[1], a[0]}, string(head)},
		{"with a piece of another value", []string{a[0], b[1]}, ""},
		{"without a piece", a[:1], ""},
		{"without the first cookie", a[1:], ""},
		{"with a lower count", []string{countOf(a[0], "1"), a[1]}, ""},
		{"with a higher count", []string{countOf(a[0], "3"), a[1]}, ""},
		{"with no count", []string{countOf(a[0], "0"), a[1]}, ""},
		{"with a piece too many", append([]string{c.Name + "-2=x"}, a...), string(head)},
		{"behind a planted cookie", []string{c.Name + "=1x", small}, "small"},
		{"in pieces behind a planted cookie", []string{c.Name + "=1x", a[0], a[1]}, ""},
		{"before a planted cookie", []string{small, c.Name + "=1x"}, "small"},
		{"twice", []string{small, small}, "small"},
		{"beside another value", []string{small, write("other", "")[0]}, ""},
		{"a piece before a planted one", []string{a[0], a[1], c.Name + "-1=x"}, string(head)},
		{"a piece behind a planted one", []string{a[0], c.Name + "-1=x", a[1]}, ""},
		{"an empty cookie", []string{c.Name + "="}, ""},
		{"an empty tail", []string{small + "."}, ""},
	} {
		got := c.Read(http.Header{"Cookie": {strings.Join(test.pieces, "; ")}}, new([]byte))
		if string(got.Head) != test.want || (got.Head == nil) != (test.want == "") {
			t.Errorf("%s: opens %d bytes, want %d", test.name, len(got.Head), len(test.want))
		}
	}
}

// The Set-Cookie lines are within the budget and within what browsers keep, and
// what is over the budget sets nothing.
func TestSizeOfCookies(t *testing.T) {
	t.Parallel()
	for _, budget := range []int{1024, 3300, 7168} {
		c := testCookies(t)
		c.Budget = budget
		for size := 0; size < 8000; size += 61 {
			h := http.Header{}
			head, tail := bytes.Repeat([]byte("h"), size/4), bytes.Repeat([]byte("t"), size-size/4)
			_, _, total := c.lines(len(head), len(tail), time.Hour)
			err := c.Write(h, 0, head, tail, time.Hour)
			if (err == nil) != (total <= budget) || err != nil && (!errors.Is(err, ErrTooLarge) || len(h) > 0) {
				t.Fatalf("%d bytes, %d of %d in lines: %v, sets %d cookies", size, total, budget, err, len(h["Set-Cookie"]))
			}
			sum := 0
			for _, line := range h["Set-Cookie"] {
				sum += len("Set-Cookie: " + line + "\r\n")
				if len(line) > 4096 {
					t.Errorf("a line of %d bytes", len(line))
				}
			}
			if err == nil && (sum > total || sum < total-10) {
				t.Errorf("%d bytes: %d bytes in lines, expected %d", size, sum, total)
			}
		}
	}
}

// A value that has become shorter leaves no piece behind, in the browser or in
// this answer.
func TestPiecesThatAreNotNeededAreDeleted(t *testing.T) {
	t.Parallel()
	c := testCookies(t)
	c.Budget = 20_000
	long, both := http.Header{}, http.Header{}
	for _, h := range []http.Header{long, both} {
		if err := c.Write(h, 0, []byte(random(9000)), nil, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	sent := c.Scan(request(long).Header).Sent
	if sent != 0b1111 || c.Set(long) != sent {
		t.Fatalf("sent %b, set %b", sent, c.Set(long))
	}
	short := http.Header{}
	if err := c.Write(short, sent, []byte("short"), nil, time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := c.Write(both, 0, []byte("short"), nil, time.Hour); err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]*http.Request{"by the next answer": request(long, short), "by the same answer": request(both)} {
		if r := c.Read(got.Header, new([]byte)); string(r.Head) != "short" || r.sent != 1 || r.surplus {
			t.Errorf("%s: sent %b, surplus %v", name, r.sent, r.surplus)
		}
	}
	gone := http.Header{}
	c.Clear(gone, sent)
	if left := request(long, gone).Cookies(); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
}

func TestAttributesOfCookies(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		insecure bool
		sameSite http.SameSite
		age      time.Duration
		want     string
	}{
		{false, http.SameSiteLaxMode, time.Hour, "; Path=/; Max-Age=3600; HttpOnly; Secure; SameSite=Lax"},
		{false, http.SameSiteStrictMode, 0, "; Path=/; HttpOnly; Secure; SameSite=Strict"},
		{true, http.SameSiteLaxMode, time.Hour, "; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax"},
	} {
		c := NewCookies("a", nil, testCookies(t).codec, test.insecure, test.sameSite, 3300)
		h := http.Header{}
		if err := c.Write(h, 0, []byte("x"), nil, test.age); err != nil {
			t.Fatal(err)
		}
		if line := h.Get("Set-Cookie"); !strings.HasSuffix(line, test.want) || strings.HasPrefix(line, "__Host-a=") == test.insecure {
			t.Errorf("%q, want %q", line, test.want)
		}
	}
}

func TestValidName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"a": true, "msauth-AAAAAA": true, "A.b_c-d": true, "a-10": true, "a-0": true, "a-login-x": true, strings.Repeat("a", 40): true,
		"": false, "-a": false, "a b": false, "a=": false, "é": false, strings.Repeat("a", 41): false,
		"a-1": false, "a-9": false, "a-ok": false, "a-to": false, "a-login-0123456789abcdef": false, // other cookies beside "a"
	} {
		if got := ValidName(name); got != want {
			t.Errorf("%q: %v, want %v", name, got, want)
		}
	}
}
