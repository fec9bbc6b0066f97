// Forms go without a reload, and the book follows what others write. Without it, everything works by reloading.
"use strict";

const byId = (id) => document.getElementById(id);
const parse = (html) => new DOMParser().parseFromString(html, "text/html");

document.addEventListener("submit", async (event) => {
  const { target: form, submitter: button } = event;
  if (form.method !== "post") return;
  event.preventDefault();
  if (form.hasAttribute("aria-busy")) return;
  const body = new URLSearchParams(new FormData(form, button));
  const action = button.getAttribute("formaction") ?? form.getAttribute("action");
  const before = shows;
  setBusy(form, true);
  const answer = await fetch(action, { method: "POST", body }).catch(() => null);
  const text = await answer?.text().catch(() => "");
  setBusy(form, false);
  if (!text && !answer?.redirected) {
    return say("This node does not answer. Nothing is known of what you sent; look before you send it again.", true);
  }
  // The status 202 says so too.
  const done = answer.redirected || answer.ok;
  if (done && form.id === "sign") form.reset();
  const page = parse(text);
  const what = button.textContent.trim();
  if (!page.getElementById("book")) {
    const failure = page.getElementById("failure")?.textContent ?? page.body.textContent;
    // A redirect is the answer to what was sent; what failed is the page after it.
    const after = `${what}: done, do not send it again. Only the page after it cannot be shown. `;
    return say(answer.redirected ? after + failure : failure, true);
  }
  history.replaceState(null, "", plain(answer.url));
  const overtaken = shows !== before;
  show(page, form);
  if (overtaken) lookAgain();
  document.dispatchEvent(new CustomEvent("newer", { detail: page }));
  say(page.getElementById("notice").textContent || `${what}: done`, false);
});

/// A button that is disabled loses the focus, so it is only said to be.
function setBusy(form, busy) {
  const value = busy ? "true" : null;
  form.ariaBusy = value;
  for (const button of form.querySelectorAll("button")) button.ariaDisabled = value;
}

function say(text, failed) {
  const notice = byId("notice");
  notice.textContent = text;
  notice.classList.toggle("failed", failed);
}

/// The address of a page without how long it took what was sent before.
function plain(address) {
  const url = new URL(address);
  url.searchParams.delete("done");
  return url;
}

// The book is replaced part by part, and around what somebody is writing in.

/// How many pages were shown: one that was asked for before the last of them is too old.
let shows = 0;

/// Parts that somebody was using when there was something newer.
let kept = [];

const parts = (book) => [...book.querySelectorAll(":scope > [id], li")];

/// Takes the book over from a newer page, which may be the answer to a form that was sent.
function show(page, sent) {
  const book = byId("book");
  const focused = document.activeElement?.closest("#book [id]");
  const gone = new Set(parts(book));
  const keep = (part) => isUsed(part, sent) && kept.push(part);
  shows += 1;
  kept = [];
  let last;
  for (const part of parts(page.getElementById("book"))) {
    const old = byId(part.id);
    gone.delete(old);
    const stays = old && (old.isEqualNode(part) || keep(old));
    if (old && !stays) old.replaceWith(part);
    else if (!old && last.matches("li")) last.after(part);
    else if (!old) book.querySelector("ol").prepend(part);
    last = stays ? old : part;
  }
  for (const part of gone) if (!keep(part)) part.remove();
  if (focused && !focused.isConnected) {
    book.tabIndex = -1;
    (byId(focused.id)?.querySelector("summary, button") ?? book).focus({ preventScroll: true });
  }
}

/// Whether somebody writes in it. Who has sent it does no longer.
const isUsed = (part, sent) =>
  !part.contains(sent) && part.querySelector("details[open], input:focus, textarea:focus") !== null;

/// One look at a time. What changes meanwhile may be too new for it, and is looked at afterwards.
let looking = false;
let again = false;
async function lookAgain() {
  again = looking;
  if (looking) return;
  looking = true;
  const before = shows;
  try {
    const answer = await fetch(plain(location.href));
    const page = parse(await answer.text());
    if (shows !== before) again = true;
    else if (page.getElementById("book")) show(page, null);
  } catch {
    // The next change tries again.
  } finally {
    looking = false;
  }
  if (again) lookAgain();
}

function leave() {
  if (kept.some((part) => !isUsed(part, null))) lookAgain();
}

// The database here has something new.
document.addEventListener("changed", lookAgain);
document.addEventListener("focusout", leave);
// It does not bubble.
document.addEventListener("toggle", leave, true);
