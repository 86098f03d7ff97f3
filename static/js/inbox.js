/**
 * The signed-in user's notifications, over HTTP (docs/protocol.md, section 4; docs/inbox.md).
 * @module
 */

/** The inbox answers in milliseconds. */
const TIMEOUT_MS = 15_000;

const UNREACHABLE = "The server could not be reached. Try again.";

/** What a person may be told, as a sentence. */
class InboxError extends Error {}

/** Only a person can change that. */
export class SignedOut extends InboxError {}

/**
 * @typedef {object} Item
 * @property {string} mid its handle
 * @property {string} id of the event
 * @property {string} title
 * @property {string | null} url
 * @property {string} at ISO 8601
 * @property {boolean} read
 */

/**
 * @typedef {object} Page
 * @property {number} unread
 * @property {Item[]} items the newest first
 * @property {import("./cursor.js").Cursor} cursor read before the rest
 */

export class Inbox {
  #url;
  #csrf;

  /**
   * @param {string} url of the inbox; what changes it lies below
   * @param {string} csrf a token of the page
   */
  constructor(url, csrf) {
    this.#url = url;
    this.#csrf = csrf;
  }

  /**
   * @returns {Promise<Page>} the newest page of it
   * @throws {Error} see `sentence`
   */
  load() {
    return send(this.#url, { cache: "no-store" });
  }

  /**
   * The request outlives the page, so that a link may be followed meanwhile.
   * @param {string} mid
   * @throws {Error} see `sentence`
   */
  async read(mid) {
    await this.#post("read", { mid });
  }

  /**
   * @param {string} mid
   * @throws {Error} see `sentence`
   */
  async unread(mid) {
    await this.#post("unread", { mid });
  }

  /**
   * Marks one and all that are older as read.
   * @param {string} mid
   * @returns {Promise<string>} for `undo`; empty where they all were
   * @throws {Error} see `sentence`
   */
  async readUpTo(mid) {
    const { undo } = await this.#post("read", { upto: mid });
    return undo ?? "";
  }

  /**
   * @param {string} undo what `readUpTo` has returned
   * @throws {Error} see `sentence`
   */
  async undo(undo) {
    await this.#post("unread", { undo });
  }

  /** @returns {Promise<any>} */
  #post(/** @type {string} */ action, /** @type {Record<string, string>} */ fields) {
    // As a form field: the name of the header is a setting of the site.
    const body = new URLSearchParams({ ...fields, csrfmiddlewaretoken: this.#csrf });
    return send(`${this.#url}/${action}`, { method: "POST", body, keepalive: true });
  }
}

/**
 * @param {string} url
 * @param {RequestInit} options
 * @returns {Promise<any>}
 */
async function send(url, options) {
  /** @type {Response} */
  let response;
  try {
    response = await fetch(url, {
      headers: { Accept: "application/json" },
      redirect: "error",
      signal: AbortSignal.timeout(TIMEOUT_MS),
      ...options,
    });
    if (response.ok) {
      return await response.json();
    }
  } catch {
    throw new InboxError(UNREACHABLE);
  }
  switch (response.status) {
    case 401:
      throw new SignedOut("You are signed out. Reload this page and sign in again.");
    case 403:
      throw new InboxError("This page is out of date. Reload it and try again.");
    default:
      throw new InboxError(UNREACHABLE);
  }
}

/**
 * @param {unknown} error
 * @returns {string} what a person may be told
 */
export function sentence(error) {
  if (error instanceof InboxError) {
    return error.message;
  }
  reportError(error);
  return UNREACHABLE;
}
