/**
 * Keeps the bell's count right, and its list while somebody looks at it (docs/inbox.md, "The bell").
 *
 * A count is only ever set, to what the server has counted: by the user's durable events, in their order, or by the
 * inbox, whose answer says which of these events it holds.
 * @module
 */

import { backoffMs } from "./backoff.js";
import { SignedOut, sentence } from "./inbox.js";
import { pageConnection } from "./realtime.js";

/** However many events come, the inbox is asked once in this time. */
const CALM_MS = 1000;

/** A numbering that has ended comes to all pages at once. */
const SPREAD_MS = 2000;

/**
 * @typedef {object} FeedOptions
 * @property {import("./inbox.js").Inbox} inbox
 * @property {import("./realtime.js").Options} socket for a page that has no connection
 * @property {(unread: number) => void} onUnread
 * @property {(page: import("./inbox.js").Page) => void} onPage
 * @property {(text: string) => void} onFailure why no page has come, as a sentence
 */

export class InboxFeed {
  /** @type {FeedOptions} */
  #options;
  /** Whether the list is looked at. */
  #wanted = false;
  /** The event that the count belongs to; -1: none yet, whatever comes is newer. */
  #seq = -1;
  /** One more with each beginning of the user's stream: an answer of before is void. */
  #beginnings = 0;
  /** Timer of the next request; 0: none is due. */
  #timer = 0;
  #asking = false;
  /** Whether what is being asked is outdated before it has come. */
  #stale = false;
  /** No request before, by `performance.now()`. */
  #calmUntil = 0;
  /** Requests in a row that failed. */
  #failures = 0;
  #listening = new AbortController();

  /** @param {FeedOptions} options */
  constructor(options) {
    this.#options = options;
    void this.#listen();
  }

  get wanted() {
    return this.#wanted;
  }

  /** @param {boolean} wanted whether `onPage` is to be called now, and after each change */
  set wanted(wanted) {
    this.#wanted = wanted;
    if (wanted) {
      // A person does not wait.
      clearTimeout(this.#timer);
      this.#timer = 0;
      this.#calmUntil = 0;
      this.refresh();
    }
  }

  /** Asks the server. */
  refresh(afterMs = 0) {
    const calmMs = this.#calmUntil - performance.now();
    if (this.#asking) {
      this.#stale = true;
    } else if (this.#timer === 0 && !this.#listening.signal.aborted) {
      this.#timer = setTimeout(() => void this.#ask(), Math.max(afterMs, calmMs));
    }
  }

  end() {
    this.#listening.abort();
    clearTimeout(this.#timer);
  }

  async #listen() {
    const connection = await pageConnection(this.#options.socket);
    const { signal } = this.#listening;
    connection.addEventListener("event", (event) => this.#onEvent(detail(event)), { signal });
    connection.addEventListener("stream", (event) => this.#onStream(detail(event)), { signal });
    // Events that the page's state holds do not come.
    connection.addEventListener("snapshot", () => this.refresh(), { signal });
    if (connection.begun) {
      this.refresh();
    }
  }

  /** Of durable events only: those without a seq come from whoever may publish. */
  #onEvent(/** @type {import("./realtime.js").RealtimeEvent} */ { seq, unread }) {
    if (unread !== undefined && seq !== undefined && seq > this.#seq) {
      this.#seq = seq;
      this.#options.onUnread(unread);
      if (this.#wanted) {
        this.refresh();
      }
    }
  }

  /** The user's stream begins at a place of which the page's count knows nothing. */
  #onStream(/** @type {import("./streams.js").StreamChange} */ { stream, state }) {
    if (isUsers(stream) && (state === "new" || state === "gap")) {
      this.#beginnings += 1;
      this.#seq = -1;
      this.refresh(state === "gap" ? Math.random() * SPREAD_MS : 0);
    }
  }

  async #ask() {
    this.#timer = 0;
    this.#asking = true;
    this.#stale = false;
    const beginnings = this.#beginnings;
    let againMs = CALM_MS;
    try {
      const page = await this.#options.inbox.load();
      this.#failures = 0;
      if (beginnings === this.#beginnings) {
        this.#take(page);
      }
    } catch (error) {
      this.#options.onFailure(sentence(error));
      this.#stale ||= !(error instanceof SignedOut);
      againMs = backoffMs(this.#failures);
      this.#failures += 1;
    }
    this.#asking = false;
    this.#calmUntil = performance.now() + againMs;
    if (this.#stale) {
      this.refresh();
    }
  }

  #take(/** @type {import("./inbox.js").Page} */ page) {
    const seq = Math.max(0, ...Object.keys(page.cursor).filter(isUsers).map((stream) => page.cursor[stream].seq));
    if (seq < this.#seq) {
      this.#stale = true; // events that have come since know better
    } else {
      this.#seq = seq;
      this.#options.onUnread(page.unread);
      this.#options.onPage(page);
    }
  }
}

function isUsers(/** @type {string} */ stream) {
  return stream.startsWith("user.");
}

/** @returns {any} */
function detail(/** @type {Event} */ event) {
  return /** @type {CustomEvent} */ (event).detail;
}
