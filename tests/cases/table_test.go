package cases_test

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// A caseRow is one row of the catalogue of cases that a relying party must
// pass. Its tests are the functions TestCaseNNN_... of this package; a row
// that does not apply has a result that begins with "does not apply".
type caseRow struct {
	number int
	title  string
	result string // what is seen from outside
}

type caseSection struct {
	title string
	rows  []caseRow
}

var catalogue = []caseSection{
	{"Login CSRF and state", []caseRow{
		{1, "callback without state", "page, no token request"},
		{2, "wrong state", "page, no token request, the code is still good"},
		{3, "a callback address opened in somebody else's browser", "page, nobody is signed in"},
		{4, "state and code of two attempts of one browser mixed", "page \"start again\", after the provider refused the verifier"},
		{5, "the same callback address opened again", "back to the app without a token request; in another browser a page"},
		{6, "an attempt older than 30 minutes", "page \"took too long\" with one link, no token request"},
		{8, "parameters that are there twice", "page, no token request, neither value is taken"},
		{9, "an error answer without good state", "page that shows nothing of it; the session stays"},
		{10, "hostile texts in an error answer", "not in the page; one short line in the log"},
	}},
	{"Nonce", []caseRow{
		{12, "a nonce in every request", "there, new each time, not the state"},
		{13, "another nonce in the ID token", "page"},
		{14, "no nonce, or one that is not text", "page"},
	}},
	{"PKCE and the code", []caseRow{
		{16, "challenge by S256 always", "43 characters, new each time, whatever discovery says"},
		{17, "the verifier", "43 allowed characters that fit the challenge, seen by the token endpoint only"},
		{18, "somebody else's code in one's own attempt", "page \"start again\"; the session stays"},
		{19, "a code redeemed twice", "page \"start again\", one token request"},
		{20, "hostile Host and forwarding headers", "redirect_uri is the configured one in both legs"},
		{21, "parameters chosen by the caller", "only the documented ones pass, each once"},
		{22, "an answer by POST or in the fragment", "405 or a page, no token request"},
	}},
	{"ID token", []caseRow{
		{23, "wrong iss", "page"},
		{24, "wrong aud", "page"},
		{25, "aud missing, empty or no text", "page"},
		{27, "sub missing or no text", "page"},
		{28, "iat missing", "page"},
		{29, "iat a week ago", "page that logs by how much the clocks differ"},
		{31, "nbf ahead", "5 minutes are accepted, more is a page"},
		{32, "one bit of the signature changed", "page"},
		{33, "alg none", "page"},
		{34, "alg HS256 with a secret or the public key", "page"},
		{35, "a real algorithm that is not asked for", "page"},
		{36, "an unpublished key", "page"},
		{37, "no kid", "verified by trying the published keys"},
		{39, "at_hash", "wrong is a page, absent is accepted"},
		{43, "claims of every shape", "signed in; getters say absent"},
	}},
	{"Tenant, issuer, discovery", []caseRow{
		{44, "another tenant's token at an app of one tenant", "page"},
		{45, "the templated issuer of common", "the token's own tenant, if the configuration admits it"},
		{46, "iss and tid disagree, or tid is no GUID", "page"},
		{47, "the template itself as iss", "page"},
		{49, "a tenant or account class that is not admitted", "403 page, no loop, its links work"},
		{50, "what identifies a person", "tid and oid; equal sub or email elsewhere is somebody else"},
		{51, "discovery that names another issuer", "503 page with the reason, nobody is signed in"},
		{52, "iss in the answer", "wrong or announced and absent: page before any token request"},
	}},
	{"Return path", []caseRow{
		{55, "deep link", "exactly that path and query"},
		{56, "open redirects", "\"/\" or a path on this site"},
		{57, "return path altered on the way", "page, or the path of the sealed state"},
		{58, "return path to one of our own routes", "\"/\""},
		{59, "redirects after POST", "303 everywhere"},
	}},
	{"Cookie attributes", []caseRow{
		{60, "attributes of every cookie", "__Host-, Secure, HttpOnly, SameSite=Lax, Path=/, no Domain"},
		{61, "deletion", "same name and attributes, all pieces"},
		{62, "size", "each Set-Cookie line at most 4093 bytes, all within the budget"},
		{63, "answer by a cross-site form post", "does not apply: response_mode is always query, and row 22 refuses a POST"},
		{64, "first page after sign-in", "shown at once: two redirects, no second round"},
		{65, "plain http", "New refuses it, or warns when told to; forwarding headers change nothing"},
	}},
	{"Cookie integrity and pieces", []caseRow{
		{67, "any byte of any piece changed", "signed out, never part of a session"},
		{68, "pieces cut, extended, empty, not base64", "signed out"},
		{69, "a piece missing", "signed out, the others cleared, one log line"},
		{71, "pieces of two sessions", "signed out"},
		{72, "more pieces than the session has", "works, the surplus is deleted"},
		{74, "cookies of our name planted beside ours", "the real session or none; never the planter's"},
		{76, "an older cookie sent again", "accepted after a renewal, refused after signing out"},
		{77, "key rotation", "old cookies work and are resealed; then refused without an error"},
		{79, "the same session written twice", "different bytes; 96-bit random nonces, 2^32 seals a key"},
		{81, "cookies of others", "reach the app unchanged, as do ours"},
	}},
	{"Session life", []caseRow{
		{83, "cookies planted before sign-in", "all values are new afterwards"},
		{84, "another person signs in on top", "that person's session only; the first one is over"},
		{85, "idle and absolute end", "signed out at both, whatever the cookie says"},
		{86, "a hundred requests in a minute", "no Set-Cookie"},
		{87, "no session without the person", "nothing but a navigation starts one; prompt=none is refused"},
		{88, "errors of the app or the store", "protected pages stay closed, nobody is signed in"},
		{89, "identity headers of the visitor", "none is read and none is set; docs/recipes.md deletes them at a proxy"},
	}},
	{"Navigation, scripts, tabs, prefetch", []caseRow{
		{91, "navigation without a session", "303 to the provider"},
		{92, "anything else without a session", "401, no redirect, no cookie"},
		{93, "form POST without a session", "401 page, not turned into a GET"},
		{94, "prefetch and prerender", "401 or 503 with no-store; nothing begun, spent or renewed"},
		{95, "ten tabs at once", "each ends on its own page; no attempt is left"},
		{96, "a tab that finishes after another", "its own page"},
		{97, "errors of the provider on every round", "a page each time, one round trip for each click"},
		{98, "no cookies", "page after one round trip"},
		{99, "framing and referrers", "frame-ancestors 'none', no-referrer, no-store, nothing from elsewhere"},
	}},
	{"Forms that are kept", []caseRow{
		{150, "a form that meets the end of the session", "in the 401 page, hidden and escaped, and nowhere else; the same person sends it again, byte for byte"},
		{151, "a kept form sent by another site, a frame or a script", "403 page; the handler gets nothing"},
		{152, "a kept form and another account", "409 page that names both; the handler gets it after a click"},
		{153, "the address of a kept form altered, too old, or made for another app", "400 page with what was written; the handler gets nothing"},
	}},
	{"Refresh", []caseRow{
		{100, "access token due", "one renewal, the app sees the new token, the cookie is rewritten"},
		{101, "strict rotation", "every renewal uses the newest refresh token"},
		{103, "renewal with and without an ID token", "old claims stay without one; one that is there is verified"},
		{104, "a renewed ID token of somebody else", "session ended"},
		{106, "fifty requests at once", "one renewal, all signed in"},
		{107, "late requests with the old cookie", "served from the finished renewal"},
		{108, "two processes, one cookie", "works where old refresh tokens stay good; where not, the newer cookie does"},
		{110, "fatal refusals", "session ended or marked; the refused token is not tried again"},
		{111, "transient failure before expiry", "served with the token at hand"},
		{112, "transient failure after expiry", "the session lives on, Token says why, the next try comes later"},
		{113, "429 and Retry-After", "no renewal before its end, at most one hour"},
		{114, "refresh_in", "renewed early, failure unnoticed"},
		{116, "the browser goes away during a renewal", "it is finished and kept"},
		{117, "claims challenge", "the next sign-in carries it once; an app cannot report one itself"},
	}},
	{"Outage, keys, clock", []caseRow{
		{118, "provider down at the start", "the app starts, sessions work, recovers by itself"},
		{120, "key rotation at the provider", "one fetch of the keys, sessions untouched"},
		{122, "keys out of reach", "the last good ones go on"},
	}},
	{"Response writer", []caseRow{
		{125, "optional interfaces", "the handler gets the very ResponseWriter"},
		{126, "renewal before a stream", "Set-Cookie is in the first header, nothing is buffered"},
		{129, "a stream past the session's end", "the context says when it ends; nothing is written after the handler"},
		{130, "a thousand requests at once", "no race, no growing memory"},
	}},
	{"Caches, leaks, denial of service", []caseRow{
		{131, "caches", "no-store on every answer with our Set-Cookie, every redirect and page"},
		{132, "the code in the URL", "gone after the callback; no referrer"},
		{133, "secrets in logs, errors, pages", "none"},
		{134, "header budget", "session and attempts below 8 kB, or said at sign-in"},
		{135, "500 unfinished sign-ins in one browser", "16 cookies"},
	}},
	{"Sign-out", []caseRow{
		{139, "here and at Microsoft", "cookies deleted, then the end-session endpoint with its parameters"},
		{140, "sign-out from another site", "a page that asks"},
		{141, "state at the post-logout page", "ignored"},
		{144, "front-channel sign-out", "the session with that sid ends; for any other sid the same answer, and nothing changes"},
		{145, "back-channel sign-out", "a valid logout token ends its sessions, once; any other gets 400; at Microsoft 404"},
		{147, "another tab after sign-out", "401 or sign-in; no cached page"},
	}},
	{"Scripts of the site", []caseRow{
		{155, "other sites ask for the session", "403, no cookie, nothing of it; no use of the session"},
		{156, "the module for scripts", "the same bytes for everybody, whatever the request says; kept for long only at its own version"},
		{157, "where the window of a sign-in ends", "a page that leads nowhere else, cannot be framed and says who is signed in only to itself"},
	}},
	{"Pages of the browser's side", []caseRow{
		{160, "page that keeps fragments", "one script, which its policy names; whatever the address, no other script and no other site"},
		{161, "language of a page", "text of the catalogue, whatever Accept-Language holds"},
	}},
}

