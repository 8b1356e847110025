// Package control carries commands to an agent of the SNARK worker pool, and keeps everybody else away from it (snark-pool, section 7).
//
// A [Command] is data: operation, target, arguments, agent, expiry. It travels as the JSON body of one POST, to the same handler over either
// transport:
//
//   - a unix socket of mode 0600 ([ListenSocket], [NewLocal]), whose permissions are the right to command: who may open it is an admin;
//   - HTTPS with TLS 1.3 ([ListenTLS], [NewRemote]), where each command is signed by an Ed25519 key, with the header of a node's ITN port
//     (itn-graphql, section 2): the signature covers the body, the UUID of the server's run and a sequence number. The agent knows public keys
//     and their roles only, from a file ([Keys]).
//
// [Server] checks a command in this order, and the first thing that is wrong is the answer: method and media type (405, 415), size of the body
// (413), header, key and signature (401), server UUID and sequence number (412), form of the body (400), agent (403), expiry (403), role (403). All
// of these are told to the [Audit], as are the commands that are done; what changes something is done only after the audit has taken note of it.
// A signature is never told to anybody.
//
// No command can be done twice by sending it again: its number is used up once its signature was accepted, whatever becomes of it, and a server that
// has used up a key's 65,536 numbers takes a new UUID. [Client] asks for its number before each command, and asks again when somebody else who uses
// the same key was faster.
//
// Events and logs are streams of JSON lines ([Record]). A reader that falls behind is cut off and told how many events it missed ([MissedError]); the
// agent never waits for a reader, since [Ring] lets each read at its own pace.
package control
