// Does what the event asks; one deployed function serves many tests.
import fs from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

let count = 0;
let ticks = 0;
const born = Math.random().toString(36).slice(2);
const loadedAt = Date.now();

const actions = {
  echo: (event) => event.value,
  event: (event) => event?.request ?? event,
  nothing: () => undefined,
  count: () => ({ count: ++count, born, loadedAt }),
  env: () => process.env,
  context: (event, context) => ({
    ...context,
    remaining: context.getRemainingTimeInMillis(),
    trace: process.env._X_AMZN_TRACE_ID,
  }),
  put: (event) => fs.writeFileSync(`/tmp/${event.name}`, event.text),
  get: (event) => (fs.existsSync(`/tmp/${event.name}`) ? fs.readFileSync(`/tmp/${event.name}`, "utf8") : null),
  sleep: async (event) => {
    await sleep(event.ms);
    return { born, at: Date.now() };
  },
  throw: (event) => {
    throw Object.assign(new Error(event.message), event.name ? { name: event.name } : {});
  },
  reject: () => Promise.reject(new TypeError("no")),
  unhandled: async () => {
    Promise.reject(new Error("nobody catches this"));
    await sleep(1000);
  },
  never: () => new Promise(() => {}),
  exit: (event) => process.exit(event.code),
  signal: async (event) => {
    process.kill(process.pid, event.signal);
    await sleep(5000);
  },
  memory: async (event) => {
    const kept = [];
    for (let i = 0; i < event.mb; i++) kept.push(Buffer.alloc(1 << 20, 1));
    return kept.length;
  },
  big: (event) => "x".repeat(event.bytes),
  log: (event) => {
    for (const line of event.lines) console.log(line);
    if (event.raw) process.stdout.write(event.raw);
    return event.lines.length;
  },
  tick: () => {
    setInterval(() => (ticks += 1), 5).unref();
    return ticks;
  },
  ticks: () => ticks,
  bigint: () => 10n,
  respond: (event) => event.response,
  resolve: async (event) => {
    const { lookup } = await import("node:dns/promises");
    return (await lookup(event.host, { all: true })).map((found) => found.address);
  },
};

export const handler = async (event, context) => {
  const wanted = event && event.requestContext ? JSON.parse(event.headers["x-probe"] ?? '{"do":"event"}') : event;
  context.callbackWaitsForEmptyEventLoop = false;
  const action = actions[wanted?.do ?? "event"];
  return action(wanted?.do ? { ...wanted, request: event } : event, context);
};

export const callback = (event, context, done) => {
  context.callbackWaitsForEmptyEventLoop = false;
  if (event.fail) done(new RangeError(event.fail));
  else done(null, { viaCallback: event });
};
