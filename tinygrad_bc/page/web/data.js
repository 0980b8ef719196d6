// What the page knows: the data that was written into it, its arrays decoded when they are first looked at.

"use strict";

const page = JSON.parse(document.getElementById("data").textContent);
const { values, steps, scopes } = page;

const decoded = new Map();

// Return array number `id`: its entry, with `numbers`, the elements that the page holds, and `held`, their shape.
function arrayOf(id) {
  if (!decoded.has(id)) {
    const entry = page.arrays[id];
    const held = entry.held ?? entry.shape;
    decoded.set(id, { ...entry, id, held, size: count(entry.shape), numbers: decode(entry, count(held)) });
  }
  return decoded.get(id);
}

function decode(entry, size) {
  if (entry.data === undefined) return new Float64Array(size).fill(entry.fill);
  const bytes = Uint8Array.from(atob(entry.data), (character) => character.charCodeAt(0));
  const kind = { u1: Uint8Array, f4: Float32Array, f8: Float64Array }[entry.code];
  return Float64Array.from(new kind(bytes.buffer));
}

// An array that was computed here, such as a partial sum, in the form of those in the page.
function computedArray(numbers, like) {
  const finite = numbers.filter(Number.isFinite);
  return {
    shape: like.shape, held: like.shape, size: numbers.length, dtype: like.dtype, numbers,
    low: finite.length ? finite.reduce((a, b) => Math.min(a, b)) : null,
    high: finite.length ? finite.reduce((a, b) => Math.max(a, b)) : null,
    nan: numbers.filter(Number.isNaN).length,
    inf: numbers.filter((x) => Math.abs(x) === Infinity).length,
  };
}

function count(shape) {
  return shape.reduce((product, length) => product * length, 1);
}

// Elements are numbered in C order: the last axis runs fastest.
function unravel(flat, shape) {
  const index = new Array(shape.length);
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    index[axis] = flat % shape[axis];
    flat = Math.floor(flat / shape[axis]);
  }
  return index;
}

function ravel(index, shape) {
  return index.reduce((flat, i, axis) => flat * shape[axis] + i, 0);
}

function bracketed(index) {
  return index.length ? `[${index.join(", ")}]` : "";
}

// Words and numbers ----------------------------------------------------------------------------------------------------

function shapeText(shape) {
  if (shape.length === 0) return "scalar";
  return shape.length === 1 ? `length ${shape[0]}` : shape.join("×");
}

// A number with so many significant digits, as it is written in a table.
function short(x, digits = 4, dtype = "") {
  if (dtype === "bool") return x ? "True" : "False";
  if (Number.isNaN(x)) return "NaN";
  if (!Number.isFinite(x)) return x < 0 ? "−∞" : "∞";
  if (x === 0) return "0";
  const size = Math.abs(x);
  if (Number.isInteger(x) && size < 1e6) return signed(String(x));
  const text = size < 1e-4 || size >= 1e6 ? x.toExponential(digits - 1) : String(Number(x.toPrecision(digits)));
  return signed(text.replace(/\.?0*e\+?/, "e"));
}

// Every digit that it takes to give the same number back.
function exact(x, dtype = "") {
  return dtype === "bool" || !Number.isFinite(x) ? short(x, 4, dtype) : signed(Object.is(x, -0) ? "-0" : String(x));
}

function signed(text) {
  return text.replace("-", "−").replace("e-", "e−");
}

function percent(share) {
  return share > 0 && share < 0.001 ? "< 0.1 %" : `${Number((100 * share).toFixed(1))} %`;
}

// Make an element: make("p", {class: "note"}, "text", child, ...). Texts are never read as markup.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value != null) element.setAttribute(name, value);
  element.append(...children.filter((child) => child != null));
  return element;
}

const byId = (id) => document.getElementById(id);
