// Bounded JSON lines, in both protocols the same.
const newline = 0x0a;

// lines yields the parsed JSON objects of a stream, and throws at a line that is too long, is no JSON object, or is cut off by the end.
export async function* lines(stream, maxBytes) {
  let held = [];
  let length = 0;
  for await (let chunk of stream) {
    for (;;) {
      const end = chunk.indexOf(newline);
      const piece = end < 0 ? chunk : chunk.subarray(0, end);
      length += piece.length;
      if (length > maxBytes) throw new Error(`a line is longer than ${maxBytes} bytes`);
      held.push(piece);
      if (end < 0) break;
      const line = Buffer.concat(held).toString('utf8');
      held = [];
      length = 0;
      chunk = chunk.subarray(end + 1);
      const message = JSON.parse(line);
      if (message === null || typeof message !== 'object' || Array.isArray(message)) throw new Error('a line is not a JSON object');
      yield message;
    }
  }
  if (length > 0) throw new Error('the stream ended inside a line');
}

// only throws unless an object has exactly these fields, apart from the optional ones.
export function only(message, fields, optional = []) {
  const wrong = Object.keys(message).find((name) => !fields.includes(name) && !optional.includes(name));
  if (wrong !== undefined) throw new Error(`unknown field ${JSON.stringify(wrong)}`);
  const missing = fields.find((name) => !(name in message));
  if (missing !== undefined) throw new Error(`missing field ${JSON.stringify(missing)}`);
}

// writer returns a function that sends one object as a line and waits until it is on its way.
export function writer(stream) {
  return (message) =>
    new Promise((resolve, reject) => {
      stream.write(JSON.stringify(message) + '\n', (error) => (error ? reject(error) : resolve()));
    });
}
