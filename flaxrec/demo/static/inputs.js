// Encodes a history as the model's inputs, like flaxrec.Recommender.encode in Python.

import { asked, cut as cutSteps, inUnit } from "./moments.js";

const COMPUTED = ["gap_after", "seconds_ago"]; // of events, from their times
const TRUTHS = [["true", "True", "TRUE", "1"], ["false", "False", "FALSE", "0"]];
const MOMENT = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(:\d\d)?(?:\.(\d{1,6})0*)?(?:Z|[+-]00:?00)?)?$/;

/**
 * Arrays by input name.
 *
 * encoding: as flaxrec/demo/encoding.py describes it.
 * activities: oldest first; {item: index of an item, -1 if not in the catalogue, values: event
 *   features by name, text or numbers, arrays for multi-valued inputs; time: a number in the data's
 *   unit, a Date or text}.
 * user: the user's features by name, likewise. Missing values are 'unknown'.
 * now: the moment of asking, as an activity's time; null unknown.
 */
export function encode(encoding, activities, user = {}, now = null) {
  const arrays = {};
  const of = withTimes(encoding, activities, now);
  for (const input of encoding.inputs) {
    const isMask = input.table === "candidate_mask"; // zeros: everything may be shown
    const kept = isMask ? [] : cut(numbers(encoding, input, of.activities, { user, ask: of.moment }), input, encoding);
    const array = input.dtype === "float32" ? new Float32Array(input.length) : new Int32Array(input.length);
    array.set(kept); // the rest is padding, 0
    arrays[input.name] = array;
  }
  return arrays;
}

/** Whether an event's feature is computed from times. */
export const isComputed = (input) => input.table === "event" && COMPUTED.includes(input.field);

function withTimes(encoding, activities, now) {
  const clock = encoding.time;
  if (!clock) return { activities, moment: {} };
  const number = (time) => (time === undefined || time === null ? null : inUnit(time, clock));
  const most = Object.fromEntries(encoding.inputs.map((input) => [`${input.table}.${input.field}`, input.most ?? undefined]));
  const { ofEvents, ofMoment } = asked(activities.map(({ time }) => number(time)), number(now), clock, most);
  const timed = activities.map((activity, place) => {
    const computed = Object.fromEntries(COMPUTED.map((field) => [field, ofEvents[field][place]]));
    const own = activity.values?.gap;
    const gap = own === undefined || own === null || own === "" ? ofEvents.gap[place] : cutSteps(own, most["event.gap"]);
    return { ...activity, values: { ...activity.values, ...computed, gap } };
  });
  return { activities: timed, moment: ofMoment };
}

function numbers(encoding, input, activities, one) {
  const of = (activity) => (input.table === "item" ? ofItem(input, activity.item) : ofValue(input, activity.values?.[input.field]));
  if (input.table in one) return [ofValue(input, one[input.table][input.field])].flat();
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
  const number = input.dtype === "float32" ? Math.fround(Number(value)) : Number(value);
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
