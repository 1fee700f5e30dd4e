/* <pawl-thumbs>: thumbs, a comment and a correction for one answer of Pawl. One file, no dependencies.
 *
 *   <script type="module" src="pawl-thumbs.js"></script>
 *   <pawl-thumbs inference-id="0198…" token="v1.…" server="https://pawl.example.com"></pawl-thumbs>
 *
 * The token came with the answer, rates this one answer, and is all that the page needs: keep API keys out of it.
 *
 * Attributes: inference-id, token, choice (0), server ("": the page's own origin), fields ("comment correction"; either,
 * or "" for none), and every text: label, label-up, label-down, label-comment, label-correction, label-send,
 * text-thanks, text-waiting, text-failed. Style: --pawl-accent, --pawl-ink, --pawl-paper, --pawl-line.
 * Events: "pawl-feedback" with {state: "sent" | "waiting" | "failed", said, status}.
 */

const TEXTS = {
  "label": "Rate this answer",
  "label-up": "Good answer",
  "label-down": "Bad answer",
  "label-comment": "Anything to add?",
  "label-correction": "What should it have said?",
  "label-send": "Send",
  "text-thanks": "Thank you.",
  "text-waiting": "Saved. It is sent when the connection is back.",
  "text-failed": "This could not be sent.",
};
const OUTBOX = "pawl-thumbs";
const KEPT = 7 * 24 * 3600 * 1000; // the token has expired by then
const MOST = 50;
const LEAVING = 16000; // characters; browsers fail requests that outlive a page with more than 64 KiB, however often tried
const RETRIED = new Set([0, 408, 425, 429, 500, 502, 503, 504]);

const STYLE = `
  :host { --accent: var(--pawl-accent, #2457d6); --ink: var(--pawl-ink, #1d2430); --paper: var(--pawl-paper, #fff);
    --line: var(--pawl-line, #8a93a3); --bad: #b3261e; display: block; color: var(--ink); font: inherit; color-scheme: light dark; }
  @media (prefers-color-scheme: dark) {
    :host { --accent: var(--pawl-accent, #8fb2ff); --ink: var(--pawl-ink, #e6e9ef); --paper: var(--pawl-paper, #171b22);
      --line: var(--pawl-line, #7a8496); --bad: #ffb4ab; }
  }
  .row { display: flex; align-items: center; gap: .375rem; flex-wrap: wrap; }
  button { font: inherit; color: inherit; background: var(--paper); border: 1px solid var(--line); border-radius: .5rem;
    min-width: 2.75rem; min-height: 2.75rem; padding: 0 .75rem; cursor: pointer; }
  button svg { display: block; width: 1.25rem; height: 1.25rem; margin: auto; fill: none; stroke: currentColor;
    stroke-width: 1.75; stroke-linejoin: round; stroke-linecap: round; }
  button[aria-pressed=true] { border-color: var(--accent); color: var(--accent); box-shadow: inset 0 0 0 1px var(--accent); }
  button[aria-pressed=true] svg { fill: color-mix(in srgb, var(--accent) 25%, transparent); }
  button:focus-visible, textarea:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
  form { display: grid; gap: .5rem; margin-top: .5rem; max-width: 34rem; }
  form[hidden] { display: none; }
  label { display: grid; gap: .25rem; font-size: .875em; }
  textarea { font: inherit; font-size: 1rem; color: inherit; background: var(--paper); border: 1px solid var(--line);
    border-radius: .5rem; padding: .5rem; min-height: 3.5rem; resize: vertical; box-sizing: border-box; width: 100%; }
  .send { justify-self: start; background: var(--accent); border-color: var(--accent); color: var(--paper); }
  [role=status] { font-size: .875em; }
  [role=status].failed { color: var(--bad); }
`;
const HAND = "M7 10v10H3V10zm0 0 4-7c1.6 0 2.5 1.2 2.2 2.7L12.6 9H19a2 2 0 0 1 2 2.4l-1.4 7A2 2 0 0 1 17.6 20H7";

/** A random id; crypto.randomUUID is there in secure contexts only. */
function fresh() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** What waits to be sent, shared by all pages of this origin. Where storage is denied it lives as long as the page. */
const outbox = {
  memory: [],
  stored: true,
  read() {
    try {
      if (!this.stored) return this.memory;
      return JSON.parse(localStorage.getItem(OUTBOX) ?? "[]").filter((post) => post.until > Date.now());
    } catch {
      return this.memory;
    }
  },
  write(posts) {
    this.memory = posts.slice(-MOST);
    try {
      if (posts.length) localStorage.setItem(OUTBOX, JSON.stringify(this.memory));
      else localStorage.removeItem(OUTBOX);
      this.stored = true;
    } catch {
      this.stored = false; // denied, or full
    }
  },
  add(post) { this.write([...this.read().filter((each) => each.key !== post.key), post]); },
  remove(post) { this.write(this.read().filter((each) => each.key !== post.key)); },
};

/** Send one post; answers its status, 0 without a connection. The key makes a repeat harmless. */
async function send(post) {
  const body = JSON.stringify(post.body);
  try {
    const answer = await fetch(post.url, {
      method: "POST",
      headers: { "Content-Type": "application/json", "Idempotency-Key": post.key },
      body,
      keepalive: body.length <= LEAVING, // the user may leave the page at once
    });
    return answer.status;
  } catch {
    return 0;
  }
}

