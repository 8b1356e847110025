// The Kimchi verifier of the pool: questions on standard input, answers on standard output, as the Go package verify describes.
import { check, kind, load } from './circuit.mjs';
import { lines, only, writer } from './lines.mjs';

const maxLineBytes = (1 << 20) + 4096;

const send = writer(process.stdout);
console.log = console.error; // standard output belongs to the protocol
const { key, digest } = await load();
await send({ protocol: 1, kind, verifying_key: digest });

for await (const question of lines(process.stdin, maxLineBytes)) {
  only(question, ['id', 'verifying_key', 'statement', 'proof']);
  await send({ id: question.id, ...(await verdict(question)) });
}
process.exit(0); // the prover's threads would keep the process alive

async function verdict({ verifying_key, statement, proof }) {
  if (verifying_key !== digest) return { verdict: 'refused', reason: `it is for another verifying key, ${verifying_key}` };
  try {
    const reason = await check(key, statement, Buffer.from(proof, 'base64'));
    return reason === '' ? { verdict: 'accepted' } : { verdict: 'refused', reason };
  } catch (error) {
    return { verdict: 'undecided', reason: String(error instanceof Error ? error.message : error).slice(0, 1000) };
  }
}
