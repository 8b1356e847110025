package dsl

// Keywords returns the words of the script language that cannot be names, for those who colour or complete scripts.
func Keywords() []string {
	return []string{
		"experiment", "seed", "limit", "param", "let", "use", "as", "parallel", "repeat", "watch", "expect", "on", "failure", "finally",
		"retry", "every", "within", "after", "and", "or", "not", "none", "true", "false",
	}
}

// HoldsBlock reports whether an action is in force for the length of a block, which stands behind it in braces.
func HoldsBlock(action string) bool { return action == "snark-pool" }

// Units returns every spelling of a unit. Those of letters may have a blank before them.
func Units() []string {
	return []string{
		string(UnitSecond), string(UnitMinute), string(UnitHour), string(UnitSlot), "slot", string(UnitTPS), string(UnitMina), string(UnitNanomina),
		string(UnitPercent), string(UnitPerSec), string(UnitPerMin), string(UnitPerHour),
	}
}

// Functions returns the names of the functions.
func Functions() []string { return functions() }
