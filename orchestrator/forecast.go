package orchestrator

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"provingground/dsl"
	"provingground/internal/mina"
)

// Forecast is what a plan would do, as far as the script alone shows it: it is what the command plan shows. Amounts are nanomina, times
// are network time from the run's beginning.
type Forecast struct {
	Script       string          `json:"script"`
	Experiment   string          `json:"experiment,omitempty"`
	AssumedNodes int             `json:"assumedNodes"`          // where the script does not say how many nodes there are
	SlotSeconds  float64         `json:"slotSeconds,omitempty"` // how long a slot lasts; 0 where the configuration does not say
	Steps        []ForecastStep  `json:"steps"`
	Claims       []ForecastClaim `json:"claims,omitempty"`
	Seconds      float64         `json:"seconds"`                  // how long the steps take
	Patience     float64         `json:"patienceSeconds,omitzero"` // how much longer expects and retries may wait
	LoadEnds     float64         `json:"loadEndsSeconds"`          // when the last load ends by itself
	Payments     uint64          `json:"payments"`                 // at most
	Zkapps       uint64          `json:"zkappCommands"`            // at most
	Spent        mina.Nanomina   `json:"spentNanomina"`            // at most: fees, amounts, deployments and creation fees
	Locked       mina.Nanomina   `json:"lockedNanomina"`           // at most: put into zkApp accounts
	Funded       mina.Nanomina   `json:"fundedNanomina"`           // moved to new accounts
	Accounts     int             `json:"accounts"`                 // created by funding
	Rates        []ForecastRate  `json:"rates"`                    // from when on which rate is placed
	PeakRate     string          `json:"peakRateTps"`              // the greatest sum of the rates alive at one time
	PeakAt       float64         `json:"peakRateSeconds"`          // when that is reached
	Nodes        int             `json:"nodes"`                    // that carry load at one time, at most
	NodesNeeded  int             `json:"nodesNeeded"`              // below which the run fails, as far as the script says
	KeysNeeded   int             `json:"keysNeeded"`               // fee payers without which a load is spread over fewer nodes
	KeysLoaded   []string        `json:"keysLoaded,omitempty"`     // where keys are loaded from
	Limits       []ForecastLimit `json:"limits,omitempty"`
	Uncounted    []string        `json:"uncounted,omitempty"`     // what the figures leave out
	SlotsAwaited []int           `json:"waitsForSlots,omitempty"` // waits for slots are not in the times

	rows   []forecastRow
	missed dsl.Findings // warnings of deadlines that cannot be kept
}

// ForecastStep is one step of a forecast.
type ForecastStep struct {
	Number int     `json:"step"`
	ID     string  `json:"id,omitempty"`
	Action string  `json:"action"`
	At     float64 `json:"seconds"`
	Slot   int     `json:"slot,omitempty"` // slots from the run's beginning
	Does   string  `json:"does,omitempty"`
	Block  string  `json:"block,omitempty"` // "on failure" or "finally"
}

// ForecastClaim is an expect or a watch of a forecast.
type ForecastClaim struct {
	Kind string  `json:"kind"`
	At   float64 `json:"seconds"`
	Text string  `json:"text"`
}

// ForecastRate is the sum of the rates alive from a time on.
type ForecastRate struct {
	At  float64 `json:"seconds"`
	TPS string  `json:"tps"`
}

// ForecastLimit is a limit of the script with what the forecast takes of it.
type ForecastLimit struct {
	Text   string `json:"text"`
	Of     string `json:"of"`
	Most   string `json:"most"`             // in transactions per second, nanomina, or as a share
	Takes  string `json:"takes,omitempty"`  // likewise; "" when only the run can tell
	Margin string `json:"margin,omitempty"` // what is left; below 0 the run will stop before the step that goes beyond
	Broken bool   `json:"broken,omitempty"` // the run will go beyond it
}

// forecastRow is a row of the timeline.
type forecastRow struct {
	at             float64
	step, what, is string
}

