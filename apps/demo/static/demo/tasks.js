/**
 * A progress bar for each task of the user, in whichever tab it was started (docs/demo.md).
 * @module
 */

import { element } from "./text.js";

/** Older ones make room. */
const ROWS_MAX = 10;

const list = document.getElementById("tasks");

/** By task id. @type {Map<string, HTMLElement>} */
const rows = new Map();

/**
 * @param {"running" | "done" | "failed"} state
 * @param {{task: string, label: string, done: number, total: number | null, error?: string}} data
 */
export function showTask(state, { task, label, done, total, error }) {
  if (list === null) {
    return;
  }
  const row = rows.get(task) ?? add(task, label);
  row.dataset.state = state;
  const bar = row.querySelector("progress");
  const text = row.querySelector(".task-state");
  if (Number.isFinite(total)) {
    bar.max = total;
    bar.value = done;
  } else {
    bar.removeAttribute("value");
  }
  switch (state) {
    case "done":
      bar.value = bar.max;
      text.textContent = "Done";
      break;
    case "failed":
      text.textContent = error ? `Failed: ${error}` : "Failed";
      break;
    default:
      text.textContent = Number.isFinite(total) ? `${Math.round((100 * done) / total)} %` : "Running";
  }
}

function add(task, label) {
  const name = element("span", { class: "task-label", dir: "auto" }, String(label));
  const row = element(
    "li",
    {},
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
