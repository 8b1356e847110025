package metrics_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"provingground/snarkpool/metrics"
)

const deployed = "../../deploy/snarkpool"

func read(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(deployed, name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// words are what an expression may hold besides our metrics, labels and numbers.
func words() []string {
	return []string{
		"up", "sum", "avg", "max", "count", "by", "on", "unless", "and", "or", "group_left", "offset", "le",
		"rate", "increase", "changes", "histogram_quantile", "sum_over_time", "count_over_time",
	}
}

// checkExpression returns what is wrong with a query, and the labels that its metrics have.
func checkExpression(expression string) (wrong []string, labels []string) {
	complain := func(format string, a ...any) { wrong = append(wrong, fmt.Sprintf(format, a...)) }
	labels = []string{"instance", "job", "le"}
	table := metrics.Table()
	find := func(name string) (metrics.Metric, bool) {
		for _, metric := range table {
			if metric.Name == name && metric.Kind != metrics.Histogram || metric.Kind == metrics.Histogram &&
				slices.Contains([]string{metric.Name + "_bucket", metric.Name + "_sum", metric.Name + "_count"}, name) {
				return metric, true
			}
		}
		return metrics.Metric{}, false
	}
	ours := 0
	for _, match := range regexp.MustCompile(`(snarkpool_\w+|\bup)(\{[^}]*\})?`).FindAllStringSubmatch(expression, -1) {
		metric, found := find(match[1])
		switch {
		case match[1] == "up":
		case !found:
			complain("there is no metric %s", match[1])
			continue
		}
		ours++
		labels = append(labels, metric.Labels...)
		selector := strings.Trim(match[2], "{}")
		for matcher := range strings.SplitSeq(selector, `",`) {
			if selector == "" {
				break
			}
			parts := regexp.MustCompile(`^(\w+)(=|!=|=~|!~)"([^"]*)"?$`).FindStringSubmatch(matcher)
			if parts == nil {
				complain("%s: no matcher: %s", match[1], matcher)
				continue
			}
			if !slices.Contains(append([]string{"instance", "job"}, metric.Labels...), parts[1]) {
				complain("%s has no label %s", match[1], parts[1])
			}
			known := map[string][]string{"state": metrics.States(), "health": metrics.Healths()}[parts[1]]
			for value := range strings.SplitSeq(parts[3], "|") {
				if known != nil && !slices.Contains(known, value) {
					complain("%s: there is no %s %s", match[1], parts[1], value)
				}
			}
		}
	}
	if ours == 0 {
		complain("none of our metrics is in %s", expression)
	}
	for _, match := range regexp.MustCompile(`\b(rate|increase|changes)\((\w+)`).FindAllStringSubmatch(expression, -1) {
		if metric, found := find(match[2]); found && metric.Kind == metrics.Gauge {
			complain("%s of %s, which is no counter", match[1], match[2])
		}
	}
	bare := regexp.MustCompile(`\{[^}]*\}|\[\w+\]|offset \w+`).ReplaceAllString(expression, " ")
	for _, word := range regexp.MustCompile(`[A-Za-z_]\w*`).FindAllString(bare, -1) {
		if _, found := find(word); !found && !slices.Contains(words(), word) && !slices.Contains(labels, word) {
			complain("%s is neither a metric, nor a label of these metrics, nor a word that this test knows", word)
		}
	}
	depth := 0
	for _, r := range bare {
		switch r {
		case '(':
			depth++
		case ')':
			depth--
		}
		if depth < 0 {
			break
		}
	}
	if depth != 0 {
		complain("its parentheses do not match")
	}
	return wrong, labels
}

// TestCheckExpression makes sure that the checks below can fail.
func TestCheckExpression(t *testing.T) {
	t.Parallel()
	for expression, want := range map[string]string{
		`sum by (pool) (snarkpool_workers{state="proving",pool=~"$pool"}) > 0`:                     "",
		`histogram_quantile(0.5, sum by (le) (rate(snarkpool_proof_duration_seconds_bucket[5m])))`: "",
		`snarkpool_worker`:                          "no metric snarkpool_worker",
		`snarkpool_proof_duration_seconds`:          "no metric",
		`snarkpool_workers{state="sleeping"}`:       "no state sleeping",
		`snarkpool_gpu_health{health=~"gone|sick"}`: "no health sick",
		`snarkpool_workers{worker="x"}`:             "no label worker",
		`sum by (gpu) (snarkpool_workers)`:          "gpu is neither",
		`snarkpol_workers > snarkpool_workers`:      "snarkpol_workers is neither",
		`rate(snarkpool_workers[5m])`:               "no counter",
		`sum(snarkpool_workers`:                     "parentheses",
		`node_load1`:                                "none of our metrics",
	} {
		wrong, _ := checkExpression(expression)
		if got := strings.Join(wrong, "; "); (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", expression, got, want)
		}
	}
}

// checkTemplate returns the labels that a text for people mentions and that are not there.
func checkTemplate(text, pattern string, labels []string) []string {
	var wrong []string
	for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		if !slices.Contains(labels, match[1]) {
			wrong = append(wrong, match[1])
		}
	}
	return wrong
}

func TestAlerts(t *testing.T) {
	t.Parallel()
	parsed, err := parseYAML(string(read(t, "alerts.yml")))
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := json.Marshal(parsed)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string `json:"name"`
			Rules []struct {
				Alert       string            `json:"alert"`
				Expr        string            `json:"expr"`
				For         string            `json:"for"`
				Labels      map[string]string `json:"labels"`
				Annotations map[string]string `json:"annotations"`
			} `json:"rules"`
		} `json:"groups"`
	}
	decoder := json.NewDecoder(strings.NewReader(string(encoded)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&file); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, group := range file.Groups {
		for _, rule := range group.Rules {
			wrong, labels := checkExpression(rule.Expr)
			if !regexp.MustCompile(`^Snarkpool[A-Z]\w+$`).MatchString(rule.Alert) || seen[rule.Alert] {
				wrong = append(wrong, "its name is no name of its own")
			}
			seen[rule.Alert] = true
			if rule.For != "" && !regexp.MustCompile(`^[1-9]\d*[smhd]$`).MatchString(rule.For) {
				wrong = append(wrong, "for: "+rule.For)
			}
			if len(rule.Labels) != 1 || !slices.Contains([]string{"critical", "warning", "info"}, rule.Labels["severity"]) {
				wrong = append(wrong, "its severity is none")
			}
			if len(rule.Annotations) != 2 {
				wrong = append(wrong, "it needs a summary and a description")
			}
			for _, name := range []string{"summary", "description"} {
				text := rule.Annotations[name]
				if text == "" || len(checkTemplate(text, `\$labels\.(\w+)`, labels)) > 0 {
					wrong = append(wrong, name+": "+text)
				}
			}
			for _, complaint := range wrong {
				t.Errorf("%s: %s", rule.Alert, complaint)
			}
		}
	}
	if len(seen) < 20 {
		t.Errorf("%d alerts were found", len(seen))
	}
}

