package register_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The script runs az from its PATH. That is either the real one (make register; it is
// too large to be installed for every test run), or this test binary under the name az,
// which does what the script needs of it: it takes the same arguments, sends the same
// requests, and fails with the same texts. All tests run with both.
var realAz = os.Getenv("MSAUTH_TEST_AZ") != ""

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "az" {
		if err := smallAz(os.Args[1:], os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "ERROR: "+err.Error())
			os.Exit(1)
		}
		return
	}
	for _, tool := range []string{"bash", "jq", "openssl"} {
		if _, err := exec.LookPath(tool); err != nil {
			fmt.Fprintf(os.Stderr, "%s is missing: scripts/setup installs it\n", tool)
			os.Exit(1)
		}
	}
	if _, err := exec.LookPath("az"); realAz && err != nil {
		fmt.Fprintln(os.Stderr, "az is missing: scripts/setup azure-cli installs it")
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// smallAz is "az account show", "az cloud show" and "az rest".
func smallAz(args []string, out io.Writer) error {
	at := global
	if os.Getenv("SMALL_AZ_CLOUD") == usGov.name {
		at = usGov
	}
	if len(args) < 2 || args[0] != "rest" && args[1] != "show" {
		return fmt.Errorf("'%s' is misspelled or not recognized by the system.", strings.Join(args, " "))
	}
	words := 1
	if args[0] != "rest" {
		words = 2
	}
	set := map[string]string{}
	for flags := args[words:]; len(flags) > 0; {
		switch flags[0] {
		case "--only-show-errors":
			flags = flags[1:]
			continue
		case "--method", "--url", "--headers", "--body", "--output":
			if len(flags) > 1 && !strings.HasPrefix(flags[1], "-") {
				set[flags[0]], flags = flags[1], flags[2:]
				continue
			}
		}
		return errors.New("unrecognized arguments: " + flags[0])
	}
	print := func(v any) error {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(v)
	}
	switch strings.Join(args[:words], " ") {
	case "account show":
		if os.Getenv("SMALL_AZ_CLOUD") == "" {
			return errors.New("Please run 'az login' to setup account.")
		}
		return print(object{"environmentName": at.name, "tenantId": tenantID, "user": object{"name": operatorID, "type": "servicePrincipal"}})
	case "cloud show":
		return print(object{"name": at.name, "endpoints": object{"activeDirectory": at.login, "microsoftGraphResourceId": at.graph + "/"}})
	}
	body := set["--body"]
	if name, ok := strings.CutPrefix(body, "@"); ok {
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		body = string(content)
	}
	req, err := http.NewRequest(set["--method"], set["--url"], strings.NewReader(body))
	if err != nil {
		return err
	}
	if name, value, ok := strings.Cut(set["--headers"], "="); ok {
		req.Header.Set(name, value)
	}
	req.Header.Set("Authorization", "Bearer "+accessToken)
	ca, err := os.ReadFile(os.Getenv("REQUESTS_CA_BUNDLE"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: roots}}}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode >= 400 {
		return fmt.Errorf("%s(%s)", http.StatusText(res.StatusCode), text)
	}
	if len(text) == 0 {
		return nil
	}
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		return err
	}
	return print(v)
}

// An operator has a shell in which az is signed in, and an empty directory.
type operator struct {
	*testing.T
	*microsoft
	dir string
	env []string
}

func script(t *testing.T) string {
	path, err := filepath.Abs("../../docs/register/register.sh")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func newOperator(t *testing.T) *operator { return operatorAt(t, global) }

func operatorAt(t *testing.T, at cloud) *operator {
	o := signedOut(t)
	if !realAz {
		o.env = append(o.env, "SMALL_AZ_CLOUD="+at.name)
		return o
	}
	az := func(args ...string) {
		cmd := exec.Command("az", append(args, "--only-show-errors")...)
		cmd.Env, cmd.Dir = o.env, o.dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("az %s: %v\n%s", args, err, out)
		}
	}
	if at != global {
		az("cloud", "set", "--name", at.name)
	}
	az("login", "--service-principal", "--username", operatorID, "--password", operatorProof, "--tenant", tenantID, "--allow-no-subscriptions")
	return o
}

// signedOut is an operator who has not run az login.
func signedOut(t *testing.T) *operator {
	o := &operator{T: t, microsoft: newMicrosoft(t), dir: t.TempDir()}
	bin := t.TempDir()
	az, err := os.Executable()
	if realAz {
		az, err = exec.LookPath("az")
	}
	if err == nil {
		err = os.Symlink(az, filepath.Join(bin, "az"))
	}
	if err != nil {
		t.Fatal(err)
	}
	o.env = []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "AZURE_CONFIG_DIR=" + t.TempDir(), "TMPDIR=" + t.TempDir(),
		"HTTPS_PROXY=" + o.proxy, "REQUESTS_CA_BUNDLE=" + o.caFile, "AZURE_CORE_COLLECT_TELEMETRY=no", "GORACE=atexit_sleep_ms=0", "REGISTER_PAUSE=0.1"}
	return o
}

type result struct {
	stdout, stderr string
	code           int
	changed        []string // the write requests
}

// command is the script with settings and options.
func (o *operator) command(settings []string, options ...string) *exec.Cmd {
	cmd := exec.Command("bash", append([]string{script(o.T)}, options...)...)
	cmd.Dir, cmd.Env = o.dir, append(append([]string{}, o.env...), settings...)
	return cmd
}

func (o *operator) run(settings []string, options ...string) result {
	o.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := o.command(settings, options...)
	timed := exec.CommandContext(ctx, cmd.Path, cmd.Args[1:]...)
	timed.Dir, timed.Env = cmd.Dir, cmd.Env
	var stdout, stderr bytes.Buffer
	timed.Stdout, timed.Stderr = &stdout, &stderr
	before := len(o.now().writes)
	err := timed.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		o.Fatal(err)
	}
	r := result{stdout: stdout.String(), stderr: stderr.String(), code: timed.ProcessState.ExitCode()}
	for _, w := range o.now().writes[before:] {
		r.changed = append(r.changed, w.String())
	}
	return r
}

// must is a run that succeeds.
func (o *operator) must(settings []string, options ...string) result {
	o.Helper()
	r := o.run(settings, options...)
	if r.code != 0 {
		o.Fatalf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	return r
}
