package sharedtest_test

import (
	"testing"

	"example.com/msauth"
	"example.com/msauth/sharedtest"
)

func TestMemory(t *testing.T) {
	t.Parallel()
	sharedtest.Run(t, func(testing.TB) (one, other msauth.Shared) {
		s := sharedtest.New()
		return s, s
	})
}
