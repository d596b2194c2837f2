// A hold: its deadline by the server's clock, what it costs, and what can be done with it.
import { byId, countdown, el, money, read, say, sayWaiting, untilAnswered } from "./onsale.js";

const box = byId("payment");
const answer = byId("answer");
const decimalsOf = JSON.parse(box.dataset.decimals);
let stop = () => {};
let shown = null;

/** Show a hold, or nothing for a booking that is none. `changed` is told what becomes of it. */
export function showHold(booking, changed) {
  const state = booking.status === "held" ? `${booking.expires_at} ${booking.quantity}` : null;
  if (state !== null && state === shown) return;
  stop();
  shown = state;
  box.replaceChildren();
  if (state === null) return;
  const left = el("p", { class: "clock", role: "timer" });
  box.append(el("section", { class: "card stack", "aria-labelledby": "hold-title" },
    el("div", {}, el("h2", { id: "hold-title" }, "Held for you for another"), left),
    lines(booking),
    el("p", { class: "row" }, finish(booking, changed),
      el("button", { type: "button", onclick: (clicked) => act(clicked.target, () => post(booking, "extend"), changed) }, "More time"))));
  // At the deadline, the server says what has become of it.
  stop = countdown(booking.expires_at, (time) => { left.textContent = time; }, () => lookAgain(booking, changed));
}

/** The lines of an order with their prices. */
export function lines(booking) {
  if (!booking.items) return null;
  const price = (minor) => money(minor, booking.currency, decimalsOf[booking.currency]);
  const rows = booking.items.flatMap((item) => [el("dt", {}, `${item.quantity} × ${item.name}`), el("dd", {}, price(item.sum_minor))]);
  return el("dl", { class: "details sums" }, ...rows, el("dt", {}, el("b", {}, "Total")), el("dd", {}, el("b", {}, price(booking.total_minor))));
}

function finish(booking, changed) {
  if (!booking.total_minor) {
    return el("button", { type: "button", class: "primary", onclick: (clicked) => act(clicked.target, () => post(booking, "confirm", {}), changed) }, "Confirm");
  }
  const label = `Pay ${money(booking.total_minor, booking.currency, decimalsOf[booking.currency])}`;
  return el("button", { type: "button", class: "primary", onclick: (clicked) => act(clicked.target, () => post(booking, "pay"), (begun) => pay(booking, begun)) }, label);
}

/** Go to the page of the payment provider, which leads back to the booking. */
function pay(booking, { url }) {
  if (url) location.assign(`${url}?${new URLSearchParams({ booking: booking.id })}`);
  else say(answer, "warn", "Pay where you bought the tickets", "This event is paid for outside of these pages. The booking changes here as soon as the payment is known.");
}

function post(booking, what, body) {
  return read(`/bookings/${booking.id}/${what}`, { method: "POST", body });
}

async function act(button, action, done) {
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true");
  say(answer);
  try {
    done(await untilAnswered(action, (problem, seconds) => sayWaiting(answer, problem, seconds)));
  } catch (problem) {
    const headlines = { hold_at_cap: "There is no more time to give", hold_expired: "The time is over", not_payable: "This cannot be paid any more" };
    say(answer, "bad", headlines[problem.code] ?? "This was not done", problem.message);
  } finally {
    button.removeAttribute("aria-disabled");
  }
}

async function lookAgain(booking, changed) {
  changed(await untilAnswered(() => read(`/bookings/${booking.id}/status`), () => {}));
}
