// The main of a service: connected, ready, listening, and stopped with nothing lost.

import { createServer } from "node:http";
import type { DescMessage } from "@bufbuild/protobuf";
import type { NatsConnection } from "@nats-io/transport-node";
import { connect } from "./broker.ts";
import { type Listener, listen } from "./listen.ts";

const FAILED = 1; // for good: whoever started it starts it again

export interface Question {
  readonly stream: string;
  readonly first: number;
  readonly last: number;
  readonly since: Date;
}

export interface Service<T extends DescMessage> {
  readonly listener: Listener<T>;
  // Has to be done before the first message.
  readonly prepare?: (broker: NatsConnection) => Promise<void>;
  // Answers `seaway audit`: one object a line.
  readonly tell?: (question: Question) => Iterable<object>;
}

// Runs until SIGTERM or Ctrl-C. Exit code 0: all that was in hand is settled.
export async function serve<T extends DescMessage>(service: Service<T>): Promise<void> {
  const stopping = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => stopping.abort());
  let isReady = false;
  const health = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? "/", "http://localhost");
    if (pathname === "/livez") response.end("ok\n");
    else if (pathname === "/readyz") {
      response.writeHead(isReady && !stopping.signal.aborted ? 200 : 503).end();
    } else if (pathname === "/audit" && service.tell && isReady) {
      const lines = [...service.tell(asked(searchParams)), { end: true }];
      response.end(lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
    } else response.writeHead(404).end();
  });
  health.listen(Number(process.env.SEAWAY_METRICS_PORT ?? 9090), "127.0.0.1");
  const told = new Promise<void>((tell) => stopping.signal.addEventListener("abort", () => tell()));
  const broker = await Promise.race([connect(service.listener.service), told]);
  if (!broker) process.exit(0); // nothing has begun
  void broker.closed().then(() => process.exit(stopping.signal.aborted ? 0 : FAILED));
  await service.prepare?.(broker);
  isReady = true;
  console.log("started");
  await listen(broker, service.listener, stopping.signal);
  health.close();
  health.closeAllConnections();
  await broker.close();
}

function asked(given: URLSearchParams): Question {
  return {
    stream: given.get("stream") ?? "",
    first: Number(given.get("from") ?? 1),
    last: Number(given.get("to") ?? Number.MAX_SAFE_INTEGER),
    since: new Date(given.get("since") ?? 0),
  };
}
