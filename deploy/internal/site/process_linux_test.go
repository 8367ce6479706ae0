package site

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// When this program is killed, nothing of what it has started goes on.
func TestKilled(t *testing.T) {
	if os.Getenv("SITE_KILLED") != "" { // this is the program
		s := &Site{log: &lines{out: io.Discard}}
		p, err := s.run("sleep", nil, nil, "/bin/sleep", "60")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("child", p.cmd.Process.Pid)
		select {}
	}
	t.Parallel()
	program := exec.Command(os.Args[0], "-test.run", "^TestKilled$")
	program.Env = append(os.Environ(), "SITE_KILLED=1")
	out, err := program.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	child := ""
	for text := bufio.NewScanner(out); child == "" && text.Scan(); {
		child, _ = strings.CutPrefix(text.Text(), "child ")
	}
	status := func() string {
		text, _ := os.ReadFile(filepath.Join("/proc", child, "comm"))
		return strings.TrimSpace(string(text))
	}
	if child == "" || status() != "sleep" {
		t.Errorf("the program %q is %q", child, status())
	}
	_ = program.Process.Kill()
	_ = program.Wait()
	for began := time.Now(); running(child); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			t.Fatal("what it has started goes on")
		}
	}
}

// running reports whether a process exists that has not ended.
func running(pid string) bool {
	text, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(text), ") ")
	return !strings.HasPrefix(state, "Z")
}
