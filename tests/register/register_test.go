// Package register_test runs docs/register/register.sh, and checks the Terraform
// configuration beside it.
package register_test

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io/fs"
	"maps"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// shop are the settings of most tests: changed by further ones behind them.
func shop(more ...string) []string {
	return append([]string{"APP_NAME=Shop", "BASE_URL=https://shop.example.com/auth", "CREDENTIAL=none"}, more...)
}

var cluster = []string{"CREDENTIAL=federated", "FEDERATED_ISSUER=https://oidc.example.com/cluster/", "FEDERATED_SUBJECT=system:serviceaccount:shop:web"}

// app is the only registration.
func (o *operator) app() object {
	o.Helper()
	apps := o.now().apps
	if len(apps) != 1 {
		o.Fatalf("%d app registrations", len(apps))
	}
	return apps[0]
}

// edit changes it, as somebody else would.
func (o *operator) edit(by func(app object)) { o.change(func(now *tenant) { by(now.apps[0]) }) }

// atLength is for tests of many runs, each of which takes half a second: make check,
// which is for quick ones, leaves them to make test.
func atLength(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long")
	}
}

func list(v any) (texts []string) {
	entries, _ := v.([]any)
	for _, e := range entries {
		texts = append(texts, fmt.Sprint(e))
	}
	return texts
}

// of returns a property of each object of a list.
func of(v any, name string) (texts []string) {
	entries, _ := v.([]any)
	for _, e := range entries {
		texts = append(texts, fmt.Sprint(e.(object)[name]))
	}
	return texts
}

func want(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func TestFirstRunMakesEverything(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	r := o.must(append(shop("BASE_URL=http://localhost:8080/auth, https://shop.example.com/auth, https://www.example.com", "ROLES=Admin, Shop.Editor",
		"SCOPES=User.Read Files.Read", "LATER_SCOPES=Calendars.Read,Files.ReadWrite", "GROUP_CLAIMS=ApplicationGroup"), cluster...), "--admin-consent")
	want(t, "changes", r.changed, []string{
		"POST applications api,appRoles,displayName,groupMembershipClaims,optionalClaims,requiredResourceAccess,signInAudience,web",
		"POST servicePrincipals appId,tags",
		"POST applications/ID/federatedIdentityCredentials audiences,issuer,name,subject",
		"POST oauth2PermissionGrants clientId,consentType,resourceId,scope",
	})
	app := o.app()
	web := app["web"].(object)
	uris := list(web["redirectUris"])
	slices.Sort(uris)
	want(t, "redirect URIs", uris, []string{"http://localhost:8080/auth/callback", "http://localhost:8080/auth/signed-out",
		"https://shop.example.com/auth/callback", "https://shop.example.com/auth/signed-out", "https://www.example.com/callback", "https://www.example.com/signed-out"})
	want(t, "front-channel logout URL", web["logoutUrl"], any("https://shop.example.com/auth/front-channel-logout"))
	want(t, "audience", app["signInAudience"], any("AzureADandPersonalMicrosoftAccount"))
	want(t, "claims", of(app["optionalClaims"].(object)["idToken"], "name"), []string{"email", "login_hint", "sid", "auth_time", "xms_edov", "groups"})
	want(t, "groups", app["groupMembershipClaims"], any("ApplicationGroup"))
	roles := app["appRoles"].([]any)
	want(t, "roles", of(roles, "value"), []string{"Admin", "Shop.Editor"})
	want(t, "IDs of roles", of(roles, "id"), []string{roleAdmin, "8dfc7064-5b8a-574f-a4aa-9d2a49a3a17b"})
	access := app["requiredResourceAccess"].([]any)[0].(object)
	scopes := []string{"openid", "profile", "email", "offline_access", "User.Read", "Files.Read", "Calendars.Read", "Files.ReadWrite"}
	var ids []string
	for _, name := range scopes {
		ids = append(ids, delegated[name])
	}
	want(t, "API", access["resourceAppId"], any(graphAppID))
	want(t, "permissions", of(access["resourceAccess"], "id"), ids)
	want(t, "federated credential", fmt.Sprint(o.now().federated[app["id"].(string)][0]["audiences"]), "[api://AzureADTokenExchange]")
	want(t, "consent", o.now().grants[0]["scope"], any(strings.Join(scopes, " ")))
	want(t, "service principals", len(o.now().principals), 2)
	want(t, "AZURE_CLIENT_ID", o.environment(r)["AZURE_CLIENT_ID"], fmt.Sprint(app["appId"]))
}

// roleAdmin is uuidv5("url", "urn:msauth:app-role:Admin") of Terraform, whose
// configuration has the same IDs.
const roleAdmin = "e5b2b819-7494-5d41-8d2c-0ad15fb6d7eb"

// environment is what a shell has after it has run what the script prints.
func (o *operator) environment(r result) map[string]string {
	o.Helper()
	cmd := exec.Command("bash", "-c", "set -eu\n"+r.stdout+"\nenv -0")
	cmd.Dir, cmd.Env = o.dir, []string{"PATH=" + os.Getenv("PATH")}
	out, err := cmd.Output()
	if err != nil {
		o.Fatalf("%v: %s", err, r.stdout)
	}
	set := map[string]string{}
	for entry := range strings.SplitSeq(string(out), "\x00") {
		name, value, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, "AZURE_") || strings.HasPrefix(name, "MSAUTH_") {
			set[name] = value
		}
	}
	return set
}

