// Everything about one run, built when it is first opened.

function runDetails(run, { open = false, label = `seed ${run.seed}` } = {}) {
  const last = run.points.at(-1);
  const numbers = report.columns.flatMap((column, i) =>
    last && typeof last.values[i] === "number" ? [`${column.metric.toUpperCase()} ${plusMinus(last.values[i])} (${column.label})`] : []);
  const summary = make("summary", {}, make("bdi", {}, label), make("span", {}, make("bdi", {}, run.id)));
  if (numbers.length) summary.append(make("span", {}, numbers.join(", ")));
  const element = make("details", { className: "run" }, summary);
  element.addEventListener("toggle", () => {
    if (element.open && element.childElementCount === 1) element.append(runTables(run));
  });
  element.open = open;
  return element;
}

function runTables(run) {
  const tables = make("div", { className: "tables" });
  if (run.error) tables.append(make("p", { className: "error full" }, run.error));
  for (const part of run.details) {
    const body = part.text === undefined ? detailTable(part) : make("pre", {}, part.text);
    const box = make("div", { className: "fit", tabIndex: 0, role: "region", ariaLabel: part.title }, body);
    tables.append(make("div", { className: part.title === "Evaluations" ? "full" : "" }, make("h3", {}, part.title), box));
  }
  return tables;
}

function detailTable(part) {
  const table = make("table", { className: part.head.length ? "" : "pairs" });
  if (part.head.length) table.append(make("thead", {}, make("tr", {}, ...part.head.map((name) => make("th", { scope: "col" }, name)))));
  const cells = (row) => row.map((text, i) => (i ? make("td", {}, text) : make("th", { scope: "row" }, ...breakable(text))));
  table.append(make("tbody", {}, ...part.rows.map((row) => make("tr", {}, ...cells(row)))));
  return table;
}

// A dotted name that may go on in the next line after any of its parts.
const breakable = (name) => name.split(/(?<=[._])/).flatMap((part, i) => (i ? [make("wbr"), part] : [part]));
