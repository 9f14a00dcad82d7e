// The cards of a round: filters with counts, sorting, search, pages. The address holds the view: #domain=clocks&page=2.
"use strict";

const Cards = (() => {
  const { element, foreign, visible, count, fixed, need } = ActiveZero;
  const PAGE = 48;
  const SHOWS = ["questions", "gold items", "search losses"];
  const LABELS = ["right", "wrong", "unknown"];
  const SORTS = {
    order: "order of the pool", "agreement, low first": "agreement, low first", "agreement, high first": "agreement, high first",
    domain: "domain", "score, high first": "score of the picture, high first", "text, long first": "text, long first",
  };
  const FACETS = ["show", "domain", "reason", "label", "agreement"];
  const NO_AGREEMENT = "none";
  const FIRST = { show: "questions", sort: "order", page: "1" };

  let columns, pictures, explanations, trainingTold, blindTold, names, codes, haystack, order, state, view;

  // The view that an address asks for. What the page does not know is left out, and told.
  function read(address) {
    const asked = new URLSearchParams(address.replace(/^#/, ""));
    const known = {}, unknown = [];
    for (const [name, value] of asked) {
      const fits = name === "q" || (name === "page" && /^[1-9]\d*$/.test(value)) || (name === "sort" && value in SORTS)
        || (FACETS.includes(name) && names[name].includes(value)) || (name === "show" && value === "all");
      if (fits) known[name] = value;
      else unknown.push(`${name}=${value}`);
    }
    return { view: { ...FIRST, ...known }, unknown };
  }

  function write(next) {
    const kept = Object.entries(next).filter(([name, value]) => value && value !== FIRST[name] && value !== "order");
    const text = new URLSearchParams(kept).toString();
    return text ? `#${text}` : "#";
  }

  function prepare() {
    const size = columns.id.length;
    names = {
      show: SHOWS, domain: columns.domains, reason: columns.outcomes, label: LABELS,
      agreement: [...Array(10).keys()].map((tenth) => tenthName(tenth)).concat(NO_AGREEMENT),
    };
    const label = (right) => (right === null ? 2 : right ? 0 : 1);
    const tenth = (share) => (share === null ? 10 : Math.min(9, Math.floor(share * 10 + 1e-5)));
    codes = {
      show: Uint8Array.from(columns.show, (name) => SHOWS.indexOf(name)),
      domain: Uint16Array.from(columns.domain), reason: Uint16Array.from(columns.outcome),
      label: Uint8Array.from(columns.right, label), agreement: Uint8Array.from(columns.agreement, tenth),
    };
    order = Uint32Array.from({ length: size }, (_, row) => row);
  }

  function tenthName(tenth) {
    return `${fixed(tenth / 10, 1)} to ${fixed((tenth + 1) / 10, 1)}`;
  }

  function haystacks() {
    haystack ||= columns.text.map((text, row) => {
      const query = columns.query[row] < 0 ? "" : columns.queries[columns.query[row]];
      return `${text}\n${columns.label[row] ?? ""}\n${query}\n${columns.id[row]}`.toLowerCase();
    });
    return haystack;
  }

  // The rows that pass all filters, and for each filter the counts of its values among the rows that pass the others.
  function compute(asked) {
    const wanted = FACETS.map((facet) => (asked[facet] && asked[facet] !== "all" ? names[facet].indexOf(asked[facet]) : -1));
    const columns_ = FACETS.map((facet) => codes[facet]);
    const counts = FACETS.map((facet) => new Uint32Array(names[facet].length));
    const words = (asked.q || "").toLowerCase().split(/\s+/).filter(Boolean);
    const texts = words.length ? haystacks() : null;
    const rows = [];
    for (let row = 0; row < order.length; row++) {
      if (texts && !words.every((word) => texts[row].includes(word))) continue;
      let failing = -1, failures = 0;
      for (let facet = 0; facet < wanted.length && failures < 2; facet++) {
        if (wanted[facet] >= 0 && columns_[facet][row] !== wanted[facet]) { failing = facet; failures++; }
      }
      if (failures === 0) {
        rows.push(row);
        for (let facet = 0; facet < counts.length; facet++) counts[facet][columns_[facet][row]]++;
      } else if (failures === 1) counts[failing][columns_[failing][row]]++;
    }
    return { rows: sorted(rows, asked.sort), counts };
  }

  function sorted(rows, by) {
    const agreement = (row) => columns.agreement[row], score = (row) => columns.score[row];
    const last = (value, other) => (value === null ? other : value);
    const compare = {
      "agreement, low first": (a, b) => last(agreement(a), 2) - last(agreement(b), 2),
      "agreement, high first": (a, b) => last(agreement(b), -1) - last(agreement(a), -1),
      domain: (a, b) => columns.domains[columns.domain[a]].localeCompare(columns.domains[columns.domain[b]]),
      "score, high first": (a, b) => last(score(b), -2) - last(score(a), -2),
      "text, long first": (a, b) => columns.text[b].length - columns.text[a].length,
    }[by];
    return compare ? rows.sort((a, b) => compare(a, b) || a - b) : rows;
  }

  // Show another view; the address changes with it. Without `keepPage` the first page is shown.
  function choose(changes, keepPage = false) {
    const next = { ...state, ...(keepPage ? {} : { page: "1" }), ...changes };
    if (write(next) === (location.hash || "#")) return update(next);
    history.pushState(null, "", write(next));
    return update(next);
  }

  // Show exactly one filter, from a funnel or a table, and go to the cards.
  function only(filters) {
    choose({ domain: "", reason: "", label: "", agreement: "", q: "", show: "questions", ...filters });
    const top = document.getElementById("questions");
    top.tabIndex = -1;
    top.focus({ preventScroll: true });
    top.scrollIntoView();
  }

  function update(next) {
    state = next;
    const { rows, counts } = compute(state);
    const pages = Math.max(1, Math.ceil(rows.length / PAGE)), page = Math.min(Number(state.page), pages);
    FACETS.forEach((facet, number) => fill(facet, counts[number]));
    view.search.value = state.q || "";
    view.sort.value = state.sort;
    const from = (page - 1) * PAGE, shown = rows.slice(from, from + PAGE);
    view.count.textContent = rows.length
      ? `${count(from + 1)} to ${count(from + shown.length)} of ${count(rows.length)} ${state.show === "all" ? "cards" : state.show}`
      : "Nothing passes all these filters.";
    view.list.replaceChildren(...shown.map(card));
    for (const pager of view.pagers) pager.replaceChildren(...pagerButtons(page, pages));
    document.documentElement.dataset.rows = rows.length;
    return rows.length;
  }

  function fill(facet, counts) {
    const select = view.selects[facet], chosen = state[facet] || "";
    const total = counts.reduce((sum, each) => sum + each, 0);
    const options = names[facet].map((name, number) => [name, counts[number]]).filter(([name, size]) => size || name === chosen);
    if (facet === "reason" || facet === "domain") options.sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0]));
    const all = element("option", { value: facet === "show" ? "all" : "" }, `all (${count(total)})`);
    select.replaceChildren(all, ...options.map(([name, size]) => element("option", { value: name }, `${visible(name.length > 60 ? `${name.slice(0, 59)}…` : name)} (${count(size)})`)));
    select.value = chosen || (facet === "show" ? "all" : "");
  }

  function pagerButtons(page, pages) {
    const button = (title, to, enabled) => element("button", {
      type: "button", disabled: !enabled, onclick: () => { choose({ page: String(to) }, true); document.getElementById("questions").scrollIntoView(); },
    }, title);
    return [
      button("First", 1, page > 1), button("Previous", page - 1, page > 1),
      element("span", {}, `page ${count(page)} of ${count(pages)}`),
      button("Next", page + 1, page < pages), button("Last", pages, page < pages),
    ];
  }

  // A small picture: its part of a sheet. Width and height are known, so nothing moves when it arrives.
  function picture(number, scale = 1) {
    const width = pictures.width[number], height = pictures.height[number];
    const problem = width ? null : new Map(pictures.problems).get(number) || "no picture";
    if (problem) return element("span", { class: "no-picture" }, problem);
    const sheet = Math.floor(number / pictures.perSheet), place = number % pictures.perSheet;
    const left = (place % pictures.across) * pictures.side, top = Math.floor(place / pictures.across) * pictures.side;
    const image = element("img", {
      src: ActiveZero.pictureAddress(`pictures/${String(sheet).padStart(3, "0")}.webp`), alt: `picture ${pictures.keys[number]}`,
      width, height, loading: "lazy", decoding: "async",
      style: { width: `${width}px`, height: `${height}px`, objectFit: "none", objectPosition: `-${left}px -${top}px` },
    });
    if (scale !== 1) image.style.zoom = scale;
    return image;
  }

  function card(row) {
    const number = columns.picture[row], outcome = columns.outcomes[columns.outcome[row]];
    const agreement = columns.agreement[row], votes = columns.votes[row];
    const total = votes.reduce((sum, [, each]) => sum + each, 0);
    return element("article", { class: "card", "data-id": columns.id[row], "aria-label": outcome },
      number < 0 ? element("span", { class: "no-picture" }, "no picture") : element("button", {
        type: "button", class: "picture", "aria-label": `Enlarge picture ${pictures.keys[number]}`, onclick: () => enlarge(number),
      }, picture(number)),
      element("div", { class: "facts" },
        element("p", { class: "question" }, foreign(columns.text[row])),
        element("p", { class: "outcome" }, element("span", { class: `badge ${outcome === "trained on" ? "kept" : "lost"}` }, visible(outcome)), verdict(row)),
        total ? element("ul", { class: "votes", "aria-label": "answers" }, votes.map(([answer, size]) => voted(answer, size, total, columns.label[row]))) : null,
        agreement === null ? null : element("p", { class: "small" }, `label `, columns.label[row] === null ? "none" : foreign(columns.label[row], { class: "label" }),
          `, agreement ${fixed(agreement, 2)} (${Math.round(agreement * total)} of ${total})`),
        origin(row), more(row)));
  }

  function verdict(row) {
    if (columns.right[row] === null) return null;
    const right = columns.right[row] === 1;
    return element("span", { class: `badge ${right ? "right" : "wrong"}` }, right ? "label right" : "label wrong, the answer is ",
      right ? null : foreign(columns.truth[row]));
  }

  function voted(answer, size, total, label) {
    const wins = answer !== null && answer === label;
    return element("li", { class: wins ? "vote wins" : "vote" },
      ActiveZero.bar([{ size, kind: wins ? "kept" : "lost" }], total),
      answer === null ? element("span", {}, "(no answer)") : foreign(answer), ` × ${size}`);
  }

  function origin(row) {
    const query = columns.query[row], domain = columns.domains[columns.domain[row]];
    if (query < 0) return element("p", { class: "small" }, "domain ", foreign(domain));
    const rank = columns.rank[row], score = columns.score[row];
    return element("p", { class: "small" }, "domain ", foreign(domain), ", found by ", element("q", {}, foreign(columns.queries[query])),
      rank ? `, rank ${rank}, cosine ${fixed(score, 2)}` : ", drawn at random");
  }

  function more(row) {
    const body = element("div", { class: "small" });
    const details = element("details", {}, element("summary", {}, "more"), body);
    details.addEventListener("toggle", () => { if (details.open && !body.hasChildNodes()) open(row, body); });
    return details;
  }

  function open(row, body) {
    const chunk = Math.floor(row / columns.perDetails), name = `details-${String(chunk).padStart(3, "0")}`;
    need(name).then((chunk_) => body.replaceChildren(...detail(row, chunk_[row % columns.perDetails])))
      .catch((error) => body.replaceChildren(error.message));
  }

  function detail(row, given) {
    const number = columns.picture[row], key = number < 0 ? null : pictures.keys[number];
    const outcome = columns.outcomes[columns.outcome[row]];
    const line = (title, ...content) => element("p", {}, element("b", {}, `${title}: `), ...content);
    const isQuestion = columns.show[row] !== "search losses";
    return [
      line("Why", explanations.get(outcome) || `The text could not be used: ${visible(outcome)}.`),
      given.text ? line("Whole text", foreign(given.text)) : null,
      given.query ? line("Whole query", foreign(given.query)) : null,
      given.answers ? line("Whole answers", ...given.answers.flatMap(([answer, size]) => [foreign(answer ?? "(no answer)"), ` × ${size}; `])) : null,
      columns.truth[row] === null ? null : line("True answer", foreign(columns.truth[row]), columns.show[row] === "gold items" ? " (known)" : " (by the oracle)"),
      given.own ? line("The Questioner's own answer", foreign(given.own), " (never used as a label)") : null,
      given.thought ? line("The Questioner's thought", foreign(given.thought)) : null,
      given.kind ? line("Kind of answer", foreign(given.kind.replace("_", " "))) : null,
      given.unknown ? line("Pairs of answers not compared", String(given.unknown)) : null,
      isQuestion && (given.blind || asksBlind(outcome)) ? line("Answers without the picture", ...(given.blind ? given.blind.flatMap(([answer, size]) => [foreign(answer ?? "(no answer)"), ` × ${size}; `]) : ["not recorded by this round's filter."])) : null,
      isQuestion && outcome === "trained on" ? line("In the Solver's training", told("solver", given.trained, "accuracy", "no step used this question")) : null,
      isQuestion && given.asked ? line("The Questioner's training about this picture", told("questioner", given.asked, null, "")) : null,
      line("Id", foreign(columns.id[row])),
      key === null ? null : line("Picture", foreign(key)),
      key === null || columns.show[row] === "gold items" ? null : element("p", {}, element("button", { type: "button", class: "link", onclick: () => only({ q: key, show: "all" }) }, "all cards of this picture")),
    ].filter(Boolean);
  }

  // Whether questions of this outcome were asked without their picture.
  function asksBlind(outcome) {
    return !blindTold && ["trained on", "not grounded", "over quota"].includes(outcome);
  }

  // “step 3: accuracy 0.88 of 8; step 9: ...”; with all reward terms where none is named.
  function told(role, steps, term, none) {
    if (!trainingTold.has(role)) return "not recorded by this round's training.";
    if (!steps) return `${none}.`;
    const terms = (found) => found.filter(([name]) => !term || name === term).map(([name, mean]) => `${name} ${fixed(mean, 2)}`).join(", ");
    return `${steps.map(([step, rollouts, reward, found]) => `step ${step}: reward ${fixed(reward, 2)} (${terms(found)}; mean of ${rollouts})`).join("; ")}.`;
  }

  function enlarge(number) {
    const largest = Math.max(pictures.width[number], pictures.height[number]) || 1;
    const scale = Math.max(1, Math.min(6, Math.floor(Math.min(innerWidth - 64, innerHeight - 220, 720) / largest)));
    const key = pictures.keys[number];
    const dialog = element("dialog", { class: "enlarged", "aria-label": `picture ${key}` }, picture(number, scale),
      original(number, key),
      element("p", { class: "small" }, foreign(key), pictures.corpus ? ". The original: " : null,
        pictures.corpus ? element("code", {}, `active-zero corpus image ${key} --corpus ${pictures.corpus} --out picture.png`) : null),
      element("button", { type: "button", onclick: () => dialog.close() }, "Close"));
    dialog.addEventListener("close", () => dialog.remove());
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
    document.body.append(dialog);
    dialog.showModal();
  }

  // A link to the original, where a server offers originals; gold items are in no corpus.
  function original(number, key) {
    const folder = document.body.dataset.originals;
    if (!folder || !pictures.retrieved[number]) return null;
    return element("p", {}, element("a", { href: folder + key.split("/").map(encodeURIComponent).join("/"), target: "_blank", rel: "noopener" }, "original picture"));
  }

  function control(title, input) {
    input.id = `filter-${title.split(/\W/)[0].toLowerCase()}`;
    return element("div", { class: "control" }, element("label", { for: input.id }, title), input);
  }

  // The section with filters and cards, of the round's three documents.
  function show(columns_, pictures_, round) {
    columns = columns_; pictures = pictures_; explanations = new Map(round.explanations);
    trainingTold = new Set(round.trainingTold); blindTold = round.blindTold;
    prepare();
    const select = (facet) => element("select", { onchange: (event) => choose({ [facet]: event.target.value }) });
    const titles = { show: "Show", domain: "Domain", reason: "Outcome", label: "Label", agreement: "Agreement" };
    let typing;
    view = {
      selects: Object.fromEntries(FACETS.map((facet) => [facet, select(facet)])),
      search: element("input", { type: "search", maxlength: "200", oninput: (event) => { clearTimeout(typing); typing = setTimeout(() => choose({ q: event.target.value }), 120); } }),
      sort: element("select", { onchange: (event) => choose({ sort: event.target.value }) }, Object.entries(SORTS).map(([value, title]) => element("option", { value }, title))),
      count: element("p", { class: "count", role: "status" }),
      list: element("div", { class: "cards" }),
      pagers: [element("div", { class: "pager", role: "group", "aria-label": "Pages, top" }), element("div", { class: "pager", role: "group", "aria-label": "Pages, bottom" })],
    };
    const note = element("p", { class: "problem", role: "status", hidden: true });
    const section = ActiveZero.section("questions", "Questions, one by one",
      element("form", { class: "filters", onsubmit: (event) => event.preventDefault() },
        FACETS.map((facet) => control(titles[facet], view.selects[facet])), control("Text, label, query or key", view.search), control("Sort", view.sort),
        element("button", { type: "button", onclick: () => choose({ domain: "", reason: "", label: "", agreement: "", q: "", show: "questions", sort: "order" }) }, "Clear")),
      note, element("div", { class: "bar-of-count" }, view.count, view.pagers[0]), view.list, view.pagers[1]);
    const follow = () => {
      const { view: asked, unknown } = read(location.hash);
      note.hidden = !unknown.length;
      note.textContent = unknown.length ? `The address asks for what this round does not have: ${visible(unknown.join(", "))}.` : "";
      update(asked);
    };
    addEventListener("popstate", follow);
    ActiveZero.main(section);
    follow();
    return section;
  }

  return { show, only, picture, enlarge };
})();
