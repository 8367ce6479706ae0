package provider

import (
	"strings"
	"testing"
)

func TestGraphOfEachCloudMayHaveTheToken(t *testing.T) {
	t.Parallel()
	tests := []struct{ authority, want string }{
		{"", ""},
		{"https://login.microsoftonline.com", "graph.microsoft.com:443"},
		{"https://login.microsoftonline.us", "graph.microsoft.us:443 dod-graph.microsoft.us:443"},
		{"https://login.partner.microsoftonline.cn", "microsoftgraph.chinacloudapi.cn:443"},
		{"https://login.microsoftonline.com.evil.example", ""},
		{"http://login.microsoftonline.com", ""},
	}
	for _, test := range tests {
		if got := strings.Join(GraphHosts(test.authority), " "); got != test.want {
			t.Errorf("%s: hosts %q, want %q", test.authority, got, test.want)
		}
	}
}
