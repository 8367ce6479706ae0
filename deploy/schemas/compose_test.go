package schemas

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"

	"example.com/msauth/deploy/internal/material"
)

// compose loads compose.yaml as "docker compose" does, with .env.example as .env.
func compose(t *testing.T, profiles ...string) *types.Project {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join(root, "deploy/compose"))
	if err != nil {
		t.Fatal(err)
	}
	options, err := cli.NewProjectOptions([]string{filepath.Join(dir, "compose.yaml")},
		cli.WithWorkingDirectory(dir), cli.WithEnvFiles(filepath.Join(dir, ".env.example")), cli.WithDotEnv, cli.WithProfiles(profiles))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return project
}

// Without an .env that says where, nothing can be reached from the network, and there is
// no stand-in.
func TestComposeDefaults(t *testing.T) {
	t.Parallel()
	dir, err := filepath.Abs(filepath.Join(root, "deploy/compose"))
	if err != nil {
		t.Fatal(err)
	}
	options, err := cli.NewProjectOptions([]string{filepath.Join(dir, "compose.yaml")},
		cli.WithWorkingDirectory(dir), cli.WithEnv([]string{"AZURE_CLIENT_ID=id", "SITE_URL=https://site.example"}))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range project.Services {
		if name == "stand-in" {
			t.Error("the stand-in runs")
		}
		for _, port := range s.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s: port %s can be reached from the network", name, port.Published)
			}
		}
	}
	if authority := project.Services["app1"].Environment["AZURE_AUTHORITY_HOST"]; authority == nil || *authority != "" {
		t.Errorf("the authority is %v", authority)
	}
}

// What shuts a server down must fit into what it is given for that.
const (
	requestTime = 10 * time.Second // of webapp.Serve
	closeTime   = 20 * time.Second
)

// The times above are those of the program.
func TestTimesOfServe(t *testing.T) {
	t.Parallel()
	source := read(t, "example/internal/webapp/webapp.go")
	for name, want := range map[string]time.Duration{"requestTime": requestTime, "closeTime": closeTime} {
		m := regexp.MustCompile(name + ` += (\d+) \* time\.Second`).FindStringSubmatch(source)
		if m == nil || m[1]+"s" != want.String() {
			t.Errorf("%s is %q in webapp.go, want %v", name, m, want)
		}
	}
}

