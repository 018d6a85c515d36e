// The lists of cases; arguments: an export folder, the cases' file.
import { readFileSync } from 'node:fs';
import { onDevice } from './on_device.js';

const [folder, file] = process.argv.slice(2);
const readText = async (name) => readFileSync(`${folder}/${name}`, 'utf8');
const recommender = await onDevice({ url: `${folder}/model.tflite` }, readText);
for (const { history, user } of JSON.parse(readFileSync(file))) {
  const found = await recommender.recommend(history, { user });
  console.log(JSON.stringify(found.map(({ item, title, score }) => [item, title, score])));
}
process.exit();
