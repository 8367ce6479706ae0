package requests_test

import (
	"testing"

	"example.com/msauth/tests/testsite"
)

func TestMain(m *testing.M) { testsite.Main(m) }
