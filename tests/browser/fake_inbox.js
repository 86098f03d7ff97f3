/* The inbox over HTTP, played by the test (tests/browser/test_bell.py). Runs before any script of the page. */

window.inbox = {
  page: { unread: 3, items: [], cursor: { "user.1": { epoch: "e", seq: 5 } }, next: null },
  status: 200,
  /** What was asked, in order: ["GET /inbox"], ["POST /inbox/read", "mid=…&csrfmiddlewaretoken=…"]. */
  asked: [],
  /** Whether answers wait for `release`. */
  held: false,
  release: () => {},
};

const network = window.fetch;

window.fetch = async (url, options = {}) => {
  if (!String(url).startsWith("/inbox")) {
    return network(url, options);
  }
  const { inbox } = window;
  const { method = "GET", body = "" } = options;
  inbox.asked.push([`${method} ${url}`, String(body)]);
  const answer = method === "GET" ? structuredClone(inbox.page) : { unread: inbox.page.unread, undo: "undo-token" };
  if (inbox.held) {
    await new Promise((resolve) => { inbox.release = resolve; });
  }
  return new Response(JSON.stringify(answer), { status: inbox.status });
};
