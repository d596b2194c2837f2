// A booking: its state, live until it is final; the calendar file; cancelling.
import { account, byId, el, entrance, moment, pause, Problem, read, request, say, sayWaiting, shared, stream, untilAnswered } from "./onsale.js";
import { changeButtons } from "./changes.js";
import { lines, showHold } from "./holds.js";

const id = location.pathname.split("/").filter(Boolean).pop();
const answer = byId("answer");
const FINAL = new Set(["confirmed", "cancelled", "rejected", "expired"]);
const CANCELLABLE = new Set(["held", "pending", "confirmed"]);
const RETRY_S = 1;

const STATES = {
  pending: ["warn", "Your tickets are taken", "They are being written down. This takes a moment."],
  held: ["warn", "Your tickets are held", "Finish before the time is over."],
  confirmed: ["good", "Your booking is confirmed", "The tickets are yours."],
  cancelled: ["bad", "This booking is cancelled", "Its tickets were given back."],
  rejected: ["bad", "This booking was rejected", "Its tickets could not be kept. Nothing is due."],
  expired: ["bad", "The time is over", "The tickets were given back. You can choose again."],
};
const DRAWINGS = { good: "M5 13l4 4L19 7", bad: "M6 6l12 12M18 6L6 18", warn: "M12 7v5l3 3" };

let event = null;

function icon(tone) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  for (const [key, value] of Object.entries({ viewBox: "0 0 24 24", fill: "none", stroke: "currentColor", "stroke-width": "2.5", "stroke-linecap": "round", "aria-hidden": "true" })) svg.setAttribute(key, value);
  svg.append(document.createElementNS(space, "path"));
  svg.firstChild.setAttribute("d", DRAWINGS[tone]);
  return svg;
}

/** Read the stream of the booking, again and again, until it is final. */
async function follow(tell, signal) {
  let lastId = null;
  let waitS = RETRY_S;
  const retry = (seconds) => { waitS = seconds; };
  while (!signal.aborted) {
    try {
      for await (const { id: seen, data } of stream(`/bookings/${id}/status`, { signal, lastId, retry })) {
        lastId = seen;
        tell(data);
        if (FINAL.has(data.status)) return;
      }
    } catch (problem) {
      if (signal.aborted) return;
      if (problem instanceof Problem && !problem.passing) throw problem;
    }
    await pause(waitS);
  }
}

function show(booking) {
  const [tone, headline, text] = STATES[booking.status];
  const reason = booking.reason ? ` Reason: ${booking.reason.replaceAll("_", " ")}.` : "";
  byId("status").replaceChildren(el("div", { class: `status ${tone}`, "data-status": booking.status }, icon(tone),
    el("div", {}, el("h2", {}, headline), el("p", { class: "soft" }, text + reason))));
  showHold(booking, show);
  byId("ticket").hidden = false;
  byId("ticket").replaceChildren(
    el("header", {}, el("p", { class: "soft small" }, moment(event.starts_at, event.time_zone !== "UTC" && event.starts_at_local)), el("h2", {}, event.title), el("p", {}, event.location)),
    el("div", { class: "stack" }, details(booking), booking.status === "held" ? "" : lines(booking) ?? "", actions(booking)));
  return FINAL.has(booking.status);
}

function details(booking) {
  const rows = { Tickets: String(booking.quantity), Booked: moment(booking.created_at), Reference: booking.id.slice(0, 8).toUpperCase() };
  return el("dl", { class: "details" }, ...Object.entries(rows).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

function actions(booking) {
  const row = el("p", { class: "row" });
  if (booking.status === "confirmed") row.append(el("button", { type: "button", class: "primary", onclick: saveCalendar }, "Add to calendar"));
  if (CANCELLABLE.has(booking.status)) row.append(...changeButtons(booking, show));
  row.append(el("a", { class: "button", href: `/events/${booking.event_id}` }, FINAL.has(booking.status) && booking.status !== "confirmed" ? "Choose again" : "To the event"));
  return row;
}

async function saveCalendar() {
  try {
    const response = await request(`/bookings/${id}/calendar`, { headers: { Accept: "text/calendar" } });
    const address = URL.createObjectURL(await response.blob());
    const link = el("a", { href: address, download: `booking-${id.slice(0, 8)}.ics` });
    link.click();
    URL.revokeObjectURL(address);
  } catch (problem) {
    say(answer, "bad", "The calendar file was not made", problem.message);
  }
}

async function begin() {
  try {
    const ask = (path) => untilAnswered(() => read(path), (problem, seconds) => sayWaiting(answer, problem, seconds));
    const booking = await ask(`/bookings/${id}/status`);
    event = await ask(`/events/${booking.event_id}`);
    say(answer);
    show(booking);
    if (!FINAL.has(booking.status)) shared(`onsale:booking:${id}`, follow, show);
  } catch (problem) {
    if (problem.status === 401) return location.replace(entrance());
    byId("status").replaceChildren(el("div", { class: "card empty" }, el("h2", {}, problem.status === 404 ? "There is no such booking" : "The booking cannot be shown"),
      el("p", { class: "soft" }, problem.message), el("p", {}, el("a", { class: "button", href: "/bookings" }, "My bookings"))));
  } finally {
    byId("booking").removeAttribute("aria-busy");
  }
}

if (account.get()) begin();
else location.replace(entrance());
