// Package uptime has what nodes and uptime services say to each other: the reports that nodes submit, and the list of the nodes that
// reported lately.
//
// A node submits a signed report every few slots to an uptime service (uptime, sections 1 to 3). [Report] is what a node says:
// [Report.Sign] spells and signs the request's body, and [Submit] sends it. The service reads the body with [ParseSubmission], which
// checks forms, and then checks the rest at its own choice, the signature with [Submission.Verify].
//
// The service either answers with the list of nodes that it heard of, or stores each submission in S3; accordingly there are two
// sources of [Node] values:
//
//   - [OnlineList] asks the service's GET /v1/online (uptime, section 5).
//   - [Submissions] lists and reads the objects of the last minutes (uptime, section 6.1).
//
// Both return each node once, sorted, and either the whole answer or an error. A [*ListError] tells what may pass from what will
// not, so that the caller decides how long to go on asking: neither source waits or tries again.
//
// Where a node is reached is a separate question: port-forwarded networks encode it in the control port ([Overrides.Address]).
package uptime
