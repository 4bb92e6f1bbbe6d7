// The two dialogs: pictures large, and the search for a class.
const zoom = byId("zoom");
let zoomed = "";

function openZoom() {
  if (!grid.total) return;
  zoomed = "";
  zoom.showModal();
  byId("zoom-pictures").focus();
  showZoom().catch(showTrouble);
}

async function showZoom() {
  const n = await grid.numberAt(grid.here);
  const one = cases.get(n);
  if (!one || !zoom.open) return;
  const members = one.cluster_size > 1 ? (await call(`set?n=${n}`)).cases : [one];
  if (grid.at[grid.here] !== n) return; // gone on meanwhile
  for (const member of members) if (!cases.has(member.n)) cases.set(member.n, member);
  byId("zoom-where").textContent = `${(grid.here + 1).toLocaleString("en")} of ${grid.total.toLocaleString("en")}`;
  byId("zoom-id").textContent = one.id;
  const box = byId("zoom-pictures");
  const key = `${view} ${members.map((member) => member.n)}`;
  if (zoomed !== key) {
    zoomed = key;
    box.classList.remove("actual");
    box.classList.toggle("several", members.length > 1);
    box.replaceChildren(...members.map(zoomFigure));
  }
  members.forEach((member, i) => {
    const figure = box.children[i];
    figure.classList.toggle("here", member.n === n);
    if (members.length > 1) captionOf(figure, cases.get(member.n));
    if (member.n === n) figure.scrollIntoView({ block: "nearest", inline: "nearest" });
  });
  const words = byId("zoom-words");
  words.replaceChildren(element("b", "", one.label || "no label"));
  if (one.suggested) words.append(" → ", element("b", "suggested", one.suggested));
  if (one.decision) words.append(badge(one.decision));
  words.append(element("br"), element("small", "", one.evidence));
  paintBar();
}

// Every pixel of the picture, or twice what fits where that is more.
function enlarge(on) {
  const larger = byId("zoom-pictures").classList.toggle("actual", on);
  for (const image of byId("zoom-pictures").querySelectorAll("img")) {
    const box = image.parentElement;
    const fits = Math.min(box.clientWidth / image.naturalWidth, box.clientHeight / image.naturalHeight);
    image.style.width = larger ? `${image.naturalWidth * Math.max(1, 2 * fits)}px` : "";
    if (larger) box.scrollTo((box.scrollWidth - box.clientWidth) / 2, (box.scrollHeight - box.clientHeight) / 2);
  }
}

function zoomFigure(member) {
  const figure = element("figure");
  const large = element("div", "large");
  large.append(picture(member.n, true));
  large.addEventListener("click", () => {
    const index = grid.at.indexOf(member.n);
    if (index >= 0 && index !== grid.here) { grid.go(index); showZoom().catch(showTrouble); } else enlarge();
  });
  figure.append(large, element("figcaption"));
  return figure;
}

function captionOf(figure, one) {
  const caption = figure.lastElementChild;
  caption.replaceChildren(element("b", "", one.label || "no label"));
  if (one.decision) caption.append(badge(one.decision));
  caption.append(element("small", "", one.id));
}

function zoomTo(index) {
  grid.go(index);
  showZoom().catch(showTrouble);
}

let touchFrom = null;
byId("zoom-pictures").addEventListener("touchstart", (event) => { touchFrom = event.touches.length === 1 ? [event.touches[0].clientX, event.touches[0].clientY] : null; }, { passive: true });
byId("zoom-pictures").addEventListener("touchend", (event) => {
  if (!touchFrom || byId("zoom-pictures").classList.contains("actual")) return;
  const [dx, dy] = [event.changedTouches[0].clientX - touchFrom[0], event.changedTouches[0].clientY - touchFrom[1]];
  if (Math.abs(dx) > 60 && Math.abs(dx) > 2 * Math.abs(dy)) zoomTo(grid.here + (dx < 0 ? 1 : -1));
}, { passive: true });
zoom.addEventListener("close", () => { grid.box.focus(); grid.reveal(); repaint(); });


const relabel = byId("relabel");
let offered = [];
let offer = 0;

function openRelabel() {
  if (!grid.total) return;
  byId("search").value = "";
  relabel.showModal();
  byId("search").focus();
  showOffers();
}

function showOffers() {
  const typed = byId("search").value.trim();
  const low = typed.toLowerCase();
  const suggested = cases.get(grid.at[grid.here])?.suggested;
  const first = [...new Set([suggested, ...recent].filter((name) => name && overview.classes.includes(name)))];
  const all = typed ? overview.classes : [...new Set([...first, ...overview.classes])];
  const rank = (name) => { const at = name.toLowerCase().indexOf(low); return at < 0 ? 9 : name.toLowerCase() === low ? 0 : at === 0 ? 1 : /[\s_,.-]/.test(name[at - 1]) ? 2 : 3; };
  offered = all.map((name, i) => ({ name, i, rank: rank(name) })).filter((one) => one.rank < 9);
  if (typed) offered.sort((a, b) => a.rank - b.rank || a.i - b.i);
  offered = offered.slice(0, 200).map(({ name }) => ({ name, note: name === suggested ? "suggested" : !typed && recent.includes(name) ? "lately" : "" }));
  const parts = typed.split("|").filter(Boolean);
  if (overview.multilabel && parts.length > 1 && parts.every((part) => overview.classes.includes(part))) offered.unshift({ name: typed, note: "all of these" });
  else if (typed && !overview.classes.includes(typed)) offered.push({ name: typed, note: "a new class", add: true });
  offer = 0;
  byId("found").replaceChildren(...offered.map((one, i) => {
    const item = element("li", one.add ? "new" : "");
    item.id = `offer-${i}`;
    item.setAttribute("role", "option");
    item.append(element("bdi", "", one.name), element("small", "", one.note));
    item.addEventListener("click", () => takeOffer(i));
    return item;
  }));
  markOffer();
}

function markOffer() {
  [...byId("found").children].forEach((item, i) => item.setAttribute("aria-selected", i === offer));
  byId("found").children[offer]?.scrollIntoView({ block: "nearest" });
  byId("search").setAttribute("aria-activedescendant", offered.length ? `offer-${offer}` : "");
}

function takeOffer(i) {
  const one = offered[i];
  if (!one) return;
  // A slip of the keyboard must not make a class: a new one is asked for twice.
  if (one.add && !one.sure) {
    one.sure = true;
    byId("found").children[i].lastChild.textContent = "really a new class? once more";
    return;
  }
  relabel.close();
  decide("relabel", one.add ? { new_label: one.name, add_class: true } : { new_label: one.name }).catch(showTrouble);
}

byId("search").addEventListener("input", showOffers);
byId("search").addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step) { event.preventDefault(); offer = Math.min(Math.max(offer + step, 0), offered.length - 1); markOffer(); }
  if (event.key === "Enter" && !event.isComposing) { event.preventDefault(); takeOffer(offer); }
});
