// Package verify settles in a process of its own whether a proof holds.
//
// A proof comes from a worker that may be wrong, and is read by code that may crash or hang on it. So the agent asks a verifier process over
// JSON lines, and takes only a clear yes for a yes:
//
//	verifier → agent  {"protocol":1,"kind":"gnark-mimc","verifying_key":"9f…"}
//	agent → verifier  {"id":1,"verifying_key":"9f…","statement":{…},"proof":"…base64…"}
//	verifier → agent  {"id":1,"verdict":"accepted"}
//	              or  {"id":1,"verdict":"refused","reason":"…"}
//	              or  {"id":1,"verdict":"undecided","reason":"…"}
//
// [Serve] is the verifier's side for any [Verifier], [Client] the agent's. A verifier that crashes, hangs, says something else or speaks for
// another verifying key has accepted nothing: the verdict is [Undecided], the process is ended, and the next question starts a new one. Only
// [Refused] is the worker's fault.
package verify
