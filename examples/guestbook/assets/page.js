// Forms go without a reload, and the book follows what others write. Without it, everything works by reloading.
"use strict";

const byId = (id) => document.getElementById(id);

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (form.method !== "post") return;
  event.preventDefault();
  const button = event.submitter;
  const data = new URLSearchParams(new FormData(form, button));
  if (button) button.disabled = true;
  form.setAttribute("aria-busy", "true");
  try {
    const action = button?.getAttribute("formaction") ?? form.getAttribute("action");
    const answer = await fetch(action, { method: "POST", body: data });
    const page = parse(await answer.text());
    if (answer.ok && page.getElementById("book")) {
      show(page, byId("book").contains(form));
      document.dispatchEvent(new CustomEvent("newer", { detail: page }));
      say(page.getElementById("notice").textContent, false);
      if (form.id === "sign") form.reset();
    } else {
      say(page.getElementById("failure")?.textContent ?? page.body.textContent, true);
    }
  } catch {
    say("This node does not answer. Nothing is known of what you sent; look before you send it again.", true);
  } finally {
    form.removeAttribute("aria-busy");
    if (button) button.disabled = false;
  }
});

function say(text, failed) {
  const notice = byId("notice");
  notice.textContent = text;
  notice.classList.toggle("failed", failed);
}

const parse = (html) => new DOMParser().parseFromString(html, "text/html");

/// Takes the book over from a newer page, unless somebody is writing in it.
function show(page, own) {
  const [old, book] = [byId("book"), page.getElementById("book")];
  const busy = old.querySelector("details[open]") || old.querySelector("input:focus, textarea:focus");
  if (!book || (busy && !own)) return;
  const focused = old.contains(document.activeElement);
  old.replaceWith(document.adoptNode(book));
  if (focused) {
    book.tabIndex = -1;
    book.focus({ preventScroll: true });
  }
}

/// One look at a time. What changes meanwhile may be too new for it, and is looked at afterwards.
let looking = false;
let again = false;
async function lookAgain() {
  again = looking;
  if (looking) return;
  looking = true;
  try {
    const url = new URL(location.href);
    url.searchParams.delete("done");
    const answer = await fetch(url);
    if (answer.ok) show(parse(await answer.text()), false);
  } catch {
    // The next change tries again.
  } finally {
    looking = false;
  }
  if (again) lookAgain();
}

// The database here has something new.
document.addEventListener("changed", lookAgain);
