// The page: what is shown, and what is decided.
const byId = (id) => document.getElementById(id);
const cases = new Map(); // case number -> case
const saving = new Set(); // ids whose decision is not acknowledged yet
let overview = null;
let view = 0;
const asked = { kind: "", label: "", state: "open", order: "doubtful" };
const recent = []; // labels given lately, the last first
let queue = Promise.resolve();

async function call(path, body) {
  const options = body === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), keepalive: JSON.stringify(body).length < 60000 };
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer, so nothing more is saved; all decisions shown are. Start linnaeus review again.");
  }
  const document_ = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(document_.error || answer.statusText), { status: answer.status });
  byId("trouble").hidden = true;
  return document_;
}

function showTrouble(error) {
  byId("trouble").textContent = error.message;
  byId("trouble").hidden = false;
}

function say(words) {
  const said = byId("said");
  said.textContent = words;
  said.classList.add("shown");
  clearTimeout(say.timer);
  say.timer = setTimeout(() => said.classList.remove("shown"), 2600);
}

const grid = new Grid(byId("grid"), byId("space"), async (start, count) => {
  const found = (await call(`cases?view=${view}&start=${start}&count=${count}`)).cases;
  for (const one of found) cases.set(one.n, one);
  return found;
});

async function showView(here = 0) {
  history.replaceState(null, "", `#${new URLSearchParams(asked)}`);
  const made = await call(`view?${new URLSearchParams(asked)}`);
  view = made.view;
  cases.clear();
  grid.reset(made.total);
  if (here) grid.go(here);
  showProgress();
  paintBar();
}

function showProgress() {
  const kinds = overview.kinds;
  const shown = asked.kind ? kinds.filter((one) => one.kind === asked.kind) : kinds;
  const total = shown.reduce((sum, one) => sum + one.total, 0);
  const decided = shown.reduce((sum, one) => sum + one.decided, 0);
  byId("progress").textContent = `${decided.toLocaleString("en")} of ${total.toLocaleString("en")} decided`;
  byId("done").style.width = `${total ? (100 * decided) / total : 0}%`;
  for (const label of byId("kinds").querySelectorAll("label")) {
    const one = kinds.find((other) => other.kind === label.control.value);
    if (one) label.lastChild.textContent = one.decided ? `${one.decided.toLocaleString("en")}/${one.total.toLocaleString("en")}` : one.total.toLocaleString("en");
  }
  const nothing = byId("nothing");
  nothing.hidden = grid.total > 0;
  const left = kinds.find((one) => one.decided < one.total);
  nothing.textContent = !kinds.length ? "There is nothing to look at: no finding is about a picture."
    : asked.state === "open" && total === decided ? `All ${total.toLocaleString("en")} are decided.${left ? ` Still open: ${left.kind}.` : ""}`
      : "No picture is of this class and state.";
}

function buildHead() {
  document.title = `Review of ${overview.name}`;
  byId("name").textContent = overview.name;
  byId("where").textContent = overview.corrections;
  const kinds = byId("kinds");
  for (const one of [...overview.kinds, { kind: "" }]) {
    if (!one.kind && overview.kinds.length < 2) continue;
    const label = element("label");
    const radio = Object.assign(element("input"), { type: "radio", name: "kind", value: one.kind, checked: one.kind === asked.kind });
    radio.addEventListener("change", () => { asked.kind = one.kind; showView().catch(showTrouble); });
    label.append(radio, one.kind || "everything", element("small"));
    kinds.append(label);
  }
  buildClasses();
  for (const name of ["label", "state", "order"]) {
    byId(name).value = asked[name];
    byId(name).addEventListener("change", () => { asked[name] = byId(name).value; showView().catch(showTrouble); });
  }
  const notes = [...overview.notes, ...overview.problems];
  byId("notes-open").hidden = !notes.length;
  byId("notes-open").textContent = `${notes.length} note${notes.length === 1 ? "" : "s"}`;
  byId("notes").querySelector("ul").append(...notes.map((text) => element("li", "", text)));
}

function buildClasses() {
  const options = ["", ...overview.classes].map((name) => Object.assign(element("option", "", name || "all classes"), { value: name }));
  byId("label").replaceChildren(...options);
  byId("label").value = asked.label;
}

// What an action is about: the selection, else the picture where one is.
async function chosen() {
  const positions = zoom.open || !grid.selected.size ? [grid.here] : [...grid.selected].sort((a, b) => a - b);
  const last = positions[positions.length - 1];
  if (positions.every((index) => grid.at[index] !== undefined)) return { numbers: positions.map((index) => grid.at[index]), last };
  const first = positions[0];
  const { numbers } = await call(`numbers?view=${view}&start=${first}&count=${last - first + 1}`);
  return { numbers: positions.map((index) => numbers[index - first]), last };
}