// Forecast returns what the plan would do. nodes is how many nodes there are taken to be where the script does not say; 0 means 10.
func (p *Plan) Forecast(config *Config, nodes int) (Forecast, error) {
	if nodes == 0 {
		nodes = defaultNodes
	}
	f := Forecast{
		Script: p.Source.Name, Experiment: p.script.Experiment, AssumedNodes: nodes, Steps: []ForecastStep{}, Rates: []ForecastRate{}, PeakRate: "0",
		NodesNeeded: 1,
	}
	w := forecaster{plan: p, config: config, forecast: &f, nodes: nodes}
	if config != nil {
		w.slot = config.SlotDuration
		f.SlotSeconds = w.slot.Seconds()
	}
	at, err := w.items(p.items, 0, "")
	if err != nil {
		return Forecast{}, err
	}
	f.Seconds, f.LoadEnds = at.Seconds(), w.loadEnds.Seconds()
	for _, last := range []struct {
		name  string
		items []planItem
	}{{"on failure", p.onFailure}, {"finally", p.finally}} {
		if _, err := w.items(last.items, at, last.name); err != nil {
			return Forecast{}, err
		}
	}
	f.Patience = w.patience.Seconds()
	f.timeline(w.alive)
	return f, f.bounds(p.script.Limits)
}

// forecaster goes through a plan and keeps the time.
type forecaster struct {
	plan     *Plan
	config   *Config
	forecast *Forecast
	nodes    int
	slot     time.Duration
	alive    []interval
	loadEnds time.Duration
	patience time.Duration
}

// items forecasts statements that begin at a time, and returns when they are done.
func (w *forecaster) items(items []planItem, at time.Duration, block string) (time.Duration, error) {
	for _, item := range items {
		var err error
		switch {
		case item.step != nil:
			if at, err = w.step(item.step, at, block); err == nil && dsl.HoldsBlock(item.step.Action) {
				at, err = w.held(item, at, block)
			}
		case item.deadline != nil:
			begin := at
			at, err = w.items(item.deadline.items, at, block)
			w.deadline(item.deadline.within, at-begin)
		case item.claim != nil:
			w.claim(item, at)
		case item.parallel != nil:
			begin := at
			for _, branch := range item.parallel {
				done, failed := w.items(branch, begin, block)
				at, err = max(at, done), errors.Join(err, failed)
			}
		}
		if err != nil {
			return 0, err
		}
	}
	return at, nil
}

// held forecasts the block that a step is in force for.
func (w *forecaster) held(item planItem, at time.Duration, block string) (time.Duration, error) {
	at, err := w.items(item.body, at, block)
	w.forecast.rows = append(w.forecast.rows, forecastRow{at.Seconds(), "", item.step.Action, fmt.Sprintf("the block of %s is over: all is as before it", item.step.title())})
	return at, err
}

// later adds times; beyond a century and a half all are the same.
func later(at, span time.Duration) time.Duration {
	const end = 150 * 365 * 24 * time.Hour
	if span > end-at {
		return end
	}
	return at + span
}

// deadline warns of a deadline that what it bounds cannot keep.
func (w *forecaster) deadline(within dsl.Stretch, takes time.Duration) {
	if length, ok := within.In(w.slot); ok && takes >= length {
		w.forecast.missed = append(w.forecast.missed, dsl.Finding{
			Source: w.plan.Source, Span: within.Span, Step: -1, Severity: dsl.Warning,
			Message: fmt.Sprintf("the deadline cannot be kept: what it bounds takes at least %s, and it is %s", takes, w.stretch(within)),
		})
	}
}

func (w *forecaster) claim(item planItem, at time.Duration) {
	kind, text := "expect", item.claim.Text
	if item.claim.Watch {
		kind = "watch"
	}
	if within := item.claim.Within; within != nil {
		length, _ := within.In(w.slot)
		w.patience = later(w.patience, length)
		text += ", within " + w.stretch(*within)
	}
	if after := item.claim.After; after != nil {
		text += ", after " + w.stretch(*after)
	}
	w.forecast.Claims = append(w.forecast.Claims, ForecastClaim{kind, at.Seconds(), text})
	w.forecast.rows = append(w.forecast.rows, forecastRow{at.Seconds(), "", kind, text})
}

// stretch writes a stretch of network time.
func (w *forecaster) stretch(s dsl.Stretch) string {
	if s.Slots != nil {
		return decimalText(s.Slots) + " slots"
	}
	return s.Time.String()
}

