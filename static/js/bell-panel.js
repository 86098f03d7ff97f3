/**
 * The list that the bell opens: what stands in it, and nothing of where that comes from (docs/inbox.md, "The bell").
 *
 * Titles were written by anybody: they are set as text, and only http(s) addresses become links.
 * @module
 */

const WHEN = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

/**
 * @typedef {object} PanelOptions
 * @property {string} inboxUrl
 * @property {(mid: string) => void} onFollow a link of something unread is being followed
 * @property {(mid: string, read: boolean) => void} onMark one is to be read, or unread
 * @property {(newest: string) => void} onReadAll all that are shown are to be read, and whatever is older
 * @property {() => void} onUndo the last `onReadAll` was a mistake
 */

/** @typedef {{row: HTMLElement, show: (read: boolean) => void}} Row */

export class Panel {
  /** @type {PanelOptions} */
  #options;
  /** By mid, in the order of the page. @type {Map<string, Row>} */
  #rows = new Map();
  #list = make("ul", "list");
  #note = make("p", "note");
  #readAll = button("read-all", "Mark all as read", () => this.#markAll());
  #undo = button("undo", "Undo", () => this.#options.onUndo());
  #done = make("p", "done", "All are read. ");

  /** @param {PanelOptions} options */
  constructor(options) {
    this.#options = options;
    this.element = make("div", "panel");
    this.element.id = "panel";
    this.element.tabIndex = -1;
    this.element.hidden = true;
    this.element.setAttribute("role", "group");
    this.element.setAttribute("aria-labelledby", "heading");
    const heading = make("h2", "heading", "Notifications");
    heading.id = "heading";
    const head = make("div", "head");
    head.append(heading, this.#readAll);
    this.#readAll.hidden = true;
    this.#done.append(this.#undo);
    this.#done.hidden = true;
    this.#note.setAttribute("role", "status");
    const foot = make("p", "foot");
    foot.append(link("all", options.inboxUrl, "All notifications"));
    this.element.append(head, this.#done, this.#note, this.#list, foot);
  }

  /** @param {boolean} undoable whether `onUndo` can take back the last `onReadAll` */
  set undoable(undoable) {
    this.#keepFocus(() => {
      this.#done.hidden = !undoable;
    });
  }

  /** @param {string} text a sentence above the list; empty: none */
  say(text) {
    this.#note.textContent = text;
    this.#note.hidden = text === "";
  }

  /** @param {import("./inbox.js").Page} page all that is to be seen */
  show({ items, unread }) {
    this.say(items.length === 0 ? "Nothing yet." : "");
    this.#keepFocus(() => {
      this.#readAll.hidden = unread === 0;
      this.#showRows(items);
    });
  }

  /**
   * @param {string} mid
   * @param {boolean} read
   */
  mark(mid, read) {
    this.#rows.get(mid)?.show(read);
  }

  #showRows(/** @type {import("./inbox.js").Item[]} */ items) {
    const before = this.#rows;
    this.#rows = new Map(items.map((item) => [item.mid, before.get(item.mid) ?? this.#row(item)]));
    for (const [mid, { row }] of before) {
      if (!this.#rows.has(mid)) {
        row.remove();
      }
    }
    // A row that stays where it is keeps the focus.
    items.forEach(({ mid, read }, place) => {
      const { row, show } = /** @type {Row} */ (this.#rows.get(mid));
      show(read);
      if (this.#list.children[place] !== row) {
        this.#list.insertBefore(row, this.#list.children[place] ?? null);
      }
    });
  }

  /** What had the keyboard's focus may be gone: then the panel has it. */
  #keepFocus(/** @type {() => void} */ change) {
    const focused = this.element.matches(":focus-within");
    change();
    if (focused && !this.element.matches(":focus-within")) {
      this.element.focus();
    }
  }

  /** @returns {Row} */
  #row(/** @type {import("./inbox.js").Item} */ { mid, title, url, at }) {
    let read = false;
    const row = make("li", "item");
    const toggle = button("toggle", "", () => this.#options.onMark(mid, !read));
    const address = webAddress(url);
    const text = address === null ? make("span", "title", title) : link("title", address, title);
    text.dir = "auto";
    if (address !== null) {
      const follow = () => read || this.#options.onFollow(mid);
      text.addEventListener("click", follow);
      // The middle button opens a tab.
      text.addEventListener("auxclick", (event) => event.button === 1 && follow());
    }
    const time = document.createElement("time");
    time.part.add("time");
    time.dateTime = at;
    time.textContent = WHEN.format(new Date(at));
    row.append(text, toggle, time);
    const show = (/** @type {boolean} */ isRead) => {
      read = isRead;
      row.part.toggle("unread", !read);
      toggle.title = read ? "Mark as unread" : "Mark as read";
      toggle.setAttribute("aria-label", `${toggle.title}: ${title}`);
    };
    return { row, show };
  }

  #markAll() {
    const [newest] = this.#rows.keys();
    if (newest !== undefined) {
      this.#options.onReadAll(newest);
    }
  }
}

/**
 * @param {string} name of the element
 * @param {string} part by which a page may style it
 * @param {string} text
 * @returns {HTMLElement}
 */
export function make(name, part, text = "") {
  const made = document.createElement(name);
  made.part.add(part);
  made.textContent = text;
  return made;
}

/**
 * @param {string} part
 * @param {string} text
 * @param {() => void} onClick
 * @returns {HTMLButtonElement}
 */
export function button(part, text, onClick) {
  const made = /** @type {HTMLButtonElement} */ (make("button", part, text));
  made.type = "button";
  made.addEventListener("click", onClick);
  return made;
}

function link(/** @type {string} */ part, /** @type {string} */ href, /** @type {string} */ text) {
  const made = /** @type {HTMLAnchorElement} */ (make("a", part, text));
  made.href = href;
  return made;
}

/**
 * @param {string | null} url
 * @returns {string | null} a whole address that a link may have
 */
function webAddress(url) {
  if (!url || !URL.canParse(url, document.baseURI)) {
    return null;
  }
  const address = new URL(url, document.baseURI);
  return /^https?:$/.test(address.protocol) ? address.href : null;
}
