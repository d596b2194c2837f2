// The page of the test provider: it answers as a payment provider would, and leads back to the booking.
import { byId, read, say, sayWaiting, untilAnswered } from "./onsale.js";

const answer = byId("answer");
const intent = location.pathname.split("/").filter(Boolean).pop();
const booking = new URLSearchParams(location.search).get("booking");
const ID = /^[0-9a-f-]{36}$/;

for (const button of [byId("pay"), byId("decline")]) {
  button.addEventListener("click", async () => {
    if (button.getAttribute("aria-disabled") === "true") return;
    for (const each of [byId("pay"), byId("decline")]) each.setAttribute("aria-disabled", "true");
    try {
      const send = () => read(`/payments/test/${intent}`, { method: "POST", body: { outcome: button.id } });
      await untilAnswered(send, (problem, seconds) => sayWaiting(answer, problem, seconds));
      say(answer, button.id === "pay" ? "good" : "warn", button.id === "pay" ? "Paid" : "Declined", "Back to your booking…");
      location.assign(ID.test(booking ?? "") ? `/bookings/${booking}` : "/bookings");
    } catch (problem) {
      say(answer, "bad", "This payment was not made", problem.message);
      for (const each of [byId("pay"), byId("decline")]) each.removeAttribute("aria-disabled");
    }
  });
}
