// Arrays as numbers, if they are small, or as heat maps. Both say the exact value of the element pointed at.

const FEW = { rows: 16, columns: 8, elements: 48 };

// Diverging, blue–neutral–orange, which stay apart for colour-blind readers; red would not. [below, zero, above]
const COLOURS = {
  light: { below: [9, 82, 160], zero: [247, 247, 245], above: [196, 88, 0], odd: [20, 20, 20] },
  dark: { below: [92, 170, 255], zero: [34, 38, 45], above: [255, 158, 66], odd: [250, 250, 250] },
};

let theme = "light";

function colourOf(x, bound) {
  const colours = COLOURS[theme];
  if (!Number.isFinite(x)) return colours.odd;
  const share = bound ? Math.min(1, Math.abs(x) / bound) ** 0.7 : 0; // small ones are to be seen
  const end = x < 0 ? colours.below : colours.above;
  return colours.zero.map((c, i) => Math.round(c + share * (end[i] - c)));
}

function luminance([r, g, b]) {
  const linear = [r, g, b].map((c) => ((c / 255 + 0.055) / 1.055) ** 2.4);
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
}

class ArrayView {
  // title: what the array is called. onPick(flat index or null) hears which element is pointed at.
  constructor(array, title, { onPick = () => {}, note = "" } = {}) {
    Object.assign(this, { array, title, onPick, lit: null, active: null, pinned: false, slice: 0 });
    this.bound = Math.max(Math.abs(array.low ?? 0), Math.abs(array.high ?? 0));
    const held = array.held;
    this.rows = held.length > 1 ? held.at(-2) : 1;
    this.columns = held.length ? held.at(-1) : 1;
    this.slices = count(held.slice(0, -2));
    this.small = this.rows <= FEW.rows && this.columns <= FEW.columns && this.rows * this.columns <= FEW.elements;
    this.body = this.small ? this.table() : this.canvas();
    this.readout = make("p", { class: "readout" }, "\u00a0");
    this.element = make("figure", { class: "array" },
      make("figcaption", {}, make("strong", {}, title), " ", make("span", { class: "shape" }, this.describe())),
      note ? make("p", { class: "note" }, note) : null,
      this.slices > 1 ? this.sliceChooser() : null,
      array.size ? make("div", { class: "body" }, this.body) : make("p", { class: "note" }, "no elements"),
      array.size > 1 ? this.readout : null,
    );
    this.listen();
    if (this.small) this.draw();
  }

  describe() {
    const { shape, dtype, low, high, nan, inf, held, size, steps: every, rounded } = this.array;
    const parts = [shapeText(shape) + (dtype === "float64" ? "" : ` ${dtype}`)];
    if (!this.small && low !== null) parts.push(low === high ? `all ${short(low)}` : `${short(low)} … ${short(high)}`);
    if (nan) parts.push(`${nan} NaN`);
    if (inf) parts.push(`${inf} infinite`);
    if (every) parts.push(`${count(held).toLocaleString("en")} of ${size.toLocaleString("en")} elements shown`);
    if (rounded) parts.push("rounded to 53 bits");
    return parts.join(", ");
  }

  sliceChooser() {
    const outer = this.array.held.slice(0, -2);
    const label = make("output", {});
    const input = make("input", { type: "range", min: 0, max: this.slices - 1, value: 0, "aria-label": `Slice of ${this.title}` });
    const say = () => {
      const index = unravel(this.slice, outer).map((i, axis) => i * (this.array.steps?.[axis] ?? 1));
      label.textContent = `[${[...index, ":", ":"].join(", ")}]`;
      input.setAttribute("aria-valuetext", label.textContent);
    };
    input.addEventListener("input", () => { this.slice = Number(input.value); say(); this.draw(); });
    this.showSlice = (slice) => { input.value = this.slice = slice; say(); };
    say();
    return make("label", { class: "slice" }, label, input);
  }

  table() {
    this.cells = [];
    const rows = Array.from({ length: this.rows }, () => make("tr", {}, ...Array.from({ length: this.columns }, () => {
      const cell = make("td");
      this.cells.push(cell);
      return cell;
    })));
    return make("table", { tabindex: this.array.size > 1 ? 0 : null, "aria-label": `${this.title}, ${this.describe()}` }, make("tbody", {}, ...rows));
  }

