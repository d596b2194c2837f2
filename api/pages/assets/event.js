// An event's page: what is left, live; the sales clock; booking.
import { account, attempts, byId, clock, countdown, el, entrance, localize, pause, read, request, say, sayWaiting, shared, untilAnswered } from "./onsale.js";

const LOOK_EVERY_S = 2;
const id = byId("event").dataset.event;
const answer = byId("answer");
let stopClock = () => {};
let shown = null;

/** Ask for the event every other second while the page is in sight, and tell what has changed. */
async function follow(tell, signal) {
  let etag = null;
  while (!signal.aborted) {
    if (!document.hidden || etag === null) {
      try {
        const response = await request(`/events/${id}`, { signal, headers: etag ? { "If-None-Match": etag } : {} });
        if (response.status === 200) {
          etag = response.headers.get("ETag");
          tell(await response.json());
        }
      } catch (problem) {
        if (signal.aborted) return;
        // What is shown stays; the next look follows.
        await pause(problem.retryAfterS ?? LOOK_EVERY_S);
      }
    }
    await pause(LOOK_EVERY_S);
  }
}

async function show(event) {
  const changed = shown && (shown.status !== event.status || shown.version !== event.version);
  const differs = shown === null && byId("sale").dataset.status !== event.status;
  shown = event;
  if (changed || differs) await renderAgain();
  const left = byId("left");
  if (left && event.status === "on_sale") {
    const number = (value) => value.toLocaleString();
    left.textContent = `${number(event.remaining)} of ${number(event.capacity)} tickets left`;
    byId("meter").value = event.remaining;
  }
  showClock(event);
}

/** Take the parts of the page that depend on the state of the sale from the server once more. */
async function renderAgain() {
  const response = await fetch(location.pathname, { cache: "no-cache" }).catch(() => null);
  if (!response?.ok) return;
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  const quantity = byId("quantity")?.value;
  for (const part of ["state", "availability", "sale"]) byId(part).replaceWith(document.adoptNode(fresh.getElementById(part)));
  localize(byId("event"));
  if (byId("quantity") && quantity) byId("quantity").value = quantity;
  listen();
}

function showClock(event) {
  stopClock();
  stopClock = () => {};
  const box = byId("sale").querySelector(".note");
  if (event.status !== "scheduled" || !event.sales_open_at || !box) return;
  const time = box.querySelector(".clock") ?? box.insertBefore(el("p", { class: "clock" }), box.querySelector("strong").nextSibling);
  box.querySelector("strong").textContent = "Opens in";
  const begin = () => {
    // By the server's clock: it decides when sales open.
    stopClock = countdown(event.sales_open_at, (left) => { time.textContent = left; }, untilOpen);
  };
  if (clock.aheadMs === null) request(`/events/${id}`).finally(begin);
  else begin();
}

async function untilOpen() {
  const event = await untilAnswered(() => read(`/events/${id}`), () => {});
  if (event.status === "scheduled") await pause(1).then(untilOpen);
  else await show(event);
}

function order() {
  return { event_id: id, quantity: Number(byId("quantity").value) };
}

/** Send the same request until there is an answer. Its key is kept, so that no repetition books again. */
async function book(attempt) {
  busy(true);
  try {
    const send = () => read("/bookings", { method: "POST", body: attempt.body, headers: { "Idempotency-Key": attempt.key } });
    const booking = await untilAnswered(send, (problem, seconds) => sayWaiting(answer, problem, seconds));
    attempts.end(id);
    say(answer, "good", "Your tickets are taken", "Opening your booking…");
    location.assign(`/bookings/${booking.id}`);
  } catch (problem) {
    refused(problem);
  } finally {
    busy(false);
  }
}

function refused(problem) {
  if (problem.status === 401) {
    // The attempt is kept: it goes on after the login, with the same key.
    account.forget();
    location.assign(entrance(`${location.pathname}?quantity=${byId("quantity")?.value ?? 1}`));
    return;
  }
  attempts.end(id);
  const headlines = { sold_out: "Not enough tickets are left", per_user_limit: "That would be too many tickets", not_on_sale: "This event is not on sale" };
  say(answer, "bad", headlines[problem.code] ?? "This was not booked", problem.message);
}

function busy(is) {
  const button = byId("book");
  if (!button) return;
  button.setAttribute("aria-disabled", String(is));
  button.textContent = is ? "Booking…" : "Book";
}

function listen() {
  for (const button of document.querySelectorAll("[data-step]")) {
    button.hidden = false;
    button.addEventListener("click", () => (button.dataset.step > 0 ? byId("quantity").stepUp() : byId("quantity").stepDown()));
  }
  byId("order")?.addEventListener("submit", (submitted) => {
    submitted.preventDefault();
    if (byId("book").getAttribute("aria-disabled") === "true") return;
    if (!account.get()) {
      location.assign(entrance(`${location.pathname}?quantity=${byId("quantity").value}`));
      return;
    }
    say(answer);
    const body = order();
    const kept = attempts.of(id);
    book(kept && JSON.stringify(kept.body) === JSON.stringify(body) ? kept : attempts.begin(id, body));
  });
}

function goOn() {
  const quantity = new URLSearchParams(location.search).get("quantity");
  if (quantity && byId("quantity")) {
    byId("quantity").value = quantity;
    if (account.get()) byId("book").focus();
  }
  const kept = account.get() && attempts.of(id);
  if (kept) book(kept);
}

listen();
goOn();
shared(`onsale:event:${id}`, follow, show);
