// An event's page: what is left, live; the sales clock; the choice of tickets; booking.
import { account, attempts, byId, clock, countdown, el, entrance, localize, money, moment, pause, Problem, read, request, say, sayWaiting, shared, stream, untilAnswered } from "./onsale.js";

const RETRY_S = 1;
const id = byId("event").dataset.event;
const answer = byId("answer");
const code = new URLSearchParams(location.search).get("code");
let stopClock = () => {};
let shown = null;

/** Read the stream of what is left, again and again. */
async function follow(tell, signal) {
  let lastId = null;
  let waitS = RETRY_S;
  const retry = (seconds) => { waitS = seconds; };
  while (!signal.aborted) {
    try {
      for await (const { id: seen, data } of stream(`/events/${id}/availability`, { signal, lastId, retry })) {
        lastId = seen;
        tell(data);
      }
      await pause(waitS);
    } catch (problem) {
      if (signal.aborted) return;
      // What is shown stays; the next stream follows.
      await pause((problem instanceof Problem && problem.retryAfterS) || RETRY_S);
    }
  }
}

/** Which rows there are, and which can be chosen: the server renders them again when this changes. */
const rows = (offered) => offered.items.map((type) => [type.ticket_type_id, type.status, type.price_minor]).join();

async function show(offered) {
  const differs = shown === null ? byId("sale").dataset.status !== offered.status : shown.status !== offered.status || rows(shown) !== rows(offered);
  shown = offered;
  if (differs) await renderAgain();
  for (const type of offered.items) showLeft(type, offered.items.length === 1);
}

function showLeft(type, only) {
  if (type.status !== "on_sale" || type.remaining === null) return;
  const number = type.remaining.toLocaleString();
  const hint = byId(`h-${type.ticket_type_id}`);
  if (hint) hint.textContent = hint.textContent.replace(/^[\d.,\s]+left/, `${number} left`);
  const left = only && byId("left");
  if (left) {
    left.textContent = left.textContent.replace(/^\S+/, number);
    byId("meter").value = type.remaining;
  }
}

/** Take the parts of the page that depend on the state of the sale from the server once more. */
async function renderAgain() {
  const query = codeOf() ? `?${new URLSearchParams({ code: codeOf() })}` : "";
  const response = await fetch(location.pathname + query, { cache: "no-cache" }).catch(() => null);
  if (!response?.ok) return;
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  const chosen = choice();
  for (const part of ["state", "availability", "sale"]) byId(part).replaceWith(document.adoptNode(fresh.getElementById(part)));
  localize(byId("event"));
  listen();
  choose(chosen);
  await showClock();
}

const codeOf = () => byId("code")?.value.trim() ?? code ?? "";
const inputs = () => [...document.querySelectorAll("#order input[type=number]")];

/** What is chosen, by the names of the fields. */
function choice() {
  const chosen = inputs().filter((input) => Number(input.value) && !input.disabled).map((input) => [input.name, input.value]);
  return new URLSearchParams(codeOf() ? [...chosen, ["code", codeOf()]] : chosen);
}

function choose(chosen) {
  for (const input of inputs()) if (chosen.has(input.name) && !input.disabled) input.value = chosen.get(input.name);
  if (byId("code") && chosen.has("code")) byId("code").value = chosen.get("code");
  addUp();
}

/** The total of what is chosen, without a discount: the hold shows what a promo code takes off. */
function addUp() {
  const total = byId("total");
  if (!total) return;
  let sum = 0;
  for (const row of document.querySelectorAll("[data-type]")) {
    const quantity = Number(row.querySelector("input").value) || 0;
    row.classList.toggle("chosen", quantity > 0);
    sum += quantity * Number(row.dataset.price);
  }
  total.dataset.minor = sum;
  const nothing = !document.querySelector(".type.chosen");
  total.textContent = nothing ? "–" : money(sum, total.dataset.currency, Number(total.dataset.decimals));
}

