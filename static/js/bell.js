/**
 * `<realtime-bell>`: how many notifications of the signed-in user are unread, and behind it the newest ones
 * (docs/inbox.md, "The bell"). `{% realtime_bell %}` prints it; without this script it is a link to the inbox.
 * @module
 */

import { InboxFeed } from "./bell-feed.js";
import { BELL_STYLE, bellIcon } from "./bell-look.js";
import { Panel, button, make } from "./bell-panel.js";
import { Inbox, sentence } from "./inbox.js";

/** Where the server stops counting. */
const UNREAD_MAX = 1000;

/** A screen reader that was told of each of many events would say nothing else. */
const SPEAK_MS = 1000;

class RealtimeBell extends HTMLElement {
  /** There while the element stands in a page. @type {Bell | null} */
  #bell = null;

  connectedCallback() {
    this.#bell = new Bell(this, this.shadowRoot ?? this.attachShadow({ mode: "open" }));
  }

  disconnectedCallback() {
    this.#bell?.end();
    this.#bell = null;
  }
}

class Bell {
  #host;
  #inbox;
  #feed;
  #panel;
  #unread;
  #button = button("button", "", () => (this.#isOpen ? this.#close() : this.#open()));
  #badge = make("span", "badge");
  #spoken = make("span", "spoken");
  /** Animation frame of the next drawing; 0: all is drawn. */
  #frame = 0;
  /** Timer of the next announcement; 0: all is said. */
  #speaking = 0;
  /** What takes back the last "all as read"; empty: nothing. */
  #undo = "";
  #busy = false;
  #listening = new AbortController();

  /**
   * @param {HTMLElement} host
   * @param {ShadowRoot} root
   */
  constructor(host, root) {
    const attribute = (/** @type {string} */ name) => host.getAttribute(name) ?? "";
    this.#host = host;
    this.#unread = Number(attribute("unread"));
    this.#inbox = new Inbox(attribute("inbox"), attribute("csrf"));
    this.#panel = new Panel({
      inboxUrl: attribute("inbox"),
      // The page may be gone before an answer comes; what has failed is still unread in the next one.
      onFollow: (mid) => void this.#inbox.read(mid).catch(() => {}),
      onMark: (mid, read) => void this.#act(() => this.#mark(mid, read)),
      onReadAll: (newest) => void this.#act(() => this.#readAll(newest)),
      onUndo: () => void this.#act(() => this.#takeBack()),
    });
    this.#feed = new InboxFeed({
      inbox: this.#inbox,
      socket: { url: attribute("socket"), tokenUrl: attribute("token") },
      onUnread: (unread) => this.#count(unread),
      onPage: (page) => this.#panel.show(page),
      onFailure: (text) => this.#panel.say(text),
    });
    this.#build(root);
    this.#draw();
    this.#speak();
  }

  end() {
    this.#listening.abort();
    this.#feed.end();
    clearTimeout(this.#speaking);
    cancelAnimationFrame(this.#frame);
  }

  #build(/** @type {ShadowRoot} */ root) {
    root.adoptedStyleSheets = [BELL_STYLE];
    this.#badge.setAttribute("aria-hidden", "true");
    this.#spoken.id = "spoken";
    this.#spoken.setAttribute("role", "status");
    this.#button.setAttribute("aria-label", "Notifications");
    this.#button.setAttribute("aria-describedby", "spoken");
    this.#button.setAttribute("aria-controls", "panel");
    this.#button.setAttribute("aria-expanded", "false");
    this.#button.append(bellIcon(), this.#badge);
    root.replaceChildren(this.#button, this.#spoken, this.#panel.element);
    const { signal } = this.#listening;
    this.#host.addEventListener("keydown", (event) => this.#onKey(event), { signal });
    this.#host.addEventListener("focusout", (event) => event.relatedTarget && this.#close(), { signal });
    document.addEventListener("pointerdown", (event) => this.#onPointer(event), { signal });
  }

  // --- the panel ---

  get #isOpen() {
    return this.#feed.wanted;
  }

  #open() {
    this.#button.setAttribute("aria-expanded", "true");
    const { left, right } = this.#host.getBoundingClientRect();
    // To the side where there is room.
    this.#panel.element.part.toggle("rightward", left + right < window.innerWidth);
    this.#panel.element.hidden = false;
    this.#panel.say("Loading…");
    this.#feed.wanted = true;
  }

  #close() {
    this.#button.setAttribute("aria-expanded", "false");
    this.#panel.element.hidden = true;
    this.#feed.wanted = false;
    this.#setUndo("");
  }

  #onKey(/** @type {KeyboardEvent} */ event) {
    if (event.key === "Escape" && this.#isOpen) {
      event.stopPropagation();
      this.#close();
      this.#button.focus();
    }
  }

  #onPointer(/** @type {PointerEvent} */ event) {
    if (this.#isOpen && !event.composedPath().includes(this.#host)) {
      this.#close();
    }
  }

  // --- what a person does ---

  async #mark(/** @type {string} */ mid, /** @type {boolean} */ read) {
    await (read ? this.#inbox.read(mid) : this.#inbox.unread(mid));
    this.#panel.mark(mid, read);
  }

  async #readAll(/** @type {string} */ newest) {
    this.#setUndo(await this.#inbox.readUpTo(newest));
  }

  async #takeBack() {
    await this.#inbox.undo(this.#undo);
    this.#setUndo("");
  }

  /** One thing at a time. What it has changed is loaded as well: the socket may be down. */
  async #act(/** @type {() => Promise<void>} */ action) {
    if (this.#busy) {
      return;
    }
    this.#busy = true;
    try {
      await action();
      this.#feed.refresh();
    } catch (error) {
      this.#panel.say(sentence(error));
    } finally {
      this.#busy = false;
    }
  }

  #setUndo(/** @type {string} */ undo) {
    this.#undo = undo;
    this.#panel.undoable = undo !== "";
  }

  // --- the count ---

  /** Many events in a moment are one drawing. */
  #count(/** @type {number} */ unread) {
    this.#unread = unread;
    this.#frame ||= requestAnimationFrame(() => this.#draw());
    this.#speaking ||= setTimeout(() => this.#speak(), SPEAK_MS);
  }

  #draw() {
    this.#frame = 0;
    this.#badge.hidden = this.#unread === 0;
    this.#badge.textContent = shown(this.#unread);
  }

  #speak() {
    this.#speaking = 0;
    const number = this.#unread === 0 ? "No" : shown(this.#unread);
    const text = `${number} unread notification${this.#unread === 1 ? "" : "s"}`;
    // Only a change is read out.
    if (this.#spoken.textContent !== text) {
      this.#spoken.textContent = text;
    }
  }
}

function shown(/** @type {number} */ unread) {
  return unread < UNREAD_MAX ? String(unread) : `${UNREAD_MAX - 1}+`;
}

customElements.define("realtime-bell", RealtimeBell);
