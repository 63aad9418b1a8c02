// What is seen of the arena: paint, players, bombs, and drops that fly when somebody is splashed.

import { HEIGHT, WIDTH } from "./snapshot.js";

/** The colours of the players from 1 to 12. */
export const COLOURS = ["", "#4f7cff", "#ff5c5c", "#2fbf71", "#ffb020", "#b45cff", "#14b8c4", "#ff7ac6", "#9bc53d", "#ff8a3d", "#8d6e63", "#6b7a99", "#d4d43a"];

const MOST_DROPS = 400;
const GROUND = { light: ["#fafbfd", "#eceff5"], dark: ["#1d1f29", "#232631"] };

export class Stage {
  #canvas;
  #context;
  #paint = document.createElement("canvas");
  #shown = null; // the floor that #paint shows
  #drops = [];
  #up = new Map(); // who was up when they were drawn last, and where
  #looks = new Map(); // where everybody looks
  #dark = matchMedia("(prefers-color-scheme: dark)");
  #still = matchMedia("(prefers-reduced-motion: reduce)");
  #scale = 0;

  constructor(canvas) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d");
    this.#dark.addEventListener("change", () => (this.#shown = null));
  }

  /** Draws a snapshot as `you` sees it; `stick` is the finger that steers, if any. */
  draw(snapshot, you, now, stick) {
    this.#fit();
    const context = this.#context;
    context.setTransform(this.#scale, 0, 0, this.#scale, 0, 0);
    this.#drawPaint(snapshot.floor);
    context.save();
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.drawImage(this.#paint, 0, 0);
    context.restore();
    for (const [column, row] of snapshot.bombs) this.#drawBomb(column + 0.5, row + 0.5, now);
    const players = [...snapshot.players.values()];
    for (const player of players) {
      if (player.isDown) this.#splash(player);
      else this.#drawPlayer(player, player.id === you, now);
    }
    this.#drawDrops();
    for (const player of players) if (!player.isDown) this.#drawName(player, player.id === you);
    if (stick !== null) this.#drawStick(stick);
  }

  /** Lets paint of a colour rain, for whoever has won. */
  celebrate(colour) {
    if (this.#still.matches) return;
    for (let count = 0; count < 160; count++) this.#drop(Math.random() * WIDTH, -Math.random() * 14, COLOURS[colour], (Math.random() - 0.5) * 0.1, 0.1 + Math.random() * 0.15, 150);
  }

  #fit() {
    const { clientWidth } = this.#canvas;
    const ratio = Math.min(devicePixelRatio, 2);
    // Tiles of whole pixels, so that no seams show.
    const scale = Math.max(1, Math.round((clientWidth * ratio) / WIDTH));
    if (this.#scale === scale) return;
    for (const canvas of [this.#canvas, this.#paint]) [canvas.width, canvas.height] = [scale * WIDTH, scale * HEIGHT];
    this.#scale = scale;
    this.#shown = null;
  }

  /** Corners of paint are round where nothing of its colour adjoins them; only what has changed is drawn anew. */
  #drawPaint(floor) {
    if (this.#shown === floor) return;
    const before = this.#shown;
    this.#shown = floor;
    const context = this.#paint.getContext("2d");
    context.setTransform(this.#scale, 0, 0, this.#scale, 0, 0);
    const ground = GROUND[this.#dark.matches ? "dark" : "light"];
    const at = (x, y) => (x < 0 || y < 0 || x >= WIDTH || y >= HEIGHT ? -1 : floor[y * WIDTH + x]);
    for (let y = 0; y < HEIGHT; y++) {
      for (let x = 0; x < WIDTH; x++) {
        if (before !== null && !changedAround(before, floor, x, y)) continue;
        const owner = at(x, y);
        context.fillStyle = ground[(x + y) % 2];
        context.fillRect(x, y, 1, 1);
        const [left, up, right, down] = [at(x - 1, y), at(x, y - 1), at(x + 1, y), at(x, y + 1)];
        const corners = [[left, up], [right, up], [right, down], [left, down]];
        // Two that are alike round off what lies between them.
        corners.forEach(([one, other], index) => {
          if (one !== other || one < 1 || one === owner) return;
          context.fillStyle = COLOURS[one];
          context.fillRect(x + (index === 1 || index === 2 ? 0.5 : 0), y + (index > 1 ? 0.5 : 0), 0.5, 0.5);
        });
        context.fillStyle = owner === 0 ? ground[(x + y) % 2] : COLOURS[owner];
        const round = (one, other) => (owner === 0 ? (one === other && one > 0 ? 0.5 : 0) : one !== owner && other !== owner ? 0.5 : 0);
        context.beginPath();
        context.roundRect(x, y, 1, 1, corners.map(([one, other]) => round(one, other)));
        context.fill();
      }
    }
  }

  #drawBomb(x, y, now) {
    const context = this.#context;
    const pulse = this.#still.matches ? 0 : Math.sin(now / 180) * 0.08;
    context.fillStyle = "rgb(0 0 0 / 0.25)";
    circle(context, x + 0.08, y + 0.14, 0.72);
    context.fillStyle = "#20222c";
    circle(context, x, y, 0.7 + pulse);
    ["#ff5c5c", "#ffb020", "#2fbf71", "#4f7cff"].forEach((colour, index) => {
      const angle = now / 700 + (index * Math.PI) / 2;
      context.fillStyle = colour;
      circle(context, x + Math.cos(angle) * 0.34, y + Math.sin(angle) * 0.34, 0.2);
    });
  }

  #drawPlayer(player, isYou, now) {
    const { id, x, y, dx = 0, dy = 0, isDashing, isReady } = player;
    const context = this.#context;
    this.#up.set(id, player);
    // Eyes follow, a little late.
    const look = this.#looks.get(id) ?? { x: 0, y: 0 };
    const speed = Math.hypot(dx, dy);
    look.x += ((speed > 0.02 ? dx / speed : 0) - look.x) * 0.2;
    look.y += ((speed > 0.02 ? dy / speed : 0) - look.y) * 0.2;
    this.#looks.set(id, look);
    if (isDashing) this.#drop(x, y, COLOURS[id], (Math.random() - 0.5) * 0.1, (Math.random() - 0.5) * 0.1, 22);

    context.save();
    context.translate(x, y);
    context.fillStyle = "rgb(0 0 0 / 0.22)";
    circle(context, 0.1, 0.18, 0.86);
    // Who is fast is long.
    context.rotate(Math.atan2(look.y, look.x));
    const stretch = isDashing ? 0.35 : Math.min(speed, 0.6) * 0.25;
    context.scale(1 + stretch, 1 - stretch * 0.6);
    context.fillStyle = "#fff";
    circle(context, 0, 0, isYou ? 1.1 : 1);
    context.fillStyle = COLOURS[id];
    circle(context, 0, 0, 0.82);
    context.fillStyle = "rgb(255 255 255 / 0.28)";
    circle(context, -0.22, -0.24, 0.34);
    for (const side of [-0.32, 0.32]) {
      context.fillStyle = "#fff";
      circle(context, 0.32, side, 0.26);
      context.fillStyle = "#16171d";
      circle(context, 0.4, side, 0.13);
    }
    context.restore();
    if (isYou && isReady) {
      context.strokeStyle = "rgb(255 255 255 / 0.85)";
      context.lineWidth = 0.1;
      context.beginPath();
      context.arc(x, y, 1.35 + (this.#still.matches ? 0 : Math.sin(now / 220) * 0.06), 0, 2 * Math.PI);
      context.stroke();
    }
  }

  #drawName({ name, x, y }, isYou) {
    const context = this.#context;
    context.font = `${isYou ? 750 : 600} 0.85px system-ui, sans-serif`;
    context.textAlign = "center";
    context.lineJoin = "round";
    context.lineWidth = 0.26;
    context.strokeStyle = "rgb(15 16 22 / 0.75)";
    context.fillStyle = "#fff";
    const above = y > 2.4 ? y - 1.5 : y + 2.1;
    const half = context.measureText(name).width / 2 + 0.2;
    const middle = Math.min(Math.max(x, half), WIDTH - half);
    context.strokeText(name, middle, above);
    context.fillText(name, middle, above);
  }

  #drawStick({ from, to }) {
    const context = this.#context;
    context.save();
    context.setTransform(1, 0, 0, 1, 0, 0);
    const ratio = this.#canvas.width / this.#canvas.clientWidth;
    context.fillStyle = "rgb(128 132 148 / 0.3)";
    circle(context, from.x * ratio, from.y * ratio, 48 * ratio);
    context.fillStyle = "rgb(255 255 255 / 0.7)";
    circle(context, to.x * ratio, to.y * ratio, 22 * ratio);
    context.restore();
  }

  /** Once for each who goes down. */
  #splash({ id }) {
    const was = this.#up.get(id);
    if (was === undefined) return;
    this.#up.delete(id);
    for (let count = 0; count < 36; count++) {
      const [angle, speed] = [Math.random() * 2 * Math.PI, 0.05 + Math.random() * 0.3];
      this.#drop(was.x, was.y, COLOURS[id], Math.cos(angle) * speed, Math.sin(angle) * speed, 30 + Math.random() * 20);
    }
  }

  #drop(x, y, colour, dx, dy, life) {
    if (this.#drops.length < MOST_DROPS && !this.#still.matches) this.#drops.push({ x, y, colour, dx, dy, life, all: life, size: 0.15 + Math.random() * 0.3 });
  }

  #drawDrops() {
    const context = this.#context;
    this.#drops = this.#drops.filter((drop) => --drop.life > 0);
    for (const drop of this.#drops) {
      drop.x += drop.dx;
      drop.y += drop.dy;
      drop.dx *= 0.95;
      if (drop.all < 100) drop.dy *= 0.95;
      context.globalAlpha = Math.min(1, (2 * drop.life) / drop.all);
      context.fillStyle = drop.colour;
      circle(context, drop.x, drop.y, drop.size);
    }
    context.globalAlpha = 1;
  }
}

/** Draws which of the last snapshots came, as a strip of bars. */
export function drawStrip(canvas, arrivals, colours) {
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  const width = canvas.width / 60;
  arrivals.forEach((came, index) => {
    const x = canvas.width - (arrivals.length - index) * width;
    context.fillStyle = came ? colours.came : colours.lost;
    context.beginPath();
    context.roundRect(x, came ? 8 : 2, width - 1.5, came ? canvas.height - 10 : canvas.height - 4, 1.2);
    context.fill();
  });
}

function changedAround(before, floor, x, y) {
  for (let row = Math.max(y - 1, 0); row <= Math.min(y + 1, HEIGHT - 1); row++) {
    for (let column = Math.max(x - 1, 0); column <= Math.min(x + 1, WIDTH - 1); column++) {
      if (before[row * WIDTH + column] !== floor[row * WIDTH + column]) return true;
    }
  }
  return false;
}

function circle(context, x, y, radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
}
