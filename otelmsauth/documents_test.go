package otelmsauth_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// What the dashboard, the alert rules and the documentation name must exist.

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// promtool runs Prometheus's tool for rules.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatal("promtool is missing. To install it: scripts/setup, or apt-get install -y prometheus")
	}
	if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// notQuick skips a test that takes more than this module.
func notQuick(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("the quick tests start no other programs")
	}
}

func TestAlertRulesAreValid(t *testing.T) {
	notQuick(t)
	t.Parallel()
	promtool(t, "check", "rules", "alerts.yaml")
}

// Each alert fires when it is to, and not when it is not.
func TestAlertsFire(t *testing.T) {
	notQuick(t)
	t.Parallel()
	promtool(t, "test", "rules", filepath.Join("testdata", "alerts_test.yaml"))
}

// An alert is of no use to somebody who does not know what to do.
func TestAlertsSayWhatToDo(t *testing.T) {
	t.Parallel()
	cases := readFile(t, "testdata/alerts_test.yaml")
	rules := strings.Split(readFile(t, "alerts.yaml"), "- alert: ")[1:]
	if len(rules) < 10 {
		t.Fatalf("%d rules are found", len(rules))
	}
	for _, rule := range rules {
		name, _, _ := strings.Cut(rule, "\n")
		for _, part := range []string{"expr: ", "severity: ", "summary: ", "users: ", "action: ", "docs: "} {
			if !strings.Contains(rule, "    "+part) {
				t.Errorf("%s has no %q", name, part)
			}
		}
		for _, what := range []string{" fires", " does not fire"} {
			if !strings.Contains(cases, "name: "+name+what+"\n") {
				t.Errorf("no test says when %s%s", name, what)
			}
		}
		link := regexp.MustCompile(`docs: (docs/\S+\.md)#(\S+)`).FindStringSubmatch(rule)
		if link == nil {
			t.Errorf("%s links to no documentation", name)
			continue
		}
		found := false
		for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(readFile(t, "../"+link[1]), -1) {
			anchor := regexp.MustCompile(`[^\w\- ]`).ReplaceAllString(strings.ToLower(heading[1]), "")
			found = found || strings.ReplaceAll(anchor, " ", "-") == link[2]
		}
		if !found {
			t.Errorf("%s: %s has no heading %s", name, link[1], link[2])
		}
	}
}

// A dashboard is what Grafana imports, as far as this package uses it ("JSON model" in
// Grafana's documentation).
type dashboard struct {
	Title, UID    string
	SchemaVersion int
	Templating    struct {
		List []struct{ Name, Type, Definition string }
	}
	Panels []panel
}

