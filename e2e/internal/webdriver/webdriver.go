// Package webdriver starts WebKitGTK, the engine of Safari, for tests that need
// a few pages of it. It speaks W3C WebDriver to WebKitWebDriver.
package webdriver

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// patience is how long anything may take: other builds may share the machine.
const patience = 60 * time.Second

const install = "run scripts/setup, or install it with: apt-get install webkit2gtk-driver xvfb"

// A Browser is a process with an empty profile.
type Browser struct {
	t       testing.TB
	session string // its address
}

// Start starts a browser on a screen of its own. It believes every certificate.
func Start(t testing.TB) *Browser {
	t.Helper()
	for _, name := range []string{"WebKitWebDriver", "Xvfb"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Fatalf("%v: %s", err, install)
		}
	}
	home, err := os.MkdirTemp("", "msauth-webkit-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for range 50 { // its processes may still be writing
			if os.RemoveAll(home) == nil {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	})

	screen := exec.Command("Xvfb", "-displayfd", "3", "-screen", "0", "1280x1024x24", "-nolisten", "tcp")
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	screen.ExtraFiles = []*os.File{write}
	run(t, screen)
	write.Close()
	number, err := bufio.NewReader(read).ReadString('\n')
	if err != nil {
		t.Fatalf("Xvfb does not start: %v", err)
	}
	t.Cleanup(func() { read.Close() })

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	listener.Close()
	driver := exec.Command("WebKitWebDriver", "--host=127.0.0.1", "--port="+port)
	driver.Env = append(os.Environ(), "DISPLAY=:"+strings.TrimSpace(number), "HOME="+home, "XDG_RUNTIME_DIR="+home, "LANG=C.UTF-8",
		"XDG_CONFIG_HOME="+home, "XDG_CACHE_HOME="+home, "XDG_DATA_HOME="+home, "GDK_BACKEND=x11", "NO_AT_BRIDGE=1",
		"LIBGL_ALWAYS_SOFTWARE=1", "WEBKIT_DISABLE_COMPOSITING_MODE=1",
		"WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS=1", // there is none for root
		"http_proxy=", "https_proxy=", "HTTP_PROXY=", "HTTPS_PROXY=")
	run(t, driver)

	b := &Browser{t: t}
	address := "http://127.0.0.1:" + port
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		res, err := http.Get(address + "/status")
		if err == nil {
			res.Body.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("WebKitWebDriver does not answer: %v", err)
		}
	}
	var made struct{ SessionID string }
	b.session = address + "/session"
	if err := b.do(http.MethodPost, "", map[string]any{"capabilities": map[string]any{"alwaysMatch": map[string]any{"acceptInsecureCerts": true}}}, &made); err != nil {
		t.Fatalf("WebKit does not start: %v (is it complete? %s)", err, install)
	}
	b.session += "/" + made.SessionID
	t.Cleanup(func() { b.do(http.MethodDelete, "", nil, nil) })
	return b
}

// run starts a process that ends with the test.
func run(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: %s", err, install)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
}

// do sends one command.
func (b *Browser) do(method, command string, params, result any) error {
	var body io.Reader
	if method == http.MethodPost {
		if params == nil {
			params = struct{}{}
		}
		text, err := json.Marshal(params)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.session+command, body)
	if method == http.MethodDelete {
		req, err = http.NewRequest(method, b.session+command, nil) // the test is over
	}
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := (&http.Client{Timeout: patience}).Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer := struct{ Value json.RawMessage }{}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %.300s", res.Status, answer.Value)
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(answer.Value, result)
}

// Open goes to an address and waits until the page is loaded.
func (b *Browser) Open(address string) {
	b.t.Helper()
	if err := b.do(http.MethodPost, "/url", map[string]string{"url": address}, nil); err != nil {
		b.t.Fatalf("opening %s: %v", address, err)
	}
}

// Eval evaluates JavaScript in the page.
func Eval[T any](b *Browser, script string) T {
	b.t.Helper()
	v, err := eval[T](b, script)
	if err != nil {
		b.t.Fatalf("%.200s: %v", script, err)
	}
	return v
}

func eval[T any](b *Browser, script string) (v T, err error) {
	err = b.do(http.MethodPost, "/execute/sync", map[string]any{"script": "return (" + script + ")", "args": []any{}}, &v)
	return v, err
}

// Until waits for a JavaScript condition, across page loads.
func (b *Browser) Until(condition string) {
	b.t.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		var ok bool
		if ok, err = eval[bool](b, "!!("+condition+")"); err == nil && ok {
			return
		}
	}
	shown, _ := eval[string](b, `location.href + "\n" + document.body.innerText.slice(0, 500)`)
	b.t.Fatalf("waited in vain for %s (%v); the page is %s", condition, err, shown)
}

// At waits until an address is open and loaded.
func (b *Browser) At(address string) {
	b.t.Helper()
	b.Until(fmt.Sprintf("location.href === %q && document.readyState === 'complete'", address))
}

// Click clicks on what a selector finds, once it is there.
func (b *Browser) Click(selector string) {
	b.t.Helper()
	b.Until(fmt.Sprintf("document.readyState === 'complete' && document.querySelector(%q)", selector))
	found := map[string]string{}
	if err := b.do(http.MethodPost, "/element", map[string]string{"using": "css selector", "value": selector}, &found); err != nil {
		b.t.Fatalf("finding %s: %v", selector, err)
	}
	for _, id := range found {
		if err := b.do(http.MethodPost, "/element/"+id+"/click", nil, nil); err != nil {
			b.t.Fatalf("clicking %s: %v", selector, err)
		}
	}
}

// Text is that of what a selector finds, once it is there.
func (b *Browser) Text(selector string) string {
	b.t.Helper()
	b.Until(fmt.Sprintf("document.querySelector(%q)", selector))
	return Eval[string](b, fmt.Sprintf("document.querySelector(%q).innerText", selector))
}

// A Cookie is one that the browser would send to the page that is open.
type Cookie struct {
	Name, Value, Path, Domain, SameSite string
	Secure, HTTPOnly                    bool
}

// Cookies are those of the page that is open.
func (b *Browser) Cookies() (cookies []Cookie) {
	b.t.Helper()
	if err := b.do(http.MethodGet, "/cookie", nil, &cookies); err != nil {
		b.t.Fatal("reading cookies: ", err)
	}
	return cookies
}
