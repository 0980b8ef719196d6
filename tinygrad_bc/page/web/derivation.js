// The derivation: one line for each backward step, as far as the pass has come.

const LINES = 150; // the last ones; earlier ones on demand

class Derivation {
  constructor(panel, goTo) {
    Object.assign(this, { panel, goTo, all: false });
    this.lines = steps.map(([kind, value], step) => ({ kind, value, step })).filter(({ kind }) => kind === "backward");
  }

  show(step) {
    const reached = this.lines.filter((line) => line.step <= step);
    const from = this.all ? 0 : Math.max(0, reached.length - LINES);
    const list = make("ol", { class: "derivation", start: from + 1 }, ...reached.slice(from).map((line) => this.line(line, step)));
    const done = step === steps.length - 1;
    const hidden = this.lines.length - reached.length;
    this.panel.replaceChildren(
      make("h2", {}, "Derivation"),
      reached.length ? "" : make("p", { class: "note" }, "It begins with the first step of the backward pass."),
      from ? this.earlier(from, step) : "",
      list,
      hidden && reached.length ? make("p", { class: "note" }, `${hidden} more ${hidden === 1 ? "line" : "lines"} to come`) : "",
      ...(reached.length ? this.section("where", page.derivation.where) : []),
      ...(done ? this.section("Composed and simplified", page.derivation.composed) : []),
      ...(done ? page.derivation.notes.map((note) => make("p", { class: "note" }, note)) : []),
    );
    const current = list.querySelector("[aria-current]");
    if (current && !this.all) current.scrollIntoView({ block: "nearest" });
  }

  section(title, lines) {
    return lines.length ? [make("h3", {}, title), make("ul", { class: "derivation plain" }, ...lines.slice(0, LINES).map((line) => make("li", {}, formulaOf(line))))] : [];
  }

  earlier(count, step) {
    const button = make("button", { type: "button" }, `Show ${count.toLocaleString("en")} earlier lines`);
    button.addEventListener("click", () => { this.all = true; this.show(step); });
    return button;
  }

  line({ value, step }, current) {
    const button = make("button", { type: "button" }, formulaOf(values[value].gradient));
    button.addEventListener("click", () => this.goTo(step));
    return make("li", { "aria-current": step === current ? "step" : null }, button);
  }
}

// A formula as MathML where there is one, else as text.
function formulaOf({ text, mathml }) {
  if (mathml) {
    const parsed = new DOMParser().parseFromString(mathml, "application/xml");
    if (!parsed.querySelector("parsererror")) {
      const math = document.importNode(parsed.documentElement, true);
      math.setAttribute("aria-label", text);
      return math;
    }
  }
  return make("span", { class: "formula" }, text);
}
