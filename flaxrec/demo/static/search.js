// Finds items by typed words in any order, without accents and apostrophes; beginnings of words
// come first.

/** Normalises text for comparison. */
export function fold(text) {
  return text.toLowerCase().normalize("NFD").replace(/[\p{M}'\u2019]/gu, "");
}

export class Search {
  #names;
  #ids;
  #genres;

  /** catalogue: as flaxrec/demo/catalogue.py describes it; the most frequent items come first. */
  constructor(catalogue) {
    this.#ids = catalogue.ids.map(fold);
    this.#names = catalogue.titles ? catalogue.titles.map((title, i) => fold(title) || this.#ids[i]) : this.#ids;
    this.#genres = catalogue.genres?.of ?? null;
  }

  /** Indices of items with all words and genres; at most `limit`, best first. */
  find(query, { genres = new Set(), without = new Set(), limit = 8 } = {}) {
    const whole = fold(query.trim());
    const words = whole.split(/\s+/).filter(Boolean);
    const groups = [[], [], []]; // starts with the query or is the id; starts of words; anywhere
    for (let item = 0; item < this.#names.length && groups[0].length < limit; item++) {
      if (without.has(item) || !this.#has(item, genres)) continue;
      const found = this.#group(item, whole, words);
      if (found !== null && groups[found].length < limit) groups[found].push(item);
    }
    return groups.flat().slice(0, limit);
  }

  #has(item, genres) {
    for (const genre of genres) if (!this.#genres?.[item].includes(genre)) return false;
    return true;
  }

  #group(item, whole, words) {
    const name = this.#names[item];
    if (name.startsWith(whole) || this.#ids[item] === whole) return 0;
    if (!words.every((word) => name.includes(word))) return null;
    return words.every((word) => beginsAWord(name, word)) ? 1 : 2;
  }
}

function beginsAWord(name, word) {
  for (let at = name.indexOf(word); at >= 0; at = name.indexOf(word, at + 1)) {
    if (at === 0 || !/[\p{L}\p{N}]/u.test(name[at - 1])) return true;
  }
  return false;
}
