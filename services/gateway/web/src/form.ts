// The form: what is asked, and what is wrong with it.

import { part } from "./part";
import type { Asked } from "./keeping";

const form = part("form", HTMLFormElement);
const button = part("submit", HTMLButtonElement);
const alert = part("alert", HTMLElement);

/** The inputs by the name that the .proto gives their field, in the order of the page. */
const inputs = new Map([
  ["display_name", part("name", HTMLInputElement)],
  ["email", part("email", HTMLInputElement)],
]);

const LANGUAGE = /^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$/;

export function onSubmit(submitted: (asked: Asked) => void): void {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!button.matches("[aria-disabled=true]")) {
      submitted(filledIn());
    }
  });
  for (const [field, input] of inputs) {
    input.addEventListener("input", () => complain(field, undefined));
  }
}

/** Say that an answer is awaited. The button keeps its place and its focus. */
export function setBusy(busy: boolean): void {
  button.setAttribute("aria-disabled", String(busy));
  button.textContent = busy ? "Signing up…" : "Sign up";
}

/** Show what is wrong, each at its field, and go to the first. */
export function showRefusal(message: string, fields: ReadonlyMap<string, string>): void {
  for (const field of inputs.keys()) {
    complain(field, fields.get(field));
  }
  const [first] = [...inputs].filter(([field]) => fields.has(field));
  const elsewhere = [...fields].filter(([field]) => !inputs.has(field));
  const others = elsewhere.map(([field, description]) => `${field}: ${description}`);
  alert.textContent = first === undefined ? others.join("; ") || message : others.join("; ");
  (first?.[1] ?? button).focus();
}

export function fill({ displayName, email }: Asked): void {
  inputs.get("display_name")!.value = displayName;
  inputs.get("email")!.value = email;
}

export function clear(): void {
  form.reset();
  showRefusal("", new Map());
  inputs.get("display_name")!.focus();
}

function filledIn(): Asked {
  const language = navigator.language;
  return {
    displayName: inputs.get("display_name")!.value.trim(),
    email: inputs.get("email")!.value.trim(),
    locale: LANGUAGE.test(language) ? language : "",
  };
}

function complain(field: string, description: string | undefined): void {
  const input = inputs.get(field)!;
  const error = part(`${input.id}-error`, HTMLElement);
  error.textContent = description === undefined ? "" : `${sentence(description)}.`;
  if (description === undefined) {
    input.removeAttribute("aria-invalid");
  } else {
    input.setAttribute("aria-invalid", "true");
  }
}

function sentence(words: string): string {
  return words.charAt(0).toUpperCase() + words.slice(1);
}
