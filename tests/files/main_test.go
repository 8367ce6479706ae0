package files_test

import (
	"os"
	"testing"

	"example.com/msauth/tests/testsite"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		child()
		return
	}
	testsite.Main(m)
}