func TestSecondRunChangesNothing(t *testing.T) {
	t.Parallel()
	cert, _ := certificate(t, rsaKey(), time.Hour)
	for name, settings := range map[string][]string{
		"secret":      {"CREDENTIAL=secret"},
		"certificate": {"CREDENTIAL=certificate", "CERTIFICATE=" + cert},
		"federated":   cluster,
		"none":        {"AUDIENCE=AzureADMyOrg", "ROLES=", "SCOPES=User.Read"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOperator(t)
			all := append(shop("ROLES=Admin,Editor", "SCOPES=Files.Read", "GROUP_CLAIMS=All"), settings...)
			first := o.must(all, "--admin-consent")
			before := o.app()
			second := o.must(all, "--admin-consent", "--prune")
			if len(second.changed) > 0 {
				t.Errorf("changes %q", second.changed)
			}
			want(t, "registration", o.app(), before)
			want(t, "environment", second.stdout, first.stdout)
		})
	}
}

// Each change of the settings is one of the registration, and of nothing else in it.
func TestChangesOneThing(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	settings := append(shop("ROLES=Admin"), cluster...)
	o.must(settings)
	id := fmt.Sprint(o.app()["appId"])
	for _, tt := range []struct {
		setting string
		want    []string
		check   func(app object) any
		is      any
	}{
		{"APP_ID=" + id, nil, nil, nil},
		{"APP_NAME=The shop", []string{"PATCH applications/ID displayName"}, func(app object) any { return app["displayName"] }, "The shop"},
		{"BASE_URL=https://shop.example.org/auth,https://shop.example.com/auth", []string{"PATCH applications/ID web"},
			func(app object) any { return app["web"].(object)["logoutUrl"] }, "https://shop.example.org/auth/front-channel-logout"},
		{"AUDIENCE=AzureADMultipleOrgs", []string{"PATCH applications/ID signInAudience"}, func(app object) any { return app["signInAudience"] }, "AzureADMultipleOrgs"},
		{"ROLES=Admin,Editor", []string{"PATCH applications/ID appRoles"}, func(app object) any { return of(app["appRoles"], "value") }, []string{"Admin", "Editor"}},
		{"LATER_SCOPES=Mail.Read", []string{"PATCH applications/ID requiredResourceAccess"},
			func(app object) any {
				return slices.Contains(of(app["requiredResourceAccess"].([]any)[0].(object)["resourceAccess"], "id"), delegated["Mail.Read"])
			}, true},
		{"CLAIMS=email,login_hint,sid,auth_time,xms_edov,acct", []string{"PATCH applications/ID optionalClaims"}, nil, nil},
		{"GROUP_CLAIMS=SecurityGroup", []string{"PATCH applications/ID groupMembershipClaims,optionalClaims"}, nil, nil},
		{"FEDERATED_SUBJECT=system:serviceaccount:shop:api", []string{"PATCH applications/ID/federatedIdentityCredentials/ID subject"}, nil, nil},
		{"FEDERATED_AUDIENCE=api://other", []string{"PATCH applications/ID/federatedIdentityCredentials/ID audiences"}, nil, nil},
		{"FEDERATED_NAME=another", nil, nil, nil}, // the same issuer and subject under another name
	} {
		settings = append(settings, tt.setting)
		before := o.app()
		r := o.must(settings)
		want(t, tt.setting+": changes", r.changed, tt.want)
		app := o.app()
		if tt.check != nil {
			want(t, tt.setting, tt.check(app), tt.is)
		}
		for name := range app { // what the request did not name is as it was
			if !strings.Contains(strings.Join(tt.want, " "), name) && !reflect.DeepEqual(app[name], before[name]) {
				t.Errorf("%s: %s was %v, and is %v", tt.setting, name, before[name], app[name])
			}
		}
	}
	r := o.must(settings, "--admin-consent")
	want(t, "consent", r.changed, []string{"POST oauth2PermissionGrants clientId,consentType,resourceId,scope"})
	r = o.must(append(settings, "LATER_SCOPES=Files.Read"), "--admin-consent")
	want(t, "more consent", r.changed, []string{"PATCH applications/ID requiredResourceAccess", "PATCH oauth2PermissionGrants/ID scope"})
	want(t, "scopes", o.now().grants[0]["scope"], any("openid profile email offline_access User.Read Mail.Read Files.Read"))
}

