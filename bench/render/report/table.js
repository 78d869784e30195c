// The leaderboard: sorted by its headers, narrowed by words, each row opening its runs.

function columnsOfTable() {
  const cost = (axis) => ({ title: AXES[axis].name, key: (r) => (r.updates ? r[axis] : null), text: (r) => (r.updates ? AXES[axis].text(r[axis]) : "-") });
  const metrics = report.columns.map((column, i) => ({
    title: `${column.metric.toUpperCase()} ${column.arrow}`,
    small: column.label,
    descending: !column.lower,
    key: (r) => r.numbers[i]?.mean ?? null,
    text: (r) => (r.numbers[i] ? plusMinus(r.numbers[i].mean, r.numbers[i].std) : "-"),
  }));
  return [
    { title: "method", words: true, key: (r) => `${r.method} ${r.variant}`.toLowerCase() },
    ...(several ? [{ title: "teacher", words: true, key: (r) => r.teacher.toLowerCase(), text: (r) => r.teacher }] : []),
    { title: "rank", key: (r) => (r.rank === "-" ? null : parseInt(r.rank, 10)), text: (r) => r.rank },
    ...metrics,
    { title: "seeds", descending: true, key: (r) => r.seeds, text: (r) => String(r.seeds) },
    { title: "NFE", key: (r) => r.nfe, text: (r) => String(r.nfe) },
    { title: "data-free", descending: true, key: (r) => Number(r.dataFree), text: (r) => (r.dataFree ? "yes" : "no") },
    cost("images"),
    cost("flops"),
    { ...cost("seconds"), title: "time" },
    { title: "tuning", small: "runs", key: (r) => r.tuning, text: (r) => (r.tuning === null ? "-" : String(r.tuning)) },
  ];
}

function buildTable() {
  const columns = columnsOfTable();
  const head = make("tr");
  const body = make("tbody");
  const lines = report.rows.map((row, place) => tableLine(row, place, columns));
  let order = null; // none at first: the leaderboard's own, best first within each teacher

  columns.forEach((column) => {
    const button = make("button", { type: "button" }, column.title);
    if (column.small) button.append(make("small", {}, column.small));
    const cell = make("th", { scope: "col", className: column.words ? "" : "number" }, button);
    button.addEventListener("click", () => {
      const first = column.descending ? -1 : 1;
      order = { column, sign: order?.column === column ? -order.sign : first };
      for (const other of head.children) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", order.sign > 0 ? "ascending" : "descending");
      show();
    });
    head.append(cell);
  });

  function before(a, b) {
    if (!order) return a.place - b.place;
    const [x, y] = [order.column.key(a.row), order.column.key(b.row)];
    if (x === null || y === null) return (x === null) - (y === null) || a.place - b.place; // what has no value stays last
    return order.sign * (x < y ? -1 : x > y ? 1 : 0) || a.place - b.place;
  }

  function show() {
    const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = lines.filter(({ row, words: own }) =>
      inView(row) && (row.dataFree || !byId("data-free").checked) && words.every((word) => own.includes(word)));
    wanted.sort(before);
    body.replaceChildren(...wanted.flatMap((line) => [line.main, line.inside]));
    byId("count").textContent = `${wanted.length} of ${lines.length} rows`;
  }

  byId("table").append(make("thead", {}, head), body);
  byId("filter").addEventListener("input", show);
  byId("data-free").addEventListener("change", show);
  chosen.listeners.push(show);
  show();
}

function tableLine(row, place, columns) {
  const id = `runs-of-row-${place}`;
  const button = make("button", { type: "button", ariaExpanded: "false" }, make("bdi", {}, row.method));
  button.setAttribute("aria-controls", id);
  if (row.variant) button.append(make("span", { className: "variant" }, make("bdi", {}, row.variant)));
  const name = make("th", { scope: "row" }, button);
  const cells = columns.slice(1).map((column) => make("td", { className: column.words ? "" : "number" }, make("bdi", {}, column.text(row))));
  const main = make("tr", { className: "row" }, name, ...cells);
  const inside = make("tr", { id, hidden: true }, make("td", { colSpan: columns.length }));
  main.addEventListener("click", (event) => {
    if (!event.target.closest("button") && String(getSelection())) return; // someone selects text
    inside.hidden = !inside.hidden;
    button.ariaExpanded = String(!inside.hidden);
    main.classList.toggle("open", !inside.hidden);
    if (!inside.hidden && !inside.firstChild.hasChildNodes()) {
      const runs = row.runs.map((i) => runDetails(report.runs[i], { open: row.runs.length === 1 }));
      inside.firstChild.append(make("div", { className: "inside" }, ...runs));
    }
  });
  return { row, place, main, inside, words: `${row.method} ${row.variant} ${row.teacher}`.toLowerCase() };
}
