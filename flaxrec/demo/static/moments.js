// Time as an input, like flaxrec/data/moments.py: from activity to activity, and to the moment of
// asking. docs/moment_vectors.json has cases for both.

const PER_MILLISECOND = { s: 1 / 1000, ms: 1, us: 1e3, ns: 1e6 };
const TEXT = /^(\d{4}-\d\d-\d\d)(?:[T ]([\d:.]+))?(Z|[+-]\d\d:\d\d)?$/;
const FIRST = -1;
const MOST = 31; // steps beyond it are unknown
const LONGEST = 2 ** 31 - 1;
const DATES = [-62e9, 253e9]; // seconds of the years 1 to 9999
const DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/** Whether the clock on the wall says the moment of asking; clock: `time` of metadata.json. */
export const knowsNow = (clock) => Boolean(clock) && clock.unit !== "none";

/**
 * A time in the data's unit, cut to the data's resolution.
 *
 * time: a number in that unit, a Date, or the text of a date or date-time (UTC without a zone).
 */
export function inUnit(time, clock) {
  const isMoment = time instanceof Date || typeof time === "string";
  const number = isMoment ? sinceEpoch(time, clock) * PER_MILLISECOND[clock.unit] : time;
  if (!Number.isFinite(number)) throw new TypeError(`${time} is no number, date or date-time of the data`);
  return clock.resolution ? Math.floor(number / clock.resolution) * clock.resolution : number;
}

// Milliseconds; in data of dates a moment is its day in the clock's zone, at midnight in UTC.
function sinceEpoch(time, clock) {
  const isDate = time instanceof Date;
  const [text, day, hours = "00:00", zone] = isDate ? [] : (TEXT.exec(time) ?? []);
  const moment = isDate ? time : new Date(text ? `${day}T${hours}${zone ?? "Z"}` : NaN);
  if (!clock.dates || !(isDate || zone)) return moment.getTime();
  const { year, month, day: date } = inZone(moment, clock.zone);
  return Date.UTC(year, month - 1, date);
}

function inZone(moment, timeZone) {
  const wanted = { year: "numeric", month: "numeric", day: "numeric", hour: "numeric", weekday: "short" };
  const format = new Intl.DateTimeFormat("en-US", { ...wanted, timeZone, hourCycle: "h23" });
  return Object.fromEntries(format.formatToParts(moment).map(({ type, value }) => [type, value]));
}

/**
 * The time inputs of a history: {ofEvents: {field: values}, ofMoment: {field: value}}, null unknown.
 *
 * times: of the activities, oldest first, in the data's unit; null unknown.
 * now: the moment of asking, likewise.
 * most: the largest value of each source's vocabulary, such as {"ask.since": 26}.
 */
export function asked(times, now, clock, most = {}) {
  const gaps = times.map((time, place) => between(times[place - 1] ?? null, time));
  if (times.length && times[0] !== null) gaps[0] = FIRST;
  const after = times.map((time, place) => between(time, place + 1 < times.length ? times[place + 1] : now));
  const ago = times.map((time) => (time === null || now === null ? null : Math.min(Math.max(seconds(now, clock) - seconds(time, clock), 0), LONGEST)));
  return {
    ofEvents: {
      gap: gaps.map((value) => cut(value, most["event.gap"])),
      gap_after: after.map((value) => cut(value, most["event.gap_after"])),
      seconds_ago: ago,
    },
    ofMoment: { since: cut(after.at(-1) ?? null, most["ask.since"]), ...calendar(now, clock) },
  };
}

// floor(log2(1 + time between)), exact, which Math.log2 is not everywhere.
function between(earlier, later) {
  if (earlier === null || later === null) return null;
  let steps = 0;
  for (let rest = 1 + Math.max(later - earlier, 0); rest >= 2; rest /= 2) steps++;
  return steps;
}

/** Steps as the vocabulary has them; a value that was chosen and is no number as it is. */
export function cut(value, most) {
  if (!Number.isInteger(value)) return value;
  if (value > Math.max(MOST, most ?? 0)) return null;
  return most === undefined ? value : Math.min(value, most);
}

function seconds(time, clock) {
  return Math.floor(time / (knowsNow(clock) ? 1000 * PER_MILLISECOND[clock.unit] : 1));
}

function calendar(now, clock) {
  const unknown = { hour: null, weekday: null };
  if (now === null || !knowsNow(clock) || clock.dates) return unknown;
  const time = seconds(now, clock);
  if (time <= DATES[0] || time >= DATES[1]) return unknown;
  const { hour, weekday } = inZone(new Date(1000 * time), clock.zone);
  return { hour: Number(hour), weekday: DAYS.indexOf(weekday) };
}
