/**
 * The comments of the open article. An event carries the whole comment and is applied by its id, so a repeated one
 * changes nothing (docs/demo.md).
 * @module
 */

import { dateTime, element, person } from "./text.js";

const list = document.getElementById("comments");
showEmpty();

/** @param {{id: number, author: string, text: string, created: string}} comment */
export function showComment({ id, author, text, created }) {
  if (list === null) {
    return;
  }
  const row = element(
    "li",
    { "data-comment": String(id) },
    element("p", { class: "meta" }, person(author), " · ", dateTime(created)),
    element("p", { class: "text", dir: "auto" }, String(text)),
  );
  const present = find(id);
  if (present) {
    present.replaceWith(row);
  } else {
    const next = Array.from(list.children).find((other) => Number(other.dataset.comment) > id);
    list.insertBefore(row, next ?? null);
  }
  showEmpty();
}

/** @param {{id: number, author: string, text: string, created: string}[]} comments all of them */
export function showAllComments(comments) {
  list?.replaceChildren();
  comments.forEach(showComment);
  showEmpty();
}

/** @param {number} id */
export function removeComment(id) {
  find(id)?.remove();
  showEmpty();
}

function find(id) {
  return list && Array.from(list.children).find((row) => row.dataset.comment === String(id));
}

function showEmpty() {
  if (list !== null) {
    document.getElementById("comments-empty").hidden = list.childElementCount > 0;
  }
}
