package gateway

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.yaml.in/yaml/v3"
)

var (
	descName   = regexp.MustCompile(`fqName: "([^"]+)"`)
	descLabels = regexp.MustCompile(`variableLabels: \{([^}]*)\}`)
	metricUse  = regexp.MustCompile(`\b(purser_[a-z_]+)(\{[^}]*\})?`)
	grouping   = regexp.MustCompile(`\b(?:by|on) \(([^)]*)\)`)
)

// measured lists the metrics that a gateway registers, with their labels.
func measured(t *testing.T) map[string][]string {
	t.Helper()
	all := new(everything)
	if err := newMeter().register(all); err != nil {
		t.Fatal(err)
	}
	found := map[string][]string{}
	for _, c := range all.collectors {
		ch := make(chan *prometheus.Desc, 16)
		c.Describe(ch)
		close(ch)
		for d := range ch {
			name := descName.FindStringSubmatch(d.String())[1]
			found[name] = strings.FieldsFunc(descLabels.FindStringSubmatch(d.String())[1], func(r rune) bool { return r == ',' })
		}
	}
	return found
}

// everything is a registry that remembers what was registered.
type everything struct {
	prometheus.Registerer
	collectors []prometheus.Collector
}

func (e *everything) Register(c prometheus.Collector) error {
	e.collectors = append(e.collectors, c)
	return nil
}

// TestWatched holds that alerts, dashboard and docs speak of metrics that there
// are, with labels that they have, and that no metric is forgotten by all of them.
func TestWatched(t *testing.T) {
	t.Parallel()
	have := measured(t)
	if len(have) < 10 {
		t.Fatalf("got %d metrics, want more: %v", len(have), have)
	}
	mentioned := map[string]bool{}
	for _, name := range []string{"alerts.yml", "grafana/purser.json"} {
		for _, expr := range expressions(t, filepath.Join("..", "..", "deploy", name)) {
			labels := []string{"instance", "job", "le"} // which Prometheus adds
			for _, m := range metricUse.FindAllStringSubmatch(expr, -1) {
				metric := metricOf(have, m[1])
				if metric == "" {
					t.Errorf("%s: there is no metric %s", name, m[1])
				}
				mentioned[metric] = true
				labels = append(labels, have[metric]...)
				for pair := range strings.SplitSeq(strings.Trim(m[2], "{}"), ",") {
					if label, _, ok := strings.Cut(pair, "="); ok && !slices.Contains(have[metric], label) {
						t.Errorf("%s: %s has no label %s", name, metric, label)
					}
				}
			}
			for _, m := range grouping.FindAllStringSubmatch(expr, -1) {
				for label := range strings.SplitSeq(m[1], ", ") {
					if !slices.Contains(labels, label) {
						t.Errorf("%s: nothing in %s has the label %s", name, expr, label)
					}
				}
			}
		}
	}
	docs, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range metricUse.FindAllStringSubmatch(string(docs), -1) {
		if metricOf(have, m[1]) == "" {
			t.Errorf("docs/operations.md: there is no metric %s", m[1])
		}
	}
	for metric := range have {
		if !mentioned[metric] {
			t.Errorf("neither an alert nor the dashboard shows %s", metric)
		}
	}
}

// metricOf is the metric that a series belongs to; "" = there is none.
func metricOf(have map[string][]string, series string) string {
	for _, suffix := range []string{"", "_bucket", "_sum", "_count"} {
		if name, ok := strings.CutSuffix(series, suffix); ok {
			if _, ok := have[name]; ok {
				return name
			}
		}
	}
	return ""
}

// watching is a dashboard of Grafana or a file of Prometheus' rules. JSON is YAML.
type watching struct {
	Panels []struct{ Targets []struct{ Expr string } }
	Groups []struct {
		Rules []struct{ Alert, Expr string }
	}
}

// expressions lists those of a dashboard or of a file of rules.
func expressions(t *testing.T, path string) (all []string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var w watching
	if err := yaml.Unmarshal(b, &w); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	for _, p := range w.Panels {
		for _, target := range p.Targets {
			all = append(all, target.Expr)
		}
	}
	for _, g := range w.Groups {
		for _, r := range g.Rules {
			all = append(all, r.Expr)
		}
	}
	if len(all) < 10 {
		t.Errorf("%s has %d expressions, want more", path, len(all))
	}
	return all
}
