// The page: the current model and picks, and everything shown for them.

import * as assets from "./assets.js";
import { Cards, COUNT } from "./cards.js";
import { Combobox } from "./combobox.js";
import { byId } from "./dom.js";
import { encode } from "./inputs.js";
import { burst } from "./latency.js";
import { knowsNow } from "./moments.js";
import { Panel } from "./panel.js";
import { canBeAsked, Picks } from "./picks.js";
import { Latest, recommended } from "./ranking.js";
import { countRequests } from "./requests.js";
import * as runtime from "./runtime.js";
import { Search } from "./search.js";
import { LabelTable } from "./similarity.js";
import { startTheme } from "./theme.js";
import { showUser } from "./user.js";

const QUIET = 250; // idle milliseconds before latency is measured
const ALIKE = 0.3; // least cosine for an explanation

const exported = JSON.parse(byId("exports").textContent);
const opened = new Map();
const latest = new Latest();
const switching = new Latest();
const panel = new Panel();
let current = null; // the shown model, from `open`
let picks = []; // {item, values, clicked: when, in milliseconds, or time: in the data's unit}, oldest first
let user = {};
let undone = null; // picks before they were all replaced, until the next change
let moment = null; // of asking, that of a shown history; null: the clock's
let measuring = 0;

const cards = new Cards({ add });
const list = new Picks({ move, remove, set });
const combobox = new Combobox({ add, picked: () => new Set(picks.map((pick) => pick.item)) });

// ---- picks ----------------------------------------------------------------------------------

function change(next, now = null, before = null) {
  picks = next;
  undone = before;
  moment = now;
  return refresh();
}

function add(item) {
  if (picks.some((pick) => pick.item === item)) return undefined;
  return change([...picks, { item, values: {}, clicked: Date.now() }]);
}

function remove(place) {
  return change(picks.toSpliced(place, 1), moment);
}

function move(from, to) {
  const moved = picks.toSpliced(from, 1).toSpliced(to, 0, picks[from]);
  const at = ({ time, clicked }) => ({ time, clicked }); // times stay in order
  return change(moved.map((pick, place) => ({ ...pick, ...at(picks[place]) })), moment);
}

/** Sets a value of a pick; its field shows it already. */
function set(place, field, value) {
  const pick = picks[place];
  picks = picks.with(place, { ...pick, values: { ...pick.values, [field]: value } });
  return rank();
}

function surprise() {
  const known = Math.min(current.catalogue.ids.length, 200); // the most frequent come first
  const drawn = new Set();
  while (drawn.size < Math.min(3, known)) drawn.add(Math.floor(Math.random() * known));
  return change([...drawn].map((item) => ({ item, values: {}, clicked: Date.now() })), null, picks);
}

// ---- the model ------------------------------------------------------------------------------

/** A model and its tables; loaded once. */
function open(number) {
  if (!opened.has(number)) {
    const loading = load(exported[number]);
    loading.catch(() => opened.delete(number)); // allows another try
    opened.set(number, loading);
  }
  return opened.get(number);
}

async function load(description) {
  const [file, catalogue, encoding] = await Promise.all([
    assets.bytes(description.file),
    assets.json(description.catalogue),
    assets.json(description.encoding),
  ]);
  const names = { ids: description.idsOutput, scores: description.scoresOutput };
  const rowOf = new Map();
  encoding.itemOfRow.forEach((item, row) => rowOf.set(item, row));
  const table = description.labelTable && new LabelTable(file, description.labelTable);
  return {
    description,
    catalogue,
    encoding,
    model: await runtime.Model.load(file, names),
    search: new Search(catalogue),
    table,
    // A table of candidates only starts at the first candidate's row.
    labelRow: (item) => rowOf.get(item) - (table && description.labelTable.rows === description.figures.candidates ? description.firstLabelRow : 0),
  };
}

async function choose(number) {
  let found;
  try {
    found = await switching.of(() => open(number));
  } catch (error) {
    if (!current) throw error;
    return keep(number, error);
  }
  if (!found) return;
  byId("notice").hidden = true;
  check(found);
  const before = current?.catalogue;
  current = found;
  if (before && before !== found.catalogue) {
    picks = carriedOver(before, found.catalogue);
    undone = null;
  }
  byId("untitled").hidden = Boolean(found.catalogue.titles);
  combobox.open(found.catalogue, found.search);
  panel.model(found.description.figures);
  await refresh();
}

/** Keeps the shown model if another one cannot be loaded. */
function keep(number, error) {
  console.error(error);
  check(current);
  tell(`The model '${exported[number].label}' cannot be loaded (${error.message ?? error}); make the page again from a whole export.`);
}

function check({ description }) {
  byId("models").querySelectorAll("input")[exported.indexOf(description)].checked = true;
}

function carriedOver(before, after) {
  const numberOf = new Map(after.ids.map((id, item) => [id, item]));
  return picks
    .map((pick) => ({ ...pick, item: numberOf.get(before.ids[pick.item]) }))
    .filter((pick) => pick.item !== undefined);
}

