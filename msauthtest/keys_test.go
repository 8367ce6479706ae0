package msauthtest_test

import (
	"strings"
	"testing"

	"example.com/msauth/msauthtest"
)

// published returns all fields of the keys in a key set.
func (a *app) published(path string) (keys []map[string]any, kids []string) {
	a.t.Helper()
	var set struct{ Keys []map[string]any }
	a.json(a.endpoint(path), &set)
	for _, k := range set.Keys {
		kids = append(kids, k["kid"].(string))
	}
	return set.Keys, kids
}

func TestKeyFields(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	keys, _ := a.published("discovery/v2.0/keys")
	clouds := map[string]string{}
	for _, k := range keys {
		if k["x5t"] != k["kid"] || k["x5c"] == nil || k["alg"] != nil || len(k["kid"].(string)) != 27 {
			t.Errorf("key: %v", k)
		}
		clouds[k["cloud_instance_name"].(string)] += " " + strings.TrimPrefix(k["issuer"].(string), a.ms.URL)
	}
	if clouds["microsoftonline.com"] != " /"+msauthtest.TenantPersonal+"/v2.0 /{tenantid}/v2.0" || clouds["microsoftonline.us"] != " /{tenantid}/v2.0" {
		t.Errorf("issuers by cloud: %v", clouds)
	}
	a.tenant = msauthtest.TenantContoso
	if keys, _ := a.published("discovery/v2.0/keys"); len(keys) != 1 {
		t.Errorf("keys of a tenant: %v", keys)
	}
}

// Every second answer lacks the current signing key, and only that.
func TestAlternateKeys(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	before := header(t, a.signIn(msauthtest.Ada).IDToken)["kid"].(string)
	a.ms.RollKeys()
	a.ms.Set(func(b *msauthtest.Behavior) { b.AlternateKeys = true })
	now := header(t, a.signIn(msauthtest.Ada).IDToken)["kid"].(string)
	for i, want := range []bool{true, false, true, false} {
		_, kids := a.published("discovery/v2.0/keys")
		text := strings.Join(kids, " ")
		if strings.Contains(text, now) != want || !strings.Contains(text, before) {
			t.Errorf("answer %d: the key that signs is listed: %v, want %v", i+1, !want, want)
		}
	}
}

// An app with claims mapping has a key of its own in each tenant.
func TestAppKey(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	a.ms.Set(func(b *msauthtest.Behavior) { b.AppKey = true })
	appid := "discovery/v2.0/keys?appid=" + a.ms.ClientID
	kid := header(t, a.signIn(msauthtest.Ada).IDToken)["kid"].(string)
	for _, tt := range []struct {
		name, tenant, path string
		want               bool
	}{
		{"own tenant", msauthtest.TenantContoso, appid, true},
		{"own tenant by domain", "contoso.example", appid, true},
		{"own tenant, plain", msauthtest.TenantContoso, "discovery/v2.0/keys", false},
		{"own tenant, another app", msauthtest.TenantContoso, appid + "0", false},
		{"another tenant", msauthtest.TenantFabrikam, appid, false},
		{"common", "common", appid, false},
		{"common, plain", "common", "discovery/v2.0/keys", false},
	} {
		a.tenant = tt.tenant
		if _, kids := a.published(tt.path); strings.Contains(strings.Join(kids, " "), kid) != tt.want {
			t.Errorf("%s: the app's key is listed: %v, want %v", tt.name, !tt.want, tt.want)
		}
	}
	a.tenant = msauthtest.TenantContoso
	for query, want := range map[string]string{"?appid=" + a.ms.ClientID: appid, "": "discovery/v2.0/keys", "?appid=x": "discovery/v2.0/keys"} {
		var doc map[string]any
		a.json(a.endpoint("v2.0/.well-known/openid-configuration")+query, &doc)
		if doc["jwks_uri"] != a.endpoint(want) {
			t.Errorf("discovery%s: jwks_uri %v", query, doc["jwks_uri"])
		}
	}
	a.tenant = "common"
	if bruno := header(t, a.signIn(msauthtest.Bruno).IDToken)["kid"].(string); bruno == kid {
		t.Error("two tenants share an app's key")
	}
	if _, err := a.verify(a.signIn(msauthtest.Mia).IDToken); err != nil {
		t.Errorf("a personal account: %v", err)
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	ms := newServer(t)
	a := newApp(t, ms)
	before := a.signIn(msauthtest.Ada)
	if got := len(a.keySet().Keys); got != 3 {
		t.Errorf("%d keys, want one for each class of accounts and one of another cloud", got)
	}
	ms.RollKeys()
	after := a.signIn(msauthtest.Ada)
	if header(t, before.IDToken)["kid"] == header(t, after.IDToken)["kid"] {
		t.Error("RollKeys: the same key signs")
	}
	if got := len(a.keySet().Keys); got != 5 {
		t.Errorf("%d keys", got)
	}
	a.claims(before.IDToken)
	a.claims(after.IDToken)
	a.tenant = msauthtest.TenantContoso
	var set struct{ Keys []map[string]any }
	a.json(a.endpoint("discovery/v2.0/keys"), &set)
	if len(set.Keys) != 2 || set.Keys[0]["issuer"] != ms.URL+"/"+msauthtest.TenantContoso+"/v2.0" {
		t.Errorf("keys of a tenant: %v", set.Keys)
	}
	a.tenant = "common"

	for _, tt := range []struct {
		signing msauthtest.Signing
		alg     string
		kid     bool
		good    bool
	}{
		{msauthtest.SignRS256, "RS256", true, true},
		{msauthtest.SignPS256, "PS256", true, true},
		{msauthtest.SignES256, "ES256", true, true},
		{msauthtest.SignOtherClass, "RS256", true, true},
		{msauthtest.SignForeignCloud, "RS256", true, true},
		{msauthtest.SignWithoutKeyID, "RS256", false, false}, // go-jose asks for one when there are several keys
		{msauthtest.SignNone, "none", false, false},
		{msauthtest.SignHS256Secret, "HS256", true, false},
		{msauthtest.SignHS256Public, "HS256", true, false},
		{msauthtest.SignUnknownKey, "RS256", true, false},
		{msauthtest.SignUnpublished, "RS256", true, false},
		{msauthtest.SignWrongKeyID, "RS256", true, false},
		{msauthtest.SignFlippedBit, "RS256", true, false},
		{msauthtest.SignTruncated, "RS256", true, false},
	} {
		ms.Set(func(b *msauthtest.Behavior) { b.Signing = tt.signing })
		token := a.renew(before).IDToken
		h := header(t, token)
		if h["alg"] != tt.alg || (h["kid"] != nil) != tt.kid {
			t.Errorf("%q: header %v", tt.signing, h)
		}
		if _, err := a.verify(token); (err == nil) != tt.good {
			t.Errorf("%q: %v", tt.signing, err)
		}
	}
	ms.Set(func(b *msauthtest.Behavior) {
		b.Signing = ""
		b.KeySet = func(keys []map[string]any) []map[string]any { return keys[:1] }
	})
	if got := len(a.keySet().Keys); got != 1 {
		t.Errorf("KeySet: %d keys", got)
	}
	ms.Set(func(b *msauthtest.Behavior) {
		b.KeySet = func(keys []map[string]any) []map[string]any { return nil }
	})
	if res, text := a.get(a.endpoint("discovery/v2.0/keys")); res.StatusCode != 200 || text != `{"keys":[]}` {
		t.Errorf("KeySet: %s", text)
	}
}
