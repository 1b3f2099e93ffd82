// The sign-up page: a form, then the progress of what it asked for.

import "./style.css";

import { Refused, updates, type Trouble } from "./conversation";
import * as form from "./form";
import { State } from "./gen/acme/gateway/v1/sign_up_pb";
import { begun, forget, keep, kept, type Asked, type Conversation } from "./keeping";
import { part } from "./part";
import * as progress from "./progress";

const asking = part("asking", HTMLElement);
const telling = part("telling", HTMLElement);
const again = part("again", HTMLButtonElement);
const title = document.title;

let current = new AbortController();

form.onSubmit((asked) => {
  form.setBusy(true);
  void follow(begun(asked));
});

again.addEventListener("click", () => {
  current.abort();
  forget();
  showForm();
  form.clear();
});

const unfinished = kept();
if (unfinished !== undefined) {
  showProgress(unfinished);
  void follow(unfinished);
}

/** Follow a conversation to its end, whatever happens to the gateway or to this page. */
async function follow(conversation: Conversation): Promise<void> {
  current = new AbortController();
  const { signal } = current;
  keep(conversation);
  let now = conversation;
  const tell = (trouble: Trouble) => {
    if (trouble !== undefined && telling.hidden) {
      showProgress(now); // a form that waits for nobody looks broken
    }
    progress.showTrouble(trouble, now.reached);
  };
  try {
    if (now.reached < State.EMAILED) {
      for await (const update of updates(now, signal, tell)) {
        const { asked: _, ...rest } = now;
        now = { ...rest, resumeToken: update.resumeToken, reached: update.state };
        keep(now);
        showProgress(now);
      }
    }
  } catch (error) {
    if (!signal.aborted) {
      giveUp(error, now.asked);
    }
  }
}

function giveUp(error: unknown, asked: Asked | undefined): void {
  forget();
  showForm();
  if (asked !== undefined) {
    form.fill(asked);
  }
  if (error instanceof Refused) {
    form.showRefusal(error.message, error.fields);
  } else {
    form.showRefusal("Something went wrong here. Please try again.", new Map());
    throw error;
  }
}

function showForm(): void {
  asking.hidden = false;
  telling.hidden = true;
  form.setBusy(false);
  document.title = title;
}

function showProgress({ reached, email }: Conversation): void {
  const isNew = telling.hidden;
  asking.hidden = true;
  telling.hidden = false;
  again.hidden = reached < State.CONFIRMED;
  progress.show(reached, email);
  if (isNew) {
    progress.focus();
  }
}