/** What the model recommends after these activities: {inputs, list, results}. */
async function ask(of, activities, values, count = COUNT) {
  const known = knowsNow(of.encoding.time);
  const at = ({ time, clicked }) => time ?? (known ? new Date(clicked) : null);
  const timed = activities.map((activity) => ({ ...activity, time: at(activity) }));
  const inputs = encode(of.encoding, timed, values, moment ?? (known ? new Date() : null));
  const answer = await of.model.run(inputs);
  const history = activities.map((activity) => activity.item);
  return { inputs, list: answer, results: recommended(answer, of.encoding.itemOfRow, history, count) };
}

// ---- what is seen ---------------------------------------------------------------------------

function refresh() {
  showPicks(current);
  return rank();
}

async function rank() {
  const of = current;
  measuring++;
  const answer = await latest.of(() => ask(of, picks, user));
  if (!answer) return;
  panel.tensors(answer.inputs, answer.list);
  if (picks.length) {
    const explained = answer.results.map(({ item }) => nearestPick(of, item));
    show("Recommended next", "bars: relative to the first", answer.results, explained);
  } else {
    const popular = of.catalogue.ids.slice(0, COUNT).map((_, item) => ({ item }));
    show("Most frequent in the data", "add one to begin", popular);
  }
  measure(of);
}

function show(heading, aside, results, explained) {
  byId("results-heading").textContent = heading;
  byId("results-aside").textContent = aside;
  cards.show(current.catalogue, results, explained);
}

function showPicks({ catalogue, encoding }) {
  const used = Math.max(encoding.contextLength, 1);
  const of = (table) => encoding.inputs.filter((input) => input.table === table);
  list.show({ catalogue, picks, used, features: of("event").filter(canBeAsked) });
  showUser(of("user"), user, (changed) => {
    user = { ...user, ...changed };
    rank();
  });
  const unused = picks.length - used;
  byId("picks-aside").textContent = unused > 0 ? `the last ${used} count, ${unused} older do not` : `oldest first, the last ${used} count`;
  byId("clear").disabled = !picks.length;
  byId("undo").disabled = !undone;
}

function nearestPick({ table, labelRow, encoding }, item) {
  if (!table) return null;
  const rows = picks.map((pick) => labelRow(pick.item)).filter((row) => row >= 0);
  const found = table.nearest(labelRow(item), rows);
  if (!found || found.cosine < ALIKE) return null;
  const pick = picks.find(({ item: picked }) => labelRow(picked) === found.row);
  return { item: pick.item, cosine: found.cosine };
}

async function measure(of) {
  const mine = ++measuring;
  await new Promise((resolve) => setTimeout(resolve, QUIET));
  if (mine !== measuring) return;
  const found = await burst(of.model, of.encoding, () => mine === measuring);
  if (found && of === current) panel.latency(found);
}

// ---- start ----------------------------------------------------------------------------------

async function start() {
  startTheme();
  byId("models").addEventListener("change", ({ target }) => choose(Number(target.value)));
  byId("models").querySelector("input").checked = true; // overrides the browser's memory
  await runtime.start();
  await choose(0);
  byId("surprise").disabled = false;
  byId("surprise").addEventListener("click", surprise);
  byId("clear").addEventListener("click", () => change([], null, picks));
  byId("undo").addEventListener("click", () => {
    change(undone ?? picks, moment);
    byId("surprise").focus({ preventScroll: true }); // a disabled button loses the focus
  });
  const ready = performance.now();
  panel.set("ready after", `${(ready / 1000).toFixed(1)} s`, "from opening the page to the first list");
  countRequests(ready, (count) => panel.set("requests since load", String(count), "as the browser counts them; the page may not connect to anything"));
}

function tell(text) {
  byId("notice").hidden = false;
  byId("notice").textContent = text;
}

function fail(error) {
  console.error(error);
  tell(`The model cannot be run here (${error.message ?? error}); use a current Chrome, Edge, Firefox or Safari.`);
  if (!current) byId("results-heading").textContent = "Not available";
}

addEventListener("unhandledrejection", (event) => fail(event.reason));

/** For consoles and tests: controls the page by ids. */
globalThis.flaxrecDemo = {
  ready: start().catch(fail),
  choose,
  setUser: (values) => ((user = values), rank()),
  /**
   * ids: item ids, oldest first, or {item, values, time}; now: the moment of asking. Times are as
   * `encode` takes them; by default they are those of the clock.
   */
  setPicks(ids, now = null) {
    const numberOf = new Map(current.catalogue.ids.map((id, item) => [id, item]));
    const clicked = Date.now();
    const pickOf = ({ item, values = {}, time }) => ({ item: numberOf.get(String(item)), values, time, clicked });
    return change(ids.map((pick) => pickOf(typeof pick === "object" ? pick : { item: pick })), now);
  },
};
