// The panel of one step: what is computed, from what, and in which line of the user's code.

class StepPanel {
  constructor(panel) {
    this.panel = panel;
  }

  show(step) {
    const [kind, number] = steps[step];
    const value = values[number];
    this.views = [];
    this.panel.replaceChildren(...(kind === "forward" ? this.forward(value) : this.backward(value)));
    watchViews(this.views);
  }

  redraw() {
    for (const view of this.views ?? []) view.draw();
  }

  view(array, title, options) {
    const view = new ArrayView(array, title, options);
    this.views.push(view);
    return view;
  }

  forward(value) {
    const inputs = [...new Set(value.inputs)].map((input) => (typeof input === "number"
      ? this.view(arrayOf(values[input].array), nameOf(values[input])).element
      : make("p", { class: "number" }, input)));
    return [
      this.heading("Forward", value.op, `${value.label} = ${value.formula}`),
      make("div", { class: "panels" }, group(inputs.length === 1 ? "Input" : "Inputs", ...inputs),
        operator("→"),
        group("Output", this.view(arrayOf(value.array), value.label).element)),
      source(value),
    ];
  }

  heading(pass, note, formula) {
    return make("header", { class: `step ${pass.toLowerCase()}` }, make("p", { class: "eyebrow" }, make("b", {}, pass), ` · ${note}`),
      make("h2", {}, typeof formula === "string" ? make("span", { class: "formula" }, formula) : formula));
  }

  backward(value) {
    const { gradient } = value;
    const several = gradient.uses.length > 1;
    const note = gradient.uses.length === 0 ? "the pass begins: the derivative of the result by itself"
      : several ? `used ${gradient.uses.length} times: what the uses contribute is added up` : `through ${values[gradient.uses[0].user].op}`;
    this.sum = make("div", { class: "arithmetic" });
    const shown = gradient.uses.slice(0, 12).map((use, k) => this.use(value, use, several ? k + 1 : 0));
    const rest = gradient.uses.length - shown.length;
    // Where the product is the gradient already, it is not shown twice.
    const result = shown.length === 1 && shown[0].complete ? null
      : this.view(arrayOf(gradient.array), gradient.name, { onPick: (flat) => this.explain(value, shown, flat) });
    this.explain(value, shown, null);
    return [
      this.heading("Backward", `${gradient.name} · ${note}`, formulaOf(gradient)),
      ...shown.map(({ element }) => element),
      rest > 0 ? make("p", { class: "note" }, `and ${rest} more uses`) : "",
      several ? this.addition(gradient) : "",
      result ? make("div", { class: "result panels" }, group(several ? "Added up: the gradient" : "The gradient", result.element), group("Element by element", this.sum)) : this.sum,
      source(value.source ? value : values[gradient.uses[0]?.user]),
    ];
  }

  // One use of the value: upstream gradient × local derivative = product.
  use(value, use, number) {
    const user = values[use.user];
    const product = arrayOf(use.product);
    const contribution = arrayOf(use.contribution);
    const g = this.view(arrayOf(user.gradient.array), user.gradient.called);
    const local = this.local(use);
    const summed = use.product !== use.contribution && product.size !== contribution.size;
    const complete = use.product === value.gradient.array && !number;
    const panel = { use, g, local: local.view, complete };
    const pick = (flat, broadcast) => this.explain(value, [panel], flat, broadcast);
    const title = summed ? "product" : `${number ? `contribution ${number} to ` : ""}${value.gradient.name}`;
    const onPick = traced(use) ? (flat) => pick(flat, summed) : undefined;
    const sign = use.trace.kind === "matmul" ? "@" : use.trace.kind === "elementwise" ? "∘" : "·";
    panel.product = this.view(product, title, { onPick, note: summed ? broadcastNote(product.shape, contribution.shape) : "" });
    const factors = [group("Upstream gradient", g.element), group("Local derivative", local.element)];
    if (use.trace.kind === "matmul" && use.position === 1) factors.reverse(); // Wᵀ g
    panel.element = make("section", { class: "use", "aria-label": number ? `Use ${number}` : "How it is computed" },
      number ? make("h3", {}, `Use ${number}: `, make("span", { class: "formula" }, `${user.label} = ${user.formula}`)) : null,
      make("div", { class: "panels" }, factors[0], operator(sign), factors[1], operator("="), group(complete ? "Product: the gradient" : "Product", panel.product.element)));
    return panel;
  }

  // The panel of the local derivative, and its view where there is something to light up.
  local(use) {
    const { kind, reason } = use.trace;
    const user = values[use.user];
    if (kind === "none") return { element: make("p", { class: "note" }, `The sources of its elements are not traced: ${reason}.`) };
    if (kind === "matmul") {
      const other = otherOperand(use);
      const view = this.view(arrayOf(other.array), nameOf(other), { note: "transposed in the product" });
      return { view, element: view.element };
    }
    if (kind === "sparse") {
      const view = this.view(jacobian(use), localName(use), { note: `Jacobian: a row for each element of ${nameOf(user)}` });
      return { view, element: view.element };
    }
    const note = kind === "spread" ? "each element comes from one element above" : "";
    const factor = arrayOf(use.trace.factor);
    if (factor.size > 1 && factor.low === factor.high && !factor.nan && !factor.inf) {
      return { element: make("div", { class: "array" }, make("p", { class: "number" }, make("strong", {}, localName(use)), ` = ${short(factor.low, 6)}`), make("p", { class: "note" }, note || "for every element")) };
    }
    const view = this.view(factor, localName(use), { note });
    return { view, element: view.element };
  }

