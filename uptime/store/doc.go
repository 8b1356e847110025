// Package store remembers for the uptime service which submissions it accepted and which nodes are online: [Memory] until the
// program ends, [Database] in PostgreSQL, where several services may share it. Both are a service.Store, and tell the same story of
// the same submissions:
//
//   - A submission is known by its submitter and digest, and is accepted once. Of equal ones at the same moment exactly one is.
//   - A key has at most Options.PerHour submissions accepted in any hour.
//   - A node is a submitter and a peer ID, and is what its report with the newest created_at says: a late older one is accepted, and
//     changes nothing. Of two with the same created_at the later one counts. It is online until the retention has passed since that
//     report was received.
//
// The present moment is always the ReceivedAt of the submission at hand, to the microsecond. Clocks of services that share a database,
// and requests that overtake one another, may differ by a few minutes; nothing is forgotten before.
package store
