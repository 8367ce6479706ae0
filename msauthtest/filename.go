package msauthtest

import (
	"path"
	"strconv"
	"strings"
	"unicode/utf16"
)

// Limits of "Restrictions and limitations in OneDrive and SharePoint", in
// UTF-16 code units: of a name, and of a path below the root with its name.
const (
	maxName = 255
	maxPath = 400
)

// A conflict is a value of @microsoft.graph.conflictBehavior.
type conflict string

func (b conflict) check() *problem {
	switch b {
	case "fail", "rename", "replace":
		return nil
	}
	return badRequest("The value of @microsoft.graph.conflictBehavior is not valid.")
}

// fileRune is a mapping for strings.Map that drops characters not allowed in
// file names.
func fileRune(r rune) rune {
	if strings.ContainsRune(`"*:<>?/\|`, r) || r < ' ' || r == 0x7f {
		return -1
	}
	return r
}

// reservedName reports whether nothing may have a name ("Restrictions and
// limitations in OneDrive and SharePoint").
func reservedName(name string) bool {
	name = strings.ToLower(name)
	switch name {
	case ".lock", "con", "prn", "aux", "nul", "desktop.ini":
		return true
	}
	if len(name) == 4 && (strings.HasPrefix(name, "com") || strings.HasPrefix(name, "lpt")) && name[3] >= '0' && name[3] <= '9' {
		return true
	}
	return strings.HasPrefix(name, "~$") || strings.Contains(name, "_vti_")
}

func utf16Len(s string) int { return len(utf16.Encode([]rune(s))) }

// nameProblem returns the problem with a name, or nil.
func nameProblem(name string) *problem {
	switch {
	case name == "", utf16Len(name) > maxName,
		strings.Trim(name, " ") != name, strings.HasSuffix(name, "."),
		strings.Map(fileRune, name) != name, reservedName(name):
		return problemName
	}
	return nil
}

// placeProblem returns the problem with names of new items below a folder, each
// in the one before, or nil. The last is that of a file, or of a folder. The
// libraries of work accounts refuse more than personal accounts do.
func (c *driveCall) placeProblem(below *item, lastIsFolder bool, names ...string) *problem {
	length := 0
	for it := below; it.parent != nil; it = it.parent {
		length += utf16Len(it.name) + 1
	}
	for i, name := range names {
		isFolder, top := lastIsFolder || i < len(names)-1, i == 0 && below == c.drive.root
		if bad := nameProblem(name); bad != nil {
			return bad
		}
		if !c.user.personal() && (isFolder && strings.HasPrefix(name, "~") || top && strings.EqualFold(name, "forms")) {
			return problemName
		}
		if length += utf16Len(name) + 1; length > maxPath+1 {
			return problemPath
		}
	}
	return nil
}

// settle returns the name for an item that is added to a folder, and the item
// there that it replaces, if any. self is the item if it exists already.
func (c *driveCall) settle(folder *item, name string, isFolder bool, b conflict, self *item) (string, *item, *problem) {
	if bad := c.placeProblem(folder, isFolder, name); bad != nil {
		return "", nil, bad
	}
	there := folder.child(name)
	if there == nil || there == self {
		return name, nil, nil
	}
	switch b {
	case "replace":
		return there.name, there, nil
	case "rename":
		ext := path.Ext(name)
		for n := 1; ; n++ {
			other := strings.TrimSuffix(name, ext) + " " + strconv.Itoa(n) + ext
			if folder.child(other) == nil {
				return other, nil, nil
			}
		}
	}
	return "", nil, problemExists
}

// typeOf returns the media type for a file name.
func typeOf(name string) string {
	if kind, ok := mediaTypes[strings.ToLower(path.Ext(name))]; ok {
		return kind
	}
	return "application/octet-stream"
}

var mediaTypes = map[string]string{
	".txt": "text/plain", ".csv": "text/csv", ".md": "text/markdown", ".json": "application/json", ".pdf": "application/pdf",
	".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif",
}
