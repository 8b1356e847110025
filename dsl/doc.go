// Package dsl turns the text of an experiment script into a checked list of steps with places, and knows nothing about networks.
//
// A script comes as a JSON step stream: JSON values one after the other, an object for a step, a string for a comment
// (orchestrator-scripts, section 1.1).
//
//	"Ten payments a minute"
//	{"action":"discovery","params":{"limit":10}}
//	{"action":"load-keys","params":{"dir":"./keys"}}
//	{"action":"payments","params":{"nodes":{"type":"output","step":-2,"name":"participant"}, …}}
//
// [ReadJSON] reads one whole, [NewStream] one step at a time. Both stop at text that is no JSON; what is wrong with a step in good JSON they
// leave to the [Checker], with which [Check] compares the steps with the signatures of the actions that exist, which the caller hands over,
// and returns every finding at once. A [Finding] carries its place, so that each way of showing it
// (text, JSON, GitHub annotations) and each later error about the same step can point into the script.
package dsl
