package main

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/msauth/example/internal/webapp"
)

// settings are read from the environment. All servers have the same, but for PORT and
// INSTANCE. These variables have the names that Microsoft's own SDKs use; more of them
// are described in example/env.go:
//
//	AZURE_CLIENT_ID       the app registration
//	AZURE_CLIENT_SECRET   its client secret, or AZURE_CLIENT_SECRET_FILE,
//	                      AZURE_CLIENT_CERTIFICATE_PATH, AZURE_FEDERATED_TOKEN_FILE
//	AZURE_TENANT_ID       common (default), organizations, consumers, a tenant
//	AZURE_AUTHORITY_HOST  another cloud, or the local stand-in for Microsoft
//
// These are the app's own:
//
//	MSAUTH_BASE_URL  public URL of /auth, that of the load balancer; by default
//	                 http://localhost:PORT/auth
//	MSAUTH_KEY_FILES files of keys that seal sessions, separated by commas; see "Keys
//	                 in files" in docs/operations.md
//	MSAUTH_KEYS      in place of files: base64, separated by commas
//	REDIS_ADDRS      addresses of Redis, by default localhost:6379: one, or several of a
//	                 Cluster, separated by commas
//	REDIS_MASTER     if set, the addresses are those of Sentinels, and this is the
//	                 name of the master
//	REDIS_USERNAME, REDIS_PASSWORD, REDIS_PASSWORD_FILE
//	REDIS_TLS        1 or true: connect by TLS, and trust what the system trusts
//	INSTANCE         the name of this server, by default HOST:PORT
//	PORT             by default 8080
//	LISTEN_ADDR      HOST:PORT to listen at, such as :8080 in a container; by default
//	                 PORT, at localhost if MSAUTH_BASE_URL is there, else at all
//	                 interfaces
//	SHUTDOWN_DELAY   how long to serve on after SIGTERM while /readyz says no, until
//	                 load balancers have noticed: by default 0, or 5s, for example
//	METRICS_ADDR     where /metrics is served for Prometheus, such as :9464 or
//	                 localhost:9464; by default nowhere. It is for your network only
//	REPLICAS_DEBUG   for the tests of this example: see debug.go
type settings struct {
	webapp.Settings
	instance string
	redis    redis.UniversalOptions
	delay    time.Duration
	metrics  string
	debug    bool
}

func readSettings(getenv func(string) string) (*settings, error) {
	common, err := webapp.ReadSettings(getenv)
	if err != nil {
		return nil, err
	}
	set := &settings{Settings: common, instance: getenv("INSTANCE"), metrics: getenv("METRICS_ADDR"), debug: getenv("REPLICAS_DEBUG") != ""}
	if set.Auth.ClientID == "" {
		return nil, errors.New("AZURE_CLIENT_ID is not set: several servers need the same Microsoft. To try them, run: go run ./msauthtest/cmd/msauthtest")
	}
	set.Auth.KeyFiles = split(getenv("MSAUTH_KEY_FILES"))
	switch {
	case len(set.Auth.Keys) == 0 && len(set.Auth.KeyFiles) == 0:
		return nil, errors.New("MSAUTH_KEY_FILES and MSAUTH_KEYS are not set: all servers need the same keys. Make one by: openssl rand -base64 32")
	case len(set.Auth.Keys) > 0 && len(set.Auth.KeyFiles) > 0:
		return nil, errors.New("MSAUTH_KEY_FILES and MSAUTH_KEYS are both set: unset one")
	}
	if text := getenv("SHUTDOWN_DELAY"); text != "" {
		if set.delay, err = time.ParseDuration(text); err != nil || set.delay < 0 || set.delay > time.Minute {
			return nil, fmt.Errorf("SHUTDOWN_DELAY is %q: must be 0s to 1m, such as 5s", text)
		}
	}
	if set.instance == "" {
		host, _ := os.Hostname()
		_, port, _ := net.SplitHostPort(set.Listen)
		set.instance = net.JoinHostPort(host, port)
	}
	if set.metrics != "" {
		if _, _, err := net.SplitHostPort(set.metrics); err != nil {
			return nil, fmt.Errorf("METRICS_ADDR: %q must be HOST:PORT or :PORT", set.metrics)
		}
	}
	set.redis, err = readRedis(getenv)
	return set, err
}

// readRedis reads where Redis is.
func readRedis(getenv func(string) string) (redis.UniversalOptions, error) {
	o := redis.UniversalOptions{
		MasterName: getenv("REDIS_MASTER"),
		Username:   getenv("REDIS_USERNAME"),
		Password:   getenv("REDIS_PASSWORD"),
		Addrs:      split(cmp.Or(getenv("REDIS_ADDRS"), "localhost:6379")),
	}
	for _, addr := range o.Addrs {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return o, fmt.Errorf("REDIS_ADDRS: %q must be HOST:PORT", addr)
		}
	}
	switch file := getenv("REDIS_PASSWORD_FILE"); {
	case file != "" && o.Password != "":
		return o, errors.New("REDIS_PASSWORD_FILE and REDIS_PASSWORD are both set: unset one")
	case file != "":
		password, err := os.ReadFile(file)
		if err != nil {
			return o, fmt.Errorf("REDIS_PASSWORD_FILE: %w", err)
		}
		if o.Password = strings.TrimSpace(string(password)); o.Password == "" {
			return o, fmt.Errorf("REDIS_PASSWORD_FILE: %s is empty", file)
		}
	}
	switch text := strings.ToLower(getenv("REDIS_TLS")); text {
	case "1", "true":
		o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	case "", "0", "false":
	default:
		return o, fmt.Errorf("REDIS_TLS is %q: must be 1, true, 0 or false", text)
	}
	return o, nil
}

// split returns the entries of a list.
func split(list string) []string {
	var entries []string
	for entry := range strings.SplitSeq(list, ",") {
		if entry = strings.TrimSpace(entry); entry != "" {
			entries = append(entries, entry)
		}
	}
	return entries
}
