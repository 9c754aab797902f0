"use strict";
const gallery = document.getElementById("frames");
const figures = [...gallery.querySelectorAll("figure")];
const { model, dataset } = gallery.dataset;
const elsewhere = JSON.parse(gallery.dataset.elsewhere);
const place = `edge-vae review ${model} ${dataset}`;

// Decisions outlive a reload where the browser keeps anything for files.
function remembered() {
  try {
    return JSON.parse(localStorage.getItem(place)) || {};
  } catch {
    return {};
  }
}

function remember() {
  const decisions = {};
  for (const figure of figures) decisions[figure.dataset.frame] = figure.dataset.decision;
  try {
    localStorage.setItem(place, JSON.stringify(decisions));
  } catch {
    // The list can still be downloaded.
  }
}

const decided = (to) => figures.filter((figure) => figure.dataset.decision === to);

function count() {
  const [excluded, kept] = [decided("exclude").length, decided("keep").length];
  const open = figures.length - excluded - kept;
  const others = elsewhere.length ? `, ${elsewhere.length} excluded before and not shown` : "";
  document.getElementById("counts").textContent =
    `${excluded} excluded, ${kept} kept, ${open} undecided${others}`;
}

function decide(figure, to) {
  figure.dataset.decision = to;
  count();
  remember();
}

function go(figure) {
  if (!figure) return;
  figure.focus({ preventScroll: true });
  figure.scrollIntoView({ block: "nearest" });
}

const current = () => figures.indexOf(document.activeElement.closest?.("figure"));
// How many stand beside each other.
const columns = () =>
  figures.filter((figure) => figure.offsetTop === figures[0].offsetTop).length;

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const at = current();
  const to = { x: "exclude", k: "keep", u: "" }[event.key.toLowerCase()];
  if (to !== undefined) {
    if (at < 0) return;
    decide(figures[at], to);
    if (to) go(figures[at + 1]);
  } else {
    const way = {
      ArrowRight: 1,
      ArrowLeft: -1,
      ArrowDown: columns(),
      ArrowUp: -columns(),
    }[event.key];
    if (way === undefined) return;
    go(figures[at < 0 ? 0 : Math.min(Math.max(at + way, 0), figures.length - 1)]);
  }
  event.preventDefault();
});

gallery.addEventListener("click", (event) => {
  const figure = event.target.closest("figure");
  if (!figure) return;
  go(figure);
  const to = event.target.dataset.to;
  if (to) decide(figure, figure.dataset.decision === to ? "" : to);
});

document.getElementById("download").addEventListener("click", () => {
  // A name that begins with # would be a comment.
  const line = (name) => (name.startsWith("#") ? `./${name}` : name);
  const names = decided("exclude").map((figure) => figure.dataset.frame).concat(elsewhere);
  const text = [`# Frames excluded in a review of ${model}`, ...names.sort().map(line), ""];
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text.join("\n")], { type: "text/plain" }));
  link.download = "exclude.txt";
  link.click();
  URL.revokeObjectURL(link.href);
});

// What was not decided leaves a frame as the list says.
const earlier = remembered();
for (const figure of figures) figure.dataset.decision = earlier[figure.dataset.frame] || figure.dataset.decision;
count();
go(figures[0]);