func TestBoard(t *testing.T) {
	t.Parallel()
	type target struct {
		Expr         string `json:"expr"`
		LegendFormat string `json:"legendFormat"`
	}
	var board struct {
		Title, UID string
		Templating struct {
			List []struct{ Name, Type, Query string }
		}
		Annotations struct{ List []target }
		Panels      []struct {
			ID          int
			Type, Title string
			GridPos     struct{ H, W, X, Y int }
			Targets     []target
		}
	}
	if err := json.Unmarshal(read(t, "grafana.json"), &board); err != nil {
		t.Fatal(err)
	}
	if board.Title == "" || board.UID == "" {
		t.Error("the board has no title or no UID")
	}
	variables := []string{}
	for _, variable := range board.Templating.List {
		variables = append(variables, variable.Name)
		if variable.Type != "query" {
			continue
		}
		parts := regexp.MustCompile(`^label_values\((\w+), (\w+)\)$`).FindStringSubmatch(variable.Query)
		if parts == nil {
			t.Errorf("variable %s: %s", variable.Name, variable.Query)
			continue
		}
		if wrong, labels := checkExpression(parts[1]); len(wrong) > 0 || !slices.Contains(labels, parts[2]) {
			t.Errorf("variable %s: %v, labels %v", variable.Name, wrong, labels)
		}
	}
	targets, ids, taken := slices.Clone(board.Annotations.List), map[int]bool{}, map[[2]int]string{}
	for _, panel := range board.Panels {
		if panel.Title == "" || ids[panel.ID] || panel.Type != "row" && len(panel.Targets) == 0 {
			t.Errorf("panel %d %q: no title, no ID of its own, or no targets", panel.ID, panel.Title)
		}
		ids[panel.ID] = true
		targets = append(targets, panel.Targets...)
		for x := panel.GridPos.X; x < panel.GridPos.X+panel.GridPos.W; x++ {
			for y := panel.GridPos.Y; y < panel.GridPos.Y+panel.GridPos.H; y++ {
				if other, is := taken[[2]int{x, y}]; is || x >= 24 {
					t.Fatalf("%q lies over %q or the edge", panel.Title, other)
				}
				taken[[2]int{x, y}] = panel.Title
			}
		}
	}
	if len(targets) < 25 {
		t.Errorf("%d targets were found", len(targets))
	}
	mentioned := map[string]bool{}
	for _, target := range targets {
		wrong, labels := checkExpression(target.Expr)
		wrong = append(wrong, checkTemplate(target.LegendFormat, `\{\{(\w+)\}\}`, labels)...)
		wrong = append(wrong, checkTemplate(target.Expr, `\$(\w+)`, variables)...)
		for _, complaint := range wrong {
			t.Errorf("%s: %s", target.Expr, complaint)
		}
		for _, name := range regexp.MustCompile(`snarkpool_\w+`).FindAllString(target.Expr, -1) {
			mentioned[name] = true
		}
	}
	if len(mentioned) < 20 {
		t.Errorf("the board mentions only %d metrics", len(mentioned))
	}
}
