package golden_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// A goldenAnswer is one of the app.
type goldenAnswer struct {
	status   int
	location string
	header   http.Header
	body     string
	page     msauth.Page
}

func (a *goldenApp) do(method, target, body string, header ...string) goldenAnswer {
	a.t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = a.host
	if body != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(a.jar)) {
		pair, _, _ := strings.Cut(a.jar[name], ";")
		pairs = append(pairs, pair)
	}
	if len(pairs) > 0 {
		r.Header.Set("Cookie", strings.Join(pairs, "; "))
	}
	a.seen.page = msauth.Page{}
	w := httptest.NewRecorder()
	a.handler.ServeHTTP(w, r)
	a.receive(w.Header()["Set-Cookie"])
	return goldenAnswer{w.Code, w.Header().Get("Location"), w.Header(), w.Body.String(), a.seen.page}
}

func (a *goldenApp) receive(lines []string) {
	for _, line := range lines {
		c, err := http.ParseSetCookie(line)
		switch {
		case err != nil:
			a.t.Errorf("Set-Cookie %q: %v", line, err)
		case c.MaxAge < 0:
			delete(a.jar, c.Name)
		default:
			a.jar[c.Name] = line
		}
	}
}

// get is a navigation, fetch a script's request.
func (a *goldenApp) get(target string) goldenAnswer {
	a.t.Helper()
	return a.do(http.MethodGet, target, "", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Accept", "text/html")
}

func (a *goldenApp) fetch(target string) goldenAnswer {
	a.t.Helper()
	return a.do(http.MethodGet, target, "", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Accept", "application/json")
}

// loginURL is what a script's request is told.
func (a *goldenApp) loginURL(target string) string {
	a.t.Helper()
	got := a.fetch(target)
	var problem struct {
		LoginURL string `json:"login_url"`
	}
	if err := json.Unmarshal([]byte(got.body), &problem); err != nil || got.status != http.StatusUnauthorized || problem.LoginURL == "" {
		a.t.Fatalf("%s: status %d, %v: %s; log:\n%s", target, got.status, err, got.body, a.log)
	}
	u, err := url.Parse(problem.LoginURL)
	if err != nil {
		a.t.Fatal(err)
	}
	return u.RequestURI()
}

// atMicrosoft opens an address there, and returns where it leads on this site.
func (a *goldenApp) atMicrosoft(address string) string {
	a.t.Helper()
	r, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	a.behave(func(b *msauthtest.Behavior) { b.AutoSignIn = a.person })
	back, err := a.ms.Transport().RoundTrip(r)
	if err != nil {
		a.t.Fatal(err)
	}
	u, err := url.Parse(back.Header.Get("Location"))
	if err != nil || !strings.HasSuffix(u.Path, "/callback") {
		a.t.Fatalf("%v, Microsoft answers %s to %q", err, back.Status, back.Header.Get("Location"))
	}
	return u.RequestURI()
}

// begin opens a page that leads to Microsoft.
func (a *goldenApp) begin(target string) (address string) {
	a.t.Helper()
	got := a.get(target)
	if got.page.Kind == "wait" {
		return got.page.Links[0].URL
	}
	if got.status != http.StatusSeeOther || strings.HasPrefix(got.location, "/") {
		a.t.Fatalf("%s: status %d to %q; log:\n%s", target, got.status, got.location, a.log)
	}
	return got.location
}

// signInAt signs in by way of a page.
func (a *goldenApp) signInAt(target string) {
	a.t.Helper()
	if got := a.get(a.atMicrosoft(a.begin(target))); got.status != http.StatusSeeOther {
		a.t.Fatalf("callback: status %d, %s; log:\n%s", got.status, got.page.Kind, a.log)
	}
	a.get("/public") // the first page forgets that a sign-in has just been
}

// goldenAsked are the parameters for Microsoft that follow from what is sealed.
var goldenAsked = []string{"scope", "claims", "max_age", "prompt", "login_hint", "logout_hint", "id_token_hint"}

// told is an answer in a few words, without what is random.
func (a *goldenApp) told(got goldenAnswer) string {
	a.t.Helper()
	to, err := url.Parse(got.location)
	if err != nil {
		a.t.Fatal(err)
	}
	if q := to.Query(); to.Host != "" {
		maps.DeleteFunc(q, func(name string, _ []string) bool { return !slices.Contains(goldenAsked, name) })
		to.RawQuery = goldenPolicy.ReplaceAllString(q.Encode(), "...$1")
	}
	return strings.Join(strings.Fields(fmt.Sprint(got.status, " ", got.page.Kind, " ", to)), " ")
}

// goldenPolicy is the id of a policy in the provider's challenges, another each
// time.
var goldenPolicy = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f-]+(%22%5D%7D%7D%2C%22id_token)`)

// probe visits the pages of a case.
func (a *goldenApp) probe() map[string]string {
	a.t.Helper()
	found := map[string]string{}
	for _, page := range a.of.probes {
		found[page] = a.told(a.clone().get(page))
	}
	return found
}
