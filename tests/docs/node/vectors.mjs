// For each request of the vectors what the model is given, and the list; then for values that JSON has
// not. The model ranks rows in their order, hidden ones last. Arguments: a folder of export folders,
// the vectors' file.
import { readFileSync } from 'node:fs';
import { Recommender, lineCutter } from './recommender.js';

const [folder, file] = process.argv.slice(2);
const recommenders = new Map();
let given;

function load(name) {
  const open = async (path, eachLine) => {
    const cutter = lineCutter(eachLine);
    const content = readFileSync(`${folder}/${name}/${path}`, 'utf8');
    for (let at = 0; at < content.length; at += 7) cutter.push(content.slice(at, at + 7)); // chunks of any size
    cutter.end();
  };
  const run = async (inputs) => {
    given = inputs;
    const mask = inputs.candidate_mask ?? new Float32Array(self.metadata.top_k + 1);
    const ranked = [...mask.keys()].slice(1).sort((one, other) => (mask[one] < 0) - (mask[other] < 0) || one - other);
    const rows = Int32Array.from(ranked.slice(0, self.metadata.top_k));
    return { rows, scores: new Float32Array(rows.length) };
  };
  let self;
  return Recommender.load(open, run).then((loaded) => (self = loaded));
}

for (const request of JSON.parse(readFileSync(file, 'utf8')).requests) {
  if (!recommenders.has(request.folder)) recommenders.set(request.folder, await load(request.folder));
  await tell(request.folder, request);
}
const item = 1234567890123456768n;
const values = { since: new Date('2024-05-31T18:30:00Z'), day: new Date('2024-05-31'), odd: undefined };
await tell('values', { history: [item] });
await tell('values', { history: [{ item, ...values }] });

async function tell(folder, request) {
  const { history, user = {}, now = null, only, without, top_k: topK } = request;
  const found = await recommenders.get(folder).recommend(history, { user, now, only, without, topK });
  const inputs = Object.fromEntries(Object.entries(given).map(([name, values]) => [name, [...values]]));
  console.log(JSON.stringify({ inputs, list: found.map(({ item, title }) => [String(item), title]) }));
}
