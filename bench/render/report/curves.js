// The figure: a metric against what was spent, each row of the leaderboard a curve.

const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c8c8c"]; // Okabe and Ito's, for every eye
const DASHES = ["", "7 3", "2 3", "9 3 2 3"];
const FIRST_SHOWN = COLOURS.length;
const style = (i) => ({ stroke: COLOURS[i % COLOURS.length], "stroke-dasharray": DASHES[Math.floor(i / COLOURS.length) % DASHES.length] });

function buildCurves() {
  const [metric, axis, scale, plot, readout] = ["metric", "axis", "scale", "plot", "readout"].map(byId);
  const hidden = new Map(); // by column: the rows that are not shown
  const look = new Map(); // by row: its place among the styles
  let points = []; // what can be pointed at
  let at = null;

  for (const [name, { title }] of Object.entries(AXES)) axis.append(make("option", { value: name }, title));
  axis.value = report.axis; // that of the budgets, where the ends of the curves line up

  const column = () => Number(metric.value);
  const candidates = () => report.rows.filter((row) => inView(row) && row.numbers[column()]);

  function offer() {
    const offered = report.columns.flatMap((c, i) => (report.rows.some((r) => inView(r) && r.numbers[i]) ? [[c, i]] : []));
    const before = metric.value;
    metric.replaceChildren(...offered.map(([c, i]) => make("option", { value: i }, columnTitle(c))));
    if (offered.some(([, i]) => String(i) === before)) metric.value = before;
    list();
  }

  function list() {
    const rows = candidates();
    if (!hidden.has(column())) {
      const shown = new Set([...rows.filter((r) => r.updates).slice(0, FIRST_SHOWN), ...rows.filter((r) => !r.updates && !r.variant)]);
      hidden.set(column(), new Set(report.rows.filter((r) => !shown.has(r))));
    }
    const off = hidden.get(column());
    look.clear();
    rows.filter((r) => r.updates).forEach((r, i) => look.set(r, style(i)));
    rows.filter((r) => !r.updates).forEach((r, i) => look.set(r, { stroke: "currentColor", "stroke-dasharray": DASHES[(i + 1) % DASHES.length] }));
    byId("legend").replaceChildren(...rows.map((row) => {
      const box = make("input", { type: "checkbox", checked: !off.has(row) });
      box.addEventListener("change", () => {
        if (box.checked) off.delete(row);
        else off.add(row);
        redraw();
      });
      const sample = draw("svg", { width: 30, height: 12, "aria-hidden": "true" });
      sample.append(draw("line", { x1: 1, x2: 29, y1: 6, y2: 6, "stroke-width": 2.5, ...look.get(row) }));
      return make("label", { title: rowName(row) }, box, sample, make("span", {}, make("bdi", {}, rowName(row))));
    }));
    redraw();
  }

  // The curves of a row: its seeds' mean where all were measured at the same images, else each seed for itself.
  function curves(row) {
    const name = axis.value;
    const seeds = row.runs.map((i) => report.runs[i]).map((run) => ({
      label: `seed ${run.seed}`,
      points: run.points.flatMap((p) => (typeof p.values[column()] === "number" && typeof p[name] === "number"
        ? [{ x: p[name], y: p.values[column()], point: p }] : [])),
    })).filter((seed) => seed.points.length);
    const places = new Set(seeds.map((seed) => seed.points.map((p) => p.point.images).join()));
    if (seeds.length < 2 || places.size > 1) return { seeds: [], main: seeds };
    const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
    const points = seeds[0].points.map((_, i) => {
      const ys = seeds.map((seed) => seed.points[i].y);
      const std = Math.sqrt(ys.reduce((a, y) => a + (y - mean(ys)) ** 2, 0) / (ys.length - 1));
      const point = {};
      for (const key of Object.keys(AXES)) point[key] = mean(seeds.map((seed) => seed.points[i].point[key] ?? NaN));
      return { x: mean(seeds.map((seed) => seed.points[i].x)), y: mean(ys), std, point };
    });
    return { seeds, main: [{ label: `mean of ${seeds.length} seeds`, points }] };
  }

  // What is to be drawn, in the units of the data.
  function drawn() {
    const rows = candidates().filter((row) => !hidden.get(column()).has(row));
    if (axis.value === "nfe") {
      return rows.map((row) => {
        const { mean, std } = row.numbers[column()];
        return { row, seeds: [], main: [{ label: `${row.seeds} seed${row.seeds > 1 ? "s" : ""}`, points: [{ x: row.nfe, y: mean, std, point: row, bar: true }] }] };
      });
    }
    return rows.map((row) => (row.updates ? { row, ...curves(row) } : { row, level: row.numbers[column()], seeds: [], main: [] }));
  }

  function redraw() {
    const width = plot.clientWidth, height = plot.clientHeight;
    if (!width || metric.value === "") return;
    const log = scale.value === "log";
    const shown = drawn();
    const fits = (p) => !log || (p.x > 0 && p.y > 0); // zero has no place on a logarithmic axis
    for (const curve of shown) for (const line of [...curve.seeds, ...curve.main]) line.points = line.points.filter(fits);
    const all = shown.flatMap((c) => [...c.seeds, ...c.main].flatMap((line) => line.points));
    const levels = shown.flatMap((c) => (c.level && (!log || c.level.mean > 0) ? [c.level.mean] : []));
    points = [];
    at = null;
    readout.textContent = "";
    if (!all.length && !levels.length) {
      const words = shown.length ? "nothing here has a place on a logarithmic scale" : "choose a method below";
      const svg = draw("svg", { viewBox: `0 0 ${width} ${height}` });
      svg.append(draw("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, words));
      plot.replaceChildren(svg);
      return;
    }
    const left = 56, right = 14, top = 26, bottom = 44;
    const x = placed(all.map((p) => p.x), left, width - right, log, axis.value === "nfe");
    const bars = all.filter((p) => p.bar && p.std && (!log || p.y > p.std)).flatMap((p) => [p.y - p.std, p.y + p.std]);
    const y = placed([...all.map((p) => p.y), ...bars, ...levels], height - bottom, top, log);
    const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    const ticks = (at, room) => at.ticks(Math.max(3, Math.floor(room)));
    for (const value of ticks(x, width / 85)) {
      svg.append(draw("line", { class: "grid", x1: x(value), x2: x(value), y1: top, y2: height - bottom }));
      svg.append(draw("text", { class: "x-tick", x: x(value), y: height - bottom + 17, "text-anchor": "middle" }, (AXES[axis.value].tick ?? quantity)(value)));
    }
    for (const value of ticks(y, height / 45)) {
      svg.append(draw("line", { class: "grid", x1: left, x2: width - right, y1: y(value), y2: y(value) }));
      svg.append(draw("text", { class: "y-tick", x: left - 7, y: y(value) + 4, "text-anchor": "end" }, digits(value, 4)));
    }
    svg.append(draw("path", { class: "frame", d: `M${left} ${top}V${height - bottom}H${width - right}` }));
    const title = width < 500 ? AXES[axis.value].name : AXES[axis.value].title;
    svg.append(draw("text", { class: "title x-title", x: (left + width - right) / 2, y: height - 8, "text-anchor": "middle" }, title));
    svg.append(draw("text", { class: "title y-title", x: 4, y: 14 }, columnTitle(report.columns[column()])));

    const path = (line) => line.points.map((p, i) => `${i ? "L" : "M"}${x(p.x).toFixed(1)} ${y(p.y).toFixed(1)}`).join("");
    shown.forEach(({ row, seeds, main, level }, group) => {
      const own = look.get(row);
      if (level && (!log || level.mean > 0)) {
        const line = { x1: left, x2: width - right, y1: y(level.mean), y2: y(level.mean), "stroke-width": 1.5, ...own };
        svg.append(draw("line", { class: "level", ...line }));
        points.push({ group, row, label: "", x: width - right, y: y(level.mean), value: level.mean, std: level.std, point: row, level: true });
      }
      for (const seed of seeds) svg.append(draw("path", { class: "seed", d: path(seed), fill: "none", "stroke-width": 1, "stroke-opacity": 0.45, ...own }));
      for (const line of main) {
        svg.append(draw("path", { class: "curve", d: path(line), fill: "none", "stroke-width": 2.2, ...own }));
        for (const p of line.points) {
          const [u, v] = [x(p.x), y(p.y)];
          if (p.bar && p.std && (!log || p.y > p.std)) {
            svg.append(draw("path", { d: `M${u} ${y(p.y - p.std)}V${y(p.y + p.std)}`, stroke: own.stroke, "stroke-width": 1.5 }));
          }
          svg.append(draw("circle", { class: "mark", cx: u, cy: v, r: p.bar ? 4.5 : 3, fill: own.stroke }));
          points.push({ group, row, label: line.label, x: u, y: v, value: p.y, std: p.std, point: p.point });
        }
      }
    });
    plot.replaceChildren(svg);
  }

  function read(index) {
    at = index;
    plot.querySelector(".ring")?.remove();
    const p = points[index];
    if (!p) return;
    plot.firstChild.append(draw("circle", { class: "ring", cx: p.x, cy: p.y, r: 7 }));
    const c = report.columns[column()];
    const spent = p.point.updates ? ["images", "flops", "seconds"].map((name) => AXES[name].text(p.point[name]) + (name === "seconds" ? "" : ` ${AXES[name].name}`)) : [];
    const number = `${c.metric.toUpperCase()} ${plusMinus(p.value, Number.isFinite(p.std) ? p.std : null)} (${c.label})`;
    const where = [...spent, `NFE ${p.point.nfe}`].join(", ");
    readout.replaceChildren(make("bdi", {}, rowName(p.row)), `${p.label ? `, ${p.label}` : ""}: ${number} at ${where}`);
  }

  function nearest(event) {
    const box = plot.getBoundingClientRect();
    const [u, v] = [event.clientX - box.left, event.clientY - box.top];
    const distance = (p) => Math.hypot(p.level ? 0 : p.x - u, p.y - v);
    const found = points.reduce((best, p, i) => (best < 0 || distance(p) < distance(points[best]) ? i : best), -1);
    if (found >= 0 && distance(points[found]) < 60) read(found);
  }

  function walk(event) {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!step || !points.length) return;
    event.preventDefault();
    if (at === null) return read(0);
    const here = points[at];
    if (step[0]) {
      const next = at + step[0];
      if (points[next]?.group === here.group) read(next);
      return;
    }
    const groups = [...new Set(points.map((p) => p.group))];
    const other = groups[(groups.indexOf(here.group) + step[1] + groups.length) % groups.length];
    const there = points.map((p, i) => [p, i]).filter(([p]) => p.group === other);
    read(there.reduce((a, b) => (Math.abs(b[0].x - here.x) < Math.abs(a[0].x - here.x) ? b : a))[1]);
  }

  metric.addEventListener("change", list);
  axis.addEventListener("change", redraw);
  scale.addEventListener("change", redraw);
  plot.addEventListener("pointermove", nearest);
  plot.addEventListener("pointerdown", nearest);
  plot.addEventListener("keydown", walk);
  byId("all").addEventListener("click", () => { hidden.set(column(), new Set()); list(); });
  byId("none").addEventListener("click", () => { hidden.set(column(), new Set(report.rows)); list(); });
  new ResizeObserver(() => {
    const before = at;
    redraw();
    if (before !== null) read(before);
  }).observe(plot);
  chosen.listeners.push(offer);
  offer();
}

// A map from values to pixels with some air at both ends, and its ticks.
function placed(values, from, to, log, whole = false) {
  let [low, high] = values.length ? [Math.min(...values), Math.max(...values)] : log ? [1, 10] : [0, 1];
  const [forth, back] = log ? [Math.log10, (v) => 10 ** v] : [(v) => v, (v) => v];
  [low, high] = [forth(low), forth(high)];
  const air = (high - low) * 0.05 || (log ? 0.15 : Math.abs(high) * 0.1 || 1);
  [low, high] = [!log && low >= 0 && low - air < 0 ? 0 : low - air, high + air];
  const at = (value) => from + ((forth(value) - low) / (high - low)) * (to - from);
  at.ticks = (room) => (log ? logTicks(back(low), back(high), room) : linearTicks(low, high, room)).filter((v) => !whole || Number.isInteger(v));
  return at;
}

function linearTicks(low, high, room) {
  const rough = (high - low) / room;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = unit * [1, 2, 5, 10].find((m) => m * unit >= rough);
  const ticks = [];
  for (let i = Math.ceil(low / step); i * step <= high; i++) ticks.push(Number((i * step).toPrecision(12)));
  return ticks;
}

// Decades, and between them as many round numbers as there is room for.
function logTicks(low, high, room) {
  const of = (parts) => {
    const ticks = [];
    for (let e = Math.floor(Math.log10(low)); 10 ** e <= high; e++) {
      for (const part of parts) {
        const tick = Number((part * 10 ** e).toPrecision(12));
        if (tick >= low && tick <= high) ticks.push(tick);
      }
    }
    return ticks;
  };
  for (const parts of [[1, 1.5, 2, 3, 4, 5, 6, 8], [1, 1.5, 2, 3, 5, 7], [1, 2, 5], [1, 3], [1]]) {
    const ticks = of(parts);
    if (ticks.length <= room) return ticks.length < 2 ? linearTicks(low, high, room) : ticks;
  }
  const decades = of([1]);
  return decades.filter((_, i) => i % Math.ceil(decades.length / room) === 0);
}
