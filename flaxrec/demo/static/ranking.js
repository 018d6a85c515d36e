// Turns the graph's list into recommendations; keeps only the latest answer.

/**
 * The best items outside the history, like flaxrec.Recommender.recommend.
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
 * Probabilities relative to the first: exp(logit - first logit), in (0, 1].
 *
 * Models are trained with a softmax, which depends only on differences of logits. Scores are float32
 * sigmoids: for a score of 1, the logit is computed with 1 - score = 2^-25.
 */
export function relative(scores) {
  const logits = scores.map((score) => Math.log(score / Math.max(1 - score, 2 ** -25)));
  return logits.map((logit) => (Number.isFinite(logit) ? Math.exp(Math.min(0, logit - logits[0])) : 0));
}

/** Keeps the answer to the latest request; drops late answers to earlier ones. */
export class Latest {
  #asked = 0;

  /** The value of `work`; `undefined`, also on errors, if another request has started since. */
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
