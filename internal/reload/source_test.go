package reload_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/msauth/internal/reload"
)

// words accepts files that end in a full stop, and joins them.
func words(contents [][]byte) (string, error) {
	var all []string
	for _, content := range contents {
		text, whole := strings.CutSuffix(string(content), ".")
		if !whole {
			return "", errors.New("has no full stop: write one")
		}
		all = append(all, text)
	}
	return strings.Join(all, "+"), nil
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// age gives a file a modification time that is long over.
func age(t *testing.T, path string, ago time.Duration) {
	t.Helper()
	if err := os.Chtimes(path, time.Time{}, time.Now().Add(-ago)); err != nil {
		t.Fatal(err)
	}
}

// want looks once.
func want(t *testing.T, s *reload.Source[string], when, value string, version int, fault string) {
	t.Helper()
	v, n, err := s.Look()
	if v != value || n != version {
		t.Errorf("%s: %q, version %d, want %q, version %d", when, v, n, value, version)
	}
	if (err == nil) != (fault == "") || err != nil && !strings.Contains(err.Error(), fault) {
		t.Errorf("%s: fault %v, want %q", when, err, fault)
	}
}

func TestFileIsReadAgainWhenItChanges(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "words")
	write(t, path, "one.")
	s, err := reload.Open(words, path)
	if err != nil {
		t.Fatal(err)
	}
	want(t, s, "at first", "one", 1, "")
	write(t, path, "two.")
	want(t, s, "with the same length, at once", "two", 2, "")
	age(t, path, time.Hour)
	want(t, s, "another time, the same content", "two", 2, "")
	want(t, s, "nothing has changed", "two", 2, "")
	// Kubernetes and editors put another file in its place.
	write(t, path+".new", "six.")
	age(t, path+".new", time.Hour)
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	want(t, s, "another file in its place", "six", 3, "")
}

func TestLastGoodContentStays(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "words")
	write(t, path, "one.")
	s, err := reload.Open(words, path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, "tw")
	want(t, s, "half written", "one", 1, path+": has no full stop: write one")
	want(t, s, "still", "one", 1, path+": has no full stop: write one")
	write(t, path, "two.")
	want(t, s, "written", "two", 2, "")
	os.Remove(path)
	want(t, s, "gone", "two", 2, path+": no such file or directory")
	write(t, path, "")
	want(t, s, "empty", "two", 2, "full stop")
	write(t, path, strings.Repeat("x", reload.MaxSize)+".")
	want(t, s, "too large", "two", 2, path+": has more than 1048576 bytes")
	os.Remove(path)
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	want(t, s, "a directory", "two", 2, path+": is not a regular file")
	os.Remove(path)
	write(t, path, "two.")
	want(t, s, "as before", "two", 2, "")
}

func TestSeveralFilesAreOneSource(t *testing.T) {
	t.Parallel()
	one, other := filepath.Join(t.TempDir(), "one"), filepath.Join(t.TempDir(), "other")
	write(t, one, "a.")
	if _, err := reload.Open(words, one, other); err == nil || !strings.HasPrefix(err.Error(), other+": ") {
		t.Errorf("without the other file: %v", err)
	}
	write(t, other, "b.")
	s, err := reload.Open(words, one, other)
	if err != nil {
		t.Fatal(err)
	}
	want(t, s, "both", "a+b", 1, "")
	write(t, other, "c.")
	want(t, s, "the other has changed", "a+c", 2, "")
	os.Remove(one)
	want(t, s, "one is gone", "a+c", 2, one+": no such file")
	if s.Name() != one+", "+other {
		t.Errorf("name %q", s.Name())
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "words")
	write(t, path, "one")
	if _, err := reload.Open(words, path); err == nil || err.Error() != path+": has no full stop: write one" {
		t.Errorf("%v", err)
	}
}

// A file that is written while others look is never half a value.
func TestLookWhileItIsWritten(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "words")
	long := strings.Repeat("x", 1<<16)
	write(t, path, long+".")
	s, err := reload.Open(words, path)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	stop := make(chan struct{})
	all.Go(func() {
		defer close(stop)
		for range 50 {
			write(t, path, long+".")
		}
	})
	for range 4 {
		all.Go(func() {
			for {
				if v, _, _ := s.Look(); v != long {
					t.Errorf("%d characters", len(v))
					return
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	all.Wait()
}
