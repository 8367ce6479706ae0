package graph

import (
	"strings"
	"unicode/utf8"

	"example.com/msauth/internal/web"
)

const (
	maxName     = 255 // characters of a name
	maxItemPath = 400 // characters of a path, names and slashes
)

// CheckName reports whether OneDrive takes a name for a file or folder
// ("Restrictions and limitations in OneDrive and SharePoint"). The error is an
// [InvalidError], whose Reason can be shown to people. The methods of [Files]
// that give names check them so; ask before, where a form can still be mended.
func CheckName(name string) error {
	bad := func(reason string) error {
		return &InvalidError{Field: "name", Value: web.OneLine(name, maxName), Reason: reason}
	}
	lower := strings.ToLower(name)
	switch {
	case name == "":
		return bad("is empty")
	case !utf8.ValidString(name):
		return bad("is not UTF-8")
	case utf16Length(name) > maxName:
		return bad("is longer than 255 characters")
	case hasControl(name):
		return bad("contains a control character")
	case strings.ContainsAny(name, `"*:<>?/\|`):
		return bad(`contains one of " * : < > ? / \ |`)
	case strings.TrimSpace(name) != name:
		return bad("begins or ends with a space")
	case strings.HasSuffix(name, "."):
		return bad("ends with a period")
	case strings.HasPrefix(name, "~$"):
		return bad("begins with ~$")
	case strings.Contains(lower, "_vti_"):
		return bad("contains _vti_")
	case lower == ".lock", lower == "desktop.ini", isDevice(lower):
		return bad("is reserved")
	}
	return nil
}

// isDevice reports whether a name in lower case is that of a device of Windows.
func isDevice(name string) bool {
	switch name {
	case "con", "prn", "aux", "nul":
		return true
	}
	return len(name) == 4 && (name[:3] == "com" || name[:3] == "lpt") && name[3] >= '0' && name[3] <= '9'
}

// utf16Length returns the length as Windows and SharePoint count it.
func utf16Length(s string) int {
	n := 0
	for _, r := range s {
		n++
		if r > 0xffff {
			n++
		}
	}
	return n
}