// What others have added stays, until --prune says otherwise; and what the script does
// not know stays in any case.
func TestWhatOthersAddedStays(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	o.must(shop("ROLES=Admin"))
	other := object{"resourceAppId": newID(), "resourceAccess": []any{object{"id": newID(), "type": "Scope"}}}
	role := object{"id": newID(), "value": "Auditor", "displayName": "Auditors", "description": "read all", "allowedMemberTypes": []any{"User"}, "isEnabled": true, "origin": "Application"}
	access := object{"accessToken": []any{object{"name": "groups", "additionalProperties": []any{"sam_account_name"}}}, "saml2Token": []any{}}
	o.edit(func(app object) {
		web := app["web"].(object)
		web["redirectUris"] = append(web["redirectUris"].([]any), "https://old.example.com/auth/callback")
		web["homePageUrl"] = "https://shop.example.com/"
		app["appRoles"] = append(app["appRoles"].([]any), role)
		app["requiredResourceAccess"] = append(app["requiredResourceAccess"].([]any), any(other))
		graph := app["requiredResourceAccess"].([]any)[0].(object)
		graph["resourceAccess"] = append(graph["resourceAccess"].([]any), object{"id": delegated["Mail.Read"], "type": "Scope"}, object{"id": newID(), "type": "Role"})
		maps.Copy(app["optionalClaims"].(object), access)
	})
	r := o.must(shop("ROLES=Admin,Editor", "CLAIMS=email,acct", "LATER_SCOPES=Files.Read", "BASE_URL=https://shop.example.com/auth,https://shop.example.org"))
	want(t, "changes", r.changed, []string{"PATCH applications/ID appRoles,optionalClaims,requiredResourceAccess,web"})
	for _, line := range []string{"redirect URI https://old.example.com/auth/callback", "app role Auditor", "permission Mail.Read"} {
		if !strings.Contains(r.stderr, "not in the settings, and left as it is: "+line+" (--prune removes it)\n") {
			t.Errorf("%s is not named:\n%s", line, r.stderr)
		}
	}
	app := o.app()
	if !slices.Contains(list(app["web"].(object)["redirectUris"]), "https://old.example.com/auth/callback") || app["web"].(object)["homePageUrl"] != "https://shop.example.com/" {
		t.Errorf("web %v", app["web"])
	}
	want(t, "roles", of(app["appRoles"], "value"), []string{"Admin", "Auditor", "Editor"})
	want(t, "claims of access tokens", app["optionalClaims"].(object)["accessToken"], access["accessToken"])
	want(t, "APIs", len(app["requiredResourceAccess"].([]any)), 2)

	// Microsoft removes no role that is enabled: it takes two requests.
	r = o.must(shop("ROLES=Admin"), "--prune")
	want(t, "changes", r.changed, []string{"PATCH applications/ID appRoles,requiredResourceAccess,web", "PATCH applications/ID appRoles"})
	app = o.app()
	want(t, "redirect URIs", len(list(app["web"].(object)["redirectUris"])), 2)
	want(t, "roles", of(app["appRoles"], "value"), []string{"Admin"})
	want(t, "ID of the role", of(app["appRoles"], "id"), []string{roleAdmin})
	graph := app["requiredResourceAccess"].([]any)
	graphAccess := graph[len(graph)-1].(object)["resourceAccess"]
	want(t, "permissions", len(graphAccess.([]any)), 6) // those of a sign-in, and the application permission
	want(t, "claims", of(app["optionalClaims"].(object)["idToken"], "name"), []string{"email", "login_hint", "sid", "auth_time", "xms_edov", "acct"})
}

// A role that was made by hand keeps its ID, and is enabled if it was not.
func TestRoleKeepsItsID(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	o.must(shop())
	id := newID()
	o.edit(func(app object) {
		app["appRoles"] = []any{object{"id": id, "value": "Admin", "displayName": "Administrators", "description": "all", "allowedMemberTypes": []any{"User"}, "isEnabled": false}}
	})
	o.must(shop("ROLES=Admin"))
	role := o.app()["appRoles"].([]any)[0].(object)
	if role["id"] != id || role["isEnabled"] != true || role["displayName"] != "Administrators" {
		t.Errorf("role %v", role)
	}
}

