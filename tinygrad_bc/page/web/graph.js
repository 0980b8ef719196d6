// The graph as Graphviz laid it out: pan, zoom, fold, search, and what the current step lights up.

const SVG = "http://www.w3.org/2000/svg";
const READABLE = 0.42; // below this scale texts are left out: they would be dust, and cost the most to draw

function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) if (value != null) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// A map of one axis that leaves `kept` intervals as long as they are and narrows what only `boxes` cover to `least`.
function narrowing(kept, boxes, least) {
  if (!boxes.length) return (x) => x;
  const points = [...new Set([...kept, ...boxes].flat())].sort((a, b) => a - b);
  const covers = (intervals) => {
    const change = new Map();
    for (const [from, to] of intervals) {
      change.set(from, (change.get(from) ?? 0) + 1);
      change.set(to, (change.get(to) ?? 0) - 1);
    }
    let depth = 0;
    return points.map((x) => (depth += change.get(x) ?? 0));
  };
  const [byKept, byBoxes] = [covers(kept), covers(boxes)];
  const image = [points[0]];
  for (let k = 1; k < points.length; k++) {
    const length = points[k] - points[k - 1];
    image.push(image[k - 1] + (byBoxes[k - 1] && !byKept[k - 1] ? Math.min(length, least) : length));
  }
  return (x) => {
    let [low, high] = [0, points.length - 1];
    if (x <= points[0]) return x;
    if (x >= points[high]) return x - points[high] + image[high];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (points[middle] <= x) low = middle; else high = middle;
    }
    const share = (x - points[low]) / (points[high] - points[low]);
    return Math.round(10 * (image[low] + share * (image[high] - image[low]))) / 10;
  };
}

class GraphView {
  constructor(pane, onChoose) {
    Object.assign(this, { pane, onChoose, view: { x: 0, y: 0, k: 1 }, folded: new Set(), marked: [] });
    this.layout = { ...page.layout };
    this.build();
    if (page.folded) this.layout.clusters.forEach((box, scope) => { if (box && scopes[scope].parent === null) this.folded.add(scope); });
    this.applyFolds();
    this.listen();
    new ResizeObserver(() => this.resized()).observe(pane);
  }

  build() {
    const { clusters, edges, ends } = this.layout;
    this.clusters = clusters.map((box, scope) => box && this.cluster(box, scope));
    this.edges = edges.map(([line, head], k) => {
      const [from, to] = ends[k];
      return svg("g", { class: "edge", "data-from": from, "data-to": to }, svg("path", { d: line }), svg("path", { d: head, class: "head" }));
    });
    this.nodes = values.map((value, k) => this.node(value, k));
    this.boxes = clusters.map((box, scope) => box && this.foldedBox(box, scope));
    this.edgesOf = values.map(() => ({ in: [], out: [] }));
    ends.forEach(([from, to], k) => { this.edgesOf[from].out.push(k); this.edgesOf[to].in.push(k); });
    this.texts = values.map(() => null);
    this.layers = ["clusters", "edges", "nodes", "boxes"].map((name) => [name, svg("g", { class: name })]);
    this.scene = svg("g", { id: "scene" }, ...this.layers.map(([, layer]) => layer));
    this.svg = svg("svg", { "aria-hidden": "true" }, this.scene);
    this.pane.append(this.svg);
  }

  node(value, k) {
    const [x, y, width, height] = page.layout.nodes[k];
    return svg("g", { id: `v${k}`, class: `node ${value.kind}` }, svg("rect", { x, y, width, height, rx: value.kind === "computed" ? 8 : 2 }));
  }

  nodeTexts(value, k) {
    const [x, y, width, height] = page.layout.nodes[k];
    const lines = [...value.box, shapeText(arrayOf(value.array).shape)];
    return lines.map((text, i) => {
      const last = i === lines.length - 1;
      const at = y + height / 2 + (i - (lines.length - 1) / 2) * 16 + 4.5;
      return svg("text", { x: x + width / 2, y: at, class: last ? "shape" : i === 0 && text === value.label ? "name" : "formula" }, text);
    });
  }