// A testCase is a test of one row. It fails when the test ends without having
// pinned a reason or counted the provider's requests: being refused is not
// enough, it may be for the wrong reason.
type testCase struct {
	*testing.T
	row    int
	pinned atomic.Int32
}

var caseName = regexp.MustCompile(`^TestCase(\d{3})_\w+`)

// newCase begins the test of a row, whose number is in its name. It runs beside
// others.
func newCase(t *testing.T) *testCase {
	t.Helper()
	t.Parallel()
	return caseOf(t)
}

func caseOf(t *testing.T) *testCase {
	t.Helper()
	m := caseName.FindStringSubmatch(t.Name())
	if m == nil {
		t.Fatalf("%s does not name a row", t.Name())
	}
	c := &testCase{T: t}
	c.row, _ = strconv.Atoi(m[1])
	t.Cleanup(func() {
		if c.pinned.Load() == 0 && !t.Failed() {
			t.Errorf("row %d: the test asserts neither a reason nor the number of requests at the provider", c.row)
		}
	})
	return c
}

// run is a part of a case, which is held to the same rule.
func (c *testCase) run(name string, f func(c *testCase)) {
	c.Helper()
	c.pinned.Add(1)
	c.T.Run(name, func(t *testing.T) { f(newCase(t)) })
}