func TestSecretIsInItsFileOnly(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	settings := shop("CREDENTIAL=secret", "SECRET_FILE=the secret", "AZURE_LOGGING_ENABLE_LOG_FILE=yes")
	value := func() string {
		t.Helper()
		content, err := os.ReadFile(filepath.Join(o.dir, "the secret"))
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(filepath.Join(o.dir, "the secret")); err != nil || info.Mode() != 0o600 {
			t.Errorf("%v %v", info.Mode(), err)
		}
		return strings.TrimSpace(string(content))
	}
	keys := func() []string { return of(o.app()["passwordCredentials"], "keyId") }

	first := o.must(settings)
	one := value()
	want(t, "value", one, o.now().secrets[keys()[0]])
	want(t, "environment", o.environment(first)["AZURE_CLIENT_SECRET"], one)
	o.must(settings)
	want(t, "secrets after a second run", len(keys()), 1)

	second := o.must(settings, "--new-secret")
	two := value()
	want(t, "secrets", len(keys()), 2)
	want(t, "value", two, o.now().secrets[keys()[1]])

	// One that has ended is as good as none.
	o.edit(func(app object) {
		for _, p := range app["passwordCredentials"].([]any) {
			p.(object)["endDateTime"] = time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
		}
		app["passwordCredentials"] = app["passwordCredentials"].([]any)[1:] // there may be two
	})
	third := o.must(settings)
	want(t, "changes", third.changed, []string{"POST applications/ID/addPassword passwordCredential"})
	three := value()

	// Its file is lost.
	if err := os.Remove(filepath.Join(o.dir, "the secret")); err != nil {
		t.Fatal(err)
	}
	lost := o.must(settings)
	if len(lost.changed) > 0 || !strings.Contains(lost.stderr, "its value is not in "+o.dir+"/the secret:") {
		t.Errorf("%q\n%s", lost.changed, lost.stderr)
	}

	// Nor does a shell that tells what it does show it.
	o.edit(func(app object) { app["passwordCredentials"] = []any{} })
	cmd := o.command(settings)
	cmd.Args = append([]string{"bash", "-x"}, cmd.Args[1:]...)
	traced, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, traced)
	}
	four := value()
	if err := os.Remove(filepath.Join(o.dir, "the secret")); err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{"trace": string(traced), "stdout": first.stdout + second.stdout + third.stdout, "stderr": first.stderr + second.stderr + third.stderr, "requests": strings.Join(o.now().seen, "\n")}
	for _, setting := range o.env { // HOME, TMPDIR, what az keeps
		if name, dir, _ := strings.Cut(setting, "="); name == "HOME" || name == "TMPDIR" || name == "AZURE_CONFIG_DIR" {
			readAll(t, dir, texts)
		}
	}
	readAll(t, o.dir, texts)
	for where, text := range texts {
		for _, secret := range []string{one, two, three, four} {
			if secret == "" || strings.Contains(text, secret) {
				t.Errorf("secret %q in %s", secret, where)
			}
		}
	}
}

func readAll(t *testing.T, dir string, into map[string]string) {
	t.Helper()
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			content, err := os.ReadFile(path)
			into[path] = string(content)
			return err
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// certificate writes one that is valid from now on, or was until then.
func certificate(t *testing.T, key any, life time.Duration) (file string, leaf *x509.Certificate) {
	t.Helper()
	from, to := time.Now(), time.Now().Add(life)
	if life < 0 {
		from = to.Add(-time.Hour)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: `shop "one"`, Organization: []string{"O'Brien"}}, NotBefore: from, NotAfter: to}
	var public any = &rsaKey().PublicKey
	if k, ok := key.(*ecdsa.PrivateKey); ok {
		public = k.Public()
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err = x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), leaf
}

func write(t *testing.T, content []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "cert.pem")
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestCertificatesAreAdded(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	var leaves []*x509.Certificate
	for n := range 2 {
		file, leaf := certificate(t, rsaKey(), time.Hour)
		leaves = append(leaves, leaf)
		o.must(shop("CREDENTIAL=certificate", "CERTIFICATE="+file))
		keys := o.app()["keyCredentials"].([]any)
		if len(keys) != n+1 {
			t.Fatalf("%d certificates, want %d", len(keys), n+1)
		}
		for i, leaf := range leaves {
			key := keys[i].(object)
			want(t, "certificate", key["key"], any(base64.StdEncoding.EncodeToString(leaf.Raw)))
			want(t, "end", key["endDateTime"], any(leaf.NotAfter.UTC().Format(time.RFC3339)))
		}
	}
}

// A file with the private key in it is refused, and nothing of it has left the machine.
func TestPrivateKeyStays(t *testing.T) {
	t.Parallel()
	file, _ := certificate(t, rsaKey(), time.Hour)
	cert, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(rsaKey())
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"PKCS #8":   {Type: "PRIVATE KEY", Bytes: der},
		"PKCS #1":   {Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey())},
		"encrypted": {Type: "ENCRYPTED PRIVATE KEY", Bytes: der},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOperator(t)
			key := pem.EncodeToMemory(block)
			r := o.run(shop("CREDENTIAL=certificate", "CERTIFICATE="+write(t, append(slices.Clone(cert), key...))))
			if r.code != 1 || !strings.Contains(r.stderr, "contains a private key") || strings.Count(r.stderr, "\n") != 1 {
				t.Errorf("exit code %d\n%s", r.code, r.stderr)
			}
			for _, line := range strings.Split(string(key), "\n")[1:4] {
				if strings.Contains(strings.Join(o.now().seen, "\n"), line) {
					t.Error("the key was sent")
				}
			}
			if len(o.now().writes) > 0 {
				t.Errorf("changes %q", o.now().writes)
			}
		})
	}
}

