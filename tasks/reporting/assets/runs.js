// The page of all runs in a store.
"use strict";

(() => {
  const { element, fixed, section, table, main, need } = ActiveZero;

  function row(run) {
    const name = element("a", { href: `runs/${run.run}/index.html` }, run.run);
    const latest = run.latest ? element("a", { href: `runs/${run.run}/round-${String(run.latest).padStart(3, "0")}/index.html` }, `round ${run.latest}`) : "none";
    return [name, run.rounds, run.promoted.length ? run.promoted.join(", ") : "none", run.team ? `round ${run.team}` : "the base model",
      run.accuracy === null ? "unknown" : fixed(run.accuracy, 1), run.state, latest];
  }

  async function draw() {
    const { store, runs } = await need("runs");
    main(section("runs", "Runs of this store", element("p", { class: "small" }, `Store: ${store}`),
      runs.length ? table("One line a run; accuracy: mean of the samples on the benchmark that decides, in points", ["run", "complete rounds", "promoted rounds", "current team", "accuracy, points", "state", "latest"], runs.map(row))
        : element("p", {}, "No runs yet: start one with active-zero iterate.")));
    document.documentElement.dataset.ready = "yes";
  }

  draw().catch(ActiveZero.failed);
})();
