package session

import (
	"bytes"
	"net/http"
	"testing"
)

// Scanning costs no memory of its own, whatever is in the header.
func TestScanningAllocatesNothing(t *testing.T) {
	cookies := testCookies(t)
	for name, line := range map[string]string{
		"foreign": "a=b; c=d", "ours": cookies.Name + "=1AAAA", "pieces": cookies.Name + "=9; " + cookies.Name + "-1=x",
		"many": string(bytes.Repeat([]byte(cookies.Name+"=x; "), 3000)),
	} {
		h := http.Header{"Cookie": {line}}
		if n := testing.AllocsPerRun(20, func() { cookies.Scan(h) }); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
		if n := testing.AllocsPerRun(20, func() { cookies.Read(h) }); n > 12 {
			t.Errorf("%s: %v allocations to find nothing", name, n)
		}
	}
}
