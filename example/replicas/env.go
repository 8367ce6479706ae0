package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/redis/go-redis/v9"

	"example.com/msauth/example/internal/webapp"
)

// settings are read from the environment. All servers have the same, but for PORT and
// INSTANCE. These variables have the names that Microsoft's own SDKs use; more of them
// are described in example/env.go:
//
//	AZURE_CLIENT_ID       the app registration
//	AZURE_CLIENT_SECRET   its client secret, or a certificate or a token in a file
//	AZURE_TENANT_ID       common (default), organizations, consumers, a tenant
//	AZURE_AUTHORITY_HOST  another cloud, or the local stand-in for Microsoft
//
// These are the app's own:
//
//	MSAUTH_BASE_URL  public URL of /auth, that of the load balancer; by default
//	                 http://localhost:PORT/auth
//	MSAUTH_KEYS      keys that seal sessions: base64, separated by commas. To change
//	                 keys, put a new one last on all servers, and then first
//	REDIS_ADDRS      addresses of Redis, by default localhost:6379: one, or several of a
//	                 Cluster, separated by commas
//	REDIS_MASTER     if set, the addresses are those of Sentinels, and this is the
//	                 name of the master
//	REDIS_USERNAME, REDIS_PASSWORD
//	INSTANCE         the name of this server, by default HOST:PORT
//	PORT             by default 8080
//	METRICS_ADDR     where /metrics is served for Prometheus, such as :9464 or
//	                 localhost:9464; by default nowhere. It is for your network only
//	REPLICAS_DEBUG   for the tests of this example: see debug.go
type settings struct {
	webapp.Settings
	instance string
	redis    redis.UniversalOptions
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
	if len(set.Auth.Keys) == 0 {
		return nil, errors.New("MSAUTH_KEYS is not set: all servers need the same keys. Make one by: openssl rand -base64 32")
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
	set.redis = redis.UniversalOptions{
		MasterName: getenv("REDIS_MASTER"),
		Username:   getenv("REDIS_USERNAME"),
		Password:   getenv("REDIS_PASSWORD"),
	}
	for addr := range strings.SplitSeq(cmp.Or(getenv("REDIS_ADDRS"), "localhost:6379"), ",") {
		addr = strings.TrimSpace(addr)
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return nil, fmt.Errorf("REDIS_ADDRS: %q must be HOST:PORT", addr)
		}
		set.redis.Addrs = append(set.redis.Addrs, addr)
	}
	return set, nil
}
