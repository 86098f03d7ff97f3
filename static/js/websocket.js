/*
 * The client of pages that were written to the 2016 article (docs/browser-client.md):
 *
 *     var ws = createSocket("ws://" + location.host + "/websocket", messageHandler);
 *
 * A classic script. It needs neither jQuery nor reconnecting-websocket and does not mind either. It writes Online or
 * Offline into #connected and Yes or No into #authenticated, where the page has them, and hands each event to
 * messageHandler(data). `$SCRIPT_ROOT`, where defined, is put before the address of the token.
 *
 * Two things differ from 2016, and no page sees them: the token is never written into a cookie, so it can be neither
 * stolen there nor outlive a sign-out; and a socket that the server has closed for good stays closed.
 */

/**
 * Everything stands inside the function: the page's own names are not this script's to take.
 * @param {string} url
 * @param {(data: {id: string, data: any}) => void} messageHandler
 * @returns {{send: (text: string) => void, close: () => void, readonly readyState: number}}
 */
function createSocket(url, messageHandler) {
  const MIN_RETRY_MS = 500;
  const MAX_RETRY_MS = 30_000;
  // The server beats every 45 s or so: a socket that is silent for twice that long is dead, whatever TCP believes.
  const SILENCE_MS = 90_000;
  // A session shorter than this does not count as a recovery: a server that lets in and drops is not hammered.
  const STABLE_MS = 10_000;

  // The article's pages say ws:// even where they are served by https://, which browsers refuse as mixed content.
  const address = location.protocol === "https:" ? url.replace(/^ws:/, "wss:") : url;
  const root = typeof $SCRIPT_ROOT === "undefined" ? "" : $SCRIPT_ROOT;

  let socket;
  // Failed or short tries in a row.
  let attempt = 0;
  // When the first AUTH OK came on the present socket; 0 before.
  let onlineAt = 0;
  let ended = false;
  let retry = 0;
  let watchdog = 0;

  function show(connected, authenticated) {
    for (const [id, text] of Object.entries({ connected, authenticated })) {
      const element = document.getElementById(id);
      if (element) {
        element.textContent = text;
      }
    }
  }

  function open() {
    const current = new WebSocket(address);
    socket = current;
    onlineAt = 0;
    current.onopen = () => show("Online", "No");
    current.onmessage = (message) => {
      watch(current);
      receive(current, message.data);
    };
    current.onclose = (close) => lost(close.code);
    watch(current);
  }

  function watch(current) {
    clearTimeout(watchdog);
    watchdog = setTimeout(() => {
      // On a dead network the browser's own close event comes minutes later.
      current.onmessage = null;
      current.onclose = null;
      current.close();
      lost(1006);
    }, SILENCE_MS);
  }

  function receive(current, text) {
    if (text === "<3") {
      return;
    }
    const data = JSON.parse(text);
    switch (data["id"]) {
      case "AUTH REQUEST":
        authenticate(current);
        break;
      case "AUTH OK":
        onlineAt ||= Date.now();
        show("Online", "Yes");
        break;
      case "AUTH FAILED":
        show("Online", "No");
        break;
      default:
        messageHandler(data);
    }
  }

  async function authenticate(current) {
    try {
      const tokenUrl = new URL(`${root}/socket_auth_token`, document.baseURI);
      const response = await fetch(tokenUrl, {
        // A page of another origin (REALTIME_ALLOWED_ORIGINS) has to say that the session cookie goes along.
        credentials: tokenUrl.origin === location.origin ? "same-origin" : "include",
        cache: "no-store",
        redirect: "error",
      });
      if (response.status === 401) {
        ended = true; // nobody is signed in any more: trying again would not help
      }
      if (!response.ok) {
        throw new Error(`no token: ${response.status}`);
      }
      const token = await response.text();
      if (current.readyState === WebSocket.OPEN) {
        current.send(token);
      }
    } catch {
      // The site is being restarted, perhaps: come back with a new socket.
      current.close();
    }
  }

  function lost(code) {
    clearTimeout(watchdog);
    show("Offline", "No");
    // 4500 to 4999 mean stop (docs/protocol.md).
    if (!ended && !(code >= 4500 && code <= 4999)) {
      if (onlineAt !== 0 && Date.now() - onlineAt >= STABLE_MS) {
        attempt = 0;
      }
      const cap = Math.min(MAX_RETRY_MS, 1000 * 2 ** Math.min(attempt, 5));
      attempt += 1;
      retry = setTimeout(open, MIN_RETRY_MS + Math.random() * (cap - MIN_RETRY_MS));
    }
  }

  open();
  return {
    send: (text) => socket.send(text),
    close: () => {
      ended = true;
      clearTimeout(retry);
      socket.close();
    },
    get readyState() {
      return socket.readyState;
    },
  };
}
