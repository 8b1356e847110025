// Package history keeps what runs did in PostgreSQL: the tables run, run_step, run_output, run_verdict and run_load of package schema.
//
// The history is a function of the lines of a run's record (package record) and of nothing else, so it has no secret that they have not,
// and it can be made at any time. [Import] makes that of the runs in a record file; doing so again changes nothing, and a record that has
// come further replaces one that had not. [Follow] keeps the history of a run that goes on: it reads the record file as it grows, on a
// goroutine and a connection of its own. The file is its queue, so it takes no memory, keeps no step waiting, and loses nothing while the
// database is away.
package history
