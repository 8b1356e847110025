// The circuit of the Kimchi worker: a chain of 64 Poseidon hashes. It is a real Kimchi and Pickles proof of a statement of our own, not Mina's
// transaction circuit.
import { createHash } from 'node:crypto';

// o1js reads this variable once, when it is loaded: the native prover is some four times as fast as the WASM fallback.
process.env.O1JS_BACKEND ??= 'native';
const { Cache, Field, Poseidon, ZkProgram, verify } = await import('o1js');

export const kind = 'kimchi-poseidon';
const circuit = 'poseidon-chain-64';
const chainLength = 64;

const program = ZkProgram({
  name: circuit,
  publicInput: Field,
  publicOutput: Field,
  methods: {
    walk: {
      privateInputs: [],
      async method(start) {
        let link = start;
        for (let i = 0; i < chainLength; i++) link = Poseidon.hash([link]);
        return { publicOutput: link };
      },
    },
  },
});

// load compiles the circuit, which takes seconds: the circuit alone decides the keys, so every machine has the same. KIMCHI_CACHE names a
// folder for what compiling computes; it is o1js's own format, and o1js makes anew what is missing.
export async function load() {
  const folder = process.env.KIMCHI_CACHE;
  const { verificationKey } = await program.compile({ cache: folder ? Cache.FileSystem(folder) : Cache.None });
  return { key: verificationKey, digest: createHash('sha256').update(verificationKey.data).digest('hex') };
}

// start reads a statement, {"circuit":…,"input":"decimal"}, and returns its input.
export function start(statement) {
  if (statement?.circuit !== circuit || Object.keys(statement).length !== 2) {
    throw new Error(`the statement is not one of circuit ${circuit}: send this job to a worker of its kind`);
  }
  const { input } = statement;
  if (typeof input !== 'string' || !/^(0|[1-9][0-9]{0,77})$/.test(input) || BigInt(input) >= Field.ORDER) {
    throw new Error('the statement has no input that is a decimal field element');
  }
  return input;
}

// prove returns the proof's bytes: o1js's own JSON.
export async function prove(statement) {
  const { proof } = await program.walk(Field(start(statement)));
  return Buffer.from(JSON.stringify(proof.toJSON()));
}

// check returns '' if the proof holds for the statement under the key, and otherwise why not. It throws where the statement is at fault.
export async function check(key, statement, bytes) {
  const input = start(statement);
  let proof;
  try {
    proof = JSON.parse(bytes.toString('utf8'));
  } catch {
    return 'it is not JSON';
  }
  if (proof?.publicInput?.length !== 1 || proof.publicInput[0] !== input) return 'it is for another statement';
  if (proof.maxProofsVerified !== 0) return 'it is of another circuit';
  try {
    return (await verify(proof, key)) ? '' : 'it does not hold';
  } catch (error) {
    return `it cannot be read: ${error instanceof Error ? error.message : error}`.slice(0, 300);
  }
}
