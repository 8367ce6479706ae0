package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/runtime"

	"example.com/msauth/msauthtest"
)

// file makes a file on the person's computer.
func (b *tab) file(name, content string) string {
	b.t.Helper()
	path := filepath.Join(b.t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o666); err != nil {
		b.t.Fatal(err)
	}
	return path
}

// choose chooses files in a form.
func (b *tab) choose(selector string, paths ...string) {
	b.t.Helper()
	b.shows(selector)
	e := call(b, runtime.Evaluate, runtime.EvaluateParams{Expression: "document.querySelector(" + quote(selector) + ")"})
	call(b, dom.SetFileInputFiles, dom.SetFileInputFilesParams{Files: paths, ObjectID: e.Result.ObjectID})
}

// upload is what the page shows of an upload.
type upload struct {
	Name, State, Way string
	Value, Max       float64
}

func (b *tab) uploads() []upload {
	b.t.Helper()
	return eval[[]upload](b, `[...document.querySelectorAll("#uploads li")].map(li => ({
		Name: li.querySelector(".name").innerText, State: li.querySelector(".state").innerText, Way: li.dataset.way ?? "",
		Value: li.querySelector("progress").value, Max: li.querySelector("progress").max}))`)
}

// uploaded waits until so many uploads have ended, all well.
func (b *tab) uploaded(n int) []upload {
	b.t.Helper()
	b.until(fmt.Sprintf(`document.querySelectorAll("#uploads li").length === %d && [...document.querySelectorAll("#uploads .state")].every(e => e.innerText.startsWith("Uploaded"))`, n))
	return b.uploads()
}

// atStorage are the methods of the requests to upload URLs, by whether a browser
// has sent them. None of them may have a token.
func atStorage(t *testing.T, ms *msauthtest.Server) (browser, app []string) {
	t.Helper()
	for _, c := range ms.Calls(msauthtest.Upload) {
		if c.Header.Get("Authorization") != "" || c.Header.Get("Cookie") != "" || c.Header.Get("Referer") != "" {
			t.Errorf("%s to an upload URL with the headers %v", c.Method, c.Header)
		}
		if c.Header.Get("Origin") != "" {
			browser = append(browser, c.Method)
		} else {
			app = append(app, c.Method)
		}
	}
	return browser, app
}

func TestUploadStraightToTheStorage(t *testing.T) {
	parallel(t)
	ms, a, b := writer(t, msauthtest.Ada)
	b.click("#upload")
	b.choose("#file", b.file("One.txt", "one"), b.file("Large.bin", strings.Repeat("0123456789", 1<<20)+"end"), b.file("Empty.txt", ""))
	b.click("#submit")
	for _, u := range b.uploaded(3) {
		if want := map[bool]string{true: "app", false: "direct"}[u.Name == "Empty.txt"]; u.Way != want || u.Value != u.Max {
			t.Errorf("%+v, want the way %s and a full bar", u, want)
		}
	}
	b.look("uploads")
	b.narrow("uploads")
	browser, app := atStorage(t, ms)
	if !slices.Equal(browser, []string{"PUT", "PUT", "PUT", "PUT"}) || len(app) != 0 {
		t.Errorf("requests of the browser %q and of the app %q, want 4 PUT and none", browser, app)
	}
	b.click("#back")
	b.at(a.url + "/files")
	if got := download(b, "Large.bin"); string(got.content) != strings.Repeat("0123456789", 1<<20)+"end" {
		t.Errorf("%d bytes are stored", len(got.content))
	}
	for _, text := range []string{"/upload/"} {
		if a.log.contains(text) {
			t.Error("an upload URL is in the log")
		}
	}
}

func TestUploadThroughTheApp(t *testing.T) {
	parallel(t)
	ms, a, b := writer(t, msauthtest.Mia)
	ms.Set(func(b *msauthtest.Behavior) { b.UploadNoCORS = true })
	b.click("#upload")
	b.choose("#file", b.file("Large.bin", strings.Repeat("x", 6<<20)))
	b.click("#submit")
	if got := b.uploaded(1); got[0].Way != "app" {
		t.Errorf("%+v", got)
	}
	browser, app := atStorage(t, ms)
	if slices.Contains(browser, "PUT") || !slices.Equal(app, []string{"DELETE", "PUT", "PUT"}) {
		t.Errorf("requests of the browser %q and of the app %q, want no PUT; DELETE, PUT, PUT", browser, app)
	}
	// The next file does not try.
	before := ms.Count(msauthtest.Preflight)
	b.choose("#file", b.file("Second.txt", "second"))
	b.click("#submit")
	b.uploaded(2)
	if ms.Count(msauthtest.Preflight) != before {
		t.Error("another file was tried straight to the storage")
	}
	b.click("#back")
	b.at(a.url + "/files")
	if got := download(b, "Second.txt"); string(got.content) != "second" {
		t.Errorf("stored %q", got.content)
	}
	b.forgetProblems() // the browser says that CORS has blocked the requests
}

// Where the page's policy does not name the storage host, the browser blocks it.
func TestUploadToAHostThatThePolicyLacks(t *testing.T) {
	parallel(t)
	ms := newMicrosoft(t)
	ms.Consent(msauthtest.Ada, "Files.ReadWrite")
	f := newFront(t, false)
	f.answer = func(res *http.Response) {
		if policy := res.Header.Get("Content-Security-Policy"); policy != "" {
			res.Header.Set("Content-Security-Policy", strings.ReplaceAll(policy, "http://localhost:", "https://x.example:"))
		}
	}
	f.start(newApp(t, ms, "MSAUTH_BASE_URL="+f.url+"/auth"))
	b := newPerson(t)
	b.open(f.url + "/files/upload")
	b.pick(msauthtest.Ada)
	b.choose("#file", b.file("Blocked.txt", "blocked"))
	b.click("#submit")
	if got := b.uploaded(1); got[0].Way != "app" {
		t.Errorf("%+v", got)
	}
	if browser, app := atStorage(t, ms); len(browser) != 0 || !slices.Equal(app, []string{"DELETE", "PUT"}) {
		t.Errorf("requests of the browser %q and of the app %q, want none; DELETE, PUT", browser, app)
	}
	b.forgetProblems() // the browser says that the policy has blocked the requests
}

