package msauthtest_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth/msauthtest"
)

// copied starts a copy and returns its monitor.
func (a *app) copied(drive, id, token, ask string) (monitor string) {
	a.t.Helper()
	res, text := a.send("POST", drive+"/items/"+url.PathEscape(id)+"/copy", token, ask)
	if monitor = res.Header.Get("Location"); res.StatusCode != 202 || text != "" || strings.HasPrefix(monitor, a.ms.URL) {
		a.t.Fatalf("copy: %d %s %s", res.StatusCode, monitor, text)
	}
	return monitor
}

// inBubble runs a test whose clock is that of a bubble.
func inBubble(t *testing.T, f func(t *testing.T, a *app)) {
	synctest.Test(t, func(t *testing.T) {
		ms := msauthtest.New("http://localhost:9000")
		defer ms.Close()
		a := newApp(t, ms)
		a.newBrowser(ms.Transport())
		f(t, a)
	})
}

func TestCopyTakesTime(t *testing.T) {
	t.Parallel()
	for _, user := range []string{msauthtest.Ada, msauthtest.Mia} {
		t.Run(user, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, a *app) {
				drive, token := a.writer(user)
				a.ms.Set(func(b *msauthtest.Behavior) { b.CopyTime = 10 * time.Second })
				from := a.do(200, "GET", drive+"/root:/Documents", token, "")
				monitor := a.copied(drive, from.ID, token, `{"name":"Archive"}`)
				if state := a.progress(monitor); state.code != 202 || state.Status != "notStarted" || state.PercentageComplete != 0 {
					t.Errorf("at once: %+v", state)
				}
				time.Sleep(4 * time.Second)
				if state := a.progress(monitor); state.code != 202 || state.Status != "inProgress" || state.PercentageComplete != 40 || state.ResourceID != "" {
					t.Errorf("after 4 seconds: %+v", state)
				}
				a.refused(404, "itemNotFound", "GET", drive+"/root:/Archive", token, "")
				time.Sleep(6 * time.Second)
				twin := a.do(200, "GET", drive+"/root:/Archive", token, "")
				state := a.progress(monitor)
				if state.Status != "completed" || state.PercentageComplete != 100 || state.ResourceID != twin.ID {
					t.Errorf("after 10 seconds: %+v, want %s", state, twin.ID)
				}
				if user == msauthtest.Ada {
					if state.code != 200 || state.location != "" {
						t.Errorf("work account: %+v", state)
					}
				} else if it := a.do(200, "GET", state.location, token, ""); state.code != 303 || it.ID != twin.ID {
					t.Errorf("personal account: %+v", state)
				}
			})
		})
	}
}

func TestCopyFailsLater(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, a *app) {
		drive, token := a.writer(msauthtest.Ada)
		a.ms.Set(func(b *msauthtest.Behavior) { b.CopyTime = time.Second })
		from := a.do(200, "GET", drive+"/root:/Measurements.csv", token, "")
		taken := a.copied(drive, from.ID, token, `{"name":"Taken.csv"}`)
		gone := a.copied(drive, from.ID, token, `{"name":"Gone.csv","parentReference":{"path":"/drive/root:/Attachments"}}`)
		a.do(201, "PUT", drive+"/root:/Taken.csv:/content", token, "faster")
		a.do(204, "DELETE", drive+"/root:/Attachments", token, "")
		time.Sleep(time.Second)
		for monitor, want := range map[string]string{taken: "nameAlreadyExists", gone: "itemNotFound"} {
			if state := a.progress(monitor); state.Status != "failed" || state.Error.Code != want {
				t.Errorf("%+v, want %s", state, want)
			}
		}
		time.Sleep(2 * time.Hour)
		a.refused(404, "itemNotFound", "GET", taken, "", "")
	})
}

func TestMonitorFails(t *testing.T) {
	t.Parallel()
	ms := newServer(t)
	a := newApp(t, ms)
	drive, token := a.writer(msauthtest.Ada)
	from := a.do(200, "GET", drive+"/root:/Measurements.csv", token, "")
	monitor := a.copied(drive, from.ID, token, `{"name":"Copy.csv"}`)
	ms.Set(func(b *msauthtest.Behavior) {
		b.Fail[msauthtest.Monitor] = []msauthtest.Failure{{Status: 429, Header: http.Header{"Retry-After": {"3"}}}}
	})
	a.refused(429, "activityLimitReached", "GET", monitor, "", "")
	if state := a.progress(monitor); state.Status != "completed" {
		t.Errorf("after the failure: %+v", state)
	}
	a.refused(401, "unauthenticated", "GET", monitor, token, "")
	calls := ms.Calls(msauthtest.Monitor)
	if len(calls) != 3 || calls[1].Header.Get("Authorization") != "" || calls[2].Header.Get("Authorization") == "" {
		t.Errorf("%d calls", len(calls))
	}
}
