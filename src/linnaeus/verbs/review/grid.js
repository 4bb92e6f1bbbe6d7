// The grid: only what can be seen is in the page, so that 100,000 cases scroll like 100.
const PAGE = 200;
const GAP = 10;
const WORDS_PX = 48;

class Grid {
  constructor(box, space, load) {
    this.box = box;
    this.space = space;
    this.load = load; // (start, count) -> promise of cases
    this.cards = new Map();
    this.reset(0);
    box.addEventListener("scroll", () => this.paint(), { passive: true });
    new ResizeObserver(() => { this.measure(); this.paint(); }).observe(box);
  }

  reset(total) {
    this.total = total;
    this.at = []; // position -> case number
    this.asked = new Set(); // pages
    this.here = 0;
    this.anchor = 0;
    this.selected = new Set(); // positions
    this.generation = (this.generation || 0) + 1;
    for (const card of this.cards.values()) card.remove();
    this.cards.clear();
    this.box.scrollTop = 0;
    this.measure();
    this.paint();
  }

  measure() {
    const inside = this.box.clientWidth - 2 * GAP;
    this.columns = Math.max(2, Math.floor((inside + GAP) / (inside < 640 ? 165 : 205)));
    this.width = Math.floor(inside / this.columns);
    this.height = this.width + WORDS_PX;
    this.rows = Math.ceil(this.total / this.columns);
    this.space.style.height = `${this.rows * this.height + 2 * GAP}px`;
  }

  position(index) {
    const row = Math.floor(index / this.columns);
    return [GAP + (index - row * this.columns) * this.width, GAP + row * this.height];
  }

  async fetchPage(page) {
    if (this.asked.has(page)) return;
    this.asked.add(page);
    const generation = this.generation;
    try {
      const cases = await this.load(page * PAGE, PAGE);
      if (generation !== this.generation) return;
      cases.forEach((one, i) => { this.at[page * PAGE + i] = one.n; });
    } catch (error) {
      this.asked.delete(page);
      throw error;
    }
    this.paint();
    paintBar();
  }

  paint() {
    const first = Math.max(0, Math.floor((this.box.scrollTop - GAP) / this.height) - 2) * this.columns;
    const last = Math.min(this.total, (Math.ceil((this.box.scrollTop + this.box.clientHeight) / this.height) + 2) * this.columns);
    for (const [index, card] of this.cards) {
      if (index < first || index >= last) { card.remove(); this.cards.delete(index); }
    }
    for (let index = first; index < last; index++) {
      let card = this.cards.get(index);
      if (!card) {
        card = newCard();
        this.cards.set(index, card);
        this.space.append(card);
      }
      const [x, y] = this.position(index);
      card.style.transform = `translate(${x}px, ${y}px)`;
      card.style.width = `${this.width}px`;
      card.style.height = `${this.height - 2}px`;
      card.querySelector(".frame").style.height = `${this.width - 12}px`;
      this.fill(card, index);
      if (this.at[index] === undefined) this.fetchPage(Math.floor(index / PAGE)).catch(showTrouble);
    }
    if (this.total) this.box.setAttribute("aria-activedescendant", `card-${this.here}`);
  }

  fill(card, index) {
    const one = cases.get(this.at[index]);
    card.id = `card-${index}`;
    card.dataset.index = index;
    card.setAttribute("aria-posinset", index + 1);
    card.setAttribute("aria-setsize", this.total);
    card.setAttribute("aria-selected", this.selected.has(index));
    card.classList.toggle("here", index === this.here);
    if (!one) return;
    card.classList.toggle("decided", Boolean(one.decision));
    card.classList.toggle("saving", saving.has(one.id));
    const near = (other) => {
      const next = cases.get(this.at[other]);
      return next && one.cluster && next.cluster === one.cluster && next.kind === one.kind;
    };
    const row = (i) => Math.floor(i / this.columns);
    card.classList.toggle("together", one.cluster_size > 1);
    card.classList.toggle("begins", !near(index - 1) || row(index - 1) !== row(index));
    card.classList.toggle("ends", !near(index + 1) || row(index + 1) !== row(index));
    fillCard(card, one);
  }

