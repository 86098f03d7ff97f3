/**
 * Elements from data that other people wrote: always text, never HTML (docs/demo.md).
 * @module
 */

const DATE_AND_TIME = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const TIME = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

/**
 * @param {string} name of the element
 * @param {Record<string, string>} attributes
 * @param {...(Node | string)} children strings become text nodes
 * @returns {HTMLElement}
 */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

/** @param {unknown} name of a person: may be written from right to left and must not turn what follows */
export function person(name) {
  return element("bdi", {}, String(name));
}

/**
 * Event data comes from elsewhere: `javascript:` and foreign sites are no links.
 * @param {unknown} url
 * @returns {string | null} a whole address within this site
 */
export function ownAddress(url) {
  if (typeof url !== "string" || url === "") {
    return null;
  }
  const address = URL.canParse(url, location.origin) ? new URL(url, location.origin) : null;
  return address?.origin === location.origin ? address.href : null;
}

/** @param {string} iso */
export function dateTime(iso) {
  return element("time", { datetime: iso }, DATE_AND_TIME.format(new Date(iso)));
}

/** @param {Date} date */
export function clockTime(date) {
  return element("time", { datetime: date.toISOString() }, TIME.format(date));
}

/**
 * Shows the server's times in the reader's own zone and manner.
 * @param {ParentNode} root
 */
export function localTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    time.replaceWith(dateTime(time.dateTime));
  }
}
