package main

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/msauth/cmd/msauth-check/internal/settings"
)

// Two values that are in each other's place are found, in time, and no secret of them is
// printed: check looks for that.
func TestSwappedValues(t *testing.T) {
	t.Parallel()
	names := []string{"AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_AUTHORITY_HOST", "AZURE_CLIENT_SECRET", "MSAUTH_BASE_URL", "MSAUTH_KEYS", "MSAUTH_SCOPES"}
	for i, one := range names {
		for _, other := range names[i+1:] {
			t.Run(one+" and "+other, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.env["AZURE_TENANT_ID"], w.env["MSAUTH_SCOPES"] = "organizations", "User.Read"
				w.env[one], w.env[other] = w.env[other], w.env[one]
				o := w.check()
				if o.code != exitFindings || len(o.findings) == 0 || o.took > 10*time.Second {
					t.Errorf("exit code %d after %v:\n%s", o.code, o.took, o.text)
				}
			})
		}
	}
}

// Whatever a variable holds, the command ends in time, without a panic.
func TestAnyValue(t *testing.T) {
	t.Parallel()
	values := []string{" ", "\x00", "'; exit #", "%zz", "../../etc/passwd", "/dev/null", "https://me:the-password@127.0.0.1:1/x", "http://[::1", "-1", "\u202egnirts", strings.Repeat("a", 100_000), "/", "{client_id}", "eyJhbGciOiJub25lIn0.e30.AAAA"}
	for _, v := range settings.Variables {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			right := maps.Clone(w.env)
			for _, value := range values {
				w.env = maps.Clone(right)
				w.env[v.Name] = value
				o := w.check()
				if !slices.Contains([]int{exitNothing, exitFindings}, o.code) || o.took > 10*time.Second || strings.Contains(o.text, "the-password") {
					t.Errorf("%.40q: exit code %d after %v:\n%.2000s", value, o.code, o.took, o.text)
				}
				if len(o.text) > 20_000 {
					t.Errorf("%.40q: %d bytes of output", value, len(o.text))
				}
			}
		})
	}
}
