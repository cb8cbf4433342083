// Puts a page with the searched words in its title first, and pages for users before decisions, changes and parts for tests.
const LOWER = [/^docs\/adr\//, /^docs\/reference\/api\//, /^CHANGELOG$/, /^tests\//, /^docs\/design$/];
const HIGHER = [/^docs\/how-to\//, /^docs\/explanation\//, /^docs\/quickstart$/];
const SEARCHED = (new URLSearchParams(location.search).get("q") || "").toLowerCase().split(/\s+/).filter((word) => word.length > 2);

var Scorer = {
  score: ([page, title, , , score, , kind]) => {
    if (kind === "object" || kind === "index") return score;
    if (LOWER.some((pattern) => pattern.test(page))) return score - 30;
    // Four letters: "wait" also finds "waits" and "waiting".
    const named = SEARCHED.filter((word) => title.toLowerCase().includes(word.slice(0, 4))).length;
    return score + 8 * named + (HIGHER.some((pattern) => pattern.test(page)) ? 4 : 0);
  },
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
