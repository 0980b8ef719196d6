// How large the gradient is at every tensor, and which activations let none of it through.

const ROWS = 400;

class Flow {
  constructor(panel, goTo) {
    Object.assign(this, { panel, goTo, built: false });
  }

  show() {
    if (this.built) return;
    this.built = true;
    const rows = page.flow.sizes;
    const norms = rows.map(({ rms }) => rms).filter((x) => x > 0);
    const exponent = (x) => Math.log10(x);
    this.low = norms.length ? Math.floor(exponent(norms.reduce((a, b) => Math.min(a, b))) - 0.5) : -1;
    this.high = norms.length ? Math.ceil(exponent(rows.reduce((most, { max }) => Math.max(most, max), 0)) + 0.01) : 0;
    this.panel.replaceChildren(
      make("h2", {}, "Gradient flow"),
      make("p", { class: "note" }, `The size of the gradient at every tensor, in the order of the backward pass: root mean square (bar) and largest magnitude (mark), from 1e${signed(String(this.low))} to 1e${signed(String(this.high))} on a logarithmic scale.`),
      this.sizes(rows),
      make("h2", {}, "Activations"),
      page.flow.activations.length ? this.activations() : make("p", { class: "note" }, "There is no activation on the way."),
    );
  }

  sizes(rows) {
    const shown = rows.slice(0, ROWS);
    const more = rows.length > ROWS ? make("p", { class: "note" }, `The first ${ROWS} of ${rows.length}.`) : "";
    return make("div", { class: "wide" }, table(
      ["gradient", "size", "RMS", "largest", "remarks"],
      shown.map((row) => [this.link(row.value, values[row.value].gradient.name), this.bar(row), short(row.rms, 3), short(row.max, 3), remarks(row)]),
    ), more);
  }

  link(value, text) {
    const button = make("button", { type: "button", class: "link" }, text);
    button.addEventListener("click", () => this.goTo(steps.findIndex(([kind, v]) => kind === "backward" && v === value)));
    return button;
  }

  bar({ rms, max }) {
    const place = (x) => (x > 0 ? (100 * (Math.log10(x) - this.low)) / (this.high - this.low) : 0);
    const bar = make("span", { class: "bar", "aria-hidden": "true" }, make("i"), make("b"));
    bar.firstChild.style.width = `${Math.max(0, place(rms))}%`;
    bar.lastChild.style.left = `${Math.max(0, place(max))}%`;
    return bar;
  }

  activations() {
    return make("div", { class: "wide" }, table(
      ["activation", "derivative 0", "below 1 % of its maximum", "dead units"],
      page.flow.activations.map((row) => [
        this.link(row.value, `${values[row.value].label} = ${values[row.value].formula}`),
        percent(row.flat), percent(row.saturated), deadUnits(row),
      ]),
    ), make("p", { class: "note" }, "A unit is dead if the derivative is 0 for every sample: it cannot learn from them."));
  }
}

function deadUnits({ units, dead, which }) {
  if (!units) return "–";
  if (!dead) return `none of ${units}`;
  const listed = which.join(", ") + (dead > which.length ? ", …" : "");
  return make("span", { class: "warning" }, `⚠ ${dead} of ${units}: ${listed}`);
}

function remarks({ broken, max, zeros }) {
  if (broken) return make("span", { class: "warning" }, `⚠ ${broken} not finite`);
  if (max === 0) return make("span", { class: "warning" }, "⚠ all 0");
  return zeros ? `${percent(zeros)} are 0` : "";
}

function table(headings, rows) {
  return make("table", { class: "data" },
    make("thead", {}, make("tr", {}, ...headings.map((text) => make("th", { scope: "col" }, text)))),
    make("tbody", {}, ...rows.map(([first, ...others]) =>
      make("tr", {}, make("th", { scope: "row" }, first), ...others.map((cell) => make("td", {}, cell))))));
}
