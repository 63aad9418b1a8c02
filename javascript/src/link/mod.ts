/** The registry of transports: the only place that names them. */

import { parseAddress, type Address, type TransportInfo, type Vocabulary } from "../wire/address.js";
import { resolveFraming } from "../wire/framing/mod.js";
import { transportOptions } from "../wire/transport-option.js";
import { fd } from "./fd.js";
import { fifo } from "./fifo.js";
import type { Transport } from "./link.js";
import { mem } from "./mem.js";
import { spawn } from "./spawn.js";
import { stdio } from "./stdio.js";
import { tcp } from "./tcp.js";
import { tls } from "./tls.js";
import { udp } from "./udp.js";
import { seqpacket, unixDgram } from "./unix-packets.js";
import { unix } from "./unix.js";
import { ws, wss } from "./ws.js";

const transports: readonly Transport[] = [tcp, tls, ws, wss, unix, seqpacket, udp, unixDgram, fifo, stdio, fd, mem, spawn];

export { spawnAddress } from "./spawn.js";

/** Every transport, as data. */
export function transportInfos(): TransportInfo[] {
  return transports.map((transport) => transport.info);
}

/** What addresses may say in Node. */
export const vocabulary: Vocabulary = { transports: transportInfos(), options: transportOptions, framing: resolveFraming };

/** Reads an address; throws `invalid-address` or `unsupported`. */
export function parse(text: string): Address {
  return parseAddress(text, vocabulary);
}

/** The transport that an address names. */
export function transportOf(address: Address): Transport {
  return transports.find((transport) => transport.info.scheme === address.scheme)!;
}
