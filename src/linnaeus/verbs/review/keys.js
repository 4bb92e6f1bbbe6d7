// Keys, mouse and touch; and the start.
for (const button of document.querySelectorAll("[data-do]")) {
  button.addEventListener("click", () => {
    const what = button.dataset.do;
    if (what === "close") button.closest("dialog").close();
    else zoomTo(grid.here + (what === "next" ? 1 : -1));
  });
}
for (const name of ["help", "notes"]) byId(`${name}-open`).addEventListener("click", () => byId(name).showModal());

// On a keyboard of another script the key in the same place counts.
function letterOf(event) {
  if (event.key.length > 1) return event.key;
  return event.key > "~" && event.code.startsWith("Key") ? event.code.slice(3).toLowerCase() : event.key.toLowerCase();
}

document.addEventListener("keydown", (event) => {
  if (relabel.open || byId("help").open || byId("notes").open || event.altKey) return;
  if (event.target.closest("select, input:not([type=radio])")) return;
  const key = letterOf(event);
  if (event.ctrlKey || event.metaKey) {
    if (key === "z") { event.preventDefault(); undo(); }
    if (key === "a" && !zoom.open) { event.preventDefault(); grid.selectRange(0, grid.total - 1); if (!grid.total) grid.selected.clear(); repaint(); }
    return;
  }
  const action = ACTIONS.find(([, , letter]) => letter === key);
  if (action) { event.preventDefault(); Promise.resolve(action[3]()).catch(showTrouble); return; }
  if (key === "?") { event.preventDefault(); byId("help").showModal(); return; }
  if (key === "Delete" || key === "Backspace") { event.preventDefault(); takeBack().catch(showTrouble); return; }
  if (zoom.open) return zoomKey(event, key);
  if (event.target.closest("input, button")) { if (key === "Enter" && event.target.closest("input")) grid.box.focus(); return; }
  gridKey(event, key);
});

function zoomKey(event, key) {
  const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[key];
  const actual = byId("zoom-pictures").classList.contains("actual");
  if (step && !actual) { event.preventDefault(); zoomTo(grid.here + step); }
  if (key === "z" || key === "+" || key === "-") { event.preventDefault(); enlarge(key === "z" ? undefined : key === "+"); }
}

function gridKey(event, key) {
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -grid.columns, ArrowDown: grid.columns, PageUp: -grid.perScreen(), PageDown: grid.perScreen(), Home: -grid.total, End: grid.total };
  if (key in steps) {
    event.preventDefault();
    // Going down from the last full row must not jump sideways to the end.
    const to = grid.here + steps[key];
    if (key === "ArrowUp" && to < 0) return;
    grid.go(to, { extend: event.shiftKey });
  } else if (key === " ") { event.preventDefault(); grid.toggle(grid.here); }
  else if (key === "Enter") { event.preventDefault(); openZoom(); }
  else if (key === "Escape") grid.selected.clear();
  else return;
  grid.box.classList.add("used");
  repaint();
}

let pressed = null; // a long press on a touch screen selects
grid.box.addEventListener("pointerdown", (event) => {
  const card = event.target.closest(".card");
  clearTimeout(pressed?.timer);
  pressed = null;
  if (!card || event.pointerType === "mouse") return;
  pressed = { long: false, timer: setTimeout(() => { pressed.long = true; grid.toggle(Number(card.dataset.index)); repaint(); }, 450) };
});
for (const end of ["pointerup", "pointercancel", "pointerleave"]) grid.box.addEventListener(end, () => clearTimeout(pressed?.timer));
grid.box.addEventListener("scroll", () => clearTimeout(pressed?.timer), { passive: true });
grid.box.addEventListener("contextmenu", (event) => { if (pressed) event.preventDefault(); });
grid.box.addEventListener("click", (event) => {
  const card = event.target.closest(".card");
  if (!card) return;
  const index = Number(card.dataset.index);
  const touch = event.pointerType === "touch" || event.pointerType === "pen";
  grid.box.classList.add("used");
  if (pressed?.long) { pressed.long = false; return; }
  if (event.target.closest(".tick") || event.ctrlKey || event.metaKey || (touch && grid.selected.size)) grid.toggle(index);
  else if (event.shiftKey) grid.go(index, { extend: true });
  else { grid.go(index); if (touch) openZoom(); }
  repaint();
});
grid.box.addEventListener("dblclick", (event) => { if (event.target.closest(".card") && !event.target.closest(".tick")) openZoom(); });

// Another window may have decided meanwhile.
document.addEventListener("visibilitychange", async () => {
  if (document.hidden || !overview || saving.size) return;
  try {
    overview = await call("overview");
    for (const page of grid.asked) for (const one of (await call(`cases?view=${view}&start=${page * PAGE}&count=${PAGE}`)).cases) cases.set(one.n, one);
    showProgress();
    repaint();
  } catch (error) { showTrouble(error); }
});
window.addEventListener("beforeunload", (event) => { if (saving.size) event.preventDefault(); });

async function begin() {
  overview = await call("overview");
  for (const bar of [byId("bar"), byId("zoom-bar")]) buildBar(bar);
  const open = overview.kinds.find((one) => one.decided < one.total) || overview.kinds[0];
  asked.kind = open ? open.kind : "";
  for (const [name, value] of new URLSearchParams(location.hash.slice(1))) if (name in asked) asked[name] = value;
  if (asked.kind && !overview.kinds.some((one) => one.kind === asked.kind)) asked.kind = "";
  if (asked.label && !overview.classes.includes(asked.label)) asked.label = "";
  buildHead();
  await showView();
  grid.box.focus();
}
begin().catch(showTrouble);
