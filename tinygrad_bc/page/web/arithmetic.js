// Where an element of a gradient comes from, and the sum that gives it, written out in numbers.

const TERMS = 3; // written out; of the others it is said how many there are

// Numbers of the elements of the product that were added up into element `flat` of the value: one, unless the value was
// broadcast.
function broadcastFrom(flat, shape, wide) {
  if (count(shape) === count(wide)) return [flat];
  const index = unravel(flat, shape);
  const missing = wide.length - shape.length;
  let found = [0];
  for (let axis = 0; axis < wide.length; axis++) {
    const length = axis < missing ? 1 : shape[axis - missing];
    const places = length === wide[axis] ? [index[axis - missing]] : Array.from({ length: wide[axis] }, (_, i) => i);
    found = found.flatMap((at) => places.map((i) => at * wide[axis] + i));
  }
  return found;
}

// The terms of element `at` of a product: g[source] · factor. `place` is where the factor stands in the panel of the
// local derivative.
const TRACES = {
  elementwise: (use, at) => [{ source: at, factor: factorAt(use, at), place: at }],
  spread: (use, at) => {
    const source = arrayOf(use.trace.index).numbers[at];
    return source < 0 ? [] : [{ source, factor: factorAt(use, at), place: at }];
  },
  sparse: (use, at) => {
    const starts = arrayOf(use.trace.starts).numbers;
    const size = arrayOf(use.product).size;
    return Array.from({ length: starts[at + 1] - starts[at] }, (_, k) => {
      const source = arrayOf(use.trace.index).numbers[starts[at] + k];
      return { source, factor: factorAt(use, starts[at] + k), place: source * size + at };
    });
  },
  matmul: (use, at) => {
    const other = arrayOf(otherOperand(use).array);
    const [row, column] = unravel(at, arrayOf(use.product).shape);
    const [rows, columns] = arrayOf(values[use.user].array).shape;
    const left = use.position === 0; // product = g otherᵀ, or otherᵀ g
    return Array.from({ length: left ? columns : rows }, (_, k) => {
      const source = left ? row * columns + k : k * columns + column;
      const place = left ? column * other.shape[1] + k : k * other.shape[1] + row;
      return { source, factor: other.numbers[place], place };
    });
  },
};

function factorAt(use, at) {
  return arrayOf(use.trace.factor).numbers[at];
}

function otherOperand(use) {
  return values[values[use.user].inputs[1 - use.position]];
}

function traced(use) {
  return use.trace.kind !== "none" && !arrayOf(use.product).steps;
}

// Everything that element `flat` of the gradient got from one use of the value.
function termsOf(use, flat) {
  const product = arrayOf(use.product);
  const g = arrayOf(values[use.user].gradient.array).numbers;
  const elements = broadcastFrom(flat, arrayOf(use.contribution).shape, product.shape);
  const terms = elements.flatMap((at) => TRACES[use.trace.kind](use, at).map((term) => ({ ...term, g: g[term.source] })));
  return { elements, terms };
}

function sumOf(terms) {
  // A factor of zero stands for "nothing arrives", also from an infinite gradient.
  return terms.reduce((sum, { g, factor }) => sum + g * factor, 0);
}

// The arithmetic of element `flat` of `name`, of shape `shape`, as text.
function arithmetic(name, shape, uses, flat) {
  const parts = uses.map((use) => ({ use, ...termsOf(use, flat) }));
  const terms = parts.flatMap((part) => part.terms);
  const sum = sumOf(terms);
  return {
    parts, sum,
    left: `${name}${bracketed(unravel(flat, shape))}`,
    symbols: parts.map((part) => symbolic(part, flat)).join(" + "),
    numbers: written(terms),
    result: short(sum, 6),
  };
}

function symbolic({ use, elements, terms }, flat) {
  const user = values[use.user];
  const g = user.gradient.called;
  const shape = arrayOf(user.gradient.array).shape;
  if (use.trace.kind === "matmul") {
    const [row, column] = unravel(flat, arrayOf(use.product).shape);
    const other = nameOf(otherOperand(use));
    return use.position === 0 ? `Σₖ ${g}[${row}, k] · ${other}[${column}, k]` : `Σₖ ${g}[k, ${column}] · ${other}[k, ${row}]`;
  }
  if (terms.length === 0) return "0";
  const index = unravel(terms[0].source, shape);
  const plain = terms.every(({ factor }) => factor === 1);
  const local = plain ? "" : ` · ${localName(use)}`;
  if (terms.length === 1) return `${g}${bracketed(index)}${plain ? "" : ` · ${localName(use)}${placeText(use, terms[0])}`}`;
  const letters = ["i", "j", "k", "l", "m", "n"];
  const varies = index.map((_, axis) => terms.some(({ source }) => unravel(source, shape)[axis] !== index[axis]));
  const subscript = { i: "ᵢ", j: "ⱼ", k: "ₖ", l: "ₗ", m: "ₘ", n: "ₙ" };
  const over = varies.map((does, axis) => (does ? subscript[letters[axis]] ?? "" : "")).join("");
  const pattern = `[${index.map((i, axis) => (varies[axis] ? letters[axis] ?? "…" : i)).join(", ")}]`;
  const everywhere = elements.length > 1 && use.trace.kind === "elementwise" && !plain ? pattern : "";
  return `Σ${over} ${g}${index.length ? pattern : ""}${local}${everywhere}`;
}

// What the local derivative is called: the slope of y in x where they are one element each.
function localName(use) {
  return `∂${nameOf(values[use.user])}/∂${nameOf(values[values[use.user].inputs[use.position]])}`;
}

function placeText(use, { place }) {
  if (use.trace.kind === "sparse") return "";
  return bracketed(unravel(place, arrayOf(use.product).shape));
}

function nameOf(value) {
  return value.named || !value.formula ? value.label : `(${value.formula})`;
}

function written(terms) {
  if (terms.length === 0) return "nothing arrives here";
  const product = ({ g, factor }) => {
    const [a, b] = [short(g), short(factor)];
    return factor === 1 ? a : `${a}·${b.startsWith("−") ? `(${b})` : b}`;
  };
  const notZero = terms.filter(({ g, factor }) => g * factor !== 0);
  const shown = (notZero.length ? notZero : terms).slice(0, TERMS);
  const text = shown.map(product).join(" + ").replaceAll("+ −", "− ");
  if (terms.length <= shown.length) return text;
  const zeros = terms.length - notZero.length;
  const said = `${terms.length.toLocaleString("en")} terms${zeros ? `, ${zeros.toLocaleString("en")} of them 0` : ""}`;
  return `${text}${notZero.length > shown.length ? " + …" : ""} (${said})`;
}