  // Thousands of texts cost more than all the rest, so a box has its texts while they can be read; `all`: for print.
  dressNodes(all = false) {
    const { x, y, k: scale } = this.view;
    const { clientWidth: width, clientHeight: height } = this.pane;
    this.nodes.forEach((node, k) => {
      const [left, top, w, h] = this.layout.nodes[k];
      const inView = x + scale * (left + w) > -width && x + scale * left < 2 * width && y + scale * (top + h) > -height && y + scale * top < 2 * height;
      const wanted = all || (scale >= READABLE && inView && this.hidden[k] === null);
      if (wanted === (this.texts[k]?.[0].parentNode === node)) return;
      if (wanted) node.append(...(this.texts[k] ??= this.nodeTexts(values[k], k)));
      else for (const text of this.texts[k]) text.remove();
    });
  }

  cluster([x, y, width, height], scope) {
    return svg("g", { id: `c${scope}`, class: "cluster" },
      svg("rect", { x, y, width, height, rx: 6 }),
      svg("text", { x: x + 10, y: y + 17, "data-scope": scope }, `▾ ${scopes[scope].name}`));
  }

  foldedBox([x, y, width, height], scope) {
    const inside = values.filter((value) => this.pathOf(value.scope).includes(scope));
    const operations = inside.filter(({ formula }) => formula).length;
    const title = `▸ ${scopes[scope].name}`;
    const size = Math.max(9, Math.min(width / (0.62 * title.length + 1), height / 3, 90));
    return svg("g", { class: "folded", "data-scope": scope },
      svg("rect", { x, y, width, height, rx: 8 }),
      svg("text", { x: x + width / 2, y: y + height / 2, "font-size": size }, title),
      svg("text", { x: x + width / 2, y: y + height / 2 + size, "font-size": size * 0.5, class: "shape" }, `${operations} operations`));
  }

  // The scopes around something, the innermost first.
  pathOf(scope) {
    const path = [];
    for (let at = scope; at !== null; at = scopes[at].parent) path.push(at);
    return path;
  }

  // The outermost folded scope that hides a value, or null.
  hiddenIn(value) {
    return this.pathOf(values[value].scope).findLast((scope) => this.folded.has(scope)) ?? null;
  }

  fold(scope, folded) {
    if (folded) this.folded.add(scope); else this.folded.delete(scope);
    this.applyFolds();
    this.mark(...this.current ?? [null]);
  }

  applyFolds() {
    const hidden = this.hidden = values.map((_, k) => this.hiddenIn(k));
    const under = (scope) => this.pathOf(scopes[scope].parent).some((around) => this.folded.has(around));
    this.compact(hidden, (scope) => this.folded.has(scope) && !under(scope));
    // What is hidden leaves the document: the browser would lay it out all the same.
    const shown = {
      clusters: this.clusters.filter((cluster, scope) => cluster && !this.folded.has(scope) && !under(scope)),
      edges: this.edges.filter((_, k) => {
        const [from, to] = this.layout.ends[k];
        return hidden[from] === null || hidden[from] !== hidden[to];
      }),
      nodes: this.nodes.filter((_, k) => hidden[k] === null),
      boxes: this.boxes.filter((box, scope) => box && this.folded.has(scope) && !under(scope)),
    };
    for (const [name, layer] of this.layers) layer.replaceChildren(...shown[name]);
    this.apply();
    this.onFold?.();
  }

  // Draw in the space that a folded scope leaves: where nothing but folded boxes stands, rows and columns are narrowed.
  // Everything keeps its order, so that nobody loses the way.
  compact(hidden, isBox) {
    const { nodes, clusters, edges, width, height } = page.layout;
    const seen = nodes.filter((_, k) => hidden[k] === null);
    const boxes = clusters.filter((box, scope) => box && isBox(scope));
    const across = narrowing(seen.map(([x, , w]) => [x, x + w]), boxes.map(([x, , w]) => [x, x + w]), 170);
    const down = narrowing(seen.map(([, y, , h]) => [y, y + h]), boxes.map(([, y, , h]) => [y, y + h]), 64);
    const moved = ([x, y, w, h]) => [across(x), down(y), across(x + w) - across(x), down(y + h) - down(y)];
    const path = (text) => text.replace(/(-?[\d.]+),(-?[\d.]+)/g, (_, x, y) => `${across(Number(x))},${down(Number(y))}`);
    Object.assign(this.layout, { nodes: nodes.map(moved), clusters: clusters.map((box) => box && moved(box)), width: across(width), height: down(height) });
    if (!boxes.length && !this.narrowed) return;
    this.narrowed = boxes.length > 0;
    this.nodes.forEach((node, k) => node.setAttribute("transform", `translate(${this.layout.nodes[k][0] - nodes[k][0]} ${this.layout.nodes[k][1] - nodes[k][1]})`));
    this.edges.forEach((edge, k) => edges[k].forEach((text, part) => edge.children[part].setAttribute("d", path(text))));
    this.layout.clusters.forEach((box, scope) => box && this.placeBox(box, scope));
    this.resized();
  }

