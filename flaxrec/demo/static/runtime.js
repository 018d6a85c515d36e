// LiteRT.js, started from the page's own bytes; one model as a function.

import { loadAndCompile, loadLiteRt, Tensor } from "@litertjs/core";
import * as assets from "./assets.js";

/** Starts the runtime; once a page. */
export async function start() {
  const [loader, wasmBinary] = await Promise.all([assets.text("loader"), assets.bytes("wasm")]);
  const script = document.createElement("script");
  script.textContent = loader; // defines ModuleFactory
  document.head.append(script);
  globalThis.Module = { wasmBinary, printErr };
  // LiteRT.js asks for a GPU that the page does not use; without one it would warn.
  const adapter = { limits: {}, features: new Set(), requestDevice: async () => null };
  Object.defineProperty(navigator, "gpu", {
    value: { requestAdapter: async () => adapter },
    configurable: true,
  });
  try {
    await loadLiteRt("data:text/javascript,//.js"); // the loader is here already
  } finally {
    delete navigator.gpu;
  }
}

// The runtime writes what it has to say to the error output, notes of its start as well.
function printErr(line) {
  if (/^(INFO|VERBOSE)/.test(line)) console.debug(line);
  else if (line.startsWith("WARNING")) console.warn(line);
  else console.error(line);
}

/** A model: `run` takes arrays by input name and gives the list {ids, scores}. */
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

  /** One call after the other, in the order of asking. */
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
