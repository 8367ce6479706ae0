package device

import (
	"fmt"
	"testing"
)

// A page of the app that is out of scope would not be held back until the device is
// proved, and send people to Microsoft every 10 minutes.
func TestScopeOfABinding(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ base, home, want string }{
		{"/auth", "/", ""},
		{"/auth", "/dashboard", ""},
		{"", "/start", ""},
		{"/expenses/auth", "/expenses/", "exclude / include /expenses/"},
		{"/expenses/auth", "/expenses/start?new=1", "exclude / include /expenses/"},
		{"/expenses/auth", "/start", "exclude / include /expenses/ include /start"},
		{"/expenses/auth", "/", ""},
	} {
		got := ""
		for _, rule := range Scope(test.base, test.home) {
			got += fmt.Sprintf(" %s %s", rule.Type, rule.Path)
		}
		if want := test.want; got != "" && got[1:] != want || got == "" && want != "" {
			t.Errorf("%q, %q: %q, want %q", test.base, test.home, got, want)
		}
	}
}
