/**
 * The newest lines for everybody, each once (docs/demo.md).
 * @module
 */

import { dateTime, element, ownAddress, person } from "./text.js";

/** As many as the server draws. */
const ROWS_MAX = 10;

const list = document.getElementById("news");
showEmpty();

/** @param {{id: number, title: string, by: string, url: string, created: string}} item */
export function showNews({ id, title, by, url, created }) {
  if (list === null || !Number.isSafeInteger(id)) {
    return;
  }
  const address = ownAddress(url);
  const heading = element("p", { class: "news-title", dir: "auto" });
  heading.append(address === null ? String(title) : element("a", { href: address }, String(title)));
  const row = element(
    "li",
    { "data-news": String(id) },
    heading,
    element("p", { class: "meta" }, person(by), " · ", dateTime(created)),
  );
  const present = Array.from(list.children).find((other) => other.dataset.news === String(id));
  if (present) {
    present.replaceWith(row);
  } else {
    const next = Array.from(list.children).find((other) => Number(other.dataset.news) < id);
    list.insertBefore(row, next ?? null);
  }
  while (list.childElementCount > ROWS_MAX) {
    list.lastElementChild.remove();
  }
  showEmpty();
}

/** @param {{id: number, title: string, by: string, url: string, created: string}[]} items all of them */
export function showAllNews(items) {
  list?.replaceChildren();
  items.forEach(showNews);
  showEmpty();
}

function showEmpty() {
  if (list !== null) {
    document.getElementById("news-empty").hidden = list.childElementCount > 0;
  }
}