  canvas() {
    return make("canvas", { tabindex: 0, role: "img", "aria-label": `Heat map of ${this.title}: ${this.describe()}. Arrow keys move from element to element.` });
  }

  // Index in `numbers` of a place in the slice that is shown, and the element's number in the whole array.
  heldAt(row, column) {
    return (this.slice * this.rows + row) * this.columns + column;
  }

  flat(held) {
    const { steps: every, shape, held: heldShape } = this.array;
    return every ? ravel(unravel(held, heldShape).map((i, axis) => i * every[axis]), shape) : held;
  }

  listen() {
    const at = (event) => (this.small ? this.cells.indexOf(event.target.closest("td")) : this.cellUnder(event));
    this.body.addEventListener("pointermove", (event) => { if (!this.pinned && at(event) >= 0) this.pick(at(event)); });
    this.body.addEventListener("pointerleave", () => { if (!this.pinned) this.pick(null); });
    this.body.addEventListener("click", (event) => {
      if (at(event) < 0) return;
      this.pinned = !(this.pinned && this.active === this.heldAt(0, 0) + at(event));
      this.pick(at(event));
    });
    this.body.addEventListener("focus", () => { if (this.active === null && this.body.matches(":focus-visible")) this.pick(0); });
    this.body.addEventListener("blur", () => { if (!this.pinned) this.pick(null); });
    this.body.addEventListener("keydown", (event) => this.key(event));
  }

