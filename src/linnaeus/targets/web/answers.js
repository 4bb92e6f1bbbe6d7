// From the network's numbers to an answer, and to the table that `linnaeus predict --out` writes.

const TOP = 5;
const UNKNOWN = "unknown";

/**
 * Say what the model says of a picture.
 *
 * @returns {{answer, predicted, confidence, probabilities, unknownScore, unknown, accepted, set, features}}
 *   answer is a class or "unknown"; what the model cannot tell is null.
 */
function answerOf(found, card, rules) {
  const p = found.probabilities, best = p.indexOf(Math.max(...p)), predicted = card.classes[best];
  const unknownScore = found.unknown_score ? found.unknown_score[0] : null;
  const unknown = unknownScore === null ? null : rules.strange_above !== null && unknownScore > rules.strange_above;
  const inside = (k) => k === best || 1 - p[k] <= rules.set_strangeness;
  return {
    answer: unknown ? UNKNOWN : predicted, predicted, confidence: p[best], probabilities: Array.from(p),
    unknownScore, unknown,
    accepted: rules.answer_from === null ? null : p[best] >= rules.answer_from,
    set: rules.judges ? card.classes.filter((_, k) => inside(k)) : null,
    features: found.features ? Array.from(found.features) : null,
  };
}

/** Number the most probable classes, the first of equals first. */
function topOf(probabilities) {
  const order = probabilities.map((_, k) => k).sort((a, b) => probabilities[b] - probabilities[a] || a - b);
  return order.slice(0, TOP);
}

const quoted = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);

/** Lay results out as CSV; each is {path, found, error}, with found null of a picture that cannot be read. */
function csvOf(results, card, rules) {
  const scores = card.outputs.includes("unknown_score");
  const columns = [["path", (one) => one.path], ["answer", (one) => one.found?.answer], ["predicted", (one) => one.found?.predicted],
    ["confidence", (one) => one.found?.confidence]];
  if (scores) columns.push(["unknown_score", (one) => one.found?.unknownScore], ["unknown", (one) => one.found?.unknown]);
  if (rules.judges) columns.push(["accepted", (one) => one.found?.accepted], ["set", (one) => one.found?.set.join("|")]);
  card.classes.forEach((name, k) => columns.push([`p:${name}`, (one) => one.found?.probabilities[k]]));
  columns.push(["error", (one) => one.error]);
  const rows = results.map((one) => columns.map(([, value]) => quoted(String(value(one) ?? ""))));
  return [columns.map(([title]) => quoted(title)), ...rows].map((row) => row.join(",") + "\n").join("");
}
