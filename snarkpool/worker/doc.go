// Package worker is what a fed prover and the agent of its machine say to each other.
//
// A fed worker is a process that proves what it is given. It inherits two descriptors beside the usual three: jobs arrive on descriptor 3,
// answers leave on descriptor 4, both as JSON lines. Standard output and error stay free for logs. The worker speaks first:
//
//	worker → agent  {"type":"hello","protocol":1,"kind":"gnark-mimc","verifying_key":"9f…","threads":1,"pid":4711}
//	agent → worker  {"type":"job","id":"j17","attempt":1,"lease":3,"statement":{…}}
//	worker → agent  {"type":"started","job":"j17","attempt":1}
//	worker → agent  {"type":"proof","job":"j17","attempt":1,"proof":"…base64…","seconds":0.52}
//	            or  {"type":"failed","job":"j17","attempt":1,"reason":"…"}
//	agent → worker  {"type":"bye"}
//	worker → agent  {"type":"bye"}
//
// One job is out at a time, so that a worker which is told bye, or finds its jobs at an end, has at most one proof to finish: that is what
// makes draining exact. The side that says bye sends nothing after it. Lines are bounded, unknown fields and types are errors, and a worker
// that breaks a rule is not listened to any longer.
//
// [Serve] is the whole of the worker's side for a prover written in Go, [Session] is the agent's side, and [Decoder] turns bytes, however
// they were cut, into messages. A proof that arrives this way is a claim; package verify settles whether it holds.
package worker