// Steps are sent one after the other; nothing counts as decided before the server says that it is on the disk.
function send(path, body, numbers, words) {
  const ids = numbers.map((n) => cases.get(n)?.id).filter((id) => id !== undefined);
  ids.forEach((id) => saving.add(id));
  grid.paint();
  queue = queue.then(async () => {
    try {
      const done = await call(path, body);
      take(done);
      say(words(done));
    } catch (error) {
      showTrouble(error);
    } finally {
      ids.forEach((id) => saving.delete(id));
      repaint();
    }
  });
  return queue;
}

function take(done) {
  for (const [n, decision] of Object.entries(done.decisions)) {
    const one = cases.get(Number(n));
    if (one) one.decision = decision;
  }
  overview.kinds = done.kinds;
  if (done.classes.length !== overview.classes.length) { overview.classes = done.classes; buildClasses(); }
  showProgress();
}

function repaint() {
  grid.paint();
  paintBar();
  if (zoom.open) showZoom();
}

const pictures = (count) => `${count.toLocaleString("en")} picture${count === 1 ? "" : "s"}`;
const SAID = { keep: "kept", "not-a-class": "not of any class", exclude: "excluded" };

async function decide(action, more = {}) {
  if (!grid.total) return;
  const { numbers, last } = await chosen();
  send("decide", { numbers, action, ...more }, numbers, (done) => `${pictures(done.pictures)} ${action === "relabel" ? `relabelled: ${more.new_label}` : SAID[action]}`);
  if (action === "relabel") { const name = more.new_label; recent.splice(0, recent.length, name, ...recent.filter((one) => one !== name)); }
  grid.go(grid.nextOpen(last));
  repaint();
}

async function accept() {
  if (!grid.total) return;
  const { numbers, last } = await chosen();
  // Of cases that were never loaded the server knows whether something is suggested.
  if (numbers.every((n) => cases.has(n) && !cases.get(n).suggested)) { say("nothing is suggested for it; r relabels"); return; }
  send("accept", { numbers }, numbers, (done) => `${pictures(done.pictures)} relabelled as suggested`);
  grid.go(grid.nextOpen(last));
  repaint();
}

async function keepOnly() {
  const one = cases.get(grid.at[grid.here]);
  if (!one || one.cluster_size < 2) { say("it is in no set of copies"); return; }
  const numbers = grid.at.filter((n) => { const other = cases.get(n); return other && other.kind === one.kind && other.cluster === one.cluster; });
  send("keep-only", { n: one.n }, numbers, (done) => `one kept, ${done.pictures - 1} excluded`);
  const last = Math.max(...numbers.map((n) => grid.at.indexOf(n)));
  grid.go(grid.nextOpen(last));
  repaint();
}

function undo() {
  return send("undo", {}, [], (done) => `taken back: ${pictures(done.pictures)}`);
}

async function takeBack() {
  if (!grid.total) return;
  const { numbers } = await chosen();
  send("take-back", { numbers }, numbers, (done) => `taken back: ${pictures(done.pictures)}`);
}

const ACTIONS = [
  ["keep", "Keep", "k", () => decide("keep")],
  ["suggest", "Accept", "s", accept],
  ["relabel", "Relabel", "r", () => openRelabel()],
  ["not-a-class", "Not a class", "n", () => decide("not-a-class")],
  ["exclude", "Exclude", "x", () => decide("exclude")],
  ["only", "Only this", "o", keepOnly],
  ["take-back", "Take back", "Delete", takeBack],
  ["undo", "Undo", "u", undo],
];

function buildBar(bar) {
  bar.append(element("span", "count"));
  for (const [name, words, key, act] of ACTIONS) {
    const button = Object.assign(element("button", name), { type: "button" });
    button.setAttribute("aria-keyshortcuts", key);
    button.append(element("span", "", words), element("kbd", "", key === "Delete" ? "Del" : key));
    button.addEventListener("click", () => Promise.resolve(act()).catch(showTrouble));
    bar.append(button);
  }
}

function paintBar() {
  const one = cases.get(grid.at[grid.here]);
  const several = [...grid.selected].map((index) => cases.get(grid.at[index]));
  for (const bar of [byId("bar"), byId("zoom-bar")]) {
    const about = bar.id === "bar" && grid.selected.size ? several : [one];
    bar.querySelector(".count").textContent = grid.selected.size && bar.id === "bar" ? `${grid.selected.size.toLocaleString("en")} selected` : grid.total ? `${(grid.here + 1).toLocaleString("en")} of ${grid.total.toLocaleString("en")}` : "";
    for (const button of bar.querySelectorAll("button")) button.disabled = !grid.total && !button.classList.contains("undo");
    bar.querySelector(".suggest").hidden = !about.some((other) => other?.suggested && !other.decision);
    bar.querySelector(".take-back").hidden = !about.some((other) => other?.decision);
    bar.querySelector(".only").hidden = !(one && one.cluster_size > 1);
  }
}
