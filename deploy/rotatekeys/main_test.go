package main

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/msauth/internal/seal"
)

var (
	usual = policy{every: 90 * 24 * time.Hour, wait: 20 * time.Hour, keep: 8 * 24 * time.Hour}
	start = time.Date(2026, time.March, 1, 3, 0, 0, 0, time.UTC)
)

const day = 24 * time.Hour

// keysIn returns the keys of a text as the app reads them.
func keysIn(t testing.TB, text []byte) (keys []string) {
	t.Helper()
	parsed, err := seal.ParseKeys([]string{"keys"}, [][]byte{text})
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	for _, k := range parsed {
		keys = append(keys, string(k))
	}
	return keys
}

// In three years of daily runs, some of which fail, three servers read the text later
// than it was written: each by its own time, up to 19 hours. Whatever any of them has
// sealed in the last 7 days, all of them can open.
func TestServersOpenWhatOthersSeal(t *testing.T) {
	t.Parallel()
	const maxAge = 7 * day
	random := rand.New(rand.NewPCG(1, 2))
	type version struct {
		at   time.Time
		text []byte
	}
	text, _, err := step(nil, start, usual)
	if err != nil {
		t.Fatal(err)
	}
	versions := []version{{start, text}}
	asOf := func(at time.Time) []byte {
		i := len(versions) - 1
		for i > 0 && versions[i].at.After(at) {
			i--
		}
		return versions[i].text
	}
	sealed := map[string]time.Time{} // by key, when it last was sealed with
	firsts, most := map[string]bool{}, 0
	for at := start; at.Before(start.Add(3 * 365 * day)); at = at.Add(time.Hour) {
		for range 3 { // servers
			lag := time.Duration(random.IntN(19)) * time.Hour
			keys := keysIn(t, asOf(at.Add(-lag)))
			sealed[keys[0]] = at
			for k, last := range sealed {
				if at.Sub(last) <= maxAge && !slices.Contains(keys, k) {
					t.Fatalf("%v: a server does not have a key that sealed until %v:\n%s", at, last, asOf(at))
				}
			}
		}
		if at.Hour() == 3 && random.IntN(5) > 0 { // one run of five fails
			changed, done, err := step(asOf(at), at, usual)
			if err != nil {
				t.Fatal(err)
			}
			if changed != nil {
				t.Logf("%s: %s", at.Format(time.DateOnly), done)
				versions = append(versions, version{at, changed})
				if again, _, _ := step(changed, at, usual); again != nil && !strings.Contains(done, "noted") {
					t.Fatalf("another step at the same time after %q:\n%s", done, again)
				}
			}
			keys := keysIn(t, asOf(at))
			firsts[keys[0]], most = true, max(most, len(keys))
		}
	}
	if len(firsts) < 11 || most != 2 {
		t.Errorf("%d keys have sealed, %d at a time were in the text, want 11 or more, and 2", len(firsts), most)
	}
}

// What somebody has written by hand is taken over: its first key goes on sealing, and
// no key is removed before its time.
func TestTextByHand(t *testing.T) {
	t.Parallel()
	a, b, c := newKey(), newKey(), newKey()
	text := []byte("# since November; seals\n" + a + "\n# until November\n" + b + "\n" + strings.ReplaceAll(c, "=", "") + "\n")
	text, done, err := step(text, start, usual)
	if err != nil || done != "noted the time for 3 keys" {
		t.Fatalf("%q, %v", done, err)
	}
	want := keysIn(t, []byte(a+"\n"+b+"\n"+c))
	if got := keysIn(t, text); !slices.Equal(got, want) {
		t.Errorf("the keys have changed:\n%s", text)
	}
	for n := range 7 {
		if changed, done, err := step(text, start.Add(time.Duration(n)*day), usual); changed != nil || err != nil {
			t.Fatalf("day %d: %q, %v", n, done, err)
		}
	}
	text, done, _ = step(text, start.Add(8*day), usual)
	if done != "removed 2 keys" || !slices.Equal(keysIn(t, text), want[:1]) {
		t.Errorf("%q:\n%s", done, text)
	}
}

