package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

const configuration = "../../../docs/register/terraform"

var plugins string // the directory of the built provider

func TestMain(m *testing.M) {
	if _, err := exec.LookPath("terraform"); err != nil {
		fmt.Fprintln(os.Stderr, "terraform is missing: install it from https://developer.hashicorp.com/terraform/install (tried with 1.11.4)")
		os.Exit(1)
	}
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "azuread")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		plugins = dir
		if out, err := exec.Command("go", "build", "-o", filepath.Join(dir, "terraform-provider-azuread"), ".").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// A workspace has the configuration, its variables, and a state.
type workspace struct {
	*testing.T
	dir  string
	vars map[string]any
}

func newWorkspace(t *testing.T) *workspace {
	w := &workspace{t, t.TempDir(), map[string]any{"app_name": `O'Brien & "Sons" ${x}`, "base_urls": []string{"https://shop.example.com/auth", "http://localhost:8080/auth"}}}
	if err := os.CopyFS(w.dir, os.DirFS(configuration)); err != nil {
		t.Fatal(err)
	}
	w.write("terraform.rc", fmt.Sprintf("provider_installation {\n  dev_overrides {\n    %q = %q\n  }\n}\n", "hashicorp/azuread", plugins))
	return w
}

func (w *workspace) write(name, content string) string {
	w.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		w.Fatal(err)
	}
	return path
}

func (w *workspace) terraform(args ...string) (output string, code int) {
	w.Helper()
	vars, err := json.Marshal(w.vars)
	if err != nil {
		w.Fatal(err)
	}
	w.write("terraform.tfvars.json", string(vars))
	cmd := exec.Command("terraform", args...)
	cmd.Dir = w.dir
	cmd.Env = append(os.Environ(), "TF_CLI_CONFIG_FILE="+filepath.Join(w.dir, "terraform.rc"), "CHECKPOINT_DISABLE=1", "TF_IN_AUTOMATION=1")
	out, err := cmd.CombinedOutput()
	if _, exit := err.(*exec.ExitError); err != nil && !exit {
		w.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func (w *workspace) must(args ...string) string {
	w.Helper()
	out, code := w.terraform(args...)
	if code != 0 {
		w.Fatalf("terraform %s: exit code %d\n%s", args, code, out)
	}
	return out
}

// plan returns what would be done to each resource, and the application as it would be.
func (w *workspace) plan() (actions []string, app map[string]any) {
	w.Helper()
	w.must("plan", "-no-color", "-input=false", "-out=plan")
	text := w.must("show", "-json", "plan")
	var plan struct {
		Changes []struct {
			Address string
			Change  struct {
				Actions []string
				After   map[string]any
			}
		} `json:"resource_changes"`
	}
	if err := json.Unmarshal([]byte(text[strings.Index(text, "{"):]), &plan); err != nil {
		w.Fatal(err)
	}
	for _, c := range plan.Changes {
		if c.Address == "azuread_application.app" {
			app = c.Change.After
		}
		if action := strings.Join(c.Change.Actions, "+"); action != "no-op" {
			actions = append(actions, action+" "+c.Address)
		}
	}
	return actions, app
}

func (w *workspace) want(what string, got, want any) {
	w.Helper()
	if !reflect.DeepEqual(got, want) {
		w.Errorf("%s: %q, want %q", what, got, want)
	}
}

func TestConfigurationIsFormattedAndValid(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t)
	if out, err := exec.Command("terraform", "fmt", "-check", "-diff", configuration).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	w.must("validate", "-no-color")
}

func TestApply(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t)
	cert := w.write("cert.pem", certificate(t))
	w.vars["roles"], w.vars["admin_consent"], w.vars["group_claims"] = []string{"Admin", "Editor"}, true, "ApplicationGroup"
	w.vars["scopes"], w.vars["later_scopes"] = []string{"User.Read", "Files.Read"}, []string{"Calendars.Read"}
	w.vars["certificates"] = map[string]any{"2026": map[string]string{"file": cert, "end": "2027-01-01T00:00:00Z"}}
	w.vars["federated"] = map[string]any{"shop-in-kubernetes": map[string]string{"issuer": "https://oidc.example.com/", "subject": "system:serviceaccount:shop:web"}}
	actions, app := w.plan()
	w.want("actions", actions, []string{"create azuread_application.app", "create azuread_application_certificate.app[\"2026\"]",
		"create azuread_application_federated_identity_credential.app[\"shop-in-kubernetes\"]", "create azuread_service_principal.app",
		"create azuread_service_principal_delegated_permission_grant.graph[0]"})
	web := app["web"].([]any)[0].(map[string]any)
	w.want("name", app["display_name"], w.vars["app_name"])
	w.want("front-channel logout URL", web["logout_url"], any("https://shop.example.com/auth/front-channel-logout"))
	w.want("redirect URIs", fmt.Sprint(web["redirect_uris"]), "[http://localhost:8080/auth/callback http://localhost:8080/auth/signed-out https://shop.example.com/auth/callback https://shop.example.com/auth/signed-out]")
	var claims []string
	for _, c := range app["optional_claims"].([]any)[0].(map[string]any)["id_token"].([]any) {
		claims = append(claims, c.(map[string]any)["name"].(string))
	}
	w.want("claims", claims, []string{"email", "login_hint", "sid", "auth_time", "xms_edov", "groups"})
	// The IDs are those of the script: tests/register has the same.
	ids := map[any]any{}
	for _, r := range app["app_role"].([]any) {
		ids[r.(map[string]any)["value"]] = r.(map[string]any)["id"]
	}
	w.want("roles", ids, map[any]any{"Admin": "e5b2b819-7494-5d41-8d2c-0ad15fb6d7eb", "Editor": "d0b46eb9-06fb-5b7a-99d7-5210f38bd537"})
	w.want("permissions", len(app["required_resource_access"].([]any)[0].(map[string]any)["resource_access"].([]any)), 7)
	w.must("apply", "-input=false", "plan")

	if out, code := w.terraform("plan", "-no-color", "-input=false", "-detailed-exitcode"); code != 0 {
		t.Errorf("a second run would change something:\n%s", out)
	}
	for _, change := range []struct {
		name  string
		value any
		want  string
	}{
		{"app_name", "The shop", "update azuread_application.app"},
		{"base_urls", []string{"https://shop.example.org/auth"}, "update azuread_application.app"},
		{"roles", []string{"Admin"}, "update azuread_application.app"},
		{"federated", map[string]any{}, "delete azuread_application_federated_identity_credential.app[\"shop-in-kubernetes\"]"},
		{"admin_consent", false, "delete azuread_service_principal_delegated_permission_grant.graph[0]"},
	} {
		old := w.vars[change.name]
		w.vars[change.name] = change.value
		actions, _ := w.plan()
		w.want(change.name, actions, []string{change.want})
		w.vars[change.name] = old
	}
	environment := w.must("output", "-raw", "environment")
	if !strings.Contains(environment, "AZURE_TENANT_ID=common\n") || !strings.Contains(environment, `MSAUTH_BASE_URL=https://shop.example.com/auth MSAUTH_SCOPES="User.Read Files.Read"`) {
		t.Error(environment)
	}
}

