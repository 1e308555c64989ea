"use strict";
// Everything that comes from files reaches the page by textContent and attributes, never as HTML.
const data = JSON.parse(document.getElementById("data").textContent);
const map = document.getElementById("map");
const canvas = document.getElementById("points");
const context = canvas.getContext("2d");
const card = document.getElementById("card");
const ring = document.getElementById("ring");
const buttons = [...document.querySelectorAll("[data-group]")];

const REACH_PX = 12;
const CLICK_PX = 4;
const MOST_ZOOM = 400;
const radius = Math.min(5, Math.max(2.4, 70 / Math.sqrt(data.points.length)));
const off = new Set();
const view = { zoom: 1, x: 0, y: 0 }; // the point of the plane in the middle of the map
let current = null;
let kept = false;
let drag = null;
let queued = false;

// Few points are not to disappear below many.
const size = (point) => (data.groups.length ? data.groups[point.color].count : 0);
const order = [...data.points].sort((a, b) => size(b) - size(a));
const shown = (point) => !off.has(point.color);

function unit() {
  const [x, y] = data.extent;
  const fit = Math.min(map.clientWidth / (2 * x || 1), map.clientHeight / (2 * y || 1));
  return 0.92 * Math.min(fit, map.clientWidth, map.clientHeight) * view.zoom;
}

/** From points to pixels; the map is measured once, not for each of thousands of points. */
function lens() {
  const [x, y, scale] = [map.clientWidth / 2, map.clientHeight / 2, unit()];
  return ({ at }) => [x + (at[0] - view.x) * scale, y - (at[1] - view.y) * scale];
}

function colorOf(point) {
  if (data.groups.length) return data.groups[point.color].color;
  if (point.color === null) return data.grey;
  const at = point.color * (data.stops.length - 1);
  const low = Math.min(Math.floor(at), data.stops.length - 2);
  const part = (stop, channel) => parseInt(data.stops[stop].slice(1 + 2 * channel, 3 + 2 * channel), 16);
  const mixed = [0, 1, 2].map((c) => part(low, c) + (at - low) * (part(low + 1, c) - part(low, c)));
  return `rgb(${mixed.map(Math.round).join(" ")})`;
}

function outline(shape, x, y, r) {
  context.beginPath();
  if (shape === "square") {
    context.rect(x - 0.88 * r, y - 0.88 * r, 1.76 * r, 1.76 * r);
  } else if (shape === "triangle") {
    context.moveTo(x, y - 1.2 * r);
    context.lineTo(x + 1.15 * r, y + 0.8 * r);
    context.lineTo(x - 1.15 * r, y + 0.8 * r);
    context.closePath();
  } else if (shape === "diamond") {
    context.moveTo(x, y - 1.25 * r);
    context.lineTo(x + 1.25 * r, y);
    context.lineTo(x, y + 1.25 * r);
    context.lineTo(x - 1.25 * r, y);
    context.closePath();
  } else {
    context.arc(x, y, r, 0, 2 * Math.PI);
  }
}

function draw() {
  queued = false;
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [map.clientWidth, map.clientHeight];
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  context.scale(ratio, ratio);
  const style = getComputedStyle(document.documentElement);
  const r = radius * Math.min(2, view.zoom ** 0.2);
  context.lineWidth = 0.6;
  context.strokeStyle = style.getPropertyValue("--edge");
  context.globalAlpha = 0.85;
  const place = lens();
  for (const point of order.filter(shown)) {
    const [x, y] = place(point);
    if (x < -r || y < -r || x > width + r || y > height + r) continue;
    outline(data.groups.length ? data.groups[point.color].shape : "circle", x, y, r);
    context.fillStyle = colorOf(point);
    context.fill();
    context.stroke();
  }
}

function redraw() {
  if (!queued) requestAnimationFrame(draw);
  queued = true;
  if (current) moveCard();
}

function fill(point) {
  const item = data.items[point.item];
  const picture = point.picture === null ? null : data.pictures[point.picture];
  const set = (id, text) => {
    const element = document.getElementById(id);
    element.textContent = text;
    element.hidden = !text;
    return element;
  };
  const image = document.getElementById("picture");
  image.hidden = !picture || !picture.uri;
  image.alt = item.alt;
  if (!image.hidden) image.src = picture.uri;
  set("gone", picture ? picture.reason : "");
  set("name", item.name).href = point.link;
  set("badge", point.modality).className = `badge ${point.modality}`;
  set("where", point.where);
  set("text", point.text);
  document.getElementById("columns").replaceChildren(
    ...item.columns.map(([name, value]) => {
      const row = document.createElement("div");
      for (const [tag, text] of [["dt", name], ["dd", value]]) {
        const cell = document.createElement("bdi");
        cell.textContent = text;
        row.appendChild(document.createElement(tag)).append(cell);
      }
      return row;
    })
  );
}

function show(point, keep = false) {
  if (point && point !== current) fill(point);
  current = point;
  kept = keep && point !== null;
  card.hidden = ring.hidden = !point;
  card.classList.toggle("kept", kept);
  if (current) moveCard();
}