// A run that is killed while it waits for any of Microsoft's answers, after which that
// change is made, is repeated.
func TestKilledRunCanBeRepeated(t *testing.T) {
	t.Parallel()
	atLength(t)
	settings := shop("CREDENTIAL=secret", "ROLES=Admin")
	for n := 1; n <= 4; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			o := newOperator(t)
			o.change(func(now *tenant) { now.hangAfter = n })
			cmd := o.command(settings, "--admin-consent")
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			select {
			case <-o.hung:
			case <-time.After(time.Minute):
				t.Error("the request never came")
			}
			if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err == nil {
				t.Error("it was not killed")
			}
			r := o.must(settings, "--admin-consent")
			want(t, "changes of the second run", len(r.changed), 4-n)
			app := o.app()
			want(t, "secrets", len(app["passwordCredentials"].([]any)), 1)
			want(t, "service principals", len(o.now().principals), 2)
			want(t, "consents", len(o.now().grants), 1)
			if n == 3 != strings.Contains(r.stderr, "its value is not in "+o.dir+"/client-secret.txt:") {
				t.Errorf("the secret of a killed run is lost; said:\n%s", r.stderr)
			}
			if r := o.must(settings, "--admin-consent"); len(r.changed) > 0 {
				t.Errorf("changes of the third run: %q", r.changed)
			}
		})
	}
}

// Not all of Microsoft's servers know at once what was made: requests are repeated.
func TestWhatIsNotYetKnown(t *testing.T) {
	t.Parallel()
	for name, settings := range map[string][]string{"secret": {"CREDENTIAL=secret"}, "federated": cluster} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOperator(t)
			o.change(func(now *tenant) { now.lag = 3 })
			r := o.must(append(shop(), settings...))
			want(t, "changes", len(r.changed), 3)
		})
	}
	t.Run("for too long", func(t *testing.T) {
		t.Parallel()
		o := newOperator(t)
		o.change(func(now *tenant) { now.lag = 1000 })
		r := o.run(shop())
		if last := lastLine(r.stderr); r.code != 1 || !strings.HasPrefix(last, "register.sh: Microsoft Graph: POST servicePrincipals: Request_BadRequest: The appId '") {
			t.Errorf("exit code %d: %s", r.code, last)
		}
	})
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	return lines[len(lines)-1]
}

func TestDryRunChangesNothing(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	settings := shop("CREDENTIAL=secret", "ROLES=Admin")
	r := o.must(settings, "--dry-run", "--admin-consent")
	if len(r.changed) > 0 || r.stdout != "" || !strings.Contains(r.stderr, "POST applications\n") || !strings.Contains(r.stderr, `"https://shop.example.com/auth/callback"`) {
		t.Errorf("%q %q\n%s", r.changed, r.stdout, r.stderr)
	}
	o.must(shop())
	r = o.must(settings, "--dry-run", "--admin-consent")
	if len(r.changed) > 0 || !strings.Contains(r.stderr, "changing appRoles of") || !strings.Contains(r.stderr, "/addPassword\n") || !strings.Contains(r.stderr, "POST oauth2PermissionGrants\n") {
		t.Errorf("%q\n%s", r.changed, r.stderr)
	}
	if entries, err := os.ReadDir(o.dir); err != nil || len(entries) > 0 {
		t.Errorf("files %v, %v", entries, err)
	}
}

func TestTwoOfTheName(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	o.must(shop())
	first := o.app()["appId"]
	second := copyOf(o.app()).(object)
	second["id"], second["appId"] = newID(), newID()
	o.change(func(now *tenant) { now.apps = append(now.apps, second) })
	r := o.run(shop())
	if line := lastLine(r.stderr); r.code != 1 || line != fmt.Sprintf(`register.sh: APP_NAME: there are several app registrations of the name "Shop": set APP_ID to one of %s, %s`, first, o.now().apps[1]["appId"]) {
		t.Errorf("exit code %d: %s", r.code, line)
	}
	o.must(shop(fmt.Sprint("APP_ID=", o.now().apps[1]["appId"]), "ROLES=Admin"))
	apps := o.now().apps
	want(t, "roles of the first", list(apps[0]["appRoles"]), []string(nil))
	want(t, "roles of the second", of(apps[1]["appRoles"], "value"), []string{"Admin"})
}

