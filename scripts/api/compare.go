package main

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

// compare says what has changed: what breaks programs, and what is only new.
func compare(before, now map[string][]string) (broken, added []string) {
	for _, pkg := range slices.Sorted(maps.Keys(before)) {
		if _, there := now[pkg]; !there {
			broken = append(broken, pkg+": the package is gone")
		}
	}
	for _, pkg := range slices.Sorted(maps.Keys(now)) {
		was, there := before[pkg]
		if !there {
			added = append(added, pkg+": the package, with "+plural(len(now[pkg])-1, "line"))
			continue
		}
		b, a := comparePackage(was, now[pkg])
		for _, change := range b {
			broken = append(broken, pkg+": "+change)
		}
		for _, line := range a {
			added = append(added, pkg+": "+line)
		}
	}
	return broken, added
}

func comparePackage(before, now []string) (broken, added []string) {
	fresh := slices.DeleteFunc(slices.Clone(now), func(line string) bool { return slices.Contains(before, line) })
	for _, line := range before {
		if slices.Contains(now, line) {
			continue
		}
		about := subject(line)
		if i := slices.IndexFunc(fresh, func(line string) bool { return subject(line) == about }); i >= 0 {
			broken = append(broken, "changed: "+line+"\n        to: "+fresh[i])
			fresh = slices.Delete(fresh, i, i+1)
		} else {
			broken = append(broken, "removed: "+line)
		}
	}
	for _, line := range fresh {
		if typ, isInterface := interfaceOf(line); isInterface && implementable(typ, before) {
			broken = append(broken, "added to an interface: "+line)
			continue
		}
		added = append(added, line)
	}
	return broken, added
}

var subjects = regexp.MustCompile(`^(?:func \(\*?(\w+)\) |func |const |var |type (\w+)(?:\[.*?\])? (?:struct|interface), |type )(embedded .*|[~\w]+)`)

// subject is what a line is about: a name, or one within a type.
func subject(line string) string {
	m := subjects.FindStringSubmatch(line)
	if m == nil {
		return line
	}
	return m[1] + m[2] + "." + m[3]
}

// interfaceOf is the type whose method set a line is part of: "type T interface".
func interfaceOf(line string) (typ string, ok bool) {
	typ, _, ok = strings.Cut(line, " interface, ")
	return typ + " interface", ok && strings.HasPrefix(line, "type ")
}

// implementable reports whether other packages could have implemented an interface.
func implementable(typ string, before []string) bool {
	return slices.Contains(before, typ) && !slices.Contains(before, typ+", "+unexported)
}
