// What all pages share: elements, numbers, and the documents with the page's data.
// Classic scripts, since a browser loads no module from a disk. Texts of models and corpora become text nodes only.
"use strict";

const ActiveZero = (() => {
  const given = new Map();
  const waiting = new Map();
  const PICTURES = "pictures-inside";

  // Called by the documents of a folder, each a script of its own.
  function give(name, document_) {
    given.set(name, document_);
    for (const ready of waiting.get(name) || []) ready(document_);
    waiting.delete(name);
  }

  // A promise of a document: from the page itself where it is one file, else from its script.
  function need(name) {
    if (given.has(name)) return Promise.resolve(given.get(name));
    const inside = document.getElementById(`data-${name}`);
    if (inside) {
      give(name, JSON.parse(inside.textContent));
      return Promise.resolve(given.get(name));
    }
    return new Promise((resolve, reject) => {
      const first = !waiting.has(name);
      waiting.set(name, [...(waiting.get(name) || []), resolve]);
      if (!first || document.body.dataset.first.split(" ").includes(name)) return;
      const script = element("script", { src: `data/${name}.js` });
      script.onerror = () => reject(new Error(`data/${name}.js is missing`));
      document.head.append(script);
    });
  }

  function pictureAddress(name) {
    const inside = document.getElementById(`data-${PICTURES}`);
    if (!inside) return name;
    if (!given.has(PICTURES)) give(PICTURES, JSON.parse(inside.textContent));
    return given.get(PICTURES)[name];
  }

  const SVG = "http://www.w3.org/2000/svg";
  const DRAWN = new Set(["svg", "g", "path", "line", "circle", "text", "title", "rect"]);

  // element("button", {class: "x", onclick: f}, "text", child): strings are text, never HTML.
  function element(tag, attributes = {}, ...children) {
    const made = DRAWN.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else if (name === "style") Object.assign(made.style, value);
      else made.setAttribute(name, value === true ? "" : value);
    }
    made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
    return made;
  }

  // A text from a model or a corpus: isolated from the direction of its surroundings, control codes made visible.
  function foreign(text, attributes = {}) {
    return element("bdi", attributes, visible(text));
  }

  function visible(text) {
    return String(text)
      .replace(/[\u0000-\u0008\u000b-\u001f]/g, (code) => String.fromCharCode(0x2400 + code.charCodeAt(0)))
      .replace(/[\u007f-\u009f\u200b\u200e\u200f\u061c\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]/gu, (code) =>
        `⟨U+${code.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
  }

  const whole = new Intl.NumberFormat("en", { useGrouping: true, maximumFractionDigits: 0 });
  const count = (number) => whole.format(number).replaceAll(",", "\u202f");
  const rows = (number) => `${count(number)} ${number === 1 ? "row" : "rows"}`;
  const fixed = (number, digits) => (number === null ? "unknown" : number.toFixed(digits).replace("-", "−"));
  const signed = (number, digits) => (number > 0 ? "+" : "") + fixed(number, digits);
  const percent = (share, digits = 1) => `${fixed(100 * share, digits)} %`;

  function duration(seconds) {
    if (seconds < 99.5) return `${fixed(seconds, seconds < 9.95 ? 1 : 0)} s`;
    const minutes = Math.round(seconds / 60);
    return minutes < 99 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  }

  // “93.2 % (90.9 to 95.0) of 591”: a share with its 95 % interval.
  function shareText({ right, of, low, high }) {
    if (!of) return "unknown";
    return `${percent(right / of)} (${fixed(100 * low, 1)} to ${fixed(100 * high, 1)}) of ${count(of)}`;
  }

  function section(id, title, ...children) {
    return element("section", { id, "aria-labelledby": `${id}-title` }, element("h2", { id: `${id}-title` }, title), ...children);
  }

  // head: column titles; rows: arrays of cells, each a node, a text or a number. Numbers stand to the right.
  function table(caption, head, rows, attributes = {}) {
    const cell = (value, column) => {
      const attributes_ = typeof value === "number" || /^[−+\d]/.test(value) || value.dataset?.number ? { class: "number" } : {};
      const shown = typeof value === "number" ? count(value) : value;
      return column === 0 ? element("th", { scope: "row" }, shown) : element("td", attributes_, shown);
    };
    return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
      element("table", attributes, element("caption", {}, caption),
        element("thead", {}, element("tr", {}, head.map((title) => element("th", { scope: "col" }, title)))),
        element("tbody", {}, rows.map((row) => element("tr", {}, row.map(cell))))));
  }

  // A horizontal bar of parts: [{size, kind}], scaled to `of`.
  function bar(parts, of) {
    return element("span", { class: "bar", "aria-hidden": "true" }, parts.map(({ size, kind }) =>
      element("span", { class: `part ${kind}`, style: { width: `${of ? (100 * size) / of : 0}%` } })));
  }

  function main(...children) {
    document.getElementById("main").append(...children.filter(Boolean));
  }

  // A link to the page above, where a server or an export says that there is one.
  function navigation(...links) {
    const up = document.body.dataset.up;
    const above = up ? [element("a", { href: up }, document.body.dataset.upName || "Up")] : [];
    const inside = links.filter(([id]) => document.getElementById(id)).map(([id, title]) => element("a", { href: `#${id}`, class: "jump", onclick: (event) => jump(event, id) }, title));
    document.querySelector("header").append(element("nav", { "aria-label": "Sections" }, above, inside));
  }

  // Sections are reached without an address of their own: the address holds the filters.
  function jump(event, id) {
    event.preventDefault();
    const target = document.getElementById(id);
    target.tabIndex = -1;
    target.focus({ preventScroll: true });
    target.scrollIntoView();
  }

  function failed(error) {
    main(element("p", { class: "problem", role: "alert" }, `This page could not be shown whole: ${error.message}`));
    throw error;
  }

  return {
    give, need, pictureAddress, element, foreign, visible, count, rows, fixed, signed, percent, duration, shareText, section,
    table, bar, main, navigation, failed,
  };
})();
