package provider

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// keySet is what a jwks_uri publishes: keys that are signed with the first key
// of the tests, by id.
func keySet(ids ...string) map[string]any {
	var keys []any
	for _, id := range ids {
		keys = append(keys, jwk(0, id, ""))
	}
	return map[string]any{"keys": keys}
}

// Last good keys.
func TestKeyThatARefetchLacksStaysForAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, web := plainProvider(t)
		verify := func(id string) error {
			_, err := a.verified(signJWT(0, headerOf(id), someClaims(otherBase)))
			return err
		}
		wants := func(when, id string, want bool) {
			t.Helper()
			if err := verify(id); (err == nil) != want {
				t.Errorf("%s: key %s gives %v", when, id, err)
			}
		}
		web.set(otherBase+"/keys", keySet("one", "two"))
		wants("at first", "one", true)
		web.set(otherBase+"/keys", keySet("two", "three"))
		wants("as nobody has asked anew", "one", true)
		wants("found by a refetch", "three", true)
		wants("missing since now", "one", true)
		time.Sleep(59 * time.Minute)
		wants("for 59 minutes", "one", true)
		if n := web.count("/keys"); n != 2 {
			t.Errorf("the keys were asked for %d times, want 2", n)
		}
		time.Sleep(time.Minute)
		wants("for an hour", "one", false)
		wants("still published", "two", true)
		// The hour runs from the first refetch that lacks a key.
		web.set(otherBase+"/keys", keySet("two"))
		for range 5 {
			time.Sleep(14 * time.Minute)
			wants("unknown", "none", false)
		}
		wants("missing for 56 minutes and refetched in between", "three", true)
		time.Sleep(4 * time.Minute)
		wants("missing for an hour", "three", false)
		// One that is back is as good as new.
		time.Sleep(5 * time.Minute)
		web.set(otherBase+"/keys", keySet("two", "one"))
		wants("back", "one", true)
		web.set(otherBase+"/keys", keySet("two"))
		time.Sleep(6 * time.Minute)
		wants("unknown", "none", false)
		time.Sleep(50 * time.Minute)
		wants("missing for 50 minutes after it was back", "one", true)
	})
}

func TestKeyThatIsReplacedIsGoneAtOnce(t *testing.T) {
	t.Parallel()
	now := time.Now()
	key := func(id, issuer string) publishedKey {
		k := publishedKey{issuer: issuer}
		k.KeyID, k.Key = id, id+issuer
		return k
	}
	for _, test := range []struct {
		name          string
		before, fresh publishedKey
		stays         bool
	}{
		{"the same name for the same issuer", key("a", "i"), key("a", "i"), false},
		{"the same name for all", key("a", ""), key("a", ""), false},
		{"one for all becomes one for an issuer", key("a", ""), key("a", "i"), false},
		{"the same name for another issuer", key("a", "i"), key("a", "j"), true},
		{"another name", key("a", "i"), key("b", "i"), true},
		{"without names", key("", ""), key("", ""), false},
	} {
		got := withLastGood([]publishedKey{test.fresh}, []publishedKey{test.before}, now)
		if want := map[bool]int{true: 2, false: 1}[test.stays]; len(got) != want || got[0].missing != (time.Time{}) {
			t.Errorf("%s: %d keys, want %d", test.name, len(got), want)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		a, web := plainProvider(t)
		old := signJWT(0, headerOf("one"), someClaims(otherBase))
		if _, err := a.verified(old); err != nil {
			t.Fatal(err)
		}
		web.set(otherBase+"/keys", map[string]any{"keys": []any{jwk(1, "one", ""), jwk(1, "two", "")}})
		if _, err := a.verified(signJWT(1, headerOf("two"), someClaims(otherBase))); err != nil {
			t.Fatal(err)
		}
		_, err := a.verified(old)
		wantFault(t, err, "failed to verify signature")
	})
}

