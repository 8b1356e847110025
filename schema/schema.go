// Package schema holds what Proving Ground shares with the outside world as text: the GraphQL schema of a Mina node's ITN
// port. It has no logic of its own; orchestrator/itn checks its documents against ITN, and itnserver plays a node by it.
package schema

import _ "embed" // for ITN

// ITN is the ITN GraphQL schema in its newer form, in the schema definition language; comments in the text mark what older
// daemons lack (itn-graphql, sections 3 and 4).
//
//go:embed itn.graphql
var ITN string
