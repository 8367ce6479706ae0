package cases_test

import (
	"example.com/msauth"
	"example.com/msauth/tests/testsite"
)

// withKeysOf makes a site share the keys of another.
func withKeysOf(other *testsite.Site) func(*msauth.Config) {
	return func(c *msauth.Config) { c.Keys = other.Cfg.Keys }
}
