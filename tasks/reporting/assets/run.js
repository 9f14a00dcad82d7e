// The page of a run: rounds side by side, the map of the frontier, the difference of two rounds.
"use strict";

(() => {
  const { element, foreign, visible, count, fixed, signed, percent, duration, shareText, section, table, bar, main, need } = ActiveZero;

  function sideBySide({ rounds }) {
    const head = ["", ...rounds.map(({ round }) => `round ${round}`)];
    const row = (title, of) => [title, ...rounds.map((each) => of(each) ?? "unknown")];
    const figures = [...new Set(rounds.flatMap(({ changes }) => (changes || []).map((each) => `${each.benchmark}, ${each.figure}`)))];
    const change = (each, name) => (each.changes || []).find((one) => `${one.benchmark}, ${one.figure}` === name);
    const even = ({ coverage }) => coverage && coverage.distinct ? `${count(coverage.effective)} of ${count(coverage.distinct)} (${percent(coverage.effective / coverage.distinct, 0)})` : null;
    const rows = [
      row("page", ({ folder }) => element("a", { href: `${folder}/index.html` }, folder)),
      row("outcome", ({ decision }) => decision ? element("span", { class: `badge ${decision.promoted ? "kept" : "wrong"}` }, decision.promoted ? "promoted" : "rolled back") : "in progress"),
      ...figures.map((name) => row(`${name}, points`, (each) => {
        const found = change(each, name);
        return found && `${fixed(found.before, 1)} → ${fixed(found.after, 1)}: ${signed(found.after - found.before, 1)} (${signed(found.low, 1)} to ${signed(found.high, 1)})`;
      })),
      row("label accuracy by gold items", ({ gold }) => gold && shareText(gold)),
      row("label accuracy by the oracle", ({ labels }) => labels && shareText(labels)),
      row("questions answered", ({ answered }) => count(answered)),
      row("questions trained on", ({ trained, answered }) => `${count(trained)} (${percent(trained / Math.max(1, answered))})`),
      row("window of agreement", ({ window: each }) => each && `${fixed(Math.max(each.low, each.floor), 2)} to ${fixed(each.high, 2)}`),
      row("search: effective number of distinct pictures", even),
      ...stageNames(rounds).map((name) => row(`time of ${name}`, ({ stages }) => {
        const stage = stages.find((each) => each.name === name);
        return stage && duration(stage.seconds);
      })),
      row("time of all stages", ({ stages }) => duration(stages.reduce((sum, stage) => sum + stage.seconds, 0))),
    ];
    return section("rounds", "Rounds side by side", scores(rounds), table("Scores with the 95 % interval of the gain; shares with their 95 % interval. Tokens are not recorded by stage.", head, rows));
  }

  function stageNames(rounds) {
    return [...new Set(rounds.flatMap(({ stages }) => stages.map(({ name }) => name)))];
  }

  // The scores before the first and after each round, as curves. A round that was rolled back leads nowhere: its dot alone counts.
  function scores(rounds) {
    const played = rounds.filter(({ changes }) => changes);
    if (!played.length) return null;
    const names = played[0].changes.map((each) => `${each.benchmark}, ${each.figure}`);
    const lines = names.map((name) => {
      const found = played.map(({ round, changes }) => [round, changes.find((each) => `${each.benchmark}, ${each.figure}` === name)]).filter(([, each]) => each);
      return { name, x: [found[0][0] - 1, ...found.map(([round]) => round)], y: [found[0][1].before, ...found.map(([, each]) => each.after)] };
    });
    const accuracy = (name, of) => ({ name, x: played.filter(of).map(({ round }) => round), y: played.filter(of).map((each) => (100 * of(each).right) / Math.max(1, of(each).of)) });
    const labels = [accuracy("gold items", ({ gold }) => gold), accuracy("oracle", ({ labels: each }) => each)].filter(({ x }) => x.length);
    return element("div", { class: "grid" }, Figures.curves("Scores after each round", "points; first dot: before the first round", lines, "round"), labels.length ? Figures.curves("Label accuracy", "%", labels, "round") : null);
  }

  function mix({ rounds }) {
    if (!rounds.some(({ domains }) => domains.length)) return null;
    const names = [...new Set(rounds.flatMap(({ domains }) => domains.map(({ domain }) => domain)))];
    const share = (each, name, what) => {
      const whole = each.domains.reduce((sum, row) => sum + row[what], 0), found = each.domains.find(({ domain }) => domain === name);
      return found ? found[what] / Math.max(1, whole) : 0;
    };
    const last = rounds[rounds.length - 1];
    names.sort((a, b) => share(last, b, "trained") - share(last, a, "trained") || a.localeCompare(b));
    const most = Math.max(...names.flatMap((name) => rounds.map((each) => Math.max(share(each, name, "trained"), share(each, name, "pool")))));
    const cell = (each, name) => element("span", { class: "mix" },
      bar([{ size: share(each, name, "pool"), kind: "lost" }], most), percent(share(each, name, "pool")),
      bar([{ size: share(each, name, "trained"), kind: "kept" }], most), percent(share(each, name, "trained")));
    return section("mix", "Domains by round", table("Share of the pool (grey) and of the questions trained on (green), by the query's domain", ["domain", ...rounds.map(({ round }) => `round ${round}`)],
      names.map((name) => [foreign(name), ...rounds.map((each) => cell(each, name))])));
  }

  function difference({ rounds }) {
    const options = () => rounds.map(({ round }) => element("option", { value: round }, `round ${round}`));
    const body = element("div", { "aria-live": "polite" });
    const from = element("select", { id: "difference-from", onchange: () => compare() }, options()), to = element("select", { id: "difference-to", onchange: () => compare() }, options());
    from.value = rounds[rounds.length - 2].round;
    to.value = rounds[rounds.length - 1].round;
    const name = (round) => `questions-${String(round).padStart(3, "0")}`;
    async function compare() {
      const [before, after] = [await need(name(from.value)), await need(name(to.value))];
      body.replaceChildren(...compared(before, after, from.value, to.value, rounds));
      document.documentElement.dataset.compared = `${from.value}-${to.value}`;
    }
    compare().catch(ActiveZero.failed);
    return section("difference", "Difference of two rounds",
      element("div", { class: "filters" }, element("div", { class: "control" }, element("label", { for: "difference-from" }, "From"), from), element("div", { class: "control" }, element("label", { for: "difference-to" }, "To"), to)), body);
  }

  const MOST = 200;

  function compared(before, after, from, to, rounds) {
    const question = (rows, n) => `${rows.key[n]}\n${rows.text[n].toLowerCase()}`;
    const earlier = new Map(before.text.map((_, n) => [question(before, n), n]));
    const both = after.text.map((_, n) => [earlier.get(question(after, n)), n]).filter(([old]) => old !== undefined);
    const outcome = (rows, n) => rows.outcomes[rows.outcome[n]];
    const moved = both.filter(([a, b]) => outcome(before, a) !== outcome(after, b));
    const counts = new Map();
    for (const [a, b] of moved) {
      const side = JSON.stringify([outcome(before, a), outcome(after, b)]);
      counts.set(side, (counts.get(side) || 0) + 1);
    }
    const rows = [...counts].sort((a, b) => b[1] - a[1]).map(([side, size]) => [...JSON.parse(side).map((each) => visible(each)), size]);
    const agreement = (rows_, n) => (rows_.agreement[n] === null ? "none" : fixed(rows_.agreement[n], 2));
    const link = (round, n, rows_) => {
      const found = rounds.find((each) => String(each.round) === round);
      return element("a", { href: `${found.folder}/index.html#${new URLSearchParams({ q: `${rows_.key[n]} ${rows_.text[n]}`.slice(0, 190) })}` }, foreign(rows_.text[n].slice(0, 120)));
    };
    const listed = moved.slice(0, MOST).map(([a, b]) => [link(to, b, after), foreign(after.domain[b]),
      `${visible(outcome(before, a))}, ${agreement(before, a)}`, `${visible(outcome(after, b))}, ${agreement(after, b)}`]);
    return [
      element("p", {}, `${count(both.length)} questions were asked in both rounds, about the same picture in the same words; ${count(moved.length)} changed side. ${count(before.text.length - both.length)} were asked in round ${from} only, ${count(after.text.length - both.length)} in round ${to} only.`),
      came(before, after, from, to),
      rows.length ? table("How questions changed side", [`round ${from}`, `round ${to}`, "questions"], rows) : null,
      listed.length ? element("details", {}, element("summary", {}, "Which questions"), table(`Questions that changed side, with their agreement${moved.length > MOST ? ` (the first ${MOST} of ${count(moved.length)})` : ""}`, ["question", "domain", `round ${from}`, `round ${to}`], listed)) : null,
    ].filter(Boolean);
  }

  function came(before, after, from, to) {
    const trained = (rows) => new Set(rows.domain.filter((_, n) => rows.outcomes[rows.outcome[n]] === "trained on"));
    const [old, now] = [trained(before), trained(after)];
    const list = (names) => (names.length ? names.map((name) => visible(name)).join(", ") : "none");
    return element("p", {}, `Domains trained on in round ${to} and not in ${from}: ${list([...now].filter((name) => !old.has(name)))}. Only in round ${from}: ${list([...old].filter((name) => !now.has(name)))}.`);
  }

  async function draw() {
    const run = await need("run");
    if (!run.rounds.length) return main(element("p", {}, "No round of this run has begun."));
    main(sideBySide(run), FrontierMap.show(await need("map")), mix(run), run.rounds.length > 1 ? difference(run) : null);
    ActiveZero.navigation(["rounds", "Rounds"], ["map", "Map"], ["mix", "Domains"], ["difference", "Difference"]);
    document.documentElement.dataset.ready = "yes";
  }

  draw().catch(ActiveZero.failed);
})();
