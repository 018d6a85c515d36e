// Stands for react-native-fast-tflite: hands tensors to the process that the variable BRIDGE names, a
// line of JSON each way. Its tensors are in another order than those of metadata.json.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

const tensors = (specs) => specs.map(({ name, shape, dtype }) => ({ name, shape, dataType: dtype })).reverse();
const numbers = ({ dataType }, values) => (dataType === 'int32' ? new Int32Array(values) : new Float32Array(values));

export async function loadTensorflowModel({ url }, delegates) {
  if (delegates.length) throw new Error('the CPU needs no delegate');
  const metadata = JSON.parse(readFileSync(url.replace('model.tflite', 'metadata.json')));
  const [inputs, outputs] = [tensors(metadata.inputs), tensors(metadata.outputs)];
  const [program, ...words] = process.env.BRIDGE.split('\n');
  const bridge = spawn(program, words, { stdio: ['pipe', 'pipe', 'inherit'] });
  const answers = createInterface({ input: bridge.stdout })[Symbol.asyncIterator]();
  return {
    inputs,
    outputs,
    async run(buffers) {
      const given = inputs.map((input, place) => [input.name, [...numbers(input, buffers[place])]]);
      bridge.stdin.write(`${JSON.stringify(Object.fromEntries(given))}\n`);
      const found = JSON.parse((await answers.next()).value);
      return outputs.map((output) => numbers(output, found[output.name]).buffer);
    },
  };
}
