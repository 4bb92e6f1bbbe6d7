// The page: what is given goes into a queue, each picture becomes a row, and one of them is shown large.

const $ = (id) => document.getElementById(id);
const card = JSON.parse($("card").textContent), rules = JSON.parse($("rules").textContent);
const THUMBNAIL_PX = 96;

const results = []; // {path, file, found, error, reason, thumbnail}
let shown = null, queue = [], given = 0, failed = 0, working = false, told = () => "", snaps = 0, pastes = 0, cleared = 0;

// One picture at a time: the runtime has one input.
let turn = Promise.resolve();

/** Classify anything that `prepared` takes. */
function classify(input) {
  turn = turn.catch(() => {}).then(async () => look(await prepared(input, card.preprocessing)));
  return turn;
}

async function look(pixels) {
  return answerOf(await (await ready).run(pixels), card, rules);
}

const ready = Model.load(card);
const loaded = ready.then(() => {});
loaded.catch(() => {}); // it is told below

/**
 * What other programs may use.
 *
 * ready: resolves when the model is loaded, and rejects if it cannot be.
 * classify(input): input is a File or Blob, ImageData, anything that can be drawn (bitmap, canvas, video, image), or a
 *   Uint8Array of size x size x 3 that is prepared already; resolves to what `answerOf` describes, or rejects with an
 *   error whose `reason` says why the picture cannot be read.
 * prepared(input): the pixels that the network would see, Uint8Array of size x size x 3.
 * card, rules: what the model says of itself.
 */
window.linnaeus = Object.freeze({
  ready: loaded, classify, prepared: (input) => prepared(input, card.preprocessing), card, rules,
});

function tell(make) {
  told = make;
  $("status").textContent = make();
}

function trouble(make) {
  $("trouble").hidden = !make;
  $("trouble").textContent = make ? make() : "";
}

function named(tag, text, name = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  if (name) element.className = name;
  return element;
}

/** Draw what the network sees. */
function draw(canvas, pixels, side) {
  const size = card.preprocessing.size_px, image = new ImageData(size, size);
  for (let at = 0, from = 0; at < image.data.length; at += 4) {
    image.data.set([pixels[from++], pixels[from++], pixels[from++], 255], at);
  }
  const whole = Object.assign(document.createElement("canvas"), { width: size, height: size });
  whole.getContext("2d").putImageData(image, 0, 0);
  Object.assign(canvas, { width: side, height: side });
  canvas.getContext("2d").drawImage(whole, 0, 0, side, side);
  return canvas;
}

/** Take files, a name with each: they are answered one after the other. */
async function take(files) {
  if (!files.length) return;
  if (!working) given = failed = 0;
  given += files.length;
  queue.push(...files);
  if (working) return;
  working = true;
  let first = results.length, round = cleared;
  while (queue.length) {
    if (round !== cleared) [first, round] = [0, cleared];
    const n = given - queue.length + 1;
    tell(() => say("working", { n, N: given }));
    await add(...queue.shift(), results.length === first);
    await new Promise((resolve) => setTimeout(resolve)); // let the page draw itself
  }
  working = false;
  if (!given) return; // cleared meanwhile
  const last = results.at(-1);
  tell(() => (given === 1 && last ? oneLine(last) : say("done", { N: given, errors: failed })));
}

async function add(file, path, show) {
  const round = cleared;
  const result = { path, file, found: null, error: "", reason: "", thumbnail: null };
  try {
    const pixels = await prepared(file, card.preprocessing);
    result.thumbnail = draw(document.createElement("canvas"), pixels, THUMBNAIL_PX);
    result.found = await classify(pixels);
  } catch (error) {
    Object.assign(result, { error: error.message, reason: error.reason ?? "other" });
  }
  if (round !== cleared) return;
  if (!result.found) failed++;
  results.push(result);
  addRow(result);
  $("results").hidden = false;
  if (show && !camera.on) showResult(result);
}

const word = (found) => (found.unknown ? say("unknown") : found.answer);
const whyNot = ({ reason, error }) => say("cannot_why", { why: say(`error:${reason}`, { error }) });

function oneLine(result) {
  const { found } = result;
  return found ? say("done_one", { answer: word(found), percent: percent(found.confidence) }) : whyNot(result);
}

function addRow(result) {
  const row = document.createElement("tr"), cell = document.createElement("td"), name = document.createElement("th");
  if (result.thumbnail) cell.append(result.thumbnail);
  cell.setAttribute("aria-hidden", "true");
  const button = named("button", result.path, "plain");
  button.type = "button";
  button.addEventListener("click", () => showResult(result, true));
  name.scope = "row";
  name.append(button);
  row.append(cell, name, document.createElement("td"), named("td", "", "number"));
  result.row = row;
  fillRow(result);
  $("rows").append(row);
}

