/**
 * Short notifications in the corner; screen readers read them out (docs/demo.md).
 * @module
 */

import { element, ownAddress } from "./text.js";

/** Time to read two lines; a pointer or the focus on a toast keeps it. */
const SHOWN_MS = 8000;

/** More would cover the page. */
const TOASTS_MAX = 3;

const region = document.getElementById("toasts");

/** @param {{title: unknown, text?: unknown, url?: unknown}} toast `url` is followed within this site only */
export function toast({ title, text, url }) {
  const heading = element("p", { class: "toast-title", dir: "auto" });
  const address = ownAddress(url);
  heading.append(address === null ? String(title) : element("a", { href: address }, String(title)));
  const close = element("button", { type: "button", class: "quiet", "aria-label": "Dismiss" }, "×");
  const made = element("div", { class: "toast" }, heading);
  if (text) {
    made.append(element("p", { class: "toast-text", dir: "auto" }, String(text)));
  }
  made.append(close);
  close.addEventListener("click", () => made.remove());
  expire(made);
  region.append(made);
  while (region.childElementCount > TOASTS_MAX) {
    region.firstElementChild.remove();
  }
}

function expire(made) {
  let timer = 0;
  const start = () => {
    timer = setTimeout(() => made.remove(), SHOWN_MS);
  };
  const keep = () => clearTimeout(timer);
  made.addEventListener("pointerenter", keep);
  made.addEventListener("pointerleave", start);
  made.addEventListener("focusin", keep);
  made.addEventListener("focusout", start);
  start();
}
