// How far a sign-up has come, for eyes and for ears.

import { State } from "./gen/acme/gateway/v1/sign_up_pb";
import type { Trouble } from "./conversation";
import { part } from "./part";

const heading = part("progress-heading", HTMLElement);
const status = part("status", HTMLElement);
const note = part("note", HTMLElement);
const steps = [
  { state: State.ACCEPTED, element: part("step-accepted", HTMLElement) },
  { state: State.CONFIRMED, element: part("step-confirmed", HTMLElement) },
  { state: State.EMAILED, element: part("step-emailed", HTMLElement) },
];

/** After so many milliseconds without news, people want to know whether to stay. */
const LONG = 10_000;

let patience = 0;
let inTheWay = "";
let takesLong = "";

/** Show a state. The words are the same for a new address and for a taken one. */
export function show(reached: State, email: string): void {
  const [title, words] = said(reached, email);
  heading.textContent = title;
  status.textContent = words;
  document.title = `${title} · Acme`;
  const next = steps.find(({ state }) => state > reached);
  for (const { state, element } of steps) {
    element.dataset["is"] = state <= reached ? "done" : state === next?.state ? "next" : "later";
    part(`${element.id}-said`, HTMLElement).textContent = state <= reached ? ", done" : ", not yet";
  }
  window.clearTimeout(patience);
  inTheWay = takesLong = "";
  showNote();
  if (next !== undefined) {
    patience = window.setTimeout(() => {
      takesLong = "This takes longer than usual. Stay or go, as you like: it goes on.";
      showNote();
    }, LONG);
  }
}

/** Say what is in the way, and that nobody has to do anything about it. */
export function showTrouble(what: Trouble, reached: State): void {
  const we = reached >= State.ACCEPTED ? "Your request is safe; we" : "We";
  const words = {
    away: `No connection right now. ${we} keep trying.`,
    busy: `Many people are here right now. ${we} try again in a moment.`,
  };
  inTheWay = what === undefined ? "" : words[what];
  showNote();
}

function showNote(): void {
  const words = inTheWay || takesLong;
  if (note.textContent !== words) {
    note.textContent = words; // each change is read out
  }
}

/** Take whoever reads the page by ear to where things happen. */
export function focus(): void {
  heading.focus();
}

function said(reached: State, email: string): [string, string] {
  switch (reached) {
    case State.ACCEPTED:
      return ["We have your request", "It is stored for good. Nothing can get lost now."];
    case State.CONFIRMED:
    case State.REJECTED:
      return ["Almost there", `You are signed up. We are writing to ${email}.`];
    case State.EMAILED:
      return ["Check your inbox", `We have written to ${email}.`];
    default:
      return ["One moment", "We are sending your request."];
  }
}
