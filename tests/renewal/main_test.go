package renewal_test

import (
	"testing"

	"example.com/msauth/internal/testsite"
)

func TestMain(m *testing.M) { testsite.Main(m) }
