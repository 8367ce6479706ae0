package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"example.com/msauth/example/internal/webapp"
)

// Three questions of whoever runs the server. None is about Redis, and only the first
// minutes are about Microsoft: if these fail they do so for all servers, which serve
// the people who are signed in nevertheless. auth.Ready is for an alert too, and
// auth.Stats are.

// healthz says that the process answers: if it does not, restart it (a liveness
// probe).
func healthz(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") }

// readyz says whether to send requests here: not when the server is about to stop (a
// readiness probe, or the check of a load balancer).
func (a *app) readyz(w http.ResponseWriter, _ *http.Request) {
	select {
	case <-a.stopping:
		http.Error(w, "stopping", http.StatusServiceUnavailable)
	default:
		io.WriteString(w, "ok\n")
	}
}

// startupz says whether people could sign in since the server has started, now or
// earlier: a deployment with a wrong setting must not take the place of one that works
// (a startup probe). The log has the reason.
func (a *app) startupz(w http.ResponseWriter, r *http.Request) {
	if !a.started.Load() {
		if err := a.auth.Ready(r.Context()); err != nil {
			a.log.ErrorContext(r.Context(), "users cannot sign in yet", "err", err)
			http.Error(w, "users cannot sign in yet", http.StatusServiceUnavailable)
			return
		}
		a.started.Store(true)
	}
	io.WriteString(w, "ok\n")
}

// health asks the server of this environment for /startupz, and exits with 1 if it
// does not say yes: for a HEALTHCHECK in an image that has neither shell nor curl.
func health(getenv func(string) string, out io.Writer) {
	if err := askHealth(getenv); err != nil {
		fmt.Fprintln(out, err)
		os.Exit(1)
	}
}

func askHealth(getenv func(string) string) error {
	set, err := webapp.ReadSite(getenv)
	if err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(set.Listen)
	if err != nil {
		return err
	}
	if host == "" {
		host = "localhost"
	}
	client := http.Client{Timeout: 4 * time.Second, Transport: &http.Transport{}} // without a proxy
	res, err := client.Get("http://" + net.JoinHostPort(host, port) + "/startupz")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d: see the log", res.StatusCode)
	}
	return nil
}