let timer = 0;
let delay = 2000;
let turn = Promise.resolve();

/** Try everything that waits, one after the other, and again later if something is left. */
function drain() {
  clearTimeout(timer);
  turn = turn.then(async () => {
    for (const post of outbox.read()) {
      const status = await send(post);
      if (RETRIED.has(status)) {
        delay = Math.min(delay * 2, 60000);
        timer = setTimeout(drain, delay * (0.5 + Math.random() / 2));
        return;
      }
      outbox.remove(post);
      delay = 2000;
      dispatchEvent(new CustomEvent("pawl-thumbs-sent", { detail: { key: post.key, status } }));
    }
  });
  return turn;
}

class PawlThumbs extends HTMLElement {
  static observedAttributes = ["inference-id", "token", "choice", "fields", ...Object.keys(TEXTS)];

  #thumb = null;
  #keys = new Map();
  #root = this.attachShadow({ mode: "open", delegatesFocus: true });
  #sent = (event) => this.#settled(event.detail);

  connectedCallback() {
    this.#draw();
    addEventListener("pawl-thumbs-sent", this.#sent);
  }

  disconnectedCallback() {
    removeEventListener("pawl-thumbs-sent", this.#sent);
  }

  attributeChangedCallback(name, before, after) {
    if (!this.isConnected || before === after) return;
    if (["inference-id", "token", "choice"].includes(name)) this.#thumb = null; // another answer
    this.#draw();
  }

  #text(name) { return this.getAttribute(name) ?? TEXTS[name]; }

  #draw() {
    const asked = (this.getAttribute("fields") ?? "comment correction").split(/\s+/);
    const make = (tag, attributes = {}, ...children) => {
      const element = document.createElement(tag);
      for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
      element.append(...children);
      return element;
    };
    const style = make("style", {}, STYLE);
    const row = make("div", { class: "row", role: "group", "aria-label": this.#text("label") });
    for (const thumb of ["up", "down"]) {
      const label = this.#text(`label-${thumb}`);
      const button = make("button", { type: "button", "data-thumb": thumb, title: label, "aria-label": label });
      button.innerHTML = `<svg viewBox="0 0 24 24" aria-hidden="true"${thumb === "down" ? ' transform="rotate(180)"' : ""}><path d="${HAND}"/></svg>`;
      button.setAttribute("aria-pressed", String(this.#thumb === thumb));
      button.addEventListener("click", () => this.#vote(thumb));
      row.append(button);
    }
    row.append(make("span", { role: "status" }));
    const form = make("form", { hidden: "" });
    for (const name of ["comment", "correction"]) {
      if (asked.includes(name)) form.append(make("label", {}, this.#text(`label-${name}`), make("textarea", { name, rows: "2", maxlength: "65536" })));
    }
    form.append(make("button", { class: "send" }, this.#text("label-send")));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#write(form);
    });
    this.#root.replaceChildren(style, row, form);
  }

  #vote(thumb) {
    this.#thumb = thumb;
    for (const button of this.#root.querySelectorAll("[data-thumb]")) {
      button.setAttribute("aria-pressed", String(button.dataset.thumb === thumb));
    }
    const form = this.#root.querySelector("form");
    form.hidden = !form.querySelector("textarea");
    this.#post({ thumb });
  }

  #write(form) {
    const said = {};
    for (const area of form.querySelectorAll("textarea")) {
      if (area.value.trim()) said[area.name] = area.value.trim();
    }
    if (!Object.keys(said).length) {
      form.querySelector("textarea").focus();
      return;
    }
    form.hidden = true;
    this.#root.querySelector(`[data-thumb=${this.#thumb}]`).focus();
    this.#post(said);
  }

  #post(said) {
    const body = {
      inference_id: this.getAttribute("inference-id"),
      token: this.getAttribute("token"),
      choice: Number(this.getAttribute("choice") ?? 0),
      ...said,
    };
    const server = (this.getAttribute("server") ?? "").replace(/\/+$/, "");
    const url = new URL(`${server}/v1/feedback`, document.baseURI).href;
    const post = { url, body, key: fresh(), until: Date.now() + KEPT };
    this.#keys.set(post.key, said);
    outbox.add(post);
    drain().then(() => {
      if (this.#keys.has(post.key)) this.#say("waiting", said, 0);
    });
  }

  #settled({ key, status }) {
    const said = this.#keys.get(key);
    if (said === undefined) return;
    this.#keys.delete(key);
    this.#say(status >= 200 && status < 300 ? "sent" : "failed", said, status);
  }

  /** What was written is kept in sight until it is safe. */
  #done(safe) {
    const form = this.#root.querySelector("form");
    form.hidden = safe;
    if (safe) form.reset();
  }

  #say(state, said, status) {
    const line = this.#root.querySelector("[role=status]");
    line.textContent = this.#text({ sent: "text-thanks", waiting: "text-waiting", failed: "text-failed" }[state]);
    line.className = state;
    if (!("thumb" in said)) this.#done(state !== "failed");
    this.dispatchEvent(new CustomEvent("pawl-feedback", { bubbles: true, composed: true, detail: { state, said, status } }));
  }
}

customElements.define("pawl-thumbs", PawlThumbs);
addEventListener("online", drain);
if (outbox.read().length) drain(); // what an earlier page could not send