  go(index, { extend = false, keep = false } = {}) {
    if (!this.total) return;
    this.here = Math.min(Math.max(index, 0), this.total - 1);
    if (extend) this.selectRange(this.anchor, this.here);
    else { this.anchor = this.here; if (!keep) this.selected.clear(); }
    this.reveal();
    this.paint();
  }

  reveal() {
    const top = this.position(this.here)[1];
    const view = this.box;
    if (top < view.scrollTop) view.scrollTop = top - GAP;
    else if (top + this.height > view.scrollTop + view.clientHeight) view.scrollTop = top + this.height - view.clientHeight + GAP;
  }

  selectRange(from, to) {
    this.selected.clear();
    for (let i = Math.min(from, to); i <= Math.max(from, to); i++) this.selected.add(i);
  }

  toggle(index) {
    this.selected.has(index) ? this.selected.delete(index) : this.selected.add(index);
    this.here = this.anchor = index;
    this.paint();
  }

  async numberAt(index) {
    await this.fetchPage(Math.floor(index / PAGE));
    return this.at[index];
  }

  // The next picture that is open, among those loaded; the very next where none is known.
  nextOpen(after) {
    for (let i = after + 1; i < this.total; i++) {
      const one = cases.get(this.at[i]);
      if (!one || (!one.decision && !saving.has(one.id))) return i;
    }
    return Math.min(after + 1, this.total - 1);
  }

  perScreen() { return Math.max(1, Math.floor(this.box.clientHeight / this.height)) * this.columns; }
}

const DECIDED = { keep: "kept", relabel: "", "not-a-class": "not a class", exclude: "excluded" };
const decisionWords = (decision) => (decision.action === "relabel" ? `→ ${decision.new_label}` : DECIDED[decision.action]);
const percent = (score) => (score === null ? "" : `${score < 0.1 ? (100 * score).toFixed(1) : Math.round(100 * score)} %`);

function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

function badge(decision) {
  return element("span", `badge ${decision.action}`, decisionWords(decision));
}

function picture(n, full = false) {
  const image = element("img");
  image.alt = "";
  image.draggable = false;
  image.decoding = "async";
  image.addEventListener("load", () => image.classList.toggle("tiny", Math.max(image.naturalWidth, image.naturalHeight) <= 96));
  image.addEventListener("error", () => image.replaceWith(element("span", "unseen", "this picture cannot be shown")));
  image.src = `picture?n=${n}${full ? "&full" : ""}`;
  return image;
}

function newCard() {
  const card = element("div", "card");
  card.setAttribute("role", "option");
  const words = element("div", "words");
  card.append(element("div", "frame"), words, element("span", "file"), Object.assign(element("span", "tick"), { ariaHidden: "true" }));
  return card;
}

function fillCard(card, one) {
  const [frame, words, file] = card.children;
  if (card.dataset.n !== String(one.n)) {
    card.dataset.n = one.n;
    frame.replaceChildren(picture(one.n));
    words.replaceChildren(element("bdi", "", one.label || "no label"));
    if (one.suggested) words.append("→", element("bdi", "suggested", one.suggested));
    if (one.score !== null) words.append(element("span", "score", percent(one.score)));
    file.replaceChildren(element("bdi", "", one.id.slice(one.id.lastIndexOf("/") + 1)));
    card.title = `${one.id}\n${one.evidence}`;
  }
  card.querySelector(".badge")?.remove();
  if (one.decision) card.append(badge(one.decision));
  const told = [one.label || "no label", one.suggested && `suggested ${one.suggested}`, one.id, one.decision ? decisionWords(one.decision) : "undecided"];
  card.setAttribute("aria-label", told.filter(Boolean).join(", "));
}
