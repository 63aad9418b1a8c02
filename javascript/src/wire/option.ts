/** Options: what may follow the `?` of an address, and how each value is read. */

import { Fault, known } from "./error.js";
import { resolveFraming } from "./framing/mod.js";
import { isMulticast } from "./host.js";

/** How a call is written in messages. */
export type Protocol = "panpipe" | "plain";

const protocols: readonly Protocol[] = ["panpipe", "plain"];

/** What the panpipe protocol calls its own framing. */
const ownFraming = "panpipe";

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
};

/** Options that every transport takes. */
export const commonOptions: readonly string[] = ["framing", "protocol", "max", "timeout", "text", "reconnect"];

interface Option {
  info: OptionInfo;
  read(value: string, into: Options): void;
}

const table: readonly Option[] = [
  {
    info: { name: "framing", value: "a framing", default: "panpipe; length where the protocol is plain" },
    read: (value, into) => void (into.framing = value === ownFraming ? value : resolveFraming(value).name),
  },
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
  {
    info: { name: "backlog", value: "1 to 65535", default: "1024" },
    read: (value, into) => void (into.backlog = count("backlog", value, 65_535)),
  },
  {
    info: { name: "connections", value: "1 to 1000000", default: "1024" },
    read: (value, into) => void (into.connections = count("connections", value, 1_000_000)),
  },
  {
    info: { name: "insecure", value: "true or false", default: "false" },
    read: (value, into) => void (into.insecure = truth("insecure", value)),
  },
  { info: { name: "mode", value: "octal file mode up to 0777", default: "0600" }, read: readMode },
  { info: { name: "allow", value: "users and groups, as uid:1000,gid:100", default: "whom the file's mode lets in; for an abstract name this user and root" }, read: readAllow },
  { info: { name: "reply", value: "the path of another FIFO", default: "none: the listener only reads, and who connects only writes" }, read: readReply },
  { info: { name: "once", value: "true or false", default: "false" }, read: (value, into) => void (into.once = truth("once", value)) },
  { info: { name: "exclusive", value: "true or false", default: "false" }, read: (value, into) => void (into.exclusive = truth("exclusive", value)) },
  { info: { name: "group", value: "a multicast address, as in 239.1.2.3", default: "none" }, read: readGroup },
  { info: { name: "broadcast", value: "true or false", default: "false" }, read: (value, into) => void (into.broadcast = truth("broadcast", value)) },
  { info: { name: "stderr", value: "tail, inherit or null", default: "tail" }, read: readStderr },
  { info: { name: "socket", value: "true or false", default: "false" }, read: (value, into) => void (into.socket = truth("socket", value)) },
  { info: { name: "chaos", value: "a seed, a whole number below 2^64, or one followed by ,cut", default: "none" }, read: readChaos },
];

/** Reads one option into `into`; `allowed` are the names that this transport takes. */
export function readOption(name: string, value: string, allowed: readonly string[], into: Options): void {
  const option = table.find((each) => each.info.name === name);
  if (option === undefined || !allowed.includes(name)) {
    throw new Fault("unsupported", `there is no option ${JSON.stringify(name)} here; ${known(allowed)}`);
  }
  option.read(value, into);
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

function truth(name: string, value: string): boolean {
  if (value !== "true" && value !== "false") throw new Fault("invalid-address", `${name}=${value} must be true or false`);
  return value === "true";
}

function readProtocol(value: string, into: Options): void {
  const protocol = protocols.find((each) => each === value);
  if (protocol === undefined) throw new Fault("unsupported", `there is no protocol ${JSON.stringify(value)}; ${known(protocols)}`);
  into.protocol = protocol;
}

/** The same options for plain messages. */
export function asPlain<O extends Options>(options: O): O {
  return options.protocol === "plain" ? options : { ...options, protocol: "plain", framing: plainFraming };
}

/** Fills in which of framing and protocol was left out; a `Fault` for what does not go together. `plain` says that the transport means that when neither is given. */
export function settleProtocol(given: Readonly<Record<string, string>>, into: Options, plain: boolean): void {
  if (!("protocol" in given)) into.protocol = "framing" in given ? (into.framing === ownFraming ? "panpipe" : "plain") : plain ? "plain" : "panpipe";
  if (!("framing" in given)) into.framing = into.protocol === "plain" ? plainFraming : ownFraming;
  if (into.protocol === "plain") {
    if (into.framing === ownFraming) throw new Fault("unsupported", "framing=panpipe is the framing of protocol=panpipe alone");
    if (into.reconnect) throw new Fault("unsupported", "reconnect=true needs protocol=panpipe, which knows which calls were sent");
    return;
  }
  if (into.framing !== ownFraming) throw new Fault("unsupported", `protocol=panpipe has its own framing, and framing=${given["framing"]} is another`);
  if (into.textMode) throw new Fault("unsupported", "text=true needs protocol=plain or a framing; the values of protocol=panpipe say themselves which are text");
}

function count(name: string, value: string, most: number): number {
  const number = /^\d{1,7}$/.test(value) ? Number(value) : 0;
  if (number < 1 || number > most) throw new Fault("invalid-address", `${name}=${value} must be 1 to ${most}`);
  return number;
}

function readMode(value: string, into: Options): void {
  if (!/^0*[0-7]{1,3}$/.test(value)) throw new Fault("invalid-address", `mode=${value} must be an octal file mode, as in 0600`);
  into.mode = parseInt(value, 8);
}

function readAllow(value: string, into: Options): void {
  const allow: Allow = { uids: [], gids: [] };
  for (const part of value.split(",")) {
    const [, kind, number] = /^(uid|gid):(\d+)$/.exec(part) ?? [];
    if (number === undefined || Number(number) >= 2 ** 32) throw new Fault("invalid-address", `allow=${value} must be users and groups, as in uid:1000,gid:100`);
    (kind === "uid" ? allow.uids : allow.gids).push(Number(number));
  }
  into.allow = allow;
}

function readStderr(value: string, into: Options): void {
  if (value !== "tail" && value !== "inherit" && value !== "null") throw new Fault("invalid-address", `stderr=${value} must be tail, inherit or null`);
  into.stderr = value;
}

function readGroup(value: string, into: Options): void {
  if (!isMulticast(value)) throw new Fault("invalid-address", `group=${value} must be a multicast address, as in 239.1.2.3 or ff02::1234`);
  into.group = value;
}

function readReply(value: string, into: Options): void {
  if (value === "") throw new Fault("invalid-address", "reply= needs the path of another FIFO");
  into.reply = value;
}

function readChaos(value: string, into: Options): void {
  const parts = /^(\d{1,20})(,cut)?$/.exec(value);
  const seed = BigInt(parts?.[1] ?? -1);
  if (parts === null || seed >= 2n ** 64n) throw new Fault("invalid-address", `chaos=${value} must be a whole number below 2^64, or one followed by ,cut`);
  into.chaos = { seed, cuts: parts[2] !== undefined };
}
