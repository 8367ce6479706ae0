package provider

import (
	"net/url"
	"strings"
	"testing"
)

func TestGraphOfEachCloud(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ authority, hosts, address string }{
		{"", "", ""},
		{"https://login.microsoftonline.com", "graph.microsoft.com:443", "https://graph.microsoft.com/v1.0"},
		{"https://login.microsoftonline.us", "graph.microsoft.us:443 dod-graph.microsoft.us:443", "https://graph.microsoft.us/v1.0"},
		{"https://login.partner.microsoftonline.cn", "microsoftgraph.chinacloudapi.cn:443", "https://microsoftgraph.chinacloudapi.cn/v1.0"},
		{"https://login.microsoftonline.com.evil.example", "", ""},
		{"http://login.microsoftonline.com", "", ""},
		{"http://127.0.0.1:8080", "127.0.0.1:8080", "http://127.0.0.1:8080/v1.0"},
	} {
		if got := strings.Join(GraphHosts(test.authority), " "); got != test.hosts {
			t.Errorf("%s: hosts %q, want %q", test.authority, got, test.hosts)
		}
		if got := GraphURL(test.authority); got != test.address {
			t.Errorf("%s: address %q, want %q", test.authority, got, test.address)
		}
	}
}

func TestCloudOf(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ address, want string }{
		{"https://login.microsoftonline.com", "https://login.microsoftonline.com"},
		{"https://LOGIN.Windows.net/common", "https://login.microsoftonline.com"},
		{"https://sts.windows.net./x", "https://login.microsoftonline.com"},
		{"https://eastus.login.microsoftonline.com", "https://login.microsoftonline.com"},
		{"https://login.usgovcloudapi.net", "https://login.microsoftonline.us"},
		{"https://login.chinacloudapi.cn", "https://login.partner.microsoftonline.cn"},
		{"https://login.microsoftonline.com.evil.example", ""},
		{"https://evil-login.microsoftonline.com", ""},
		{"https://id.example.com", ""},
		{"https://", ""},
	} {
		u, err := url.Parse(test.address)
		if err != nil {
			t.Fatal(err)
		}
		if got := CloudOf(u); got != test.want {
			t.Errorf("%s: %q, want %q", test.address, got, test.want)
		}
	}
}
