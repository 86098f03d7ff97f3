/**
 * A progress bar for each task of the user, in whichever tab it was started (docs/demo.md).
 * @module
 */

import { element } from "./text.js";

/** Older ones make room. */
const ROWS_MAX = 10;

/** A running task is heard of ten times a second. The server takes one for dead after 10 s. */
const STILL_MS = 12_000;

/**
 * @typedef {object} Task
 * @property {string} task
 * @property {string} label
 * @property {number} done
 * @property {number} total
 * @property {string} [error]
 */

const list = document.getElementById("tasks");

/** By task id; the server has drawn those that were there. @type {Map<string, HTMLElement>} */
const rows = new Map(Array.from(list?.children ?? [], (row) => [row.dataset.task, row]).reverse());

/** Timers of running tasks, by id. @type {Map<string, number>} */
const timers = new Map();

let whenStill = () => {};

/** @param {() => void} callback called when a running task has not been heard of for some time */
export function watchTasks(callback) {
  whenStill = callback;
  for (const [task, row] of rows) {
    watch(task, row.dataset.state);
  }
}

/**
 * @param {"running" | "done" | "failed"} state
 * @param {Task} data
 */
export function showTask(state, data) {
  const row = rows.get(data.task);
  // A step may come after the end: steps are ephemeral and have no place in the order.
  if (list !== null && (row === undefined || row.dataset.state === "running" || state !== "running")) {
    draw(row ?? add(data), state, data);
  }
}

/** @param {(Task & {state: "running" | "done" | "failed"})[]} tasks all of them, the newest first */
export function showTasks(tasks) {
  if (list === null) {
    return;
  }
  list.replaceChildren();
  rows.clear();
  for (const data of tasks.toReversed()) {
    draw(add(data), data.state, data);
  }
}

function draw(row, state, { task, done, total, error }) {
  row.dataset.state = state;
  const bar = row.querySelector("progress");
  const text = row.querySelector(".task-state");
  if (Number.isFinite(total)) {
    bar.max = total;
    bar.value = state === "done" ? total : done;
  } else {
    bar.removeAttribute("value");
  }
  switch (state) {
    case "done":
      text.textContent = "Done";
      break;
    case "failed":
      text.textContent = error ? `Failed: ${error}` : "Failed";
      break;
    default:
      text.textContent = Number.isFinite(total) ? `${Math.round((100 * done) / total)} %` : "Running";
  }
  watch(task, state);
}

function add({ task, label }) {
  const name = element("span", { class: "task-label", dir: "auto" }, String(label));
  const row = element(
    "li",
    { "data-task": task },
    name,
    element("span", { class: "task-state" }),
    element("progress", { "aria-label": String(label) }),
  );
  rows.set(task, row);
  list.prepend(row);
  for (const [oldest, old] of rows) {
    if (rows.size <= ROWS_MAX) {
      break;
    }
    old.remove();
    rows.delete(oldest);
  }
  return row;
}

function watch(task, state) {
  clearTimeout(timers.get(task));
  timers.delete(task);
  if (state === "running") {
    const timer = setTimeout(() => {
      watch(task, rows.get(task)?.dataset.state);
      whenStill();
    }, STILL_MS);
    timers.set(task, timer);
  }
}
