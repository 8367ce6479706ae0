package provider

import (
	"slices"
	"strings"
	"testing"
)

const (
	orders    = "api://orders/Orders.Read"
	ordersAll = "api://orders/.default"
)

func TestOrderOfScopes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		kind   Kind
		scopes string
		want   string
	}{
		{"none", Entra, "", ""},
		{"without those of every sign-in", Entra, "openid User.Read offline_access", "User.Read"},
		{"each once, whatever the form", Entra, "User.Read https://graph.microsoft.com/user.read 00000003-0000-0000-c000-000000000000/User.Read", "User.Read"},
		{"sorted by API", Entra, orders + " User.Read api://billing/Read " + strings.ToUpper(orders), "api://billing/Read " + orders + " User.Read"},
		{"elsewhere a scope is a name", OtherProvider, "b B a openid https://graph.microsoft.com/a", "B a b https://graph.microsoft.com/a"},
		{"B2C has no Graph", b2c, "https://graph.microsoft.com/User.Read User.Read", "https://graph.microsoft.com/User.Read User.Read"},
	} {
		rules := NewScopes(test.kind, testOrigin, nil)
		scopes := strings.Fields(test.scopes)
		before := slices.Clone(scopes)
		if got := strings.Join(rules.Order(scopes), " "); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
		if !slices.Equal(scopes, before) {
			t.Errorf("%s: the argument was changed", test.name)
		}
	}
}

func TestCheckOfScopes(t *testing.T) {
	t.Parallel()
	var many []string
	for i := range maxScopes + 1 {
		many = append(many, "s"+strings.Repeat("x", i))
	}
	for _, test := range []struct {
		name   string
		kind   Kind
		scopes []string
		want   string // "" if they are accepted
	}{
		{"none", Entra, nil, ""},
		{"as many as may be", Entra, many[:maxScopes], ""},
		{"too many", Entra, many, "more than 20 scopes or 400 bytes"},
		{"too long", Entra, []string{strings.Repeat("x", maxScopeBytes+1)}, "more than 20 scopes or 400 bytes"},
		{"empty", Entra, []string{""}, `"" is not a scope`},
		{"two in one", Entra, []string{"User.Read Mail.Read"}, "is not a scope: want one per argument, without spaces"},
		{"a quote", Entra, []string{`a"`}, "is not a scope"},
		{"not ASCII", Entra, []string{"é"}, "is not a scope"},
		{"all of an API", Entra, []string{ordersAll, "openid"}, ""},
		{"all of an API and one more", Entra, []string{ordersAll, "User.Read"}, ErrAlone.Error()},
		{"a scope of this name elsewhere", OtherProvider, []string{DefaultScope, "a"}, ""},
	} {
		_, err := NewScopes(test.kind, testOrigin, nil).Check(test.scopes)
		if test.want != "" {
			wantFault(t, err, test.want)
		} else if err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestScopesByAPI(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name       string
		kind       Kind
		configured string
		scopes     string
		want       string // own | another API | ...
	}{
		{"Graph is the session's own", Entra, "openid User.Read", orders + " User.Read", "User.Read|" + orders},
		{"another is", Entra, orders, "User.Read " + orders + " api://billing/Read", orders + "|api://billing/Read|User.Read"},
		{"by its GUID", Entra, "api://" + testClient + "/Read", testClient + "/Write", testClient + "/Write"},
		{"of this cloud", Entra, "", "https://graph.microsoft.com/Mail.Read", "https://graph.microsoft.com/Mail.Read"},
		{"elsewhere all are one", OtherProvider, "", "a https://x.example/b", "a https://x.example/b"},
	} {
		rules := NewScopes(test.kind, testOrigin, strings.Fields(test.configured))
		own, others := rules.ByAPI(rules.Order(strings.Fields(test.scopes)))
		got := strings.Join(own, " ")
		for _, other := range others {
			got += "|" + strings.Join(other, " ")
		}
		if got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestScopesOfARenewal(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name                string
		configured, granted string
		all, fewer          string
	}{
		{"in the configured form", "User.Read", "openid https://graph.microsoft.com/user.read", "User.Read", "User.Read"},
		{"more were granted", "User.Read", "User.Read Mail.Read", "Mail.Read User.Read", "User.Read"},
		{"with the API's prefix", "api://orders/Orders.Read", "api://orders/Orders.Write " + orders, orders + " api://orders/Orders.Write", orders},
		{"of another API too", orders, orders + " User.Read", orders, orders},
		{"all of an API", ordersAll, orders + " " + ordersAll, ordersAll, ordersAll},
		{"/.default in the reply alone", orders, ordersAll + " " + orders, orders, orders},
		{"now of another API", orders, "User.Read", orders, orders},
		{"only scopes of a sign-in", "openid", "openid profile", "", ""},
	} {
		rules := NewScopes(Entra, testOrigin, strings.Fields(test.configured))
		all, fewer := rules.Renewed(strings.Fields(test.configured), strings.Fields(test.granted))
		if got, gotFewer := strings.Join(all, " "), strings.Join(fewer, " "); got != test.all || gotFewer != test.fewer {
			t.Errorf("%s: %q and %q, want %q and %q", test.name, got, gotFewer, test.all, test.fewer)
		}
	}
}

// Foreign recognizes what Asked adds, and it grants nothing.
func TestForeignScopes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name       string
		kind       Kind
		configured string
		granted    string
		foreign    bool
		asked      string
	}{
		{"its own", Entra, orders, "openid " + orders, false, "openid " + orders},
		{"its own among others", Entra, orders, "User.Read " + orders, false, "User.Read " + orders},
		{"of another API", Entra, orders, "openid User.Read", true, "openid User.Read " + ordersAll},
		{"Graph's by default", Entra, "openid", orders, true, orders + " " + DefaultScope},
		{"only those of a sign-in", Entra, orders, "openid profile", false, "openid profile"},
		{"none", Entra, orders, "", false, ""},
		{"elsewhere", OtherProvider, "a", "b", false, "b"},
	} {
		rules := NewScopes(test.kind, testOrigin, strings.Fields(test.configured))
		if got := rules.Foreign(test.granted); got != test.foreign {
			t.Errorf("%s: foreign %t, want %t", test.name, got, test.foreign)
		}
		asked := rules.Asked(strings.Fields(test.configured), test.granted)
		if asked != test.asked || rules.Foreign(asked) {
			t.Errorf("%s: as asked for %q (foreign %t), want %q", test.name, asked, rules.Foreign(asked), test.asked)
		}
		wanted := []string{orders, "User.Read"}
		if got, want := rules.Missing(asked, wanted), rules.Missing(test.granted, wanted); !slices.Equal(got, want) {
			t.Errorf("%s: %q are missing, want %q", test.name, got, want)
		}
	}
}

func TestMissingScopes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name            string
		kind            Kind
		granted, wanted string
		want            string
	}{
		{"none", Entra, "User.Read", "", ""},
		{"in another form", Entra, "https://graph.microsoft.com/USER.READ", "User.Read", ""},
		{"some", Entra, "User.Read", "User.Read Mail.Read " + orders, "Mail.Read " + orders},
		{"a name of another API", Entra, "api://billing/Orders.Read", orders, orders},
		{"all of an API", Entra, orders, ordersAll, ""},
		{"case counts elsewhere", OtherProvider, "a", "A", "A"},
	} {
		got := NewScopes(test.kind, testOrigin, nil).Missing(test.granted, strings.Fields(test.wanted))
		if strings.Join(got, " ") != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}
