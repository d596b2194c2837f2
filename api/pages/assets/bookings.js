// My bookings: newest first, with the event of each.
import { account, byId, el, entrance, hue, moment, read, say, sayWaiting, untilAnswered } from "./onsale.js";

const list = byId("bookings");
const answer = byId("answer");
const more = byId("more");
const events = new Map();
let cursor = null;

const TONES = { confirmed: "good", held: "warn", pending: "warn", cancelled: "bad", rejected: "bad", expired: "bad" };

function ask(path) {
  return untilAnswered(() => read(path), (problem, seconds) => sayWaiting(answer, problem, seconds));
}

function eventOf(booking) {
  if (!events.has(booking.event_id)) events.set(booking.event_id, ask(`/events/${booking.event_id}`));
  return events.get(booking.event_id);
}

async function item(booking) {
  const event = await eventOf(booking);
  const local = event.time_zone !== "UTC" && event.starts_at_local;
  const start = new Date(local ? `${local}Z` : event.starts_at);
  const part = (options) => new Intl.DateTimeFormat(undefined, { ...options, timeZone: local ? "UTC" : undefined }).format(start);
  return el("li", { class: "item" },
    el("div", { class: `day ${hue(booking.event_id)}`, "aria-hidden": "true" }, part({ month: "short" }), el("b", {}, part({ day: "numeric" }))),
    el("div", {},
      el("h2", {}, el("a", { href: `/bookings/${booking.id}` }, event.title)),
      el("p", { class: "soft" }, `${moment(event.starts_at, local, "short")} · ${event.location}`)),
    el("p", { class: "state" },
      el("span", { class: "small soft" }, booking.quantity === 1 ? "1 ticket " : `${booking.quantity} tickets `),
      el("span", { class: `pill ${TONES[booking.status] ?? ""}` }, booking.status)));
}

function empty() {
  return el("li", { class: "card empty" }, el("h2", {}, "No bookings yet"),
    el("p", { class: "soft" }, "What you book appears here, the newest first."),
    el("p", {}, el("a", { class: "button primary", href: "/" }, "See what’s on")));
}

async function show() {
  try {
    const query = cursor ? `&cursor=${encodeURIComponent(cursor)}` : "";
    const page = await ask(`/bookings/my-bookings?limit=20${query}`);
    const items = await Promise.all(page.items.map(item));
    if (!cursor) list.replaceChildren();
    list.append(...(items.length || cursor ? items : [empty()]));
    cursor = page.next_cursor;
    more.hidden = !cursor;
    say(answer);
  } catch (problem) {
    if (problem.status === 401) location.replace(entrance());
    else {
      list.replaceChildren();
      say(answer, "bad", "Your bookings cannot be shown", problem.message);
    }
  } finally {
    list.removeAttribute("aria-busy");
  }
}

more.addEventListener("click", show);
if (account.get()) show();
else location.replace(entrance());
