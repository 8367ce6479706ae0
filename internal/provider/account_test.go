package provider

import "testing"

func TestKey(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		account Account
		want    string
	}{
		{"nobody", Account{}, ""},
		{"Microsoft", Account{Issuer: "i", Subject: "s", TenantID: "T", ObjectID: "O"}, "t.o"},
		{"another provider", Account{Issuer: "I", Subject: "S"}, "I#S"},
		{"a tenant without a person", Account{Issuer: "i", Subject: "s", TenantID: "t"}, "i#s"},
		{"a person without a tenant", Account{Issuer: "i", Subject: "s", ObjectID: "o"}, "i#s"},
		{"without a subject", Account{Issuer: "i"}, ""},
		{"without an issuer", Account{Subject: "s"}, ""},
	} {
		if got := test.account.Key(); got != test.want {
			t.Errorf("%s: key %q, want %q", test.name, got, test.want)
		}
	}
}

func TestSamePerson(t *testing.T) {
	t.Parallel()
	ada := Account{Issuer: "i", Subject: "s", TenantID: "t", ObjectID: "o", Name: "Ada"}
	again := ada
	again.Name = "Ada Renamed"
	if !ada.Same(&again) {
		t.Error("another name is another person")
	}
	for name, change := range map[string]func(*Account){
		"issuer": func(u *Account) { u.Issuer = "x" }, "subject": func(u *Account) { u.Subject = "x" },
		"tenant": func(u *Account) { u.TenantID = "x" }, "object": func(u *Account) { u.ObjectID = "x" },
	} {
		other := ada
		if change(&other); ada.Same(&other) {
			t.Errorf("another %s is the same person", name)
		}
	}
}

func TestAdmits(t *testing.T) {
	t.Parallel()
	work, personal := &Account{TenantID: testTenant}, &Account{TenantID: PersonalTenant}
	for _, test := range []struct {
		name    string
		account *Account
		tenant  string
		allowed []string
		want    bool
	}{
		{"another provider", &Account{}, "", []string{testTenant}, true},
		{"common, work", work, "common", nil, true},
		{"common, personal", personal, "common", nil, true},
		{"organizations, work", work, "organizations", nil, true},
		{"organizations, personal", personal, "organizations", nil, false},
		{"consumers, work", work, "consumers", nil, false},
		{"consumers, personal", personal, "consumers", nil, true},
		{"its own tenant", work, testTenant, nil, true},
		{"another tenant", work, testDirectory, nil, false},
		{"a domain", work, "contoso.example", nil, true},
		{"allowed", work, "common", []string{testDirectory, testTenant}, true},
		{"not allowed", work, "common", []string{testDirectory}, false},
		{"allowed, but not an organization", personal, "organizations", []string{PersonalTenant}, false},
	} {
		if got := Admits(test.account, test.tenant, test.allowed); got != test.want {
			t.Errorf("%s: %t, want %t", test.name, got, test.want)
		}
	}
}
