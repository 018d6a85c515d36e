// Similarity of two items: the cosine of their rows of the label table, read from the .tflite in
// its stored type.

export class LabelTable {
  #file;
  #spec;
  #units = new Map();

  /** file: bytes of the .tflite; spec: as flaxrec/demo/label_table.py finds it. */
  constructor(file, spec) {
    this.#file = new DataView(file.buffer, file.byteOffset, file.byteLength);
    this.#spec = spec;
  }

  /** The row of `candidates` most similar to `row`: {row, cosine}, or null. */
  nearest(row, candidates) {
    const unit = this.#unit(row);
    let best = null;
    for (const candidate of candidates) {
      const other = this.#unit(candidate);
      const cosine = unit.reduce((sum, value, i) => sum + value * other[i], 0);
      if (!best || cosine > best.cosine) best = { row: candidate, cosine };
    }
    return best;
  }

  #unit(row) {
    if (!this.#units.has(row)) {
      const values = Array.from({ length: this.#spec.width }, (_, i) => this.#value(row * this.#spec.width + i));
      const size = Math.hypot(...values) || 1;
      this.#units.set(row, values.map((value) => value / size));
    }
    return this.#units.get(row);
  }

  #value(place) {
    const { offset, type } = this.#spec;
    if (type === "FLOAT32") return this.#file.getFloat32(offset + 4 * place, true);
    if (type === "FLOAT16") return halfFloat(this.#file.getUint16(offset + 2 * place, true));
    if (type === "INT8") return this.#file.getInt8(offset + place);
    const pair = this.#file.getUint8(offset + (place >> 1)); // INT4, the low half first
    return (((place & 1 ? pair >> 4 : pair & 15) ^ 8) - 8);
  }
}

function halfFloat(bits) {
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  const size = exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024);
  return bits & 0x8000 ? -size : size;
}
