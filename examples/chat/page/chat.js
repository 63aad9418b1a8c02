// The chat page: one stream brings all that happens in the room, one method says something in it.
import { connect } from "./panpipe.js";

const MOST_SHOWN = 1000; // messages and notes; the oldest go
const MOST_TEXT = 2000;
const SAME_BREATH = 5 * 60_000; // milliseconds within which somebody's messages stand together
const FIRST_WAIT = 500; // milliseconds until the next try; twice that after each, up to
const LONGEST_WAIT = 8000;

const byId = (id) => document.getElementById(id);
const [status, log, messages, newer, composer, text, left, refused, people, door, join, name, reason] = [
  "status", "log", "messages", "newer", "composer", "text", "left", "refused", "people", "door", "join", "name", "reason",
].map(byId);

let peer = null;
let own = null; // our name, once the room knows it
let last = 0; // the number of the message that was seen last
let here = new Set();
let above = null; // who said the message that stands last, and when

// --- the room ---

/** Joins, and comes back whenever the connection is lost, until the room refuses the name that it has never known. */
async function stay(wanted) {
  for (let wait = FIRST_WAIT; ; wait = Math.min(2 * wait, LONGEST_WAIT)) {
    let why = "the room was closed";
    try {
      tell("wait", own === null ? "Joining…" : "Connecting again…");
      peer = await connect("/");
      for await (const event of peer.stream("join", wanted, last)) {
        happened(event);
        wait = FIRST_WAIT;
      }
    } catch (error) {
      why = error.remoteMessage ?? error.message;
      if (own === null) return why;
    } finally {
      await peer?.close();
      peer = null;
    }
    setPeople([]);
    composer.querySelector("button").disabled = true;
    await countDown(wait, why);
  }
}

const happenings = {
  welcome(event) {
    own = event.name;
    door.close();
    composer.querySelector("button").disabled = false;
    setPeople(event.people);
    remember(own);
    text.focus();
  },
  said: showMessage,
  joined(event) {
    setPeople([...here, event.name]);
    showNote(event.name, " joined");
  },
  left(event) {
    here.delete(event.name);
    setPeople(here);
    showNote(event.name, " left");
  },
  lagged(event) {
    setPeople(event.people);
    showNote("", `This window was too slow: ${event.missed} missed here`, "lagged");
  },
};

function happened(event) {
  last = event.number ?? last;
  happenings[event.kind]?.(event);
}

async function say() {
  const said = text.value.trim();
  if (said === "") return;
  try {
    if (peer === null) throw new Error("Not connected: it was not sent.");
    await peer.call("say", said);
    // What was typed while it was on its way stays.
    if (text.value.trim() === said) text.value = "";
    refused.textContent = "";
  } catch (error) {
    refused.textContent = error.remoteMessage ?? error.message;
  }
  countLeft();
}

// --- what is seen; all that others wrote is text, never markup ---

function showMessage({ name, text, at }) {
  const together = above?.name === name && at - above.at < SAME_BREATH;
  above = { name, at };
  const item = element("li", together ? "said" : "said first");
  item.classList.toggle("own", name === own);
  tint(item, name);
  if (!together) {
    const byline = element("div", "byline");
    const when = element("time", "", new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
    when.dateTime = new Date(at).toISOString();
    byline.append(element("bdi", "", name), when);
    item.append(face(name), byline);
  }
  item.append(element("p", "text", text));
  add(item);
}

function showNote(who, what, kind = "") {
  above = null;
  const item = element("li", `note ${kind}`);
  if (who !== "") item.append(element("bdi", "", who));
  item.append(what);
  add(item);
}

function add(item) {
  const follows = atEnd();
  item.classList.add("fresh");
  messages.append(item);
  if (messages.childElementCount > MOST_SHOWN) messages.firstElementChild.remove();
  if (follows || item.classList.contains("own")) toEnd();
  else newer.hidden = false;
}

function setPeople(names) {
  here = new Set(names);
  byId("here").textContent = here.size === 0 ? "Nobody here" : `${here.size} here`;
  people.replaceChildren(
    ...[...here].map((name) => {
      const item = element("li");
      tint(item, name);
      item.append(face(name), element("bdi", "", name));
      if (name === own) item.append(element("span", "you", "you"));
      return item;
    }),
  );
  if (here.size > 0) tell("good", "Connected");
}

/** Says how the connection is; a screen reader reads it out. */
function tell(tone, words) {
  status.dataset.tone = tone;
  if (status.textContent !== words) status.textContent = words;
}

async function countDown(wait, why) {
  status.title = why;
  for (let rest = wait; rest > 0; rest -= 1000) {
    tell("wait", rest > 1000 ? `Connection lost; again in ${Math.ceil(rest / 1000)} s` : "Connection lost");
    await new Promise((resolve) => setTimeout(resolve, Math.min(rest, 1000)));
  }
  status.title = "";
}

function element(kind, className = "", content = "") {
  const made = document.createElement(kind);
  made.className = className;
  made.textContent = content;
  return made;
}

function face(name) {
  const made = element("span", "face", [...name][0].toUpperCase());
  made.ariaHidden = "true";
  return made;
}

/** Everybody has the hue that their name makes. */
function tint(item, name) {
  let sum = 7;
  for (const character of name) sum = (sum * 31 + character.codePointAt(0)) % 3600;
  item.style.setProperty("--hue", String((sum * 137.5) % 360));
}

const atEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 40;

function toEnd() {
  log.scrollTop = log.scrollHeight;
  newer.hidden = true;
}

function countLeft() {
  const rest = MOST_TEXT - text.value.length;
  left.hidden = rest > 200;
  left.textContent = `${rest} left`;
}

// --- what is remembered for a reload, where the browser lets us ---

function remember(name) {
  try {
    sessionStorage.setItem("name", name);
  } catch {}
}

function remembered() {
  try {
    return sessionStorage.getItem("name");
  } catch {
    return null;
  }
}

// --- what is typed and clicked ---

composer.addEventListener("submit", (event) => {
  event.preventDefault();
  void say();
});
text.addEventListener("input", countLeft);
newer.addEventListener("click", () => {
  toEnd();
  text.focus();
});
log.addEventListener("scroll", () => {
  if (atEnd()) newer.hidden = true;
});
document.addEventListener("keydown", (event) => {
  if (door.open || event.ctrlKey || event.metaKey || event.altKey) return;
  // Whoever begins to write anywhere means the message; Escape goes to the end of what was said.
  if (event.key === "Escape") toEnd();
  if ((event.key.length === 1 && event.key !== " ") || event.key === "Escape") text.focus();
});
door.addEventListener("cancel", (event) => event.preventDefault());
join.addEventListener("submit", (event) => {
  event.preventDefault();
  void enter(name.value.trim());
});

async function enter(wanted) {
  const button = join.querySelector("button");
  button.disabled = true;
  reason.textContent = "";
  reason.textContent = await stay(wanted);
  button.disabled = false;
  tell("quiet", "Not joined yet");
  if (!door.open) door.showModal();
  name.select();
}

composer.querySelector("button").disabled = true;
const known = remembered();
if (known === null) door.showModal();
else {
  name.value = known;
  void enter(known);
}
