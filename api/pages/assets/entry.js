// Log in and sign up. The page that asked for it comes next, with the choice of tickets that was made there.
import { account, byId, entrance, read, request, say, sayWaiting, untilAnswered } from "./onsale.js";

const form = byId("entry");
const answer = byId("answer");
const signsUp = form.dataset.action === "signup";
const asked = new URLSearchParams(location.search);

/** The page to show next: a path of this site, never another one. */
function next() {
  const address = new URL(asked.get("next") ?? "/", location.origin);
  if (address.origin !== location.origin) return "/";
  // Without a script, the form of an event sends the choice of tickets beside the page.
  for (const [name, value] of asked) if (name !== "next") address.searchParams.set(name, value);
  return address.pathname + address.search;
}

function showFaults(faults) {
  for (const name of ["email", "password"]) {
    const fault = faults.find(({ pointer }) => pointer === `/${name}`);
    byId(`${name}-fault`).hidden = !fault;
    byId(`${name}-fault`).textContent = fault ? sentence(fault.message) : "";
    byId(name).setAttribute("aria-invalid", String(Boolean(fault)));
    if (fault) byId(name).setAttribute("aria-describedby", `${name}-fault`);
  }
  faults.length && byId(faults[0].pointer.slice(1))?.focus();
}

function sentence(message) {
  const plain = message.replace("Expected `str` of length >= ", "Use at least ").replace(/^Use at least \d+$/, "$& characters");
  return plain.charAt(0).toUpperCase() + plain.slice(1).replace(/\.?$/, ".");
}

async function enter() {
  const body = { email: form.email.value.trim(), password: form.password.value };
  const empty = Object.keys(body).filter((name) => !body[name]).map((name) => ({ pointer: `/${name}`, message: "Please fill this in" }));
  showFaults(empty);
  if (empty.length) return;
  say(answer);
  const send = (path) => untilAnswered(() => request(path, { method: "POST", body }), (problem, seconds) => sayWaiting(answer, problem, seconds));
  try {
    if (signsUp) await send("/auth/signup");
    await send("/auth/login");
    account.remember(await untilAnswered(() => read("/me"), (problem, seconds) => sayWaiting(answer, problem, seconds)));
    location.replace(next());
  } catch (problem) {
    showFaults(problem.facts?.errors ?? []);
    if (!problem.facts?.errors) say(answer, "bad", signsUp ? "The account was not made" : "You are not logged in", problem.message);
  }
}

form.addEventListener("submit", async (submitted) => {
  submitted.preventDefault();
  const button = byId("submit");
  if (button.disabled) return;
  button.disabled = true;
  await enter();
  button.disabled = false;
});

// Until now the browser itself would have sent the form.
byId("submit").disabled = false;

if (asked.get("next")) {
  byId("kept").hidden = !new URL(next(), location.origin).search;
  byId("other").href = entrance(next(), signsUp ? "/login" : "/signup");
}
