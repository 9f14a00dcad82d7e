// Figures: intervals, curves, and tables with bars. Every figure has its numbers as text beside it.
"use strict";

const Figures = (() => {
  const { element, fixed, signed, count } = ActiveZero;

  // A score before and after, with the 95 % interval of the gain, on a scale that the scores share.
  function change(row, from, to) {
    const place = (value) => `${(100 * (Math.min(to, Math.max(from, value)) - from)) / (to - from)}%`;
    const gain = row.after - row.before;
    const p = row.p === null ? "" : `, McNemar p ${row.p < 0.001 ? "< 0.001" : fixed(row.p, 3)}`;
    const low = row.before + row.low, high = row.before + row.high;
    const text = `${fixed(row.before, 1)} → ${fixed(row.after, 1)} points: ${signed(gain, 1)} `
      + `(95 % interval ${signed(row.low, 1)} to ${signed(row.high, 1)}${p}, ${count(row.items)} items)`;
    return element("div", { class: "change" },
      element("span", { class: "name" }, `${row.benchmark}, ${row.figure}`),
      element("span", { class: "scale", "aria-hidden": "true" },
        element("span", { class: "interval", style: { left: place(low), width: `calc(${place(high)} - ${place(low)})` } }),
        element("span", { class: "dot before", style: { left: place(row.before) } }),
        element("span", { class: "dot after", style: { left: place(row.after) } })),
      element("span", { class: "figures" }, text));
  }

  function changes(rows) {
    const values = rows.flatMap((row) => [row.before, row.after, row.before + row.low, row.before + row.high]);
    const from = Math.floor(Math.min(...values) - 1), to = Math.ceil(Math.max(...values) + 1);
    return element("div", { class: "changes" }, rows.map((row) => change(row, from, to)),
      element("p", { class: "small" }, `Scale: ${from} to ${to} points of accuracy. Ring: before the round; dot: after it; line: 95 % interval of the gain.`));
  }

  const WIDTH = 360, HEIGHT = 190, LEFT = 46, RIGHT = 12, TOP = 12, BOTTOM = 30;

  // lines: [{name, x: [...], y: [...]}]; a line has its own dash, so that colour alone tells nothing.
  function curves(title, unit, lines, axis = "step") {
    const points = lines.flatMap(({ x, y }) => x.map((each, n) => [each, y[n]])).filter(([, y]) => y !== null);
    if (!points.length) return null;
    const [x0, x1] = extent(points.map(([x]) => x)), [y0, y1] = extent(points.map(([, y]) => y));
    const px = (x) => LEFT + ((x - x0) / (x1 - x0)) * (WIDTH - LEFT - RIGHT);
    const py = (y) => HEIGHT - BOTTOM - ((y - y0) / (y1 - y0)) * (HEIGHT - TOP - BOTTOM);
    const drawn = lines.map(({ x, y }, n) => {
      const kept = x.map((each, k) => [each, y[k]]).filter(([, each]) => each !== null);
      const path = kept.map(([a, b], k) => `${k ? "L" : "M"}${px(a).toFixed(1)} ${py(b).toFixed(1)}`).join("");
      return element("g", { class: `line line-${n}` }, element("path", { d: path }),
        kept.map(([a, b]) => element("circle", { cx: px(a), cy: py(b), r: 2.5 })));
    });
    const ticks = [y0, (y0 + y1) / 2, y1].map((y) => element("g", { class: "tick" },
      element("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: py(y), y2: py(y) }),
      element("text", { x: LEFT - 6, y: py(y) + 4, "text-anchor": "end" }, short(y))));
    const ends = [x0, x1].map((x) => element("text", { x: px(x), y: HEIGHT - 10, "text-anchor": "middle" }, short(x)));
    const said = lines.map(({ name, y }) => `${name} ${short(y[0])} to ${short(y[y.length - 1])}`).join("; ");
    return element("figure", { class: "curves" },
      element("figcaption", {}, title, element("span", { class: "small" }, ` ${unit}`)),
      element("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title}, first to last ${axis}: ${said}` },
        ticks, ends, element("text", { x: (LEFT + WIDTH) / 2, y: HEIGHT - 10, "text-anchor": "middle" }, axis), drawn),
      element("ul", { class: "legend" }, lines.map(({ name, y }, n) =>
        element("li", { class: `key key-${n}` }, `${name}: ${short(y[0])} → ${short(y[y.length - 1])}`))));
  }

  function extent(values) {
    const low = Math.min(...values), high = Math.max(...values);
    return low === high ? [low - Math.max(1e-6, Math.abs(low) * 0.1), high + Math.max(1e-6, Math.abs(high) * 0.1)] : [low, high];
  }

  function short(value) {
    if (value === null || value === undefined) return "unknown";
    if (Number.isInteger(value)) return String(value);
    const size = Math.abs(value);
    if (size < 1e-9) return "0";
    return size < 0.001 ? value.toExponential(1).replace("-", "−") : fixed(value, size < 0.1 ? 4 : size < 10 ? 2 : 1);
  }

  return { changes, curves };
})();