  key(event) {
    const [row, column] = [Math.floor((this.place ?? 0) / this.columns), (this.place ?? 0) % this.columns];
    const to = {
      ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1], ArrowUp: [row - 1, column], ArrowDown: [row + 1, column],
      Home: [row, 0], End: [row, this.columns - 1],
    }[event.key];
    if (event.key === "Enter") this.pinned = !this.pinned;
    else if (event.key === "Escape") { this.pinned = false; this.pick(null); }
    else if (!to) return;
    else if (to[0] >= 0 && to[0] < this.rows && to[1] >= 0 && to[1] < this.columns) this.pick(to[0] * this.columns + to[1]);
    event.preventDefault();
    event.stopPropagation();
  }

  cellUnder(event) {
    const box = this.body.getBoundingClientRect();
    const row = Math.floor(((event.clientY - box.top) / box.height) * this.rows);
    const column = Math.floor(((event.clientX - box.left) / box.width) * this.columns);
    return Math.min(this.rows - 1, Math.max(0, row)) * this.columns + Math.min(this.columns - 1, Math.max(0, column));
  }

  // place: number of a cell in the slice that is shown, or null.
  pick(place) {
    const active = place === null ? null : this.heldAt(0, 0) + place;
    if (active === this.active && place === this.place) return;
    Object.assign(this, { active, place });
    const flat = active === null ? null : this.flat(active);
    this.readout.textContent = active === null ? "\u00a0"
      : `${this.title}${bracketed(unravel(flat, this.array.shape))} = ${exact(this.array.numbers[active], this.array.dtype)}`;
    this.draw();
    this.onPick(flat);
  }

  // Light up elements, given by their numbers; null: none is singled out.
  light(elements) {
    this.lit = elements && elements.length ? new Set(elements) : elements && new Set();
    if (this.lit?.size && this.slices > 1) {
      const slice = Math.floor(elements[0] / (this.rows * this.columns));
      if (slice !== this.slice) this.showSlice(slice);
    }
    this.draw();
  }

  draw() {
    if (this.small) this.drawTable();
    else if (this.width) this.drawCanvas();
  }

  drawTable() {
    this.cells.forEach((cell, place) => {
      const at = this.heldAt(0, 0) + place;
      const x = this.array.numbers[at];
      const colour = colourOf(x, this.bound);
      cell.textContent = short(x, 4, this.array.dtype);
      cell.style.background = `rgb(${colour})`;
      cell.style.color = luminance(colour) > 0.18 ? "#111" : "#fff";
      cell.classList.toggle("active", at === this.active);
      cell.classList.toggle("lit", this.lit?.has(at) ?? false);
      cell.classList.toggle("dim", this.lit !== null && !this.lit.has(at));
    });
  }

  // Called when the page knows how wide the canvas may be.
  resize(width) {
    if (this.small || !width || width === this.width) return;
    this.width = width;
    const cell = Math.min(26, width / this.columns);
    const height = Math.max(this.rows * Math.max(cell, Math.min(14, 240 / this.rows)), 22);
    const shown = [this.columns * cell, Math.min(height, 320)];
    this.body.style.width = `${shown[0]}px`;
    this.body.style.height = `${shown[1]}px`;
    const scale = window.devicePixelRatio || 1;
    [this.body.width, this.body.height] = shown.map((x) => Math.max(1, Math.round(x * scale)));
    this.drawCanvas();
  }

  picture() {
    if (this.painted !== `${this.slice} ${theme}`) {
      this.painted = `${this.slice} ${theme}`;
      this.cached = document.createElement("canvas");
      [this.cached.width, this.cached.height] = [this.columns, this.rows];
      const context = this.cached.getContext("2d");
      const image = context.createImageData(this.columns, this.rows);
      for (let place = 0; place < this.rows * this.columns; place++) {
        const colour = colourOf(this.array.numbers[this.heldAt(0, 0) + place], this.bound);
        image.data.set([...colour, 255], 4 * place);
      }
      context.putImageData(image, 0, 0);
    }
    return this.cached;
  }

  // The picture with no more rows and columns than there are pixels: averaged where there are too many, and only there.
  fittedPicture(width, height) {
    const picture = this.picture();
    if (this.columns <= width && this.rows <= height) return picture;
    const fitted = document.createElement("canvas");
    [fitted.width, fitted.height] = [Math.min(width, this.columns), Math.min(height, this.rows)];
    fitted.getContext("2d").drawImage(picture, 0, 0, fitted.width, fitted.height);
    return fitted;
  }

  drawCanvas() {
    const context = this.body.getContext("2d");
    const { width, height } = this.body;
    context.imageSmoothingEnabled = false;
    context.clearRect(0, 0, width, height);
    context.globalAlpha = this.lit ? 0.22 : 1;
    context.drawImage(this.fittedPicture(width, height), 0, 0, width, height);
    context.globalAlpha = 1;
    const first = this.heldAt(0, 0);
    const box = (at) => {
      const [row, column] = [Math.floor((at - first) / this.columns), (at - first) % this.columns];
      return [column * width / this.columns, row * height / this.rows, Math.max(width / this.columns, 1.5), Math.max(height / this.rows, 1.5)];
    };
    const visible = (at) => at >= first && at < first + this.rows * this.columns;
    for (const at of this.lit ?? []) {
      if (!visible(at)) continue;
      context.fillStyle = `rgb(${colourOf(this.array.numbers[at], this.bound)})`;
      context.fillRect(...box(at));
      if (this.lit.size < 40) this.outline(context, box(at));
    }
    if (this.lit?.size >= 40) this.outline(context, around([...this.lit].filter(visible).map(box)));
    if (this.active !== null && visible(this.active)) this.outline(context, box(this.active));
  }

  outline(context, [x, y, w, h]) {
    const ink = theme === "dark" ? ["#000", "#fff"] : ["#fff", "#000"];
    const pad = Math.max(0, 5 - w) / 2;
    for (const [k, colour] of ink.entries()) {
      context.strokeStyle = colour;
      context.lineWidth = k ? 2 : 4;
      context.strokeRect(x - pad, y + 1, w + 2 * pad, h - 2);
    }
  }
}

// The rectangle around rectangles.
function around(boxes) {
  const low = (k) => boxes.reduce((least, box) => Math.min(least, box[k]), Infinity);
  const high = (k) => boxes.reduce((most, box) => Math.max(most, box[k] + box[k + 2]), 0);
  return [low(0), low(1), high(0) - low(0), high(1) - low(1)];
}

// Canvases are drawn when their width is known, and again when it changes.
const drawnViews = new Map();
const sizes = new ResizeObserver((entries) => {
  for (const entry of entries) drawnViews.get(entry.target)?.resize(entry.contentRect.width);
});

function watchViews(views) {
  for (const body of drawnViews.keys()) sizes.unobserve(body);
  drawnViews.clear();
  for (const view of views) {
    if (view.small || !view.array.size) continue;
    drawnViews.set(view.body.parentElement, view);
    sizes.observe(view.body.parentElement);
  }
}
