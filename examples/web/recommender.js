// An export folder of flaxrec, for any runtime that runs the model.

import { asked, cut, inUnit, knowsNow } from './moments.js';
import { Vocabulary, list, number, parse, text } from './values.js';

const MASK = 'candidate_mask';
const LEFT_OUT = -1e9;
const OF_TIME = ['event.gap', 'event.gap_after', 'event.seconds_ago', 'ask.since', 'ask.hour', 'ask.weekday'];

/**
 * @typedef {{name: string, source: string, dtype: 'int32' | 'float32', shape: number[], vocabulary: string | null,
 *   multi_valued: boolean, default: number | null}} Input
 * @typedef {{id: any, title: string, isCandidate: boolean, columns: Record<string, any>}} Item
 * @typedef {{item: any, title: string, score: number}} Recommendation
 * @typedef {{rows: Int32Array, scores: Float32Array}} Answer
 * @typedef {(name: string, eachLine: (line: string) => void) => Promise<void>} Open
 * @typedef {(inputs: Record<string, Int32Array | Float32Array>, metadata: any) => Promise<Answer>} Run
 */

export class Recommender {
  /**
   * @param {Open} open calls back with each line of a file of the folder, by its path in it.
   * @param {Run} run runs the model on inputs by name; metadata.json has their order in the file.
   */
  static async load(open, run) {
    /** @param {string} name @returns {Promise<string[]>} */
    const lines = async (name) => {
      /** @type {string[]} */
      const found = [];
      await open(name, (line) => found.push(line));
      return found;
    };
    const self = new Recommender(JSON.parse((await lines('metadata.json')).join('\n')), run);
    for (const name of [self.metadata.label_vocabulary, ...self.inputs.map((spec) => spec.vocabulary)]) {
      if (name && !self.vocabularies.has(name)) self.vocabularies.set(name, new Vocabulary(await lines(name)));
    }
    for (const spec of self.inputs) self.most[spec.source] = self.vocabularyOf(spec)?.largest;
    await self.readItems(open);
    const isCandidate = (/** @type {string} */ entry) => Number(self.items.get(entry)?.isCandidate ?? false);
    self.candidates = Uint8Array.from(self.labels.entries, isCandidate);
    return self;
  }

  /** @param {any} metadata @param {Run} run */
  constructor(metadata, run) {
    this.metadata = metadata;
    this.run = run;
    /** @type {Input[]} */
    this.inputs = metadata.inputs;
    this.clock = this.inputs.some((spec) => OF_TIME.includes(spec.source)) ? metadata.time : null;
    /** @type {Map<string, Vocabulary>} */
    this.vocabularies = new Map();
    /** @type {Map<string | null, Item>} */
    this.items = new Map();
    this.candidates = new Uint8Array(0); // whether the item of each row of the label vocabulary is one
    /** @type {Record<string, number | undefined>} */
    this.most = {};
  }

  /**
   * The best items to follow a history.
   *
   * @param {any[]} history item ids, or {item, time, rating, ...}; oldest first. Ids beyond 2^53 are text or BigInt.
   * @param {{topK?: number, user?: Record<string, any>, now?: number | Date | string | null, only?: any[] | null,
   *   without?: any[]}} [options] user: the user's features; now: the moment of asking, a number in the data's unit, a
   *   Date or text, null for unknown, the clock's if it is not given; only, without: ids of the items that may, or must
   *   not, be shown.
   * @returns {Promise<Recommendation[]>} best first. Ids beyond 2^53 are text.
   */
  async recommend(history, { topK = 10, user = {}, now = undefined, only = null, without = [] } = {}) {
    const activities = history.map((one) => (one !== null && typeof one === 'object' ? one : { item: one }));
    const { timed, moment } = this.timed(activities, now);
    /** @type {Record<string, Int32Array | Float32Array>} */
    const given = {};
    for (const spec of this.inputs) given[spec.name] = this.encode(spec, timed, user, moment);
    const allowed = this.allowed(activities, only, without);
    const mask = this.inputs.find((spec) => spec.source === MASK);
    if (mask) {
      if (this.metadata.excludes_context) this.leaveOutContext(given, allowed);
      given[mask.name] = Float32Array.from({ length: mask.shape[0] }, (_, row) => (allowed[row] ? 0 : LEFT_OUT));
    }
    const { rows, scores } = await this.run(given, this.metadata);
    /** @type {Recommendation[]} */
    const found = [];
    rows.forEach((row, place) => {
      const item = allowed[row] && this.items.get(this.labels.entries[row]);
      if (item) found.push({ item: item.id, title: item.title, score: scores[place] });
    });
    return found.slice(0, topK);
  }

  /** @returns {Vocabulary} */
  get labels() {
    return /** @type {Vocabulary} */ (this.vocabularies.get(this.metadata.label_vocabulary));
  }