  placeBox(box, scope) {
    for (const [name, layer] of [["cluster", this.clusters], ["foldedBox", this.boxes]]) layer[scope].replaceChildren(...this[name](box, scope).children);
  }

  // Show which step is the current one: a value, and whether the pass goes backward there.
  mark(value, backward = false) {
    for (const [element, name] of this.marked) element.classList.remove(name);
    this.marked = [];
    this.current = [value, backward];
    if (value === null) return;
    const add = (element, name) => { element?.classList.add(name); this.marked.push([element, name]); };
    const spot = (k) => (this.hiddenIn(k) === null ? this.nodes[k] : this.boxes[this.hiddenIn(k)]);
    add(spot(value), "current");
    const { in: entering, out } = this.edgesOf[value];
    const uses = new Set((values[value].gradient?.uses ?? []).map(({ user }) => user));
    for (const k of backward ? out.filter((k) => uses.has(this.layout.ends[k][1])) : entering) {
      add(this.edges[k], "active");
      add(spot(this.layout.ends[k][backward ? 1 : 0]), "near");
    }
    add(this.pane, backward ? "backward" : "forward");
  }

  // Values that the passes have not come to yet are faint.
  reached(step) {
    const until = this.lastReached ?? steps.length - 1;
    const touch = (k) => {
      const [kind, value] = steps[k];
      const done = k <= step;
      if (kind === "backward") return this.nodes[value].classList.toggle("has-gradient", done);
      this.nodes[value].classList.toggle("ahead", !done);
      return undefined;
    };
    for (let k = Math.min(until, step) + (this.lastReached === undefined ? -Math.min(until, step) : 0); k <= Math.max(until, step); k++) touch(k);
    this.lastReached = step;
  }

  // View -----------------------------------------------------------------------------------------------------------

  apply() {
    this.pending ??= requestAnimationFrame(() => {
      this.pending = undefined;
      const { x, y, k } = this.view;
      this.scene.setAttribute("transform", `translate(${x} ${y}) scale(${k})`);
      this.pane.classList.toggle("far", k < READABLE);
      this.dressNodes();
    });
  }

  fit() {
    const { clientWidth: width, clientHeight: height } = this.pane;
    if (!width || !height) return;
    const [margin, top] = [14, 54]; // room for the buttons
    const k = Math.min((width - 2 * margin) / this.layout.width, (height - margin - top) / this.layout.height, 1.6);
    this.view = { k, x: (width - k * this.layout.width) / 2, y: top + (height - top - margin - k * this.layout.height) / 2 };
    this.fitted = true;
    this.apply();
  }

  resized() {
    if (this.fitted !== false) this.fit();
  }

  zoom(factor, x = this.pane.clientWidth / 2, y = this.pane.clientHeight / 2) {
    const k = Math.min(8, Math.max(0.005, this.view.k * factor));
    const real = k / this.view.k;
    this.view = { k, x: x - (x - this.view.x) * real, y: y - (y - this.view.y) * real };
    this.fitted = false;
    this.apply();
  }

  pan(dx, dy) {
    this.view.x += dx;
    this.view.y += dy;
    this.fitted = false;
    this.apply();
  }

