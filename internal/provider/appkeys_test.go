package provider

import (
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

func TestKeyForThisAppAloneIsFound(t *testing.T) {
	t.Parallel()
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
		_, err := a.verified(tokenOf(testTenant, "next", 2))
		wantFault(t, err, noKey) // the tenant is not asked twice within five minutes
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

// A tenant that publishes a key for this app signs nobody of another tenant in.
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
		t.Run(name, func(t *testing.T) {
			a, web := commonProvider(t)
			where, keys := appKeyed(web, evil, "evil", 1)
			change(web, where, keys)
			appKeyed(web, testTenant, "own", 2)
			_, err := a.verified(tokenOf(evil, "evil", 1))
			if name == "with the issuer of the victim" {
				wantFault(t, err, noKey)
			} else if err != nil {
				t.Errorf("its own token gives %v", err)
			}
			for _, token := range []string{tokenOf(testTenant, "evil", 1), tokenOf(testTenant, "own", 1), tokenOf(testTenant, "one", 1)} {
				_, err := a.verified(token)
				wantFault(t, err, noKey)
			}
			if _, err := a.verified(tokenOf(testTenant, "own", 2)); err != nil {
				t.Error(err)
			}
		})
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
		t.Run(test.name, func(t *testing.T) {
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
			if !test.ok {
				wantFault(t, err, noKey)
			} else if err != nil {
				t.Error(err)
			}
			if n := web.count(test.asks); test.asks != "" && n != 1 || web.count("evil") > 0 {
				t.Errorf("asked for %q", web.asked)
			}
		})
	}
}

// A tenant that refuses is not asked again for five minutes, one that is
// unavailable for a few seconds; other providers have no such keys.
func TestKeysForThisAppAreNotAskedForEachTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, web := commonProvider(t)
		for range 50 {
			_, err := a.verified(tokenOf(testTenant, "own", 1))
			wantFault(t, err, noKey)
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
			_, err := a.verified(tokenOf(testTenant, "none", 1))
			wantFault(t, err, noKey)
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
	_, err := a.verified(signJWT(1, headerOf("own"), with(someClaims(otherBase), "tid", testTenant)))
	if wantFault(t, err, noKey); web.count("appid") > 0 {
		t.Errorf("another provider was asked for keys of this app: %q", web.asked)
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
