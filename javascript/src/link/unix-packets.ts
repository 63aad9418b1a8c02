/** `unix-seqpacket:` and `unix-dgram:`: Unix sockets that keep boundaries, of which Node knows nothing without the addon. */

import type { TransportInfo } from "../wire/address.js";
import type { Transport } from "./link.js";
import { connectNative, listenNative, type PacketKind } from "./native.js";
import { checkUnixName, readUnixName, refuseFreeName } from "./unix-name.js";

type Words = Pick<TransportInfo, "scheme" | "form" | "goodFor" | "notFor" | "options" | "plain">;

function transport(words: Words, kind: PacketKind): Transport {
  return {
    info: { ...words, reaches: "this machine", packets: true, check: (target, _, given) => checkUnixName(target, given) },
    async connect(address, limits) {
      refuseFreeName(readUnixName(address.target));
      return connectNative(address, limits, kind);
    },
    listen: (address, events) => listenNative(address, events, kind),
  };
}

/** The transport `unix-seqpacket`. */
export const seqpacket = transport(
  {
    scheme: "unix-seqpacket",
    form: "unix-seqpacket:PATH, unix-seqpacket:@NAME",
    goodFor: "messages that keep their boundaries without a framing, and fast large ones",
    notFor: "empty messages, messages beyond 200 KiB; programs that know only streams, such as Node.js alone",
    options: ["backlog", "mode", "allow"],
  },
  // An empty packet reads as the end.
  { empty: false, alone: false, lossy: false, many: false },
);

/** The transport `unix-dgram`. A receiver that is full makes the sender wait, so that nothing gets lost. */
export const unixDgram = transport(
  {
    scheme: "unix-dgram",
    form: "unix-dgram:PATH, unix-dgram:@NAME",
    goodFor: "log and metrics messages from many programs; boundaries kept",
    notFor: "streams, messages beyond 200 KiB; knowing that the other side went away",
    options: ["mode"],
    plain: true,
  },
  { empty: true, alone: true, lossy: false, many: false },
);
