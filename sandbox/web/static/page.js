// The dashboard: loads the widgets, and loads them anew when the page's controls, or the clock, ask for it.

import { Widget } from "./widget.js";

const RESIZED_AFTER = 400; // milliseconds without another change of size

const range = document.getElementById("range");
const every = document.getElementById("every");
const grid = document.querySelector("main.grid");
const widgets = [...grid.querySelectorAll(".widget")].map(
  (section) => new Widget(section, grid.dataset.dashboard, () => Number(range.value)),
);

function load(which) {
  for (const widget of widgets.filter(which)) widget.load();
}

let clock;
every.addEventListener("change", () => {
  clearInterval(clock);
  const seconds = Number(every.value);
  if (seconds) clock = setInterval(() => load((one) => one.updatesOn("refresh") && !one.inUse), seconds * 1000);
});
range.addEventListener("change", () => load((one) => one.updatesOn("timerange")));
document.getElementById("refresh").addEventListener("click", () => load(() => true));

let resized;
window.addEventListener("resize", () => {
  clearTimeout(resized);
  resized = setTimeout(() => load((one) => one.updatesOn("resize") && !one.inUse), RESIZED_AFTER);
});

load(() => true);
