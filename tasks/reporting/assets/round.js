// The page of a round: summary, funnel, domains, figures, cards.
"use strict";

(() => {
  const { element, foreign, visible, count, fixed, percent, duration, shareText, section, table, bar, main, need } = ActiveZero;

  function summary(round) {
    const seconds = round.stages.reduce((sum, stage) => sum + stage.seconds, 0);
    const decision = round.decision;
    const said = decision
      ? element("p", { class: "decision" }, element("span", { class: `badge ${decision.promoted ? "kept" : "wrong"}` }, decision.promoted ? "promoted" : "rolled back"), ` ${decision.why}`)
      : element("p", { class: "decision" }, element("span", { class: "badge lost" }, "in progress"), ` Complete stages: ${count(round.stages.length)}.`);
    return section("summary", "Summary", said, live(round), round.problem ? element("p", { class: "problem" }, visible(round.problem)) : null,
      round.changes ? Figures.changes(round.changes) : null,
      round.sinceBase && round.sinceBase.length ? element("details", {}, element("summary", {}, "Since the base model"), Figures.changes(round.sinceBase)) : null,
      element("ul", { class: "tiles" }, tiles(round)),
      element("ol", { class: "stages" }, round.stages.map((stage) => element("li", {},
        element("b", {}, stage.name), element("span", {}, duration(stage.seconds)), element("span", {}, ActiveZero.rows(stage.rows))))),
      element("p", { class: "small" }, `Time of all stages: ${duration(seconds)}. A reused stage keeps the time of its run.`));
  }

  const EVERY = 3000, SILENT = 60;

  // Where a server offers the state of a round in progress: the present stage, asked for again and again.
  function live(round) {
    const address = document.body.dataset.live;
    if (!address) return null;
    const line = element("p", { class: "live", role: "status" }, "Asking what happens now.");
    const ask = async () => {
      try {
        const state = await (await fetch(address, { cache: "no-store" })).json();
        if (state.finished || state.complete.length !== round.stages.length) return location.reload();
        line.textContent = told(state);
      } catch (error) {
        line.textContent = `The server does not answer: ${error.message}`;
      }
      setTimeout(ask, EVERY);
    };
    ask();
    return line;
  }

  function told({ complete, stages, at_work, present, age }) {
    const done = `${complete.length} of ${stages} stages are complete. `;
    if (!at_work) return `${done}No process works on the round: resume it with active-zero iterate.`;
    if (!present) return `${done}The next stage has just begun, or takes only seconds.`;
    return `${done}${present} (${duration(age)} ago${age > SILENT ? "; the process may have ended" : ""})`;
  }

  function tiles(round) {
    const found = [];
    const tile = (title, value, note) => found.push(element("li", {}, element("span", {}, title), element("b", {}, value), element("span", { class: "small" }, note)));
    const trained = round.domains.reduce((sum, row) => sum + row.trained, 0);
    const questions = round.domains.reduce((sum, row) => sum + row.questions, 0);
    const answered = round.agreement.reduce((sum, row) => sum + row.questions, 0);
    if (questions) tile("questions trained on", count(trained), `of ${count(questions)} written, ${count(answered)} answered`);
    if (round.window) {
      const inside = round.agreement.reduce((sum, row) => sum + row.questions, 0);
      if (inside) tile("window of agreement", `${fixed(Math.max(round.window.low, round.window.floor), 2)} to ${fixed(round.window.high, 2)}`,
        round.window.floor > round.window.low ? `raised from ${fixed(round.window.low, 2)}: gold items below were labelled wrong too often` : "as configured");
    }
    if (round.gold) tile("label accuracy by gold items", percent(round.gold.right / (round.gold.of || 1)), `${shareText(round.gold)} in the window`);
    if (round.labels) tile("label accuracy by the oracle", round.labels.of ? percent(round.labels.right / round.labels.of) : "unknown", `${shareText(round.labels)} answerable; ${count(round.labels.questions)} trained on`);
    if (round.coverage && round.coverage.length) {
      const all = round.coverage[0], even = all.distinct ? all.effective / all.distinct : 0;
      tile("did the search collapse?", even > 0.5 ? "no" : even > 0.2 ? "in part" : "yes",
        `${count(all.distinct)} distinct pictures in ${count(all.retrieved)} results; effective number ${count(all.effective)} (${percent(even, 0)} of the distinct; below 50 %: in part, below 20 %: yes)`);
    }
    return found;
  }

  const GO_ON = { search: "find pictures", pool: "in the pool", parsed: "can be asked", "trained on": "trained on" };

  function funnel(round) {
    const levels = round.funnel.map((level) => {
      const lost = level.lost.reduce((sum, [, size]) => sum + size, 0) + level.empty;
      const kept = level.total - lost;
      const reason = level.goOn === "trained on" ? "trained on" : null;
      const segment = (title, size, kind, filters) => {
        const share = `${count(size)} (${percent(size / level.total)})`;
        const content = [bar([{ size, kind }], level.total), element("span", { class: "what" }, visible(title)), element("span", { class: "number" }, share)];
        return element("li", {}, filters
          ? element("button", { type: "button", class: "segment", onclick: () => Cards.only(filters) }, content)
          : element("span", { class: "segment" }, content));
      };
      return element("li", { class: "level" }, element("h3", {}, `${count(level.total)} ${level.name}`),
        element("ul", {},
          segment(GO_ON[level.goOn], kept, "kept", reason ? { reason } : null),
          level.empty ? segment("found nothing", level.empty, "lost", null) : null,
          level.lost.map(([outcome, size]) => segment(outcome.replace(/^(search|synthesize): /, ""), size, "lost", { reason: outcome, show: outcome.startsWith("search: ") ? "search losses" : "questions" }))));
    });
    return section("funnel", "From queries to trained questions",
      element("p", { class: "small" }, "Choose a bar to see its cards. Percentages are of the level."), element("ol", { class: "funnel" }, levels));
  }

  function domains(round) {
    const most = Math.max(1, ...round.domains.map((row) => row.trained));
    const button = (domain) => element("button", { type: "button", class: "link", onclick: () => Cards.only({ domain }) }, foreign(domain));
    const wrong = (row) => (row.wrong ? element("button", { type: "button", class: "link", "data-number": "yes", onclick: () => Cards.only({ domain: row.domain, reason: "trained on", label: "wrong" }) }, count(row.wrong)) : "0");
    const rows = round.domains.map((row) => [
      button(row.domain), row.difficulty ? `${fixed(row.difficulty[0], 2)} (${fixed(row.difficulty[1], 2)} to ${fixed(row.difficulty[2], 2)})` : "not probed",
      row.weight === null ? "-" : percent(row.weight), row.pool, row.questions, row.answered,
      element("span", { class: "with-bar" }, bar([{ size: row.trained - row.wrong, kind: "kept" }, { size: row.wrong, kind: "wrong" }], most), count(row.trained)),
      row.labels.of ? wrong(row) : "unknown", row.labels.of ? shareText(row.labels) : "unknown",
    ]);
    return section("domains", "Domains",
      table("Domains of the queries, most wrong labels first", ["domain", "difficulty before (95 %)", "share of queries", "pictures in the pool", "questions written", "answered", "trained on", "of these, labels wrong", "label accuracy, % (95 %)"], rows),
      round.shown ? shown(round.shown) : null, round.coverage ? coverage(round.coverage) : null);
  }

  function shown(sources) {
    const totals = sources.map(([, counts]) => counts.reduce((sum, [, size]) => sum + size, 0));
    const maps = sources.map(([, counts]) => new Map(counts));
    const names = [...new Set(maps.flatMap((map) => [...map.keys()]))].sort();
    const share = (name, n) => (maps[n].get(name) || 0) / Math.max(1, totals[n]);
    const most = Math.max(...names.flatMap((name) => maps.map((_, n) => share(name, n))));
    const rows = names.map((name) => [foreign(name), ...maps.map((map, n) => element("span", { class: "with-bar" },
      bar([{ size: share(name, n), kind: n === maps.length - 1 ? "kept" : "lost" }], most), `${percent(share(name, n))} (${count(map.get(name) || 0)})`))]);
    return element("details", {}, element("summary", {}, "Domain mix: corpus, pool and curriculum"),
      table("What the pictures show, where that is known; else the domain of their query", ["domain", ...sources.map(([source]) => source)], rows));
  }

  function coverage(rows) {
    return element("details", {}, element("summary", {}, "Search by domain"),
      table("Coverage of the search. It collapses if few pictures are distinct, or if the effective number (exp of the entropy) is far below the distinct",
        ["domain", "results", "distinct pictures", "effective number", "share of the corpus"],
        rows.map((row) => [row.domain ? foreign(row.domain) : "all", row.retrieved, row.distinct, fixed(row.effective, 1), percent(row.share)])));
  }

  function figures(round) {
    if (!round.agreement.some(({ questions }) => questions)) return null;
    const most = Math.max(1, ...round.agreement.map((row) => row.questions));
    const tenth = (row) => `${fixed(row.tenth / 10, 1)} to ${fixed((row.tenth + 1) / 10, 1)}`;
    const rows = round.agreement.map((row) => [
      row.questions ? element("button", { type: "button", class: "link", onclick: () => Cards.only({ agreement: tenth(row) }) }, tenth(row)) : tenth(row),
      element("span", { class: "with-bar" }, bar([{ size: row.trained, kind: "kept" }, { size: row.questions - row.trained, kind: "lost" }], most), count(row.questions)),
      row.trained,
      row.labels.of ? element("span", { class: "with-bar" }, bar([{ size: row.labels.right, kind: "kept" }, { size: row.labels.of - row.labels.right, kind: "wrong" }], row.labels.of), shareText(row.labels)) : "unknown",
    ]);
    const lines = (name) => (round.training || []).filter(({ step }) => step.length).map((role) => ({ name: role.role, x: role.step, y: role[name] }));
    const terms = (round.training || []).filter(({ terms: each }) => each.length).map((role) =>
      Figures.curves(`Reward terms of the ${role.role}`, "means over a step's rollouts", role.terms.map(([name, y]) => ({ name, x: role.step, y }))));
    return section("figures", "Agreement, labels and training",
      table("Agreement of the answered questions, and whether their labels are right", ["agreement", "questions", "trained on", "labels right, % (95 %)"], rows),
      round.training ? element("div", { class: "grid" }, Figures.curves("Mean reward", "of a step's rollouts", lines("reward")),
        Figures.curves("KL divergence", "from the round's start", lines("kl")), Figures.curves("Length of replies", "tokens", lines("tokens")), terms) : null);
  }

  function notes(round) {
    return section("notes", "Notes",
      element("p", {}, "Made from the round's artifacts alone. The oracle's answers are measured after all training, and used for nothing else."),
      element("h3", {}, "Not recorded"), element("ul", {}, round.notRecorded.map((line) => element("li", {}, line))),
      element("h3", {}, "Outcomes"), element("dl", {}, round.explanations.flatMap(([name, text]) => [element("dt", {}, name), element("dd", {}, text)])),
      round.replies ? element("p", { class: "small" }, `Evaluation: ${count(round.replies.total)} replies, ${count(round.replies.unparsed)} without an answer, ${count(round.replies.truncated)} cut off, ${count(round.replies.timeouts)} grader time-outs.`) : null);
  }

  async function draw() {
    const round = await need("round");
    main(summary(round), round.funnel.length ? funnel(round) : null, round.domains.length ? domains(round) : null, figures(round));
    const [columns, pictures] = [await need("columns"), await need("pictures")];
    if (columns.id.length) Cards.show(columns, pictures, round);
    main(notes(round));
    ActiveZero.navigation(["summary", "Summary"], ["funnel", "Funnel"], ["domains", "Domains"], ["figures", "Figures"], ["questions", "Questions"], ["notes", "Notes"]);
    document.documentElement.dataset.ready = "yes";
  }

  draw().catch(ActiveZero.failed);
})();
