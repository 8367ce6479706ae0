package script

import (
	"bytes"
	"compress/gzip"
	"regexp"
	"strings"
	"testing"
)

// A page that loads the module is hardly any larger for it.
func TestModuleIsSmall(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
	w.Write([]byte(Module))
	w.Close()
	if b.Len() >= 4<<10 {
		t.Errorf("%d bytes of gzip, want less than 4 KB", b.Len())
	}
}

// Pages with a strict Content-Security-Policy and Trusted Types can load it, it reads
// nothing of the browser's storage, and it asks nobody but this package.
func TestModuleLeavesAlone(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		"innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval", "Function(", "import(", ".style", "cookie",
		"localStorage", "sessionStorage", "postMessage(*", "unload", "http://", "https://", "console.",
	} {
		if strings.Contains(Module, bad) {
			t.Errorf("the module has %q", bad)
		}
	}
}

// Texts come from the server, in the reader's language.
func TestModuleHasNoWords(t *testing.T) {
	t.Parallel()
	if words := regexp.MustCompile("[\"'`][A-Z][a-z]+ [a-z]+|[\"'`](Sign|Cancel|Log|OK)[ \"'`]").FindAllString(Module, -1); words != nil {
		t.Errorf("the module says %q", words)
	}
}

func TestCommentsAreLeftOut(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		"// a\nb(); // c\n":              "b(); // c\n",
		"/** a */\nb();\n":               "b();\n",
		"/**\n * a\n b();\n */\nc();\n":  "c();\n",
		"\n\t// a\n\tb(\"// c\");\n\n":   "b(\"// c\");\n",
		"a(/* b */);\n\t/* c\n\td */\ne": "a(/* b */);\ne\n",
	} {
		if got := withoutComments(source); got != want {
			t.Errorf("%q gives %q, want %q", source, got, want)
		}
	}
	if !strings.HasPrefix(source, "// @ts-check\n") || strings.Contains(Module, "@type") || strings.Contains(Module, "\n\n") || !strings.Contains(Module, "export async function fetch(input, init) {\n") {
		t.Errorf("the module is\n%s", Module)
	}
}
