// Wiring: which step, which panel, which theme; keys, search, the address, printing.

const PACE = 1400; // milliseconds for a step while playing
const PRINTED = 205; // pixels, the width of a heat map on paper

const state = { step: 0, tab: "step", playing: null };
const graph = new GraphView(byId("graph"), chooseValue);
const panels = { step: new StepPanel(byId("panel-step")), derivation: new Derivation(byId("panel-derivation"), goTo), flow: new Flow(byId("panel-flow"), goTo) };
const stepsOf = values.map(() => ({}));
steps.forEach(([kind, value], step) => { stepsOf[value][kind] = step; });

function goTo(step) {
  state.step = Math.min(steps.length - 1, Math.max(0, step));
  const [kind, value] = steps[state.step];
  byId("scrubber").value = state.step;
  const words = describeStep(state.step);
  byId("scrubber").setAttribute("aria-valuetext", words);
  byId("announcement").textContent = words;
  byId("position").textContent = `${state.step + 1} / ${steps.length}`;
  document.body.dataset.pass = kind;
  graph.reached(state.step);
  graph.mark(value, kind === "backward");
  graph.reveal(value);
  showPanels();
  remember();
}

function describeStep(step) {
  const [kind, number] = steps[step];
  const value = values[number];
  const what = kind === "forward" ? `${value.label} = ${value.formula}` : value.gradient.text;
  return `Step ${step + 1} of ${steps.length}, ${kind}: ${what}`;
}

function showPanels() {
  // On a wide screen the derivation stands beside the step; what cannot be seen is not built.
  for (const [name, panel] of Object.entries(panels)) if (byId(`panel-${name}`).checkVisibility()) panel.show(state.step);
}

function chooseTab(name, focus = false) {
  state.tab = name;
  for (const other of Object.keys(panels)) {
    const chosen = other === name;
    byId(`tab-${other}`).setAttribute("aria-selected", chosen);
    byId(`tab-${other}`).tabIndex = chosen ? 0 : -1;
    byId(`panel-${other}`).classList.toggle("chosen", chosen);
  }
  if (focus) byId(`tab-${name}`).focus();
  showPanels();
}

// From a box of the graph to its step: the backward one, if that is where the reader is.
function chooseValue(value) {
  const [kind] = steps[state.step];
  const { forward, backward } = stepsOf[value];
  const step = kind === "backward" ? backward ?? forward : forward ?? backward;
  if (step !== undefined) goTo(step);
  else byId("announcement").textContent = `${values[value].label} is a constant: no step computes it`;
}

function otherPass() {
  const [kind, value] = steps[state.step];
  const step = stepsOf[value][kind === "forward" ? "backward" : "forward"];
  if (step !== undefined) goTo(step);
}

function play(on = state.playing === null) {
  clearInterval(state.playing);
  state.playing = null;
  if (on) {
    if (state.step === steps.length - 1) goTo(0);
    state.playing = setInterval(() => (state.step === steps.length - 1 ? play(false) : goTo(state.step + 1)), PACE);
  }
  byId("play").textContent = on ? "❚❚" : "▶";
  byId("play").setAttribute("aria-label", on ? "Pause" : "Play");
}

// Theme and address ------------------------------------------------------------------------------------------------------

const darkSystem = matchMedia("(prefers-color-scheme: dark)");

function setTheme(name, chosen = false) {
  theme = name;
  document.documentElement.dataset.theme = name;
  if (chosen) { state.theme = name; remember(); }
  panels.step.redraw();
}

function remember() {
  const hash = `#step=${state.step + 1}${state.theme ? `&theme=${state.theme}` : ""}`;
  try {
    if (location.hash !== hash) history.replaceState(null, "", hash);
  } catch { /* inside a notebook's frame there is no address to change */ }
}

function readAddress() {
  const said = new URLSearchParams(location.hash.slice(1));
  state.theme = ["dark", "light"].includes(said.get("theme")) ? said.get("theme") : undefined;
  setTheme(state.theme ?? (darkSystem.matches ? "dark" : "light"));
  goTo((Number.parseInt(said.get("step"), 10) || 1) - 1);
}

