// Giving back: some tickets of a booking, or all of them.
import { byId, el, read, say, sayWaiting, untilAnswered } from "./onsale.js";

const answer = byId("answer");

/** The buttons for what can be given back of a booking. `changed` is told the booking after it. */
export function changeButtons(booking, changed) {
  const whole = el("button", { type: "button", class: "danger", onclick: () => askForAll(booking, changed) }, booking.status === "held" ? "Give back" : "Cancel booking");
  if (booking.quantity === 1) return [whole];
  return [el("button", { type: "button", onclick: () => askForSome(booking, changed) }, "Give back some"), whole];
}

function askForAll(booking, changed) {
  ask("Cancel this booking?", [el("p", {}, "The tickets go back on sale at once. This cannot be undone.")], "Yes, cancel it", () => {
    act(() => read(`/bookings/${booking.id}`, { method: "DELETE" }), changed, "The booking was not cancelled");
  });
}

function askForSome(booking, changed) {
  // A booking that was ordered by its number of tickets alone has one line: the type with the event's id.
  const lines = booking.items ?? [{ ticket_type_id: booking.event_id, name: "Tickets", quantity: booking.quantity }];
  const fields = lines.map((line) => el("input", { id: `keep-${line.ticket_type_id}`, type: "number", inputmode: "numeric", min: "0", max: String(line.quantity), value: String(line.quantity) }));
  const rows = lines.map((line, index) => el("div", { class: "row spread nowrap" },
    el("label", { for: fields[index].id }, `${line.name} to keep, of ${line.quantity}`), el("div", { class: "stepper" }, fields[index])));
  ask("Which tickets do you keep?", [el("p", { class: "soft" }, "The others go back on sale at once."), ...rows], "Give back the others", () => {
    const items = lines.map((line, index) => ({ ticket_type_id: line.ticket_type_id, quantity: Number(fields[index].value) }));
    act(() => read(`/bookings/${booking.id}`, { method: "PATCH", body: { items } }), changed, "No ticket was given back");
  });
}

/** A dialog with a question; `yes` is called if the answer is yes. */
function ask(question, content, consent, yes) {
  const form = el("form", { class: "stack", method: "dialog" }, el("h2", { id: "dialog-title" }, question), ...content,
    el("p", { class: "row" }, el("button", { class: "danger", value: "yes" }, consent), el("button", { type: "button", onclick: () => dialog.close() }, "Keep all")));
  const dialog = el("dialog", { "aria-labelledby": "dialog-title" }, form);
  form.addEventListener("submit", yes);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

async function act(action, changed, headline) {
  try {
    changed(await untilAnswered(action, (problem, seconds) => sayWaiting(answer, problem, seconds)));
    say(answer);
  } catch (problem) {
    say(answer, "bad", headline, problem.message);
  }
}
