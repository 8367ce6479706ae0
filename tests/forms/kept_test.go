package forms_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"example.com/msauth"
	"example.com/msauth/tests/testsite"
)

// What a browser sends of a form comes back from the page as it was.
func TestFieldsComeBackAsTheyCame(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	texts := []string{
		"a", " ", "+", "%20", "&=;#?", `"><script>alert(1)</script>`, "</form></textarea>", "'\"`<!--", "&amp; &lt; &#13; &#0;", "{{.}}",
		"\r\n", "\r\nfirst line empty", "two\r\nlines\r\n", "\r\n\r\n", "😀 e\u0301 日本", "שלום \u202e abc \u2066", "\u2028 \u0085 \ufeff \ufffd \uffff",
		"\t\v\f\x01\x1f\x7f", "javascript:alert(1)", "~*-._",
	}
	every := form{}
	for i, text := range texts {
		every.fields = append(every.fields, [2]string{text, texts[len(texts)-1-i]})
	}
	many := form{}
	for i := range 1000 {
		many.fields = append(many.fields, [2]string{fmt.Sprint("n", i), ""})
	}
	tests := []struct{ name, body string }{
		{"no field", ""},
		{"no value", "a="},
		{"order and repeats", "b=1&a=2&b=1&b=&a=0"},
		{"names that mean something elsewhere", "msauth_token=x&submit=1&action=%2Fevil&method=get&_charset_=UTF-8&isindex=1&__proto__=1&form=2"},
		{"charset in other letters", "_CharSet_=UTF-8"},
		{"every text, as name and as value", every.body()},
		{"1000 fields", many.body()},
		{"64 KB", "a=" + strings.Repeat("x", 64<<10-2)},
		{"64 KB of quotes", "a=" + strings.Repeat("%22", (64<<10-2)/3)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := s.kept(t, s.post(s.Browser(t), "/order", test.body), 401, "sign-in-required")
			if got := f.body(); got != test.body {
				t.Errorf("it sends %.500q, want %.500q", got, test.body)
			}
			if f.button != "Send again" {
				t.Errorf("button %q", f.button)
			}
		})
	}
	s.kept(t, s.post(s.Browser(t), "/order", "a=1", "X-Requested-With", "com.example.app"), 401, "sign-in-required") // an Android WebView
	// %20 is the same text as +, which browsers send.
	if got := s.kept(t, s.post(s.Browser(t), "/order", "a=x%20y+z"), 401, "sign-in-required").body(); got != "a=x+y+z" {
		t.Errorf("a space as %%20: %q", got)
	}
}

// The page says where to go first, in another tab, and nothing else is set or asked.
func TestPageOfAKeptForm(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	res := s.post(s.Browser(t), "/order?x=1", "secret=hunter2")
	f := s.kept(t, res, 401, "sign-in-required")
	links := testsite.LinksOf(res)
	if len(links) != 1 || links[0] != "/auth/login?return_to=%2Fauth%2Fdone" && links[0] != "/auth/login" || !strings.Contains(res.Text, `target="_blank" rel="noopener">Sign in</a>`) {
		t.Errorf("links %q; page %s", links, res.Text)
	}
	if strings.Index(res.Text, "Sign in</a>") > strings.Index(res.Text, "Send again") {
		t.Error("the link to sign in is not the first")
	}
	if len(res.Header["Set-Cookie"]) != 0 || res.Header.Get("X-Frame-Options") != "DENY" || res.Header.Get("WWW-Authenticate") == "" || !strings.Contains(res.Header.Get("Content-Security-Policy"), " script-src 'self'; require-trusted-types-for 'script'; connect-src 'self';") {
		t.Errorf("headers %v", res.Header)
	}
	if strings.Contains(s.Log.String(), "hunter2") || strings.Contains(f.action, "hunter2") || strings.Contains(f.action, "order") {
		t.Errorf("what was written is in the address %q or in the log", f.action)
	}
	s.WantNoCalls(t)
}