// Search -----------------------------------------------------------------------------------------------------------------

const SHOWN = 30;
let found = [];
let chosen = -1;

function search() {
  found = graph.search(byId("search").value);
  chosen = -1;
  const items = found.slice(0, SHOWN).map((number, k) => {
    const item = make("li", { role: "option", id: `found-${k}`, "aria-selected": "false" }, make("b", {}, values[number].label), ` ${values[number].formula ?? values[number].kind}`);
    item.addEventListener("pointerdown", (event) => { event.preventDefault(); jump(k); closeSearch(); });
    return item;
  });
  const words = found.length === 0 ? "nothing found" : found.length > SHOWN ? `… ${found.length - SHOWN} more` : "";
  byId("found").replaceChildren(...items, words ? make("li", { class: "note", role: "presentation" }, words) : "");
  openSearch(byId("search").value.trim() !== "");
}

function openSearch(open) {
  byId("found").hidden = !open;
  byId("search").setAttribute("aria-expanded", open);
}

function closeSearch() {
  openSearch(false);
  byId("search").removeAttribute("aria-activedescendant");
}

function jump(k) {
  if (!found.length) return;
  chosen = (k + found.length) % found.length;
  [...byId("found").children].forEach((item, i) => { if (item.role === "option") item.setAttribute("aria-selected", i === chosen); });
  if (chosen < SHOWN) byId("search").setAttribute("aria-activedescendant", `found-${chosen}`);
  graph.open(found[chosen]);
  chooseValue(found[chosen]);
  graph.mark(found[chosen], steps[state.step][0] === "backward" && steps[state.step][1] === found[chosen]);
  graph.reveal(found[chosen], true);
}

function searchKey(event) {
  if (event.key === "Enter") jump(chosen + (event.shiftKey ? -1 : 1));
  else if (event.key === "ArrowDown") jump(chosen + 1);
  else if (event.key === "ArrowUp") jump(chosen - 1);
  else if (event.key === "Escape") { closeSearch(); byId("graph").focus(); }
  else return;
  event.preventDefault();
}

// Scopes -----------------------------------------------------------------------------------------------------------------

function buildScopeList() {
  const drawn = scopes.map((_, scope) => scope).filter((scope) => graph.layout.clusters[scope]);
  byId("scopes").hidden = drawn.length === 0;
  const all = (folded) => {
    const button = make("button", { type: "button" }, folded ? "Fold all" : "Unfold all");
    button.addEventListener("click", () => {
      for (const scope of drawn) { if (folded) graph.folded.add(scope); else graph.folded.delete(scope); }
      graph.applyFolds();
      graph.mark(...graph.current);
    });
    return button;
  };
  const boxes = drawn.map((scope) => {
    const box = make("input", { type: "checkbox", "data-fold": scope });
    box.addEventListener("change", () => graph.fold(scope, !box.checked));
    const label = make("label", {}, box, ` ${scopes[scope].name}`);
    label.style.marginInlineStart = `${graph.pathOf(scope).length - 1}em`;
    return label;
  });
  byId("scope-list").replaceChildren(make("p", {}, all(true), " ", all(false)), ...boxes);
  graph.onFold = () => { for (const box of byId("scope-list").querySelectorAll("input")) box.checked = !graph.folded.has(Number(box.dataset.fold)); };
  graph.onFold();
}

// Keys -------------------------------------------------------------------------------------------------------------------

const KEYS = {
  ArrowRight: () => goTo(state.step + 1), ArrowLeft: () => goTo(state.step - 1), Home: () => goTo(0), End: () => goTo(steps.length - 1),
  " ": () => play(), b: otherPass, t: () => setTheme(theme === "dark" ? "light" : "dark", true), g: () => byId("graph").focus(),
  "/": () => byId("search").focus(), "?": () => byId("help-dialog").showModal(),
  1: () => chooseTab("step"), 2: () => chooseTab("derivation"), 3: () => chooseTab("flow"),
};