func TestLastGoodKeysAreBounded(t *testing.T) {
	t.Parallel()
	set := func(prefix string) (keys []publishedKey) {
		for i := range maxKeys {
			var k publishedKey
			k.KeyID = fmt.Sprint(prefix, i)
			keys = append(keys, k)
		}
		return keys
	}
	now := time.Now()
	if got := withLastGood(set("new")[:maxKeys-1], set("old"), now); len(got) != maxKeys || got[maxKeys-1].KeyID != "old0" {
		t.Errorf("%d keys, want %d with one old one", len(got), maxKeys)
	}
	if got := withLastGood(set("new"), set("old"), now); len(got) != maxKeys || got[maxKeys-1].KeyID != "new199" {
		t.Errorf("%d keys, want %d, all new", len(got), maxKeys)
	}
}

// Six days of Microsoft's own set: whoever asked for it at every change never
// lost a key that was about to come back within the hour.
func TestFlappingKeySetOfMicrosoft(t *testing.T) {
	history, err := os.ReadFile("testdata/flapping-keys.txt")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		a, web := plainProvider(t)
		start := time.Now()
		var first time.Time
		seen := map[string]time.Time{} // when a set last had this key
		lacked := map[string]time.Time{}
		back := 0
		for line := range bytes.Lines(history) {
			if line[0] == '#' {
				continue
			}
			fields := strings.Fields(string(line))
			at, err := time.Parse(time.RFC3339, fields[0])
			if err != nil {
				t.Fatal(err)
			}
			if first.IsZero() {
				first = at
			}
			time.Sleep(time.Until(start.Add(at.Sub(first))))
			web.set(otherBase+"/keys", keySet(fields[1:]...))
			keys, err := a.keys.renew(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, id := range fields[1:] {
				if at, gone := lacked[id]; gone && time.Since(at) < time.Hour {
					back++
				}
				delete(lacked, id)
				seen[id] = time.Now()
			}
			for id := range seen {
				if !slices.Contains(fields[1:], id) && lacked[id].IsZero() {
					lacked[id] = time.Now()
				}
				want := lacked[id].IsZero() || time.Since(lacked[id]) < time.Hour
				if got := has(keys, id); got != want {
					t.Errorf("%s: key %s usable %t, want %t", fields[0], id, got, want)
				}
			}
		}
		if len(seen) < 9 || back < 10 {
			t.Errorf("%d keys, %d of which came back within the hour: this is not that history", len(seen), back)
		}
	})
}

// Keys that a tenant publishes for this app alone.

// appKeyed makes a tenant of Microsoft publish a key for the app alone.
func appKeyed(web *published, tenant, id string, n int) (where, keys string) {
	base := "https://login.microsoftonline.com/" + tenant
	where, keys = base+"/v2.0/.well-known/openid-configuration?appid="+testClient, base+"/discovery/v2.0/keys?appid="+testClient
	web.set(where, map[string]any{
		"issuer": base + "/v2.0", "authorization_endpoint": base + "/authorize", "token_endpoint": base + "/token", "jwks_uri": keys,
	})
	web.set(keys, map[string]any{"keys": []any{jwk(n, id, "")}})
	return where, keys
}

func commonProvider(t *testing.T) (*Authority, *published) {
	return testProvider(t, "https://login.microsoftonline.com/common/v2.0", "https://login.microsoftonline.com/{tenantid}/v2.0", func(*Settings) {})
}

func tokenOf(tenant, kid string, n int) string {
	return signJWT(n, headerOf(kid), with(someClaims("https://login.microsoftonline.com/"+tenant+"/v2.0"), "tid", tenant, "oid", testPerson))
}

const testTenant = "40a0cffe-4fc9-448b-9790-232954984f24"

func TestKeyForThisAppAloneIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, web := commonProvider(t)
		where, keys := appKeyed(web, testTenant, "own", 1)
		for range 3 {
			if _, err := a.verified(tokenOf(testTenant, "own", 1)); err != nil {
				t.Fatal(err)
			}
		}
		if n := web.count("appid="); n != 2 {
			t.Errorf("%d requests for this app's keys, want 2: %q", n, web.asked)
		}
		// Not asked for where it is not needed.
		if _, err := a.verified(tokenOf(testDirectory, "one", 0)); err != nil {
			t.Error(err)
		}
		if n := web.count(testDirectory); n != 0 {
			t.Errorf("%d requests at another tenant", n)
		}
		// The tenant's new key is found, and the old one is good for the hour.
		web.set(keys, map[string]any{"keys": []any{jwk(2, "next", "")}})
		if _, err := a.verified(tokenOf(testTenant, "next", 2)); err == nil {
			t.Error("the tenant was asked twice within five minutes")
		}
		time.Sleep(keysRefetch)
		for id, n := range map[string]int{"next": 2, "own": 1} {
			if _, err := a.verified(tokenOf(testTenant, id, n)); err != nil {
				t.Errorf("key %s: %v", id, err)
			}
		}
		if n := web.count(where); n != 2 {
			t.Errorf("discovery for this app was read %d times, want 2", n)
		}
	})
}

// Nobody gains anything at another tenant by it.
func TestKeyForThisAppIsGoodForItsTenantAlone(t *testing.T) {
	t.Parallel()
	evil := testDirectory
	for name, change := range map[string]func(web *published, where, keys string){
		"as it should be": func(*published, string, string) {},
		"with the issuer of the victim": func(web *published, _, keys string) {
			web.set(keys, map[string]any{"keys": []any{jwk(1, "evil", "https://login.microsoftonline.com/"+testTenant+"/v2.0")}})
		},
		"with the template": func(web *published, _, keys string) {
			web.set(keys, map[string]any{"keys": []any{jwk(1, "evil", "https://login.microsoftonline.com/{tenantid}/v2.0")}})
		},
	} {
		a, web := commonProvider(t)
		where, keys := appKeyed(web, evil, "evil", 1)
		change(web, where, keys)
		appKeyed(web, testTenant, "own", 2)
		_, err := a.verified(tokenOf(evil, "evil", 1))
		if (err == nil) != (name != "with the issuer of the victim") {
			t.Errorf("%s: its own token gives %v", name, err)
		}
		for _, token := range []string{tokenOf(testTenant, "evil", 1), tokenOf(testTenant, "own", 1), tokenOf(testTenant, "one", 1)} {
			if _, err := a.verified(token); err == nil {
				t.Errorf("%s: somebody of another tenant is signed in", name)
			}
		}
		if _, err := a.verified(tokenOf(testTenant, "own", 2)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDiscoveryForThisAppIsChecked(t *testing.T) {
	t.Parallel()
	base := "https://login.microsoftonline.com/" + testTenant
	for _, test := range []struct {
		name   string
		change map[string]any
		ok     bool
		asks   string // for keys
	}{
		{"as Microsoft publishes it", nil, true, base + "/discovery/v2.0/keys?appid=" + testClient},
		{"keys that are everybody's", map[string]any{"jwks_uri": base + "/discovery/v2.0/keys"}, false, ""},
		{"keys for another query", map[string]any{"jwks_uri": base + "/discovery/v2.0/keys?x=1"}, false, ""},
		{"another tenant", map[string]any{"issuer": "https://login.microsoftonline.com/" + testDirectory + "/v2.0"}, false, ""},
		{"the template", map[string]any{"issuer": "https://login.microsoftonline.com/{tenantid}/v2.0"}, false, ""},
		{"keys elsewhere", map[string]any{"jwks_uri": "https://evil.example/keys?appid=" + testClient}, false, ""},
		{"token endpoint elsewhere", map[string]any{"token_endpoint": "https://evil.example/token"}, false, ""},
	} {
		a, web := commonProvider(t)
		where, keys := appKeyed(web, testTenant, "own", 1)
		doc := with(web.pages[where].(map[string]any))
		for name, value := range test.change {
			doc[name] = value
		}
		set := web.pages[keys]
		web.set(where, doc)
		web.set(base+"/discovery/v2.0/keys?x=1&appid="+testClient, set)
		web.set("https://evil.example/keys?appid="+testClient, set)
		_, err := a.verified(tokenOf(testTenant, "own", 1))
		if (err == nil) != test.ok {
			t.Errorf("%s: %v", test.name, err)
		}
		if n := web.count(test.asks); test.asks != "" && n != 1 || web.count("evil") > 0 {
			t.Errorf("%s: asked for %q", test.name, web.asked)
		}
	}
}

// A tenant that refuses is left alone for five minutes, one that is out of reach
// for seconds; other providers have no such keys.
func TestKeysForThisAppAreNotAskedForWithoutRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, web := commonProvider(t)
		for range 50 {
			_, err := a.verified(tokenOf(testTenant, "own", 1))
			wantFault(t, err, "failed to verify signature")
			time.Sleep(time.Second)
		}
		if n := web.count("appid="); n != 1 {
			t.Errorf("%d requests for keys of an app that is not there, want 1", n)
		}
		time.Sleep(keysRefetch)
		appKeyed(web, testTenant, "own", 1)
		if _, err := a.verified(tokenOf(testTenant, "own", 1)); err != nil {
			t.Error(err)
		}
		for range 50 { // kids that are nowhere
			if _, err := a.verified(tokenOf(testTenant, "none", 1)); err == nil {
				t.Error("signed in by no key")
			}
			time.Sleep(time.Second)
		}
		if n := web.count("appid="); n != 3 {
			t.Errorf("%d requests for keys of this app, want 3", n)
		}
		where, _ := appKeyed(web, testDirectory, "own", 1)
		web.set(where, func(r *http.Request) (*http.Response, error) { return reply(r, 503, "text/html", ""), nil })
		for range 20 {
			_, err := a.verified(tokenOf(testDirectory, "own", 1))
			if _, unavailable := err.(KeysUnavailableError); !unavailable {
				t.Errorf("out of reach: %v", err)
			}
			time.Sleep(time.Second)
		}
		if n := web.count(where); n < 2 || n > 5 {
			t.Errorf("%d requests of a tenant that is out of reach", n)
		}
	})
	a, web := plainProvider(t)
	if _, err := a.verified(signJWT(1, headerOf("own"), with(someClaims(otherBase), "tid", testTenant))); err == nil || web.count("appid") > 0 {
		t.Errorf("another provider: %v, %q", err, web.asked)
	}
}

