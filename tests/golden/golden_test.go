package golden_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
)

// What browsers, stores and people's mail hold was sealed by the version before.
// The values below testdata were, by the code of a commit before its
// packages were parted; each has to open, and to mean the same.
//
//	go test -run TestGolden -update-golden missing ./tests/golden
//
// makes those of new cases: with a version that is deployed. What else there is:
// "found" writes anew what is found, where that changes on purpose and the values
// still open, and "all" makes all values, after which those of before are tested
// no more.
//
// Nothing here needs the other tests. Keys are derived for a day and
// values grow old, so each is made and read in a bubble, at the same time.
var updateGolden = flag.String("update-golden", "", "write below testdata: missing, found or all")

// goldenTime is when values are made.
var goldenTime = time.Date(2026, 3, 2, 9, 30, 0, 0, time.UTC)

const (
	goldenClient = "5f1c6c1e-0d3b-4a54-9a86-5d0f3f0f8a11"
	goldenSecret = "golden~client-secret-of-the-local-one~00"
	goldenSite   = "https://app.test"
)

func goldenKey(n int) []byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "msauth golden key %d", n))
	return sum[:]
}

// A goldenCase makes a value of one format, and says what reading it finds.
type goldenCase struct {
	name   string
	config func(a *goldenApp)                 // of both
	maker  func(a *goldenApp)                 // of who makes it alone
	reader func(a *goldenApp)                 // of who reads it alone
	make   func(a *goldenApp, v *goldenValue) // cookies and stores are taken from a afterwards
	read   func(a *goldenApp, v *goldenValue) goldenFound
	probes []string // pages to look at afterwards
	// partly names values without which the rest still opens: what is found must
	// then be something else.
	partly []string
}

// A goldenValue is what is kept of a case.
type goldenValue struct {
	Made    time.Time                      `json:"made"`
	Cookies []string                       `json:"cookies,omitempty"` // Set-Cookie lines
	URL     string                         `json:"url,omitempty"`     // with state or sealed
	Form    string                         `json:"form,omitempty"`    // msauth_token
	Nonce   string                         `json:"nonce,omitempty"`
	Records map[string]string              `json:"records,omitempty"` // of Config.Store, by its id
	Entries map[string]msauth.StoredTokens `json:"entries,omitempty"` // of Config.Tokens
	Found   json.RawMessage                `json:"found"`

	expect []string // must be found; for who makes it
}

// A goldenFound is what reading a value finds.
type goldenFound interface{ opened() bool }

func (c *goldenCase) file() string {
	return filepath.Join("testdata", c.name+".json")
}

func TestGolden(t *testing.T) {
	t.Parallel()
	cases := slices.Concat(goldenSessions(), goldenAttempts(), goldenLinks(), goldenForms(), goldenEntries(), goldenOwn())
	names := map[string]bool{}
	for _, c := range cases {
		names[c.file()] = true
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			switch _, err := os.Stat(c.file()); {
			case *updateGolden == "all", *updateGolden == "missing" && err != nil:
				c.write(t, c.seal(t))
			case *updateGolden == "found":
				c.write(t, c.load(t))
			}
			v := c.load(t)
			found := c.look(t, v)
			if text := goldenJSON(t, found); !found.opened() || text != goldenJSON(t, v.Found) {
				t.Fatalf("opened: %t; found\n%s\nwant\n%s", found.opened(), text, goldenJSON(t, v.Found))
			}
			for _, m := range v.mutations() {
				found := c.look(t, m.value)
				if goldenJSON(t, found) == goldenJSON(t, v.Found) {
					t.Errorf("%s: is taken for the value", m.what)
				}
				partly := slices.ContainsFunc(c.partly, func(of string) bool { return strings.Contains(m.what, of) })
				if found.opened() && !partly {
					t.Errorf("%s: opens: %s", m.what, goldenJSON(t, found))
				}
			}
		})
	}
	files, err := filepath.Glob(filepath.Join("testdata", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !names[file] {
			t.Errorf("%s is of no case", file)
		}
	}
}

// seal makes the value.
func (c *goldenCase) seal(t *testing.T) *goldenValue {
	t.Helper()
	v := &goldenValue{}
	synctest.Test(t, func(t *testing.T) {
		a := newGoldenApp(t, c, goldenTime)
		if c.maker != nil {
			c.maker(a)
		}
		a.open()
		c.make(a, v)
		v.Made = time.Now().UTC()
		for _, name := range slices.Sorted(maps.Keys(a.jar)) {
			v.Cookies = append(v.Cookies, a.jar[name])
		}
		if a.records != nil {
			v.Records = a.records.copy().texts
		}
		if a.entries != nil && v.Entries == nil {
			v.Entries = a.entries.copy().entries
		}
	})
	return v
}

// write reads a value, and writes both.
func (c *goldenCase) write(t *testing.T, v *goldenValue) {
	t.Helper()
	found := c.look(t, v)
	text, err := json.Marshal(found)
	if err != nil || !found.opened() {
		t.Fatalf("%v; opened: %t: %s", err, found.opened(), text)
	}
	for _, want := range v.expect {
		if want == "" || !bytes.Contains(text, []byte(want)) {
			t.Errorf("%q is not in %s", want, text)
		}
	}
	v.Found = text
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "\t")
	if err := errors.Join(e.Encode(v), os.MkdirAll(filepath.Dir(c.file()), 0o755), os.WriteFile(c.file(), b.Bytes(), 0o644)); err != nil {
		t.Fatal(err)
	}
}

func (c *goldenCase) load(t *testing.T) *goldenValue {
	t.Helper()
	text, err := os.ReadFile(c.file())
	v := &goldenValue{}
	if err == nil {
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		err = d.Decode(v)
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// look reads the value in a process of its own.
func (c *goldenCase) look(t *testing.T, v *goldenValue) (found goldenFound) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a := newGoldenApp(t, c, v.Made)
		if c.reader != nil {
			c.reader(a)
		}
		for _, line := range v.Cookies {
			a.receive([]string{line})
		}
		if a.records != nil {
			maps.Copy(a.records.texts, v.Records)
		}
		if a.entries != nil {
			maps.Copy(a.entries.entries, v.Entries)
		}
		a.open()
		found = c.read(a, v)
	})
	return found
}

func goldenJSON(t *testing.T, of any) string {
	t.Helper()
	text, err := json.Marshal(of)
	var b bytes.Buffer
	if err == nil {
		err = json.Indent(&b, text, "", " ")
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
