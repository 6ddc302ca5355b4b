// What a page can do beyond being read: its tables sort and filter, its pictures enlarge. Without it, all is there.
"use strict";

const SORTED_FROM = 3;
const FILTERED_FROM = 13;
const MISSING = new Set(["", "-", "–", "nan"]);

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// The number that a text starts with: 97 of "97% [92, 99]", -1.2 of "−1.20 [−2.10, −0.30]"; NaN where there is none.
function numberOf(text) {
  return parseFloat(text.replace("−", "-").replace(/(?<=\d),(?=\d{3})/g, ""));
}

function textOf(row, column) {
  const text = row.cells[column] ? row.cells[column].textContent.trim() : "";
  return MISSING.has(text.toLowerCase()) ? "" : text;
}

// Returns rows in a column's order. It is one of numbers where every text starts with one; what is missing comes last.
function sortedRows(rows, column, direction) {
  const filled = rows.filter((row) => textOf(row, column));
  const numeric = filled.every((row) => !Number.isNaN(numberOf(textOf(row, column))));
  const compare = numeric
    ? (a, b) => numberOf(a) - numberOf(b)
    : (a, b) => a.localeCompare(b, "en", { numeric: true });
  filled.sort((a, b) => direction * compare(textOf(a, column), textOf(b, column)));
  return [...filled, ...rows.filter((row) => !textOf(row, column))];
}

// A header sorts upward, then downward, then back to the order that the page came with.
function makeSortable(table) {
  const body = table.tBodies[0];
  const original = [...body.rows];
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => {
    if (!header.textContent.trim()) return;
    const button = make("button", { type: "button", className: "sort", title: "Sort by this column" });
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const before = header.getAttribute("aria-sort");
      headers.forEach((other) => other.removeAttribute("aria-sort"));
      const next = { ascending: "descending", descending: "" }[before] ?? "ascending";
      if (next) header.setAttribute("aria-sort", next);
      body.append(...(next ? sortedRows(original, column, next === "ascending" ? 1 : -1) : original));
    });
  });
}

// Shows the rows that hold every word typed, in whatever cell and case.
function makeFilterable(table) {
  const rows = [...table.tBodies[0].rows];
  const texts = rows.map((row) => [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase());
  const box = make("input", { type: "search", autocomplete: "off", spellcheck: false });
  const count = make("output", {}, `${rows.length} rows`);
  box.addEventListener("input", () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    rows.forEach((row, i) => { row.hidden = !words.every((word) => texts[i].includes(word)); });
    const shown = rows.filter((row) => !row.hidden).length;
    count.value = shown === rows.length ? `${rows.length} rows` : `${shown} of ${rows.length} rows`;
  });
  const place = table.closest(".scroll") ?? table;
  place.before(make("div", { className: "filter" }, make("label", {}, "Filter rows ", box), count));
}

// The dialog is the browser's own: it keeps the focus, closes on Escape, and hands the focus back to the picture.
function makeEnlargeable(pictures) {
  const image = make("img");
  const caption = make("p");
  const close = make("button", { type: "button", textContent: "Close" });
  const dialog = make("dialog", { className: "enlarged" }, close, image, caption);
  dialog.setAttribute("aria-label", "Enlarged picture");
  document.body.append(dialog);
  dialog.addEventListener("click", (event) => { if (event.target !== caption) dialog.close(); });

  function open(picture) {
    const words = picture.closest("figure")?.querySelector("figcaption")?.textContent ?? "";
    image.src = picture.src;
    image.alt = picture.alt;
    image.className = picture.className;
    caption.textContent = picture.classList.contains("pixels") ? picture.alt : words || picture.alt;
    dialog.showModal();
  }

  for (const picture of pictures) {
    picture.tabIndex = 0;
    picture.title = "Enlarge";
    picture.setAttribute("role", "button");
    picture.setAttribute("aria-haspopup", "dialog");
    picture.addEventListener("click", () => open(picture));
    picture.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      open(picture);
    });
  }
}

for (const table of document.querySelectorAll("main table:not(.facts)")) {
  if (!table.tHead || !table.tBodies.length) continue;
  if (table.tBodies[0].rows.length >= SORTED_FROM) makeSortable(table);
  if (table.tBodies[0].rows.length >= FILTERED_FROM) makeFilterable(table);
}
makeEnlargeable(document.querySelectorAll("main img"));