  // Light up what element `flat` comes from, and write out the arithmetic; null: nothing.
  explain(value, panels, flat, broadcast = false) {
    const { gradient } = value;
    const shape = arrayOf(gradient.array).shape;
    for (const { g, local, product } of panels) for (const view of [g, local, product]) if (view?.lit) view.light(null);
    const uses = gradient.uses;
    if (flat === null || uses.length === 0) {
      const hint = uses.length === 0 ? "The derivative of a number by itself is 1."
        : count(shape) ? "Point at an element of the gradient to see where it comes from." : "";
      this.sum.replaceChildren(make("p", { class: "note" }, hint));
      return;
    }
    if (!panels.every(({ use }) => traced(use))) return;
    if (broadcast) return this.lightProduct(panels[0], flat);
    const chosen = panels.length === 1 && uses.length > 1 ? [panels[0].use] : uses;
    if (!chosen.every(traced)) return;
    const name = chosen.length < uses.length ? `contribution to ${gradient.name}` : gradient.name;
    const written = arithmetic(name, shape, chosen, flat);
    for (const [k, part] of written.parts.entries()) if (panels[k]) this.light(panels[k], part, chosen.length === uses.length && !panels[k].complete);
    this.write(written);
  }

  // An element of the product before it is summed over broadcast axes.
  lightProduct(panel, at) {
    const { use } = panel;
    const g = arrayOf(values[use.user].gradient.array).numbers;
    const terms = TRACES[use.trace.kind](use, at).map((term) => ({ ...term, g: g[term.source] }));
    this.light(panel, { elements: [], terms }, false);
    const sum = sumOf(terms);
    const left = `product${bracketed(unravel(at, arrayOf(use.product).shape))}`;
    this.write({ left, symbols: symbolic({ use, elements: [at], terms }, at), numbers: written(terms), result: short(sum, 6), sum });
  }

  light({ g, local, product }, { elements, terms }, withProduct) {
    g.light(terms.map(({ source }) => source));
    local?.light(terms.map(({ place }) => place));
    if (withProduct) product.light(elements); // what was summed over broadcast axes
  }

  write({ left, symbols, numbers, result, sum }) {
    const line = (sign, text, name) => make("div", { class: name }, make("span", { class: "equals" }, sign), make("span", {}, text));
    this.sum.replaceChildren(make("div", { class: "left formula" }, left), line("=", symbols, "formula"), line("=", numbers, "formula"), line("=", result, "formula result"));
    this.sum.dataset.sum = sum;
  }

  // The partial sums where a value is used more than once.
  addition(gradient) {
    const arrays = gradient.uses.map(({ contribution }) => arrayOf(contribution));
    if (arrays.some((array) => array.steps) || arrays.length < 3) {
      return make("p", { class: "note" }, `${gradient.name} = ${gradient.uses.map((_, k) => `contribution ${k + 1}`).slice(0, 12).join(" + ")}${gradient.uses.length > 12 ? " + …" : ""}`);
    }
    let sum = arrays[0].numbers;
    const partial = arrays.slice(1, -1).slice(0, 11).map((array, k) => {
      sum = sum.map((x, i) => x + array.numbers[i]);
      return this.view(computedArray(sum, array), `contributions 1 to ${k + 2}`).element;
    });
    return group("Partial sums", ...partial);
  }
}

function operator(sign) {
  return make("div", { class: "sign", "aria-hidden": "true" }, sign);
}

function group(title, ...children) {
  return make("section", { class: "group" }, make("h3", {}, title), ...children);
}

function broadcastNote(wide, shape) {
  const missing = wide.length - shape.length;
  const axes = wide.map((n, axis) => axis).filter((axis) => axis < missing || shape[axis - missing] !== wide[axis]);
  return `then summed over ${axes.length === 1 ? "axis" : "axes"} ${axes.join(", ")}, along which it was broadcast, to ${shapeText(shape)}`;
}

// The derivative of every element of the result by every element of the value, of which the zeros are not stored.
function jacobian(use) {
  const [rows, columns] = [arrayOf(values[use.user].array).size, arrayOf(use.product).size];
  const [index, starts, factor] = ["index", "starts", "factor"].map((name) => arrayOf(use.trace[name]).numbers);
  const numbers = new Float64Array(rows * columns);
  for (let at = 0; at < columns; at++) for (let k = starts[at]; k < starts[at + 1]; k++) numbers[index[k] * columns + at] = factor[k];
  return computedArray(numbers, { shape: [rows, columns], dtype: "float64" });
}

function source(value) {
  if (!value?.source) return "";
  const [file, line] = value.source;
  const { name, lines } = page.files[file];
  const near = Object.keys(lines).map(Number).filter((number) => Math.abs(number - line) <= 2).sort((a, b) => a - b);
  if (!near.some((number) => lines[number])) return make("p", { class: "source note" }, `Recorded at ${name}, line ${line}; its text cannot be read.`);
  const indent = Math.min(...near.filter((number) => lines[number].trim()).map((number) => lines[number].search(/\S/)));
  return make("figure", { class: "source" }, make("figcaption", {}, `${name}, line ${line}`),
    make("pre", { tabindex: 0, "aria-label": "Source" }, ...near.map((number) =>
      make("code", { class: number === line ? "here" : null, "data-line": number }, `${lines[number].slice(indent)}\n`))));
}