type panel struct {
	ID                       int
	Type, Title, Description string
	GridPos                  struct{ H, W, X, Y int }
	Datasource               struct{ Type, UID string }
	Targets                  []struct{ RefID, Expr, LegendFormat string }
	FieldConfig              struct{ Defaults struct{ Unit string } }
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	if err := json.Unmarshal([]byte(readFile(t, "dashboard.json")), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// expression is that of a target, with values for Grafana's variables.
func expression(expr string) string {
	return strings.NewReplacer("$__rate_interval", "5m", "$job", ".*").Replace(expr)
}

func TestDashboard(t *testing.T) {
	t.Parallel()
	d := readDashboard(t)
	if d.Title == "" || d.UID == "" || d.SchemaVersion < 36 {
		t.Errorf("title %q, uid %q, schemaVersion %d", d.Title, d.UID, d.SchemaVersion)
	}
	variables := map[string]string{}
	for _, v := range d.Templating.List {
		variables[v.Name] = v.Type
	}
	if variables["datasource"] != "datasource" || variables["job"] != "query" {
		t.Errorf("variables %v", variables)
	}
	ids := map[int]bool{}
	taken := map[[2]int]string{}
	graphs := 0
	for _, p := range d.Panels {
		if p.Title == "" || ids[p.ID] || p.ID == 0 {
			t.Errorf("panel %d %q: id or title is missing or used twice", p.ID, p.Title)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Errorf("%q is over %q or the edge", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		graphs++
		if p.Type != "timeseries" && p.Type != "stat" || p.Description == "" || p.FieldConfig.Defaults.Unit == "" ||
			p.Datasource.Type != "prometheus" || p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
			t.Errorf("panel %q is not complete: %+v", p.Title, p)
		}
		refs := map[string]bool{}
		for _, target := range p.Targets {
			if target.RefID == "" || refs[target.RefID] {
				t.Errorf("panel %q: refId %q", p.Title, target.RefID)
			}
			refs[target.RefID] = true
			if left := strings.Count(expression(target.Expr), "$"); left > 0 {
				t.Errorf("panel %q: unknown variable in %s", p.Title, target.Expr)
			}
			if strings.Count(target.Expr, `job=~"$job"`) != strings.Count(target.Expr, "{") {
				t.Errorf("panel %q: not only of the chosen app: %s", p.Title, target.Expr)
			}
		}
	}
	if graphs < 15 {
		t.Errorf("%d panels", graphs)
	}
}

// Prometheus reads each expression of the dashboard.
func TestExpressionsOfTheDashboard(t *testing.T) {
	notQuick(t)
	t.Parallel()
	var rules bytes.Buffer
	rules.WriteString("groups:\n- name: dashboard\n  rules:\n")
	n := 0
	for _, p := range readDashboard(t).Panels {
		for _, target := range p.Targets {
			n++
			fmt.Fprintf(&rules, "  - record: x:%d\n    expr: %q\n", n, expression(target.Expr))
		}
	}
	name := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(name, rules.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", name)
}

var happened struct {
	sync.Once
	families map[string]map[string]bool // labels by metric, as Prometheus has them
	metrics  map[string]reality         // by OpenTelemetry's name
	spans    map[string]map[string]bool // attributes by name
	kinds    map[string]string          // of spans
}

// A reality is what a metric is.
type reality struct {
	kind, unit string
	attributes map[string]bool
}

// happen returns what there is after all has happened.
func happen(t *testing.T) {
	t.Helper()
	happened.Do(func() {
		o := eventful(t)
		happened.families = map[string]map[string]bool{}
		for name, family := range o.families(t) {
			labels := map[string]bool{}
			for _, m := range family.Metric {
				for _, l := range m.Label {
					labels[l.GetName()] = true
				}
			}
			happened.families[name] = labels
		}
		happened.metrics = map[string]reality{}
		for name, m := range o.names(t) {
			r := reality{unit: m.Unit, attributes: map[string]bool{}}
			switch data := m.Data.(type) {
			case metricdata.Histogram[float64]:
				r.kind = "histogram"
				for _, p := range data.DataPoints {
					for _, a := range p.Attributes.ToSlice() {
						r.attributes[string(a.Key)] = true
					}
				}
			case metricdata.Sum[int64]:
				r.kind = "counter"
				for _, p := range data.DataPoints {
					for _, a := range p.Attributes.ToSlice() {
						r.attributes[string(a.Key)] = true
					}
				}
			case metricdata.Gauge[int64]:
				r.kind = "gauge"
				for _, p := range data.DataPoints {
					for _, a := range p.Attributes.ToSlice() {
						r.attributes[string(a.Key)] = true
					}
				}
			default:
				t.Errorf("%s is a %T", name, data)
			}
			happened.metrics[name] = r
		}
		happened.spans, happened.kinds = map[string]map[string]bool{}, map[string]string{}
		for _, s := range o.spans.Ended() {
			name := s.Name()
			if !strings.HasPrefix(name, "msauth.") {
				name = "GET" // and POST
			}
			if happened.spans[name] == nil {
				happened.spans[name] = map[string]bool{}
			}
			happened.kinds[name] = s.SpanKind().String()
			for key := range attributesOf(s) {
				happened.spans[name][key] = true
			}
		}
	})
	if len(happened.metrics) == 0 {
		t.Fatal("nothing has happened: another test has failed")
	}
}

// Every metric and label of the dashboard and the rules is there in a real scrape.
func TestMetricsOfTheDashboardAndTheRulesExist(t *testing.T) {
	t.Parallel()
	happen(t)
	expressions := map[string]string{}
	for _, p := range readDashboard(t).Panels {
		for _, target := range p.Targets {
			expressions[target.Expr] = "panel " + p.Title
		}
	}
	for _, rule := range strings.Split(readFile(t, "alerts.yaml"), "- alert: ")[1:] {
		name, _, _ := strings.Cut(rule, "\n")
		expr, _, _ := strings.Cut(rule[strings.Index(rule, "expr: ")+6:], "labels:\n")
		expr, _, _ = strings.Cut(expr, "for: ")
		expressions[expr] = "alert " + name
	}
	used := map[string]bool{}
	selector := regexp.MustCompile(`\b((?:msauth|http)_\w+)\b(?:\{([^}]*)\})?`)
	grouping := regexp.MustCompile(`\b(?:by|on) \(([^)]*)\)`)
	target := map[string]bool{"job": true, "instance": true, "le": true} // from Prometheus itself
	for expr, where := range expressions {
		groups := map[string]bool{}
		for _, g := range grouping.FindAllStringSubmatch(expr, -1) {
			for label := range strings.SplitSeq(g[1], ", ") {
				groups[label] = true
			}
		}
		found := 0
		for _, match := range selector.FindAllStringSubmatch(grouping.ReplaceAllString(expr, ""), -1) {
			family := strings.TrimSuffix(match[1], "_bucket")
			if happened.families[family] == nil {
				family = strings.TrimSuffix(match[1], "_count")
			}
			labels := happened.families[family]
			if labels == nil {
				t.Errorf("%s: there is no metric %s", where, match[1])
				continue
			}
			found++
			used[family] = true
			for _, m := range regexp.MustCompile(`(\w+)(?:=~|!~|!=|=)"`).FindAllStringSubmatch(match[2], -1) {
				if !labels[m[1]] && !target[m[1]] {
					t.Errorf("%s: %s has no label %s", where, family, m[1])
				}
			}
			for label := range groups {
				if !labels[label] && !target[label] {
					t.Errorf("%s: %s has no label %s", where, family, label)
				}
			}
		}
		if found == 0 {
			t.Errorf("%s: no metric is found in %s", where, expr)
		}
	}
	for family := range happened.families {
		if strings.HasPrefix(family, "msauth_") && !used[family] {
			t.Errorf("%s is neither on the dashboard nor in a rule", family)
		}
	}
}

// rows are those of the first table of a section, by cells.
func rows(t *testing.T, heading string) (rows [][]string) {
	t.Helper()
	_, section, found := strings.Cut(readFile(t, "../docs/metrics.md"), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("docs/metrics.md has no section %s", heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	for line := range strings.Lines(section) {
		if cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|"); strings.HasPrefix(line, "| `") {
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			rows = append(rows, cells)
		}
	}
	return rows
}

func codesIn(cell string) (list []string) {
	for _, c := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
		list = append(list, c[1])
	}
	slices.Sort(list)
	return list
}

func keysOf(set map[string]bool) (list []string) {
	for key := range set {
		list = append(list, key)
	}
	slices.Sort(list)
	return list
}

// The tables of the documentation are what there is. This one: names here and in
// Prometheus, kinds, units and attributes.
func TestTableOfMetrics(t *testing.T) {
	t.Parallel()
	happen(t)
	documented := map[string]bool{}
	for _, row := range rows(t, "Metrics") {
		if len(row) != 5 {
			t.Errorf("row %q", row)
			continue
		}
		name, prometheus := codesIn(row[0])[0], codesIn(row[1])[0]
		documented[name] = true
		is, ok := happened.metrics[name]
		if !ok {
			t.Errorf("%s is not there", name)
			continue
		}
		if happened.families[prometheus] == nil {
			t.Errorf("%s is not there at Prometheus", prometheus)
		}
		kind := is.kind
		if is.unit == "s" {
			kind += ", s"
		}
		if row[2] != kind {
			t.Errorf("%s: %q, want %q", name, row[2], kind)
		}
		if got, want := codesIn(row[3]), keysOf(is.attributes); !slices.Equal(got, want) {
			t.Errorf("%s: attributes %q, want %q", name, got, want)
		}
	}
	for name := range happened.metrics {
		if !documented[name] {
			t.Errorf("%s is not in the table", name)
		}
	}
}

// What the documentation shows is part of files that are compiled.
func TestSnippets(t *testing.T) {
	t.Parallel()
	flat := regexp.MustCompile(`(?m)^[ \t]+|[ \t]+$|^\s*\n`)
	sources := ""
	for _, name := range []string{"example_test.go", "../example/replicas/metrics.go"} {
		sources += flat.ReplaceAllString(readFile(t, name), "")
	}
	found := regexp.MustCompile("(?ms)^```go\n(.*?)^```").FindAllStringSubmatch(readFile(t, "../docs/metrics.md"), -1)
	if len(found) == 0 {
		t.Fatal("no snippet is found")
	}
	for _, snippet := range found {
		if !strings.Contains(sources, flat.ReplaceAllString(snippet[1], "")) {
			t.Errorf("not compiled:\n%s", snippet[1])
		}
	}
}

// This one: kinds and attributes.
func TestTableOfSpans(t *testing.T) {
	t.Parallel()
	happen(t)
	documented := map[string]bool{}
	for _, row := range rows(t, "Spans") {
		if len(row) != 4 {
			t.Errorf("row %q", row)
			continue
		}
		name := codesIn(row[0])[0]
		documented[name] = true
		if row[1] != happened.kinds[name] {
			t.Errorf("%s: kind %q, want %q", name, row[1], happened.kinds[name])
		}
		for _, key := range keysOf(happened.spans[name]) {
			if !slices.Contains(codesIn(row[2]), key) {
				t.Errorf("%s: attribute %s is missing", name, key)
			}
		}
		for _, key := range codesIn(row[2]) {
			if known := happened.spans[name][key] || strings.HasPrefix(key, "msauth.") && happened.spans["msauth.renewal"][key]; !known {
				t.Errorf("%s: attribute %s is not there", name, key)
			}
		}
	}
	for name := range happened.spans {
		if !documented[name] {
			t.Errorf("span %s is not in the table", name)
		}
	}
}