async function showClock() {
  stopClock();
  stopClock = () => {};
  const box = byId("sale").querySelector(".note[data-opens]");
  if (!box) return;
  if (clock.aheadMs === null) await untilAnswered(() => request(`/events/${id}`), () => {});
  const time = box.insertBefore(el("p", { class: "clock" }), box.querySelector("strong").nextSibling);
  box.querySelector("strong").textContent = "Opens in";
  // By the server's clock: it decides when sales open. The stream tells the rest.
  stopClock = countdown(box.dataset.opens, (left) => { time.textContent = left; }, untilOpen);
}

async function untilOpen() {
  const event = await untilAnswered(() => read(`/events/${id}`), () => {});
  if (event.status === "scheduled") await pause(1).then(untilOpen);
  else await renderAgain();
}

/** What the API is asked for; null if nothing is chosen. */
function order() {
  const quantity = byId("quantity");
  if (quantity) return { event_id: id, quantity: Number(quantity.value) };
  const items = inputs().filter((input) => Number(input.value)).map((input) => ({ ticket_type_id: input.name, quantity: Number(input.value) }));
  if (!items.length) return null;
  if (codeOf()) return { event_id: id, items, promo_code: codeOf() };
  return { event_id: id, items, expect_total_minor: Number(byId("total").dataset.minor) };
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
    await refused(problem);
  } finally {
    busy(false);
  }
}

const HEADLINES = {
  sold_out: "Not enough tickets are left",
  per_user_limit: "That would be too many tickets",
  not_on_sale: "This is not on sale",
  price_changed: "The price has changed",
  too_many_holds: "You hold tickets of this event already",
};

async function refused(problem) {
  if (problem.status === 401) {
    // The attempt is kept: it goes on after the login, with the same key.
    account.forget();
    location.assign(entrance(`${location.pathname}?${choice()}`));
    return;
  }
  attempts.end(id);
  const { earliest_release_at: release } = problem.facts;
  const hope = release ? ` Others hold tickets that may come back at ${moment(release)}.` : "";
  say(answer, "bad", HEADLINES[problem.code] ?? "This was not booked", problem.message + hope);
  if (problem.code === "price_changed") await renderAgain();
}

function busy(is) {
  const button = byId("book");
  if (!button) return;
  button.setAttribute("aria-disabled", String(is));
  button.textContent = is ? "Booking…" : "Book";
}

function listen() {
  for (const button of document.querySelectorAll("[data-step]")) {
    const input = button.parentElement.querySelector("input");
    button.hidden = input.disabled;
    button.addEventListener("click", () => {
      step(input, Number(button.dataset.step));
      addUp();
    });
  }
  byId("order")?.addEventListener("input", addUp);
  const apply = byId("apply");
  if (apply) {
    apply.hidden = false;
    apply.addEventListener("click", renderAgain);
  }
  byId("order")?.addEventListener("submit", submit);
}

/** One more or one less; from none to the least that is sold together, and back. */
function step(input, by) {
  const least = Number(input.closest("[data-least]")?.dataset.least ?? 1);
  const wanted = Number(input.value) + by;
  const next = wanted < least ? (by > 0 ? least : Number(input.min)) : wanted;
  input.value = Math.min(Number(input.max), next);
}

function submit(submitted) {
  submitted.preventDefault();
  if (byId("book").getAttribute("aria-disabled") === "true") return;
  const body = order();
  if (!body) {
    say(answer, "warn", "Choose your tickets first", "Say how many of each you want.");
    return;
  }
  if (!account.get()) {
    location.assign(entrance(`${location.pathname}?${choice()}`));
    return;
  }
  say(answer);
  const kept = attempts.of(id);
  book(kept && JSON.stringify(kept.body) === JSON.stringify(body) ? kept : attempts.begin(id, body));
}

function goOn() {
  const chosen = new URLSearchParams(location.search);
  choose(chosen);
  if (account.get() && byId("book") && inputs().some((input) => chosen.has(input.name))) byId("book").focus();
  const kept = account.get() && attempts.of(id);
  if (kept) book(kept);
}

listen();
goOn();
showClock();
shared(`onsale:event:${id}`, follow, show);