// bubble runs a part of a case on a clock of its own; see testing/synctest.
func (c *testCase) bubble(f func(c *testCase)) {
	c.Helper()
	c.pinned.Add(1)
	synctest.Test(c.T, func(t *testing.T) { f(caseOf(t)) })
}

// refused checks that a callback ended on a page, signed nobody in, followed no
// return path and logged why.
func (c *testCase) refused(b *testsite.Browser, res testsite.Seen, status int, kind, reason string) {
	c.Helper()
	c.pinned.Add(1)
	b.WantRefused(res, status, kind, reason)
}

// page checks for a page that reports a failure, and its reason in the log.
func (c *testCase) page(s *testsite.Site, res testsite.Seen, status int, kind, reason string) {
	c.Helper()
	c.pinned.Add(1)
	s.WantPage(c.T, res, status, kind, reason)
}

// logged checks that n lines of the log hold a text.
func (c *testCase) logged(s *testsite.Site, text string, n int) {
	c.Helper()
	c.pinned.Add(1)
	if lines := s.Log.With(text); len(lines) != n {
		c.Errorf("%d log lines with %q, want %d:\n%s", len(lines), text, n, s.Log)
	}
}

// fails checks the text of an error.
func (c *testCase) fails(err error, want string) {
	c.Helper()
	c.pinned.Add(1)
	if err == nil || !strings.Contains(err.Error(), want) {
		c.Errorf("error %v, want one with %q", err, want)
	}
}

