// Two runs on the same axes, with the crosshair of the live charts.

import { Board } from "./charts.js";

const data = document.getElementById("chart-data");
if (data) {
  const { specs, series, steps } = JSON.parse(data.textContent);
  new Board(document.getElementById("charts"), specs, steps).load(series);
}