// Names are names: neither the shell, nor az, nor a filter of Microsoft Graph reads
// anything else in them.
func TestNamesOfAllKinds(t *testing.T) {
	t.Parallel()
	atLength(t)
	for _, name := range []string{`O'Brien & "Sons" %20+d?e#f`, "--help", "@/etc/hostname", "$(touch x) `touch y` ; touch z", "x' or 'a' eq 'a", `  Käse\n  für 日本 *`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOperator(t)
			settings := shop("APP_NAME="+name, "CREDENTIAL=secret", "SECRET_FILE=-rf '$x'.txt", "SECRET_NAME="+name)
			r := o.must(settings)
			want(t, "name", o.app()["displayName"], any(name))
			want(t, "name of the secret", of(o.app()["passwordCredentials"], "displayName"), []string{name})
			if o.environment(r)["AZURE_CLIENT_SECRET"] == "" {
				t.Errorf("no secret by %s", r.stdout)
			}
			if r := o.must(settings); len(r.changed) > 0 {
				t.Errorf("changes %q", r.changed)
			}
			if entries, err := os.ReadDir(o.dir); err != nil || len(entries) != 1 {
				t.Errorf("files %v, %v", entries, err)
			}
		})
	}
}

func TestEnvironmentOfTheExample(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	file, _ := certificate(t, rsaKey(), time.Hour)
	for _, tt := range []struct {
		settings []string
		tenant   string
	}{
		{nil, "common"}, {[]string{"AUDIENCE=AzureADMultipleOrgs"}, "organizations"},
		{[]string{"AUDIENCE=PersonalMicrosoftAccount"}, "consumers"}, {[]string{"AUDIENCE=AzureADMyOrg", "CREDENTIAL=certificate", "CERTIFICATE=" + file}, tenantID},
	} {
		r := o.must(append(shop("SCOPES=User.Read,Files.Read", "LATER_SCOPES=Mail.Read"), tt.settings...))
		want(t, "environment", o.environment(r), map[string]string{"AZURE_CLIENT_ID": fmt.Sprint(o.app()["appId"]), "AZURE_TENANT_ID": tt.tenant,
			"MSAUTH_BASE_URL": "https://shop.example.com/auth", "MSAUTH_SCOPES": "User.Read Files.Read"})
		if !strings.Contains(r.stdout, "\n# go run ./cmd/msauth-check\n") || len(tt.settings) > 1 != strings.Contains(r.stdout, "AZURE_CLIENT_CERTIFICATE_PATH") {
			t.Error(r.stdout)
		}
	}
}

func TestAnotherCloud(t *testing.T) {
	t.Parallel()
	o := operatorAt(t, usGov)
	r := o.must(append(shop("AUDIENCE=AzureADMyOrg"), cluster...))
	want(t, "authority", o.environment(r)["AZURE_AUTHORITY_HOST"], usGov.login)
	want(t, "audience", fmt.Sprint(o.now().federated[o.app()["id"].(string)][0]["audiences"]), "[api://AzureADTokenExchangeUSGov]")
}

