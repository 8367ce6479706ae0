package libraries

import (
	"os/exec"
	"testing"
)

// The module for the site's own scripts is checked by its JSDoc types: it is what editors
// know of it.
func TestTypesOfTheModule(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("node_modules/.bin/tsc", "--noEmit", "--ignoreConfig", "--allowJs", "--checkJs", "--strict", "--noUnusedLocals",
		"--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler", "--lib", "es2024,dom,dom.iterable", "../../internal/script/msauth.js").CombinedOutput()
	if _, failed := err.(*exec.ExitError); err != nil && !failed {
		missing(t, err)
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
