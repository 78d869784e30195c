// What every part of the page uses: the data, elements, numbers as people read them, and the choice of a teacher.

const report = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

// An element. Text is only ever set as text, so that nothing a record says can become markup.
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function draw(tag, attributes = {}, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
}

// A number in so many significant digits, without an exponent or trailing zeros.
const digits = (value, count) => String(Number(value.toPrecision(count)));

function quantity(value) {
  for (const [size, suffix] of [[1e21, "Z"], [1e18, "E"], [1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (Math.abs(value) >= size * 0.9995) return digits(value / size, 3) + suffix;
  }
  return digits(value, 3);
}

function duration(seconds) {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds >= 172800) return `${Math.round(seconds / 86400).toLocaleString("en")} days`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

// The same without rounding to whole ones, so that no two ticks read alike.
function exactDuration(seconds) {
  const [size, unit] = [[86400, "days"], [3600, "h"], [60, "min"]].find(([size]) => seconds >= 2 * size) ?? [1, "s"];
  return `${digits(seconds / size, 3)} ${unit}`;
}

function plusMinus(mean, std) {
  const places = Math.abs(mean) >= 0.1 ? 2 : 4;
  return mean.toFixed(places) + (std === null || std === undefined ? "" : ` ± ${std.toFixed(places)}`);
}

const AXES = {
  images: { title: "images generated for the generator's updates", name: "images", text: quantity },
  updates: { title: "updates", name: "updates", text: quantity },
  flops: { title: "floating-point operations of training", name: "FLOPs", text: quantity },
  seconds: { title: "seconds of training", name: "seconds", text: duration, tick: exactDuration },
  nfe: { title: "network evaluations for one image (NFE)", name: "NFE", text: quantity },
};

const columnTitle = (column) => `${column.metric.toUpperCase()} ${column.arrow} (${column.label})`;
const several = new Set(report.rows.map((row) => row.teacher)).size > 1;
const rowName = (row) => row.method + (row.variant ? ` (${row.variant})` : "") + (several ? `, ${row.teacher}` : "");

// The teacher that the page is narrowed to, or "" for all; parts that depend on it are told.
const chosen = { teacher: "", listeners: [] };
const inView = (row) => !chosen.teacher || row.teacher === chosen.teacher;
function chooseTeacher(name) {
  chosen.teacher = name;
  for (const listener of chosen.listeners) listener();
}
