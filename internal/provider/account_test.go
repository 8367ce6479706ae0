package provider

import "testing"

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