// Somebody puts an old key back into first place: it seals again, the other one waits.
func TestWayBack(t *testing.T) {
	t.Parallel()
	text, _, _ := step(nil, start, usual)
	text, _, _ = step(text, start.Add(90*day), usual)
	text, done, _ := step(text, start.Add(91*day), usual)
	keys, err := parse(text)
	if err != nil || len(keys) != 2 || !strings.Contains(done, "first") {
		t.Fatalf("%q, %v:\n%s", done, err, text)
	}
	slices.Reverse(keys)
	text, _, err = step(format(keys), start.Add(92*day), usual)
	if err != nil {
		t.Fatal(err)
	}
	after, _ := parse(text)
	if len(after) != 2 || after[0].line != keys[0].line || !after[0].last.IsZero() || !after[1].last.Equal(start.Add(92*day)) {
		t.Errorf("\n%s", text)
	}
}

// A clock that was wrong, or is, does not stop all changes for years without a word.
func TestClock(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		ahead time.Duration // of the clock of an earlier run
		fails bool
	}{
		{"a bit", 59 * time.Minute, false},
		{"hours", 61 * time.Minute, true},
		{"years", 10 * 365 * day, true},
	} {
		for _, comment := range []string{"added %s first %s", "added %[1]s"} {
			at := start.Add(tt.ahead).Format(time.RFC3339)
			text := "# first " + start.Format(time.RFC3339) + "\n" + newKey() + "\n# " + fmt.Sprintf(comment, at, at) + "\n" + newKey() + "\n"
			changed, done, err := step([]byte(text), start, usual)
			switch {
			case !tt.fails && err != nil:
				t.Errorf("%s: %v", tt.name, err)
			case tt.fails && (changed != nil || err == nil || !strings.Contains(err.Error(), "key 2: the comment says "+at)):
				t.Errorf("%s: %q, %v", tt.name, done, err)
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad")
	if err := os.WriteFile(bad, []byte("# keys\nc2hvcnQ=\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ args, want string }{
		{"", "needs -file or -secret"},
		{"-file a -secret b", "needs -file or -secret"},
		{"-file a b", "unexpected argument"},
		{"-file a -wait 1m", "-wait must be at least 5m"},
		{"-file a -keep 1m", "-keep must be at least 1h"},
		{"-file a -every 24h", "-every must be at least"},
		{"-secret msauth-keys", "this is not a pod"},
		{"-file " + bad, "line 2"},
		{"-file " + filepath.Join(dir, "none", "keys"), "no such file"},
	} {
		var out bytes.Buffer
		err := run(t.Context(), strings.Fields(tt.args), start, &out)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "c2hvcnQ") {
			t.Errorf("%s: error %v, want %q in it", tt.args, err, tt.want)
		}
	}
	if text, _ := os.ReadFile(bad); string(text) != "# keys\nc2hvcnQ=\n" {
		t.Error("a file that cannot be used was changed")
	}
}

// The command makes a file that only its owner can read, and keeps the permissions that
// one has. A link stays one.
func TestFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, link := filepath.Join(dir, "keys"), filepath.Join(dir, "link")
	said := func(args string, at time.Time, want string) []byte {
		t.Helper()
		var out bytes.Buffer
		if err := run(t.Context(), strings.Fields(args), at, &out); err != nil || strings.TrimSpace(out.String()) != want {
			t.Errorf("%q, %v, want %q", out.String(), err, want)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	first := said("-file "+path, start, "made a key")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if again := said("-file "+path, start.Add(day), "nothing is due"); !bytes.Equal(again, first) {
		t.Error("the file has changed")
	}
	if err := os.Chmod(path, 0o444); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("keys", link); err != nil {
		t.Fatal(err)
	}
	said("-file "+link, start.Add(90*day), "added a key in second place")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o444 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode().Type() != fs.ModeSymlink {
		t.Errorf("the link is %v, %v", info.Mode(), err)
	}
}

// Of two runs at the same time, one fails and changes nothing, wherever the other one is.
func TestTwoRuns(t *testing.T) {
	t.Parallel()
	for _, at := range crashes {
		path := filepath.Join(t.TempDir(), "keys")
		if err := run(t.Context(), []string{"-file", path}, start, io.Discard); err != nil {
			t.Fatal(err)
		}
		made := ""
		s := fileStore{path: path, at: func(step string) {
			if step != at {
				return
			}
			err := run(t.Context(), []string{"-file", path}, start.Add(90*day), io.Discard)
			if err == nil || !strings.Contains(err.Error(), "another run is changing keys there") {
				t.Errorf("%s: the second run says %v", at, err)
			}
		}}
		err := s.change(t.Context(), func(text []byte) ([]byte, error) {
			changed, _, err := step(text, start.Add(90*day), usual)
			made = string(changed)
			return changed, err
		})
		if text, _ := os.ReadFile(path); err != nil || string(text) != made {
			t.Errorf("%s: %v:\n%s", at, err, text)
		}
		if err := run(t.Context(), []string{"-file", path}, start.Add(91*day), io.Discard); err != nil {
			t.Errorf("%s: the next run: %v", at, err)
		}
	}
}

// crashes are the moments at which the program may end.
var crashes = []string{"write", "write on", "keep", "rename", "end"}

// The program is killed at each moment of each step. Whatever it leaves, servers can
// read the file, and have the keys of before or of after; the next run does the rest.
func TestCrash(t *testing.T) {
	if at := os.Getenv("ROTATEKEYS_CRASH"); at != "" { // this is the program
		now, err := time.Parse(time.RFC3339, os.Getenv("ROTATEKEYS_NOW"))
		if err != nil {
			t.Fatal(err)
		}
		s := fileStore{path: os.Getenv("ROTATEKEYS_FILE"), at: func(step string) {
			if step == at {
				p, _ := os.FindProcess(os.Getpid())
				_ = p.Kill()
				select {}
			}
		}}
		_ = s.change(t.Context(), func(text []byte) ([]byte, error) {
			changed, _, err := step(text, now, usual)
			return changed, err
		})
		t.Fatal("it has not crashed")
	}
	t.Parallel()
	for _, at := range crashes {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "keys")
			for _, now := range []time.Time{start, start.Add(90 * day), start.Add(91 * day), start.Add(100 * day)} {
				before, err := os.ReadFile(path)
				made := err == nil
				crash := exec.Command(os.Args[0], "-test.run", "^TestCrash$")
				crash.Env = append(os.Environ(), "ROTATEKEYS_CRASH="+at, "ROTATEKEYS_FILE="+path, "ROTATEKEYS_NOW="+now.Format(time.RFC3339))
				if out, err := crash.CombinedOutput(); err == nil || strings.Contains(string(out), "FAIL") {
					t.Fatalf("%v\n%s", err, out)
				}
				left, err := os.ReadFile(path)
				switch {
				case !made && at != "end":
					if err == nil {
						t.Errorf("%v: half of the first file is there:\n%s", now, left)
					}
				case err != nil:
					t.Fatal(err)
				case at != "end" && !bytes.Equal(left, before):
					t.Errorf("%v: the file is neither the old one nor a new one:\n%s", now, left)
				default:
					keysIn(t, left)
				}
				if err := run(t.Context(), []string{"-file", path}, now, io.Discard); err != nil {
					t.Fatal(err)
				}
				after, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				keysIn(t, after)
				if at == "end" && !bytes.Equal(after, left) {
					t.Errorf("%v: the step was taken twice:\n%s", now, after)
				}
				if at != "end" && made && bytes.Equal(after, before) {
					t.Errorf("%v: the step was not taken after the crash", now)
				}
				if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
					t.Errorf("%v: something is left: %v", now, entries)
				}
			}
		})
	}
}