// Why a form is not kept. The page is then as for all that is not a page load.
func TestFormsThatAreNotKept(t *testing.T) {
	t.Parallel()
	s := newShop(t, func(c *msauth.Config) {
		c.KeepForm = func(r *http.Request) bool {
			if r.URL.Path == "/order/panic" {
				panic("oh")
			}
			if body, err := io.ReadAll(r.Body); len(body) > 0 || err != nil || r.FormValue("a") != "" {
				t.Errorf("KeepForm reads %q, %v", body, err)
			}
			return r.URL.Path != "/order/password"
		}
	})
	s.Mux.Handle("/order/", s.Auth.Require(http.HandlerFunc(s.order)))
	many := strings.Repeat("n=&", 10_000) + "n="
	tests := []struct {
		name, target, body string
		header             []string
		reason             string
	}{
		{"another site", "/order", "a=1", []string{"Sec-Fetch-Site", "cross-site"}, "not sent by a page of this site"},
		{"a sibling", "/order", "a=1", []string{"Sec-Fetch-Site", "same-site"}, "not sent by a page of this site"},
		{"typed", "/order", "a=1", []string{"Sec-Fetch-Site", "none"}, "not sent by a page of this site"},
		{"an old browser", "/order", "a=1", []string{"Sec-Fetch-Site", ""}, "not sent by a page of this site"},
		{"site in capitals", "/order", "a=1", []string{"Sec-Fetch-Site", "Same-Origin"}, "not sent by a page of this site"},
		{"two sites in a line", "/order", "a=1", []string{"Sec-Fetch-Site", "same-origin, cross-site"}, "not sent by a page of this site"},
		{"fetch", "/order", "a=1", []string{"Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"}, "not sent by a page of this site"},
		{"a service worker", "/order", "a=1", []string{"Sec-Fetch-Dest", "empty"}, "not sent by a page of this site"},
		{"a worker's new request", "/order", "a=1", []string{"Sec-Fetch-Mode", "same-origin", "Sec-Fetch-Dest", "empty", "Upgrade-Insecure-Requests", "1"}, "not sent by a page of this site"},
		{"a frame", "/order", "a=1", []string{"Sec-Fetch-Dest", "iframe"}, "not sent by a page of this site"},
		{"no destination", "/order", "a=1", []string{"Sec-Fetch-Dest", ""}, "not sent by a page of this site"},
		{"htmx", "/order", "a=1", []string{"HX-Request", "true"}, "sent by a script"},
		{"Turbo", "/order", "a=1", []string{"X-Turbo-Request-Id", "1"}, "sent by a script"},
		{"a Turbo frame", "/order", "a=1", []string{"Turbo-Frame", "f"}, "sent by a script"},
		{"Unpoly", "/order", "a=1", []string{"X-Up-Version", "3", "X-Up-Mode", "root"}, "sent by a script"},
		{"jQuery", "/order", "a=1", []string{"X-Requested-With", "XMLHttpRequest"}, "sent by a script"},
		{"wants JSON", "/order", "a=1", []string{"Accept", "application/json"}, ""},
		{"files", "/order", "--x--\r\n", []string{"Content-Type", "multipart/form-data; boundary=x"}, "content type"},
		{"text", "/order", "a=1", []string{"Content-Type", "text/plain"}, "content type"},
		{"no type", "/order", "a=1", []string{"Content-Type", ""}, "content type"},
		{"another charset", "/order", "a=1", []string{"Content-Type", urlencoded + "; charset=iso-8859-1"}, "content type"},
		{"compressed", "/order", "a=1", []string{"Content-Encoding", "gzip"}, "not as browsers send forms"},
		{"one byte over 64 KB", "/order", "a=" + strings.Repeat("x", 64<<10-1), nil, "too long"},
		{"a megabyte", "/order", "a=" + strings.Repeat("x", 1<<20), nil, "too long"},
		{"10,001 names", "/order", many, nil, "too many fields"},
		{"1001 fields", "/order", strings.Repeat("n=&", 1000) + "n=", nil, "too many fields"},
		{"NUL in a value", "/order", "a=%00", nil, "not text that a page can hold"},
		{"NUL in a name", "/order", "a%00=", nil, "not text that a page can hold"},
		{"a value in another encoding", "/order", "a=%FC", nil, "not text that a page can hold"},
		{"a name in another encoding", "/order", "%FC=a", nil, "not text that a page can hold"},
		{"a surrogate", "/order", "a=%ED%A0%80", nil, "not text that a page can hold"},
		{"a lone line feed", "/order", "a=x%0Ay", nil, "not text that a page can hold"},
		{"a lone carriage return", "/order", "a=x%0Dy", nil, "not text that a page can hold"},
		{"line feed before carriage return", "/order", "a%0A%0D=", nil, "not text that a page can hold"},
		{"no name", "/order", "=a", nil, "field without a name"},
		{"no equals sign", "/order", "a", nil, "not as browsers send forms"},
		{"two ampersands", "/order", "a=1&&b=2", nil, "not as browsers send forms"},
		{"a semicolon", "/order", "a=1;b=2", nil, "not as browsers send forms"},
		{"a broken name", "/order", "%zz=1", nil, "broken encoding"},
		{"a broken value", "/order", "a=%4", nil, "broken encoding"},
		{"says another charset", "/order", "_charset_=windows-1252&a=1", nil, "another encoding"},
		{"says no charset", "/order", "_CHARSET_=&a=1", nil, "another encoding"},
		{"a long address", "/order?" + strings.Repeat("x", 500), "a=1", nil, "address too long"},
		{"a very long address", "/order?" + strings.Repeat("x", 3000), "a=1", nil, "address cannot be returned to"},
		{"an address that leads away", "/order/..%2F..%2F%2Fevil.example%5C", "a=1", nil, "address cannot be returned to"},
		{"a form with a password", "/order/password", "a=1", nil, "Config.KeepForm"},
		{"a panic", "/order/panic", "a=1", nil, "Config.KeepForm"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { // one after the other: the log tells them apart
			before := len(s.Log.With("form not kept"))
			res := s.post(s.Browser(t), test.target, test.body, test.header...)
			if f, ok := formOn(t, res.Text); ok {
				t.Errorf("a form to %s", f.action)
			}
			if res.StatusCode != 401 || strings.Contains(res.Text, "still here") || strings.Contains(res.Text, "/again") || strings.Contains(res.Text, `target="_blank"`) {
				t.Errorf("status %d, page %s", res.StatusCode, res.Text)
			}
			if test.name == "files" && !strings.Contains(res.Text, "files cannot be kept") {
				t.Errorf("the page does not speak of files: %s", res.Text)
			}
			lines := s.Log.With("form not kept")[before:]
			if test.reason == "" && len(lines) > 0 || test.reason != "" && (len(lines) != 1 || !strings.Contains(lines[0], test.reason)) {
				t.Errorf("log lines %q, want one with %q", lines, test.reason)
			}
		})
	}
	s.wantPosts(t)
	if n := len(s.Log.With("Config.KeepForm panicked")); n != 1 {
		t.Errorf("%d lines of a panic", n)
	}
}

