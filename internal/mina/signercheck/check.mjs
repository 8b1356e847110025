// Reads signed messages from standard input, says of each whether mina-signer verifies it, and signs as many of its own.
import { randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import Client from 'mina-signer';

const networks = ['testnet', 'mainnet'];
const clients = Object.fromEntries(networks.map((network) => [network, new Client({ network })]));
const other = { testnet: clients.mainnet, mainnet: clients.testnet };

// Code points of one to four bytes in UTF-8, surrogates left out.
const ranges = [[0x00, 0x80], [0x80, 0x800], [0x800, 0xd800], [0x10000, 0x110000]];
const randomText = () =>
  String.fromCodePoint(...Array.from({ length: randomInt(100) }, () => randomInt(...ranges[randomInt(ranges.length)])));

const theirs = JSON.parse(readFileSync(0, 'utf8'));
const verdicts = theirs.map(({ network, ...signed }) => ({
  verified: clients[network].verifyMessage(signed),
  verifiedForOther: other[network].verifyMessage(signed),
}));
const ours = theirs.map((_, i) => {
  const network = networks[i % networks.length];
  const { privateKey } = clients[network].genKeys();
  return { network, privateKey, ...clients[network].signMessage(randomText(), privateKey) };
});
process.stdout.write(JSON.stringify({ verdicts, ours }));
