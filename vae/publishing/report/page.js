"use strict";

// Charts: the nearest mark under the pointer, or the next one by the arrow keys, says its value.
const SVG = "http://www.w3.org/2000/svg";

function listMarks(svg) {
  const marks = [];
  for (const line of svg.querySelectorAll("polyline[data-texts]")) {
    const texts = JSON.parse(line.dataset.texts);
    Array.from(line.points).forEach((point, i) => marks.push({ x: point.x, y: point.y, text: texts[i], element: line }));
  }
  for (const dot of svg.querySelectorAll("circle[data-text]")) {
    const place = { x: dot.cx.baseVal.value, y: dot.cy.baseVal.value };
    marks.push({ ...place, text: dot.dataset.text, element: dot, index: Number(dot.dataset.index) });
  }
  for (const bar of svg.querySelectorAll("rect[data-text]")) {
    const x = bar.x.baseVal.value + bar.width.baseVal.value / 2;
    marks.push({ x, y: bar.y.baseVal.value, text: bar.dataset.text, element: bar });
  }
  return marks;
}

function findNearest(marks, svg, event) {
  const matrix = svg.getScreenCTM().inverse();
  const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix);
  let nearest = 0;
  let least = Infinity;
  marks.forEach((mark, i) => {
    const distance = (mark.x - at.x) ** 2 + (mark.y - at.y) ** 2;
    if (distance < least) [least, nearest] = [distance, i];
  });
  return nearest;
}

function setUpChart(figure) {
  const svg = figure.querySelector("svg");
  const output = figure.querySelector("output");
  const marks = listMarks(svg);
  if (!marks.length) return null;
  const cursor = svg.appendChild(document.createElementNS(SVG, "circle"));
  cursor.setAttribute("class", "cursor");
  cursor.setAttribute("r", "0");
  const chart = { figure, marks, current: -1, onShow: () => {} };
  chart.show = (i) => {
    marks[chart.current]?.element.classList.remove("on");
    chart.current = i;
    const mark = marks[i];
    mark.element.classList.add("on");
    for (const [name, value] of [["cx", mark.x], ["cy", mark.y], ["r", 5]]) cursor.setAttribute(name, value);
    output.textContent = mark.text;
  };
  chart.choose = (i) => {
    chart.show(i);
    chart.onShow(marks[i]);
  };
  const point = (event) => chart.choose(findNearest(marks, svg, event));
  svg.addEventListener("pointermove", point);
  svg.addEventListener("pointerdown", point);
  svg.addEventListener("focus", () => chart.current < 0 && chart.choose(0));
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    const ends = { Home: 0, End: marks.length - 1 }[event.key];
    if (step === undefined && ends === undefined) return;
    event.preventDefault();
    chart.choose(ends ?? Math.min(marks.length - 1, Math.max(0, chart.current + step)));
  });
  return chart;
}

// A window on one cell of a sheet of equal cells.
function makeTile(tile, sheet) {
  const columns = Number(sheet.dataset.columns);
  const rows = Number(sheet.dataset.rows);
  const image = tile.appendChild(document.createElement("img"));
  image.alt = "";
  image.src = sheet.src;
  const fit = () => {
    const ratio = (sheet.naturalHeight / rows) / (sheet.naturalWidth / columns) || 1;
    tile.style.height = `${tile.clientWidth * ratio}px`;
  };
  image.style.width = `${columns * 100}%`;
  image.addEventListener("load", fit);
  window.addEventListener("resize", fit);
  fit();
  return (column, row) => {
    fit();
    image.style.transform = `translate(${(-100 * column) / columns}%, ${(-100 * row) / rows}%)`;
  };
}

// A sheet whose rows are chosen from a list, and whose columns by a slider.
function setUpSheet(figure) {
  const sheet = figure.querySelector("img");
  const control = figure.querySelector(".control");
  const [select, slider] = [control.querySelector("select"), control.querySelector("input")];
  const output = control.querySelector("output");
  const names = JSON.parse(figure.dataset.columnNames);
  control.hidden = false;
  const place = makeTile(control.querySelector(".tile"), sheet);
  const show = () => {
    const column = Number(slider.value);
    place(column, select.selectedIndex);
    output.textContent = names[column];
    slider.setAttribute("aria-valuetext", names[column]);
  };
  select.addEventListener("change", show);
  slider.addEventListener("input", show);
  sheet.addEventListener("click", (event) => {
    const box = sheet.getBoundingClientRect();
    const cell = (share, count) => Math.min(count - 1, Math.floor(share * count));
    slider.value = cell((event.clientX - box.left) / box.width, Number(sheet.dataset.columns));
    select.selectedIndex = cell((event.clientY - box.top) / box.height, Number(sheet.dataset.rows));
    show();
  });
  show();
}

// Pictures of which the slider shows one at a time.
function setUpFrames(figure) {
  const frames = Array.from(figure.querySelectorAll("img"));
  const control = figure.querySelector(".control");
  if (!control) return;
  const [slider, output] = [control.querySelector("input"), control.querySelector("output")];
  control.hidden = false;
  const show = () => {
    frames.forEach((frame, i) => { frame.hidden = i !== Number(slider.value); });
    const name = frames[slider.value].dataset.name;
    output.textContent = name;
    slider.setAttribute("aria-valuetext", name);
  };
  slider.addEventListener("input", show);
  show();
}

// The maps share what is looked at: the image, and where it lies on the other one.
function setUpMaps(section, charts) {
  const maps = charts.filter((chart) => section.contains(chart.figure));
  const tile = section.querySelector(".tile");
  const sheet = section.querySelector("#thumbnails");
  tile.hidden = false;
  const place = makeTile(tile, sheet);
  const columns = Number(sheet.dataset.columns);
  for (const map of maps) {
    map.onShow = ({ index }) => {
      place(index % columns, Math.floor(index / columns));
      for (const other of maps) {
        if (other !== map) other.show(other.marks.findIndex((mark) => mark.index === index));
      }
    };
  }
}

function setUpSorting(table) {
  const body = table.tBodies[0];
  table.querySelectorAll("thead th").forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const read = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const rows = Array.from(body.rows).sort((a, b) => read(a).localeCompare(read(b), "en", { numeric: true }) || 0);
      const numeric = Array.from(body.rows).every((row) => !Number.isNaN(Number(read(row))));
      if (numeric) rows.sort((a, b) => Number(read(a)) - Number(read(b)));
      body.append(...(down ? rows.reverse() : rows));
    });
  });
}

const charts = Array.from(document.querySelectorAll(".chart"), setUpChart).filter(Boolean);
document.querySelectorAll(".sheet[data-column-names]").forEach(setUpSheet);
document.querySelectorAll(".frames").forEach(setUpFrames);
document.querySelectorAll(".maps").forEach((section) => setUpMaps(section, charts));
document.querySelectorAll("table.sortable").forEach(setUpSorting);
