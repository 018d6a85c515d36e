// The Recommender of a folder that a server hands out, with LiteRT.js.

import { loadAndCompile, loadLiteRt, Tensor } from '@litertjs/core';
import { Recommender, lineCutter } from './recommender.js';

let runtime; // once a page

/**
 * @param folder URL of the export folder.
 * @param wasm URL of @litertjs/core/wasm, or of one build in it, such as .../litert_wasm_compat_internal.js.
 */
export async function onTheWeb(folder, wasm) {
  await (runtime ??= loadLiteRt(wasm));
  const fetched = async (name) => {
    const response = await fetch(`${folder}/${name}`);
    if (!response.ok) throw new Error(`${folder}/${name}: HTTP ${response.status}`);
    return response;
  };
  const model = await loadAndCompile(new Uint8Array(await (await fetched('model.tflite')).arrayBuffer()), {
    accelerator: 'wasm',
  });

  async function open(name, eachLine) {
    const reader = (await fetched(name)).body.pipeThrough(new TextDecoderStream()).getReader();
    const cutter = lineCutter(eachLine);
    for (let part = await reader.read(); !part.done; part = await reader.read()) cutter.push(part.value);
    cutter.end();
  }

  async function run(inputs, metadata) { // by name: LiteRT.js lists inputs alphabetically
    const tensors = Object.fromEntries(
      metadata.inputs.map(({ name, shape }) => [name, new Tensor(inputs[name], shape)]),
    );
    const outputs = await model.run(tensors);
    const rows = outputs.top_prediction_ids.toTypedArray().slice();
    const scores = outputs.top_prediction_scores.toTypedArray().slice();
    for (const tensor of [...Object.values(tensors), ...Object.values(outputs)]) tensor.delete();
    return { rows, scores };
  }

  return Recommender.load(open, run);
}
