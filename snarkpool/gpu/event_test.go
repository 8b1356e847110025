package gpu_test

import (
	"strings"
	"testing"

	"provingground/snarkpool/gpu"
)

func builtIn(t *testing.T) gpu.XIDTable {
	t.Helper()
	table, err := gpu.BuiltInXIDTable()
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestEveryClassOfFault(t *testing.T) {
	table := builtIn(t)
	tests := []struct {
		event gpu.Event
		class gpu.Class
		cause string
	}{
		{gpu.Event{Kind: gpu.KindXID, XID: 63}, gpu.Notice, "XID 63 (INFOROM_DRAM_RETIREMENT_EVENT)"},
		{gpu.Event{Kind: gpu.KindXID, XID: 13}, gpu.Application, "XID 13 (ROBUST_CHANNEL_GR_EXCEPTION)"},
		{gpu.Event{Kind: gpu.KindXID, XID: 31}, gpu.Application, "XID 31 (ROBUST_CHANNEL_FIFO_ERROR_MMU_ERR_FLT)"},
		{gpu.Event{Kind: gpu.KindXID, XID: 94}, gpu.RestartApplication, "XID 94 (ROBUST_CHANNEL_CONTAINED_ERROR)"},
		{gpu.Event{Kind: gpu.KindXID, XID: 48}, gpu.FenceAndRecheck, "XID 48 (ROBUST_CHANNEL_GPU_ECC_DBE)"},
		{gpu.Event{Kind: gpu.KindXID, XID: 95}, gpu.FenceAndRecheck, "XID 95 (ROBUST_CHANNEL_UNCONTAINED_ERROR)"},
		{gpu.Event{Kind: gpu.KindXID, XID: 79}, gpu.Gone, "XID 79 (ROBUST_CHANNEL_GPU_HAS_FALLEN_OFF_THE_BUS)"},
		{gpu.Event{Kind: gpu.KindXID, XID: 4711}, gpu.FenceAndRecheck, "XID 4711, which is not in the table"},
		{gpu.Event{Kind: gpu.KindXID}, gpu.FenceAndRecheck, "XID 0, which is not in the table"},
		{gpu.Event{Kind: gpu.KindECC}, gpu.FenceAndRecheck, "an uncorrectable memory error"},
		{gpu.Event{Kind: gpu.KindLost}, gpu.Gone, "the driver has lost the GPU"},
		{gpu.Event{Kind: gpu.KindUnwatched, Detail: "not supported"}, gpu.Notice, "the driver does not report this GPU's faults: not supported"},
		{gpu.Event{Kind: "smoke"}, gpu.FenceAndRecheck, `an event of unknown kind "smoke"`},
	}
	for _, test := range tests {
		if got := table.Fault(test.event); got != (gpu.Fault{Class: test.class, Cause: test.cause}) {
			t.Errorf("Fault(%+v) = %+v, want %s: %s", test.event, got, test.class, test.cause)
		}
	}
	if got := (gpu.XIDTable{}).Lookup(13).Class; got != gpu.FenceAndRecheck {
		t.Errorf("an empty table classes 13 as %q", got)
	}
}

func TestEveryRowOfTheTableNamesItsSource(t *testing.T) {
	rows := builtIn(t).Rows()
	if len(rows) < 40 {
		t.Fatalf("%d rows", len(rows))
	}
	for i, row := range rows {
		if !strings.Contains(row.Source, "https://docs.nvidia.com/") {
			t.Errorf("row %d: source %q", row.Code, row.Source)
		}
		if i > 0 && rows[i-1].Code >= row.Code {
			t.Errorf("row %d stands after row %d", row.Code, rows[i-1].Code)
		}
		// what NVIDIA wants reset, or taken in hand, is never left at work
		if strings.HasPrefix(row.Advice, "RESET") && row.Class != gpu.FenceAndRecheck || row.Advice == "RESTART_BM" && row.Class != gpu.Gone {
			t.Errorf("row %d: advice %s, class %s", row.Code, row.Advice, row.Class)
		}
	}
}

func TestTheTableIsOverridden(t *testing.T) {
	table := builtIn(t)
	changed, err := table.Override([]byte(`{"xids": [
		{"code": 63, "name": "ours", "class": "fence and re-check", "source": "seen on bm7"},
		{"code": 4711, "name": "new", "class": "notice", "source": "seen on bm7"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := changed.Lookup(63); got.Class != gpu.FenceAndRecheck || got.Name != "ours" {
		t.Errorf("63 = %+v", got)
	}
	if got := changed.Lookup(4711).Class; got != gpu.Notice {
		t.Errorf("4711 = %q", got)
	}
	if changed.Lookup(79) != table.Lookup(79) || table.Lookup(63).Class != gpu.Notice {
		t.Error("what was not overridden changed")
	}
	for name, test := range map[string]struct{ content, want string }{
		"no JSON":       {`{`, "unexpected EOF"},
		"unknown field": {`{"xids": [{"code": 1, "klass": "gone"}]}`, `unknown field "klass"`},
		"unknown class": {`{"xids": [{"code": 1, "name": "n", "class": "fenced", "source": "s"}]}`, `code 1: class "fenced" is none of`},
		"no code":       {`{"xids": [{"name": "n", "class": "gone", "source": "s"}]}`, "a row has no code"},
		"no name":       {`{"xids": [{"code": 1, "class": "gone", "source": "s"}]}`, "code 1 has no name"},
		"no source":     {`{"xids": [{"code": 1, "name": "n", "class": "gone"}]}`, "code 1 does not say where"},
		"twice": {`{"xids": [{"code": 1, "name": "n", "class": "gone", "source": "s"}, {"code": 1, "name": "n", "class": "gone", "source": "s"}]}`,
			"code 1 is given twice"},
		"more": {`{"xids": []} {}`, "something follows"},
	} {
		if _, err := table.Override([]byte(test.content)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

func FuzzOverride(f *testing.F) {
	f.Add([]byte(`{"xids": [{"code": 1, "name": "n", "class": "gone", "source": "s"}]}`))
	f.Add([]byte(`{"xids": null}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, content []byte) {
		table, err := gpu.XIDTable{}.Override(content)
		if err != nil {
			return
		}
		for _, row := range table.Rows() {
			if row.Code == 0 || row.Source == "" || table.Lookup(row.Code) != row {
				t.Errorf("accepted row %+v", row)
			}
		}
	})
}
