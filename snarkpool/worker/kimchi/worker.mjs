// The Kimchi worker of the pool: jobs arrive on descriptor 3, answers leave on descriptor 4, as the Go package worker describes. Standard output
// and error are free for logs. RAYON_NUM_THREADS bounds the prover's threads.
import { Socket } from 'node:net';
import { createReadStream, createWriteStream, fstatSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { kind, load, prove } from './circuit.mjs';
import { lines, only, writer } from './lines.mjs';

const maxLineBytes = 1 << 20;
const jobsDescriptor = 3;
const proofsDescriptor = 4;

// Pipes and sockets are read without a thread of their own; anything else is read as a file.
const piped = (fd) => fstatSync(fd).isFIFO() || fstatSync(fd).isSocket();
const input = piped(jobsDescriptor) ? new Socket({ fd: jobsDescriptor, readable: true, writable: false }) : createReadStream('', { fd: jobsDescriptor });
const send = writer(
  piped(proofsDescriptor) ? new Socket({ fd: proofsDescriptor, readable: false, writable: true }) : createWriteStream('', { fd: proofsDescriptor }),
);

const { digest } = await load();
const threads = Number(process.env.RAYON_NUM_THREADS) || availableParallelism();
await send({ type: 'hello', protocol: 1, kind, verifying_key: digest, threads, pid: process.pid });

for await (const message of lines(input, maxLineBytes)) {
  if (message.type === 'bye') {
    only(message, ['type'], ['reason']);
    break;
  }
  if (message.type !== 'job') throw new Error(`an agent does not send ${JSON.stringify(message.type)}`);
  only(message, ['type', 'id', 'attempt', 'lease', 'statement']);
  const job = { job: message.id, attempt: message.attempt };
  await send({ type: 'started', ...job });
  const begun = performance.now();
  try {
    const proof = await prove(message.statement);
    await send({ type: 'proof', ...job, proof: proof.toString('base64'), seconds: (performance.now() - begun) / 1000 });
  } catch (error) {
    await send({ type: 'failed', ...job, reason: String(error instanceof Error ? error.message : error).slice(0, 1000) || 'unknown' });
  }
}
await send({ type: 'bye' });
process.exit(0); // the prover's threads would keep the process alive
