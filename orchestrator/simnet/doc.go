// Package simnet simulates a Mina test network: nodes that verify signed requests on their ITN ports, hold schedules in memory, send
// commands, keep pools, produce blocks slot by slot, fork, restart, isolate each other, trace what they do, and report that they are up. It
// is a test bed and a rehearsal ground: what runs against it runs against a real network. docs/simnet.md is its model, with each departure
// from Mina.
//
// A [Network] is made by [New] and lives between Start and Stop. Clients reach its nodes through [Network.Transport], in process, or over
// TCP after [Network.Listen]. It can be told to misbehave ([ParseFaults]). What really happened, whatever the nodes answered, is in its
// journal: [History] when it is kept in memory, lines of JSON when it is written ([ReadHistory]).
//
// # How it is built
//
// One lock guards the whole state, one queue holds what is still to happen, in network time (queue.go, network.go). Whoever takes the lock,
// be it a request, a question or the network's own goroutine, first lets happen everything that is due. So the state never depends on when
// a goroutine was scheduled, a clock may run thousands of times faster than the wall or not run on a wall at all, and the same seed and
// requests make the same history.
//
//	ledger.go, command.go, pool.go    accounts, commands, and the pool of one node
//	chain.go                          slots, winners, blocks, the choice between chains
//	node.go, gossip.go, restart.go    nodes and their daemons; who reaches whom; ends and returns
//	schedule.go, zkapp.go, funding.go what daemons do for their clients
//	snarkwork.go                      what has to be proven, and whose pools hold the proofs
//	outsidework.go, coordinator.go    what is proven outside of the simulation, and the port for it
//	internallog.go                    the internal log, a bounded queue
//	trace.go, traceprocess.go         what is in it: records of the daemon, of its prover and its verifier
//	uptime.go, wallet.go              reports and the online list; what the mina executable does
//	resolver.go, request.go           operations of the ITN port, and the faults in front of it
//	faults.go                         how a network misbehaves
//	journal.go, record.go, history.go the ground truth
//	truth.go                          what evidence is compared with: internal logs, transactions, SNARK work
//
// Blocks, commands and ledgers are shared by all nodes and never change; a node holds pointers to them. A thousand nodes are one process.
package simnet