// The file is one of Docker Compose, nothing in it can do more than it must, and its
// parts fit each other.
func TestCompose(t *testing.T) {
	t.Parallel()
	project := compose(t, "stand-in")
	if got, want := project.ServiceNames(), []string{"app1", "app2", "app3", "nginx", "redis", "stand-in"}; !slices.Equal(got, want) {
		t.Fatalf("services %q, want %q", got, want)
	}
	without := compose(t)
	if _, ok := without.Services["stand-in"]; ok {
		t.Error("the stand-in is there without its profile")
	}
	secrets := t.TempDir()
	made, err := material.Write(secrets, "localhost")
	if err != nil {
		t.Fatal(err)
	}
	for name, secret := range project.Secrets {
		if file := filepath.Base(secret.File); filepath.Base(filepath.Dir(secret.File)) != "secrets" || !slices.Contains(made, file) {
			t.Errorf("secret %s is %s, which prepare does not make", name, secret.File)
		}
	}
	for name, s := range project.Services {
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Equal(s.SecurityOpt, []string{"no-new-privileges:true"}) || s.Privileged {
			t.Errorf("%s can do more than it must", name)
		}
		if s.Build == nil && (s.User == "" || strings.HasPrefix(s.User, "0") || strings.HasPrefix(s.User, "root")) {
			t.Errorf("%s is the user %q", name, s.User)
		}
		if s.Build != nil {
			if context, _ := filepath.Abs(root); s.Build.Context != context || s.Build.Dockerfile != "deploy/Dockerfile" {
				t.Errorf("%s is built in %s by %s", name, s.Build.Context, s.Build.Dockerfile)
			}
		}
		for _, port := range s.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s: port %s can be reached from the network", name, port.Published)
			}
		}
		if s.MemLimit == 0 {
			t.Errorf("%s may take all memory", name)
		}
		for _, dir := range s.Tmpfs {
			if !strings.Contains(dir, ",size=") {
				t.Errorf("%s: %s may take half of the memory", name, dir)
			}
		}
		for _, v := range s.Volumes {
			if !v.ReadOnly {
				t.Errorf("%s can write to %s", name, v.Source)
			}
			if strings.HasSuffix(v.Source, "/secrets/keys") && v.Target == "/run/keys" {
				continue // a directory, which prepare makes
			}
			if info, err := os.Stat(v.Source); err != nil || info.IsDir() {
				t.Errorf("%s: %s: %v", name, v.Source, err)
			}
		}
		for _, arg := range slices.Concat(s.Command, s.Entrypoint) { // ps shows it
			if regexp.MustCompile(`(?i)(secret|pass(word)?|key)=|requirepass|masterauth`).MatchString(arg) {
				t.Errorf("%s: a secret is in the command: %s", name, arg)
			}
		}
		for variable, value := range s.Environment {
			if value == nil {
				t.Errorf("%s: %s comes from nowhere", name, variable)
			} else if regexp.MustCompile(`(SECRET|PASSWORD|KEYS)$`).MatchString(variable) {
				t.Errorf("%s: the secret %s is in the environment", name, variable)
			} else if file, ok := strings.CutPrefix(*value, "/run/secrets/"); ok && !slices.ContainsFunc(s.Secrets, func(c types.ServiceSecretConfig) bool { return c.Source == file }) {
				t.Errorf("%s: %s is %s, which is not mounted", name, variable, *value)
			}
		}
	}
	targets := map[string]bool{}
	stages, _ := dockerfile(t, read(t, "deploy/Dockerfile"))
	for _, s := range stages {
		targets[s.Name] = true
	}
	upstreams := read(t, "deploy/compose/upstreams.conf")
	failTime := duration(t, regexp.MustCompile(`fail_timeout=(\S+);`).FindStringSubmatch(upstreams)[1])
	for i := range 3 {
		app := project.Services[fmt.Sprintf("app%d", i+1)]
		delay := duration(t, *app.Environment["SHUTDOWN_DELAY"])
		if app.StopGracePeriod == nil || time.Duration(*app.StopGracePeriod) < delay+requestTime+closeTime+5*time.Second {
			t.Errorf("%s: stop_grace_period %v", app.Name, app.StopGracePeriod)
		}
		if delay <= failTime {
			t.Errorf("SHUTDOWN_DELAY %v, fail_timeout %v: a server may end while nginx leaves out the one before", delay, failTime)
		}
		if !targets[app.Build.Target] || *app.Build.Args["VERSION"] == "" {
			t.Errorf("%s is made from %q", app.Name, app.Build.Target)
		}
		if address := app.Networks["site"].Ipv4Address; !strings.Contains(upstreams, "server "+address+":8080 fail_timeout=") {
			t.Errorf("%s has the address %s, which nginx does not ask:\n%s", app.Name, address, upstreams)
		}
		if name := *app.Environment["INSTANCE"]; name != app.Name {
			t.Errorf("%s is called %s", app.Name, name)
		}
	}
	// Nobody takes a fixed address while its server is being made anew.
	for name, network := range project.Networks {
		if len(network.Ipam.Config) != 1 {
			t.Fatalf("network %s: %+v", name, network.Ipam)
		}
		config := network.Ipam.Config[0]
		subnet, err := netip.ParsePrefix(config.Subnet)
		if err != nil {
			t.Fatalf("network %s: subnet: %v", name, err)
		}
		others, err := netip.ParsePrefix(config.IPRange)
		if err != nil {
			t.Fatalf("network %s: ip_range: %v", name, err)
		}
		if !subnet.Overlaps(others) || subnet.Bits() >= others.Bits() {
			t.Errorf("network %s: addresses %v of %v", name, others, subnet)
		}
		for _, s := range project.Services {
			if to := s.Networks[name]; to != nil && to.Ipv4Address != "" {
				if address := netip.MustParseAddr(to.Ipv4Address); !subnet.Contains(address) || others.Contains(address) {
					t.Errorf("%s: %v can be given to others, or is not of the network", s.Name, address)
				}
			}
		}
	}
	standIn := project.Services["stand-in"]
	host := "stand-in.localhost=" + standIn.Networks["site"].Ipv4Address
	if got := strings.Join(project.Services["app1"].ExtraHosts.AsList("="), " "); got != host {
		t.Errorf("servers know %q, want %q", got, host)
	}
	if got := *project.Services["app1"].Environment["AZURE_CLIENT_ID"]; !slices.Contains(standIn.Command, "-client-id="+got) {
		t.Errorf("the stand-in is called as %q, and the app's client id is %q", standIn.Command, got)
	}
	if !targets[standIn.Build.Target] {
		t.Errorf("the stand-in is made from %q", standIn.Build.Target)
	}
	if signal := project.Services["nginx"].StopSignal; signal != "SIGQUIT" {
		t.Errorf("nginx gets %s, and breaks requests off", signal)
	}
	// nginx lets a request finish that a server may answer for a minute.
	timeout := duration(t, regexp.MustCompile(`proxy_read_timeout (\d+s)`).FindStringSubmatch(read(t, "deploy/nginx/site.conf"))[1])
	if grace := project.Services["nginx"].StopGracePeriod; time.Duration(*grace) < timeout {
		t.Errorf("nginx has %v to finish, and %v for a request", *grace, timeout)
	}
}

