/** What arrives on a WebSocket: frames become messages (RFC 6455, section 5). Held by `vectors/websocket.json`. */

import { allocate, copyOf, nothing } from "../bytes.js";
import { INVALID_TEXT, POLICY, PROTOCOL_ERROR, TOO_LARGE, UNSUPPORTED, Violation, readClose, type Closed } from "./closing.js";
import { BINARY, CLOSE, CONTINUATION, LAST, MASKED, PING, PONG, TEXT, applyMask, longestHead, maskSize } from "./frame.js";
import { Utf8 } from "./utf8.js";

/** Fragments of a message: each costs a head, and an attacker nothing. */
const mostFragments = 4096;

/** Longest payload of a control frame, in bytes (section 5.5). */
const longestControl = 125;

/** A message that comes in pieces is gathered in steps of at least this many bytes: a claimed length alone must cost little. */
const step = 256 * 1024;

/** What messages are: any, only text, or binary ones whose contents follow each other as the stream of the panpipe protocol, however they are cut. */
export type Carries = "binary" | "text" | "frames";

/** Reads the frames of one end. */
export class Receiver {
  /** What the other end's Close says; what comes behind one is ignored. */
  closed: Closed | null = null;
  /** What has broken the connection; what was whole before was given. */
  violation: Violation | null = null;
  /** The payload of the latest ping, until somebody takes it. */
  ping: Uint8Array | null = null;

  // The head while it is not whole, and behind it the mask.
  readonly #head = new Uint8Array(longestHead + maskSize);
  #headSize = 0;
  // The frame whose payload is read, if one is.
  #inside = false;
  #opcode = 0;
  #last = false;
  #left = 0;
  #phase = 0;
  // Made when it is needed: most connections never see a control frame but the last.
  #control: Uint8Array = nothing;
  #controlSize = 0;
  // The message whose fragments come, if one has begun.
  #begun = false;
  #isText = false;
  #fragments = 0;
  #length = 0;
  #gathered: Uint8Array = nothing;
  readonly #text = new Utf8();

  constructor(
    /** Whether this end connected: then frames come without masks, else with them. */
    readonly client: boolean,
    /** Largest message, in bytes. */
    readonly max: number,
    readonly carries: Carries,
    /** Called with each message, of a stream with what has come of it. It is a view of what was read, or memory of its own. */
    readonly onMessage: (message: Uint8Array) => void,
  ) {}

  /** Whether nothing more is read. */
  get over(): boolean {
    return this.closed !== null || this.violation !== null;
  }

  /** Takes what was read, which may be changed: masks are taken off where the bytes are. */
  receive(chunk: Uint8Array): void {
    if (this.over) return;
    try {
      for (let at = 0; at < chunk.length && this.closed === null; ) at = this.#inside ? this.#payload(chunk, at) : this.#readHead(chunk, at);
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      this.violation = error;
      this.#gathered = nothing;
    }
  }

  /** Takes the head of a frame, or what is there of it; answers where it ends. */
  #readHead(chunk: Uint8Array, from: number): number {
    let at = from;
    if (this.#headSize === 0) {
      const size = this.#judge(chunk, at, Math.min(chunk.length - at, longestHead));
      if (size > 0) {
        this.#begin();
        return at + size;
      }
    }
    // It is cut: gathered byte by byte, and judged with each.
    while (at < chunk.length) {
      this.#head[this.#headSize++] = chunk[at++]!;
      if (this.#judge(this.#head, 0, this.#headSize) === 0) continue;
      this.#headSize = 0;
      this.#begin();
      break;
    }
    return at;
  }

  /** Looks at `have` bytes of a head, in order, each as soon as it is there; answers its size, or 0 while it is not whole. */
  #judge(bytes: Uint8Array, at: number, have: number): number {
    this.#judgeOpcode(bytes[at]!);
    if (have < 2) return 0;
    const second = bytes[at + 1]!;
    const masked = (second & MASKED) !== 0;
    if (masked === this.client) throw new Violation(PROTOCOL_ERROR, masked ? "a server's frame with a mask" : "a client's frame without a mask");
    const short = second & ~MASKED;
    const isControl = this.#opcode >= CLOSE;
    if (isControl && short > longestControl) throw new Violation(PROTOCOL_ERROR, `a control frame of more than ${longestControl} bytes`);
    if (short === 127 && have > 2 && (bytes[at + 2]! & 0x80) !== 0) throw new Violation(PROTOCOL_ERROR, "a length of more than 63 bits");
    const wide = short === 126 ? 2 : short === 127 ? 8 : 0;
    if (have < 2 + wide) return 0;
    let length = wide === 0 ? short : 0;
    for (let index = 0; index < wide; index++) length = length * 256 + bytes[at + 2 + index]!;
    if ((short === 126 && length < 126) || (short === 127 && length < 0x1_0000)) throw new Violation(PROTOCOL_ERROR, `the length ${length} in more bytes than it needs`);
    if (!isControl && length > this.max - this.#length) throw new Violation(TOO_LARGE, `a message of ${this.#length + length} bytes, and max is ${this.max}`);
    const size = 2 + wide + (masked ? 4 : 0);
    if (have < size) return 0;
    for (let index = 0; masked && index < 4; index++) this.#head[longestHead + index] = bytes[at + 2 + wide + index]!;
    this.#left = length;
    return size;
  }

