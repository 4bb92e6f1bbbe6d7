"use strict";
// Adds to a page that says everything without it: filters, a closer look at the matrix, a slider. Nothing is loaded or sent.
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const fill = (pattern, values) => pattern.replace(/\{(\w+)\}/g, (_, key) => values[key]);

  // What is folded away would be missing on paper.
  let opened = [];
  addEventListener("beforeprint", () => { opened = all("details:not([open])"); opened.forEach(one => one.open = true); });
  addEventListener("afterprint", () => { opened.forEach(one => one.open = false); opened = []; });

  const nameOf = (item, key) => {
    const cells = item.matches("tr") ? item.cells : null;
    const place = cells ? cells[key === "t" ? 1 : 2] : item.querySelector(key === "t" ? ".truth" : "figcaption b");
    const name = place && place.querySelector("bdi");
    return name ? name.title || name.textContent : item.dataset[key];
  };

  const form = document.querySelector("form.filter");
  if (form) {
    const pictures = all(".filterable figure"), rows = all("table.mistakes tbody tr");
    for (const key of ["t", "p"]) {
      const names = new Map([...pictures, ...rows].map(item => [item.dataset[key], nameOf(item, key)]));
      [...names].sort((a, b) => a[1].localeCompare(b[1])).forEach(([value, name]) => {
        const option = document.createElement("option");
        option.value = value; option.textContent = name; form.elements[key].append(option);
      });
    }
    const filter = () => {
      const { t, p, sure } = form.elements;
      form.querySelector("output").textContent = sure.value + form.dataset.percent;
      const fits = item => (!t.value || item.dataset.t === t.value) && (!p.value || item.dataset.p === p.value)
        && Number(item.dataset.sure) >= sure.value / 100;
      [...pictures, ...rows].forEach(item => { item.hidden = !fits(item); });
      const n = pictures.filter(item => !item.hidden).length;
      form.querySelector(".found").textContent = fill(form.dataset.said, { n, all: pictures.length });
    };
    form.addEventListener("input", filter);
    form.addEventListener("submit", event => event.preventDefault());
    form.hidden = false;
    filter();
  }

  for (const views of all(".views")) {
    const seen = views.querySelector(".seen"), cells = all(".cell", views), svg = views.querySelector("svg");
    if (!cells.length) continue;
    const place = new Map(cells.map(cell => [cell.dataset.t + "," + cell.dataset.p, cell]));
    const shown = all("#mistakes figure[data-t]");
    const look = cell => {
      views.querySelectorAll(".cell.at").forEach(one => one.classList.remove("at"));
      cell.classList.add("at");
      seen.querySelector(".pair").textContent = cell.getAttribute("aria-label");
      const box = seen.querySelector(".thumbnails"), ids = new Set();
      box.replaceChildren(...shown.filter(one => {
        const id = (one.querySelector("img") || {}).alt;
        const fits = one.dataset.t === cell.dataset.t && one.dataset.p === cell.dataset.p && id && !ids.has(id);
        ids.add(id);
        return fits;
      }).slice(0, 6).map(one => { const copy = one.cloneNode(true); copy.hidden = false; return copy; }));
      if (!box.children.length && shown.length) box.textContent = seen.dataset.none;
      seen.hidden = false;
    };
    svg.setAttribute("role", "group");
    cells.forEach(cell => {
      const title = cell.querySelector("title");
      cell.setAttribute("role", "img");
      cell.setAttribute("aria-label", title.textContent);
      title.remove();
      cell.tabIndex = -1;
      cell.addEventListener("focus", () => look(cell));
      cell.addEventListener("pointerenter", () => look(cell));
      cell.addEventListener("click", () => { look(cell); cell.focus({ preventScroll: true }); });
    });
    cells[0].tabIndex = 0;
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    svg.addEventListener("keydown", event => {
      const step = steps[event.key], cell = event.target.closest(".cell");
      if (!step || !cell) return;
      event.preventDefault();
      const to = place.get((+cell.dataset.t + step[1]) + "," + (+cell.dataset.p + step[0])) || next(cell, step);
      if (to) { cell.tabIndex = -1; to.tabIndex = 0; to.focus(); }
    });
    // Large matrices have gaps: go on to the nearest field in that direction.
    const middle = cell => { const box = cell.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; };
    const next = (cell, [dx, dy]) => {
      const [x, y] = middle(cell);
      let best = null, least = Infinity;
      for (const one of cells) {
        const [u, v] = middle(one), along = (u - x) * dx + (v - y) * dy, aside = Math.abs((u - x) * dy) + Math.abs((v - y) * dx);
        if (along > 1 && along + 3 * aside < least) { best = one; least = along + 3 * aside; }
      }
      return best;
    };
    seen.hidden = !shown.length;
  }

  for (const slider of all("form.threshold")) {
    const curve = slider.dataset.curve.split(";").map(row => row.split(",").map(Number));
    const input = slider.querySelector("input"), sign = slider.dataset.percent;
    const share = (value, digits = 1) => (100 * value).toFixed(digits) + sign;
    const say = () => {
      const [threshold, coverage, risk, low, high] = curve[input.value];
      const values = { threshold: share(threshold), coverage: share(coverage), risk: share(risk), low: share(low), high: share(high) };
      const told = fill(slider.dataset.said, values).split("**");
      slider.querySelector(".said").replaceChildren(...told.map((part, k) => {
        const one = document.createElement(k % 2 ? "strong" : "span");
        one.textContent = part;
        return one;
      }));
      slider.querySelector(".at").textContent = share(threshold);
      input.setAttribute("aria-valuetext", share(threshold));
    };
    input.addEventListener("input", say);
    slider.addEventListener("submit", event => event.preventDefault());
    slider.hidden = false;
    say();
  }
})();
