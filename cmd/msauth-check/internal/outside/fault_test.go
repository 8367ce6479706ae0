package outside

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
)

// What cannot be brought about on every machine: DNS servers and proxies in each state.
func TestFaultOf(t *testing.T) {
	t.Parallel()
	const where = "login.example"
	for _, tt := range []struct {
		name string
		err  error
		want fault
		text string
	}{
		{"a DNS server that is silent", &tripError{&net.DNSError{Name: where, IsTimeout: true}, resolving, ""}, unresolved, "The DNS server does not answer"},
		{"a DNS server that fails", &tripError{&net.DNSError{Name: where, IsTemporary: true}, resolving, ""}, unresolved, "The DNS server does not answer"},
		{"a name that nobody has", &tripError{&net.DNSError{Name: where, IsNotFound: true, IsTemporary: true}, resolving, ""}, unresolved, "There is no host"},
		{"the name of a proxy that nobody has", &tripError{&net.DNSError{Name: "proxy", IsNotFound: true}, resolving, "proxy:3128"}, proxyFailed, "The proxy proxy:3128 does not connect"},
		{"a proxy that refuses", &tripError{errors.New("Forbidden"), connecting, "proxy:3128"}, proxyFailed, "Forbidden"},
		{"a host behind a proxy that hangs up", &tripError{io.EOF, waiting, "proxy:3128"}, unreachable, where + " closes connections"},
		{"something else", errors.New("not JSON"), noFault, ""},
	} {
		if got, text := faultOf(tt.err, where); got != tt.want || !strings.Contains(text, tt.text) {
			t.Errorf("%s: %v, %q; want %v, %q", tt.name, got, text, tt.want, tt.text)
		}
	}
}
