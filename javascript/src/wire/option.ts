/** Options: what may follow the `?` of an address. Those that every transport takes are read here, the others in `transport-option.ts`. */

import { Fault, known } from "./error.js";
import type { Authority } from "./websocket/authority.js";

/** How a call is written in messages. */
export type Protocol = "panpipe" | "plain";

const protocols: readonly Protocol[] = ["panpipe", "plain"];

/** What the panpipe protocol calls its own framing. */
export const ownFraming = "panpipe";

/** The framing of plain messages when none is said. */
const plainFraming = "length:u32be";

/** The options of an address, read; what was not given has its default. */
export interface Options {
  /** The framing in full, as in `length:u32be`; `panpipe` where the protocol has its own. */
  framing: string;
  /** How a call is written in messages. */
  protocol: Protocol;
  /** Size of the largest message, in bytes. */
  max: number;
  /** How long connecting and each call may take, in milliseconds; not always a whole number. */
  timeout: number;
  /** Whether messages are strings. */
  textMode: boolean;
  /** Whether a connection that was lost is made again. */
  reconnect: boolean;
  /** Connections that may wait to be accepted. */
  backlog: number;
  /** Connections that a listener holds at once. */
  connections: number;
  /** Whether an address that is not loopback is allowed. */
  insecure: boolean;
  /** File mode of a socket file. */
  mode: number;
  /** Who may connect; null for whom the mode lets in, and at an abstract name this user and root. */
  allow: Allow | null;
  /** The FIFO for the way back; empty for none. */
  reply: string;
  /** Whether the listener of a FIFO ends when its first writers have gone. */
  once: boolean;
  /** Whether other writers of a FIFO are kept away. */
  exclusive: boolean;
  /** The multicast group of datagrams; empty for none. */
  group: string;
  /** Whether datagrams go to all of a network. */
  broadcast: boolean;
  /** Where a child's stderr goes: to ours with its end in errors, to ours, or nowhere. */
  stderr: "tail" | "inherit" | "null";
  /** Whether a child gets a socket of its own instead of its stdin and stdout. */
  socket: boolean;
  /** What a link inside this process is put through; null for nothing. */
  chaos: Chaos | null;
  /** Who may come to a listener that tells its peers apart by their first bytes; null where all speak the same. */
  accepts: Accepts | null;
  /** Names that a listener is called by. */
  hosts: readonly Authority[];
  /** Web origins whose pages may connect, as `readOrigin` answers them. */
  origins: readonly string[];
  /** Where the secret is that who connects must know; null for none. */
  token: Token | null;
  /** The folder whose files a listener gives out; empty for none. */
  static: string;
  /** PEM files: who vouches for the other end, this end's certificate and its key, and who vouches for those who connect. Each empty for none. */
  ca: string;
  cert: string;
  key: string;
  clientCa: string;
  /** What the other end's certificate must be, as SHA-256 in lower-case hex; empty for whatever is vouched for. */
  fingerprints: readonly string[];
}

/** Who may come to one port. */
export interface Accepts {
  /** Peers of the panpipe protocol. */
  panpipe: boolean;
  /** WebSocket, which carries whichever of the others may come. */
  websocket: boolean;
  /** Peers of plain messages with this framing; null for none. */
  framing: string | null;
}

/** Where a secret is: in a variable of the environment, in a file, or in a file that the listener makes. */
export interface Token {
  kind: "env" | "file" | "new";
  place: string;
}

/** Users and groups, any of whom may connect. */
export interface Allow {
  uids: number[];
  gids: number[];
}

/** What a link is put through, for tests. */
export interface Chaos {
  /** Where its chance starts: below 2^64. */
  seed: bigint;
  /** Whether the connection may be cut. */
  cuts: boolean;
}

/** An option as data, for errors and tables. */
interface OptionInfo {
  /** Its name in an address. */
  name: string;
  /** What its value looks like. */
  value: string;
  /** What holds when it is left out. */
  default: string;
}

/** The options of an address that names none. */
export const defaults: Readonly<Options> = {
  framing: ownFraming,
  protocol: "panpipe",
  max: 16 * 1024 * 1024,
  timeout: 10_000,
  textMode: false,
  reconnect: false,
  backlog: 1024,
  connections: 1024,
  insecure: false,
  mode: 0o600,
  allow: null,
  reply: "",
  once: false,
  exclusive: false,
  group: "",
  broadcast: false,
  stderr: "tail",
  socket: false,
  chaos: null,
  accepts: null,
  hosts: [],
  origins: [],
  token: null,
  static: "",
  ca: "",
  cert: "",
  key: "",
  clientCa: "",
  fingerprints: [],
};

/** An option of addresses. */
export interface Option {
  info: OptionInfo;
  /** Reads a value; throws a `Fault`. */
  read(value: string, into: Options): void;
}