// Whatever is wrong ends with one line, before anything is changed.
func TestRefusals(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	ended, _ := certificate(t, rsaKey(), -time.Hour)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	elliptic, _ := certificate(t, key, time.Hour)
	for _, tt := range []struct {
		settings string // separated by |
		want     string
	}{
		{"APP_NAME=", "APP_NAME is not set"},
		{"APP_NAME=two\nlines", "APP_NAME contains a control character"},
		{"APP_NAME=" + strings.Repeat("x", 121), "APP_NAME is longer than 120 bytes"},
		{"APP_ID=Shop", `APP_ID is "Shop": must be an Application (client) ID`},
		{"APP_ID=" + newID(), "APP_ID: there is no app registration with the ID"},
		{"BASE_URL=", "BASE_URL is not set"},
		{"BASE_URL=shop.example.com/auth", `BASE_URL: "shop.example.com/auth" must be an absolute URL`},
		{"BASE_URL=https://shop.example.com/auth/", `"https://shop.example.com/auth/" ends with a slash: write it without`},
		{"BASE_URL=https://shop.example.com/", "ends with a slash"},
		{"BASE_URL=http://shop.example.com/auth", `"http://shop.example.com/auth" must be https: Microsoft takes plain http for localhost and 127.0.0.1 only`},
		{"BASE_URL=https://a.example.com,http://localhost.example.com", "must be https"},
		{"BASE_URL=http://[::1]:8080/auth", "must be an absolute URL of plain characters"},
		{"BASE_URL=https://user@shop.example.com/auth", "must be an absolute URL"},
		{"BASE_URL=https://shop.example.com/auth?x=1", "must be an absolute URL"},
		{"BASE_URL=https://shop.example.com/a b", "must be an absolute URL"},
		{"BASE_URL=https://shop.example.com/a/../b", "must have a plain path"},
		{"BASE_URL=https://shop.example.com/" + strings.Repeat("a", 250), "256 characters"},
		{"BASE_URL=-x", `BASE_URL: "-x" must be an absolute URL`},
		{"CREDENTIAL=", `CREDENTIAL is "": must be one of secret certificate federated none`},
		{"CREDENTIAL=secret certificate", "must be one of"},
		{"AUDIENCE=common", `AUDIENCE is "common": must be one of AzureADMyOrg`},
		{"GROUP_CLAIMS=yes", `GROUP_CLAIMS is "yes": must be one of SecurityGroup`},
		{"ROLES=Admin,Site Admin", `ROLES: "Site Admin" contains a space`},
		{"ROLES=.Admin", `ROLES: ".Admin" begins with a dot`},
		{`ROLES=Ad"min`, "Microsoft does not allow"},
		{"ROLES=Ädmin", "Microsoft does not allow"},
		{"SCOPES=", "SCOPES is empty"},
		{"SCOPES=User.Read Fils.Read", "Microsoft Graph has no delegated permission Fils.Read"},
		{"SCOPES=user.read", "no delegated permission user.read"},
		{"LATER_SCOPES=https://graph.microsoft.com/Files.Read", "is not the name of a permission"},
		{"SCOPES=-x'y", "is not the name of a permission"},
		{"CLAIMS=e-mail", `CLAIMS: "e-mail" is not the name of a claim`},
		{"CREDENTIAL=secret|SECRET_FILE=", "SECRET_FILE is empty"},
		{"CREDENTIAL=secret|SECRET_FILE=/", "is a directory"},
		{"CREDENTIAL=secret|SECRET_FILE=none/secret", "SECRET_FILE: there is no directory " + o.dir + "/none"},
		{"CREDENTIAL=secret|SECRET_DAYS=731", "must be a number from 1 to 730"},
		{"CREDENTIAL=secret|SECRET_DAYS=1+1", "must be a number"},
		{"CREDENTIAL=certificate", "CERTIFICATE is not set"},
		{"CREDENTIAL=certificate|CERTIFICATE=-none", "CERTIFICATE: cannot read " + o.dir + "/-none"},
		{"CREDENTIAL=certificate|CERTIFICATE=" + write(t, []byte("no certificate")), "has no certificate in PEM form"},
		{"CREDENTIAL=certificate|CERTIFICATE=" + ended, "has ended"},
		{"CREDENTIAL=certificate|CERTIFICATE=" + elliptic, "is not an RSA key"},
		{"CREDENTIAL=federated", "FEDERATED_ISSUER"},
		{"CREDENTIAL=federated|FEDERATED_ISSUER=http://x.example.com|FEDERATED_SUBJECT=x", "begins with https://"},
		{"CREDENTIAL=federated|FEDERATED_ISSUER=https://x.example.com", "FEDERATED_SUBJECT is not set"},
		{"CREDENTIAL=federated|FEDERATED_ISSUER=https://x.example.com|FEDERATED_SUBJECT=x|FEDERATED_NAME=a b", "FEDERATED_NAME"},
	} {
		t.Run(tt.settings, func(t *testing.T) {
			t.Parallel()
			r := o.run(shop(strings.Split(tt.settings, "|")...))
			line := lastLine(r.stderr)
			said := strings.Count(r.stderr, "\n")
			if strings.HasPrefix(r.stderr, "tenant ") {
				said--
			}
			if r.code != 1 || r.stdout != "" || said != 1 || !strings.HasPrefix(line, "register.sh: ") || !strings.Contains(line, tt.want) {
				t.Errorf("exit code %d, want a line with %q:\n%s%s", r.code, tt.want, r.stdout, r.stderr)
			}
			if len(r.changed) > 0 {
				t.Errorf("changes %q", r.changed)
			}
		})
	}
	t.Run("an unknown option", func(t *testing.T) {
		t.Parallel()
		if r := o.run(shop(), "--force"); r.code != 1 || !strings.HasPrefix(r.stderr, "register.sh: unknown option --force") {
			t.Error(r.code, r.stderr)
		}
	})
	t.Run("a new secret that is none", func(t *testing.T) {
		t.Parallel()
		if r := o.run(shop(), "--new-secret"); r.code != 1 || r.stderr != "register.sh: --new-secret needs CREDENTIAL=secret\n" {
			t.Error(r.code, r.stderr)
		}
	})
	t.Run("az is not signed in", func(t *testing.T) {
		t.Parallel()
		if r := signedOut(t).run(shop()); r.code != 1 || r.stderr != "register.sh: az is not signed in: run az login --allow-no-subscriptions\n" {
			t.Error(r.code, r.stderr)
		}
	})
	for _, tool := range []string{"az", "jq", "openssl"} {
		t.Run("without "+tool, func(t *testing.T) {
			t.Parallel()
			o := signedOut(t)
			bin := t.TempDir()
			for _, name := range []string{"bash", "sed", "tr", "rm", "cat", "mktemp", "dirname", "head", "jq", "openssl", "grep", "sleep"} {
				if path, err := exec.LookPath(name); name != tool && (err != nil || os.Symlink(path, filepath.Join(bin, name)) != nil) {
					t.Fatal(name, err)
				}
			}
			r := o.run(shop("PATH="+bin, "ROLES=Admin"))
			if r.code != 1 || !strings.HasPrefix(r.stderr, "register.sh: "+tool+" is missing: ") || strings.Count(r.stderr, "\n") != 1 {
				t.Error(r.code, r.stderr)
			}
		})
	}
}

