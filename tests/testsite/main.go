package testsite

import (
	"flag"
	"os"
	"testing"
)

// Main runs the tests of a package that wait for the clock more than they
// compute: eight at a time, however few processors there are.
func Main(m *testing.M) {
	flag.Parse()
	set := false
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == "test.parallel" })
	if !set {
		flag.Set("test.parallel", "8")
	}
	os.Exit(m.Run())
}
