// What has been handled, in a file: one line each, on disk before the message is acked.

import { createHash } from "node:crypto";
import { fdatasyncSync, openSync, readFileSync, writeSync } from "node:fs";
import type { Envelope } from "seaway-in-typescript";

export interface Entry {
  readonly id: string;
  readonly sequence: number;
  readonly sha256: string; // of the body
}

export class Handled {
  readonly #file: number;
  readonly #records = new Map<string, Entry>();

  constructor(path: string) {
    this.#file = openSync(path, "a+");
    for (const line of readFileSync(path, "utf8").split("\n")) {
      // A line that a crash has cut off says nothing: its message comes again.
      const [id, sequence, sha256] = line.split(" ");
      if (id && sha256?.length === 64) {
        this.#records.set(id, { id, sequence: Number(sequence), sha256 });
      }
    }
  }

  has(message: Envelope): boolean {
    return this.#records.has(message.id);
  }

  add({ id, sequence, bytes }: Envelope): void {
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    writeSync(this.#file, `\n${id} ${sequence} ${sha256}`);
    fdatasyncSync(this.#file);
    this.#records.set(id, { id, sequence, sha256 });
  }

  between(first: number, last: number): Entry[] {
    return [...this.#records.values()].filter((r) => r.sequence >= first && r.sequence <= last);
  }
}
