// What is on: the numbers of tickets stay as they are on the server, while the page is in sight.
import { pause, read, shared } from "./onsale.js";

const LOOK_EVERY_S = 5;
const rows = new Map([...document.querySelectorAll("[data-event]")].map((row) => [row.dataset.event, row]));
const query = new URLSearchParams(location.search);

/** The same list as the server rendered, but by the API. */
function path() {
  const asked = new URLSearchParams({ limit: "20" });
  for (const name of ["q", "cursor"]) if (query.get(name)) asked.set(name, query.get(name));
  return `/events?${asked}`;
}

async function follow(tell, signal) {
  for (;;) {
    await pause(LOOK_EVERY_S);
    if (signal.aborted) return;
    if (document.hidden || !rows.size) continue;
    try {
      tell((await read(path(), { signal })).items);
    } catch (problem) {
      if (signal.aborted) return;
      await pause(problem.retryAfterS ?? LOOK_EVERY_S);
    }
  }
}

function show(events) {
  for (const event of events) {
    const pill = rows.get(event.id)?.querySelector(".pill");
    if (!pill) continue;
    const left = event.remaining.toLocaleString();
    const few = event.remaining * 10 <= event.capacity;
    if (event.status === "on_sale") Object.assign(pill, { className: `pill ${few ? "warn" : "good"}`, textContent: few ? `Only ${left} left` : `${left} left` });
    else if (event.status === "sold_out") Object.assign(pill, { className: "pill bad", textContent: "Sold out" });
  }
}

shared(`onsale:list:${location.search}`, follow, show);