function moveCard() {
  const [x, y] = lens()(current);
  ring.style.left = `${x}px`;
  ring.style.top = `${y}px`;
  const gap = 14;
  const [width, height] = [card.offsetWidth, card.offsetHeight];
  const left = x + gap + width < map.clientWidth ? x + gap : x - gap - width;
  const top = Math.min(y + gap, map.clientHeight - height - 8);
  card.style.left = `${Math.max(8, Math.min(left, map.clientWidth - width - 8))}px`;
  card.style.top = `${Math.max(8, top)}px`;
}

function nearest(x, y, reach) {
  const place = lens();
  let [best, found] = [reach, null];
  for (const point of order) {
    if (!shown(point)) continue;
    const [px, py] = place(point);
    const distance = Math.hypot(px - x, py - y);
    if (distance <= best) [best, found] = [distance, point];
  }
  return found;
}

function zoom(factor, x = map.clientWidth / 2, y = map.clientHeight / 2) {
  const before = unit();
  view.zoom = Math.min(MOST_ZOOM, Math.max(0.5, view.zoom * factor));
  const gain = 1 / before - 1 / unit();
  view.x += (x - map.clientWidth / 2) * gain;
  view.y -= (y - map.clientHeight / 2) * gain;
  redraw();
}

function showAll() {
  Object.assign(view, { zoom: 1, x: 0, y: 0 });
  redraw();
}

/** Go from the current point to the nearest one that lies rather that way than another. */
function step(dx, dy) {
  const place = lens();
  const [x, y] = current ? place(current) : [map.clientWidth / 2, map.clientHeight / 2];
  let [best, found] = [Infinity, null];
  for (const point of order) {
    if (!shown(point) || point === current) continue;
    const [px, py] = place(point);
    const ahead = (px - x) * dx + (py - y) * dy;
    const aside = Math.abs((px - x) * dy) + Math.abs((py - y) * dx);
    if (current && (ahead <= 0 || aside > ahead)) continue;
    const distance = Math.hypot(px - x, py - y);
    if (distance < best) [best, found] = [distance, point];
  }
  if (!found) return;
  const [px, py] = place(found);
  if (px < 0 || py < 0 || px > map.clientWidth || py > map.clientHeight) {
    [view.x, view.y] = found.at;
    redraw();
  }
  show(found);
}

function within(event) {
  const box = canvas.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}

canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  drag = { at: within(event), from: within(event), moved: false };
});
canvas.addEventListener("pointermove", (event) => {
  const [x, y] = within(event);
  if (drag) {
    drag.moved ||= Math.hypot(x - drag.from[0], y - drag.from[1]) > CLICK_PX;
    if (!drag.moved) return;
    canvas.classList.add("dragging");
    view.x -= (x - drag.at[0]) / unit();
    view.y += (y - drag.at[1]) / unit();
    drag.at = [x, y];
    redraw();
    return;
  }
  const found = nearest(x, y, REACH_PX);
  canvas.classList.toggle("over", found !== null);
  if (!kept && found !== current) show(found);
});
canvas.addEventListener("pointerup", (event) => {
  if (drag && !drag.moved) show(nearest(...within(event), REACH_PX), true);
  drag = null;
  canvas.classList.remove("dragging");
});
canvas.addEventListener("pointercancel", () => {
  drag = null;
});
canvas.addEventListener("pointerleave", () => {
  if (!kept && !drag) show(null);
});
canvas.addEventListener(
  "wheel",
  (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), ...within(event));
  },
  { passive: false }
);

const KEYS = {
  ArrowLeft: () => step(-1, 0),
  ArrowRight: () => step(1, 0),
  ArrowUp: () => step(0, -1),
  ArrowDown: () => step(0, 1),
  Enter: () => current && (show(current, true), document.getElementById("name").focus()),
  "+": () => zoom(1.4),
  "=": () => zoom(1.4),
  "-": () => zoom(1 / 1.4),
  0: showAll,
};
canvas.addEventListener("keydown", (event) => {
  if (!(event.key in KEYS) || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  KEYS[event.key]();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !current) return;
  show(null);
  canvas.focus();
});

const ZOOMS = { in: () => zoom(1.6), out: () => zoom(1 / 1.6), all: showAll };
for (const button of document.querySelectorAll("[data-zoom]")) {
  button.addEventListener("click", ZOOMS[button.dataset.zoom]);
}

function press() {
  for (const button of buttons) {
    button.setAttribute("aria-pressed", String(!off.has(Number(button.dataset.group))));
  }
  show(current && shown(current) ? current : null, kept);
  redraw();
}
for (const button of buttons) {
  const group = Number(button.dataset.group);
  button.addEventListener("click", () => {
    if (!off.delete(group)) off.add(group);
    press();
  });
  button.addEventListener("dblclick", () => {
    const others = buttons.map((other) => Number(other.dataset.group)).filter((n) => n !== group);
    off.clear();
    others.forEach((other) => off.add(other));
    press();
  });
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
new ResizeObserver(redraw).observe(map);
redraw();
