package msauth

import (
	"context"
	"errors"
)

var errOtherNonce = errors.New("msauth: ID token: nonce of another sign-in")

func (a *authority) basicAuth(*metadata) bool     { return false }
func (a *authority) offersOffline(*metadata) bool { return true }

type profile struct{ name, username, email string }

func (a *authority) userinfo(ctx context.Context, access secret, subject string) (profile, error) {
	return profile{}, errors.New("stub")
}

func (u *User) samePerson(v *User) bool {
	return u.Issuer == v.Issuer && u.Subject == v.Subject && u.TenantID == v.TenantID && u.ObjectID == v.ObjectID
}
