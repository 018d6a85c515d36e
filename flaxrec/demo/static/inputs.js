// Encodes a history as the model's inputs, like flaxrec.Recommender.encode in Python.

const TRUTHS = [["true", "True", "TRUE", "1"], ["false", "False", "FALSE", "0"]];
const MOMENT = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(:\d\d)?(?:\.(\d{1,6})0*)?(?:Z|[+-]00:?00)?)?$/;

/**
 * Arrays by input name.
 *
 * encoding: as flaxrec/demo/encoding.py describes it.
 * activities: oldest first; {item: index of an item, -1 if not in the catalogue, values: event
 *   features by name, text or numbers, arrays for multi-valued inputs}.
 * user: the user's features by name, likewise. Missing values are 'unknown'.
 */
export function encode(encoding, activities, user = {}) {
  const arrays = {};
  for (const input of encoding.inputs) {
    const kept = cut(numbers(encoding, input, activities, user), input, encoding);
    const array = input.dtype === "float32" ? new Float32Array(input.length) : new Int32Array(input.length);
    array.set(kept); // the rest is padding, 0
    arrays[input.name] = array;
  }
  return arrays;
}

function numbers(encoding, input, activities, user) {
  const of = (activity) => (input.table === "item" ? ofItem(input, activity.item) : ofValue(input, activity.values?.[input.field]));
  if (input.table === "user") return [ofValue(input, user[input.field])].flat();
  if (input.multiValued) return activities.slice(-encoding.contextLength).flatMap(of);
  return activities.slice(-input.length).map(of);
}

function ofItem(input, item) {
  return input.ofItem[item] ?? (input.multiValued ? [] : input.unknown);
}

function ofValue(input, value) {
  if (Array.isArray(value)) return value.map((one) => ofValue({ ...input, multiValued: false }, one));
  if (value === undefined || value === null || value === "") return input.multiValued ? [] : input.unknown;
  if (input.numberOf) return rowOf(input.numberOf, String(value)) ?? input.unknown;
  const number = Math.fround(Number(value));
  return Number.isFinite(number) ? number : input.unknown;
}

// As Vocabulary.lookup in Python: the text itself, or another text of a boolean, date or date-time.
function rowOf(numberOf, text) {
  const known = [text, ...spellings(text)].find((one) => Object.hasOwn(numberOf, one));
  return numberOf[known];
}

function spellings(text) {
  const alike = TRUTHS.find((one) => one.includes(text));
  if (alike) return alike;
  const [, day, minute = "00:00", second = ":00", fraction = ""] = MOMENT.exec(text) ?? [];
  if (!day) return [];
  const micros = fraction.padEnd(6, "0");
  const fractions = [0, 3, 6].filter((n) => !Number(micros.slice(n))).map((n) => (n ? `.${micros.slice(0, n)}` : ""));
  const ends = fractions.flatMap((one) => ["", "Z", "+00:00"].map((zone) => minute + second + one + zone));
  const forms = ["T", " "].flatMap((between) => ends.map((end) => day + between + end));
  return ends[0] === "00:00:00" ? [...forms, day] : forms;
}

function cut(values, input, encoding) {
  if (values.length <= input.length) return values;
  const keepsFirst = input.table === "user" || encoding.keepsOldest;
  return keepsFirst ? values.slice(0, input.length) : values.slice(-input.length);
}
