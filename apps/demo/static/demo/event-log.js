/**
 * The events of this tab, the newest first (docs/demo.md).
 * @module
 */

import { clockTime, element } from "./text.js";

/** More rows help nobody and make the page slow. */
const ROWS_MAX = 200;

/** An event may have 256 KiB; this much is enough to recognise it. */
const DATA_MAX_CHARS = 4000;

const rows = document.getElementById("events");

/** The newest row, while it may stand for more events of one task. @type {{task: string, count: number} | null} */
let progress = null;

/** @param {{id: string, data: any, ts?: number}} event */
export function logEvent({ id, data, ts }) {
  if (rows === null) {
    return;
  }
  for (const hint of document.querySelectorAll("#log-empty, #log-sample")) {
    hint.hidden = true;
  }
  rows.hidden = false;
  // Ten steps a second would bury everything else: those of one task share a row, which shows the last.
  const task = id === "task/PROGRESS" ? data?.task : undefined;
  if (task !== undefined && progress?.task === task) {
    progress.count += 1;
    rows.firstElementChild.remove();
  } else {
    progress = task === undefined ? null : { task, count: 1 };
  }
  rows.prepend(row(id, data, Number.isFinite(ts) ? new Date(ts * 1000) : new Date(), progress?.count ?? 1));
  while (rows.childElementCount > ROWS_MAX) {
    rows.lastElementChild.remove();
  }
}

function row(id, data, time, count) {
  const name = element("bdi", { class: "event-id" }, id);
  const head = element("p", { class: "event-head" }, name);
  if (count > 1) {
    head.append(element("span", { class: "event-count" }, `× ${count}`));
  }
  head.append(clockTime(time));
  return element("li", {}, head, element("pre", { dir: "auto" }, pretty(data)));
}

function pretty(data) {
  const text = JSON.stringify(data, null, 2) ?? "";
  return text.length > DATA_MAX_CHARS ? `${text.slice(0, DATA_MAX_CHARS)}…` : text;
}
