// Package check settles whether a GPU computes correctly: it has an external program, the checker, multiply large integer matrices on it,
// and verifies the result on the CPU at a small part of the cost. A checker is believed nothing.
//
// The agent starts the checker, with its GPU as the only one it sees, and both speak JSON lines over its standard input and output:
//
//	agent → checker  {"type":"task","protocol":1,"seed":"…32 hex…","rows":5792,"columns":5792,"inner":1024,"memory_bytes":146…}
//	checker → agent  {"type":"commitment","root":"…64 hex…"}
//	agent → checker  {"type":"challenge","vector":"…32 hex…","rows":[17,4003,…]}
//	checker → agent  {"type":"products","values":"…base64…"}
//	checker → agent  {"type":"row","index":17,"values":"…base64…","path":["…64 hex…",…]}     one for each row, in the order asked
//	agent → checker  {"type":"bye"}
//
// A checker that cannot go on says {"type":"failed","reason":"…"} and exits. One whose standard input ends exits. After bye it exits with 0.
//
// The task. A and B are matrices of signed bytes made from the seed ([Matrices]), A of rows × inner and B of inner × columns. C = A·B is a
// matrix of 32-bit integers, which are exact, since inner is at most 2^16. All three are held in the GPU's memory until bye; C is by far
// the largest, so that a task of nearly all the memory ([ShapeFor]) needs time in proportion to the memory and no more.
//
// The commitment. Before it knows the challenge, the checker commits to C by the root of a hash tree over its rows ([Tree]). From here on it
// cannot choose its answers. While it waits for the challenge, and still holds C, the agent looks at how much of the memory it really uses.
//
// The challenge is drawn when the commitment is there. It is a vector r of integers modulo the prime 2^61-1, and some rows of C.
//
//   - products are C·r, row by row. They must equal A·(B·r), which needs no matrix product (Freivalds' check). An entry of C that is wrong
//     goes unnoticed with a probability of 2^-61, wherever it is: this finds a GPU that computes wrongly, or memory that forgets.
//   - Rows must hash to the root, and give their products. This finds a checker that did not compute C, and makes the products up: one that
//     left out a share s of the rows escapes k challenged rows with a probability of (1-s)^k.
//
// What this does not show: that a checker which is a fraud throughout holds C in the GPU's memory rather than something else of that size.
// The checker is the operator's own program; the check is made to catch bad hardware, broken drivers and checkers with faults.
//
// [Run] is the agent's side. Package check/reference is a checker in Go that runs everywhere, and the folder check/cuda holds the one for
// NVIDIA's GPUs.
package check