/** Options that every transport takes, beside the framing of those that move bytes. */
export const commonOptions: readonly Option[] = [
  { info: { name: "protocol", value: "panpipe or plain", default: "panpipe; plain with another framing, over FIFOs and datagrams" }, read: readProtocol },
  {
    info: { name: "max", value: "bytes, or with KiB, MiB, GiB", default: "16MiB" },
    read: (value, into) => void (into.max = size(value)),
  },
  {
    info: { name: "timeout", value: "a whole number with us, ms, s or m", default: "10s" },
    read: (value, into) => void (into.timeout = duration(value)),
  },
  { info: { name: "text", value: "true or false", default: "false" }, read: (value, into) => void (into.textMode = truth("text", value)) },
  { info: { name: "reconnect", value: "true or false", default: "false" }, read: (value, into) => void (into.reconnect = truth("reconnect", value)) },
];

/** Reads one option into `into`; `allowed` are those that this transport takes. */
export function readOption(name: string, value: string, allowed: readonly Option[], into: Options): void {
  const option = allowed.find((each) => each.info.name === name);
  if (option === undefined) throw new Fault("unsupported", `there is no option ${JSON.stringify(name)} here; ${known(allowed.map(({ info }) => info.name))}`);
  option.read(value, into);
}

/** The truth that a value says. */
export function truth(name: string, value: string): boolean {
  if (value !== "true" && value !== "false") throw new Fault("invalid-address", `${name}=${value} must be true or false`);
  return value === "true";
}

/** The same options for plain messages. */
export function asPlain<O extends Options>(options: O): O {
  return options.protocol === "plain" ? options : { ...options, protocol: "plain", framing: options.accepts?.framing ?? plainFraming };
}

/** Fills in which of framing and protocol was left out; a `Fault` for what does not go together. `plain` says that the transport means that when neither is given. */
export function settleProtocol(given: Readonly<Record<string, string>>, into: Options, plain: boolean): void {
  if (into.accepts !== null) return settleAccepted(into.accepts, given, into);
  if (!("protocol" in given)) into.protocol = "framing" in given ? (into.framing === ownFraming ? "panpipe" : "plain") : plain ? "plain" : "panpipe";
  if (!("framing" in given)) into.framing = into.protocol === "plain" ? plainFraming : ownFraming;
  if (into.protocol === "plain") {
    if (into.framing === ownFraming) throw new Fault("unsupported", "framing=panpipe is the framing of protocol=panpipe alone");
    return refuseReconnect(into);
  }
  if (into.framing !== ownFraming) throw new Fault("unsupported", `protocol=panpipe has its own framing, and framing=${given["framing"]} is another`);
  refuseText(into);
}

/** The same where each peer says what it speaks. */
function settleAccepted(accepts: Accepts, given: Readonly<Record<string, string>>, into: Options): void {
  const other = ["framing", "protocol"].find((name) => name in given);
  if (other !== undefined) throw new Fault("invalid-address", `accept says what each peer may speak, and ${other} says it too`);
  into.protocol = accepts.panpipe ? "panpipe" : "plain";
  into.framing = accepts.panpipe ? ownFraming : accepts.framing!;
  if (!accepts.panpipe) refuseReconnect(into);
  if (accepts.framing === null) refuseText(into);
}

function refuseReconnect(options: Options): void {
  if (options.reconnect) throw new Fault("unsupported", "reconnect=true needs protocol=panpipe, which knows which calls were sent");
}

function refuseText(options: Options): void {
  if (options.textMode) throw new Fault("unsupported", "text=true needs protocol=plain or a framing; the values of protocol=panpipe say themselves which are text");
}

const units: Readonly<Record<string, number>> = { "": 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 };
const times: Readonly<Record<string, number>> = { us: 0.001, ms: 1, s: 1000, m: 60_000 };

function size(value: string): number {
  const parts = /^(\d+)(|KiB|MiB|GiB)$/.exec(value);
  const bytes = parts === null ? 0 : Number(parts[1]) * units[parts[2]!]!;
  if (bytes < 1 || !Number.isSafeInteger(bytes)) {
    throw new Fault("invalid-address", `max=${value} is no size; write bytes, or a number with KiB, MiB or GiB, as in 16MiB`);
  }
  return bytes;
}

function duration(value: string): number {
  const parts = /^(\d+)(us|ms|s|m)$/.exec(value);
  const milliseconds = parts === null ? 0 : Number(parts[1]) * times[parts[2]!]!;
  if (milliseconds <= 0 || milliseconds > Number.MAX_SAFE_INTEGER) {
    throw new Fault("invalid-address", `timeout=${value} is no duration above zero; write a whole number with us, ms, s or m, as in 10s`);
  }
  return milliseconds;
}

function readProtocol(value: string, into: Options): void {
  const protocol = protocols.find((each) => each === value);
  if (protocol === undefined) throw new Fault("unsupported", `there is no protocol ${JSON.stringify(value)}; ${known(protocols)}`);
  into.protocol = protocol;
}
