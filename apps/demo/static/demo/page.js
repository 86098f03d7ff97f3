/**
 * What the pages of the demo do with the events they get (docs/demo.md).
 * @module
 */

import { connect } from "../message_flow/js/realtime.js";
import { removeComment, showComment } from "./comments.js";
import { logEvent } from "./event-log.js";
import { sendForms } from "./forms.js";
import { showState } from "./indicators.js";
import { showTask } from "./tasks.js";
import { localTimes } from "./text.js";
import { toast } from "./toasts.js";

/** By event id; a Map, because an id such as "constructor" must find nothing. @type {Map<string, (data: any) => void>} */
const handlers = new Map([
  ["task/PROGRESS", (data) => showTask("running", data)],
  [
    "task/DONE",
    (data) => {
      showTask("done", data);
      toast({ title: `${data.label}: done` });
    },
  ],
  [
    "task/FAILED",
    (data) => {
      showTask("failed", data);
      toast({ title: `${data.label}: failed`, text: data.error });
    },
  ],
  ["news/PUBLISHED", ({ title, by, url }) => toast({ title, text: `From ${by}`, url })],
  ["comment/ADDED", ({ author, title, text, url }) => toast({ title: `${author} on “${title}”`, text, url })],
  ["comment/SAVED", showComment],
  ["comment/REMOVED", ({ id }) => removeComment(id)],
]);

connect({
  topics: Array.from(document.querySelectorAll("[data-topic]"), (element) => element.dataset.topic),
  onState: showState,
  onEvent(event) {
    logEvent(event);
    handlers.get(event.id)?.(event.data);
  },
});

sendForms((answer) => {
  if (answer.comment) {
    // The socket may be down just now; the same comment over it changes nothing.
    showComment(answer.comment);
  }
});
localTimes(document);
