// Values as they stand in the export's files.

const PADDING = '<pad>';
const TRUTHS = [['true', 'True', 'TRUE', '1'], ['false', 'False', 'FALSE', '0']];
const MOMENT = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(:\d\d)?(?:\.(\d{1,6})0*)?(?:Z|[+-]00:?00)?)?$/;

/** The lines of a vocabulary; a value's line number is the row of its vector. */
export class Vocabulary {
  /** @param {string[]} entries */
  constructor(entries) {
    this.entries = entries;
    /** @type {Map<string | null, number>} */
    this.rows = new Map(entries.map((entry, row) => [entry, row]));
    this.rows.delete(PADDING);
  }

  /** The row after the last is that of values that are not known. @param {unknown} value @returns {number} */
  rowOf(value) {
    const given = text(value);
    const known = [given, ...spellings(given)].find((one) => this.rows.has(one));
    return this.rows.get(known ?? null) ?? this.entries.length;
  }

  /** The largest number in it, such as the longest time that the model knows. @returns {number | undefined} */
  get largest() {
    const numbers = this.entries.filter((entry) => /^-?\d+$/.test(entry)).map(Number);
    return numbers.length ? numbers.reduce((one, other) => Math.max(one, other)) : undefined;
  }

  get isPadded() {
    return this.entries[0] === PADDING;
  }
}

/**
 * A line of items.jsonl. Whole numbers that JavaScript would round, such as ids beyond 2^53, become text.
 * @param {string} line
 * @returns {Record<string, any>}
 */
export function parse(line) {
  /** @param {string} part */
  const isRounded = (part) => /^-?\d+$/.test(part) && !Number.isSafeInteger(Number(part));
  const parts = /"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*/g; // texts, so that numbers in them stay; numbers
  return JSON.parse(line.replace(parts, (part) => (isRounded(part) ? `"${part}"` : part)));
}

/** A value as it stands in a vocabulary: 7 and 7.0 are '7', true is 'true'. @param {unknown} value */
export function text(value) {
  if (value === null || value === undefined) return null;
  if (value instanceof Date) return value.toISOString();
  return String(typeof value === 'number' && Number.isInteger(value) ? BigInt(value) : value); // not 1e+21
}

/** A value of an input of numbers; undefined where there is none. @param {unknown} value */
export function number(value) {
  const found = value === null || value === '' ? NaN : Number(value);
  return Number.isFinite(found) ? found : undefined;
}

/** The values of an input of several: none, one or several. @param {any} value @returns {any[]} */
export const list = (value) => (Array.isArray(value) ? value : [value ?? []].flat());

/** Other texts of a boolean, a date or a date-time in UTC. @param {string | null} value @returns {string[]} */
function spellings(value) {
  if (value === null) return [];
  const alike = TRUTHS.find((one) => one.includes(value));
  if (alike) return alike;
  const [, day, minute = '00:00', second = ':00', fraction = ''] = MOMENT.exec(value) ?? [];
  if (!day) return [];
  const micros = fraction.padEnd(6, '0');
  const fractions = [0, 3, 6].filter((n) => !Number(micros.slice(n))).map((n) => (n ? `.${micros.slice(0, n)}` : ''));
  const ends = fractions.flatMap((one) => ['', 'Z', '+00:00'].map((zone) => minute + second + one + zone));
  const forms = ['T', ' '].flatMap((between) => ends.map((end) => day + between + end));
  return ends[0] === '00:00:00' ? [...forms, day] : forms;
}
