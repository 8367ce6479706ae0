package graph

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/msauth/internal/web"
)

// A Query refines a request ("Use query parameters to customize Microsoft Graph
// query responses"). Fields that are zero are left out.
type Query struct {
	Select  []string // properties to return
	Expand  []string // relationships to include
	OrderBy []string // properties, such as "name" or "name desc"

	// Filter is an expression such as "startswith(displayName, ?)", in which
	// each question mark outside of quotes stands for the next one of Values.
	// They are quoted as their types need it: a string, an integer, a bool or a
	// [time.Time].
	Filter string
	Values []any

	// Search is the value of $search. Resources differ in what they take: people
	// want double quotes around each term.
	Search string

	Top   int  // items of a page
	Skip  int  // items to leave out
	Count bool // ask for the number of all items, for [Page.Count]

	// Parameters are further parameters, and Header further header fields:
	// Prefer, ConsistencyLevel, If-Match.
	Parameters url.Values
	Header     http.Header
}

// one returns the only query of a call, or the zero Query.
func one(queries []Query) (Query, error) {
	switch len(queries) {
	case 0:
		return Query{}, nil
	case 1:
		return queries[0], nil
	}
	return Query{}, &InvalidError{Field: "query", Reason: "there are several, and a call takes one"}
}

// addTo adds the parameters to those that u has already.
func (q Query) addTo(u *url.URL) error {
	filter, err := fill(q.Filter, q.Values)
	if err != nil {
		return err
	}
	values := url.Values{}
	maps.Copy(values, q.Parameters)
	set := func(name, value string) {
		if value != "" {
			values.Set(name, value)
		}
	}
	set("$select", strings.Join(q.Select, ","))
	set("$expand", strings.Join(q.Expand, ","))
	set("$orderby", strings.Join(q.OrderBy, ","))
	set("$filter", filter)
	set("$search", q.Search)
	if q.Top < 0 || q.Skip < 0 {
		return &InvalidError{Field: "query", Reason: "Top and Skip must not be negative"}
	}
	if q.Top > 0 {
		set("$top", strconv.Itoa(q.Top))
	}
	if q.Skip > 0 {
		set("$skip", strconv.Itoa(q.Skip))
	}
	if q.Count {
		set("$count", "true")
	}
	if len(values) == 0 {
		return nil
	}
	already, _ := url.ParseQuery(u.RawQuery)
	for name := range values {
		if already.Has(name) {
			return &InvalidError{Field: "query", Value: name, Reason: "is in the path too"}
		}
	}
	// Encode writes spaces as plus signs, which OData services need not read as
	// spaces. A $ need not be escaped.
	text := strings.NewReplacer("+", "%20", "%24", "$").Replace(values.Encode())
	if u.RawQuery != "" {
		text = u.RawQuery + "&" + text
	}
	u.RawQuery = text
	return nil
}

// fill replaces the question marks of an expression by values.
func fill(expr string, values []any) (string, error) {
	bad := func(reason string) (string, error) {
		return "", &InvalidError{Field: "filter", Value: expr, Reason: reason}
	}
	var b strings.Builder
	quoted := false
	for _, r := range expr {
		switch {
		case r == '\'':
			quoted = !quoted
		case r == '?' && !quoted:
			if len(values) == 0 {
				return bad("has more question marks than there are values")
			}
			literal, ok := literal(values[0])
			if !ok {
				return bad(fmt.Sprintf("has no way to write a %T", values[0]))
			}
			b.WriteString(literal)
			values = values[1:]
			continue
		}
		b.WriteRune(r)
	}
	if len(values) > 0 {
		return bad("has fewer question marks than there are values")
	}
	return b.String(), nil
}

// literal returns a value as OData 4.01 writes it (URL Conventions section 5.1.1.14).
func literal(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return "'" + strings.ReplaceAll(v, "'", "''") + "'", true
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano), true
	case int, int32, int64, bool:
		return fmt.Sprint(v), true
	}
	return "", false
}

// checkHeader refuses a header field that HTTP cannot carry (RFC 9110 section 5).
func checkHeader(name string, values []string) error {
	isToken := func(r rune) bool {
		return r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	}
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return !isToken(r) }) {
		return &InvalidError{Field: "header", Value: web.OneLine(name, maxID), Reason: "is not the name of a field"}
	}
	if slices.ContainsFunc(values, hasControl) {
		return &InvalidError{Field: "header", Value: web.OneLine(name, maxID), Reason: "contains a control character"}
	}
	return nil
}
