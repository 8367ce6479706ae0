package renewal_test

import (
	"testing"

	"example.com/msauth/tests/testsite"
)

// shortestToken is how long an access token is at least: no error is as long.
const shortestToken = 600

func TestMain(m *testing.M) { testsite.Main(m) }