function fillRow({ row, found, reason, error, path }) {
  row.querySelector("button").setAttribute("aria-label", say("show", { name: path }));
  row.children[2].textContent = found ? word(found) : whyNot({ reason, error });
  row.children[2].className = found ? (found.unknown ? "unknown" : "class") : "bad";
  row.children[3].textContent = found ? percent(found.confidence) : "";
}

function showResult(result, go = false) {
  camera.stop();
  shown = result;
  results.forEach((one) => one.row.classList.toggle("shown", one === result));
  $("answer").hidden = false;
  $("video").hidden = $("live").hidden = true;
  URL.revokeObjectURL($("shown").src);
  if (result.found) $("shown").src = URL.createObjectURL(result.file);
  $("shown").alt = result.path;
  $("shown").hidden = !result.found;
  $("shown").parentElement.hidden = $("lens").parentElement.hidden = !result.found;
  if (result.thumbnail) drawThumbnail(result.thumbnail);
  $("name").textContent = result.path;
  cameraButton();
  fillAnswer();
  if (go) $("answer").scrollIntoView({ block: "nearest" });
}

function drawThumbnail(thumbnail) {
  Object.assign($("lens"), { width: thumbnail.width, height: thumbnail.height });
  $("lens").getContext("2d").drawImage(thumbnail, 0, 0);
}

/** Write the large answer in the reader's language. */
function fillAnswer() {
  if (!shown) return;
  const { found, reason, error } = shown;
  $("said").textContent = found ? word(found) : say("cannot");
  $("said").className = found ? (found.unknown ? "said unknown" : "said") : "said bad";
  $("how").textContent = found ? (found.unknown ? "" : say("sure", { percent: percent(found.confidence) })) : say(`error:${reason}`, { error });
  const why = !found ? "" : found.unknown ? say("unknown_why", found) : found.accepted === false ? say("unsure", { max: percent(rules.max_error, 0) }) : "";
  $("why").textContent = why;
  $("why").hidden = !why;
  const top = found ? topOf(found.probabilities) : [];
  $("bars").replaceChildren(...top.map((k) => barOf(card.classes[k], found.probabilities[k])));
  const left = card.classes.length - top.length, rest = 1 - top.reduce((sum, k) => sum + found.probabilities[k], 0);
  $("others").textContent = found && left > 0 ? say(left === 1 ? "others_one" : "others", { n: left, percent: percent(Math.max(0, rest)) }) : "";
}

function barOf(name, share) {
  const item = document.createElement("li"), track = named("span", "", "track"), bar = document.createElement("span");
  bar.style.width = percent(share, 2).replace(" ", "");
  track.setAttribute("aria-hidden", "true");
  track.append(bar);
  item.append(named("span", name, "class"), named("span", percent(share), "number"), track);
  return item;
}

// The camera.

const camera = new Camera($("video"), async (video) => {
  const turn = camera.turn;
  try {
    const pixels = await prepared(video, card.preprocessing), found = await classify(pixels);
    if (turn !== camera.turn) return;
    const before = shown?.found?.answer;
    shown = { path: "", found };
    draw($("lens"), pixels, THUMBNAIL_PX);
    fillAnswer();
    if (found.answer !== before) tell(() => (shown?.found ? say("live", { answer: word(shown.found) }) : ""));
  } catch (error) {
    trouble(() => say("error:other", { error: error.message }));
  }
});

function cameraButton() {
  $("camera").textContent = say(camera.on ? "stop" : "camera");
  $("camera").setAttribute("aria-pressed", String(camera.on));
}

async function startCamera(which) {
  trouble(null);
  try {
    await camera.start(which);
  } catch (error) {
    camera.stop();
    cameraButton();
    return trouble(() => cameraTrouble(error));
  }
  if (!camera.on) return;
  results.forEach((one) => one.row.classList.remove("shown"));
  for (const id of ["answer", "video", "live"]) $(id).hidden = false;
  $("shown").hidden = true;
  $("shown").parentElement.hidden = $("lens").parentElement.hidden = false;
  $("name").textContent = "";
  cameraButton();
  await listCameras(which);
}

async function listCameras(which) {
  const cameras = await camera.list(), options = [["back", say("back")], ["front", say("front")]];
  cameras.forEach(([id, label], n) => options.push([id, label || say("a_camera", { n: n + 1 })]));
  $("which").replaceChildren(...options.map(([value, text]) => Object.assign(named("option", text), { value })));
  $("which").value = which;
}

function stopCamera() {
  camera.stop();
  cameraButton();
  shown = null;
  $("answer").hidden = true;
  tell(() => say("ready"));
}

async function keepFrame() {
  const video = $("video"), size = { width: video.videoWidth, height: video.videoHeight };
  const canvas = Object.assign(document.createElement("canvas"), size);
  canvas.getContext("2d").drawImage(video, 0, 0);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  await take([[blob, say("kept", { n: ++snaps })]]);
}