func certificate(t *testing.T) string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t)
	withKey := w.write("app.pem", certificate(t)+"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
	none := w.write("none.pem", "nothing")
	one := func(file string) any {
		return map[string]any{"one": map[string]string{"file": file, "end": "2027-01-01T00:00:00Z"}}
	}
	for _, tt := range []struct {
		name  string
		value any
		want  string
	}{
		{"app_name", "", "app_name must have 1 to 120 characters"},
		{"app_name", "two\nlines", "and no line break"},
		{"base_urls", []string{}, "base_urls is empty"},
		{"base_urls", []string{"https://shop.example.com/auth/"}, "without a slash at the end"},
		{"base_urls", []string{"http://shop.example.com/auth"}, "takes plain http for localhost and 127.0.0.1 only"},
		{"base_urls", []string{"http://localhost.example.com"}, "takes plain http for localhost and 127.0.0.1 only"},
		{"base_urls", []string{"https://shop.example.com/a/../b"}, "absolute URLs of plain characters"},
		{"base_urls", []string{"https://shop.example.com/auth?x"}, "absolute URLs of plain characters"},
		{"audience", "common", "audience must be AzureADMyOrg"},
		{"roles", []string{"Site Admin"}, "no space"},
		{"roles", []string{".Admin"}, "no dot in front"},
		{"group_claims", "yes", "group_claims must be SecurityGroup"},
		{"scopes", []string{"User.Read", "Fils.Read"}, "Microsoft Graph has no delegated permission Fils.Read"},
		{"certificates", one(withKey), "a file contains a private key"},
		{"certificates", one(none), "a file has no certificate in PEM form"},
		{"federated", map[string]any{"shop": map[string]string{"issuer": "http://x", "subject": "y"}}, "the issuer must begin with https://"},
		{"federated", map[string]any{"a b": map[string]string{"issuer": "https://x", "subject": "y"}}, "names must be 3 to 120 letters"},
	} {
		old, had := w.vars[tt.name]
		w.vars[tt.name] = tt.value
		out, code := w.terraform("plan", "-no-color", "-input=false")
		text := strings.Join(slices.DeleteFunc(strings.Fields(out), func(word string) bool { return word == "│" }), " ")
		if code == 0 || !strings.Contains(text, tt.want) {
			t.Errorf("%s %v: exit code %d, want %q\n%s", tt.name, tt.value, code, tt.want, out)
		}
		if delete(w.vars, tt.name); had {
			w.vars[tt.name] = old
		}
	}
}
