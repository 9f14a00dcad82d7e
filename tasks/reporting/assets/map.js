// The frontier map: pictures in the plane of the corpus, coloured by how often the Solver agreed about them.
"use strict";

const FrontierMap = (() => {
  const { element, foreign, count, fixed } = ActiveZero;
  const SIZE = 640, EDGE = 14;
  const SCALE = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
  const UNKNOWN = "#9aa5b1";

  // A colour of the scale, for 0 to 1.
  function colour(share) {
    if (share === null) return UNKNOWN;
    const at = Math.min(0.9999, Math.max(0, share)) * (SCALE.length - 1), low = Math.floor(at);
    return `rgb(${SCALE[low].map((each, n) => Math.round(each + (SCALE[low + 1][n] - each) * (at - low))).join(",")})`;
  }

  function show(map) {
    if (!map.keys.length) return null;
    const x = scaled(map.x), y = scaled(map.y);
    const state = { round: map.rounds.length - 1, by: "solved", at: 0 };
    const drawing = element("svg", { viewBox: `0 0 ${SIZE} ${SIZE}`, class: "map", tabindex: "0", role: "img" });
    const said = element("p", { class: "small", role: "status" }), panel = element("div", { class: "map-panel", "aria-live": "polite" });
    const slider = element("input", { type: "range", id: "map-round", min: "0", max: String(map.rounds.length - 1), value: String(state.round), oninput: (event) => { state.round = Number(event.target.value); draw(); } });
    const by = element("select", { id: "map-colour", onchange: (event) => { state.by = event.target.value; draw(); } },
      element("option", { value: "solved" }, "agreement in this round, before its training"),
      element("option", { value: "change" }, "change of the agreement since the round before"));

    function values() {
      const layer = map.rounds[state.round];
      if (state.by === "solved" || state.round === 0) return layer.solved.map((each) => (state.by === "solved" ? each : null));
      const earlier = map.rounds[state.round - 1], before = new Map(earlier.picture.map((picture, n) => [picture, earlier.solved[n]]));
      return layer.picture.map((picture, n) => {
        const old = before.get(picture);
        return old === undefined || old === null || layer.solved[n] === null ? null : 0.5 + (layer.solved[n] - old) / 2;
      });
    }

    function draw() {
      const layer = map.rounds[state.round], shown = values();
      const order = [...layer.picture.keys()].sort((a, b) => layer.retrieved[b] - layer.retrieved[a]);
      state.order = [...layer.picture.keys()].sort((a, b) => map.x[layer.picture[a]] - map.x[layer.picture[b]]);
      drawing.replaceChildren(...order.map((n) => element("circle", {
        cx: x(map.x[layer.picture[n]]), cy: SIZE - y(map.y[layer.picture[n]]), r: 2.5 + 1.6 * Math.sqrt(layer.retrieved[n]), fill: colour(shown[n]), "data-n": n,
      })));
      const known = shown.filter((each) => each !== null);
      const mean = known.reduce((sum, each) => sum + each, 0) / Math.max(1, known.length);
      const what = state.by === "solved" ? `mean agreement ${fixed(mean, 2)}` : `mean change ${ActiveZero.signed(2 * (mean - 0.5), 2)}`;
      said.textContent = `Round ${layer.round}: ${count(layer.picture.length)} pictures in the pool, ${what} over ${count(known.length)} of them.`;
      drawing.setAttribute("aria-label", `Map of the pool. ${said.textContent} Left and right arrow keys walk through the pictures.`);
      slider.setAttribute("aria-valuetext", `round ${layer.round}`);
    }

    function tell(n) {
      const layer = map.rounds[state.round], key = map.keys[layer.picture[n]];
      for (const old of drawing.querySelectorAll(".chosen")) old.classList.remove("chosen");
      const mark = drawing.querySelector(`[data-n="${n}"]`);
      mark.classList.add("chosen");
      panel.replaceChildren(picture(layer, layer.number[n]),
        element("p", {}, foreign(key)),
        element("p", { class: "small" }, `found ${layer.retrieved[n]} times; mean agreement ${layer.solved[n] === null ? "unknown: no question was answered" : fixed(layer.solved[n], 2)}`),
        element("p", {}, element("a", { href: `${layer.folder}/index.html#${new URLSearchParams({ show: "all", q: key })}` }, "its cards")));
    }

    drawing.addEventListener("pointerover", (event) => { if (event.target.dataset.n) tell(Number(event.target.dataset.n)); });
    drawing.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      state.at = (state.at + step + state.order.length) % state.order.length;
      tell(state.order[state.at]);
    });
    draw();
    const key = SCALE.map((_, n) => element("span", { style: { background: colour(n / (SCALE.length - 1)) } }));
    return ActiveZero.section("map", "The frontier on a map",
      element("p", { class: "small" }, "Each circle is a picture of the round's pool, at the first two principal components of the corpus's embeddings; the same picture has the same place in every round. Its area grows with how often it was found."),
      element("div", { class: "filters" }, element("div", { class: "control" }, element("label", { for: "map-round" }, "Round"), slider), element("div", { class: "control" }, element("label", { for: "map-colour" }, "Colour"), by)),
      said, element("div", { class: "map-and-panel" }, element("div", {}, drawing,
        element("p", { class: "small scale-key" }, "agreement 0 (or change −1) ", element("span", { class: "scale-of-map", "aria-hidden": "true" }, key), " agreement 1 (or change +1); grey: unknown")), panel));
  }

  function picture(layer, number) {
    const { side, across, perSheet, width, height } = layer.sheet;
    const place = number % perSheet, left = (place % across) * side, top = Math.floor(place / across) * side;
    if (!width[number]) return element("p", {}, "no picture");
    return element("img", {
      src: `${layer.folder}/pictures/${String(Math.floor(number / perSheet)).padStart(3, "0")}.webp`, alt: "", width: width[number], height: height[number],
      style: { width: `${width[number]}px`, height: `${height[number]}px`, objectFit: "none", objectPosition: `-${left}px -${top}px` },
    });
  }

  function scaled(values) {
    const low = Math.min(...values), high = Math.max(...values), span = high - low || 1;
    return (value) => (EDGE + ((value - low) / span) * (SIZE - 2 * EDGE)).toFixed(1);
  }

  return { show };
})();