func (w *forecaster) step(s *planStep, at time.Duration, block string) (time.Duration, error) {
	f := w.forecast
	step := ForecastStep{Number: s.Number, ID: s.ID, Action: s.Action, At: at.Seconds(), Block: block}
	if w.slot > 0 {
		step.Slot = int(at / w.slot)
	}
	c := &checking{source: w.plan.Source, step: s.Step, config: w.config, nodes: w.nodes, sizes: w.plan.sizes}
	begin := at
	var one forecast
	if s.action.forecast != nil {
		one = s.action.forecast(&forecasting{c})
	}
	parts := []string{one.String()}
	if s.Retry != nil && s.Retry.Attempts > 1 {
		every, _ := s.Retry.Every.In(w.slot)
		for range s.Retry.Attempts - 1 {
			w.patience = later(w.patience, every)
		}
		parts = append(parts, fmt.Sprintf("up to %d attempts, every %s", s.Retry.Attempts, w.stretch(s.Retry.Every)))
	}
	if s.Within != nil {
		parts = append(parts, "within "+w.stretch(*s.Within))
	}
	step.Does = strings.Join(slices.DeleteFunc(parts, func(part string) bool { return part == "" }), "; ")
	if s.language {
		step.Does = scriptNames(s.action, step.Does)
	}
	f.Steps = append(f.Steps, step)
	title := strconv.Itoa(s.Number)
	if s.ID != "" {
		title += " " + s.ID
	}
	does := step.Does
	if block != "" {
		does = strings.TrimSuffix(block+": "+does, ": ")
	}
	f.rows = append(f.rows, forecastRow{at.Seconds(), title, s.Action, does})
	if block == "on failure" { // which a run that goes as planned does not reach
		return at, nil
	}
	at = later(at, one.takes)
	if s.Within != nil {
		w.deadline(*s.Within, one.takes)
	}
	w.needs(s, c)
	if one.load != nil {
		w.alive = append(w.alive, interval{begin, begin + one.load.duration, one.load.rate, one.load.nodes})
		w.loadEnds = max(w.loadEnds, begin+one.load.duration)
		f.KeysNeeded = max(f.KeysNeeded, one.load.nodes)
	}
	return at, f.add(s.Number, one)
}

// needs counts what a step cannot do without.
func (w *forecaster) needs(s *planStep, c *checking) {
	switch s.Action {
	case "discovery":
		exactly, _ := c.literal("exactly", dsl.Bool)
		limit, ok := c.size("limit")
		if n, known := c.number("limit"); known && n.IsInt() {
			limit, ok = int(n.Num().Int64()), true
		}
		if ok && exactly.Text == "true" {
			w.forecast.NodesNeeded = max(w.forecast.NodesNeeded, limit)
		}
	case "load-keys":
		dir, known := c.text("dir")
		if a, _ := s.Arg("dir"); a.Value.Secret || !known {
			dir = "a directory that is not shown"
		}
		w.forecast.KeysLoaded = append(w.forecast.KeysLoaded, dir)
	}
}

// add counts what a step does.
func (f *Forecast) add(step int, one forecast) error {
	var errs [4]error
	if l := one.load; l != nil {
		if l.kind == kindPayments {
			f.Payments += l.transactions
		} else {
			f.Zkapps += l.transactions
		}
		f.Spent, errs[0] = f.Spent.Add(l.spent)
		f.Locked, errs[1] = f.Locked.Add(l.locked)
	}
	if one.fund != nil {
		f.Accounts += one.fund.keys
		f.Funded, errs[2] = f.Funded.Add(one.fund.amount - min(one.fund.creation, one.fund.amount))
		costs, err := sum(f.Spent, one.fund.creation, one.fund.fees)
		f.Spent, errs[3] = costs, err
	}
	if one.note != "" && one.load == nil && one.fund == nil && one.takes == 0 {
		f.Uncounted = append(f.Uncounted, fmt.Sprintf("step %d: %s", step, one.note))
	}
	if one.until > 0 {
		f.SlotsAwaited = append(f.SlotsAwaited, one.until)
	}
	if err := errors.Join(errs[:]...); err != nil {
		return fmt.Errorf("the bill of the plan at step %d: %w", step, err)
	}
	return nil
}

// interval is how long a load is alive.
type interval struct {
	from, to time.Duration
	rate     *big.Rat
	nodes    int
}

