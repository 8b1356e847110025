package orchestrator

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"provingground/internal/mina"
)

// Forecast is what a plan would do, as far as the script alone shows it: it is what the command plan shows. Amounts are nanomina, times
// are network time from the run's beginning.
type Forecast struct {
	Script       string         `json:"script"`
	AssumedNodes int            `json:"assumedNodes"` // where the script does not say how many nodes there are
	Steps        []ForecastStep `json:"steps"`
	Seconds      float64        `json:"seconds"`                 // how long the steps take
	LoadEnds     float64        `json:"loadEndsSeconds"`         // when the last load ends by itself
	Payments     uint64         `json:"payments"`                // at most
	Zkapps       uint64         `json:"zkappCommands"`           // at most
	Spent        mina.Nanomina  `json:"spentNanomina"`           // at most: fees, amounts, deployments and creation fees
	Locked       mina.Nanomina  `json:"lockedNanomina"`          // at most: put into zkApp accounts
	Funded       mina.Nanomina  `json:"fundedNanomina"`          // moved to new accounts
	Accounts     int            `json:"accounts"`                // created by funding
	PeakRate     string         `json:"peakRateTps"`             // the greatest sum of the rates alive at one time
	PeakAt       float64        `json:"peakRateSeconds"`         // when that is reached
	Nodes        int            `json:"nodes"`                   // that carry load at one time, at most
	Uncounted    []string       `json:"uncounted,omitempty"`     // what the figures leave out
	SlotsAwaited []int          `json:"waitsForSlots,omitempty"` // waits for slots are not in the times
}

// ForecastStep is one step of a forecast.
type ForecastStep struct {
	Number int     `json:"step"`
	Action string  `json:"action"`
	At     float64 `json:"seconds"`
	Does   string  `json:"does,omitempty"`
}

// Forecast returns what the plan would do. nodes is how many nodes there are taken to be where the script does not say; 0 means 10.
func (p *Plan) Forecast(config *Config, nodes int) (Forecast, error) {
	if nodes == 0 {
		nodes = defaultNodes
	}
	f := Forecast{Script: p.Source.Name, AssumedNodes: nodes, Steps: []ForecastStep{}, PeakRate: "0"}
	var at, loadEnds time.Duration
	var alive []interval
	for _, item := range p.items {
		if item.step == nil {
			continue
		}
		step := ForecastStep{Number: item.step.Number, Action: item.step.Action, At: at.Seconds()}
		if item.step.action.forecast != nil {
			c := &checking{source: p.Source, step: item.step.Step, config: config, nodes: nodes}
			one := item.step.action.forecast(&forecasting{c})
			step.Does = one.String()
			if err := f.add(item.step.Number, one); err != nil {
				return Forecast{}, err
			}
			if one.load != nil {
				alive = append(alive, interval{at, at + one.load.duration, one.load.rate, one.load.nodes})
				loadEnds = max(loadEnds, at+one.load.duration)
			}
			at += one.takes
		}
		f.Steps = append(f.Steps, step)
	}
	f.Seconds, f.LoadEnds = at.Seconds(), loadEnds.Seconds()
	f.peak(alive)
	return f, nil
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

// peak finds when the sum of the rates is greatest. It can only rise where a load begins.
func (f *Forecast) peak(alive []interval) {
	highest := new(big.Rat)
	slices.SortStableFunc(alive, func(a, b interval) int { return cmp.Compare(a.from, b.from) })
	for _, begin := range alive {
		total, nodes := new(big.Rat), 0
		for _, other := range alive {
			if other.from > begin.from {
				break
			}
			if other.to > begin.from {
				total.Add(total, other.rate)
				nodes = max(nodes, other.nodes)
			}
		}
		f.Nodes = max(f.Nodes, nodes)
		if total.Cmp(highest) > 0 {
			highest = total
			f.PeakRate, f.PeakAt = decimalText(total), begin.from.Seconds()
		}
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
	fmt.Fprintf(&text, "Plan of %s. Nothing was sent.\n\n", f.Script)
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "at\tstep\taction\twhat")
	for _, s := range f.Steps {
		_, _ = fmt.Fprintf(table, "%s\t%d\t%s\t%s\n", clockTime(s.At), s.Number, s.Action, s.Does)
	}
	_, _ = fmt.Fprintln(table)
	row := func(name, format string, values ...any) {
		_, _ = fmt.Fprintf(table, "%s\t\t\t%s\n", name, fmt.Sprintf(format, values...))
	}
	row("steps", "%d, in %s of network time%s", len(f.Steps), clockTime(f.Seconds), f.slots())
	if f.Nodes > 0 {
		row("load", "up to %s payments and %s zkApp commands; the last ends at %s%s", grouped(f.Payments), grouped(f.Zkapps), clockTime(f.LoadEnds), f.after())
		row("peak", "%s tps, from %s on", f.PeakRate, clockTime(f.PeakAt))
		row("nodes", "at most %d at one time (%d are assumed where the script does not say), and no more than there are fee payers", f.Nodes, f.AssumedNodes)
	}
	if f.Accounts > 0 {
		row("accounts", "%s created, with %s MINA", grouped(uint64(f.Accounts)), f.Funded)
	}
	row("spent", "at most %s MINA: fees, amounts, deployments, creation of accounts", f.Spent)
	if f.Locked > 0 {
		row("locked", "at most %s MINA in zkApp accounts", f.Locked)
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
