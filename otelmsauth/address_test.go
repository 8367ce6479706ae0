package otelmsauth

import (
	"net/url"
	"strings"
	"testing"
)

func TestAddressesShowWhatIsTheSameForEverybody(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ address, want string }{
		{"https://graph.microsoft.com", "https://graph.microsoft.com/"},
		{"https://graph.microsoft.com/v1.0/me/drive/root/children?$select=name&$top=5", "https://graph.microsoft.com/v1.0/me/drive/root/children"},
		{"https://GRAPH.microsoft.com/v1.0/me/drive/items/01ABC!123/content", "https://graph.microsoft.com/v1.0/me/drive/items/REDACTED/content"},
		{"https://graph.microsoft.com/v1.0/users/ada@example.com/messages", "https://graph.microsoft.com/v1.0/users/REDACTED/messages"},
		{"https://graph.microsoft.com/v1.0/me/drive/root:/Salaries/2026.xlsx:/content", "https://graph.microsoft.com/v1.0/me/drive/REDACTED/REDACTED/REDACTED/content"},
		{"https://graph.microsoft.com/v1.0/me%2Fdrive/root%3A", "https://graph.microsoft.com/v1.0/REDACTED/REDACTED"},
		{"https://ada:secret@graph.microsoft.com:8443/v1.0//me/#part", "https://graph.microsoft.com:8443/v1.0//me/"},
		{"https://contoso-my.sharepoint.com/personal/ada/_layouts/15/download.aspx?UniqueId=1&tempauth=v1.eyJ", "https://contoso-my.sharepoint.com/REDACTED/REDACTED/REDACTED/REDACTED/REDACTED"},
		{"https://login.microsoftonline.com/common/oauth2/v2.0/token", "https://login.microsoftonline.com/common/oauth2/v2.0/token"},
		{"https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47/oauth2/v2.0/token", "https://login.microsoftonline.com/REDACTED/oauth2/v2.0/token"},
		{"https://graph.microsoft.com/v1.0/Users/ME", "https://graph.microsoft.com/v1.0/REDACTED/REDACTED"},
		{"http://localhost:9/", "http://localhost:9/"},
	} {
		u, err := url.Parse(tt.address)
		if err != nil {
			t.Fatal(err)
		}
		if got := addressOf(u); got != tt.want {
			t.Errorf("%s is shown as %s, want %s", tt.address, got, tt.want)
		}
	}
}

func FuzzAddress(f *testing.F) {
	for _, seed := range []string{"/v1.0/me", "//x", "/a?b#c", "/%2e%2e/me", "/me:/f.txt:/content", "me@x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, rest string) {
		u, err := url.Parse("https://graph.microsoft.com/" + rest)
		if err != nil || u.Host != "graph.microsoft.com" {
			return
		}
		path, ok := strings.CutPrefix(addressOf(u), "https://graph.microsoft.com/")
		if !ok {
			t.Fatalf("%q is shown as %q", rest, path)
		}
		for segment := range strings.SplitSeq(path, "/") {
			if segment != "" && segment != redacted && !words[segment] {
				t.Errorf("%q shows %q", rest, segment)
			}
		}
	})
}