// calls checks how many requests of a kind the provider got.
func (c *testCase) calls(s *testsite.Site, kind msauthtest.Kind, want int) {
	c.Helper()
	c.pinned.Add(1)
	s.WantCalls(c.T, kind, want)
}

// silent checks that the provider got no request at all since [since].
func (c *testCase) silent(s *testsite.Site) {
	c.Helper()
	c.pinned.Add(1)
	if calls := s.MS.Calls(""); len(calls) != 0 {
		c.Errorf("%d requests at the provider, the first for %s, want none", len(calls), calls[0].Path)
	}
}

// signedOut checks that a protected page leads to the provider and that a
// script is refused.
func (c *testCase) signedOut(b *testsite.Browser) {
	c.Helper()
	if res := b.Get("/private", testsite.Script...); res.StatusCode != http.StatusUnauthorized {
		c.Errorf("a script's request gets status %d, want 401", res.StatusCode)
	}
	res := b.Still().Get("/private")
	if to := res.Header.Get("Location"); res.StatusCode != http.StatusSeeOther || !strings.HasPrefix(to, b.Site.MS.URL+"/") {
		c.Errorf("a navigation gets status %d to %q, want 303 to the provider", res.StatusCode, to)
	}
}

var update = flag.Bool("update", false, "write docs/security-cases.md anew")

// docs/security-cases.md leads from each row to its tests. It is written by
//
//	go test -run TestCasesAreDocumented -update .
func TestCasesAreDocumented(t *testing.T) {
	t.Parallel()
	tests := map[int][]string{}
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if m := caseName.FindStringSubmatch(f.Name.Name); m != nil {
				row, _ := strconv.Atoi(m[1])
				tests[row] = append(tests[row], fmt.Sprintf("`%s` in %s", f.Name.Name, name))
				if !callsNewCase(f) {
					t.Errorf("%s does not begin with newCase", f.Name.Name)
				}
			}
		}
	}

	var doc bytes.Buffer
	doc.WriteString("# Security cases\n\n" +
		"What a relying party must withstand, row by row of the project's catalogue, with the test in tests/cases that shows it.\n" +
		"A test fails unless it pins the reason that was logged or counts the requests that reached the provider: see\n" +
		"table_test.go there. Made by `go test ./tests/cases -run TestCasesAreDocumented -update`; do not edit.\n")
	count, seen := 0, map[int]bool{}
	for _, section := range catalogue {
		fmt.Fprintf(&doc, "\n## %s\n\n| Row | Case | Result | Test |\n|---|---|---|---|\n", section.title)
		for _, row := range section.rows {
			found := tests[row.number]
			slices.Sort(found)
			switch without := strings.HasPrefix(row.result, "does not apply"); {
			case seen[row.number]:
				t.Errorf("row %d is there twice", row.number)
			case len(found) == 0 && !without:
				t.Errorf("row %d (%s) has no test", row.number, row.title)
			}
			fmt.Fprintf(&doc, "| %d | %s | %s | %s |\n", row.number, row.title, row.result, strings.Join(found, "; "))
			seen[row.number] = true
			delete(tests, row.number)
			count++
		}
	}
	for row, names := range tests {
		t.Errorf("%s: there is no row %d", names, row)
	}
	if count != 120 {
		t.Errorf("%d rows, want the catalogue's 120", count)
	}
	path := testsite.FromRoot(t, "docs/security-cases.md")
	if *update {
		if err := os.WriteFile(path, doc.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if committed, err := os.ReadFile(path); err != nil || !bytes.Equal(committed, doc.Bytes()) {
		t.Errorf("%s is not what the tests say (%v): run go test ./tests/cases -run TestCasesAreDocumented -update", path, err)
	}
}

func callsNewCase(f *ast.FuncDecl) (found bool) {
	ast.Inspect(f, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && id.Name == "newCase" {
			found = true
		}
		return !found
	})
	return found
}