// Bodies that no client of Go's sends.
func TestBodiesThatAreNotThere(t *testing.T) {
	t.Parallel()
	head := "POST /order HTTP/1.1\r\nHost: x\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n" +
		"Accept: text/html\r\nContent-Type: " + urlencoded + "\r\n"
	tests := []struct{ name, rest, reason string }{
		{"as it should be", "Content-Length: 3\r\n\r\na=1", ""},
		{"broken off", "Content-Length: 30\r\n\r\na=1", "body is not there"},
		{"chunked", "Transfer-Encoding: chunked\r\n\r\n3\r\na=1\r\n0\r\n\r\n", "not as browsers send forms"},
		{"Expect", "Expect: 100-continue\r\nContent-Length: 3\r\n\r\na=1", "not as browsers send forms"},
		{"two types", "Content-Type: " + urlencoded + "\r\nContent-Length: 3\r\n\r\na=1", "content type"},
		{"two sites", "Sec-Fetch-Site: cross-site\r\nContent-Length: 3\r\n\r\na=1", "not sent by a page of this site"},
		{"the same site twice", "Sec-Fetch-Site: same-origin\r\nContent-Length: 3\r\n\r\na=1", "not sent by a page of this site"},
		{"another mode too", "Sec-Fetch-Mode: cors\r\nContent-Length: 3\r\n\r\na=1", "not sent by a page of this site"},
		{"another destination too", "Sec-Fetch-Dest: empty\r\nContent-Length: 3\r\n\r\na=1", "not sent by a page of this site"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			conn, err := tls.Dial("tcp", strings.TrimPrefix(s.URL, "https://"), &tls.Config{InsecureSkipVerify: true}) // the test server's own
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			io.WriteString(conn, head+test.rest)
			conn.CloseWrite()
			res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: http.MethodPost})
			if err != nil {
				t.Fatalf("%v; log:\n%s", err, s.Log)
			}
			defer res.Body.Close()
			text, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := formOn(t, string(text)); res.StatusCode != 401 || ok != (test.reason == "") {
				t.Errorf("status %d, a form %t; page %s", res.StatusCode, ok, text)
			}
			if lines := s.Log.With("form not kept"); test.reason != "" && (len(lines) != 1 || !strings.Contains(lines[0], test.reason)) {
				t.Errorf("log %q, want %q", lines, test.reason)
			}
		})
	}
}

