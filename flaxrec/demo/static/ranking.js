// From the graph's list to recommendations, and only ever the latest question's answer.

/**
 * The best items that are not in the history: what flaxrec.Recommender.recommend does.
 *
 * list: {ids, scores} of the graph, best first. itemOfRow: the item of each id, -1 for none.
 * Returns [{item, score}], at most `count`.
 */
export function recommended(list, itemOfRow, history, count) {
  const seen = new Set(history);
  const found = [];
  for (let i = 0; i < list.ids.length && found.length < count; i++) {
    const item = itemOfRow[list.ids[i]] ?? -1;
    if (item >= 0 && !seen.has(item)) found.push({ item, score: list.scores[i] });
  }
  return found;
}

/**
 * How likely each is, relative to the first: exp(logit - first logit), in (0, 1].
 *
 * Models are trained by a softmax, which knows differences of logits only. Scores are sigmoids, as
 * float32: where they are 1 the logit is taken for that of the largest float32 below.
 */
export function relative(scores) {
  const logits = scores.map((score) => Math.log(score / Math.max(1 - score, 2 ** -25)));
  return logits.map((logit) => (Number.isFinite(logit) ? Math.exp(Math.min(0, logit - logits[0])) : 0));
}

/** Lets the answer of the latest question through; earlier ones that come later are dropped. */
export class Latest {
  #asked = 0;

  /** Answers with `work`'s value; `undefined`, error or not, if another question was asked meanwhile. */
  async of(work) {
    const mine = ++this.#asked;
    try {
      const answer = await work();
      return mine === this.#asked ? answer : undefined;
    } catch (error) {
      if (mine === this.#asked) throw error;
      return undefined;
    }
  }
}
