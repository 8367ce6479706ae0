package main

import (
	"fmt"
	"go/types"
	"slices"
	"strconv"
	"strings"
)

const unexported = "unexported methods"

// A describer writes types as lines need them: without names of parameters, which
// may change, and with the whole path of other packages, since another major version
// of a module is another type.
type describer struct {
	pkg   *types.Package
	lines []string
}

// describe are the lines of a package, in the order of names: a type, its fields,
// its methods.
func describe(pkg *types.Package) []string {
	d := &describer{pkg: pkg, lines: []string{"package " + pkg.Name()}}
	for _, name := range pkg.Scope().Names() { // sorted
		object := pkg.Scope().Lookup(name)
		if !object.Exported() {
			continue
		}
		switch object := object.(type) {
		case *types.Const:
			d.add("const %s %s = %s", name, d.typ(object.Type()), object.Val().ExactString())
		case *types.Var:
			d.add("var %s %s", name, d.typ(object.Type()))
		case *types.Func:
			d.add("func %s%s", name, d.signature(object.Signature()))
		case *types.TypeName:
			d.typeName(object)
		}
	}
	return d.lines
}

func (d *describer) add(format string, args ...any) {
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

func (d *describer) typeName(object *types.TypeName) {
	if object.IsAlias() {
		d.add("type %s = %s", object.Name(), d.typ(object.Type()))
		return
	}
	named := object.Type().(*types.Named)
	head := "type " + object.Name() + d.typeParams(named.TypeParams())
	switch under := named.Underlying().(type) {
	case *types.Struct:
		d.add("%s struct", head)
		if types.Comparable(named) {
			d.add("%s struct, comparable", head)
		}
		d.fields(head, under)
	case *types.Interface:
		d.add("%s interface", head)
		d.interfaceOf(head, under)
		return // its methods are part of it
	default:
		d.add("%s %s", head, d.typ(under))
	}
	d.methods(named)
}

// fields are those of a struct, and those that it has by an embedded type that nobody
// else can name.
func (d *describer) fields(head string, s *types.Struct) {
	for field := range s.Fields() {
		switch {
		case field.Exported() && field.Embedded():
			d.add("%s struct, embedded %s", head, d.typ(field.Type()))
		case field.Exported():
			d.add("%s struct, %s %s", head, field.Name(), d.typ(field.Type()))
		case field.Embedded():
			under := field.Type().Underlying()
			if pointer, ok := under.(*types.Pointer); ok {
				under = pointer.Elem().Underlying()
			}
			if inner, ok := under.(*types.Struct); ok {
				d.fields(head, inner)
			}
		}
	}
}

func (d *describer) interfaceOf(head string, i *types.Interface) {
	hidden := false
	for method := range i.Methods() { // sorted; of embedded interfaces too
		if method.Exported() {
			d.add("%s interface, %s%s", head, method.Name(), d.signature(method.Signature()))
		} else {
			hidden = true
		}
	}
	if hidden {
		d.add("%s interface, %s", head, unexported)
	}
	for embedded := range i.EmbeddedTypes() {
		if _, ok := embedded.Underlying().(*types.Interface); !ok {
			d.add("%s interface, %s", head, d.typ(embedded))
		}
	}
}

func (d *describer) methods(named *types.Named) {
	values := types.NewMethodSet(named)
	for selection := range types.NewMethodSet(types.NewPointer(named)).Methods() { // sorted
		method := selection.Obj().(*types.Func)
		if !method.Exported() {
			continue
		}
		receiver := "*" + named.Obj().Name()
		if values.Lookup(method.Pkg(), method.Name()) != nil {
			receiver = named.Obj().Name()
		}
		d.add("func (%s) %s%s", receiver, method.Name(), d.signature(selection.Type().(*types.Signature)))
	}
}

// typ is a type. Type parameters are named by their place, as those of functions
// and receivers may have other names.
func (d *describer) typ(t types.Type) string {
	if t == types.Universe.Lookup("any").Type() {
		return "any"
	}
	switch t := types.Unalias(t).(type) {
	case *types.TypeParam:
		return "$" + strconv.Itoa(t.Index())
	case *types.Named:
		name := t.Obj().Name()
		if pkg := t.Obj().Pkg(); pkg != nil && pkg.Path() != d.pkg.Path() {
			name = pkg.Path() + "." + name
		}
		return name + d.typeArgs(t.TypeArgs())
	case *types.Pointer:
		return "*" + d.typ(t.Elem())
	case *types.Slice:
		return "[]" + d.typ(t.Elem())
	case *types.Array:
		return fmt.Sprintf("[%d]%s", t.Len(), d.typ(t.Elem()))
	case *types.Map:
		return "map[" + d.typ(t.Key()) + "]" + d.typ(t.Elem())
	case *types.Chan:
		return [...]string{types.SendRecv: "chan ", types.SendOnly: "chan<- ", types.RecvOnly: "<-chan "}[t.Dir()] + d.typ(t.Elem())
	case *types.Signature:
		return "func" + d.signature(t)
	case *types.Struct:
		return d.inner("struct", func(inner *describer) { inner.fields("", t) })
	case *types.Interface:
		if t.Empty() {
			return "any"
		}
		return d.inner("interface", func(inner *describer) { inner.interfaceOf("", t) })
	case *types.Union:
		var terms []string
		for term := range t.Terms() {
			tilde := ""
			if term.Tilde() {
				tilde = "~"
			}
			terms = append(terms, tilde+d.typ(term.Type()))
		}
		return strings.Join(terms, "|")
	default: // a basic type
		return t.String()
	}
}

// inner is a type without a name of its own, on one line.
func (d *describer) inner(kind string, describe func(*describer)) string {
	inner := &describer{pkg: d.pkg}
	if describe(inner); len(inner.lines) == 0 {
		return kind + "{}"
	}
	for i, line := range inner.lines {
		inner.lines[i] = strings.TrimPrefix(line, " "+kind+", ")
	}
	return kind + " { " + strings.Join(inner.lines, "; ") + " }"
}

func (d *describer) signature(s *types.Signature) string {
	var params []string
	for param := range s.Params().Variables() {
		params = append(params, d.typ(param.Type()))
	}
	if s.Variadic() {
		last := len(params) - 1
		params[last] = "..." + strings.TrimPrefix(params[last], "[]")
	}
	text := d.typeParams(s.TypeParams()) + "(" + strings.Join(params, ", ") + ")"
	var results []string
	for result := range s.Results().Variables() {
		results = append(results, d.typ(result.Type()))
	}
	switch len(results) {
	case 0:
	case 1:
		text += " " + results[0]
	default:
		text += " (" + strings.Join(results, ", ") + ")"
	}
	return text
}

func (d *describer) typeParams(list *types.TypeParamList) string {
	if list.Len() == 0 {
		return ""
	}
	var params []string
	for param := range list.TypeParams() {
		params = append(params, d.typ(param)+" "+d.typ(param.Constraint()))
	}
	return "[" + strings.Join(params, ", ") + "]"
}

func (d *describer) typeArgs(list *types.TypeList) string {
	if list.Len() == 0 {
		return ""
	}
	return "[" + strings.Join(slices.Collect(func(yield func(string) bool) {
		for arg := range list.Types() {
			if !yield(d.typ(arg)) {
				return
			}
		}
	}), ", ") + "]"
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}
