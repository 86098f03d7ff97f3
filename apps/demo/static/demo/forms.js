/**
 * Sends the forms of the page without leaving it; without this script they work by a redirect (docs/demo.md).
 * @module
 */

const SIGNED_OUT = "You are signed out. Reload this page and sign in again.";
const OUT_OF_DATE = "This page is out of date. Reload it and try again.";
const UNREACHABLE = "The server could not be reached. Try again.";

/** Forms whose answer has not come yet. @type {WeakSet<HTMLFormElement>} */
const busy = new WeakSet();

/** @param {(answer: any) => void} onAccepted gets the JSON of a successful answer */
export function sendForms(onAccepted) {
  for (const form of document.querySelectorAll("form[data-send]")) {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (!busy.has(form)) {
        void submit(form, onAccepted);
      }
    });
  }
}

async function submit(form, onAccepted) {
  // Not `disabled`: that would take the keyboard focus away.
  busy.add(form);
  form.setAttribute("aria-busy", "true");
  try {
    const { error, answer } = await send(form);
    showError(form, error);
    if (answer) {
      if ("reset" in form.dataset) {
        form.reset();
      }
      onAccepted(answer);
    }
  } finally {
    busy.delete(form);
    form.removeAttribute("aria-busy");
  }
}

/** @returns {Promise<{error: string, answer?: any}>} `error` is empty when there is an answer */
async function send(form) {
  try {
    const response = await fetch(form.action, {
      method: "POST",
      body: new FormData(form),
      headers: { Accept: "application/json" },
      // A redirect leads to the sign-in page.
      redirect: "manual",
    });
    if (response.type === "opaqueredirect") {
      return { error: SIGNED_OUT };
    }
    if (response.status === 403) {
      return { error: OUT_OF_DATE };
    }
    const answer = await response.json();
    return response.ok ? { error: "", answer } : { error: Object.values(answer.errors).flat().join(" ") };
  } catch {
    return { error: UNREACHABLE };
  }
}

function showError(form, text) {
  const error = document.getElementById(form.getAttribute("aria-describedby"));
  error.textContent = text;
  error.hidden = text === "";
}