  // Bring a value into view if it is not: at a scale where it can be read, if `readable`.
  reveal(value, readable = false) {
    if (this.fitted !== false && !readable) return; // all of it is in view
    const { clientWidth: width, clientHeight: height } = this.pane;
    const [left, top, w, h] = this.layout.nodes[value];
    if (readable && this.view.k < READABLE) this.zoom(0.9 / this.view.k);
    const { x, y, k } = this.view;
    const [cx, cy] = [x + k * (left + w / 2), y + k * (top + h / 2)];
    const margin = Math.min(60, width / 4, height / 4);
    if (cx < margin || cy < margin || cx > width - margin || cy > height - margin) {
      this.pan(width / 2 - cx, height / 2 - cy);
    }
  }

  open(value) {
    for (const scope of this.pathOf(values[value].scope)) this.folded.delete(scope);
    this.applyFolds();
  }

  // Input ----------------------------------------------------------------------------------------------------------

  listen() {
    const pointers = new Map();
    this.pane.addEventListener("pointerdown", (event) => {
      pointers.set(event.pointerId, event);
      this.moved = 0;
    });
    this.pane.addEventListener("pointermove", (event) => {
      const before = pointers.get(event.pointerId);
      if (!before) return;
      const other = [...pointers.values()].find(({ pointerId }) => pointerId !== event.pointerId);
      this.moved += Math.hypot(event.clientX - before.clientX, event.clientY - before.clientY);
      if (this.moved > 4) this.pane.setPointerCapture(event.pointerId);
      if (other) this.pinch(before, event, other);
      else this.pan(event.clientX - before.clientX, event.clientY - before.clientY);
      pointers.set(event.pointerId, event);
    });
    for (const end of ["pointerup", "pointercancel"]) this.pane.addEventListener(end, (event) => pointers.delete(event.pointerId));
    this.pane.addEventListener("wheel", (event) => {
      event.preventDefault();
      const box = this.pane.getBoundingClientRect();
      this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)), event.clientX - box.left, event.clientY - box.top);
    }, { passive: false });
    this.pane.addEventListener("click", (event) => this.click(event));
    this.pane.addEventListener("keydown", (event) => this.key(event));
  }

  pinch(before, event, other) {
    const distance = (a) => Math.hypot(a.clientX - other.clientX, a.clientY - other.clientY);
    const box = this.pane.getBoundingClientRect();
    const middle = [(event.clientX + other.clientX) / 2 - box.left, (event.clientY + other.clientY) / 2 - box.top];
    if (distance(before) > 0) this.zoom(distance(event) / distance(before), ...middle);
  }

  click(event) {
    if (this.moved > 4) return;
    const scope = event.target.closest("[data-scope]")?.dataset.scope;
    if (scope !== undefined) this.fold(Number(scope), !this.folded.has(Number(scope)));
    const node = event.target.closest(".node");
    if (node) this.onChoose(Number(node.id.slice(1)));
  }

  key(event) {
    const far = 60;
    const action = {
      ArrowLeft: () => this.pan(far, 0), ArrowRight: () => this.pan(-far, 0), ArrowUp: () => this.pan(0, far), ArrowDown: () => this.pan(0, -far),
      "+": () => this.zoom(1.25), "=": () => this.zoom(1.25), "-": () => this.zoom(0.8), 0: () => this.fit(),
    }[event.key];
    if (!action || event.ctrlKey || event.metaKey) return;
    action();
    event.preventDefault();
    event.stopPropagation();
  }

  // Numbers of the values whose name, operation or source holds the text; names that begin with it come first.
  search(text) {
    const wanted = text.trim().toLowerCase();
    if (!wanted) return [];
    const rank = (value) => {
      const label = value.label.toLowerCase();
      if (label === wanted) return 0;
      if (label.startsWith(wanted)) return 1;
      if (label.includes(wanted)) return 2;
      if (value.op?.toLowerCase().includes(wanted) || value.formula?.toLowerCase().includes(wanted)) return 3;
      return sourceOf(value).toLowerCase().includes(wanted) ? 4 : 5;
    };
    const ranked = values.map((value, k) => [rank(value), k]).filter(([place]) => place < 5);
    return ranked.sort((a, b) => a[0] - b[0] || a[1] - b[1]).map(([, k]) => k);
  }
}

function sourceOf({ source }) {
  return source ? page.files[source[0]].lines[source[1]] ?? "" : "";
}
