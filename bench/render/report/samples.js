// Sample grids side by side: the same noise, one checkpoint, two or more runs.

const MOST_PANELS = 6;

function buildSamples() {
  const [slider, where, panels, add] = ["checkpoint", "checkpoint-at", "panels", "add"].map(byId);
  const rows = () => report.rows.filter((row) => inView(row) && row.runs.some(hasGrids));
  const hasGrids = (i) => report.runs[i].points.some((p) => "grid" in p);
  let picked = []; // the run in each panel
  let stops = [];
  let images = Infinity; // the checkpoint that was chosen; each run shows its last one up to there

  function choose() {
    const found = rows();
    const first = found.filter((row) => row.teacher === found[0].teacher);
    const best = [...first.filter((r) => !r.updates).slice(0, 1), ...first.filter((r) => r.updates)].slice(0, 3);
    picked = best.map((row) => row.runs.find(hasGrids));
    byId("samples").hidden = !picked.length;
    const left = report.leftOut ? ` ${report.leftOut} grids were left out to keep this page under 20 MB; they lie in the folders of their runs.` : "";
    byId("samples-note").textContent = picked.length
      ? `Image i of every grid comes from the same noise. A run without a grid at the chosen checkpoint shows its last one before.${left}`
      : "No run left a sample grid.";
    if (picked.length) build();
  }

  const rowOf = new Map(report.rows.flatMap((row) => row.runs.map((i) => [i, row])));
  const title = (i) => rowName(rowOf.get(i)) + (rowOf.get(i).runs.length > 1 ? `, seed ${report.runs[i].seed}` : "");
  const name = (i) => make("bdi", {}, title(i)); // again below the picture, as a list on a phone cuts it

  function build() {
    stops = [...new Set(picked.flatMap((i) => report.runs[i].points.filter((p) => "grid" in p).map((p) => p.images)))].sort((a, b) => a - b);
    slider.max = stops.length - 1;
    slider.disabled = stops.length < 2;
    const place = stops.findLastIndex((stop) => stop <= images);
    slider.value = Math.max(place, 0);
    add.disabled = picked.length >= MOST_PANELS;
    panels.replaceChildren(...picked.map(panel));
    show();
  }

  function panel(run, place) {
    const select = make("select", { ariaLabel: `run in panel ${place + 1}` });
    for (const row of rows()) {
      select.append(...row.runs.filter(hasGrids).map((i) => make("option", { value: i, selected: i === run }, title(i))));
    }
    select.addEventListener("change", () => {
      picked[place] = Number(select.value);
      build();
      panels.children[place].querySelector("select").focus();
    });
    const remove = make("button", { type: "button", title: "take this panel away", ariaLabel: `take panel ${place + 1} away` }, "×");
    remove.disabled = picked.length < 2;
    remove.addEventListener("click", () => {
      picked.splice(place, 1);
      build();
      panels.children[Math.min(place, picked.length - 1)].querySelector("select").focus();
    });
    return make("figure", { className: "panel" }, make("div", { className: "controls" }, select, remove), make("div"), make("figcaption"));
  }

  function show() {
    const stop = stops[Number(slider.value)];
    where.textContent = `${quantity(stop)} images`;
    slider.setAttribute("aria-valuetext", where.textContent);
    picked.forEach((i, place) => {
      const run = report.runs[i];
      const [, body, caption] = panels.children[place].children;
      const point = run.points.filter((p) => "grid" in p && p.images <= stop).at(-1);
      if (!point) {
        body.replaceChildren(make("p", { className: "empty" }, "no grid up to here"));
        caption.replaceChildren(name(i));
        return;
      }
      if (point.grid < 0) {
        const file = `${run.id}/samples/${String(point.images).padStart(12, "0")}.png`;
        body.replaceChildren(make("p", { className: "empty" }, `not in this page, to keep it small: ${file}`));
      } else {
        const img = body.querySelector("img") ?? make("img");
        img.src = report.pictures[point.grid];
        img.alt = `samples of ${run.method}, seed ${run.seed}, at ${quantity(point.images)} images`;
        body.replaceChildren(img);
      }
      const numbers = report.columns.flatMap((c, j) => (typeof point.values[j] === "number" ? [`${c.metric.toUpperCase()} ${plusMinus(point.values[j])} (${c.label})`] : []));
      const spent = point.updates ? `${quantity(point.images)} images, ${duration(point.seconds)}` : run.points.length > 1 ? "before training" : "no training";
      caption.replaceChildren(name(i), make("span", {}, [`${spent}, NFE ${point.nfe}`, ...numbers].join(" · ")));
    });
  }

  slider.addEventListener("input", () => {
    images = stops[Number(slider.value)];
    show();
  });
  add.addEventListener("click", () => {
    const candidates = rows().map((row) => row.runs.find(hasGrids));
    picked.push(candidates.find((i) => !picked.includes(i)) ?? candidates[0]);
    build();
    panels.lastChild.querySelector("select").focus();
  });
  chosen.listeners.push(choose);
  choose();
}
