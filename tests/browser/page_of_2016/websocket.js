/*
 * What the script of the 2016 article does, in other words and without jQuery and reconnecting-websocket: the token in a
 * cookie that this script writes, the cookie first, and a new socket after every loss, whatever its close code.
 * tests/browser/test_original_2016.py runs it against the running site; docs/browser-client.md says what it proves.
 */

const COOKIE = "auth_token";
const RETRY_MS = 1000;

/** What went over the sockets of this page, for the test: "> " the client's frames, "< " the server's. */
window.traffic = [];

function readCookie() {
  const pair = document.cookie.split("; ").find((text) => text.startsWith(`${COOKIE}=`));
  return pair === undefined ? null : pair.slice(COOKIE.length + 1);
}

function writeCookie(token) {
  document.cookie = `${COOKIE}=${token}; path=/`;
}

function eraseCookie() {
  document.cookie = `${COOKIE}=; path=/; expires=Thu, 01 Jan 1970 00:00:00 GMT`;
}

function show(id, text) {
  document.getElementById(id).textContent = text;
}

function createSocket(url, messageHandler) {
  let socket;

  function say(token, kind) {
    window.traffic.push(`> ${kind}`);
    socket.send(token);
  }

  function answer() {
    const kept = readCookie();
    if (kept !== null) {
      say(kept, "cookie");
      return;
    }
    const request = new XMLHttpRequest();
    request.open("GET", `${$SCRIPT_ROOT}/socket_auth_token`);
    request.onload = () => {
      if (request.status === 200) {
        writeCookie(request.responseText);
        say(request.responseText, "fetched");
      } else {
        request.onerror();
      }
    };
    request.onerror = () => setTimeout(() => say("no_auth_token_user bad_token", "no token"), 1000);
    request.send();
  }

  function receive(text) {
    if (text === "<3") {
      return;
    }
    const data = JSON.parse(text);
    window.traffic.push(`< ${data["id"]}`);
    if (data["id"] === "AUTH REQUEST") {
      answer();
    } else if (data["id"] === "AUTH OK") {
      show("authenticated", "Yes");
    } else if (data["id"] === "AUTH FAILED") {
      show("authenticated", "No");
      eraseCookie();
    } else {
      messageHandler(data);
    }
  }

  function open() {
    socket = new WebSocket(url);
    socket.onopen = () => show("connected", "Online");
    socket.onmessage = (message) => receive(message.data);
    socket.onclose = (close) => {
      window.traffic.push(`closed ${close.code}`);
      show("connected", "Offline");
      show("authenticated", "No");
      setTimeout(open, RETRY_MS);
    };
  }

  open();
}