  /**
   * Whether the item of each row of the label vocabulary may be shown.
   * @param {any[]} activities @param {any[] | null} only @param {any[]} without
   */
  allowed(activities, only, without) {
    /** @param {any[]} ids @returns {number[]} */
    const rowsOf = (ids) => ids.flatMap((id) => this.labels.rows.get(text(id)) ?? []);
    const allowed = only ? new Uint8Array(this.candidates.length) : this.candidates.slice();
    for (const row of rowsOf(only ?? [])) allowed[row] = this.candidates[row];
    const seen = this.metadata.recommends_seen ? [] : activities.map(({ item }) => item);
    for (const row of rowsOf([...without, ...seen])) allowed[row] = 0;
    return allowed;
  }

  /**
   * The graph itself leaves these out; where few others may be shown, they would end the list.
   * @param {Record<string, ArrayLike<number>>} given @param {Uint8Array} allowed
   */
  leaveOutContext(given, allowed) {
    const ofItems = this.inputs.filter((spec) => spec.vocabulary === this.metadata.label_vocabulary);
    for (const { name } of ofItems) for (const row of Array.from(given[name])) allowed[row] = 0;
  }

  /** The activities with what the model reads of times. @param {any[]} activities @param {any} now */
  timed(activities, now) {
    if (!this.clock) return { timed: activities, moment: {} };
    /** @param {any} time */
    const count = (time) => (time === undefined || time === null ? null : inUnit(time, this.clock));
    const moment = now === undefined ? (knowsNow(this.clock) ? new Date() : null) : now;
    const times = activities.map(({ time }) => count(time));
    const { ofEvents, ofMoment } = asked(times, count(moment), this.clock, this.most);
    const timed = activities.map((activity, place) => ({
      ...activity,
      gap: cut(activity.gap ?? ofEvents.gap[place], this.most['event.gap']),
      gap_after: ofEvents.gap_after[place],
      seconds_ago: ofEvents.seconds_ago[place],
    }));
    return { timed, moment: ofMoment };
  }

  /**
   * One input of the graph: vocabulary rows or numbers, padded at the end.
   * @param {Input} spec @param {any[]} activities @param {Record<string, any>} user @param {Record<string, any>} moment
   */
  encode(spec, activities, user, moment) {
    const [length] = spec.shape;
    const encoded = spec.dtype === 'int32' ? new Int32Array(length) : new Float32Array(length);
    if (spec.source === MASK) return encoded;
    const [table, column] = spec.source.split(/\.(.*)/);
    /** @param {any} activity */
    const valueOf = (activity) => {
      if (table === 'event') return activity[column];
      return column === 'id' ? activity.item : this.items.get(text(activity.item))?.columns[column];
    };
    /** @type {any[]} */
    let values;
    if (table === 'ask') values = [moment[column]];
    else if (table === 'user') values = spec.multi_valued ? list(user[column]) : [user[column]];
    else if (spec.multi_valued) {
      values = activities.slice(-this.metadata.context_length).flatMap((one) => list(valueOf(one)));
    } else values = activities.slice(-length).map(valueOf);
    const keepsFirst = table === 'user' || this.metadata.flatten_keeps_oldest;
    values = keepsFirst ? values.slice(0, length) : values.slice(-length);
    const vocabulary = this.vocabularyOf(spec);
    values.forEach((value, place) => {
      const seconds = spec.dtype === 'int32' ? -1 : 0; // that are not known
      encoded[place] = vocabulary ? vocabulary.rowOf(value) : (number(value) ?? spec.default ?? seconds);
    });
    return encoded;
  }

  /** @param {Input} spec @returns {Vocabulary | undefined} */
  vocabularyOf(spec) {
    return spec.vocabulary ? this.vocabularies.get(spec.vocabulary) : undefined;
  }

  /** Reads items line by line: only what is needed stays in memory. @param {Open} open */
  async readItems(open) {
    const { items: told, candidates } = this.metadata;
    if (told?.fields === 'none') { // no file: each line of the label vocabulary but that of padding is an id
      const end = (candidates ?? this.labels.entries.length) + (this.labels.isPadded ? 1 : 0);
      this.labels.entries.forEach((entry, row) => {
        const id = told.ids === 'integer' && Number.isSafeInteger(Number(entry)) ? Number(entry) : entry;
        if (row) this.items.set(entry, { id, title: '', isCandidate: row < end, columns: {} });
      });
      return;
    }
    const read = this.inputs.map((spec) => spec.source.split(/\.(.*)/)).filter(([table]) => table === 'item');
    await open('items.jsonl', (line) => {
      const row = parse(line);
      const columns = Object.fromEntries(read.map(([, column]) => [column, row[column]]));
      const isCandidate = row.candidate ?? true;
      this.items.set(text(row.id), { id: row.id, title: row.title ?? '', isCandidate, columns });
    });
  }
}

/**
 * Cuts chunks of text into lines. Their ends are "\n" alone: an entry may hold "\r".
 * @param {(line: string) => void} eachLine
 */
export function lineCutter(eachLine) {
  let rest = '';
  return {
    /** @param {string} chunk */
    push(chunk) {
      const parts = (rest + chunk).split('\n');
      rest = /** @type {string} */ (parts.pop());
      parts.forEach(eachLine);
    },
    end() {
      if (rest) eachLine(rest);
    },
  };
}
