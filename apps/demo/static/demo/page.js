/**
 * What the pages of the demo do with the events they get (docs/demo.md).
 * @module
 */

import { connect } from "../message_flow/js/realtime.js";
import { removeComment, showAllComments, showComment } from "./comments.js";
import { logEvent } from "./event-log.js";
import { sendForms } from "./forms.js";
import { showState } from "./indicators.js";
import { disconnected, reloaded, streamChanged } from "./missed.js";
import { showAllNews, showNews } from "./news.js";
import { showTask, showTasks, watchTasks } from "./tasks.js";
import { localTimes } from "./text.js";
import { toast } from "./toasts.js";

/**
 * What an event changes in the page, by its id; a Map, because an id such as "constructor" must find nothing.
 * @type {Map<string, (data: any) => void>}
 */
const changes = new Map([
  ["task/PROGRESS", (data) => showTask("running", data)],
  ["task/DONE", (data) => showTask("done", data)],
  ["task/FAILED", (data) => showTask("failed", data)],
  ["news/PUBLISHED", showNews],
  ["comment/SAVED", showComment],
  ["comment/REMOVED", ({ id }) => removeComment(id)],
]);

/** What a notification says; of any other event, its title does. @type {Map<string, (data: any) => object>} */
const notices = new Map([
  ["task/ENDED", ({ label, state, error }) => ({ title: `${label}: ${state}`, text: error })],
  ["news/PUBLISHED", ({ title, by, url }) => ({ title, text: `From ${by}`, url })],
]);

const connection = connect({
  topics: Array.from(document.querySelectorAll("[data-topic]"), (element) => element.dataset.topic),
  onState(change) {
    showState(change);
    if (change.state !== "online") {
      disconnected(change.state === "stopped" || change.state === "signed-out");
    }
  },
  onEvent(event) {
    logEvent(event);
    const { id, data, title, url } = event;
    changes.get(id)?.(data);
    const notice = notices.get(id)?.(data) ?? { title, text: data?.text, url };
    if (notice.title) {
      toast(notice);
    }
  },
  onStream: streamChanged,
  snapshot: loadState,
});

/** The page's state as the server has it now. */
async function loadState({ signal }) {
  const { url } = document.querySelector("[data-url]").dataset;
  const response = await fetch(url, { headers: { Accept: "application/json" }, redirect: "error", signal });
  if (!response.ok) {
    throw new Error(`the server answered ${response.status}`);
  }
  const { cursor, tasks, news, comments } = await response.json();
  const apply = () => {
    showTasks(tasks ?? []);
    showAllNews(news ?? []);
    showAllComments(comments ?? []);
    reloaded();
  };
  return { cursor, apply };
}

// A server that was restarted has taken its tasks along, and nobody is left to say so.
watchTasks(() => connection.refresh());

sendForms((answer) => {
  if (answer.comment) {
    // The socket may be down just now; the same comment over it changes nothing.
    showComment(answer.comment);
  }
});
localTimes(document);
