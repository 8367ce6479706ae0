//go:build unix

// Package deploy_test opens in Chromium what "go run ./deploy/local" starts.
package deploy_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"example.com/msauth/e2e/internal/chrome"
	"example.com/msauth/tests/testsite"
)

var addresses = regexp.MustCompile(`(?s)The site +(\S+)\nTrust its CA +(\S+)\n.*Ctrl-C ends`)

// A person who trusts the CA, as the command says, signs in with a click on an account,
// is known at every server, and signs out.
func TestSigningIn(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "local")
	build := exec.Command("go", "build", "-o", program, "./deploy/local")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var out testsite.LogBuffer
	local := exec.Command(program, "-port", "0")
	local.Dir, local.Stdout, local.Stderr = "../..", &out, &out
	if err := local.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- local.Wait() }()
	t.Cleanup(func() {
		_ = local.Process.Signal(syscall.SIGINT)
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("%v\n%s", err, out.String())
			}
		case <-time.After(time.Minute):
			_ = local.Process.Kill()
			t.Error("it does not end")
		}
	})
	var found []string
	for began := time.Now(); found == nil; found = addresses.FindStringSubmatch(out.String()) {
		if time.Sleep(50 * time.Millisecond); time.Since(began) > 4*time.Minute {
			t.Fatalf("it does not start:\n%s", out.String())
		}
	}
	ca, err := os.ReadFile(found[2])
	if err != nil {
		t.Fatal(err)
	}
	browser, _ := chrome.Trusting(t, t.TempDir(), ca, chrome.SharedProcesses)
	ctx, cancel := context.WithTimeout(browser, time.Minute)
	defer cancel()
	do := func(steps ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		if err := chromedp.Do(ctx, steps...); err != nil {
			t.Fatal(err)
		}
	}
	text := func(id string) string {
		t.Helper()
		text, err := chromedp.Run(ctx, chromedp.Text(chromedp.CSS("#"+id)))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	do(chromedp.Navigate(found[1]+"/me"), chromedp.Click(chromedp.CSS(`button[value="ada@contoso.example"]`)),
		chromedp.WaitVisible(chromedp.CSS("#person")))
	address, err := chromedp.Run(ctx, chromedp.Location())
	if person := text("person"); err != nil || person != "Ada Lindqvist" || address != found[1]+"/me" {
		t.Errorf("%q at %s, %v", person, address, err)
	}
	answered := map[string]bool{}
	for range 20 {
		do(chromedp.Navigate(found[1]+"/me"), chromedp.WaitVisible(chromedp.CSS("#person")))
		if answered[text("instance")] = true; len(answered) == 3 {
			break
		}
	}
	if len(answered) != 3 {
		t.Errorf("only %v have answered", answered)
	}
	do(chromedp.Click(chromedp.CSS("#sign-out")), chromedp.WaitNotPresent(chromedp.CSS("#sign-out")),
		chromedp.Navigate(found[1]+"/"), chromedp.WaitVisible(chromedp.CSS("#nobody")))
	if page := text("nobody"); !strings.Contains(page, "Nobody is signed in") {
		t.Errorf("after signing out: %q", page)
	}
}
