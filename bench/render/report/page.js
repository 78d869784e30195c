// Puts the parts together: the head of the page, its theme, and what is not in the leaderboard.

function buildHead() {
  const teachers = [...new Set(report.rows.map((row) => row.teacher))];
  const select = byId("teacher");
  select.append(make("option", { value: "" }, "all"), ...teachers.map((name) => make("option", { value: name }, name)));
  byId("teacher-choice").hidden = teachers.length < 2;
  select.addEventListener("change", () => chooseTeacher(select.value));
  const whose = teachers.length === 1 ? ` of ${teachers[0]}` : ` of ${teachers.length} teachers`;
  const made = `${report.made.slice(0, 16).replace("T", " ")} UTC`;
  byId("summary").textContent = `${report.rows.length} rows from ${report.runs.length} runs${whose}, made ${made}`;
  document.title = `distill-bench report${teachers.length === 1 ? `: ${teachers[0]}` : ""}`;
}

function buildTheme() {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
  const name = () => { byId("theme").textContent = dark() ? "light colours" : "dark colours"; };
  byId("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = dark() ? "light" : "dark";
    name();
  });
  system.addEventListener("change", name);
  name();
}

function buildRest() {
  const listed = new Set(report.rows.flatMap((row) => row.runs));
  const others = report.runs.filter((_, i) => !listed.has(i));
  const rest = byId("rest");
  if (report.skipped.length) {
    rest.append(make("h3", {}, "skipped"), make("ul", { id: "skipped" }, ...report.skipped.map((text) => make("li", {}, text))));
  }
  if (others.length) {
    const state = (run) => (run.status === "done" ? "done, and measured nothing" : run.status === "running" ? "running, or stopped without a word" : run.status);
    rest.append(make("h3", {}, "not finished, or not measured"));
    rest.append(make("div", { id: "unfinished" }, ...others.map((run) => runDetails(run, { label: `${run.method}, seed ${run.seed}: ${state(run)}` }))));
  }
  if (!rest.hasChildNodes()) rest.append(make("p", { className: "note" }, "Nothing: every record could be read, and every run is finished and measured."));
}

buildHead();
buildTheme();
buildTable();
buildCurves();
buildSamples();
buildRest();