// timeline finds how the sum of the rates changes, and when it is greatest.
func (f *Forecast) timeline(alive []interval) {
	times := map[time.Duration]bool{}
	for _, i := range alive {
		times[i.from], times[i.to] = true, true
	}
	highest := new(big.Rat)
	for _, at := range slices.Sorted(maps.Keys(times)) {
		total, nodes := new(big.Rat), 0
		for _, i := range alive {
			if i.from <= at && i.to > at {
				total.Add(total, i.rate)
				nodes = max(nodes, i.nodes)
			}
		}
		f.Nodes = max(f.Nodes, nodes)
		f.Rates = append(f.Rates, ForecastRate{at.Seconds(), decimalText(total)})
		if total.Cmp(highest) > 0 {
			highest = total
			f.PeakRate, f.PeakAt = decimalText(total), at.Seconds()
		}
	}
}

// bounds compares the forecast with the script's limits.
func (f *Forecast) bounds(limits []dsl.Limit) error {
	for _, l := range limits {
		b := ForecastLimit{Text: l.Text, Of: l.Of, Most: decimalText(l.Most)}
		var takes *big.Rat
		switch l.Of {
		case "rate":
			takes, _ = dsl.Decimal(f.PeakRate)
		case "spend":
			total, err := sum(f.Spent, f.Locked, f.Funded)
			if err != nil {
				return fmt.Errorf("the bill of the plan: %w", err)
			}
			takes = new(big.Rat).SetInt(new(big.Int).SetUint64(uint64(total)))
		}
		if takes != nil {
			margin := new(big.Rat).Sub(l.Most, takes)
			b.Takes, b.Margin, b.Broken = decimalText(takes), decimalText(margin), margin.Sign() < 0
		}
		f.Limits = append(f.Limits, b)
	}
	return nil
}

// String says how a limit stands.
func (l ForecastLimit) String() string {
	unit := map[string]string{"rate": " tps", "spend": " mina"}[l.Of]
	show := func(amount string) string {
		if l.Of != "spend" {
			return amount + unit
		}
		nanomina, _ := dsl.Decimal(amount)
		return decimalText(nanomina.Quo(nanomina, big.NewRat(1_000_000_000, 1))) + unit
	}
	switch {
	case l.Takes == "":
		return l.Text + ": only the run can tell"
	case l.Broken:
		return fmt.Sprintf("%s: EXCEEDED, the plan takes %s; the run stops before the step that goes beyond", l.Text, show(l.Takes))
	default:
		return fmt.Sprintf("%s: the plan takes %s, %s are left", l.Text, show(l.Takes), show(l.Margin))
	}
}

// String says what a step does, in words.
func (f forecast) String() string {
	var parts []string
	if f.until > 0 {
		parts = append(parts, fmt.Sprintf("until slot %d", f.until))
	}
	if f.takes > 0 {
		parts = append(parts, f.takes.String())
	}
	if l := f.load; l != nil {
		parts = append(parts, fmt.Sprintf("%s tps over %d nodes for %s: %s transactions, up to %s MINA", decimalText(l.rate), l.nodes, l.duration, grouped(l.transactions), l.spent))
		if l.locked > 0 {
			parts = append(parts, fmt.Sprintf("%s MINA locked", l.locked))
		}
	}
	if g := f.fund; g != nil {
		parts = append(parts, fmt.Sprintf("%d accounts with %s MINA, of which %s for their creation; fees up to %s MINA", g.keys, g.amount, g.creation, g.fees))
	}
	if f.stops != "" {
		parts = append(parts, f.stops+" nodes")
	}
	if f.does != "" {
		parts = append(parts, f.does)
	}
	if f.note != "" {
		parts = append(parts, f.note)
	}
	return strings.Join(parts, "; ")
}

// grouped writes a count with commas between the thousands.
func grouped(n uint64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// WriteJSON writes the forecast as one JSON object.
func (f Forecast) WriteJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(f); err != nil {
		return fmt.Errorf("write the plan: %w", err)
	}
	return nil
}

