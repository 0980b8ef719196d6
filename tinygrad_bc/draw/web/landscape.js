"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const { alphas, betas, scale, ways, tall } = data;
  const rows = alphas.length, columns = betas.length;
  const HALO = "#101418";
  const START = { azimuth: data.azimuth - 2, elevation: 36, zoom: 1 };
  const DURATION = 9000; // of playing it all, in milliseconds
  const EASE = 1.6; // slowly at first, when most happens
  const FLOOR = -0.1; // the height of the frame below the lowest point
  const TOUCH = 12; // pixels within which a line is pointed at

  const view = { ...START, map: false };
  const firstStep = Math.min(...ways.map((way) => way.steps[0]));
  const lastStep = Math.max(...ways.map((way) => way.steps.at(-1)));
  let step = lastStep, playing = false, pointed = null;

  // Numbers -----------------------------------------------------------------------------------------------------------

  const number = (x, digits = 4) => (Math.abs(x) > 0 && (Math.abs(x) < 1e-3 || Math.abs(x) >= 1e5) ? x.toExponential(digits - 2) : String(Number(x.toPrecision(digits)))).replace("-", "−");
  const heightOf = (loss) => {
    if (loss === null) return NaN;
    if (scale.high === scale.low) return 0;
    return scale.log ? Math.log(loss / scale.low) / Math.log(scale.high / scale.low) : (loss - scale.low) / (scale.high - scale.low);
  };
  const heights = data.losses.map((row) => row.map(heightOf));

  function place(x, grid) { // in which interval of the grid, and how far along
    const n = grid.length;
    let i = Math.floor(((x - grid[0]) / (grid[n - 1] - grid[0])) * (n - 1));
    i = Math.max(0, Math.min(n - 2, i));
    while (i > 0 && x < grid[i]) i--;
    while (i < n - 2 && x >= grid[i + 1]) i++;
    return [i, (x - grid[i]) / (grid[i + 1] - grid[i])];
  }

  function heightAt(a, b) {
    const [i, s] = place(a, alphas), [j, t] = place(b, betas);
    if (s < 0 || s > 1 || t < 0 || t > 1) return NaN;
    const low = heights[i][j] * (1 - s) + heights[i + 1][j] * s;
    const high = heights[i][j + 1] * (1 - s) + heights[i + 1][j + 1] * s;
    return low * (1 - t) + high * t;
  }

  function niceTicks(low, high, about) {
    const rough = (high - low) / about, power = 10 ** Math.floor(Math.log10(rough));
    const size = [1, 2, 5, 10].map((m) => m * power).find((m) => m >= rough * 0.7);
    const ticks = [];
    for (let k = Math.ceil(low / size - 1e-9); k * size <= high + size * 1e-9; k++) ticks.push(k * size);
    return ticks;
  }

  // Colours -----------------------------------------------------------------------------------------------------------

  const ramp = data.ramp.map((hex) => [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16)));
  function colour(height, light = 1) {
    const at = Math.max(0, Math.min(1, height)) * (ramp.length - 1), k = Math.min(ramp.length - 2, Math.floor(at));
    const mixed = ramp[k].map((c, n) => Math.min(255, Math.round((c + (ramp[k + 1][n] - c) * (at - k)) * light)));
    return `rgb(${mixed})`;
  }

  const spanA = alphas.at(-1) - alphas[0], spanB = betas.at(-1) - betas[0];
  const toU = (a) => (a - alphas[0]) / spanA - 0.5, toV = (b) => (b - betas[0]) / spanB - 0.5;

  // A cell of the grid: its colour in the light, and the pieces of contours across it.
  const cells = [];
  for (let i = 0; i < rows - 1; i++) {
    for (let j = 0; j < columns - 1; j++) {
      const corners = [heights[i][j], heights[i + 1][j], heights[i + 1][j + 1], heights[i][j + 1]];
      if (corners.some(Number.isNaN)) { cells.push(null); continue; }
      const [p, q, r, s] = corners;
      const slopeU = (((q + r - p - s) / 2) * tall * spanA) / (alphas[i + 1] - alphas[i]);
      const slopeV = (((r + s - p - q) / 2) * tall * spanB) / (betas[j + 1] - betas[j]);
      const light = (-slopeU * -0.55 + -slopeV * 0.35 + 0.76) / Math.hypot(slopeU, slopeV, 1);
      cells.push({ fill: colour((p + q + r + s) / 4, 0.58 + 0.56 * Math.max(0, light)), flat: colour((p + q + r + s) / 4), lines: pieces(i, j, corners) });
    }
  }

  function pieces(i, j, corners) {
    const us = [i, i + 1, i + 1, i].map((k) => toU(alphas[k])), vs = [j, j, j + 1, j + 1].map((k) => toV(betas[k]));
    const found = [];
    for (const level of data.levels) {
      const h = heightOf(level), ends = [];
      for (let k = 0; k < 4; k++) {
        const m = (k + 1) % 4;
        if (corners[k] < h !== corners[m] < h) {
          const t = (h - corners[k]) / (corners[m] - corners[k]);
          ends.push([us[k] + (us[m] - us[k]) * t, vs[k] + (vs[m] - vs[k]) * t]);
        }
      }
      for (let k = 0; k + 1 < ends.length; k += 2) found.push([ends[k], ends[k + 1], h]);
    }
    return found;
  }

  // The ways, laid onto the surface: points in steps of half a cell.
  for (const way of ways) {
    way.shown = true;
    way.line = [];
    for (let k = 0; k < way.steps.length; k++) {
      const count = k === 0 ? 1 : Math.max(1, Math.ceil(2 * Math.max((Math.abs(way.x[k] - way.x[k - 1]) / spanA) * (rows - 1), (Math.abs(way.y[k] - way.y[k - 1]) / spanB) * (columns - 1))));
      for (let m = 1; m <= count; m++) {
        const t = k === 0 ? 1 : m / count, before = Math.max(0, k - 1);
        const mix = (list) => list[before] + (list[k] - list[before]) * t;
        const a = mix(way.x), b = mix(way.y);
        way.line.push({ a, b, h: heightAt(a, b), step: mix(way.steps), snapshot: m === count ? k : -1 });
      }
    }
  }

  // The camera --------------------------------------------------------------------------------------------------------

  const scene = $("scene"), pen = scene.getContext("2d");
  let width = 1, height = 1, size = 1, middle = [0, 0], frame = 0, camera = {};

  const isFlat = () => view.elevation > 88;

  function aim() {
    const azimuth = (view.azimuth * Math.PI) / 180, elevation = (view.elevation * Math.PI) / 180;
    camera = { cos: Math.cos(azimuth), sin: Math.sin(azimuth), up: Math.cos(elevation), over: Math.sin(elevation), rise: Math.tan(elevation) / tall };
    const fit = isFlat() ? 1.1 : 1.36; // a turned square needs more room than one seen from above
    size = Math.min((width - 70) / fit, (height - 90) / (fit * camera.over + (isFlat() ? 0 : tall * camera.up))) * view.zoom;
    middle = [width / 2 - 8, height / 2 - (isFlat() ? 12 : 2)];
  }

  function project(u, v, h) {
    const depth = u * camera.cos + v * camera.sin;
    return [middle[0] + (v * camera.cos - u * camera.sin) * size, middle[1] - ((h - 0.5) * tall * camera.up - depth * camera.over) * size];
  }

  function visible(a, b, h) { // a ray towards the eye, cell by cell
    if (Number.isNaN(h)) return false;
    if (isFlat()) return true;
    const grid = Math.max(rows, columns) - 1;
    for (let k = 1; k < 2 * grid; k++) {
      const far = (k / grid) * 0.75, above = h + camera.rise * far;
      if (above > 1) return true;
      if (heightAt(a + camera.cos * spanA * far, b + camera.sin * spanB * far) > above + 0.012) return false;
    }
    return true;
  }

  // Drawing -----------------------------------------------------------------------------------------------------------

  const theme = () => getComputedStyle(document.documentElement);
  let ink = {};
  function readTheme() {
    const style = theme();
    ink = Object.fromEntries(["ink", "soft", "line", "ground", "paper"].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  }

  function fitCanvas(canvas, context) {
    const ratio = window.devicePixelRatio || 1, box = canvas.getBoundingClientRect();
    canvas.width = Math.max(1, Math.round(box.width * ratio));
    canvas.height = Math.max(1, Math.round(box.height * ratio));
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    return [box.width, box.height];
  }

  let grid = [], seen = null; // projected corners of the cells; which points of the ways are visible: both hold for one camera
  function moved() { seen = null; draw(); }
  function draw() { if (!frame) frame = requestAnimationFrame(() => { frame = 0; render(); }); }

  function render() {
    aim();
    if (!seen) {
      grid = heights.map((row, i) => row.map((h, j) => project(toU(alphas[i]), toV(betas[j]), h)));
      seen = ways.map((way) => way.line.map((p) => visible(p.a, p.b, p.h)));
    }
    pen.clearRect(0, 0, width, height);
    drawFrame();
    drawSurface();
    ways.forEach(drawLine);
    ways.forEach(drawBall);
    drawCentre();
    drawPointed();
    drawKey();
  }

  function drawSurface() {
    const order = (n, forward) => Array.from({ length: n - 1 }, (_, k) => (forward ? k : n - 2 - k));
    const js = order(columns, camera.sin >= 0);
    pen.lineJoin = "round";
    for (const i of order(rows, camera.cos >= 0)) {
      for (const j of js) {
        const cell = cells[i * (columns - 1) + j];
        if (!cell) continue;
        pen.fillStyle = pen.strokeStyle = isFlat() ? cell.flat : cell.fill;
        if (isFlat() && view.azimuth === -90) { // whole pixels: no seams
          const [left, low] = grid[i][j].map(Math.round), [right, top] = grid[i + 1][j + 1].map(Math.round);
          pen.fillRect(left, top, right - left, low - top);
        } else {
          pen.beginPath();
          for (const [x, y] of [grid[i][j], grid[i + 1][j], grid[i + 1][j + 1], grid[i][j + 1]]) pen.lineTo(x, y);
          pen.closePath();
          pen.lineWidth = 0.8; // closes the seams
          pen.stroke();
          pen.fill();
        }
        if (!cell.lines.length) continue;
        pen.beginPath();
        for (const [p, q, h] of cell.lines) { pen.moveTo(...project(...p, h)); pen.lineTo(...project(...q, h)); }
        pen.strokeStyle = "rgba(255,255,255,0.5)";
        pen.lineWidth = 0.9;
        pen.stroke();
      }
    }
  }

  function segment(p, q, style) {
    pen.beginPath(); pen.moveTo(...p); pen.lineTo(...q);
    pen.strokeStyle = style; pen.lineWidth = 1; pen.stroke();
  }

  function label(text, x, y, style, align = "center", angle = 0, font = 11.5) {
    pen.save();
    pen.translate(x, y); pen.rotate(angle);
    pen.font = `${font}px system-ui, "Segoe UI", Roboto, "Noto Sans", sans-serif`;
    pen.textAlign = align; pen.textBaseline = "middle"; pen.fillStyle = style;
    pen.fillText(text, 0, 0);
    pen.restore();
  }

  function drawFrame() {
    const flat = isFlat(), titles = flat ? data.titles : data.names;
    const nearU = camera.cos >= -1e-9 ? 0.5 : -0.5, nearV = camera.sin >= 0 ? 0.5 : -0.5;
    const floor = [[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]];
    floor.forEach((corner, k) => segment(project(...corner, FLOOR), project(...floor[(k + 1) % 4], FLOOR), ink.line));
    // The two edges of the floor that are nearest, each with its numbers on the far side from the surface.
    const edge = (values, at, outward, title) => {
      const ends = [at(values[0]), at(values.at(-1))].map((p) => project(...p, FLOOR));
      const centre = project(0, 0, FLOOR);
      const out = outward.map((c) => c * 0.5), toward = project(...out, FLOOR);
      const length = Math.hypot(toward[0] - centre[0], toward[1] - centre[1]) || 1;
      const normal = [(toward[0] - centre[0]) / length, (toward[1] - centre[1]) / length];
      if (length < size * 0.16) return; // seen from its end: there is no room for numbers
      for (const tick of niceTicks(values[0], values.at(-1), 6)) {
        const [x, y] = project(...at(tick), FLOOR);
        segment([x, y], [x + normal[0] * 5, y + normal[1] * 5], ink.soft);
        label(number(tick, 3), x + normal[0] * 16, y + normal[1] * 13, ink.soft);
      }
      let angle = Math.atan2(ends[1][1] - ends[0][1], ends[1][0] - ends[0][0]);
      if (angle > 1.57 || angle < -1.58) angle += Math.PI; // not upside down, and upright from below
      label(title, (ends[0][0] + ends[1][0]) / 2 + normal[0] * 38, (ends[0][1] + ends[1][1]) / 2 + normal[1] * 33, ink.ink, "center", angle, 12.5);
    };
    const left = flat ? -0.5 : nearU;
    edge(alphas, (a) => [toU(a), nearV], [0, nearV * 2], titles[0]);
    edge(betas, (b) => [left, toV(b)], [left * 2, 0], titles[1]);
    if (flat) return;
    // The upright axis stands where the floor ends on the right.
    const corner = floor.reduce((best, c) => (project(...c, 0)[0] > project(...best, 0)[0] ? c : best));
    segment(project(...corner, FLOOR), project(...corner, 1), ink.line);
    for (const tick of data.ticks) {
      const [x, y] = project(...corner, heightOf(tick));
      segment([x, y], [x + 5, y], ink.soft);
      label(number(tick, 3), x + 9, y, ink.soft, "left");
    }
    const [x, y] = project(...corner, 1);
    label("loss", x + 9, y - 16, ink.ink, "left", 0, 12.5);
  }

  function drawCentre() {
    const h = heightAt(0, 0);
    if (!visible(0, 0, h)) return;
    const [x, y] = project(toU(0), toV(0), h);
    for (const [style, line, arm] of [["#fff", 4, 6], [HALO, 1.6, 5]]) {
      pen.beginPath();
      pen.moveTo(x - arm, y); pen.lineTo(x + arm, y); pen.moveTo(x, y - arm); pen.lineTo(x, y + arm);
      pen.strokeStyle = style; pen.lineWidth = line; pen.stroke();
    }
  }

  const reached = (way) => {
    let last = way.line.findIndex((p) => p.step > step);
    if (last < 0) last = way.line.length;
    return Math.max(1, last);
  };

  function drawLine(way, w) {
    if (!way.shown) return;
    const end = reached(way), points = way.line.slice(0, end).map((p) => project(toU(p.a), toV(p.b), p.h));
    const trace = (wanted) => {
      pen.beginPath();
      let open = false;
      for (let k = 1; k < points.length; k++) {
        const here = (seen[w][k] && seen[w][k - 1]) === wanted && points[k].every(Number.isFinite) && points[k - 1].every(Number.isFinite);
        if (here && !open) pen.moveTo(...points[k - 1]);
        if (here) pen.lineTo(...points[k]);
        open = here;
      }
    };
    pen.lineJoin = pen.lineCap = "round";
    pen.setLineDash([1, 5]);
    trace(false); pen.strokeStyle = way.colour; pen.globalAlpha = 0.6; pen.lineWidth = 1.6; pen.stroke();
    pen.setLineDash([]);
    pen.globalAlpha = 1;
    trace(true);
    pen.strokeStyle = HALO; pen.globalAlpha = 0.85; pen.lineWidth = 4.4; pen.stroke();
    pen.globalAlpha = 1; pen.strokeStyle = way.colour; pen.lineWidth = 2.2; pen.stroke();
  }

  function drawBall(way, w) {
    if (!way.shown) return;
    const k = reached(way) - 1, p = way.line[k];
    const [x, y] = project(toU(p.a), toV(p.b), p.h);
    if (!Number.isFinite(y)) return;
    pen.globalAlpha = seen[w][k] ? 1 : 0.45;
    pen.beginPath(); pen.arc(x, y, 6.5, 0, 2 * Math.PI);
    pen.fillStyle = way.colour; pen.fill();
    pen.strokeStyle = HALO; pen.lineWidth = 1.6; pen.stroke();
    pen.beginPath(); pen.arc(x - 2, y - 2.2, 1.7, 0, 2 * Math.PI);
    pen.fillStyle = "rgba(255,255,255,0.75)"; pen.fill();
    pen.globalAlpha = 1;
  }

  function drawPointed() {
    if (!pointed) return;
    const [x, y] = project(toU(pointed.a), toV(pointed.b), pointed.h);
    for (const [style, line] of [[HALO, 4], ["#fff", 2]]) {
      pen.beginPath(); pen.arc(x, y, 9, 0, 2 * Math.PI);
      pen.strokeStyle = style; pen.lineWidth = line; pen.stroke();
    }
  }

  function drawKey() { // the colours, on a map
    if (!isFlat()) return;
    const x = width - 62, top = Math.max(40, height / 2 - 130), tallness = Math.min(260, height - 80);
    for (let k = 0; k < tallness; k++) { pen.fillStyle = colour(1 - k / tallness); pen.fillRect(x, top + k, 12, 1.5); }
    for (const tick of data.ticks) label(number(tick, 3), x + 18, top + (1 - heightOf(tick)) * tallness, ink.soft, "left");
    label("loss", x + 6, top - 14, ink.ink, "center", 0, 12.5);
  }

  // Curves ------------------------------------------------------------------------------------------------------------

  const curves = $("curves"), thin = curves.getContext("2d");
  let chart = null;
  function drawCurves() {
    const [w, h] = fitCanvas(curves, thin);
    const all = ways.filter((way) => way.shown).flatMap((way) => way.losses);
    const finite = all.filter((loss) => loss !== null);
    if (!finite.length) return;
    const low = Math.min(...finite), high = Math.max(...finite), log = low > 0 && high / low > 5;
    const f = (loss) => (log ? Math.log(loss) : loss), box = [44, 8, w - 8, h - 20];
    const span = f(high) - f(low) || 1, length = lastStep - firstStep || 1;
    const x = (s) => box[0] + ((s - firstStep) / length) * (box[2] - box[0]);
    const y = (loss) => box[3] - ((f(loss) - f(low)) / span) * (box[3] - box[1]);
    chart = { left: box[0], right: box[2], length };
    thin.font = '11px system-ui, "Segoe UI", Roboto, "Noto Sans", sans-serif';
    thin.fillStyle = ink.soft; thin.strokeStyle = ink.line; thin.lineWidth = 1; thin.textBaseline = "middle";
    thin.textAlign = "right";
    const decades = [];
    for (let d = Math.floor(Math.log10(low)); log && d <= Math.log10(high); d++) decades.push(...[1, 2, 5].map((m) => m * 10 ** d));
    for (const tick of (log ? decades.filter((t) => high / low < 1e3 || /^1/.test(t.toExponential())) : niceTicks(low, high, 4)).filter((t) => t >= low && t <= high)) {
      thin.beginPath(); thin.moveTo(box[0], y(tick)); thin.lineTo(box[2], y(tick)); thin.stroke();
      thin.fillText(number(tick, 3), box[0] - 6, y(tick));
    }
    thin.textAlign = "center";
    for (const tick of niceTicks(firstStep, lastStep || 1, 4)) thin.fillText(number(tick, 5), Math.min(x(tick), w - 14), h - 8);
    for (const way of ways) {
      if (!way.shown) continue;
      for (const [style, line] of [[HALO, 2.7], [way.colour, 1.5]]) {
        thin.beginPath();
        way.losses.forEach((loss, k) => { if (loss !== null) thin.lineTo(x(way.steps[k]), y(loss)); });
        thin.strokeStyle = style; thin.lineWidth = line; thin.lineJoin = "round"; thin.stroke();
      }
    }
    thin.beginPath(); thin.moveTo(x(step), box[1]); thin.lineTo(x(step), box[3]);
    thin.strokeStyle = ink.ink; thin.lineWidth = 1.5; thin.stroke();
  }

  // State -------------------------------------------------------------------------------------------------------------

  const before = (way) => { // the last snapshot that has been reached
    let k = way.steps.findIndex((s) => s > step);
    if (k < 0) k = way.steps.length;
    return Math.max(0, k - 1);
  };

  function goTo(next) {
    step = Math.max(firstStep, Math.min(lastStep, next));
    $("scrubber").value = step;
    $("position").textContent = `step ${Math.floor(step)} of ${lastStep}`;
    ways.forEach((way) => {
      const loss = way.losses[before(way)];
      way.output.textContent = loss === null ? "not finite" : number(loss);
    });
    drawCurves();
    draw();
  }

  let clock = 0;
  function play(on) {
    playing = on;
    $("play").textContent = on ? "⏸" : "▶";
    $("play").setAttribute("aria-label", on ? "Pause" : "Play");
    if (!on) return;
    if (step >= lastStep) step = firstStep;
    clock = performance.now();
    requestAnimationFrame(tick);
  }
  function tick(now) {
    if (!playing) return;
    const length = lastStep - firstStep || 1;
    const share = ((step - firstStep) / length) ** (1 / EASE) + (now - clock) / DURATION;
    clock = now;
    goTo(firstStep + length * Math.min(1, share) ** EASE);
    if (share >= 1) play(false); else requestAnimationFrame(tick);
  }

  function setTheme(name) {
    document.documentElement.dataset.theme = name;
    readTheme();
    draw();
    if (ways.length) drawCurves();
  }

  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  function turnTo(target) { // along the shorter way round
    const from = { ...view }, around = ((target.azimuth - from.azimuth + 540) % 360) - 180, begin = performance.now();
    const go = (now) => {
      const t = calm ? 1 : Math.min(1, Math.max(0, (now - begin) / 500)), s = t * t * (3 - 2 * t);
      view.azimuth = t === 1 ? target.azimuth : from.azimuth + around * s;
      view.elevation = from.elevation + (target.elevation - from.elevation) * s;
      view.zoom = from.zoom + (target.zoom - from.zoom) * s;
      moved();
      if (t < 1) requestAnimationFrame(go);
    };
    go(begin);
  }
  function setMap(on) {
    view.map = on;
    $("map").setAttribute("aria-pressed", String(on));
    turnTo(on ? { azimuth: -90, elevation: 90, zoom: 1 } : START);
  }
  function turn(sideways, upwards) {
    if (view.map) { view.map = false; $("map").setAttribute("aria-pressed", "false"); }
    view.azimuth = (view.azimuth + sideways + 540) % 360 - 180;
    view.elevation = Math.max(8, Math.min(88, view.elevation + upwards));
    moved();
  }
  function zoom(factor) { view.zoom = Math.max(0.5, Math.min(6, view.zoom * factor)); moved(); }

  // Pointing ----------------------------------------------------------------------------------------------------------

  function pointAt(x, y) {
    pointed = nearestSnapshot(x, y) || nearestCorner(x, y);
    const text = !pointed ? "" : pointed.way
      ? `${pointed.way.name}, step ${pointed.way.steps[pointed.k]}: loss ${pointed.loss === null ? "not finite" : number(pointed.loss)}, ${number(pointed.way.distances[pointed.k], 3)} off this plane`
      : `(${number(pointed.a, 3)}, ${number(pointed.b, 3)}): loss ${number(pointed.loss)}`;
    if ($("readout").textContent !== text) $("readout").textContent = text;
    draw();
  }

  function nearestSnapshot(x, y) {
    let best = null, nearest = TOUCH;
    ways.forEach((way, w) => {
      if (!way.shown) return;
      const end = reached(way);
      for (let n = 0; n < end; n++) {
        const p = way.line[n];
        if (p.snapshot < 0 || !seen[w][n]) continue;
        const [px, py] = project(toU(p.a), toV(p.b), p.h), distance = Math.hypot(px - x, py - y);
        if (distance < nearest) { nearest = distance; best = { ...p, way, k: p.snapshot, loss: way.losses[p.snapshot] }; }
      }
    });
    return best;
  }

  function nearestCorner(x, y) {
    let best = null, nearest = Math.max(TOUCH, (size / Math.min(rows, columns)) * 1.2);
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < columns; j++) {
        const distance = Math.hypot(grid[i][j][0] - x, grid[i][j][1] - y);
        if (distance < nearest && visible(alphas[i], betas[j], heights[i][j])) { nearest = distance; best = { a: alphas[i], b: betas[j], h: heights[i][j], loss: data.losses[i][j] }; }
      }
    }
    return best;
  }

  // Events ------------------------------------------------------------------------------------------------------------

  const held = new Map(); // fingers, or the mouse: one turns, two zoom
  let spread = 0;
  scene.addEventListener("pointerdown", (event) => { held.set(event.pointerId, event); spread = 0; scene.setPointerCapture(event.pointerId); });
  for (const kind of ["pointerup", "pointercancel"]) scene.addEventListener(kind, (event) => { held.delete(event.pointerId); spread = 0; });
  scene.addEventListener("pointermove", (event) => {
    if (!held.size) return pointAt(event.offsetX, event.offsetY);
    const last = held.get(event.pointerId);
    held.set(event.pointerId, event);
    if (held.size === 1 && last) {
      const dx = event.clientX - last.clientX, dy = event.clientY - last.clientY;
      if (dx || dy) turn(-dx * 0.4, dy * 0.35);
    } else if (held.size === 2) {
      const [p, q] = held.values(), now = Math.hypot(p.clientX - q.clientX, p.clientY - q.clientY);
      if (spread) zoom(now / spread);
      spread = now;
    }
    return undefined;
  });
  scene.addEventListener("pointerleave", () => { pointed = null; $("readout").textContent = ""; draw(); });
  scene.addEventListener("wheel", (event) => { event.preventDefault(); zoom(Math.exp(-event.deltaY * 0.0012)); }, { passive: false });
  scene.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: () => turn(6, 0), ArrowRight: () => turn(-6, 0), ArrowUp: () => turn(0, 5), ArrowDown: () => turn(0, -5), "+": () => zoom(1.15), "-": () => zoom(1 / 1.15) };
    if (moves[event.key] && !event.ctrlKey && !event.metaKey) { event.preventDefault(); moves[event.key](); }
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key.toLowerCase();
    if (key === "m") setMap(!view.map);
    if (key === "t") $("theme").click();
    if (key === " " && ways.length && !["BUTTON", "INPUT"].includes(event.target.tagName)) { event.preventDefault(); play(!playing); }
  });
  const scrubTo = (event) => { if (event.buttons && chart) { play(false); goTo(firstStep + ((event.offsetX - chart.left) / (chart.right - chart.left)) * chart.length); } };
  curves.addEventListener("pointerdown", scrubTo);
  curves.addEventListener("pointermove", scrubTo);
  $("map").addEventListener("click", () => setMap(!view.map));
  $("reset").addEventListener("click", () => setMap(false));
  $("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
  $("play").addEventListener("click", () => play(!playing));
  $("scrubber").addEventListener("input", (event) => { play(false); goTo(Number(event.target.value)); });

  // Beginning ---------------------------------------------------------------------------------------------------------

  function element(name, text, parent) {
    const made = document.createElement(name);
    made.textContent = text;
    parent.append(made);
    return made;
  }
  for (const [name, value] of data.facts) { element("dt", name, $("facts")); element("dd", value, $("facts")); }
  for (const way of ways) {
    const line = element("label", "", element("li", "", $("ways")));
    const box = element("input", "", line);
    box.type = "checkbox";
    box.checked = true;
    box.addEventListener("change", () => { way.shown = box.checked; drawCurves(); draw(); });
    element("i", "", line).style.background = way.colour;
    element("b", way.name, line);
    way.output = element("output", "", line);
  }
  $("ways-pane").hidden = $("player").hidden = !ways.length;
  $("scrubber").min = firstStep;
  $("scrubber").max = lastStep;
  new ResizeObserver(() => {
    [width, height] = fitCanvas(scene, pen);
    seen = null;
    aim();
    render(); // at once: a canvas of a new size is empty
    if (ways.length) drawCurves();
  }).observe($("stage"));
  setTheme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  if (ways.length) goTo(lastStep);
  [width, height] = fitCanvas(scene, pen);
  render();
  document.body.dataset.ready = "";
})();