func duration(t *testing.T, text string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// nginx, as the user of its container and with a read-only root, accepts the files that
// compose.yaml mounts.
func TestComposeNginx(t *testing.T) {
	t.Parallel()
	secrets := t.TempDir()
	if _, err := material.Write(secrets, "localhost"); err != nil {
		t.Fatal(err)
	}
	service := compose(t).Services["nginx"]
	uid, gid, _ := strings.Cut(service.User, ":")
	wrap := []string{"--unshare-user", "--uid", uid, "--gid", gid, "--cap-drop", "ALL", "--die-with-parent",
		"--ro-bind", "/usr", "/usr", "--ro-bind", "/lib", "/lib", "--proc", "/proc", "--dev", "/dev",
		"--dir", "/var/log/nginx", "--dir", "/var/lib/nginx"}
	if _, err := os.Stat("/lib64"); err == nil {
		wrap = append(wrap, "--ro-bind", "/lib64", "/lib64")
	}
	for _, dir := range service.Tmpfs {
		wrap = append(wrap, "--tmpfs", strings.Split(dir, ":")[0])
	}
	for _, v := range service.Volumes {
		wrap = append(wrap, "--ro-bind", v.Source, v.Target)
	}
	for _, s := range service.Secrets {
		file := filepath.Base(compose(t).Secrets[s.Source].File)
		wrap = append(wrap, "--ro-bind", filepath.Join(secrets, file), s.Target)
	}
	entrypoint := service.Entrypoint
	if entrypoint[0] != "nginx" {
		t.Fatalf("it runs %q", entrypoint)
	}
	// As its entrypoint, plus -t.
	args := append(append(wrap, "--remount-ro", "/", "--", program(t, "nginx")), entrypoint[1:]...)
	if out, err := exec.Command(program(t, "bwrap"), append(args, "-t")...).CombinedOutput(); err != nil || !strings.Contains(string(out), "test is successful") {
		t.Errorf("%v\n%s", err, out)
	}
}

// What is said about header sizes in docs/proxies.md is in site.conf.
func TestHeaderSizes(t *testing.T) {
	t.Parallel()
	size := regexp.MustCompile("\\| 3300 \\(default\\) \\| `(proxy_buffer_size \\S+;)` \\|").FindStringSubmatch(read(t, "docs/proxies.md"))
	if size == nil {
		t.Fatal("docs/proxies.md does not say what the default needs")
	}
	if conf := read(t, "deploy/nginx/site.conf"); !strings.Contains(conf, size[1]) || !strings.Contains(conf, "proxy_set_header Host $http_host;") {
		t.Errorf("site.conf lacks %q, or the Host", size[1])
	}
	annotations := read(t, "deploy/kubernetes/ingress.yaml")
	value := strings.TrimSuffix(strings.Fields(size[1])[1], ";")
	for _, name := range []string{"nginx.org/proxy-buffer-size: ", "nginx.ingress.kubernetes.io/proxy-buffer-size: "} {
		if !strings.Contains(annotations, name+value+"\n") {
			t.Errorf("ingress.yaml lacks %s%s", name, value)
		}
	}
}