func TestKeysForThisAppAreKeptForAHundredTenants(t *testing.T) {
	t.Parallel()
	a, web := commonProvider(t)
	tenant := func(i int) string { return fmt.Sprintf("%08d-4fc9-448b-9790-232954984f24", i) }
	for i := range maxAppKeys + 20 {
		appKeyed(web, tenant(i), "own", 1)
		if _, err := a.verified(tokenOf(tenant(i), "own", 1)); err != nil {
			t.Fatal(err)
		}
		if _, err := a.verified(tokenOf(tenant(0), "own", 1)); err != nil { // the one that is in use stays
			t.Fatal(err)
		}
	}
	if len(a.appKeys.tenants) != maxAppKeys {
		t.Errorf("keys of %d tenants are kept, want %d", len(a.appKeys.tenants), maxAppKeys)
	}
	if n := web.count(tenant(0)); n != 2 {
		t.Errorf("%d requests at the tenant that is in use, want 2", n)
	}
}

func TestKeyForThisAppAtExternalID(t *testing.T) {
	t.Parallel()
	a, web := ciamProvider(t)
	web.set(ciamBase+"/.well-known/openid-configuration?appid="+testClient,
		with(web.pages[ciamBase+"/.well-known/openid-configuration"].(map[string]any), "jwks_uri", ciamBase+"/keys?appid="+testClient))
	web.set(ciamBase+"/keys?appid="+testClient, map[string]any{"keys": []any{jwk(1, "own", "")}})
	if _, err := a.verified(signJWT(1, headerOf("own"), with(someClaims(ciamIssuer), "oid", testPerson))); err != nil {
		t.Error(err)
	}
}