function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("help-dialog").open) return;
  if (event.target.matches("input[type=search], input[type=range]")) return;
  if (event.key === " " && event.target.matches("button, summary, input")) return;
  const action = KEYS[event.key] ?? KEYS[event.key.toLowerCase()];
  if (!action) return;
  event.preventDefault();
  action();
}

function tabKey(event) {
  const names = Object.keys(panels);
  const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!by) return;
  chooseTab(names[(names.indexOf(state.tab) + by + names.length) % names.length], true);
  event.preventDefault();
  event.stopPropagation();
}

// On paper: the whole graph, the current step and the whole derivation, in dark ink.
function beforePrint() {
  state.before = { theme, all: panels.derivation.all, view: { ...graph.view }, fitted: graph.fitted };
  setTheme("light");
  const { width, height } = graph.layout;
  graph.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  graph.scene.removeAttribute("transform");
  graph.pane.classList.remove("far");
  graph.dressNodes(true);
  panels.derivation.all = true;
  panels.derivation.show(steps.length - 1);
  panels.step.show(state.step);
  for (const view of panels.step.views) view.resize(PRINTED); // nobody tells sizes in time for the print
}

function afterPrint() {
  const { before } = state;
  setTheme(before.theme);
  graph.svg.removeAttribute("viewBox");
  Object.assign(graph, { view: before.view, fitted: before.fitted });
  graph.apply();
  panels.derivation.all = before.all;
  showPanels();
}

function start() {
  const output = arrayOf(values.find(({ kind }) => kind === "output").array);
  byId("title").textContent = `${page.title} = ${short(output.numbers[0], 6)}`;
  const [forward, held] = [steps.filter(([kind]) => kind === "forward").length, page.held.toLocaleString("en")];
  byId("scrubber").max = steps.length - 1;
  byId("passes").style.setProperty("--forward-share", `${forward}fr`);
  byId("passes").style.setProperty("--backward-share", `${steps.length - forward}fr`);
  const cut = page.arrays.filter((array) => array.steps).length;
  byId("totals").textContent = `${values.length.toLocaleString("en")} values, ${forward} forward and ${steps.length - forward} backward steps; ${held} numbers held exactly${cut ? `; of ${cut} large arrays only a part` : ""}.`;
  const clicks = {
    first: () => goTo(0), previous: () => goTo(state.step - 1), next: () => goTo(state.step + 1), last: () => goTo(steps.length - 1), play: () => play(),
    theme: KEYS.t, help: KEYS["?"], "zoom-in": () => graph.zoom(1.25), "zoom-out": () => graph.zoom(0.8), fit: () => graph.fit(),
  };
  for (const [id, action] of Object.entries(clicks)) byId(id).addEventListener("click", action);
  byId("scrubber").addEventListener("input", (event) => goTo(Number(event.target.value)));
  byId("search").addEventListener("input", search);
  byId("search").addEventListener("keydown", searchKey);
  byId("search").addEventListener("blur", closeSearch);
  document.addEventListener("keydown", key);
  for (const name of Object.keys(panels)) {
    byId(`tab-${name}`).addEventListener("click", () => chooseTab(name));
    byId(`tab-${name}`).addEventListener("keydown", tabKey);
  }
  darkSystem.addEventListener("change", () => { if (!state.theme) setTheme(darkSystem.matches ? "dark" : "light"); });
  matchMedia("(min-width: 1700px)").addEventListener("change", showPanels);
  addEventListener("hashchange", readAddress);
  addEventListener("beforeprint", beforePrint);
  addEventListener("afterprint", afterPrint);
  buildScopeList();
  graph.fit();
  if (graph.view.k < READABLE / 2) graph.zoom(READABLE * 1.5 / graph.view.k); // a long graph is followed, not shown whole
  chooseTab("step");
  readAddress();
  document.body.dataset.ready = "true";
}

start();
