// Starts LiteRT.js from the page's own bytes; runs models.

import { loadAndCompile, loadLiteRt, Tensor } from "@litertjs/core";
import * as assets from "./assets.js";

/** Starts the runtime; call it once per page. */
export async function start() {
  const [loader, wasmBinary] = await Promise.all([assets.text("loader"), assets.bytes("wasm")]);
  const script = document.createElement("script");
  script.textContent = loader; // defines ModuleFactory
  document.head.append(script);
  globalThis.Module = { wasmBinary, printErr };
  // LiteRT.js asks for a GPU and warns without one; the page uses none.
  const adapter = { limits: {}, features: new Set(), requestDevice: async () => null };
  Object.defineProperty(navigator, "gpu", {
    value: { requestAdapter: async () => adapter },
    configurable: true,
  });
  try {
    await loadLiteRt("data:text/javascript,//.js"); // the loader is already loaded
  } finally {
    delete navigator.gpu;
  }
}

// The runtime prints all messages, including information, to the error output.
function printErr(line) {
  if (/^(INFO|VERBOSE)/.test(line)) console.debug(line);
  else if (line.startsWith("WARNING")) console.warn(line);
  else console.error(line);
}

/** A model: `run` takes arrays by input name and returns the list {ids, scores}. */
export class Model {
  #compiled;
  #names;
  #last = Promise.resolve();

  static async load(content, names) {
    const model = new Model();
    model.#compiled = await loadAndCompile(content, { accelerator: "wasm" });
    model.#names = names;
    return model;
  }

  /** Calls run one at a time, in order. */
  run(inputs) {
    const called = this.#last.then(() => this.#call(inputs));
    this.#last = called.catch(() => {});
    return called;
  }

  async #call(inputs) {
    const tensors = {};
    const outputs = {};
    try {
      for (const [name, values] of Object.entries(inputs)) {
        tensors[name] = new Tensor(values, [values.length]);
      }
      Object.assign(outputs, await this.#compiled.run(tensors));
      const { ids, scores } = this.#names;
      // Copies: the tensors' own memory is freed below.
      return { ids: outputs[ids].toTypedArray().slice(), scores: outputs[scores].toTypedArray().slice() };
    } finally {
      for (const tensor of [...Object.values(tensors), ...Object.values(outputs)]) tensor.delete();
    }
  }
}
