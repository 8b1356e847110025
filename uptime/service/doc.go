// Package service is the uptime service as an HTTP handler and server: nodes submit signed reports that they are up, and whoever tests the network
// asks which nodes are online (uptime, sections 4 and 5).
//
// A [Service] holds no submissions itself. It is given a [Store], which remembers who was heard and what was received, a [Whitelist] of the keys that may
// submit, and perhaps an [Archive] of whole submissions. What it does itself is to let in what should be let in, whatever arrives:
//
//   - A submission goes through checks from cheap to dear: form, whitelist, time, signature, the key's hour, replay. What an address sends in
//     vain is charged to it, and beyond its account it is refused before its body is read, but for a few in which honest nodes beside it have a chance.
//   - A recorded submission cannot be used again: while it is young its digest is remembered, and then it is too old.
//   - Connections, the memory of bodies, the time to send them, signatures verified at once, and lists under way are bounded; what is beyond is told to
//     come back. A connection on which nothing happens makes room for one that may.
//   - The address of a node is that of the connection, or what a trusted proxy says; nobody else is believed.
//   - 200 means stored. Whatever else happened has another status, and is counted in the metrics; the log says little about much.
//
// What differs from existing services is on purpose: uptime, section 7, lists their defects.
//
// Files, from the outside in:
//
//	service.go   options, limits, routes
//	server.go    time-outs, the end
//	connections.go
//	             how many connections there may be, and which one makes room
//	submit.go    the checks of a submission, in order
//	outcome.go   what can become of one, and how that is answered
//	parts.go     what the service is given: store, whitelist, archive
//	address.go   where a request comes from
//	failures.go  accounts of addresses
//	body.go      bodies within memory and time
//	list.go      the online list
//	recent.go    one question to the store for many who ask
//	health.go    health
//	metrics.go   metrics; README.md lists them
//	log.go       a log that stays short
//	answer.go    answers in JSON
package service
