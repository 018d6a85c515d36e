// The Recommender of an export folder in a React Native app, with react-native-fast-tflite.

import { loadTensorflowModel, type ModelSource } from 'react-native-fast-tflite';
import { lineCutter, Recommender } from './recommender.js';

type Inputs = Record<string, Int32Array | Float32Array>;

/**
 * @param source the model, such as require('./recommendation/model.tflite').
 * @param readText the text of another file of the folder, by its path in it.
 */
export async function onDevice(
  source: ModelSource,
  readText: (name: string) => Promise<string>,
): Promise<Recommender> {
  const model = await loadTensorflowModel(source, []); // the CPU

  async function open(name: string, eachLine: (line: string) => void) {
    const cutter = lineCutter(eachLine);
    cutter.push(await readText(name));
    cutter.end();
  }

  // The file's tensors have the names of metadata.json.
  async function run(inputs: Inputs) {
    const buffers = model.inputs.map(({ name, shape, dataType }) => {
      const values = inputs[name];
      const type = values instanceof Int32Array ? 'int32' : 'float32';
      if (!values || values.length !== shape[0] || dataType !== type) {
        throw new Error(`The model's input ${name} is not that of metadata.json.`);
      }
      return values.buffer as ArrayBuffer;
    });
    const outputs = await model.run(buffers);
    const named = (name: string) => outputs[model.outputs.findIndex((one) => one.name === name)]!;
    return {
      rows: new Int32Array(named('top_prediction_ids')),
      scores: new Float32Array(named('top_prediction_scores')),
    };
  }

  return Recommender.load(open, run);
}