// Microsoft's own refusals are one line too.
func TestRefusalsOfMicrosoft(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	settings := shop("CREDENTIAL=secret")
	o.must(settings)
	o.must(settings, "--new-secret")
	r := o.run(settings, "--new-secret")
	if last := lastLine(r.stderr); r.code != 1 || !strings.HasPrefix(last, "register.sh: Microsoft Graph: POST applications/") || !strings.HasSuffix(last, "/addPassword: Request_BadRequest: The maximum number of passwords is 2.") {
		t.Errorf("exit code %d: %s", r.code, last)
	}
	if entries, err := os.ReadDir(o.dir); err != nil || len(entries) != 1 {
		t.Errorf("files %v, %v", entries, err)
	}
}

// The commands of docs/register/README.md, in their order.
func TestCommandsOfTheDocumentation(t *testing.T) {
	t.Parallel()
	docs := filepath.Dir(filepath.Dir(script(t)))
	text, err := os.ReadFile(filepath.Join(docs, "register", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var commands strings.Builder
	blocks := regexp.MustCompile("(?ms)^```sh\n(.*?)^```").FindAllStringSubmatch(string(text), -1)
	for _, block := range blocks {
		commands.WriteString(block[1])
	}
	o := newOperator(t)
	if err := os.Symlink(docs, filepath.Join(o.dir, "docs")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", "-euc", commands.String())
	cmd.Dir, cmd.Env = o.dir, o.env
	if out, err := cmd.CombinedOutput(); err != nil || len(blocks) != 3 {
		t.Fatalf("%d blocks: %v\n%s", len(blocks), err, out)
	}
	app := o.app()
	want(t, "credentials", []int{len(app["passwordCredentials"].([]any)), len(app["keyCredentials"].([]any)), len(o.now().federated[app["id"].(string)])}, []int{1, 1, 1})
	want(t, "roles", of(app["appRoles"], "value"), []string{"Admin"})
	env, err := os.ReadFile(filepath.Join(o.dir, "app.env"))
	if err != nil {
		t.Fatal(err)
	}
	set := o.environment(result{stdout: string(env)})
	want(t, "environment", []string{set["AZURE_CLIENT_ID"], set["MSAUTH_SCOPES"]}, []string{fmt.Sprint(app["appId"]), "User.Read Files.Read"})
}

func TestHelpNamesEverySetting(t *testing.T) {
	t.Parallel()
	o := signedOut(t)
	r := o.must(nil, "--help")
	source, err := os.ReadFile(script(t))
	if err != nil {
		t.Fatal(err)
	}
	settings := 0
	for line := range strings.SplitSeq(string(source), "\n") {
		if name, rest, ok := strings.Cut(line, "=${"); ok && strings.HasPrefix(rest, name+"-") {
			settings++
			if _, meaning, _ := strings.Cut(line, "# "); meaning == "" || !strings.Contains(r.stdout, "\n  "+name+" ") || !strings.Contains(r.stdout, meaning) {
				t.Errorf("%s is not in\n%s", name, r.stdout)
			}
		}
	}
	if settings < 15 {
		t.Errorf("%d settings", settings)
	}
}

// Every shell script of the repository is as shellcheck wants it.
func TestShellScripts(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("shellcheck"); err != nil {
		t.Fatal("shellcheck is missing: scripts/setup installs it")
	}
	var scripts []string
	if err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git") {
			return cmp.Or(err, fs.SkipDir)
		}
		if !d.Type().IsRegular() {
			return nil
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		begin := make([]byte, 64)
		n, _ := file.Read(begin)
		if line, _, _ := strings.Cut(string(begin[:n]), "\n"); strings.HasPrefix(line, "#!") && strings.HasSuffix(line, "sh") {
			scripts = append(scripts, path)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, known := range []string{"../../.ci/run", "../../scripts/setup", "../../docs/register/register.sh"} {
		if !slices.Contains(scripts, known) {
			t.Errorf("%s is not among %q", known, scripts)
		}
	}
	if out, err := exec.Command("shellcheck", scripts...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
