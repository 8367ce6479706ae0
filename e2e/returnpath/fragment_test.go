package returnpath

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"example.com/msauth"
	"example.com/msauth/e2e/internal/chrome"
	"example.com/msauth/msauthtest"
)

// A single-page app has its place in the fragment, which no server sees: somebody who is
// sent to Microsoft comes back to it. Browsers take a fragment along over redirects, so
// Microsoft must show a page, as it does to somebody who is not signed in there.
func TestFragmentsSurviveASignIn(t *testing.T) {
	for _, keep := range []bool{true, false} {
		microsoft := msauthtest.NewServer()
		defer microsoft.Close()
		site := httptest.NewServer(nil)
		defer site.Close()
		auth, err := msauth.New(msauth.Config{
			ClientID: microsoft.ClientID, ClientSecret: microsoft.ClientSecret, Authority: microsoft.URL,
			BaseURL: site.URL + "/auth", Keys: [][]byte{{31: 1, 0: 2}}, KeepFragments: keep,
		})
		if err != nil {
			t.Fatal(err)
		}
		mux := http.NewServeMux()
		mux.Handle("/auth/", auth)
		mux.HandleFunc("/{$}", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<!DOCTYPE html><title>home</title>") })
		mux.Handle("/app", auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, `<!DOCTYPE html><title>app</title><p id="app">app`)
		})))
		site.Config.Handler = mux

		b := chrome.NewTab(t, chrome.Shared(t))
		b.Open(site.URL + "/")
		entries := chrome.Eval[int](b, "history.length")
		b.Follow(`location.href = "/app?x=1#/orders/7?tab=a b&c=\"<d>"`)
		b.Until(`[...document.querySelectorAll("button")].some(b => b.innerText.includes("Ada"))`) // the page of the script may be there first
		b.Follow(`[...document.querySelectorAll("button")].find(b => b.innerText.includes("Ada")).click()`)
		b.Until(`document.getElementById("app")`)
		want := site.URL + "/app?x=1"
		if keep {
			want += `#/orders/7?tab=a%20b&c=%22%3Cd%3E`
		}
		if got := chrome.Eval[string](b, "location.href"); got != want {
			t.Errorf("kept %t: back at %s, want %s", keep, got, want)
		}
		if n := chrome.Eval[int](b, "history.length"); n != entries+2 {
			t.Errorf("kept %t: %d entries in the history, want %d: the app and Microsoft's page", keep, n, entries+2)
		}

		// One that is too long is lost, and nothing else.
		for _, length := range []int{3000, 20_000} {
			for _, c := range b.Cookies() {
				b.DeleteCookie(site.URL, c.Name)
				b.DeleteCookie(microsoft.URL, c.Name)
			}
			b.Open(site.URL + "/")
			b.Follow(fmt.Sprintf(`location.href = "/app?x=1#" + "x".repeat(%d)`, length))
			b.Until(`[...document.querySelectorAll("button")].some(b => b.innerText.includes("Ada"))`)
			b.Follow(`[...document.querySelectorAll("button")].find(b => b.innerText.includes("Ada")).click()`)
			b.Until(`document.getElementById("app")`)
			if got := chrome.Eval[string](b, "location.pathname + location.search + location.hash"); got != "/app?x=1" {
				t.Errorf("kept %t: a fragment of %d: back at %.100s", keep, length, got)
			}
		}
	}
}
