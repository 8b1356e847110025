// Package orchestrator runs an experiment: it compiles a checked script to a plan, carries the plan out step by step against a network,
// records what it does, and undoes what it left behind.
//
// The way of a script:
//
//		script ──dsl.ReadJSON──► steps ──Compile──► Plan ──Run──► outputs, record ──Stop/Resume──► nothing left behind
//
//	  - registry.go lists the actions; each action is a file act_*.go with its parameters, checks, forecast and work in one place.
//	  - engine.go runs a plan's steps; task.go is what an action sees of the run.
//	  - share.go divides load over nodes (arithmetic only), load.go places it.
//	  - ledger.go knows what may have been left behind. It is a fold over the lines of the record, the same for a live run, for stop and for
//	    resume. undo.go undoes it.
//	  - world.go is everything outside the program that a run touches: clock, nodes, online list, files, programs.
package orchestrator
