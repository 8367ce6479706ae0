package schemas

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"example.com/msauth/deploy/internal/material"
)

// redisOf runs the command of a recipe as the user of its container and with a read-only
// root, and returns its address. Mounts are files by their path in the container.
func redisOf(t *testing.T, command []string, uid, gid string, mounts map[string]string) (address string) {
	t.Helper()
	if command[0] != "redis-server" {
		t.Fatalf("it runs %q", command)
	}
	wrap := []string{"--unshare-user", "--uid", uid, "--gid", gid, "--cap-drop", "ALL", "--die-with-parent",
		"--ro-bind", "/usr", "/usr", "--ro-bind", "/lib", "/lib", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"}
	if _, err := os.Stat("/lib64"); err == nil {
		wrap = append(wrap, "--ro-bind", "/lib64", "/lib64")
	}
	if _, err := os.Stat("/etc/ld.so.cache"); err == nil {
		wrap = append(wrap, "--ro-bind", "/etc/ld.so.cache", "/etc/ld.so.cache")
	}
	for inside, outside := range mounts {
		wrap = append(wrap, "--ro-bind", outside, inside)
	}
	port := freePort(t)
	args := append(append(wrap, "--remount-ro", "/", "--", program(t, "redis-server")), command[1:]...)
	args = append(args, "--port", port, "--bind", "127.0.0.1") // here not for everybody
	var out output
	cmd := exec.Command(program(t, "bwrap"), args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	address = "127.0.0.1:" + port
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			return address
		}
		if time.Since(began) > 20*time.Second {
			t.Fatalf("Redis does not start:\n%s", &out)
		}
	}
}

// ask returns the first line of the answer to the last of some commands.
func ask(t *testing.T, address string, commands ...string) (line string) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	answers := bufio.NewReader(conn)
	for _, command := range commands {
		fmt.Fprintf(conn, "%s\r\n", command)
		if line, err = answers.ReadString('\n'); err != nil {
			t.Fatalf("%q: %v", command, err)
		}
	}
	return strings.TrimSpace(line)
}

// The Redis of each recipe does nothing for those who have no password, and for the app
// what the app needs.
func TestRedis(t *testing.T) {
	t.Parallel()
	secrets := t.TempDir()
	if _, err := material.Write(secrets, "localhost"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(secrets, material.RedisPassword))
	if err != nil {
		t.Fatal(err)
	}
	login := "AUTH msauth " + strings.TrimSpace(string(text))
	users := filepath.Join(secrets, material.RedisUsers)

	recipes := map[string]string{} // addresses
	project := compose(t)
	service := project.Services["redis"]
	uid, gid, _ := strings.Cut(service.User, ":")
	mounts := map[string]string{}
	for _, v := range service.Volumes {
		mounts[v.Target] = v.Source
	}
	for _, s := range service.Secrets {
		mounts["/run/secrets/"+s.Source] = filepath.Join(secrets, filepath.Base(project.Secrets[s.Source].File))
	}
	recipes["compose"] = redisOf(t, service.Command, uid, gid, mounts)

	all := objects(t)
	spec := named(t, all, "redis", func(d *appsv1.Deployment) string { return d.Name }).Spec
	if spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType || *spec.Replicas != 1 {
		t.Errorf("%d of Redis, by %s: servers would ask one each", *spec.Replicas, spec.Strategy.Type)
	}
	config := filepath.Join(t.TempDir(), "redis.conf")
	settings := named(t, all, "redis", func(c *corev1.ConfigMap) string { return c.Name }).Data["redis.conf"]
	if err := os.WriteFile(config, []byte(settings), 0o644); err != nil {
		t.Fatal(err)
	}
	pod := spec.Template.Spec
	mounts = map[string]string{}
	for _, m := range pod.Containers[0].VolumeMounts {
		switch m.Name {
		case "config":
			mounts[m.MountPath+"/redis.conf"] = config
		case "users":
			mounts[m.MountPath+"/users.acl"] = users
		}
	}
	recipes["kubernetes"] = redisOf(t, pod.Containers[0].Command,
		fmt.Sprint(*pod.SecurityContext.RunAsUser), fmt.Sprint(*pod.SecurityContext.RunAsGroup), mounts)

	for recipe, address := range recipes {
		for _, tt := range []struct{ command, want string }{
			{"PING", "+PONG"},
			{"SET msauth:x 1", "+OK"},
			{"GET other", "-NOPERM"},
			{"SET other 1", "-NOPERM"},
			{"FLUSHALL", "-NOPERM"},
			{"KEYS *", "-NOPERM"},
			{"CONFIG GET *", "-NOPERM"},
			{"ACL WHOAMI", "-NOPERM"},
			{"SUBSCRIBE other", "-NOPERM"},
		} {
			if got := ask(t, address, tt.command); !strings.HasPrefix(got, "-NOAUTH") {
				t.Errorf("%s: without a password %s is answered by %s", recipe, tt.command, got)
			}
			if got := ask(t, address, login, tt.command); !strings.HasPrefix(got, tt.want) {
				t.Errorf("%s: the app's %s is answered by %s, want %s", recipe, tt.command, got, tt.want)
			}
		}
		if got := ask(t, address, login+"x", "PING"); !strings.HasPrefix(got, "-NOAUTH") {
			t.Errorf("%s: with a wrong password: %s", recipe, got)
		}
	}
}