// What was written by hand, in whatever way, never panics and never loses a key before
// its time.
func FuzzStep(f *testing.F) {
	k := []string{newKey(), newKey()}
	f.Add([]byte(k[0]), int64(0))
	f.Add([]byte("# added 2026-03-01T03:00:00Z first 2026-03-01T03:00:00Z\n"+k[0]+"\n# added 2026-03-02T03:00:00Z\n"+k[1]), int64(1<<40))
	f.Add([]byte("# last 2026-03-01T03:00:00Z\n"+k[0]+"\n# last x, first 2026-03-02T03:00:00Z\n"+k[1]), int64(1<<50))
	f.Add([]byte("#\n"), int64(5))
	f.Fuzz(func(t *testing.T, text []byte, after int64) {
		if text == nil {
			return
		}
		now := start.Add(time.Duration(after))
		before, invalid := seal.ParseKeys([]string{"keys"}, [][]byte{text})
		changed, done, err := step(text, now, usual)
		if err != nil && strings.Contains(err.Error(), "is the clock right?") {
			return
		}
		if (err != nil) != (invalid != nil) && len(before) != 32 {
			t.Fatalf("%v, and %v for the app", err, invalid)
		}
		if changed == nil {
			return
		}
		keys := keysIn(t, changed)
		if strings.HasPrefix(done, "removed") {
			if keys[0] != string(before[0]) {
				t.Errorf("the key that seals is gone")
			}
			return
		}
		for _, k := range before {
			if !slices.Contains(keys, string(k)) {
				t.Errorf("%q: a key is gone", done)
			}
		}
	})
}
