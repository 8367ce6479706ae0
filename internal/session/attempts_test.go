package session

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Whoever has copied an attempt's cookie cannot finish it a second time.
func TestAttemptIsFinishedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testAttempts(t)
		a, _ := NewAttempt()
		b, _ := NewAttempt()
		if s.Over(a.ID) || !s.Finish(a.ID) || !s.Over(a.ID) || s.Finish(a.ID) {
			t.Error("an attempt is finished never, or twice")
		}
		if s.Over(b.ID) || !s.Finish(b.ID) {
			t.Error("finishing one attempt has finished another")
		}
		time.Sleep(AttemptLifetime - 1)
		if !s.Over(a.ID) {
			t.Error("forgotten while its state still opens")
		}
		time.Sleep(3 * time.Minute)
		if s.Over(a.ID) {
			t.Error("remembered for longer than its state opens")
		}
	})
}

func TestSentAttempts(t *testing.T) {
	t.Parallel()
	s := testAttempts(t)
	const first, second = "0000000100000000", "0000000200000000"
	cookie := func(id, value string) string { return "__Host-msauth-AAAAAA-login-" + id + "=" + value }
	for _, test := range []struct {
		name      string
		lines     []string
		wantIDs   []string
		wantValue string // of second
	}{
		{"none", nil, nil, ""},
		{"oldest first", []string{cookie(second, "b") + "; " + cookie(first, "a")}, []string{first, second}, "b"},
		{"on two lines", []string{cookie(second, "b"), cookie(first, "a")}, []string{first, second}, "b"},
		{"another one only", []string{cookie(first, "a")}, []string{first}, ""},
		{"one of two with a name", []string{cookie(second, "b") + ";" + cookie(second, "c")}, []string{second}, "b"},
		{"other cookies", []string{"a=b; __Host-msauth-AAAAAA=1x; __Host-other-login-" + second + "=b"}, nil, ""},
		{"no id", []string{cookie("x", "b") + "; " + cookie(strings.ToUpper("000000020000000a"), "b")}, nil, ""},
		{"no value", []string{"__Host-msauth-AAAAAA-login-" + second}, nil, ""},
	} {
		ids, value := s.Sent(http.Header{"Cookie": test.lines}, second)
		if !slices.Equal(ids, test.wantIDs) || value != test.wantValue {
			t.Errorf("%s: %q, %q", test.name, ids, value)
		}
	}
}

// A site that begins many sign-ins must not fill up the request's header.
func TestOldestAttemptsMakeRoom(t *testing.T) {
	t.Parallel()
	s := testAttempts(t)
	for _, test := range []struct{ sent, wantDeleted int }{{0, 0}, {15, 0}, {16, 1}, {17, 2}, {18, 3}, {40, 3}} {
		r := request()
		var ids []string
		for i := range test.sent {
			id := AttemptID{0, 0, 0, byte(i)}.String()
			ids = append(ids, id)
			r.AddCookie(&http.Cookie{Name: "__Host-msauth-AAAAAA-login-" + id, Value: "x"})
		}
		w := httptest.NewRecorder()
		s.Set(w, r, AttemptID{1}, "value")
		var deleted []string
		for _, c := range w.Result().Cookies() {
			if c.MaxAge < 0 {
				deleted = append(deleted, strings.TrimPrefix(c.Name, "__Host-msauth-AAAAAA-login-"))
			} else if c.MaxAge != 1800 || c.Value != "value" || !c.HttpOnly || !c.Secure {
				t.Errorf("sets %v", c)
			}
		}
		if !slices.Equal(deleted, ids[:test.wantDeleted]) {
			t.Errorf("of %d attempts %q are deleted, want the %d oldest", test.sent, deleted, test.wantDeleted)
		}
	}
}