// The issuer that a key is for.
func TestIssuersOfKeysAreFilled(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		make   func(*testing.T) (*Authority, *published)
		where  string
		issuer string // of the token
		tid    any
		key    string
		ok     bool
	}{
		{"External ID, by tid", ciamProvider, ciamBase, ciamIssuer, testDirectory, "https://{tenantid}.ciamlogin.com/{tenantid}/v2.0", true},
		{"External ID, by the issuer", ciamProvider, ciamBase, ciamIssuer, nil, "https://{tenantid}.ciamlogin.com/{tenantid}/v2.0", true},
		{"External ID, on another host", ciamProvider, ciamBase, ciamIssuer, testDirectory, "https://login.microsoftonline.com/{tenantid}/v2.0", true},
		{"External ID, with a slash", ciamProvider, ciamBase, ciamIssuer, testDirectory, "https://fabrikam.ciamlogin.com/{tenantid}/v2.0/", true},
		{"External ID, spelled out", ciamProvider, ciamBase, ciamIssuer, testDirectory, "https://login.microsoftonline.com/" + testDirectory + "/v2.0", true},
		{"External ID, another tenant", ciamProvider, ciamBase, ciamIssuer, testDirectory, "https://login.microsoftonline.com/" + testTenant + "/v2.0", false},
		{"External ID, personal accounts", ciamProvider, ciamBase, ciamIssuer, testDirectory, "https://login.microsoftonline.com/" + PersonalTenant + "/v2.0", false},
		{"External ID, another path", ciamProvider, ciamBase, ciamIssuer, testDirectory, "https://login.microsoftonline.com/{tenantid}/v1.0", false},
		{"External ID, on http", ciamProvider, ciamBase, ciamIssuer, testDirectory, "http://login.microsoftonline.com/{tenantid}/v2.0", false},
		{"B2C, by the issuer", b2cProvider, b2cBase, b2cIssuer, nil, "https://fabrikam.b2clogin.com/{tenantid}/v2.0/", true},
		{"B2C, on another host", b2cProvider, b2cBase, b2cIssuer, nil, "https://login.microsoftonline.com/{tenantid}/v2.0/", false},
		{"another provider, by tid", func(t *testing.T) (*Authority, *published) {
			return testProvider(t, otherBase+"/"+testTenant, otherBase+"/"+testTenant, issuerIs(otherBase+"/"+testTenant))
		}, otherBase + "/" + testTenant, otherBase + "/" + testTenant, testTenant, otherBase + "/{tenantid}", true},
		{"another provider, tid of another", func(t *testing.T) (*Authority, *published) {
			return testProvider(t, otherBase+"/"+testTenant, otherBase+"/"+testTenant, issuerIs(otherBase+"/"+testTenant))
		}, otherBase + "/" + testTenant, otherBase + "/" + testTenant, testDirectory, otherBase + "/{tenantid}", false},
		{"another provider, nothing to fill in", plainProvider, otherBase, otherBase, nil, "https://id.example.com{tenantid}", false},
		{"Entra, another cloud", entraProvider, entraBase, entraBase, testDirectory, "https://login.microsoftonline.us/{tenantid}/v2.0", false},
		{"Entra", entraProvider, entraBase, entraBase, testDirectory, "https://login.microsoftonline.com/{tenantid}/v2.0", true},
	} {
		a, web := test.make(t)
		web.set(test.where+"/keys", map[string]any{"keys": []any{jwk(0, "one", test.key)}})
		_, err := a.verified(signJWT(0, headerOf("one"), with(someClaims(test.issuer), "tid", test.tid, "oid", testPerson)))
		if (err == nil) != test.ok {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}