// WriteText writes the forecast for people.
func (f Forecast) WriteText(w io.Writer) error {
	var text strings.Builder
	name := f.Script
	if f.Experiment != "" {
		name = fmt.Sprintf("%q (%s)", f.Experiment, f.Script)
	}
	fmt.Fprintf(&text, "Plan of %s. Nothing was sent.\n\n", name)
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	slot := ""
	if f.SlotSeconds > 0 {
		slot = "slot"
	}
	_, _ = fmt.Fprintf(table, "at\t%s\tstep\taction\twhat\n", slot)
	for _, r := range f.rows {
		if f.SlotSeconds > 0 {
			slot = fmt.Sprintf("+%d", int(r.at/f.SlotSeconds))
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", clockTime(r.at), slot, r.step, r.what, r.is)
	}
	_, _ = fmt.Fprintln(table)
	row := func(name, format string, values ...any) {
		_, _ = fmt.Fprintf(table, "%s\t\t\t\t%s\n", name, fmt.Sprintf(format, values...))
	}
	row("steps", "%d, in %s of network time%s%s", len(f.Steps), clockTime(f.Seconds), f.slots(), f.patience())
	if f.Nodes > 0 {
		row("load", "up to %s payments and %s zkApp commands; the last ends at %s%s", grouped(f.Payments), grouped(f.Zkapps), clockTime(f.LoadEnds), f.after())
		row("peak", "%s tps, from %s on", f.PeakRate, clockTime(f.PeakAt))
		row("rate", "%s", f.rates())
		row("nodes", "at most %d at one time (%d are assumed where the script does not say), and no more than there are fee payers", f.Nodes, f.AssumedNodes)
	}
	if f.NodesNeeded > 1 {
		row("needed", "%d nodes, or the run fails", f.NodesNeeded)
	}
	if len(f.KeysLoaded) > 0 {
		row("keys", "from %s; a load is spread over no more nodes than it has fee payers, here up to %d", abridged(unique(f.KeysLoaded)), f.KeysNeeded)
	}
	if f.Accounts > 0 {
		row("accounts", "%s created, with %s MINA", grouped(uint64(f.Accounts)), f.Funded)
	}
	row("spent", "at most %s MINA: fees, amounts, deployments, creation of accounts", f.Spent)
	if f.Locked > 0 {
		row("locked", "at most %s MINA in zkApp accounts", f.Locked)
	}
	for _, l := range f.Limits {
		row("limit", "%s", l)
	}
	for _, u := range f.Uncounted {
		row("not counted", "%s", u)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("write the plan: %w", err)
	}
	var trimmed strings.Builder // the table fills empty cells at a line's end
	for line := range strings.Lines(text.String()) {
		trimmed.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	if _, err := io.WriteString(w, trimmed.String()); err != nil {
		return fmt.Errorf("write the plan: %w", err)
	}
	return nil
}

// rates says how the rate changes; of many changes the first ones.
func (f Forecast) rates() string {
	const most = 8
	var parts []string
	for i, r := range f.Rates {
		if i == most {
			parts = append(parts, fmt.Sprintf("… (%d more changes)", len(f.Rates)-most))
			break
		}
		parts = append(parts, fmt.Sprintf("%s %s", clockTime(r.At), r.TPS))
	}
	return strings.Join(parts, ", ") + " tps"
}

// unique returns the texts without repetition, in order.
func unique(texts []string) []string {
	var distinct []string
	for _, text := range texts {
		if !slices.Contains(distinct, text) {
			distinct = append(distinct, text)
		}
	}
	return distinct
}

// abridged lists texts; of many the first ones.
func abridged(texts []string) string {
	const most = 3
	if len(texts) <= most {
		return strings.Join(texts, ", ")
	}
	return fmt.Sprintf("%s and %d other directories", strings.Join(texts[:most], ", "), len(texts)-most)
}

func (f Forecast) patience() string {
	if f.Patience == 0 {
		return ""
	}
	return fmt.Sprintf(", and up to %s more where it waits for what it expects", clockTime(f.Patience))
}

func (f Forecast) slots() string {
	if len(f.SlotsAwaited) == 0 {
		return ""
	}
	return ", and as long as it takes until slot " + fmt.Sprint(slices.Max(f.SlotsAwaited))
}

func (f Forecast) after() string {
	if f.LoadEnds <= f.Seconds {
		return ""
	}
	return fmt.Sprintf(", %s after the script's last step", clockTime(f.LoadEnds-f.Seconds))
}

// clockTime writes seconds as 1h02m03s.
func clockTime(seconds float64) string {
	return (time.Duration(seconds) * time.Second).String()
}