func TestUploadIsDroppedShowsProgressAndIsCancelled(t *testing.T) {
	parallel(t)
	ms, a, b := writer(t, msauthtest.Ada)
	slow := func(d time.Duration) {
		ms.Set(func(b *msauthtest.Behavior) { b.Delay = map[msauthtest.Kind]time.Duration{msauthtest.Upload: d} })
	}
	slow(400 * time.Millisecond)
	b.click("#upload")
	b.shows("#drop")
	eval[bool](b, `(() => {
		const data = new DataTransfer();
		data.items.add(new File([new Uint8Array(40 << 20)], "Dropped.bin"));
		return document.getElementById("drop").dispatchEvent(new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true})), true;
	})()`)
	seen := map[float64]bool{}
	b.until(`(() => { const p = document.querySelector("#uploads progress"); return p && p.value >= 10 << 20; })()`)
	seen[b.uploads()[0].Value] = true
	b.until(`document.querySelector("#uploads progress").value >= 20 << 20`)
	seen[b.uploads()[0].Value] = true
	if len(seen) != 2 {
		t.Errorf("the bar does not move: %v", seen)
	}
	slow(time.Minute) // it must not be over before it is cancelled
	b.look("uploads-going")
	slow(0)
	b.click("#uploads .cancel")
	b.until(`document.querySelector("#uploads .state").innerText === "Cancelled"`)
	if got := b.text("#upload-status"); got != "Dropped.bin: Cancelled" {
		t.Errorf("screen readers hear %q", got)
	}
	if err := eventually(t.Context(), func() bool {
		browser, _ := atStorage(t, ms)
		return slices.Contains(browser, "DELETE")
	}); err != nil {
		t.Error("the session was not ended")
	}
	b.click("#uploads .choices button") // try again
	b.uploaded(1)
	b.open(a.url + "/files")
	if !slices.Contains(b.names(), "Dropped.bin") {
		t.Errorf("items %q", b.names())
	}
}

func TestUploadGoesOnAfterFailures(t *testing.T) {
	parallel(t)
	ms, a, b := writer(t, msauthtest.Ada)
	ms.Set(func(b *msauthtest.Behavior) {
		b.Fail[msauthtest.Upload] = []msauthtest.Failure{{}, {Close: true}, {}, {Status: http.StatusServiceUnavailable}}
	})
	content := strings.Repeat("0123456789abcdef", 1<<20)
	b.click("#upload")
	b.choose("#file", b.file("Resumed.bin", content))
	b.click("#submit")
	if got := b.uploaded(1); got[0].Way != "direct" {
		t.Errorf("%+v", got)
	}
	b.open(a.url + "/files")
	if got := download(b, "Resumed.bin"); string(got.content) != content {
		t.Errorf("%d bytes are stored, want %d", len(got.content), len(content))
	}
	b.forgetProblems()
}

func TestUploadOfANameThatIsTaken(t *testing.T) {
	parallel(t)
	_, a, b := writer(t, msauthtest.Ada)
	b.click("#upload")
	b.choose("#file", b.file("Shopping list.txt", "other"), b.file("a|b.txt", "refused"))
	b.click("#submit")
	b.until(`document.querySelectorAll("#uploads .bad").length === 2`)
	b.look("uploads-refused")
	b.narrow("uploads-refused")
	if got := b.uploads(); !strings.Contains(got[1].State, "A name that contains one of") {
		t.Errorf("%+v", got[1])
	}
	b.click("#uploads li:first-child .choices button") // keep both
	b.until(`document.querySelector("#uploads .state").innerText === "Uploaded as “Shopping list 1.txt”"`)
	b.open(a.url + "/files")
	if names := b.names(); !slices.Contains(names, "Shopping list 1.txt") || !slices.Contains(names, "Shopping list.txt") {
		t.Errorf("items %q", names)
	}
}

// Who has signed out in another tab signs in again from here, and the files are still
// there to be sent.
func TestUploadOfSomebodyWhoHasSignedOut(t *testing.T) {
	parallel(t)
	_, a, first := writer(t, msauthtest.Ada)
	b := first.newWindow()
	b.open(a.url + "/files/upload?in=")
	b.shows("#drop")
	b.choose("#file", b.file("Late.txt", "late"))
	first.click("#sign-out")
	first.at(a.url + "/auth/signed-out")
	w := b.opens("#ended a")
	w.pick(msauthtest.Ada)
	w.isDone()
	b.click("#submit")
	b.until(`document.querySelector("#uploads .state")?.innerText.startsWith("Uploaded")`)
}

// A page that has not noticed gets a link to sign in, which leads back.
func TestUploadAfterTheEndOfTheSession(t *testing.T) {
	parallel(t)
	ms, a, b := writer(t, msauthtest.Ada)
	b.unaware(a)
	b.click("#upload")
	b.shows("#drop")
	b.end(a, ms)
	b.choose("#file", b.file("Late.txt", "late"))
	b.click("#submit")
	b.click("#uploads .choices a")
	b.pick(msauthtest.Ada)
	b.at(a.url + "/files/upload?in=")
}