// What is given.

const withNames = (files) => Array.from(files, (file) => [file, file.webkitRelativePath || file.name]);

/** List dropped files, those in dropped folders too. */
async function dropped(transfer) {
  const entries = Array.from(transfer.items ?? [], (item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return withNames(transfer.files);
  return (await Promise.all(entries.map(filesOf))).flat();
}

async function filesOf(entry) {
  if (entry.isFile) {
    return [[await new Promise((resolve, reject) => entry.file(resolve, reject)), entry.fullPath.replace(/^\//, "")]];
  }
  const reader = entry.createReader(), inside = [];
  for (;;) { // a browser gives a hundred at a time
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) break;
    inside.push(...some);
  }
  inside.sort((a, b) => (a.name < b.name ? -1 : 1));
  return (await Promise.all(inside.filter((one) => !one.name.startsWith(".")).map(filesOf))).flat();
}

function saveCsv() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csvOf(results, card, rules)], { type: "text/csv;charset=utf-8" }));
  link.download = "answers.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function clearAll() {
  cleared++;
  given = failed = 0;
  queue = [];
  results.length = 0;
  $("rows").replaceChildren();
  $("results").hidden = true;
  if (!camera.on) {
    shown = null;
    $("answer").hidden = true;
  }
  tell(() => say("ready"));
  $("files").focus();
}

function listen() {
  $("files").addEventListener("change", (event) => {
    take(withNames(event.target.files));
    event.target.value = "";
  });
  $("camera").addEventListener("click", () => (camera.on ? stopCamera() : startCamera("back")));
  $("which").addEventListener("change", (event) => startCamera(event.target.value));
  $("keep").addEventListener("click", keepFrame);
  $("save").addEventListener("click", saveCsv);
  $("clear").addEventListener("click", clearAll);
  $("language").addEventListener("click", () => {
    language = language === "en" ? "zh" : "en";
    speak();
  });
  addEventListener("paste", (event) => {
    take(Array.from(event.clipboardData.files, (file) => [file, file.name || say("pasted", { n: ++pastes })]));
  });
  // Everywhere: a picture that misses the field must not replace the page.
  const carries = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragover", (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", carries(event));
  });
  addEventListener("dragleave", (event) => event.relatedTarget ?? $("drop").classList.remove("over"));
  addEventListener("drop", async (event) => {
    event.preventDefault();
    $("drop").classList.remove("over");
    take(await dropped(event.dataTransfer));
  });
}

// The words.

function speak() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const element of document.querySelectorAll("[data-say]")) element.textContent = say(element.dataset.say);
  $("language").textContent = say("other");
  $("language").setAttribute("aria-label", say("other_label"));
  $("language").lang = language === "zh" ? "en" : "zh-CN";
  $("classes").textContent = say("classes", { name: rules.name, K: card.classes.length });
  $("status").textContent = told();
  trouble(null);
  cameraButton();
  results.forEach(fillRow);
  fillAnswer();
  const facts = factsOf().filter(([, text]) => text);
  $("facts").replaceChildren(...facts.flatMap(([key, text]) => [named("dt", say(key)), named("dd", text)]));
}

/** List what the model says of itself. */
function factsOf() {
  const { preprocessing: input, about } = card, data = about.data ?? {}, versions = about.versions ?? {};
  const part = ["test", "val"].find((one) => about.scores?.[one]?.accuracy);
  const [value, low, high, n] = part ? about.scores[part].accuracy : [];
  const share = (one) => percent(one);
  return [
    ["a_classes", card.classes.join(", ")],
    ["a_accuracy", part && say("a_accuracy_is", { value: share(value), low: share(low), high: share(high), n, part: say(part) })],
    ["a_promise", rules.answer_from !== null && say("a_promise_is", { from: share(rules.answer_from), max: percent(rules.max_error, 0) })],
    ["a_unknown", rules.strange_above !== null && say("a_unknown_is", { above: rules.strange_above.toPrecision(4) })],
    ["a_data", data.name && say("a_data_is", { name: data.name, used: data.used ?? "?" })],
    ["a_print", data.fingerprint],
    ["a_input", say("a_input_is", { size: input.size_px, how: say(input.resize) })],
    ["a_precision", card.precision],
    ["a_seed", about.seed === undefined ? "" : String(about.seed)],
    ["a_versions", ["linnaeus", "torch", "timm"].filter((one) => versions[one]).map((one) => `${one} ${versions[one]}`).join(", ")],
    ["a_runtime", rules.runtime],
  ];
}

tell(() => say("loading"));
listen();
speak();
ready.then(() => working || tell(() => say("ready")), (error) => {
  tell(() => "");
  trouble(() => say("failed", { error: error?.message ?? error }));
});
