// Makes the dashboard live. It tells the page when there is something `changed`, and hears of a `newer` page from it.
"use strict";

{
  const byId = (id) => document.getElementById(id);
  const happening = byId("happening");
  const here = happening.dataset.region;
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const parse = (html) => new DOMParser().parseFromString(html, "text/html");

  // What the server tells.

  /// Takes over what changes by itself, and keeps the focus on its button. A form that was sent waits for its answer.
  function take(page) {
    for (const newer of page.querySelectorAll("[data-live]")) {
      const old = byId(newer.id);
      if (!old || old.hasAttribute("aria-busy")) continue;
      const focused = old.contains(document.activeElement) ? document.activeElement : null;
      renew(old, newer);
      if (focused?.isConnected === false) (byId(focused.id) ?? byId(newer.id)).focus({ preventScroll: true });
    }
  }

  /// Replaces only what differs: somebody may have selected the rest, or be reading it.
  function renew(old, newer) {
    const [those, these] = [[...old.childNodes], [...newer.childNodes]];
    const alike = old.cloneNode().isEqualNode(newer.cloneNode()) && those.length === these.length;
    if (alike) those.forEach((child, index) => renew(child, these[index]));
    else old.replaceWith(newer);
  }

  document.addEventListener("newer", (event) => take(event.detail));
  const server = new EventSource("/live");
  server.onopen = () => happening.classList.remove("alone");
  server.onerror = () => happening.classList.add("alone");
  server.addEventListener("now", (event) => take(parse(event.data)));
  server.addEventListener("changed", () => document.dispatchEvent(new Event("changed")));
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
    const { peer, fate } = calls.firstElementChild.dataset;
    const way = byId(`way-${here}`);
    if (way && LOST.includes(fate)) glow(way, "broken");
    else if (peer) thereAndBack("write", !fate);
    else if (!fate) replicate();
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

  /// The fates of calls that did not get to the primary, or whose answer did not come back.
  const LOST = ["not_sent", "outcome_unknown"];

  async function thereAndBack(kind, replicates) {
    const way = byId(`way-${here}`);
    await fly(way, kind, false);
    if (replicates) replicate();
    else await fly(way, kind, true);
  }

  function replicate() {
    for (const way of document.querySelectorAll("#places .way")) fly(way, "replication", true);
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

  /// Where nothing should move, and where the way is broken. It is drawn over the way, which is compared and replaced.
  function glow(way, kind) {
    const light = way.cloneNode();
    light.removeAttribute("id");
    light.setAttribute("class", `way ${kind}`);
    byId("flights").append(light);
    return new Promise((over) => setTimeout(() => (light.remove(), over()), SECOND));
  }
}