// FuzzKeptForm posts bodies: what is kept is sent again as the same fields.
func FuzzKeptForm(f *testing.F) {
	for _, body := range []string{"", "a=1", "a=%22%3E%3Cscript%3E&b=%0D%0A", "_charset_=UTF-8", "a=%0A", "=&", "a=%C3%BC&%C3%BC=1", "a=%00", "x=%ED%A0%80", "a=&#13;", "a=\r\n", "+=+%2B", "a=1;b"} {
		f.Add(body)
	}
	auth, err := msauth.New(testsite.LeastConfig())
	if err != nil {
		f.Fatal(err)
	}
	handler := auth.Require(http.NotFoundHandler())
	f.Fuzz(func(t *testing.T, body string) {
		if len(body) > 4096 {
			return
		}
		r := httptest.NewRequest(http.MethodPost, "https://app.example.com/order", strings.NewReader(body))
		r.Header.Set("Content-Type", urlencoded)
		for all := testsite.SameOrigin; len(all) > 0; all = all[2:] {
			r.Header.Set(all[0], all[1])
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		text := w.Body.String()
		got, ok := formOn(t, text)
		if w.Code != 401 || strings.Count(strings.ToLower(text), "<script") != strings.Count(text, `<script type="module" src="/auth/msauth.js?v=`) {
			t.Fatalf("status %d, page %s", w.Code, text)
		}
		if !ok {
			return
		}
		// Two readers of forms, neither of which is the package's, agree on both.
		came, err := url.ParseQuery(body)
		if err != nil {
			t.Fatalf("kept, though %v", err)
		}
		again, err := url.ParseQuery(got.body())
		if err != nil || again.Encode() != came.Encode() {
			t.Fatalf("%q is sent again as %q (%v)", body, got.body(), err)
		}
		pairs := 0
		for pair := range strings.SplitSeq(body, "&") {
			if pair == "" {
				continue
			}
			name, value, _ := strings.Cut(pair, "=")
			name, _ = url.QueryUnescape(name)
			value, _ = url.QueryUnescape(value)
			if pairs >= len(got.fields) {
				t.Fatalf("%q has more fields than %q", body, got.fields)
			}
			if f := (form{fields: got.fields[pairs : pairs+1]}); f.body() != (form{fields: [][2]string{{name, value}}}).body() {
				t.Fatalf("field %d of %q is %q", pairs, body, got.fields[pairs])
			}
			pairs++
		}
		if pairs != len(got.fields) {
			t.Fatalf("%q comes back as %q", body, got.fields)
		}
	})
}
