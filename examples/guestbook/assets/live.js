// Makes the page live. Without it, everything works by forms and reloading.
"use strict";

const here = document.body.dataset.region;
const byId = (id) => document.getElementById(id);
const still = matchMedia("(prefers-reduced-motion: reduce)");

// Forms go without a reload.

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
      for (const id of ["standing", "places", "controls"]) replace(id, page.getElementById(id).innerHTML);
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

let looking = false;
async function lookAgain() {
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
}

// What the server tells.

function replace(id, html) {
  const element = byId(id);
  if (element.innerHTML === html) return;
  const focused = [...element.querySelectorAll("button")].indexOf(document.activeElement);
  element.innerHTML = html;
  if (focused >= 0) element.querySelectorAll("button")[focused]?.focus();
}

const server = new EventSource("/live");
server.onopen = () => document.body.classList.remove("alone");
server.onerror = () => document.body.classList.add("alone");
server.addEventListener("now", (event) => {
  for (const piece of parse(event.data).querySelectorAll("[data-for]")) replace(piece.dataset.for, piece.innerHTML);
});
server.addEventListener("book", lookAgain);
server.addEventListener("read", (event) => {
  const primary = event.data !== "here";
  const dots = document.querySelector("#reads .dots");
  const dot = document.createElement("i");
  dot.className = primary ? "primary" : "here";
  dots.prepend(dot);
  while (dots.children.length > 40) dots.lastChild.remove();
  const count = dots.querySelectorAll(".here").length;
  byId("read-count").textContent = `${count} here, ${dots.children.length - count} by the primary`;
  if (primary) thereAndBack("reading", false);
});
server.addEventListener("call", (event) => {
  const calls = byId("calls");
  calls.insertAdjacentHTML("afterbegin", event.data);
  while (calls.children.length > 8) calls.lastElementChild.remove();
  scale();
  const call = calls.firstElementChild;
  if (call.classList.contains("failed")) return broken();
  if (call.dataset.peer) thereAndBack("write", true);
  else replicate();
});

/// All bars on one scale, so that they can be compared.
function scale() {
  const bars = [...document.querySelectorAll(".bar")];
  for (const bar of bars) bar.dataset.width ??= bar.viewBox.baseVal.width;
  const width = Math.max(...bars.map((bar) => Number(bar.dataset.width)));
  for (const bar of bars) bar.setAttribute("viewBox", `0 0 ${width} 10`);
}
scale();

// The map. Flights are slower than the real ones, to be seen.

const SECOND = 900;
const MOST_FLIGHTS = 40;

async function thereAndBack(kind, replicates) {
  const way = byId(`way-${here}`);
  await fly(way, kind, false);
  if (replicates) replicate();
  else await fly(way, kind, true);
}

function replicate() {
  for (const way of document.querySelectorAll(".way")) fly(way, "replication", true);
}

function fly(way, kind, back) {
  const flights = byId("flights");
  if (!way || document.hidden || flights.children.length >= MOST_FLIGHTS) return Promise.resolve();
  if (still.matches) return glow(way, kind);
  const length = way.getTotalLength();
  const dot = document.createElementNS("http://www.w3.org/2000/svg", "circle");
  dot.setAttribute("class", kind);
  dot.setAttribute("r", 2.6);
  const { x, y } = way.getPointAtLength(back ? length : 0);
  dot.setAttribute("cx", x);
  dot.setAttribute("cy", y);
  flights.append(dot);
  const begin = performance.now();
  const took = SECOND * (0.4 + length / 300);
  return new Promise((landed) => {
    const step = (now) => {
      const part = Math.min((now - begin) / took, 1);
      const eased = part * part * (3 - 2 * part);
      const { x, y } = way.getPointAtLength(length * (back ? 1 - eased : eased));
      dot.setAttribute("cx", x);
      dot.setAttribute("cy", y);
      if (part < 1) return requestAnimationFrame(step);
      dot.remove();
      landed();
    };
    requestAnimationFrame(step);
  });
}

function glow(way, kind) {
  way.classList.add(kind);
  return new Promise((over) => setTimeout(() => (way.classList.remove(kind), over()), SECOND));
}

function broken() {
  const way = byId(`way-${here}`);
  if (way) glow(way, "broken");
}
