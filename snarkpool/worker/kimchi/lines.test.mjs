import assert from 'node:assert/strict';
import { test } from 'node:test';
import { lines, only } from './lines.mjs';

async function read(chunks, maxBytes = 64) {
  const messages = [];
  for await (const message of lines(chunks, maxBytes)) messages.push(message);
  return messages;
}

test('any split of the bytes gives the same messages', async () => {
  const bytes = Buffer.from('{"a":"ä"}\n{"b":2}\n');
  for (let first = 0; first <= bytes.length; first++) {
    for (let second = first; second <= bytes.length; second++) {
      const chunks = [bytes.subarray(0, first), bytes.subarray(first, second), bytes.subarray(second)];
      assert.deepEqual(await read(chunks), [{ a: 'ä' }, { b: 2 }]);
    }
  }
});

test('what is no line of the protocol ends the reading', async () => {
  await assert.rejects(read([Buffer.from('x'.repeat(65))]), /longer than 64 bytes/);
  await assert.rejects(read([Buffer.from('{"a":')]), /ended inside a line/);
  await assert.rejects(read([Buffer.from('garbage\n')]), SyntaxError);
  await assert.rejects(read([Buffer.from('[1]\n')]), /not a JSON object/);
});

test('fields are exactly those of the protocol', () => {
  only({ type: 'bye' }, ['type'], ['reason']);
  assert.throws(() => only({ type: 'bye', more: 1 }, ['type'], ['reason']), /unknown field "more"/);
  assert.throws(() => only({}, ['type']), /missing field "type"/);
});
