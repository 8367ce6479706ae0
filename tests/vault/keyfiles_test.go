package vault_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/tests/testsite"
)

// Stored tokens follow the keys in files: entries of another process open, and
// Reseal seals with the key that is the first by then.
func TestStoredTokensFollowKeyFiles(t *testing.T) {
	t.Parallel()
	a, b, c := testsite.NewKey(), testsite.NewKey(), testsite.NewKey()
	file := testsite.NewKeyFile(t, a)
	away(t, func(s *testsite.Site, kept *testsite.Tokens, _ *testsite.Browser) {
		ctx := context.Background()
		other := s.Elsewhere(t, kept) // notices nothing before it has to
		file.Write(t, b, a)
		if err := s.Auth.Reseal(ctx, "7"); err != nil {
			t.Fatal(err)
		}
		if got := s.Auth.Stats().KeyIDs; len(got) != 2 {
			t.Errorf("keys %q after Reseal", got)
		}
		if got := other.Stats().KeyIDs; len(got) != 1 {
			t.Errorf("the other process has keys %q already", got)
		}
		if _, err := other.Offline(ctx, "7"); err != nil {
			t.Errorf("an entry sealed with the new key, at a process that has not noticed: %v", err)
		}
		sealed := string(kept.Entry("7").Sealed)
		if err := s.Auth.Reseal(ctx, "7"); err != nil || string(kept.Entry("7").Sealed) != sealed {
			t.Errorf("an entry that is sealed with the first key is sealed again, error %v", err)
		}

		// The old key is gone, and the entry still opens and is renewed.
		file.Write(t, b)
		for range 3 {
			time.Sleep(10 * time.Hour)
			session := offline(s, t, "7")
			if _, err := session.Token(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if got := s.Auth.Stats().KeyIDs; len(got) != 1 {
			t.Errorf("keys %q in the end", got)
		}

		// While the first key is not known, Reseal says so.
		file.Fill(t, testsite.KeyLine(c)[:28])
		err := s.Auth.Reseal(ctx, "7")
		if err == nil || !strings.HasPrefix(err.Error(), "msauth: Config.KeyFiles cannot be used: "+string(file)+": line 1 has ") {
			t.Errorf("Reseal with half a key in the file: %v", err)
		}
		if string(kept.Entry("7").Sealed) == "" || offline(s, t, "7") == nil {
			t.Error("the entry is gone")
		}
		file.Write(t, c, b)
		if err := s.Auth.Reseal(ctx, "7"); err != nil {
			t.Fatal(err)
		}
		file.Write(t, c)
		for range 2 {
			time.Sleep(10 * time.Hour)
			offline(s, t, "7")
		}

		// Dropped too early, a key takes the entry with it.
		file.Write(t, a)
		for range 2 {
			time.Sleep(10 * time.Hour)
			_, err = s.Auth.Offline(ctx, "7")
		}
		if !errors.Is(err, msauth.ErrSignInRequired) {
			t.Errorf("sealed with a key that is gone: %v", err)
		}
	}, file.Use)
}

// Sessions of users whose tokens are stored take them from entries that another
// process has sealed with a key that is new.
func TestSessionsTakeStoredTokensSealedElsewhere(t *testing.T) {
	t.Parallel()
	a, b := testsite.NewKey(), testsite.NewKey()
	file := testsite.NewKeyFile(t, a)
	away(t, func(s *testsite.Site, kept *testsite.Tokens, browser *testsite.Browser) {
		other := s.Elsewhere(t, kept)
		time.Sleep(2 * time.Hour)
		browser.Get("/public/") // has looked
		file.Write(t, b, a)
		if err := other.Reseal(context.Background(), "7"); err != nil {
			t.Fatal(err)
		}
		s.Mux.Handle("/held", s.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			session, _ := msauth.FromContext(r.Context())
			if _, err := session.Token(r.Context()); err != nil {
				t.Error(err)
			}
		})))
		if got := browser.Get("/held"); got.StatusCode != http.StatusOK {
			t.Errorf("status %d; log:\n%s", got.StatusCode, s.Log)
		}
	}, file.Use)
}