  /** Looks at the first byte: whether such a frame may come now. */
  #judgeOpcode(first: number): void {
    if ((first & 0x70) !== 0) throw new Violation(PROTOCOL_ERROR, "a reserved bit is set, and no extension was agreed on");
    const opcode = first & 15;
    const last = (first & LAST) !== 0;
    if (opcode === CONTINUATION) {
      if (!this.#begun) throw new Violation(PROTOCOL_ERROR, "a fragment goes on with a message that was not begun");
      if (this.#fragments === mostFragments) throw new Violation(POLICY, `a message of more than ${mostFragments} fragments`);
    } else if (opcode === TEXT || opcode === BINARY) {
      if (this.#begun) throw new Violation(PROTOCOL_ERROR, "a message begins inside another one");
      if (opcode === TEXT && this.carries === "frames") throw new Violation(UNSUPPORTED, "a text message, where frames of panpipe are binary ones");
    } else if (opcode < CLOSE || opcode > PONG) throw new Violation(PROTOCOL_ERROR, `the reserved opcode ${opcode}`);
    else if (!last) throw new Violation(PROTOCOL_ERROR, "a control frame in fragments");
    this.#opcode = opcode;
    this.#last = last;
  }

  /** A head is whole. */
  #begin(): void {
    this.#phase = 0;
    if (this.#opcode >= CLOSE) {
      this.#controlSize = 0;
      if (this.#left > this.#control.length) this.#control = new Uint8Array(longestControl);
    }
    if (this.#opcode === CONTINUATION) this.#fragments++;
    else if (this.#opcode < CLOSE) {
      this.#begun = true;
      this.#isText = this.#opcode === TEXT || this.carries === "text";
      this.#fragments = 1;
    }
    this.#inside = true;
    if (this.#left === 0) this.#end(null);
  }

  /** Takes what is there of a payload; answers where that ends. */
  #payload(chunk: Uint8Array, from: number): number {
    const to = Math.min(chunk.length, from + this.#left);
    if (!this.client) this.#phase = applyMask(chunk, from, to, this.#head, longestHead, this.#phase);
    this.#left -= to - from;
    if (this.#opcode >= CLOSE) {
      this.#control.set(chunk.subarray(from, to), this.#controlSize);
      this.#controlSize += to - from;
      if (this.#left === 0) this.#end(null);
      return to;
    }
    if (this.#isText && !this.#text.goesOn(chunk, from, to)) throw new Violation(INVALID_TEXT, "text that is not UTF-8");
    if (this.carries === "frames") {
      this.#length += to - from;
      this.onMessage(chunk.subarray(from, to));
      if (this.#left === 0) this.#end(null);
      return to;
    }
    const alone = this.#length === 0 && this.#left === 0 && this.#last;
    if (!alone) this.#gather(chunk, from, to);
    this.#length += to - from;
    if (this.#left === 0) this.#end(alone ? chunk.subarray(from, to) : null);
    return to;
  }

  #gather(chunk: Uint8Array, from: number, to: number): void {
    const have = this.#length;
    const total = have + to - from;
    if (total > this.#gathered.length) {
      const room = allocate(Math.max(total, Math.min(total + this.#left, Math.max(2 * total, step))));
      room.set(this.#gathered.subarray(0, have));
      this.#gathered = room;
    }
    this.#gathered.set(chunk.subarray(from, to), have);
  }

  /** A frame is whole; `alone` is all of its message, or null where that was gathered. */
  #end(alone: Uint8Array | null): void {
    this.#inside = false;
    if (this.#opcode >= CLOSE) {
      const payload = this.#control.subarray(0, this.#controlSize);
      if (this.#opcode === CLOSE) this.closed = readClose(payload);
      else if (this.#opcode === PING) this.ping = copyOf(payload);
      return;
    }
    if (!this.#last) return;
    if (this.#isText && !this.#text.ends()) throw new Violation(INVALID_TEXT, "text that is not UTF-8");
    if (this.carries === "frames") {
      this.#begun = false;
      this.#length = 0;
      return;
    }
    const message = alone ?? (this.#length === 0 ? allocate(0) : this.#gathered.subarray(0, this.#length));
    this.#begun = false;
    this.#length = 0;
    this.#gathered = nothing;
    this.onMessage(message);
  }
}
